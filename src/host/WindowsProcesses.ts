/**
 * The processes of Windows, from a CIM query by PowerShell (`Win32_Process`).
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
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { child, output } from "../internal/child.ts"
import { Sighting } from "./Liveness.ts"
import { lookBy, ownClock, type ProcessHandle, type Source } from "./ProcessSource.ts"

const CimProcess = Schema.Struct({
  ProcessId: Schema.Number,
  Name: Schema.NullOr(Schema.String),
  /** ISO 8601, UTC; `null` where Windows has none, as for its idle process. */
  Created: Schema.NullOr(Schema.String)
})
const CimProcesses = Schema.parseJson(Schema.Union(Schema.Array(CimProcess), CimProcess))

/** What Windows tells of a process: its program's file name, and when it was created, in milliseconds since the epoch. */
interface Known {
  readonly name: string
  readonly created: number
}

/**
 * Reads the answer of the CIM query, by pid: `[{"ProcessId":4,"Name":"node.exe","Created":"2026-01-01T00:00:00.0000000Z"}]`. A
 * process without a name or a time is left out. `None` for anything else.
 *
 * @since 0.1.0
 * @category decoding
 */
export const parseCim = (text: string): Option.Option<ReadonlyMap<number, Known>> =>
  Option.map(
    Schema.decodeUnknownOption(CimProcesses)(text.trim()),
    (answer) =>
      new Map(
        [answer].flat().flatMap(({ Created, Name, ProcessId }) => {
          const created = Date.parse(Created ?? "")
          return Name === null || Number.isNaN(created) ? [] : [[ProcessId, { name: Name, created }] as const]
        })
      )
  )

/**
 * All processes, so that one query answers whatever is asked while it runs. Nothing that the language mode of a locked down
 * machine forbids: methods of the core types alone (PowerShell's about_Language_Modes, ConstrainedLanguage).
 */
const cimQuery = "Get-CimInstance Win32_Process -Property ProcessId,Name,CreationDate | "
  + "Select-Object ProcessId,Name,@{n='Created';e={if($_.CreationDate){$_.CreationDate.ToUniversalTime().ToString('o')}}} | "
  + "ConvertTo-Json -Compress"

/**
 * How long a question about a process may wait for the system, where that takes a program that is slow to start: PowerShell.
 * Counted from the start of that program, which goes on: a later question has its answer. Default: until it ends, ten seconds
 * at most. A start does not wait at all, a look at a gateway for as long as for a probe.
 *
 * @since 0.1.0
 * @category references
 */
export class Patience extends Context.Reference<Patience>()("gateway-lock/ProcessTable/Patience", {
  defaultValue: () => Duration.infinity
}) {}

/** PowerShell alone needs a second to start; on a slow machine several. */
const cimTimeout = Duration.seconds(10)

/** An answer is used so long, in milliseconds; one that failed to come is not asked for again so soon. */
const [freshFor, retryAfter] = [2000, 30_000]

interface Query {
  readonly began: number
  readonly answer: Deferred.Deferred<Option.Option<ReadonlyMap<number, Known>>>
  /** Until when nothing else is asked. Unknown while it runs. */
  readonly until: Ref.Ref<number>
}

const nowMillis = Effect.map(Clock.currentTimeNanos, (nanos) => Number(nanos) / 1_000_000)

/**
 * Node tells of no process but its own when it started (`process.kill(pid, 0)` says that there is one), so Windows is asked by
 * PowerShell, and only about a pid that there is.
 */
export const windows = (
  handle: ProcessHandle
): Effect.Effect<Source, never, CommandExecutor.CommandExecutor | Scope.Scope> =>
  Effect.gen(function*() {
    const context = yield* Effect.context<CommandExecutor.CommandExecutor>()
    const scope = yield* Effect.scope
    const turn = yield* Effect.makeSemaphore(1)
    const last = yield* Ref.make(Option.none<Query>())

    /** The query that runs or has just answered, or a new one. */
    const query = Effect.gen(function*() {
      const now = yield* nowMillis
      const before = yield* Ref.get(last)
      if (Option.isSome(before) && now < (yield* Ref.get(before.value.until))) return before.value
      const answer = yield* Deferred.make<Option.Option<ReadonlyMap<number, Known>>>()
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
        // When the table goes, the program goes.
        Effect.forkIn(scope)
      )
      yield* Ref.set(last, Option.some(next))
      return next
    }).pipe(Effect.uninterruptible, turn.withPermits(1), Effect.provide(context))

    const known = (pid: number): Effect.Effect<Option.Option<Known>> =>
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
