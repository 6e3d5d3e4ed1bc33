/**
 * `gateway exec`: acquires the lock, runs any command, and releases the lock after the command has ended.
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import type * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { toUrl } from "../Address.ts"
import * as Exec from "../exec/Exec.ts"
import type { Lead } from "../exec/Lead.ts"
import { BindFailed, type LeaseUnavailable } from "../GatewayLockError.ts"
import * as ChildProgram from "../host/ChildProgram.ts"
import type { WatchdogFailed } from "../host/CommandWatchdog.ts"
import * as FileHolders from "../host/FileHolders.ts"
import * as PortOwners from "../host/PortOwners.ts"
import * as ReceivedSignals from "../host/ReceivedSignals.ts"
import * as Signals from "../host/Signals.ts"
import { reported } from "../internal/WaitDisplay.ts"
import * as LockFile from "../lock/LockFile.ts"
import { ensurePortFree } from "../lock/PortCheck.ts"
import * as HealthProbe from "../probe/HealthProbe.ts"
import { loadReport } from "../report/loadReport.ts"
import * as InheritableSocket from "../server/node/InheritableSocket.ts"
import { bindExclusively } from "../server/PortBinding.ts"
import type { GatewayConfig } from "../settings/GatewayConfig.ts"
import * as Recovery from "../supervisor/Recovery.ts"
import { passedSocket } from "../supervisor/SocketActivation.ts"
import type * as Supervisor from "../supervisor/Supervisor.ts"
import { extendTimeout, keepFed } from "../supervisor/SystemdNotify.ts"
import * as UnitReadiness from "../supervisor/UnitReadiness.ts"
import { spanned } from "../telemetry/spans.ts"
import type { ExecCommandLine } from "./CommandLine.ts"
import { checkPlatform, type Flags, parseFlags } from "./execFlags.ts"
import { describePorts, describeRule, type Evidence, isReady, type Rule } from "./execReadiness.ts"
import { Answered, EndedBySignal } from "./ExitStatus.ts"
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

export { conflictStatus } from "./execFlags.ts"

/**
 * The readiness rule that is written into the lock file's record. Other processes use this rule to judge whether the command is
 * healthy. By default the command must listen on its port. Without a port, or on a passed socket, which listens from the start, it
 * counts as healthy while the lock is held.
 */
const ruleOf = ({ hasPort, listens }: ExecCommandLine, { ready }: Flags): LockFile.OwnerRecord.Ready =>
  Option.getOrElse(ready, () => hasPort && !listens ? "port" : "none")

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
  "LISTEN_FDNAMES",
  "LISTEN_PIDFDID"
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
 * The program to start, and its arguments. For `--die-with-wrapper`, setpriv(1) starts the command. setpriv asks the kernel to
 * kill the command when this process ends (`PR_SET_PDEATHSIG` in prctl(2)).
 */
const wordsOf = ({ diesWithWrapper, words }: ExecCommandLine): ExecCommandLine["words"] =>
  diesWithWrapper ? ["setpriv", "--pdeathsig", "KILL", "--", ...words] : words

/** The options with which the command runs. */
const execOptions = (
  { address, config, systemd, verdict }: Start,
  command: ExecCommandLine,
  flags: Flags,
  environment: Readonly<Record<string, string | undefined>>,
  signals: Queue.Dequeue<NodeJS.Signals>,
  rule: Rule
) =>
  Effect.map(Effect.context<Evidence>(), (context): Exec.ExecOptions => {
    const [program, ...args] = wordsOf(command)
    return {
      command: program,
      args,
      env: environmentOf(environment, command.hasPort ? config.port : undefined, verdict.kind === "systemd"),
      readiness: {
        mode: rule.name === "none" ? "none" : Option.isSome(flags.ready) ? "require" : "report",
        rule: describeRule(rule.name, config),
        isReady: ({ pid }) => Effect.provide(isReady(rule, config, pid), context),
        describe: ({ pid }) => Effect.provide(describePorts(pid), context),
        startTimeout: flags.startTimeout
      },
      stopTimeout: flags.stopTimeout,
      inheritsLock: command.inheritsLock,
      toGroup: command.toGroup,
      // A command with the rule `notify` has already told systemd that it is ready, and may have sent a status of its own.
      onReady: rule.name === "notify"
        ? Effect.void
        : Effect.asVoid(systemd.notify(
          "READY=1",
          `STATUS=running ${command.words[0]}${
            rule.name === "none" && !command.listens ? "" : `, listening on ${toUrl(address)}`
          }`
        )),
      // systemd must not end a working program that ignores its port. With `--ready`, `exec` itself ends such a program.
      onLate: Effect.asVoid(
        systemd.notify("READY=1", `STATUS=running ${command.words[0]}, which does not listen on port ${config.port}`)
      ),
      signals
    }
  })

