/**
 * Node processes for the benchmark. The functions start a process, send it requests, and take the times of its events. Each
 * process is ended with its scope.
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { spawn } from "node:child_process"
import { readFileSync } from "node:fs"
import { get } from "node:http"
import { createServer } from "node:net"
import { env, execPath, platform } from "node:process"

/** A step of the benchmark failed. A slow result is not a failure. */
export class BenchFailed extends Data.TaggedError("BenchFailed")<{ readonly reason: string }> {
  override get message() {
    return this.reason
  }
}

/** How a process ended. Times are in nanoseconds of the benchmark's clock. */
export interface Ended {
  readonly at: bigint
  readonly by: number | NodeJS.Signals
  readonly output: string
}

export interface NodeProcess {
  readonly pid: number
  readonly startedAt: bigint
  readonly ended: Effect.Effect<Ended, BenchFailed>
  readonly kill: (signal: NodeJS.Signals) => void
  /** Completes when the process has written `text` to stdout or stderr. */
  readonly said: (text: string) => Effect.Effect<void, BenchFailed>
}

export const host = "127.0.0.1"

export const millis = (from: bigint, to: bigint): number => Number(to - from) / 1e6

/** The limit of each wait of the benchmark. */
export class WaitLimit extends Context.Reference<WaitLimit>()("gateway-lock/bench/WaitLimit", {
  defaultValue: (): Duration.Duration => Duration.seconds(60)
}) {}

/** Fails if a wait takes longer than `WaitLimit`. */
export const bounded =
  (what: string) => <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E | BenchFailed, R> =>
    Effect.flatMap(WaitLimit, (limit) =>
      Effect.timeoutFail(self, {
        duration: limit,
        onTimeout: () => new BenchFailed({ reason: `${what}: not within ${Duration.format(limit)}` })
      }))

/**
 * Environment variables that the started processes do not inherit. Each of them would change one of these: how Node starts, the
 * settings of the gateway, or the supervisor that the gateway detects.
 */
const foreign = /^(GATEWAY_|NODE_|SYSTEMD_|INVOCATION_ID$|NOTIFY_SOCKET$|JOURNAL_STREAM$|XPC_SERVICE_NAME$)/

/** Environment variables that the started processes have beside the inherited ones. */
export class Environment extends Context.Reference<Environment>()("gateway-lock/bench/Environment", {
  defaultValue: (): Readonly<Record<string, string>> => ({})
}) {}

const inherited = Object.fromEntries(Object.entries(env).filter(([name]) => !foreign.test(name)))

const launch = (program: string, args: ReadonlyArray<string>): Effect.Effect<NodeProcess, BenchFailed> =>
  Effect.gen(function*() {
    const clock = yield* Effect.clock
    const more = yield* Environment
    const name = `${program === execPath ? "node" : program} ${args.join(" ")}`
    const ended = yield* Deferred.make<Ended, BenchFailed>()
    const startedAt = clock.unsafeCurrentTimeNanos()
    const child = spawn(program, args, { env: { ...inherited, ...more }, stdio: ["ignore", "pipe", "pipe"] })
    let endedAt = startedAt
    let output = ""
    const listeners = new Set<() => void>()
    const collect = (chunk: Buffer) => {
      output += chunk.toString()
      for (const listener of listeners) listener()
    }
    const said = (text: string) =>
      bounded(`${name}: ${JSON.stringify(text)}`)(Effect.async<void>((resume) => {
        const look = () => {
          if (output.includes(text)) resume(Effect.void)
        }
        listeners.add(look)
        look()
        return Effect.sync(() => listeners.delete(look))
      }))
    child.stdout.on("data", collect)
    child.stderr.on("data", collect)
    child.on("exit", () => {
      endedAt = clock.unsafeCurrentTimeNanos()
    })
    child.on(
      "close",
      (status, signal) =>
        Deferred.unsafeDone(ended, Effect.succeed({ at: endedAt, by: signal ?? status ?? -1, output }))
    )
    child.on(
      "error",
      (error) => Deferred.unsafeDone(ended, new BenchFailed({ reason: `${name} did not start: ${error.message}` }))
    )
    if (child.pid === undefined) {
      return yield* Effect.zipRight(Deferred.await(ended), Effect.never)
    }
    return {
      pid: child.pid,
      startedAt,
      ended: Deferred.await(ended).pipe(bounded(`the end of ${name}`)),
      said,
      kill: (signal) => {
        child.kill(signal)
      }
    }
  })

