/**
 * Checks whether an etcd cluster can keep leases, without changing anything in it.
 */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as EtcdAnswer from "./EtcdAnswer.ts"
import type { EtcdGateway } from "./EtcdGateway.ts"
import * as EtcdLease from "./EtcdLease.ts"
import type { EtcdUrl } from "./EtcdUrl.ts"

/**
 * One finding about the cluster, with the shape of the findings of `Doctor`.
 *
 * - `error`: a gateway cannot lead by this cluster now.
 * - `warning`: it can, but something may end that, or a leader may be lost without need.
 * - `ok`: how the cluster is.
 *
 * @since 0.1.0
 * @category models
 */
export interface EtcdFinding {
  readonly severity: "ok" | "warning" | "error"
  readonly message: string
  /** A command that helps. */
  readonly remedy?: string | undefined
}

const text = Schema.optionalWith(Schema.String, { default: () => "" })
const number = Schema.optionalWith(Schema.parseNumber(Schema.String), { default: () => 0 })
const Status = Schema.Struct({ version: text, leader: text, dbSize: number, dbSizeInUse: number })
const Alarms = Schema.Struct({
  alarms: Schema.optionalWith(Schema.Array(Schema.Struct({ alarm: text })), { default: () => [] })
})

type Status = Schema.Schema.Type<typeof Status>

/** The first version of each branch whose leases neither end early nor are renewed after their end. */
const fixed: ReadonlyMap<string, number> = new Map([["3.4", 38], ["3.5", 23], ["3.6", 5]])

/** What is wrong with the leases of a version. `undefined`: nothing is known. */
export const problemOf = (version: string): string | undefined => {
  const [, major = "", minor = "", patch = ""] = /^(\d+)\.(\d+)\.(\d+)/.exec(version) ?? []
  if (major === "" || Number(major) > 3 || (major === "3" && Number(minor) > 6)) return undefined
  if (Number(major) < 3 || Number(minor) < 4) return "its JSON gateway is not supported: expected 3.4 or later"
  const least = fixed.get(`${major}.${minor}`) ?? 0
  return Number(patch) < least
    ? "it can end a lease early, or renew one that has ended, which costs a leader its leadership: " +
      `expected ${major}.${minor}.${least} or later`
    : undefined
}

/** How full the database may be before it is a finding: etcd's default quota is 2 GiB, and a full database refuses renewals. */
const largeDatabase = 1536 * 1024 * 1024

const ofMember = (endpoint: string, answer: Either.Either<Status, EtcdAnswer.Fault>): ReadonlyArray<EtcdFinding> => {
  const name = new URL(endpoint).host
  if (Either.isLeft(answer)) {
    return [{ severity: "warning", message: `etcd member ${name} cannot be used: ${answer.left.reason}` }]
  }
  const { dbSize, leader, version } = answer.right
  const problem = problemOf(version)
  return [
    ...(leader === "" || leader === "0"
      ? [{ severity: "warning" as const, message: `etcd member ${name} knows no leader of the cluster` }]
      : []),
    ...(problem === undefined
      ? [{ severity: "ok" as const, message: `etcd member ${name} runs version ${version}` }]
      : [{ severity: "warning" as const, message: `etcd member ${name} runs version ${version}: ${problem}` }]),
    ...(dbSize > largeDatabase
      ? [{
        severity: "warning" as const,
        message: `the database of etcd member ${name} has ${
          Math.round(dbSize / 1024 / 1024)
        } MiB, and a full one refuses renewals`,
        remedy: `etcdctl --endpoints=${endpoint} defrag`
      }]
      : [])
  ]
}

/** Asks each member for its state, and the cluster for its alarms and for every right that a store needs. */
export const diagnose = (
  gateway: EtcdGateway,
  { endpoints, location }: EtcdUrl,
  keys: EtcdLease.LeaseKeys
): Effect.Effect<ReadonlyArray<EtcdFinding>> =>
  Effect.gen(function*() {
    const answers = yield* Effect.forEach(
      endpoints,
      (endpoint) =>
        Effect.map(
          Effect.either(gateway.ask(endpoint, "maintenance/status", {}, Status)),
          (answer) => ({ endpoint, answer })
        ),
      { concurrency: "unbounded" }
    )
    const members = answers.flatMap(({ answer, endpoint }) => ofMember(endpoint, answer))
    const rights = yield* Effect.either(gateway.call("kv/txn", EtcdLease.rightsProbe(keys), EtcdAnswer.Txn))
    const lease = yield* Effect.either(gateway.call("lease/timetolive", { ID: "1" }, Schema.Struct({})))
    const usable = Either.all([rights, lease])
    // Only the root user of etcd may ask for alarms, so a refusal is no finding.
    const alarms = yield* Effect.option(gateway.call("maintenance/alarm", { action: "GET" }, Alarms))
    return [
      ...members,
      ...(Either.isLeft(usable)
        ? [{ severity: "error" as const, message: `${location} cannot keep a lease: ${usable.left.message}` }]
        : [{ severity: "ok" as const, message: `${location} can keep leases below ${keys.base}` }]),
      ...Option.match(alarms, { onNone: () => [], onSome: ({ alarms }) => alarms }).map(({ alarm }) => ({
        severity: "error" as const,
        message: `etcd has raised the alarm ${alarm}, so it refuses writes`,
        remedy: alarm === "NOSPACE" ? "etcdctl compact <revision> && etcdctl defrag && etcdctl alarm disarm" : undefined
      }))
    ]
  })
