/**
 * The server side of the simulated store: the table of leases, as PostgreSQL keeps it.
 *
 * Each statement reads or changes the tables at one moment. A failover replaces them by an earlier state, on a higher timeline.
 */
import type * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import * as FencingToken from "../leader/FencingToken.ts"
import type { Claim, Grant, LeaseHolder, Renewal, Sighting } from "../leader/LeaseStore.ts"

/** One lease in the table. */
export interface Row {
  /** `undefined`: released. */
  readonly holderId: string | undefined
  readonly fencingToken: bigint
  readonly renewals: bigint
  readonly ttl: Duration.Duration
  readonly holder: LeaseHolder
  /** The installation that granted the lease, and the base of its epochs. */
  readonly systemIdentifier: number
  readonly base: bigint
  /** The token of the leader that was asked to hand over. */
  readonly resignToken: bigint | undefined
}

type Change = "created" | "granted" | "renewed" | "released" | "asked to resign" | "deleted" | "restored"

export type Tables = ReadonlyMap<string, Row>

/** The state after a committed change. */
interface Commit {
  readonly what: Change | "empty"
  readonly tables: Tables
}

/** One server with its timeline. After a failover, the former server only answers looks. */
export interface Server {
  readonly timeline: bigint
  readonly systemIdentifier: number
  /** The committed states, the last one last. */
  readonly commits: Array<Commit>
}

/** How many states a server remembers, for a failover that loses the last ones. */
const remembered = 64

export const makeServer = (): Server => ({
  timeline: 1n,
  systemIdentifier: 1,
  commits: [{ what: "empty", tables: new Map() }]
})

export const tablesOf = ({ commits }: Server): Tables => commits.at(-1)?.tables ?? new Map()

const commit = (server: Server, what: Change, tables: Tables): void => {
  server.commits.push({ what, tables })
  if (server.commits.length > remembered) server.commits.shift()
}

const write = (server: Server, what: Change, name: string, row: Row): void =>
  commit(server, what, new Map([...tablesOf(server), [name, row]]))

/** The base of the present installation. A new installation has timelines that begin anew, so its base is higher. */
const baseOf = ({ systemIdentifier }: Server, row: Row): bigint =>
  row.systemIdentifier === systemIdentifier ? row.base : FencingToken.rebase(row.fencingToken)

const epochOf = (server: Server, row: Row): bigint => baseOf(server, row) + server.timeline

const sightingOf = (server: Server, row: Row): Sighting => ({
  holderId: Option.fromNullable(row.holderId),
  fencingToken: row.fencingToken,
  renewals: row.renewals,
  ttl: row.ttl,
  epoch: epochOf(server, row),
  holder: row.holder
})

export const look = (server: Server, name: string): Option.Option<Sighting> =>
  Option.map(Option.fromNullable(tablesOf(server).get(name)), (row) => sightingOf(server, row))

/** `counter` grows with each transaction of the store, so that a lease that was deleted does not begin with a lower token. */
export const create = (server: Server, { holder, holderId, name, ttl }: Claim, counter: bigint): boolean => {
  if (tablesOf(server).has(name)) return false
  const { systemIdentifier, timeline } = server
  write(server, "created", name, {
    holderId,
    fencingToken: FencingToken.next(FencingToken.floorOf(timeline) + counter, timeline),
    renewals: 0n,
    ttl,
    holder,
    systemIdentifier,
    base: 0n,
    resignToken: undefined
  })
  return true
}

const isUnchanged = (server: Server, row: Row, seen: Sighting): boolean =>
  row.holderId === Option.getOrUndefined(seen.holderId)
  && row.fencingToken === seen.fencingToken
  && row.renewals === seen.renewals
  && epochOf(server, row) === seen.epoch

export const acquire = (server: Server, seen: Sighting, claim: Claim): Option.Option<Grant> => {
  const { holder, holderId, name, ttl } = claim
  const row = tablesOf(server).get(name)
  if (row === undefined || !isUnchanged(server, row, seen)) return Option.none()
  const fencingToken = FencingToken.next(row.fencingToken, epochOf(server, row))
  write(server, "granted", name, {
    holderId,
    fencingToken,
    renewals: 0n,
    ttl,
    holder,
    systemIdentifier: server.systemIdentifier,
    base: baseOf(server, row),
    resignToken: undefined
  })
  return Option.some({ name, holderId, fencingToken })
}

const rowOf = (server: Server, { fencingToken, holderId, name }: Grant): Row | undefined => {
  const row = tablesOf(server).get(name)
  return row?.holderId === holderId && row.fencingToken === fencingToken ? row : undefined
}

export const renew = (server: Server, grant: Grant): Renewal => {
  const row = rowOf(server, grant)
  if (row === undefined) return "Lost"
  write(server, "renewed", grant.name, { ...row, renewals: row.renewals + 1n })
  return row.resignToken === row.fencingToken ? "Resign" : "Renewed"
}

export const release = (server: Server, grant: Grant): boolean => {
  const row = rowOf(server, grant)
  if (row !== undefined) write(server, "released", grant.name, { ...row, holderId: undefined })
  return row !== undefined
}

export const requestResign = (server: Server, name: string, fencingToken: bigint): boolean => {
  const row = tablesOf(server).get(name)
  const isLeader = row?.holderId !== undefined && row.fencingToken === fencingToken
  if (isLeader) write(server, "asked to resign", name, { ...row, resignToken: fencingToken })
  return isLeader
}

/** Deletes a lease, as a user of the database can. */
export const remove = (server: Server, name: string): void => {
  const tables = new Map(tablesOf(server))
  tables.delete(name)
  commit(server, "deleted", tables)
}

/** Puts back the tables of a backup. */
export const restore = (server: Server, tables: Tables): void => commit(server, "restored", tables)

/** The number of the last commits that a replica lacks, if it lacks the last one of a kind. 0: there is none of that kind. */
const lackOf = ({ commits }: Server, loses: number | "grant" | "release"): number => {
  if (typeof loses === "number") return loses
  const at = commits.findLastIndex(({ what }) => what === (loses === "grant" ? "granted" : "released"))
  return at < 0 ? 0 : commits.length - at
}

/** Promotes a replica that lacks the last commits. */
export const promote = (server: Server, loses: number | "grant" | "release"): Server => ({
  timeline: server.timeline + 1n,
  systemIdentifier: server.systemIdentifier,
  commits: server.commits.slice(0, Math.max(1, server.commits.length - lackOf(server, loses)))
})

/** Moves the tables to a new installation, whose timelines begin anew. */
export const upgrade = (server: Server): Server => ({
  timeline: 1n,
  systemIdentifier: server.systemIdentifier + 1,
  commits: server.commits.slice(-1)
})
