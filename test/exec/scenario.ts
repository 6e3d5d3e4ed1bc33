/**
 * Draws scenarios for `gateway exec`: wrappers that compete for one lock, the commands that they run, and events such as signals,
 * deaths and the loss of the lock. All times are in milliseconds.
 */
import { FastCheck as fc } from "effect"

/** The name of all calls that a wrapper makes after it has started its command. */
export const afterSpawn = "after spawn"

/** How a process of a command behaves. */
export interface Behaviour {
  /** When it ends by itself. `undefined`: never. */
  readonly lifetime: number | undefined
  /** How long it takes to end after SIGTERM. `undefined`: it ignores SIGTERM. */
  readonly termDelay: number | undefined
}

/** A process that the command starts. */
export interface Heir extends Behaviour {
  /** Whether it leaves the tree of the command: it has its own session, and no parent. */
  readonly isDaemon: boolean
}

/** A command, the direct child of a wrapper. */
export interface Command extends Behaviour {
  readonly status: number
  /** The signal by which the command ends itself after its lifetime, instead of an exit with `status`. */
  readonly diesBy: NodeJS.Signals | undefined
  readonly ignoresKeys: boolean
  /** When it listens on the wrapper's port. `undefined`: never. */
  readonly listensAfter: number | undefined
  /** Whether it closes all inherited files before it does anything else. */
  readonly closesFiles: boolean
  /** When and how long it is blocked in the kernel, so that it acts on no signal. */
  readonly blocked: { readonly at: number; readonly millis: number } | undefined
  readonly heirs: ReadonlyArray<Heir>
}

/** What happens to a wrapper at one of its system calls. */
export interface Fault {
  /** The number of the call, counted from 1 among the calls of that name, among all calls, or among those after the command began. */
  readonly call: number
  readonly name: string | undefined
  readonly fate:
    | { readonly _tag: "Kill" }
    | { readonly _tag: "Delay"; readonly millis: number }
    /** Another program begins to listen on the port, just before the call. */
    | { readonly _tag: "Stranger" }
    /** The disk is full from this call on, for the wrapper: all its writes fail. */
    | { readonly _tag: "Full" }
}

/** A start of `gateway exec`. */
export interface Contender {
  readonly at: number
  readonly command: Command
  readonly isStandby: boolean
  readonly hasPort: boolean
  /** Whether the command is stopped if it does not listen on the port within 8 seconds (`--ready port`). */
  readonly mustListen: boolean
  readonly inheritsLock: boolean
  readonly hasTerminal: boolean
  readonly toGroup: boolean
  readonly timeout: number
  readonly faults: ReadonlyArray<Fault>
}

export type Happening =
  /** kill(1) sends a signal to a wrapper. */
  | { readonly _tag: "Signal"; readonly victim: number; readonly signal: NodeJS.Signals }
  /** A key is pressed on the terminal, with a wrapper's process group in the foreground. */
  | { readonly _tag: "Key"; readonly victim: number; readonly signal: "SIGINT" | "SIGQUIT" }
  /** Ctrl+Z, and `fg` after this time. */
  | { readonly _tag: "Suspend"; readonly victim: number; readonly millis: number }
  | { readonly _tag: "KillWrapper"; readonly victim: number }
  | { readonly _tag: "KillCommand"; readonly victim: number; readonly signal: NodeJS.Signals }
  /** A cleaner removes the lock file. Its holder makes a new one, and the command keeps the lock of the old one. */
  | { readonly _tag: "Unlink" }
  /** Another program replaces the lock file, and locks its own file for this time. */
  | { readonly _tag: "Lose"; readonly millis: number }
  | { readonly _tag: "Stop"; readonly force: boolean }

export interface Scenario {
  /** The seed of the scheduler, which draws the order in which processes run. */
  readonly order: number
  /** Without kernel locks, only the records in the lock files enforce the lock. */
  readonly locking: "works" | "absent"
  readonly contenders: ReadonlyArray<Contender>
  readonly events: ReadonlyArray<{ readonly at: number; readonly what: Happening }>
}

const upTo = (max: number) => fc.integer({ min: 0, max })
const maybe = <A>(values: fc.Arbitrary<A>, freq = 2) => fc.option(values, { nil: undefined, freq })
const mostly = <A>(usual: A, rare: A) =>
  fc.oneof({ weight: 4, arbitrary: fc.constant(usual) }, { weight: 1, arbitrary: fc.constant(rare) })

const lifetime = maybe(fc.integer({ min: 1, max: 30_000 }))
const termDelay = maybe(fc.oneof(fc.constant(0), upTo(14_000)), 4)