/** Binds the sockets that are passed to the command: that of the host, and that of the guard address (see `PortBinding`). */
const sockets = ({ address, passedSocket }: Start) =>
  Effect.gen(function*() {
    const { bind } = yield* InheritableSocket.InheritableSockets
    const bound = yield* bindExclusively({ ...address, passedSocket }, bind({ address, passedSocket }))
    return yield* Effect.mapError(bound.descriptors, ({ reason }) => new BindFailed({ ...address, reason }))
  })

/**
 * Waits until this host leads, and leads until the scope closes. Made only if a lease is configured, so that its code is not loaded
 * otherwise.
 */
export type AwaitLead = (
  lock: LockFile.LockFile["Type"]
) => Effect.Effect<Lead, LeaseUnavailable | WatchdogFailed, Scope.Scope>

/**
 * Acquires the lock, then probes the port once more. The start also probes the port before it waits for the lock, but another
 * program may bind the port during that wait.
 *
 * With `--listen`, binds the port instead of probing it, and starts the command with the sockets. Both are part of the attempt, so
 * that another owner of the port is treated as for `gateway run`. The command does not begin yet. With a lease, the port is bound
 * only by a leader, because clients would wait for ever on a socket that no command accepts.
 */
const acquire = (
  start: Start,
  command: ExecCommandLine,
  options: Exec.ExecOptions,
  rule: Rule,
  bindsNow: boolean
) => {
  const withPort = { ...lockOptions(start), mode: "exec" as const, ready: rule.name }
  const lock = command.hasPort ? withPort : { ...withPort, address: undefined }
  return Effect.gen(function*() {
    const context = yield* Layer.build(LockFile.layerWithProbes(lock))
    const probePort = Effect.provide(ensurePortFree(lock), context)
    /** Starts the command, with the bound sockets if it gets any. */
    const startCommand = (options: Exec.ExecOptions) =>
      Effect.provide(command.listens ? Exec.start(options, sockets(start)) : Exec.start(options), context)
    if (!bindsNow) yield* probePort
    const running = bindsNow ? Option.some(yield* startCommand(options)) : Option.none<Exec.Running>()
    return { lock: Context.get(context, LockFile.LockFile), probePort, startCommand, running }
  }).pipe(
    spanned("gateway.start", { "gateway.profile": start.config.profile, "gateway.supervisor": start.verdict.kind })
  )
}

type Acquired = Effect.Effect.Success<ReturnType<typeof acquire>>

/**
 * Waits to lead, until a signal asks this process to end or the lock is lost. The wait can take days, so systemd is told that the
 * service is ready, and the port is probed again afterwards.
 */
const awaitLeadership = (
  { systemd }: Start,
  { listens }: ExecCommandLine,
  { lock, probePort }: Acquired,
  awaitLead: AwaitLead,
  signals: Queue.Dequeue<NodeJS.Signals>
) =>
  Effect.gen(function*() {
    yield* systemd.notify("READY=1", "STATUS=waits to lead")
    const lead = yield* awaitLead(lock).pipe(
      Effect.raceFirst(askedToEnd(signals)),
      Effect.raceFirst(lock.lost)
    )
    if (!(lead instanceof EndedBySignal) && !listens) yield* probePort
    return lead
  })

