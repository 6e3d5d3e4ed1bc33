/**
 * The drawn scenarios: which gateways start when and how, what happens at which of their system calls, and what happens to
 * the host.
 */
import { FastCheck as fc } from "effect"
import type { SimulatedPlatform } from "../../src/testing/SimulatedKernel.ts"

/** How a start behaves beside an existing owner, and which supervisor restarts it. */
export type How = "plain" | "standby" | "systemd" | "launchd" | "schtasks" | "external"

/** What happens at one system call of one starter. */
export type Fate =
  /** Other processes run for this number of turns first. */
  | { readonly _tag: "Pause"; readonly turns: number }
  | { readonly _tag: "Delay"; readonly millis: number }
  /** The process is stopped (SIGSTOP), and continued after this time (SIGCONT). */
  | { readonly _tag: "Freeze"; readonly millis: number }
  /** The call fails with an errno that fits it; `pick` selects the errno. */
  | { readonly _tag: "Fail"; readonly pick: number }
  | { readonly _tag: "Kill" }
  /** The parent does not wait for the child, so the pid stays taken. */
  | { readonly _tag: "KillUnreaped" }

export interface Fault {
  /** The ordinal of the starter's system call, from 1: among all calls, or among those of one name. */
  readonly call: number
  readonly name: string | undefined
  readonly fate: Fate
}

export interface Starter {
  readonly at: number
  readonly how: How
  readonly host: "127.0.0.1" | "::1" | "0.0.0.0"
  readonly port: 18789 | 18790
  readonly config: "a" | "b"
  readonly pidNamespace: "pid:[1]" | "pid:[2]" | "pid:[3]"
  readonly networkNamespace: "net:[1]" | "net:[2]" | "net:[3]"
  /** Machine 2 is another host with the same volume: it has its own boot and its own pids. */
  readonly machine: 1 | 2
  /** Whether the process has the addon for kernel locks. */
  readonly addon: boolean
  /** The pid, if it is free: containers start with the same numbers. Default: a pid that no other process has had. */
  readonly pid: number | undefined
  /**
   * The process runs as a worker thread, or as another copy of the library, in the n-th running process, modulo their number.
   */
  readonly within: number | undefined
  /** How long it waits for the lock, in milliseconds. Default: that of the library. */
  readonly timeout: number | undefined
  /** How many processes inspect the lock files during the start. */
  readonly inspectors: number
  /** Milliseconds between acquiring the lock and listening. */
  readonly warmUp: number
  /** Milliseconds after which the process is told to end; 0 for never. */
  readonly life: number
  readonly faults: ReadonlyArray<Fault>
}

/** What happens to the host, or to all processes on it. */
export type Happening =
  | { readonly _tag: "Unlink"; readonly file: "config" | "state" }
  | { readonly _tag: "Replace"; readonly file: "config" | "state"; readonly content: "nothing" | "garbage" | "a copy" }
  | { readonly _tag: "RemoveFolder" }
  | { readonly _tag: "StepClock"; readonly hours: number }
  /** The disk is full for this time. */
  | { readonly _tag: "FullDisk"; readonly millis: number }
  | { readonly _tag: "Reboot" }
  /** Kills the running process that was the n-th to start, modulo their number. */
  | { readonly _tag: "Kill"; readonly victim: number }
  /** The same, and a stranger gets the pid at once. */
  | { readonly _tag: "KillAndReusePid"; readonly victim: number }
  | { readonly _tag: "Freeze"; readonly victim: number; readonly millis: number }
  | { readonly _tag: "Terminate"; readonly victim: number }
  /**
   * Stops the n-th process that holds both locks, modulo their number, for longer than its record stays fresh without a
   * kernel lock.
   */
  | { readonly _tag: "FreezeHolder"; readonly victim: number; readonly millis: number }

export interface Event {
  readonly at: number
  readonly what: Happening
}

export interface Scenario {
  /** The platform whose rules the host follows. */
  readonly platform: SimulatedPlatform
  /** The seed that decides which of several ready fibers runs next. */
  readonly order: number
  readonly locking: "works" | "absent" | "refused" | "grants everything"
  readonly starters: ReadonlyArray<Starter>
  readonly events: ReadonlyArray<Event>
}

type Drawn = Omit<Scenario, "platform">

/** Whether at least one starter locks by its owner record alone. */
export const isRecordOnly = ({ locking, starters }: Pick<Scenario, "locking" | "starters">): boolean =>
  locking !== "works" || starters.some(({ addon }) => !addon)

