/**
 * The scenarios that the tests draw at random. A scenario says which gateways start when and how, what happens at which of
 * their system calls, and what happens to the host.
 */
import { FastCheck as fc } from "effect"
import type { SimulatedPlatform } from "../../src/testing/SimulatedKernel.ts"

/**
 * How a process starts. A `standby` waits for the end of an existing owner. The last four names are the supervisors that
 * restart a process when it ends.
 */
export type How = "plain" | "standby" | "systemd" | "launchd" | "schtasks" | "external"

/** What happens to a process that starts a gateway, at one of its system calls. */
export type Fate =
  /** Before the call, other processes run for this number of turns. */
  | { readonly _tag: "Pause"; readonly turns: number }
  | { readonly _tag: "Delay"; readonly millis: number }
  /** The process is stopped (SIGSTOP) at the call, and continues after this time (SIGCONT). */
  | { readonly _tag: "Freeze"; readonly millis: number }
  /** The call fails with an errno that such a call can return. `pick` selects the errno. */
  | { readonly _tag: "Fail"; readonly pick: number }
  | { readonly _tag: "Kill" }
  /** The process is killed, but its parent does not wait for it, so its pid stays taken. */
  | { readonly _tag: "KillUnreaped" }

export interface Fault {
  /**
   * The number of the system call in the life of the process, counted from 1. If `name` is set, only calls of that name count.
   */
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
  /** Machine 2 is another host that mounts the same volume. It has another boot id than machine 1, and its own pids. */
  readonly machine: 1 | 2
  /** Whether the process has the addon for kernel locks. */
  readonly addon: boolean
  /**
   * The pid that the process gets if this pid is free. Processes in several containers often have the same pids. Default: a
   * pid that no other process has had.
   */
  readonly pid: number | undefined
  /**
   * If set, the gateway has no process of its own. It runs as a worker thread, or as another copy of the library, within a
   * running process. `within` is the index of that process, modulo the number of running processes.
   */
  readonly within: number | undefined
  /** How long the start waits for the lock, in milliseconds. Default: the default of the library. */
  readonly timeout: number | undefined
  /** How many processes inspect the lock files while the gateway starts. */
  readonly inspectors: number
  /** The milliseconds between acquiring the lock and starting to listen. */
  readonly warmUp: number
  /** How many milliseconds the process lives before it is told to end. 0 means that it is never told to. */
  readonly life: number
  readonly faults: ReadonlyArray<Fault>
}

/**
 * What happens to the host or to processes on it, independently of their system calls. `victim` is the index of a process; an
 * index that is too high is taken modulo the number of processes.
 */
export type Happening =
  | { readonly _tag: "Unlink"; readonly file: "config" | "state" }
  | { readonly _tag: "Replace"; readonly file: "config" | "state"; readonly content: "nothing" | "garbage" | "a copy" }
  | { readonly _tag: "RemoveFolder" }
  | { readonly _tag: "StepClock"; readonly hours: number }
  /** The disk is full for this number of milliseconds. */
  | { readonly _tag: "FullDisk"; readonly millis: number }
  | { readonly _tag: "Reboot" }
  /** Kills the n-th of the running processes, in the order of their starts. */
  | { readonly _tag: "Kill"; readonly victim: number }
  /** Kills the n-th of the running processes. A process that is no gateway gets the same pid at once. */
  | { readonly _tag: "KillAndReusePid"; readonly victim: number }
  | { readonly _tag: "Freeze"; readonly victim: number; readonly millis: number }
  | { readonly _tag: "Terminate"; readonly victim: number }
  /**
   * Suspends (SIGSTOP) the n-th of the processes that hold both locks, for so long that its record gets stale. Without a kernel
   * lock, a stale record does not protect the locks.
   */
  | { readonly _tag: "FreezeHolder"; readonly victim: number; readonly millis: number }

export interface Event {
  readonly at: number
  readonly what: Happening
}

export interface Scenario {
  /** The operating system whose rules the simulated host follows. */
  readonly platform: SimulatedPlatform
  /** The seed that decides which fiber runs next if several fibers are ready. */
  readonly order: number
  readonly locking: "works" | "absent" | "refused" | "grants everything"
  readonly starters: ReadonlyArray<Starter>
  readonly events: ReadonlyArray<Event>
}

type Drawn = Omit<Scenario, "platform">

/** Whether at least one gateway starts without a kernel lock. Then only its record in the lock file keeps other starts out. */
export const isRecordOnly = ({ locking, starters }: Pick<Scenario, "locking" | "starters">): boolean =>
  locking !== "works" || starters.some(({ addon }) => !addon)

/** The start of a gateway with the default of every property. */
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