/** Runs the command, or lets it begin if it was started with the lock, and returns how it ended. */
const runChild = (
  { config, systemd, verdict }: Start,
  command: ExecCommandLine,
  options: Exec.ExecOptions,
  rule: Rule,
  { running: started, startCommand }: Acquired
) =>
  Effect.gen(function*() {
    const lock = yield* LockFile.LockFile
    // The wait for another owner may have used up `TimeoutStartSec`. From here on, the command has the start timeout.
    yield* systemd.notify(
      // With the rule `notify`, `exec` sends no status after this one, which could hide the command's own.
      `STATUS=${rule.name === "notify" ? "running" : "starting"} ${command.words[0]}`,
      extendTimeout(Duration.sum(Duration.sum(options.readiness.startTimeout, options.stopTimeout), notifyMargin))
    )
    yield* Effect.logInfo(`starting ${JSON.stringify(command.words[0])} with gateway lock ${lock.path}`).pipe(
      Effect.annotateLogs({
        profile: config.profile,
        ...(command.hasPort ? { port: config.port } : {}),
        lock: lock.path,
        supervisor: verdict.kind
      })
    )
    const running = Option.isSome(started) ? started.value : yield* startCommand(options)
    const ended = yield* Exec.attend(running, options)
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

/**
 * Runs the command after a start whose supervisor is known. Needs the services that start and signal processes, so that tests can
 * run it on a simulated host. With `awaitLead`, the command runs only while this host leads.
 */
export const execWith = (
  start: Start,
  command: ExecCommandLine,
  flags: Flags,
  environment: Readonly<Record<string, string | undefined>>,
  rule: Rule,
  awaitLead?: AwaitLead
) =>
  Effect.gen(function*() {
    const { config } = start
    const signals = yield* listen
    if (command.ensure) {
      const running = yield* runningHealthy(config)
      if (Option.isSome(running)) return yield* Effect.as(sayRunning(running.value), new Answered({ status: 0 }))
    }
    const options = yield* execOptions(start, command, flags, environment, signals, rule)
    const recover = command.standby ? Recovery.standby : Recovery.recover
    const bindsNow = command.listens && awaitLead === undefined
    const wait = yield* reported
    const starting = acquire(start, command, options, rule, bindsNow)
    const acquired = yield* recover(starting, recoveryOptions(start, wait.report)).pipe(
      wait.during(),
      Effect.raceFirst(askedToEnd(signals))
    )
    if (acquired instanceof EndedBySignal) return acquired
    yield* feedWatchdog(start)
    const lead = awaitLead === undefined
      ? undefined
      : yield* awaitLeadership(start, command, acquired, awaitLead, signals)
    if (lead instanceof EndedBySignal) return lead
    return yield* Effect.provideService(
      runChild(start, command, { ...options, lead }, rule, acquired),
      LockFile.LockFile,
      acquired.lock
    )
  }).pipe(
    Effect.scoped,
    Effect.provideServiceEffect(HealthProbe.HealthProbe, HealthProbe.make(start.config.health))
  )

/**
 * The services of the running system that `execWith` needs. They are made without layers, because each layer would delay the start by a
 * fraction of a millisecond.
 */
const live = Effect.gen(function*() {
  const owners = yield* PortOwners.makeLive
  const signals = yield* Signals.makeLive
  return Context.make(ChildProgram.ChildProgram, ChildProgram.live).pipe(
    Context.add(ReceivedSignals.ReceivedSignals, ReceivedSignals.live),
    Context.add(FileHolders.FileHolders, FileHolders.live),
    Context.add(PortOwners.PortOwners, owners),
    Context.add(Signals.Signals, signals),
    Context.add(InheritableSocket.InheritableSockets, InheritableSocket.live)
  )
})

/** Makes the effect that waits to lead, if a lease is configured. */
const leading = (
  { config, systemd }: Start,
  { hasPort }: ExecCommandLine,
  url: Option.Option<Redacted.Redacted>,
  isJson: boolean
) =>
  Option.match(url, {
    onNone: () => Effect.succeed(undefined),
    onSome: (url) =>
      // Loaded before any wait, because an upgrade may replace or remove the program's files meanwhile.
      Effect.flatMap(
        Effect.promise(() => import("./execLead.ts")),
        ({ make }) => make({ config, url, systemd, hasPort, isJson })
      )
  })

/**
 * Acquires the lock, then runs the command. Succeeds with the command's exit status, or with the signal that ended it. Fails if
 * the lock cannot be acquired, with the same errors as `gateway run`. Also fails with `SpawnFailed`, `NotReady` or `LockLost`.
 *
 * With `leaseUrl`, the command runs only while this host leads. Then it also fails with `LeadershipLost`, `LeaseUnavailable` or
 * `WatchdogFailed`.
 *
 * `makeRoom` stops the present owner for `--force`. It runs after all flags are checked, so that a bad flag stops no owner.
 */
export const exec = <E, R>(
  config: GatewayConfig,
  command: ExecCommandLine,
  facts: Supervisor.ProcessFacts,
  environment: Readonly<Record<string, string | undefined>>,
  makeRoom: Effect.Effect<void, E, R>,
  { isJson, leaseUrl }: { readonly isJson: boolean; readonly leaseUrl: Option.Option<Redacted.Redacted> }
) =>
  Effect.gen(function*() {
    yield* checkPlatform(command, facts.platform)
    const flags = yield* parseFlags(command)
    const { systemd, verdict } = yield* supervision(config, facts)
    const name = ruleOf(command, flags)
    const rule: Rule = {
      name,
      hasNotified: name === "notify" ? yield* UnitReadiness.make(facts.pid, verdict) : Effect.succeed(false)
    }
    const start: Start = {
      config,
      options: command,
      verdict,
      systemd,
      address: { host: config.host, port: config.port },
      passedSocket: Option.getOrUndefined(yield* passedSocket(facts.pid)),
      beforeWaiting: Effect.void
    }
    if (isJson) yield* loadReport
    yield* makeRoom
    const awaitLead = yield* leading(start, command, leaseUrl, isJson)
    return yield* execWith(start, command, flags, environment, rule, awaitLead).pipe(
      (self) => Effect.flatMap(live, (context) => Effect.provide(self, context)),
      Effect.onExit((exit) => systemd.notify(`STATUS=${finalStatus(exit)}`))
    )
  })