/** The starter with all defaults. */
export const usual: Starter = {
  at: 0,
  how: "plain",
  host: "127.0.0.1",
  port: 18789,
  config: "a",
  pidNamespace: "pid:[1]",
  networkNamespace: "net:[1]",
  machine: 1,
  addon: true,
  pid: undefined,
  within: undefined,
  timeout: undefined,
  inspectors: 0,
  warmUp: 0,
  life: 0,
  faults: []
}

/** A start and a shutdown together make about a hundred and thirty calls. */
const call = fc.oneof(
  { weight: 3, arbitrary: fc.integer({ min: 1, max: 130 }) },
  // The calls that acquire the lock.
  { weight: 2, arbitrary: fc.integer({ min: 5, max: 60 }) }
)

const millisUpTo = (max: number) =>
  fc.oneof(fc.integer({ min: 1, max: Math.min(max, 400) }), fc.integer({ min: 1, max }))

const fate = (longest: number): fc.Arbitrary<Fate> =>
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({ _tag: fc.constant("Pause" as const), turns: fc.integer({ min: 1, max: 400 }) })
    },
    { weight: 3, arbitrary: fc.record({ _tag: fc.constant("Delay" as const), millis: millisUpTo(longest) }) },
    { weight: 1, arbitrary: fc.record({ _tag: fc.constant("Freeze" as const), millis: millisUpTo(longest) }) },
    { weight: 2, arbitrary: fc.record({ _tag: fc.constant("Fail" as const), pick: fc.nat({ max: 7 }) }) },
    { weight: 3, arbitrary: fc.constant({ _tag: "Kill" as const }) },
    { weight: 1, arbitrary: fc.constant({ _tag: "KillUnreaped" as const }) }
  )

const fault = (longest: number): fc.Arbitrary<Fault> =>
  fc.record({ call, name: fc.constant(undefined), fate: fate(longest) })

const mostly = <A>(usual: A, ...others: ReadonlyArray<A>): fc.Arbitrary<A> =>
  fc.oneof({ weight: 6, arbitrary: fc.constant(usual) }, { weight: 1, arbitrary: fc.constantFrom(...others) })

const starter = (longest: number, otherNamespace: boolean): fc.Arbitrary<Starter> =>
  fc.record({
    at: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 500 }), fc.integer({ min: 0, max: 20_000 })),
    how: fc.oneof(
      { weight: 3, arbitrary: fc.constant<How>("plain") },
      { weight: 3, arbitrary: fc.constantFrom<How>("standby", "systemd", "launchd", "schtasks", "external") }
    ),
    host: mostly<Starter["host"]>("127.0.0.1", "::1", "0.0.0.0"),
    port: mostly<Starter["port"]>(18789, 18790),
    config: mostly<Starter["config"]>("a", "b"),
    pidNamespace: otherNamespace
      ? mostly<Starter["pidNamespace"]>("pid:[1]", "pid:[2]")
      : fc.constant<Starter["pidNamespace"]>("pid:[1]"),
    warmUp: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 4000 }), fc.integer({ min: 1, max: 20_000 })),
    life: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 1000 }), fc.integer({ min: 1, max: 20_000 })),
    faults: fc.array(fault(longest), { maxLength: 3 })
  }).map((drawn) => ({ ...usual, ...drawn }))

const victim = fc.nat({ max: 11 })

/** At most this number of processes is killed, within the first three seconds. */
const killsUpTo = (maxLength: number) =>
  fc.array(
    fc.record({
      at: fc.integer({ min: 0, max: 3000 }),
      what: fc.record({ _tag: fc.constant("Kill" as const), victim })
    }),
    { maxLength }
  )
const file = fc.constantFrom("config" as const, "state" as const)

const stepClock = fc.record({ _tag: fc.constant("StepClock" as const), hours: fc.constantFrom(-24, -1, 1, 24) })

/** Events that do not take a lock from its owner. */
const blow: fc.Arbitrary<Happening> = fc.oneof(
  fc.record({ _tag: fc.constant("FullDisk" as const), millis: millisUpTo(5000) }),
  fc.constant({ _tag: "Reboot" as const }),
  fc.record({ _tag: fc.constant("Kill" as const), victim }),
  fc.record({ _tag: fc.constant("KillAndReusePid" as const), victim }),
  fc.record({ _tag: fc.constant("Freeze" as const), victim, millis: millisUpTo(8000) }),
  fc.record({ _tag: fc.constant("Terminate" as const), victim })
)

const tampering: fc.Arbitrary<Happening> = fc.oneof(
  fc.record({ _tag: fc.constant("Unlink" as const), file }),
  fc.record({
    _tag: fc.constant("Replace" as const),
    file,
    content: fc.constantFrom("nothing" as const, "garbage" as const, "a copy" as const)
  }),
  fc.constant({ _tag: "RemoveFolder" as const })
)