/** A start and a shutdown together make about 130 system calls. */
const call = fc.oneof(
  { weight: 3, arbitrary: fc.integer({ min: 1, max: 130 }) },
  // The calls that acquire the lock are in this range, so it is drawn more often.
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

/** Draws at most this number of kills, within the first three seconds. */
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

/** Events that do not remove or replace the lock files, so no running owner loses its lock by them. */
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

/**
 * The longest delay in milliseconds at one system call of a start without a kernel lock. Before such a start takes over a dead
 * owner's lock file, it creates a claim file, which keeps other starts from doing the same. If the start is delayed for too long,
 * the claim file gets old, and another start may treat it as abandoned.
 */
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
 * Draws scenarios without kernel locks. Without them, a start knows only two things about an owner in another PID namespace: the
 * age of the owner's record, and whether the owner's port is taken.
 *
 * If the wall clock is stepped before such an owner listens, the age is wrong and the port is free. The gateway does not promise
 * mutual exclusion in that case. So no scenario here has both several PID namespaces and a stepped clock.
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

/**
 * Whether a scenario has several machines, PID namespaces or network namespaces. Only on Linux can a gateway distinguish these, so
 * such scenarios run only on a simulated Linux.
 */
const needsLinux = ({ starters }: Drawn): boolean =>
  starters.some(({ machine, networkNamespace, pidNamespace }) =>
    machine !== 1 || pidNamespace !== "pid:[1]" || networkNamespace !== "net:[1]"
  )

/**
 * Adds a platform to a scenario. The platform is drawn last, so that it does not change which other properties a seed gives.
 */
const onAnyPlatform = (drawn: fc.Arbitrary<Drawn>): fc.Arbitrary<Scenario> =>
  fc.tuple(drawn, fc.constantFrom<SimulatedPlatform[]>("linux", "linux", "darwin", "win32")).map((
    [drawn, platform]
  ) => ({ ...drawn, platform: needsLinux(drawn) ? "linux" : platform }))

/** The names of the system calls at which a race for a lock is decided. */
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

/** The properties of a start that the parameter `trait` of `crowd` (below) can set. */
type Trait = Pick<Starter, "addon" | "inspectors" | "networkNamespace" | "timeout" | "within">

const ordinary: fc.Arbitrary<Partial<Trait>> = fc.constant({})

/** Draws many starts of one gateway. Some start and end while others are delayed in the middle of an acquire or a release. */
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

/**
 * Draws the properties of a process that starts a gateway. Some have the addon for kernel locks and some do not, and they are in
 * several network namespaces. Each network namespace has its own ports, so a port that is taken in one of them does not keep a
 * gateway from starting in another.
 */
const mixed: fc.Arbitrary<Partial<Trait>> = fc.record({ addon: fc.boolean(), networkNamespace })

/**
 * Draws the properties of a gateway. Some of the gateways start in the process of another one: as a worker thread, or as another
 * copy of the library.
 */
const oneProcess: fc.Arbitrary<Partial<Trait>> = fc.record({
  within: fc.option(fc.nat({ max: 11 }), { freq: 3, nil: undefined }),
  addon: mostly(true, false),
  networkNamespace: mostly<Starter["networkNamespace"]>("net:[1]", "net:[2]")
})

/**
 * The pid that some of the gateways get, although they run in different containers. Real containers often have equal pids, because
 * each PID namespace counts its pids from 1.
 */
const containerPid = 7

/**
 * Draws starts of one gateway on a volume that several containers or machines mount. The starts are in several network namespaces,
 * each with its own ports. So a start cannot tell from the port whether a holder in another network namespace is alive. In most
 * scenarios, the starts are in several PID namespaces too. A start in another PID namespace than the holder can tell only from the
 * age of the holder's record whether the holder is alive.
 *
 * A record is stale after 30 s (`staleAfter`), and the holder rewrites it every 10 s. So a holder that is delayed by less than 20 s
 * keeps its lock. All delays of a scenario together are shorter than that. Only `FreezeHolder` stops a holder for longer, so that
 * its record gets stale.
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
          // Starts around 30 s, when the record of the first start gets stale if its holder has not written it again.
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
 * Draws starts on two machines that mount one volume. On both machines the first PID namespace has the same name. Kernel locks are
 * absent here, because some network file systems keep a kernel lock on the machine that took it. Such a lock does not exclude
 * starts on the other machine.
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

/**
 * Draws starts of gateways with a short life. Most starts do not wait for the lock. Other processes inspect the lock files at the
 * same time.
 */
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
 * Draws starts of one gateway without kernel locks. They see each other's processes, but are in several network namespaces, each of
 * which has its own ports. So the record in the lock file can say that the owner listens, while a start finds the port free. Some
 * starts wait for the lock longer than the 30 seconds after which a record is stale.
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
