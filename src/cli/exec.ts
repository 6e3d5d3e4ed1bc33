/**
 * `gateway exec`: acquires the lock, runs any command, and releases the lock after the command has ended.
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import { toUrl } from "../Address.ts"
import * as Exec from "../exec/Exec.ts"
import * as ChildProgram from "../host/ChildProgram.ts"
import * as FileHolders from "../host/FileHolders.ts"
import * as PortOwners from "../host/PortOwners.ts"
import type * as ProbeTransport from "../host/ProbeTransport.ts"
import * as ProcessTable from "../host/ProcessTable.ts"
import * as ReceivedSignals from "../host/ReceivedSignals.ts"
import * as Signals from "../host/Signals.ts"
import * as LockFile from "../lock/LockFile.ts"
import { ensurePortFree } from "../lock/PortCheck.ts"
import * as HealthProbe from "../probe/HealthProbe.ts"
import { statusAt } from "../ready/statusAt.ts"
import type { GatewayConfig } from "../settings/GatewayConfig.ts"
import { decodeGiven, durationSetting, setting } from "../settings/Setting.ts"
import * as Recovery from "../supervisor/Recovery.ts"
import { defaultStopTimeout } from "../supervisor/ServiceOptions.ts"
import { passedSocket } from "../supervisor/SocketActivation.ts"
import type * as Supervisor from "../supervisor/Supervisor.ts"
import { extendTimeout, keepFed } from "../supervisor/SystemdNotify.ts"
import { spanned } from "../telemetry/spans.ts"
import type { ExecCommandLine } from "./CommandLine.ts"
import { Answered, EndedBySignal, ExitStatus } from "./ExitStatus.ts"
import {
  finalStatus,
  lockOptions,
  notifyMargin,
  recoveryOptions,
  runningHealthy,
  sayRunning,
  type Start,
  supervision
} from "./run.ts"

/** `exec`, or one of its flags, is not available on this platform. */
export class ExecUnavailable extends Data.TaggedError("ExecUnavailable")<{ readonly reason: string }> {
  override get message() {
    return this.reason
  }
}

const readySetting = setting<LockFile.OwnerRecord.Ready>({
  name: "readiness rule",
  flag: "ready",
  placeholder: "<rule>",
  description: "when the command is ready",
  allowed: "none, port, or http:/ and the rest of a path",
  default: "none",
  decode: (raw) =>
    raw === "none" || raw === "port"
      ? Option.some(raw)
      : typeof raw === "string" && raw.startsWith("http:/")
      ? Option.some(`http:/${raw.slice("http:/".length)}` as const)
      : Option.none()
})

const startTimeoutSetting = durationSetting({
  name: "start timeout",
  flag: "start-timeout",
  description: "time limit for the command to become ready",
  default: Duration.minutes(1)
})

const stopTimeoutSetting = durationSetting({
  name: "stop timeout of exec",
  flag: "stop-timeout",
  description: "time from SIGTERM to SIGKILL",
  default: defaultStopTimeout
})

const conflictSetting = setting<number>({
  name: "conflict exit status",
  flag: "conflict-exit-code",
  placeholder: "<status>",
  description: "exit status if the lock or the port is taken",
  allowed: "a whole number from 0 to 255",
  default: String(ExitStatus.taken),
  decode: (raw) =>
    typeof raw === "string" && /^\d{1,3}$/.test(raw) && Number(raw) <= 255 ? Option.some(Number(raw)) : Option.none()
})

/** Fails if `exec`, or one of its flags, is not available on a platform. */
export const checkPlatform = (
  { diesWithWrapper }: Pick<ExecCommandLine, "diesWithWrapper">,
  platform: string
): Effect.Effect<void, ExecUnavailable> => {
  if (platform === "win32") {
    return new ExecUnavailable({
      reason: "exec is not available on Windows; run it in WSL, or use LockFile of the library"
    })
  }
  return diesWithWrapper && platform !== "linux"
    ? new ExecUnavailable({ reason: "--die-with-wrapper is available only on Linux; start exec without it" })
    : Effect.void
}

const given = <A>(setting: Parameters<typeof decodeGiven<A>>[0], raw: string | undefined, otherwise: A) =>
  raw === undefined
    ? Effect.succeed(otherwise)
    : decodeGiven(setting, { raw, source: `--${setting.flag ?? setting.name}` })