const at = fc.oneof(fc.integer({ min: 0, max: 1000 }), fc.integer({ min: 0, max: 45_000 }))

const events = (happening: fc.Arbitrary<Happening>): fc.Arbitrary<ReadonlyArray<Event>> =>
  fc.array(fc.record({ at, what: happening }), { maxLength: 5 })

const eventsWith = (blows: fc.Arbitrary<Happening>): fc.Arbitrary<ReadonlyArray<Event>> =>
  fc.oneof(
    events(blows),
    events(fc.oneof({ weight: 2, arbitrary: blows }, { weight: 1, arbitrary: tampering }))
  )

const blowOrStep = fc.oneof({ weight: 5, arbitrary: blow }, { weight: 1, arbitrary: stepClock })

const order = fc.integer({ min: 0, max: 2 ** 31 - 1 })

/** The longest delay of one step of a reclaim without a kernel lock, because its guard file gets stale. */
const longestWithoutLock = 2500
const longestWithLock = 20_000

const starters = (longest: number, otherNamespace: boolean) =>
  fc.array(starter(longest, otherNamespace), { minLength: 2, maxLength: 6 })

const kernelMode: fc.Arbitrary<Drawn> = fc.record({
  order,
  locking: fc.constant("works" as const),
  starters: starters(longestWithLock, true),
  events: eventsWith(blowOrStep)
})

const noKernelLock = fc.constantFrom("absent" as const, "refused" as const, "grants everything" as const)

/**
 * About an owner in another PID namespace, other starts know only the age of its record and whether its port is taken. A
 * stepped wall clock during such an owner's warm-up makes the age useless. The gateway does not promise exclusion there, so
 * this is not drawn.
 */
const recordOnly: fc.Arbitrary<Drawn> = fc.oneof(
  fc.record({
    order,
    locking: noKernelLock,
    starters: starters(longestWithoutLock, false),
    events: eventsWith(blowOrStep)
  }),
  fc.record({
    order,
    locking: noKernelLock,
    starters: starters(longestWithoutLock, true),
    events: eventsWith(blow)
  })
)

/** Only Linux distinguishes processes of other boots or namespaces, so scenarios with several of them run on Linux only. */
const needsLinux = ({ starters }: Drawn): boolean =>
  starters.some(({ machine, networkNamespace, pidNamespace }) =>
    machine !== 1 || pidNamespace !== "pid:[1]" || networkNamespace !== "net:[1]"
  )

/** The platform is drawn last, so that the rest of a schedule is the same on each. */
const onAnyPlatform = (drawn: fc.Arbitrary<Drawn>): fc.Arbitrary<Scenario> =>
  fc.tuple(drawn, fc.constantFrom<SimulatedPlatform[]>("linux", "linux", "darwin", "win32")).map((
    [drawn, platform]
  ) => ({ ...drawn, platform: needsLinux(drawn) ? "linux" : platform }))

/** The calls at which a race for a lock is decided. */
const decisive = fc.constantFrom(
  "open",
  "fcntl",
  "stat",
  "fstat",
  "write",
  "fsync",
  "rename",
  "unlink",
  "close",
  "link"
)

/** The traits in which the starters of a crowd differ. */
type Trait = Pick<Starter, "addon" | "inspectors" | "networkNamespace" | "timeout" | "within">

const ordinary: fc.Arbitrary<Partial<Trait>> = fc.constant({})

/** Starters of one gateway that come and go while others are held up during an acquire or release. */
const crowd = (
  locking: fc.Arbitrary<Scenario["locking"]>,
  trait: fc.Arbitrary<Partial<Trait>> = ordinary
): fc.Arbitrary<Drawn> =>
  fc.record({
    order,
    locking,
    starters: fc.array(
      fc.record({
        at: fc.integer({ min: 0, max: 2500 }),
        how: mostly<How>("plain", "standby"),
        trait,
        warmUp: fc.integer({ min: 0, max: 3000 }),
        life: fc.integer({ min: 1, max: 3000 }),
        faults: fc.array(
          fc.record({
            call: fc.integer({ min: 1, max: 8 }),
            name: decisive,
            fate: fc.oneof(
              {
                weight: 5,
                arbitrary: fc.record({
                  _tag: fc.constant("Delay" as const),
                  millis: fc.integer({ min: 20, max: 2500 })
                })
              },
              { weight: 1, arbitrary: fc.constant({ _tag: "Kill" as const }) }
            )
          }),
          { minLength: 1, maxLength: 2 }
        )
      }).map(({ trait, ...drawn }) => ({ ...usual, ...drawn, ...trait })),
      { minLength: 3, maxLength: 6 }
    ),
    events: killsUpTo(3)
  })

