/**
 * Checks the store of a lease, and what the gateway of this host says of its lease. Writes nothing to the store. This module is loaded
 * only if there is a lease.
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import type { GatewayStatus } from "../inspect/GatewayStatus.ts"
import { adviceFor } from "../internal/advice.ts"
import { short } from "../internal/durationText.ts"
import * as LeaseTimes from "../leader/LeaseTimes.ts"
import { diagnoseLeaseStore, type StoreFinding } from "../leader/openLeaseStore.ts"
import * as GatewayConfig from "../settings/GatewayConfig.ts"
import { error, type Finding, info, ok, warning } from "./DoctorReport.ts"

type LeaseSettings = GatewayConfig.GatewayConfig["lease"]

/** The time to connect to the store, besides the attempt timeouts. */
const connectTime = Duration.seconds(5)

/** The longest time for all questions to the store. */
const limitOf = ({ attemptTimeout }: LeaseSettings): Duration.Duration =>
  Duration.sum(Duration.times(attemptTimeout, 5), connectTime)

/** Makes a shell command from SQL. Each statement is sent alone, because ALTER SYSTEM runs in no transaction. */
const psql = (location: string, sql: string, word: (word: string) => string): string =>
  [`psql ${word(location)}`, ...sql.split("; ").map((statement) => `-c ${word(statement)}`)].join(" ")

const remedyOf = (
  { location, message, remedy }: StoreFinding & { readonly location: string },
  { urlFile }: LeaseSettings,
  platform: string
): string => {
  const { edit, word } = adviceFor(platform)
  const isPostgres = location.startsWith("postgresql:")
  if (remedy !== undefined) return isPostgres ? psql(location, remedy, word) : remedy
  if (/ has version | runs version /.test(message)) return `# upgrade the server of ${location}`
  if (message.includes("in recovery")) return `# name the primary in the URL, or wait for a promotion of ${location}`
  if (/permission denied/.test(message)) return `# let an administrator of ${location} grant the rights`
  return Option.match(urlFile, {
    onNone: () => `# start ${location}, or correct GATEWAY_LEASE_URL`,
    onSome: (path) => `# start ${location}, or correct its URL: ${edit(path)}`
  })
}

const ofStore = (url: Redacted.Redacted, lease: LeaseSettings, platform: string) =>
  Effect.gen(function*() {
    const limit = limitOf(lease)
    const { findings, location } = yield* diagnoseLeaseStore(url, lease, limit)
    return findings.map(({ message, remedy, severity }): Finding => {
      if (severity === "ok") return ok("lease", message)
      const advised = remedyOf({ location, message, severity, remedy }, lease, platform)
      return severity === "error" ? error("lease", message, advised) : warning("lease", message, advised)
    })
  })

const timesText = (lease: LeaseSettings): string =>
  `lease ${lease.name}: a leader that cannot renew it ends after ${
    short(Duration.sum(lease.renewDeadline, lease.stopTimeout))
  } at the latest; after a crash, another host leads within ${short(LeaseTimes.takeoverBound(lease))}`

/**
 * The findings about the settings of the lease and its store. Never fails, and takes a limited time.
 */
export const checkStore = (
  lease: LeaseSettings,
  platform: string
): Effect.Effect<ReadonlyArray<Finding>, never, FileSystem.FileSystem> =>
  GatewayConfig.leaseUrl(lease).pipe(
    Effect.flatMap(Option.match({
      onNone: () => Effect.succeed([]),
      onSome: (url) =>
        Effect.map(
          ofStore(url, lease, platform),
          (findings): ReadonlyArray<Finding> => [ok("lease", timesText(lease)), ...findings]
        )
    })),
    Effect.catchTag("LeaseUrlFileInvalid", ({ message, path }) => {
      const [problem = message, command = adviceFor(platform).edit(path)] = message.split("; run: ")
      return Effect.succeed([error("lease", problem, command)])
    })
  )

/**
 * The findings about the lease of the gateway that runs now. `command` makes the complete command line for this gateway. Pure.
 */
export const judgeOwner = (
  { asOf, lease: present, lock, owner }: Pick<GatewayStatus, "asOf" | "lease" | "lock" | "owner">,
  lease: LeaseSettings,
  command: (words: string) => string
): ReadonlyArray<Finding> => {
  if (lock.state !== "held" || owner === undefined) return []
  const isConfigured = GatewayConfig.isLeased(lease)
  if (present === undefined) {
    return isConfigured
      ? [warning("lease", "the running gateway has no lease: it was started without these settings", command("stop"))]
      : []
  }
  const { name, state, trustedUntil } = present
  const others = isConfigured
    ? name === lease.name
      ? []
      : [warning("lease", `the running gateway uses lease ${name}, the settings say ${lease.name}`, command("stop"))]
    : [info("lease", `the running gateway uses lease ${name}, which the settings given to this command do not name`)]
  switch (state) {
    case "standby":
      return [...others, ok("lease", `the running gateway waits to lead ${name}`)]
    case "lost":
      return [...others, info("lease", `the running gateway has lost its leadership of ${name}, and ends`)]
    case "leader":
      return trustedUntil !== undefined && DateTime.lessThan(trustedUntil, asOf)
        ? [
          ...others,
          error(
            "lease",
            `the running gateway should have stopped leading ${name} at ${DateTime.formatIso(trustedUntil)}`,
            command("stop --force")
          )
        ]
        : [...others, ok("lease", `the running gateway leads ${name}`)]
  }
}
