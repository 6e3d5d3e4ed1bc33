/**
 * The link of a simulated host to the simulated store: how a statement travels to the server and back.
 *
 * @since 0.1.0
 */
import type * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { LeaseStore, type StoreError, StoreFailed } from "../leader/LeaseStore.ts"
import { CurrentProcess } from "./CurrentProcess.ts"
import * as LeaseServer from "./LeaseServer.ts"
import * as SimulatedClock from "./SimulatedClock.ts"
import { dead, running, systemCall } from "./SimulatedKernel.ts"

/**
 * A statement that a host sends to the store.
 *
 * @since 0.1.0
 * @category models
 */
export interface Statement {
  /** The name of the link that sends it. */
  readonly host: string
  readonly name: "look" | "create" | "acquire" | "renew" | "release" | "requestResign" | "fencedWrite"
  /** The name of the lease. */
  readonly lease: string
}

/**
 * What happens to a statement. Everything left out goes well, and takes no time.
 *
 * @since 0.1.0
 * @category models
 */
export interface Fate {
  /** How long the statement takes to the server. */
  readonly requestDelay?: Duration.DurationInput | undefined
  /** How long the answer takes back. */
  readonly answerDelay?: Duration.DurationInput | undefined
  /**
   * - `answered`: it takes effect, and its answer arrives. The default.
   * - `refused`: it fails at once, without an effect.
   * - `request lost`: it has no effect, and no answer ever arrives.
   * - `answer lost`: it takes effect, and no answer ever arrives.
   * - `broken`: it takes effect, and then the connection breaks: it fails.
   */
  readonly outcome?: "answered" | "refused" | "request lost" | "answer lost" | "broken" | undefined
  /**
   * `former`: after a failover, a look is answered by the server that was primary before, with its state of that moment. Other
   * statements always reach the present server. Default `present`.
   */
  readonly server?: "present" | "former" | undefined
}

/**
 * Runs when a host sends a statement, and decides what happens to it.
 *
 * @since 0.1.0
 * @category models
 */
export type Intercept = (statement: Statement) => Effect.Effect<Fate>

/**
 * One entry of the journal: a change in the store, in the order in which changes took effect.
 *
 * @since 0.1.0
 * @category models
 */
export interface JournalEntry {
  /** The time of the change, in milliseconds of the simulation's clock. */
  readonly at: number
  readonly what:
    | "created"
    | "granted"
    | "renewed"
    | "released"
    | "asked to resign"
    | "failover"
    | "upgrade"
    | "changed by hand"
  /** The link whose statement made the change. Empty for a change by the test. */
  readonly host: string
  /** The name of the lease, or empty. */
  readonly lease: string
  /** The token of the lease after the change, or 0. */
  readonly fencingToken: bigint
}

/**
 * Options of a write that is fenced in the store itself.
 *
 * @since 0.1.0
 * @category models
 */
export interface FencedWrite {
  readonly lease: string
  readonly fencingToken: bigint
  /** How long the transaction lasts, from its check of the token to its commit. Default: no time. */
  readonly takes?: Duration.DurationInput | undefined
  /** Runs at the commit. */
  readonly commit: () => void
}

/**
 * The connection of one host to the store.
 *
 * A process sends a statement as a system call named `lease.<statement>`: a stopped process sends none and gets no answer, and
 * `setIntercept` of its host can end the process there. A statement that was sent goes on after its process was killed.
 *
 * @since 0.1.0
 * @category models
 */
export interface SimulatedLink {
  /** The store, as this host reaches it. */
  readonly layer: Layer.Layer<LeaseStore>
  readonly store: LeaseStore["Type"]
  /** Loses all statements from now on, all answers, or both. Default: both. */
  readonly cut: (way?: "requests" | "answers" | "both") => Effect.Effect<void>
  /** Ends a cut. What was lost stays lost. */
  readonly heal: Effect.Effect<void>
  /**
   * Writes in a transaction that locks the row of the lease while it checks the token (`FOR KEY SHARE`). A takeover waits for the
   * transaction; renewals do not. `false`: the token is not the present one.
   */
  readonly fencedWrite: (write: FencedWrite) => Effect.Effect<boolean, StoreError>
}