/** The parsed flags of `exec`. */
export interface Flags {
  readonly ready: Option.Option<LockFile.OwnerRecord.Ready>
  readonly startTimeout: Duration.Duration
  readonly stopTimeout: Duration.Duration
}

/** Parses the flags of `exec`. Fails with `SettingInvalid` if a value is not allowed. */
export const parseFlags = (command: ExecCommandLine) =>
  Effect.gen(function*() {
    const ready = command.ready === undefined
      ? Option.none<LockFile.OwnerRecord.Ready>()
      : Option.some(yield* decodeGiven(readySetting, { raw: command.ready, source: "--ready" }))
    const flags: Flags = {
      ready,
      startTimeout: yield* given(startTimeoutSetting, command.startTimeout, Duration.minutes(1)),
      stopTimeout: yield* given(stopTimeoutSetting, command.stopTimeout, defaultStopTimeout)
    }
    return flags
  })

/** The exit status for a lock or a port that is taken. */
export const conflictStatus = (command: ExecCommandLine) =>
  given(conflictSetting, command.conflictStatus, ExitStatus.taken)

/**
 * The readiness rule that is written into the lock file's record. Other processes use this rule to judge whether the command is
 * healthy. By default the command must listen on its port. Without a port, it counts as healthy while the lock is held.
 */
const ruleOf = ({ hasPort }: ExecCommandLine, { ready }: Flags): LockFile.OwnerRecord.Ready =>
  Option.getOrElse(ready, () => hasPort ? "port" : "none")

// ---------------------------------------------------------------------------
// environment
// ---------------------------------------------------------------------------

/**
 * The variables that the command does not inherit; `environmentOf` makes an exception for `NOTIFY_SOCKET`. The first two can
 * contain secrets of the gateway. The others tell a process that systemd watches it, or that systemd passes sockets to it. This is
 * not true of the command.
 */
const withheld: ReadonlySet<string> = new Set([
  "GATEWAY_TOKEN",
  "GATEWAY_LEASE_URL",
  "NOTIFY_SOCKET",
  "WATCHDOG_USEC",
  "WATCHDOG_PID",
  "LISTEN_PID",
  "LISTEN_FDS",
  "LISTEN_FDNAMES"
])

/**
 * The environment of the command. If systemd supervises this process, the command also inherits `NOTIFY_SOCKET`, so that it can
 * send its own notifications to systemd. Pure.
 */
export const environmentOf = (
  own: Readonly<Record<string, string | undefined>>,
  port: number | undefined,
  isUnderSystemd: boolean
): Record<string, string> => ({
  ...Object.fromEntries(
    Object.entries(own).flatMap(([name, value]) =>
      value === undefined || (withheld.has(name) && !(isUnderSystemd && name === "NOTIFY_SOCKET"))
        ? []
        : [[name, value]]
    )
  ),
  ...(port === undefined ? {} : { PORT: String(port) })
})

// ---------------------------------------------------------------------------
// readiness
// ---------------------------------------------------------------------------

/** The pids of a process and of all its descendants. */
const familyOf = (pid: number) =>
  Effect.flatMap(
    ProcessTable.ProcessTable,
    ({ tree }) => Effect.map(tree([pid]), (family) => family.map(({ pid }) => pid))
  )

/** Whether a process or one of its descendants listens on a port. */
const listensOn = (port: number, pid: number) =>
  Effect.gen(function*() {
    const family = yield* familyOf(pid)
    const seen = yield* Effect.flatMap(PortOwners.PortOwners, ({ listeners }) => listeners(port, family))
    return seen._tag === "Seen" &&
      seen.listeners.some((listener) => listener.pid !== undefined && family.includes(listener.pid))
  })

/** Whether a path answers with a status of 200 to 299 within the probe timeout. */
const answers = (path: string, { health, host, port }: GatewayConfig) =>
  Effect.map(
    statusAt({ host, port }, path, health),
    (status) => status !== undefined && status >= 200 && status <= 299
  )

type Evidence = ProbeTransport.ProbeTransport | PortOwners.PortOwners | ProcessTable.ProcessTable

