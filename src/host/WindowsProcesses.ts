/**
 * Reads the processes of Windows with a CIM query in PowerShell (`Win32_Process`).
 *
 * @since 0.1.0
 */
import type * as CommandExecutor from "@effect/platform/CommandExecutor"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import type * as Scope from "effect/Scope"
import { child, output } from "../internal/child.ts"
import { type Check, type Checks, isNumber, isText, parseJson, pick } from "../internal/plainJson.ts"
import { Sighting } from "./Liveness.ts"
import { lookBy, ownClock, type ProcessHandle, type Source } from "./ProcessSource.ts"

/** A process in the answer of the CIM query. */
interface CimProcess {
  readonly ProcessId: number
  readonly Name: string | null
  /** The time of creation in ISO 8601, UTC. `null` if Windows has none, as for its idle process. */
  readonly Created: string | null
}

const isTextOrNull: Check = (value) => value === null || isText(value)
const checks: Checks<CimProcess> = { ProcessId: isNumber, Name: isTextOrNull, Created: isTextOrNull }

/** A process as Windows describes it. */
interface WindowsProcess {
  /** The program's file name. */
  readonly name: string
  /** When the process was created, in milliseconds since the epoch. */
  readonly created: number
}

/**
 * Reads the answer of the CIM query, a JSON text such as
 * `[{"ProcessId":4,"Name":"node.exe","Created":"2026-01-01T00:00:00.0000000Z"}]`, into a map by pid.
 *
 * Processes without a name or a time of creation are left out. `None` if the text has another form.
 *
 * @since 0.1.0
 * @category decoding
 */
export const parseCim = (text: string): Option.Option<ReadonlyMap<number, WindowsProcess>> =>
  Option.flatMap(parseJson(text.trim()), (answer) => {
    const values: ReadonlyArray<unknown> = Array.isArray(answer) ? answer : [answer]
    return Option.map(
      Option.all(values.map((value) => Option.fromNullable(pick(checks, value)))),
      (processes) =>
        new Map(processes.flatMap(({ Created, Name, ProcessId }) => {
          const created = Date.parse(Created ?? "")
          return Name === null || Number.isNaN(created) ? [] : [[ProcessId, { name: Name, created }] as const]
        }))
    )
  })

/**
 * Lists all processes, so that one query answers every lookup that arrives while the query runs. The query calls only methods of
 * PowerShell's core types, because PowerShell on a locked-down machine forbids methods of other types (PowerShell's
 * about_Language_Modes, ConstrainedLanguage).
 */
const cimQuery = "Get-CimInstance Win32_Process -Property ProcessId,Name,CreationDate | "
  + "Select-Object ProcessId,Name,@{n='Created';e={if($_.CreationDate){$_.CreationDate.ToUniversalTime().ToString('o')}}} | "
  + "ConvertTo-Json -Compress"

/**
 * How long a lookup of a process may wait for PowerShell, which is slow to start. Other platforms than Windows ignore this value.
 *
 * The time counts from the start of PowerShell. PowerShell continues after the lookup times out, so a later lookup gets the
 * answer of PowerShell. By default a lookup waits until PowerShell ends, ten seconds at most. A starting gateway does not wait at
 * all. An inspection of a gateway (`gateway status`) waits for PowerShell at most as long as it waits for a probe of the port.
 *
 * @since 0.1.0
 * @category references
 */
export class Patience extends Context.Reference<Patience>()("gateway-lock/ProcessTable/Patience", {
  defaultValue: () => Duration.infinity
}) {}

/** How long one query of the processes may take. PowerShell alone takes a second to start, and several seconds on a slow machine. */
const cimTimeout = Duration.seconds(10)

/**
 * Both times are in milliseconds. An answer is reused for `freshFor`. After a failed query, the next query starts after
 * `retryAfter` at the earliest.
 */
const [freshFor, retryAfter] = [2000, 30_000]

interface Query {
  readonly began: number
  readonly answer: Deferred.Deferred<Option.Option<ReadonlyMap<number, WindowsProcess>>>
  /** The time before which no other query starts, in milliseconds. Infinite while this query runs. */
  readonly until: Ref.Ref<number>
}

const nowMillis = Effect.map(Clock.currentTimeNanos, (nanos) => Number(nanos) / 1_000_000)

/**
 * The source of process facts on Windows: PowerShell. Node can check that another process exists (`process.kill(pid, 0)`), but
 * cannot read when that process started. PowerShell is slow, so it is queried only about pids that exist.
 */
export const windows = (
  handle: ProcessHandle
): Effect.Effect<Source, never, CommandExecutor.CommandExecutor | Scope.Scope> =>
  Effect.gen(function*() {
    const context = yield* Effect.context<CommandExecutor.CommandExecutor>()
    const scope = yield* Effect.scope
    const turn = yield* Effect.makeSemaphore(1)
    const last = yield* Ref.make(Option.none<Query>())

    /** Returns the running query, or the last one while its answer is still valid. Otherwise starts a new query. */
    const query = Effect.gen(function*() {
      const now = yield* nowMillis
      const before = yield* Ref.get(last)
      if (Option.isSome(before) && now < (yield* Ref.get(before.value.until))) return before.value
      const answer = yield* Deferred.make<Option.Option<ReadonlyMap<number, WindowsProcess>>>()
      const until = yield* Ref.make(Number.POSITIVE_INFINITY)
      const next: Query = { began: now, answer, until }
      yield* output(child("powershell.exe", "-NoProfile", "-NonInteractive", "-Command", cimQuery), cimTimeout).pipe(
        Effect.map(parseCim),
        Effect.orElseSucceed(() => Option.none()),
        Effect.onExit((exit) =>
          Effect.flatMap(nowMillis, (now) =>
            Ref.set(until, now + (Exit.isSuccess(exit) && Option.isSome(exit.value) ? freshFor : retryAfter)))
        ),
        Effect.intoDeferred(answer),
        Effect.interruptible,
        // The query runs in the scope of the process table, so PowerShell ends when that scope closes.
        Effect.forkIn(scope)
      )
      yield* Ref.set(last, Option.some(next))
      return next
    }).pipe(Effect.uninterruptible, turn.withPermits(1), Effect.provide(context))

    const known = (pid: number): Effect.Effect<Option.Option<WindowsProcess>> =>
      Effect.gen(function*() {
        const { answer, began } = yield* query
        const patience = Duration.toMillis(Duration.min(yield* Patience, cimTimeout))
        const left = Math.max(0, began + patience - (yield* nowMillis))
        const found = (yield* Deferred.isDone(answer))
          ? yield* Deferred.await(answer)
          : left === 0
          ? Option.none()
          : Option.flatten(yield* Effect.timeoutOption(Deferred.await(answer), Duration.millis(left)))
        return Option.flatMapNullable(found, (processes) =>
          processes.get(pid))
      })

    const look = (pid: number): Effect.Effect<Sighting> =>
      lookBy(handle, pid, Effect.map(known(pid), Option.map(({ created }) => Sighting.present(created))))
    return {
      self: Effect.succeed({ pid: handle.pid, startTime: handle.startedAt }),
      look,
      commandName: (pid) => Effect.map(known(pid), Option.map(({ name }) => name)),
      network: () => Effect.succeed("Same"),
      ...ownClock
    }
  })
