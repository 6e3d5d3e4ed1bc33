/**
 * Runs the built program on hosts, with work that writes to the judge's journal.
 */
import { assert } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import { fileURLToPath } from "node:url"
import * as Execs from "../../e2e/support/execs.ts"
import * as Gateways from "../../e2e/support/gateways.ts"
import * as Processes from "../../e2e/support/processes.ts"
import * as Program from "../../e2e/support/program.ts"
import type * as Postgres from "../../fixtures/postgres.ts"
import * as Journal from "./journal.ts"
import type { Host } from "./network.ts"

/** Times of a lease in milliseconds. */
export interface Times {
  readonly duration: number
  readonly renewInterval: number
  readonly attemptTimeout: number
  readonly renewDeadline: number
  readonly stopTimeout: number
}

/** A third of the defaults. */
export const short: Times = {
  duration: 5000,
  renewInterval: 500,
  attemptTimeout: 1000,
  renewDeadline: 3200,
  stopTimeout: 1000
}

/** For tests in which nothing may be lost, on a busy machine. */
export const patient: Times = {
  duration: 12_000,
  renewInterval: 1000,
  attemptTimeout: 1500,
  renewDeadline: 8000,
  stopTimeout: 3000
}

/** The times of a gateway that is not configured otherwise. */
export const standard: Times = {
  duration: 15_000,
  renewInterval: 3000,
  attemptTimeout: 2000,
  renewDeadline: 10_000,
  stopTimeout: 4000
}

/** The longest time from a crash until another host leads. */
export const takeoverBound = ({ attemptTimeout, duration, renewInterval }: Times): number =>
  duration + renewInterval + attemptTimeout

/** The longest time from a fault until the leader's work has ended. */
export const stopBound = ({ renewDeadline, stopTimeout }: Times): number => renewDeadline + stopTimeout + 300

export interface Lease {
  readonly name: string
  readonly url: string
  readonly times: Times
  /** More environment variables of the program. */
  readonly env?: Readonly<Record<string, string>> | undefined
  /** The path of another program than the one under test. */
  readonly main?: string | undefined
}

const environment = ({ env, name, times, url }: Lease): Record<string, string> => ({
  GATEWAY_LEASE_URL: url,
  GATEWAY_LEASE_NAME: name,
  GATEWAY_LEASE_DURATION: `${times.duration} millis`,
  GATEWAY_LEASE_RENEW_INTERVAL: `${times.renewInterval} millis`,
  GATEWAY_LEASE_ATTEMPT_TIMEOUT: `${times.attemptTimeout} millis`,
  GATEWAY_LEASE_RENEW_DEADLINE: `${times.renewDeadline} millis`,
  GATEWAY_LEASE_STOP_TIMEOUT: `${times.stopTimeout} millis`,
  ...env
})

const fixture = (name: string) => fileURLToPath(new URL(name, import.meta.url))

/** What the work does: it ends at SIGTERM, ignores SIGTERM, or ends by itself after a number of milliseconds. */
export type Work = "ends" | "stubborn" | number

/** Starts `gateway exec` on a host, with work that stamps. */
export const exec = (host: Host, journal: Journal.Journal, lease: Lease, work: Work = "stubborn") =>
  Effect.gen(function*() {
    const site = yield* Gateways.newSite
    const words = [process.execPath, fixture("stamper.cjs"), journal.path, host.name, String(work)]
    return yield* Execs.start(site, words, {
      under: host.under,
      env: environment(lease),
      ...(lease.main === undefined ? {} : { main: lease.main }),
      flags: ["--ready", "none"],
      patience: "3 minutes"
    })
  })

/** Starts `gateway run` on a host, and a prober beside it that stamps while it is ready. */
export const run = (host: Host, journal: Journal.Journal, lease: Lease, given?: Gateways.Site) =>
  Effect.gen(function*() {
    const site = given ?? (yield* Gateways.newSite)
    const gateway = yield* Gateways.startListening(site, { under: host.under, env: environment(lease) })
    if (given === undefined) yield* probe(host, journal, site)
    return { site, gateway }
  })

const probe = (host: Host, journal: Journal.Journal, site: Gateways.Site) =>
  Effect.gen(function*() {
    const words = [...host.under, process.execPath, fixture("prober.cjs"), journal.path, host.name, String(site.port)]
    const prober = yield* Processes.start(words, { cwd: site.root, env: { PATH: Program.searchPath } })
    yield* prober.line(/^probing$/)
  })

/** Runs `gateway leader` on a host. */
export const leader = (host: Host, lease: Lease, ...args: ReadonlyArray<string>) =>
  Effect.flatMap(
    Gateways.newSite,
    (site) => Gateways.run(site, { args: ["leader", ...args], under: host.under, env: environment(lease) })
  )

/** A leader on the first host and a candidate on the second, each a `gateway exec`. */
export const pair = (
  [one, two]: readonly [Host, Host],
  lease: Lease,
  options: { readonly work?: Work; readonly other?: Lease } = {}
) =>
  Effect.gen(function*() {
    const journal = yield* Journal.open
    const leader = yield* exec(one, journal, lease, options.work)
    const term = yield* journal.acts(one.name)
    const candidate = yield* exec(two, journal, options.other ?? lease, options.work)
    yield* candidate.line(/waiting to lead /)
    // It has looked at the lease before the fault.
    yield* Effect.sleep(2 * lease.times.renewInterval)
    return { journal, leader, candidate, term, next: journal.acts(two.name) }
  })

/** The last renewal of each token, between two times of the monotonic clock. */
export interface Renewals {
  readonly last: (token: bigint) => { readonly after: number; readonly before: number }
}

/** Looks at the row of a lease all the time, as somebody who does not trust the leaders. */
export const watchRenewals = (
  server: Postgres.PostgresServer,
  name: string
): Effect.Effect<Renewals, Postgres.EngineFailed, Scope.Scope> =>
  Effect.gen(function*() {
    const session = yield* server.session()
    const seen = new Map<bigint, { renewals: unknown; after: number; before: number }>()
    let askedBefore = Journal.now()
    const look = Effect.gen(function*() {
      const asked = Journal.now()
      const [row] = yield* session(
        `SELECT fencing_token AS token, renewals FROM gateway_lock.lease WHERE name = '${name}'`
      )
      const token = BigInt(String(row?.["token"]))
      const renewals = row?.["renewals"]
      if (seen.get(token)?.renewals !== renewals) {
        seen.set(token, { renewals, after: askedBefore, before: Journal.now() })
      }
      askedBefore = asked
    })
    yield* look
    yield* Effect.forkScoped(Effect.ignoreLogged(Effect.forever(Effect.delay(look, "20 millis"))))
    return {
      last: (token) => {
        const found = seen.get(token)
        assert.isDefined(found, `token ${token} was not seen`)
        return found ?? { after: 0, before: 0 }
      }
    }
  })