const networkNamespace = fc.constantFrom("net:[1]" as const, "net:[2]" as const, "net:[3]" as const)

/** Starters with and without the addon. Each has its own network, so that no port keeps them apart. */
const mixed: fc.Arbitrary<Partial<Trait>> = fc.record({ addon: fc.boolean(), networkNamespace })

/** Worker threads, and several copies of the library. */
const oneProcess: fc.Arbitrary<Partial<Trait>> = fc.record({
  within: fc.option(fc.nat({ max: 11 }), { freq: 3, nil: undefined }),
  addon: mostly(true, false),
  networkNamespace: mostly<Starter["networkNamespace"]>("net:[1]", "net:[2]")
})

/** The pid of the first process in every container. */
const containerPid = 7

/**
 * One gateway on a volume that several containers or machines mount. Each has its own network, so that no port shows that an
 * owner lives, and mostly its own pids. There only the record's age shows a living holder, so the delays together stay
 * shorter than a holder can bear that writes three times within `staleAfter`: 30 s less one interval of 10 s.
 */
const volume = (
  locking: Scenario["locking"],
  place: fc.Arbitrary<Pick<Starter, "addon" | "machine" | "networkNamespace" | "pidNamespace">>
): fc.Arbitrary<Drawn> =>
  fc.record({
    order,
    locking: fc.constant(locking),
    starters: fc.array(
      fc.record({
        at: fc.oneof(
          fc.constant(0),
          fc.integer({ min: 0, max: 500 }),
          fc.integer({ min: 0, max: 20_000 }),
          // About the moment when a holder that writes every 30 s is late.
          fc.integer({ min: 25_000, max: 33_000 })
        ),
        how: fc.oneof(
          { weight: 3, arbitrary: fc.constant<How>("plain") },
          { weight: 3, arbitrary: fc.constantFrom<How>("standby", "systemd", "external") }
        ),
        config: mostly<Starter["config"]>("a", "b"),
        place,
        pid: fc.option(fc.constant(containerPid), { freq: 4, nil: undefined }),
        warmUp: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 4000 })),
        life: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 20_000 })),
        faults: fc.array(
          fc.record({
            call,
            name: fc.constant(undefined),
            fate: fc.oneof<fc.MaybeWeightedArbitrary<Fate>[]>(
              {
                weight: 4,
                arbitrary: fc.record({ _tag: fc.constant("Pause" as const), turns: fc.integer({ min: 1, max: 400 }) })
              },
              { weight: 3, arbitrary: fc.record({ _tag: fc.constant("Delay" as const), millis: millisUpTo(1500) }) },
              { weight: 1, arbitrary: fc.record({ _tag: fc.constant("Freeze" as const), millis: millisUpTo(2000) }) },
              { weight: 2, arbitrary: fc.constant({ _tag: "Kill" as const }) },
              { weight: 1, arbitrary: fc.constant({ _tag: "KillUnreaped" as const }) }
            )
          }),
          { maxLength: 2 }
        )
      }).map(({ place, ...drawn }) => ({ ...usual, ...drawn, ...place })),
      { minLength: 2, maxLength: 5 }
    ),
    events: fc.array(
      fc.record({
        at: fc.oneof(at, fc.integer({ min: 27_000, max: 33_000 })),
        what: fc.oneof<fc.MaybeWeightedArbitrary<Happening>[]>(
          {
            weight: 3,
            arbitrary: fc.record({ _tag: fc.constant("Freeze" as const), victim, millis: millisUpTo(2500) })
          },
          { weight: 1, arbitrary: fc.constant({ _tag: "Reboot" as const }) },
          { weight: 1, arbitrary: fc.record({ _tag: fc.constant("Kill" as const), victim }) },
          { weight: 1, arbitrary: fc.record({ _tag: fc.constant("KillAndReusePid" as const), victim }) },
          { weight: 1, arbitrary: fc.record({ _tag: fc.constant("Terminate" as const), victim }) },
          {
            weight: 2,
            arbitrary: fc.record({
              _tag: fc.constant("FreezeHolder" as const),
              victim,
              millis: fc.integer({ min: 34_000, max: 40_000 })
            })
          }
        )
      }),
      { maxLength: 5 }
    )
  })