const isReady = (
  rule: LockFile.OwnerRecord.Ready,
  config: GatewayConfig,
  pid: number
): Effect.Effect<boolean, never, Evidence> =>
  rule === "none"
    ? Effect.succeed(true)
    : rule === "port"
    ? listensOn(config.port, pid)
    // Another program on the port could give the expected answer. So the answer counts only if a process of the command listens.
    : Effect.flatMap(
      listensOn(config.port, pid),
      (listens) => listens ? answers(rule.slice("http:".length), config) : Effect.succeed(false)
    )

/** Names the ports on which the command listens, for the warning that the command is not ready. */
const describePorts = (pid: number) =>
  Effect.gen(function*() {
    const family = yield* familyOf(pid)
    const ports = yield* Effect.flatMap(PortOwners.PortOwners, ({ portsOf }) => portsOf(family))
    return ports.length === 0
      ? "it listens on no port"
      : `it listens on port ${ports.join(" and ")}; many programs take their port from an argument instead of PORT`
  })

// ---------------------------------------------------------------------------
// running
// ---------------------------------------------------------------------------

const relayed: ReadonlyArray<NodeJS.Signals> = [
  "SIGTERM",
  "SIGHUP",
  "SIGINT",
  "SIGQUIT",
  "SIGUSR1",
  "SIGUSR2",
  "SIGWINCH",
  "SIGCONT"
]

const endsWaiting: ReadonlySet<NodeJS.Signals> = new Set(["SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT"])

/**
 * Listens for all signals that are relayed to the command. If this process has a terminal, it does not listen for SIGTSTP.
 * Ctrl+Z sends SIGTSTP to the command and to this process. Without a listener, the signal suspends this process too.
 */
const listen = Effect.gen(function*() {
  const signals = yield* ReceivedSignals.ReceivedSignals
  const hasTerminal = (yield* signals.terminal) !== "None"
  return yield* signals.listen(hasTerminal ? relayed : [...relayed, "SIGTSTP"])
})

/** Completes when a signal asks this process to end. Used only while the command does not run yet. */
const askedToEnd = (signals: Queue.Dequeue<NodeJS.Signals>) =>
  Queue.take(signals).pipe(
    Effect.repeat({ until: (signal) => endsWaiting.has(signal) }),
    Effect.map((signal) => new EndedBySignal({ signal }))
  )

/**
 * Acquires the lock, then probes the port once more. The start also probes the port before it waits for the lock, but another
 * program may bind the port during that wait.
 */
const acquire = (start: Start, command: ExecCommandLine, rule: LockFile.OwnerRecord.Ready) => {
  const options = { ...lockOptions(start), mode: "exec" as const, ready: rule }
  const lock = command.hasPort ? options : { ...options, address: undefined }
  return Effect.gen(function*() {
    const context = yield* Layer.build(LockFile.layerWithProbes(lock))
    yield* Effect.provide(ensurePortFree(lock), context)
    return context
  }).pipe(
    spanned("gateway.start", { "gateway.profile": start.config.profile, "gateway.supervisor": start.verdict.kind })
  )
}

/**
 * The program to start, and its arguments. For `--die-with-wrapper`, setpriv(1) starts the command. setpriv asks the kernel to
 * kill the command when this process ends (`PR_SET_PDEATHSIG` in prctl(2)).
 */
const wordsOf = ({ diesWithWrapper, words }: ExecCommandLine): ExecCommandLine["words"] =>
  diesWithWrapper ? ["setpriv", "--pdeathsig", "KILL", "--", ...words] : words