const heir: fc.Arbitrary<Heir> = fc.record({ lifetime, termDelay, isDaemon: fc.boolean() })

const command: fc.Arbitrary<Command> = fc.record({
  lifetime,
  termDelay,
  status: fc.constantFrom(0, 0, 1, 75, 255),
  diesBy: fc.option(fc.constantFrom<NodeJS.Signals[]>("SIGSEGV", "SIGTERM", "SIGABRT", "SIGKILL"), {
    nil: undefined,
    freq: 1
  }),
  ignoresKeys: fc.boolean(),
  listensAfter: maybe(upTo(5000)),
  closesFiles: mostly(false, true),
  blocked: fc.option(
    fc.record({ at: upTo(20_000), millis: fc.integer({ min: 1000, max: 20_000 }) }),
    { nil: undefined, freq: 1 }
  ),
  heirs: fc.array(heir, { maxLength: 2 })
})

const fate: fc.Arbitrary<Fault["fate"]> = fc.oneof(
  { weight: 3, arbitrary: fc.constant({ _tag: "Kill" as const }) },
  { weight: 2, arbitrary: fc.record({ _tag: fc.constant("Delay" as const), millis: upTo(3000) }) }
)

const fault: fc.Arbitrary<Fault> = fc.oneof(
  fc.record({ call: fc.integer({ min: 1, max: 120 }), name: fc.constant(undefined), fate }),
  fc.record({
    call: fc.integer({ min: 1, max: 3 }),
    name: fc.constantFrom("spawn", afterSpawn, "write", "fsync", "fcntl", "kill"),
    fate
  }),
  fc.record({
    call: fc.integer({ min: 1, max: 8 }),
    name: fc.constantFrom("fcntl", "connect", "write"),
    fate: fc.constant({ _tag: "Stranger" as const })
  }),
  fc.record({
    call: fc.integer({ min: 1, max: 3 }),
    name: fc.constantFrom("spawn", afterSpawn, "write"),
    fate: fc.constant({ _tag: "Full" as const })
  })
)

const contender: fc.Arbitrary<Contender> = fc.record({
  at: fc.oneof(fc.constant(0), upTo(2000), upTo(20_000)),
  command,
  isStandby: mostly(false, true),
  hasPort: fc.boolean(),
  mustListen: mostly(false, true),
  inheritsLock: mostly(true, false),
  hasTerminal: fc.boolean(),
  toGroup: mostly(false, true),
  timeout: fc.constantFrom(0, 5000, 20_000),
  faults: fc.array(fault, { maxLength: 1 })
})

const victim = upTo(3)

const happening: fc.Arbitrary<Happening> = fc.oneof(
  fc.record({
    _tag: fc.constant("Signal" as const),
    victim,
    signal: fc.constantFrom<NodeJS.Signals[]>("SIGTERM", "SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1")
  }),
  fc.record({
    _tag: fc.constant("Key" as const),
    victim,
    signal: fc.constantFrom("SIGINT" as const, "SIGQUIT" as const)
  }),
  fc.record({ _tag: fc.constant("Suspend" as const), victim, millis: upTo(8000) }),
  fc.record({ _tag: fc.constant("KillWrapper" as const), victim }),
  fc.record({
    _tag: fc.constant("KillCommand" as const),
    victim,
    signal: fc.constantFrom<NodeJS.Signals[]>("SIGKILL", "SIGSEGV")
  }),
  fc.constant({ _tag: "Unlink" as const }),
  fc.record({ _tag: fc.constant("Lose" as const), millis: fc.integer({ min: 1000, max: 40_000 }) }),
  fc.record({ _tag: fc.constant("Stop" as const), force: fc.boolean() })
)

export const scenario: fc.Arbitrary<Scenario> = fc.record({
  order: upTo(2 ** 31 - 1),
  locking: mostly<Scenario["locking"]>("works", "absent"),
  contenders: fc.array(contender, { minLength: 1, maxLength: 4 }),
  events: fc.array(fc.record({ at: fc.oneof(upTo(5000), upTo(30_000)), what: happening }), { maxLength: 5 })
})

/** A command that runs until it is told to end, and then ends at once. */
export const quiet: Command = {
  lifetime: undefined,
  termDelay: 0,
  status: 0,
  diesBy: undefined,
  ignoresKeys: false,
  listensAfter: undefined,
  closesFiles: false,
  blocked: undefined,
  heirs: []
}

/** A start without flags, from no terminal, at the begin of the simulation. */
export const usual: Contender = {
  at: 0,
  command: quiet,
  isStandby: false,
  hasPort: true,
  mustListen: false,
  inheritsLock: true,
  hasTerminal: false,
  toGroup: false,
  timeout: 5000,
  faults: []
}