const containers = volume(
  "works",
  fc.record({
    addon: fc.boolean(),
    machine: fc.constant(1 as const),
    networkNamespace,
    pidNamespace: fc.constantFrom("pid:[1]" as const, "pid:[2]" as const, "pid:[3]" as const)
  })
)

/**
 * Several machines: the first PID namespace of each has the same name. Locks that the volume's server does not know are not
 * drawn.
 */
const machines = volume(
  "absent",
  fc.constantFrom(1 as const, 2 as const).chain((machine) =>
    fc.record({
      addon: fc.constant(true),
      machine: fc.constant(machine),
      networkNamespace: fc.constant<Starter["networkNamespace"]>(machine === 1 ? "net:[1]" : "net:[2]"),
      pidNamespace: mostly<Starter["pidNamespace"]>("pid:[1]", "pid:[2]")
    })
  )
)

/** Starts that do not wait, one after the other, while other processes inspect the locks. */
const watched: fc.Arbitrary<Drawn> = fc.record({
  order,
  locking: fc.constant("works" as const),
  starters: fc.array(
    fc.record({
      at: fc.integer({ min: 0, max: 2500 }),
      timeout: fc.constantFrom(0, 0, 0, 50, undefined),
      inspectors: fc.integer({ min: 1, max: 4 }),
      warmUp: fc.integer({ min: 0, max: 200 }),
      life: fc.integer({ min: 1, max: 600 }),
      faults: fc.array(
        fc.record({
          call: fc.integer({ min: 10, max: 130 }),
          name: fc.constant(undefined),
          fate: fc.constantFrom<Fate>({ _tag: "Kill" }, { _tag: "KillUnreaped" })
        }),
        { maxLength: 1 }
      )
    }).map((drawn) => ({ ...usual, ...drawn })),
    { minLength: 2, maxLength: 4 }
  ),
  events: killsUpTo(2)
})

/**
 * One gateway without kernel locks. Its starters see each other's processes but have networks of their own: the record says
 * that the owner listens, but its port is free. Starts wait for longer than a record stays fresh.
 */
const patient: fc.Arbitrary<Drawn> = fc.record({
  order,
  locking: fc.constant("absent" as const),
  starters: fc.array(
    fc.record({
      at: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 5000 })),
      how: mostly<How>("plain", "systemd"),
      networkNamespace,
      timeout: fc.constantFrom(undefined, 35_000, 50_000),
      warmUp: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 4000 })),
      life: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 40_000 }))
    }).map((drawn) => ({ ...usual, ...drawn })),
    { minLength: 2, maxLength: 4 }
  ),
  events: fc.array(
    fc.record({
      at,
      what: fc.oneof<fc.MaybeWeightedArbitrary<Happening>[]>(
        { weight: 2, arbitrary: fc.record({ _tag: fc.constant("Freeze" as const), victim, millis: millisUpTo(2500) }) },
        { weight: 1, arbitrary: fc.record({ _tag: fc.constant("Kill" as const), victim }) }
      )
    }),
    { maxLength: 2 }
  )
})

/** The kinds of scenarios, by name. */
export const habitats = {
  "kernel locks": onAnyPlatform(kernelMode),
  "records only": onAnyPlatform(recordOnly),
  "a crowd with kernel locks": onAnyPlatform(crowd(fc.constant("works"))),
  "a crowd with records only": onAnyPlatform(crowd(noKernelLock)),
  "a crowd of a mixed fleet": onAnyPlatform(crowd(fc.constant("works"), mixed)),
  "a crowd in one process": onAnyPlatform(crowd(fc.constantFrom("works" as const, "absent" as const), oneProcess)),
  "starts that are watched": onAnyPlatform(watched),
  "containers of a mixed fleet": onAnyPlatform(containers),
  "patient starts in several networks": onAnyPlatform(patient),
  "two machines": onAnyPlatform(machines)
}

export const scenario: fc.Arbitrary<Scenario> = fc.oneof(
  { weight: 3, arbitrary: habitats["kernel locks"] },
  { weight: 2, arbitrary: habitats["records only"] },
  { weight: 3, arbitrary: habitats["a crowd with kernel locks"] },
  { weight: 3, arbitrary: habitats["a crowd with records only"] },
  { weight: 2, arbitrary: habitats["a crowd of a mixed fleet"] },
  { weight: 2, arbitrary: habitats["a crowd in one process"] },
  { weight: 1, arbitrary: habitats["starts that are watched"] },
  { weight: 2, arbitrary: habitats["containers of a mixed fleet"] },
  { weight: 1, arbitrary: habitats["patient starts in several networks"] },
  { weight: 2, arbitrary: habitats["two machines"] }
)