const runChild = (
  start: Start,
  command: ExecCommandLine,
  flags: Flags,
  environment: Readonly<Record<string, string | undefined>>,
  signals: Queue.Dequeue<NodeJS.Signals>
) =>
  Effect.gen(function*() {
    const { config, systemd, verdict } = start
    const rule = ruleOf(command, flags)
    const [program, ...args] = wordsOf(command)
    const context = yield* Effect.context<Evidence>()
    const lock = yield* LockFile.LockFile
    // The wait for another owner may have used up `TimeoutStartSec`. From here on, the command has the start timeout.
    yield* systemd.notify(
      `STATUS=starting ${command.words[0]}`,
      extendTimeout(Duration.sum(Duration.sum(flags.startTimeout, flags.stopTimeout), notifyMargin))
    )
    yield* Effect.logInfo(`starting ${JSON.stringify(command.words[0])} with gateway lock ${lock.path}`)
    const ended = yield* Exec.run({
      command: program,
      args,
      env: environmentOf(environment, command.hasPort ? config.port : undefined, verdict.kind === "systemd"),
      readiness: {
        mode: rule === "none" ? "none" : Option.isSome(flags.ready) ? "require" : "report",
        rule: rule === "port" ? `it does not listen on port ${config.port}` : rule,
        isReady: ({ pid }) => Effect.provide(isReady(rule, config, pid), context),
        describe: ({ pid }) => Effect.provide(describePorts(pid), context),
        startTimeout: flags.startTimeout
      },
      stopTimeout: flags.stopTimeout,
      inheritsLock: command.inheritsLock,
      toGroup: command.toGroup,
      onReady: Effect.asVoid(systemd.notify(
        "READY=1",
        `STATUS=running ${command.words[0]}${rule === "none" ? "" : `, listening on ${toUrl(start.address)}`}`
      )),
      // systemd must not end a working program that ignores its port. With `--ready`, `exec` itself ends such a program.
      onLate: Effect.asVoid(
        systemd.notify("READY=1", `STATUS=running ${command.words[0]}, which does not listen on port ${config.port}`)
      ),
      signals
    })
    return ended._tag === "Exited"
      ? new Answered({ status: ended.status })
      : new EndedBySignal({ signal: ended.signal })
  })

/** Feeds systemd's watchdog while the command runs, because the command does not get the watchdog's environment variables. */
const feedWatchdog = ({ systemd }: Start) =>
  Option.match(systemd.watchdog, {
    onNone: () => Effect.void,
    onSome: (interval) => Effect.asVoid(Effect.forkScoped(keepFed(interval, systemd.notify("WATCHDOG=1"))))
  })

const Live = Layer.mergeAll(
  ChildProgram.layerLive,
  ReceivedSignals.layerLive,
  FileHolders.layerLive,
  PortOwners.layerLive,
  Signals.layerLive
)

const execNotifying = (
  start: Start,
  command: ExecCommandLine,
  flags: Flags,
  environment: Readonly<Record<string, string | undefined>>
) =>
  Effect.gen(function*() {
    const { config } = start
    const signals = yield* listen
    if (command.ensure) {
      const running = yield* runningHealthy(config)
      if (Option.isSome(running)) return yield* Effect.as(sayRunning(running.value), new Answered({ status: 0 }))
    }
    const recover = command.standby ? Recovery.standby : Recovery.recover
    const acquired = yield* recover(acquire(start, command, ruleOf(command, flags)), recoveryOptions(start)).pipe(
      Effect.raceFirst(askedToEnd(signals))
    )
    if (acquired instanceof EndedBySignal) return acquired
    yield* feedWatchdog(start)
    return yield* Effect.provide(
      runChild(start, command, flags, environment, signals),
      Context.pick(LockFile.LockFile)(acquired)
    )
  }).pipe(
    Effect.scoped,
    Effect.provideServiceEffect(HealthProbe.HealthProbe, HealthProbe.make(start.config.health)),
    Effect.provide(Live)
  )

/**
 * Acquires the lock, then runs the command. Succeeds with the command's exit status, or with the signal that ended it. Fails if
 * the lock cannot be acquired, with the same errors as `gateway run`. Also fails with `SpawnFailed`, `NotReady` or `LockLost`.
 */
export const exec = (
  config: GatewayConfig,
  command: ExecCommandLine,
  facts: Supervisor.ProcessFacts,
  environment: Readonly<Record<string, string | undefined>>
) =>
  Effect.gen(function*() {
    yield* checkPlatform(command, facts.platform)
    const flags = yield* parseFlags(command)
    const { systemd, verdict } = yield* supervision(config, facts)
    const start: Start = {
      config,
      options: command,
      verdict,
      systemd,
      address: { host: config.host, port: config.port },
      passedSocket: Option.getOrUndefined(yield* passedSocket(facts.pid)),
      beforeWaiting: Effect.void
    }
    return yield* execNotifying(start, command, flags, environment).pipe(
      Effect.onExit((exit) => systemd.notify(`STATUS=${finalStatus(exit)}`))
    )
  })
