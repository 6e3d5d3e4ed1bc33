/**
 * A simulated store of leases that several simulated hosts reach, for property tests of code that only a leader may run.
 *
 * The store keeps leases as PostgreSQL does. Each host has a link of its own, which can be cut in either direction. `setIntercept`
 * can delay a statement or its answer, lose either, or let a look reach a former server. A failover promotes a replica that lacks
 * the last commits, such as the last grant or the last release.
 *
 * The store also has resources that check fencing tokens, and a journal that shows what has happened, in order.
 *
 * @example
 * import { Effect, Layer, TestClock } from "effect"
 * import { Leadership } from "gateway-lock"
 * import { SimulatedClock, SimulatedHost, SimulatedLeaseStore } from "gateway-lock/testing"
 *
 * const test = Effect.gen(function*() {
 *   const store = yield* SimulatedLeaseStore.make
 *   const file = store.resource()
 *   const work = (host: string) =>
 *     Effect.gen(function*() {
 *       const { fencingToken, lost, whileLeader } = yield* Leadership.Leadership
 *       yield* whileLeader(Effect.forever(Effect.zipRight(file.write(fencingToken), Effect.sleep("1 second"))))
 *       yield* lost
 *     }).pipe(Effect.provide(Layer.provide(Leadership.layer(), store.link(host).layer)))
 *
 *   const one = yield* SimulatedHost.make
 *   const other = yield* SimulatedHost.make
 *   yield* one.spawn(work("one"))
 *   yield* TestClock.adjust("1 minute")
 *   yield* other.spawn(work("other"))
 *   yield* store.link("one").cut() // the leader stops by itself, and the other host leads
 *   yield* TestClock.adjust("1 minute")
 *   return file.writes()
 * }).pipe(Effect.withClock(SimulatedClock.make()))
 *
 * @since 0.1.0
 */
import type * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import * as FencingToken from "../leader/FencingToken.ts"
import type { Sighting } from "../leader/LeaseStore.ts"
import {
  type Intercept,
  type JournalEntry,
  linkOf,
  note,
  type SimulatedLink,
  type State,
  withoutKeyShares,
  type World
} from "./LeaseLink.ts"
import * as LeaseServer from "./LeaseServer.ts"

export type { Fate, FencedWrite, Intercept, JournalEntry, SimulatedLink, Statement } from "./LeaseLink.ts"

/**
 * A write to a resource.
 *
 * @since 0.1.0
 * @category models
 */
export interface ResourceWrite {
  readonly at: number
  readonly fencingToken: bigint
  readonly isAccepted: boolean
}

/**
 * A resource that remembers the highest token of its writes, and refuses a write with a lower one.
 *
 * @since 0.1.0
 * @category models
 */
export interface SimulatedResource {
  /** Writes at once. Returns whether the write was accepted. */
  readonly write: (fencingToken: bigint) => Effect.Effect<boolean>
  /** All writes so far, also the refused ones. */
  readonly writes: () => ReadonlyArray<ResourceWrite>
}

/**
 * A simulated store, with the operations that a test can perform on it.
 *
 * @since 0.1.0
 * @category models
 */
export interface SimulatedLeaseStore {
  /** The link of a host. The same name gives the same link. */
  readonly link: (host: string) => SimulatedLink
  readonly setIntercept: (intercept: Intercept) => Effect.Effect<void>
  /** Whether the store hints at a release, so that candidates look at once. Default `true`. */
  readonly setHints: (hints: boolean) => Effect.Effect<void>
  /** Stops the server: statements are refused until `start`. */
  readonly stop: Effect.Effect<void>
  readonly start: Effect.Effect<void>
  /**
   * Promotes a replica that lacks the last commits: a number of them, or all from the last grant or the last release on. Default
   * 0. Transactions that have not been committed are lost.
   */
  readonly failover: (loses?: number | "grant" | "release") => Effect.Effect<void>
  /** Moves the data to a new installation whose timelines begin anew, as `pg_upgrade` does. */
  readonly upgrade: Effect.Effect<void>
  /** Deletes a lease by hand, once no fenced write holds its row. */
  readonly remove: (lease: string) => Effect.Effect<void>
  /** Makes a backup. Running the returned effect restores it. */
  readonly backup: Effect.Effect<Effect.Effect<void>>
  /** The lease as the present server has it. */
  readonly lease: (name: string) => Option.Option<Sighting>
  /** Makes a resource that checks tokens. */
  readonly resource: () => SimulatedResource
  /** All changes so far, oldest first. */
  readonly journal: () => ReadonlyArray<JournalEntry>
}

const makeResource = (clock: Clock.Clock): SimulatedResource => {
  const writes: Array<ResourceWrite> = []
  let highest = 0n
  return {
    write: (fencingToken) =>
      Effect.sync(() => {
        const isAccepted = FencingToken.isAccepted(fencingToken, highest)
        if (isAccepted) highest = fencingToken
        writes.push({ at: clock.unsafeCurrentTimeMillis(), fencingToken, isAccepted })
        return isAccepted
      }),
    writes: () => writes
  }
}

/**
 * Makes an empty store, on the clock of the effect that makes it. Make the hosts on the same clock.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<SimulatedLeaseStore> = Effect.gen(function*() {
  const clock = yield* Effect.clock
  const server = LeaseServer.makeServer()
  const state: State = {
    server,
    former: server,
    isUp: true,
    hasHints: true,
    intercept: () => Effect.succeed({}),
    transactions: 0n,
    hint: yield* Deferred.make<void>(),
    keyShares: new Set(),
    journal: []
  }
  const world: World = { state, clock }
  const links = new Map<string, SimulatedLink>()
  const replaceServer = (what: "failover" | "upgrade", next: (server: LeaseServer.Server) => LeaseServer.Server) =>
    Effect.sync(() => {
      state.former = state.server
      state.server = next(state.server)
      note(world, what)
    })
  const byHand = (change: () => void) =>
    Effect.sync(() => {
      change()
      note(world, "changed by hand")
    })
  return {
    link: (host) => {
      const link = links.get(host) ?? linkOf(world, host)
      links.set(host, link)
      return link
    },
    setIntercept: (intercept) =>
      Effect.sync(() => {
        state.intercept = intercept
      }),
    setHints: (hints) =>
      Effect.sync(() => {
        state.hasHints = hints
      }),
    stop: Effect.sync(() => {
      state.isUp = false
    }),
    start: Effect.sync(() => {
      state.isUp = true
    }),
    failover: (loses = 0) => replaceServer("failover", (server) => LeaseServer.promote(server, loses)),
    upgrade: replaceServer("upgrade", LeaseServer.upgrade),
    remove: (lease) =>
      Effect.zipRight(withoutKeyShares(state, lease), byHand(() => LeaseServer.remove(state.server, lease))),
    backup: Effect.sync(() => {
      const tables = LeaseServer.tablesOf(state.server)
      return byHand(() => LeaseServer.restore(state.server, tables))
    }),
    lease: (name) => LeaseServer.look(state.server, name),
    resource: () => makeResource(clock),
    journal: () => state.journal
  }
})