/** Starts `node` with these arguments. The process is killed when the scope closes. */
export const startNode = (args: ReadonlyArray<string>): Effect.Effect<NodeProcess, BenchFailed, Scope.Scope> =>
  start(execPath, args)

/** Starts a program. The process is killed when the scope closes. */
export const start = (
  program: string,
  args: ReadonlyArray<string>
): Effect.Effect<NodeProcess, BenchFailed, Scope.Scope> =>
  Effect.acquireRelease(launch(program, args), (process) =>
    Effect.sync(() => process.kill("SIGKILL")).pipe(
      Effect.zipRight(Effect.interruptible(process.ended)),
      Effect.ignore
    ))

/**
 * Waits until a process ends. Fails if the exit status or signal differs from `by`, or if the output does not contain
 * `output`.
 */
export const expectEnd = (process: NodeProcess, by: Ended["by"], output = ""): Effect.Effect<Ended, BenchFailed> =>
  Effect.filterOrFail(
    process.ended,
    (ended) => ended.by === by && ended.output.includes(output),
    (ended) =>
      new BenchFailed({
        reason: `expected an end by ${by}${output === "" ? "" : ` and "${output}"`}, got ${ended.by}:\n${ended.output}`
      })
  )

const askOnce = (port: number): Effect.Effect<bigint, BenchFailed> =>
  Effect.flatMap(Effect.clock, (clock) =>
    Effect.async((resume) => {
      const headers = { connection: "close" }
      const request = get({ host, port, path: "/healthz", agent: false, headers }, (response) => {
        const at = clock.unsafeCurrentTimeNanos()
        const answer = response.statusCode === 200
          ? Effect.succeed(at)
          : new BenchFailed({ reason: `/healthz answered ${response.statusCode}` })
        response.resume().on("close", () => resume(answer))
      })
      request.on("error", (error) => resume(new BenchFailed({ reason: error.message })))
      return Effect.sync(() => {
        request.destroy()
      })
    }))

/**
 * Returns the time at which `process` first answered 200 on `/healthz`. When this effect completes, the connection of that request
 * is already closed.
 */
export const firstAnswer = (process: NodeProcess, port: number): Effect.Effect<bigint, BenchFailed> =>
  Effect.raceFirst(
    askOnce(port).pipe(Effect.retry(Schedule.spaced("1 millis")), bounded(`the first 200 of pid ${process.pid}`)),
    Effect.flatMap(
      process.ended,
      ({ by, output }) => new BenchFailed({ reason: `ended by ${by} before it answered on port ${port}:\n${output}` })
    )
  )

/** A port that was free a moment ago. Another process can take the port before the caller uses it. */
export const freePort: Effect.Effect<number, BenchFailed> = bounded("a free port")(
  Effect.async((resume) => {
    const server = createServer()
    server.on("error", (error) => resume(new BenchFailed({ reason: `no free port: ${error.message}` })))
    server.listen(0, host, () => {
      const address = server.address()
      server.close(() =>
        resume(
          address === null || typeof address === "string"
            ? new BenchFailed({ reason: `no free port: ${address}` })
            : Effect.succeed(address.port)
        )
      )
    })
  })
)

/**
 * The resident memory of a process (VmRSS) in MiB. Only Linux has this figure, so the result is `undefined` on other
 * platforms.
 */
export const residentMiB = ({ pid }: NodeProcess): Effect.Effect<number | undefined, BenchFailed> =>
  platform !== "linux" ? Effect.succeed(undefined) : Effect.try({
    try: () => Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024,
    catch: (cause) => new BenchFailed({ reason: `no memory figures of pid ${pid}: ${cause}` })
  }).pipe(
    Effect.filterOrFail(Number.isFinite, () => new BenchFailed({ reason: `no VmRSS in /proc/${pid}/status` }))
  )