/** A lock on the row of a lease that a fenced write holds. It conflicts with a change of the token only. */
export interface KeyShare {
  readonly lease: string
  readonly released: Deferred.Deferred<void>
}

export interface State {
  server: LeaseServer.Server
  former: LeaseServer.Server
  isUp: boolean
  hasHints: boolean
  intercept: Intercept
  /** The number of transactions so far. */
  transactions: bigint
  hint: Deferred.Deferred<void>
  readonly keyShares: Set<KeyShare>
  readonly journal: Array<JournalEntry>
}

/** A store and the clock of the simulation. */
export interface World {
  readonly state: State
  readonly clock: Clock.Clock
}

export const note = (
  { clock, state }: World,
  what: JournalEntry["what"],
  host = "",
  lease = ""
): void => {
  const fencingToken = LeaseServer.tablesOf(state.server).get(lease)?.fencingToken ?? 0n
  state.journal.push({ at: clock.unsafeCurrentTimeMillis(), what, host, lease, fencingToken })
}

const wake = (state: State): Effect.Effect<void> =>
  Effect.flatMap(Deferred.make<void>(), (next) => {
    const { hasHints, hint } = state
    state.hint = next
    return hasHints ? Effect.asVoid(Deferred.succeed(hint, undefined)) : Effect.void
  })

/** Runs at the server when a statement arrives. */
type Run<A> = (server: LeaseServer.Server) => Effect.Effect<A, StoreError>

/** Waits until no fenced write holds the row, as a takeover and a deletion do. */
export const withoutKeyShares = (state: State, lease: string): Effect.Effect<void> =>
  Effect.suspend(() => {
    const held = [...state.keyShares].find((share) => share.lease === lease)
    return held === undefined
      ? Effect.void
      : Effect.zipRight(Deferred.await(held.released), withoutKeyShares(state, lease))
  })

const down = new StoreFailed({ reason: "the server is down" })
const refused = new StoreFailed({ reason: "connection refused" })
const broken = new StoreFailed({ reason: "connection reset" })
const replaced = new StoreFailed({ reason: "the server was replaced" })

const fencedWrite = (
  state: State,
  server: LeaseServer.Server,
  write: FencedWrite
): Effect.Effect<boolean, StoreError> =>
  Effect.gen(function*() {
    const { commit, fencingToken, lease, takes = 0 } = write
    const row = LeaseServer.tablesOf(server).get(lease)
    if (row?.fencingToken !== fencingToken || row.holderId === undefined) return false
    const share: KeyShare = { lease, released: yield* Deferred.make<void>() }
    state.keyShares.add(share)
    yield* Effect.sleep(takes)
    const isLost = state.server !== server || !state.isUp
    if (!isLost) commit()
    state.keyShares.delete(share)
    yield* Deferred.succeed(share.released, undefined)
    return isLost ? yield* Effect.fail(replaced) : true
  })

/** The connection of one host. */
interface Connection extends World {
  readonly host: string
  readonly lost: { requests: boolean; answers: boolean }
}

/** Waits as a process waits for an answer: one that is stopped goes on later, and one that has ended never does. */
const gate: Effect.Effect<void> = Effect.flatMap(
  Effect.serviceOption(CurrentProcess),
  Option.match({
    onNone: () => Effect.void,
    onSome: ({ process }) =>
      Effect.zipRight(running(process), Effect.suspend(() => process.state === "running" ? Effect.void : dead))
  })
)

/** Sends a statement as a system call of the process that runs this effect, if there is one. */
const enter = ({ lease, name }: Statement): Effect.Effect<void, StoreError> =>
  Effect.flatMap(
    Effect.serviceOption(CurrentProcess),
    Option.match({
      onNone: () => Effect.void,
      onSome: ({ kernel, process }) =>
        systemCall(
          kernel,
          process,
          { name: `lease.${name}`, target: lease },
          (code) => new StoreFailed({ reason: `${code}: simulated error` }),
          () => Effect.void
        )
    })
  )

/** The way of a statement to the server and back. It goes on whether or not its process still waits. */
const travel = <A>(
  { lost, state }: Connection,
  { name }: Statement,
  fate: Fate,
  run: Run<A>,
  answer: Deferred.Deferred<A, StoreError>
): Effect.Effect<void> =>
  Effect.gen(function*() {
    const { answerDelay = 0, outcome = "answered", requestDelay = 0, server = "present" } = fate
    const isLost = lost.requests || outcome === "request lost"
    yield* Effect.sleep(requestDelay)
    if (isLost) return
    const target = server === "former" && name === "look" ? state.former : state.server
    const exit = yield* Effect.exit(
      outcome === "refused" ? Effect.fail(refused) : state.isUp ? run(target) : Effect.fail(down)
    )
    yield* Effect.sleep(answerDelay)
    if (lost.answers || outcome === "answer lost") return
    yield* outcome === "broken" ? Deferred.fail(answer, broken) : Deferred.done(answer, exit)
  })

const send =
  (connection: Connection) => <A>(name: Statement["name"], lease: string, run: Run<A>): Effect.Effect<A, StoreError> =>
    Effect.gen(function*() {
      const { clock, host, state } = connection
      const statement: Statement = { host, name, lease }
      yield* enter(statement)
      const fate = yield* Effect.withClock(state.intercept(statement), clock)
      const answer = yield* Deferred.make<A, StoreError>()
      const way = Effect.forkDaemon(Effect.withClock(travel(connection, statement, fate, run, answer), clock))
      const scheduler = SimulatedClock.schedulerOf(clock)
      yield* scheduler === undefined ? way : Effect.withScheduler(way, scheduler.newLane())
      return yield* Effect.ensuring(Deferred.await(answer), gate)
    })

const storeOf = (connection: Connection): LeaseStore["Type"] => {
  const { host, lost, state } = connection
  const sending = send(connection)
  const changing = <A>(what: JournalEntry["what"], lease: string, isChange: (answer: A) => boolean, run: () => A) =>
    Effect.suspend(() => {
      state.transactions += 1n
      const answer = run()
      if (!isChange(answer)) return Effect.succeed(answer)
      note(connection, what, host, lease)
      return what === "released" || what === "asked to resign" ? Effect.as(wake(state), answer) : Effect.succeed(answer)
    })
  const hint: Effect.Effect<void> = Effect.suspend(() =>
    Effect.zipRight(Deferred.await(state.hint), Effect.suspend(() => lost.answers ? hint : gate))
  )
  return {
    location: "simulated://store",
    look: (name) => sending("look", name, (server) => Effect.sync(() => LeaseServer.look(server, name))),
    create: (claim) =>
      sending(
        "create",
        claim.name,
        (server) =>
          Effect.asVoid(
            changing(
              "created",
              claim.name,
              (isNew) => isNew,
              () => LeaseServer.create(server, claim, state.transactions)
            )
          )
      ),
    acquire: (seen, claim) =>
      sending("acquire", claim.name, (server) =>
        Effect.zipRight(
          withoutKeyShares(state, claim.name),
          Effect.suspend(() =>
            state.server === server
              ? changing("granted", claim.name, Option.isSome, () => LeaseServer.acquire(server, seen, claim))
              : Effect.fail(replaced)
          )
        )),
    renew: (grant) =>
      sending(
        "renew",
        grant.name,
        (server) =>
          changing("renewed", grant.name, (answer) => answer !== "Lost", () => LeaseServer.renew(server, grant))
      ),
    release: (grant) =>
      sending("release", grant.name, (server) =>
        Effect.asVoid(
          changing("released", grant.name, (isReleased) => isReleased, () => LeaseServer.release(server, grant))
        )),
    requestResign: (name, token) =>
      sending(
        "requestResign",
        name,
        (server) =>
          changing("asked to resign", name, (isAsked) => isAsked, () => LeaseServer.requestResign(server, name, token))
      ),
    changed: () => hint
  }
}

export const linkOf = (world: World, host: string): SimulatedLink => {
  const connection: Connection = { ...world, host, lost: { requests: false, answers: false } }
  const { lost, state } = connection
  const store = storeOf(connection)
  const set = (requests: boolean, answers: boolean) =>
    Effect.sync(() => {
      lost.requests = requests
      lost.answers = answers
    })
  return {
    layer: Layer.succeed(LeaseStore, store),
    store,
    cut: (way = "both") => set(way !== "answers", way !== "requests"),
    heal: set(false, false),
    fencedWrite: (write) => send(connection)("fencedWrite", write.lease, (server) => fencedWrite(state, server, write))
  }
}
