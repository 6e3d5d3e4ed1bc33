/**
 * What a person reads when a start fails: the message, then the facts needed next. Pure.
 */
import * as DateTime from "effect/DateTime"
import * as Schema from "effect/Schema"
import { GatewayLockError, type Holder } from "../GatewayLockError.ts"
import { type Address, toUrl, urlHost } from "../port/Address.ts"
import { age, printable, who } from "./words.ts"

type Fact = readonly [label: string, value: string]

const holderFacts = (holder: Holder | undefined, nowMillis: number): ReadonlyArray<Fact> => {
  if (holder === undefined) return []
  const facts: Array<Fact> = []
  if (holder.pid !== undefined) facts.push(["held by", who(holder)])
  if (holder.since !== undefined) facts.push(["since", `${holder.since}${age(holder.since, nowMillis)}`])
  if (holder.phase !== undefined) facts.push(["phase", holder.phase])
  if (holder.configPath !== undefined) facts.push(["config", holder.configPath])
  if (holder.stateDir !== undefined) facts.push(["state", holder.stateDir])
  return facts
}

const useIt = (address: Address): Fact => ["to use it", toUrl(address)]
/** Only where the pid is the holder's here: elsewhere the command would meet a stranger, or init. */
const stopIt = (holder: Holder | undefined): ReadonlyArray<Fact> =>
  holder?.pid === undefined || holder.pidMeaning !== "Alive" ? [] : [["to stop it", `kill ${holder.pid}`]]
const health = (address: Address): Fact => [
  "to ask it",
  `curl http://${urlHost(address.host)}:${address.port}/healthz`
]
const besides = (port: number): Fact => [
  "to run beside it",
  `gateway run --profile <name> --port ${port < 65535 ? port + 1 : port - 1}`
]

/** The facts under the message, one line each. */
export const facts = (error: GatewayLockError, nowMillis: number): ReadonlyArray<Fact> => {
  switch (error._tag) {
    case "PortInUse": {
      const isGateway = error.holder !== undefined || error.listener?.includes("gateway that") === true
        || error.listener === "a healthy gateway"
      return [
        ...holderFacts(error.holder, nowMillis),
        ...(error.listener === undefined ? [] : [["answers", error.listener] as const]),
        ...(isGateway ? [useIt(error)] : [["to see who it is", `ss -ltnp 'sport = :${error.port}'`] as const]),
        ...stopIt(error.holder),
        besides(error.port)
      ]
    }
    case "BindFailed":
      return [
        ["address", toUrl(error)],
        ["to use another", "gateway run --port <port> --host <host>"]
      ]
    case "LockHeld":
      return [
        ...holderFacts(error.holder, nowMillis),
        ["lock", error.path],
        ...(error.serving === undefined ? [] : [useIt(error.serving)]),
        ...stopIt(error.holder),
        ["to run beside it", "gateway run --profile <name> --port <port>"]
      ]
    case "LockUnavailable":
      return [
        ["lock", error.path],
        ["to use another folder", "gateway run --state-dir <path>"]
      ]
    case "LockLost":
      return [
        ["lock", error.path],
        ["what to do", "start the gateway again, and keep cleaners out of its state directory"]
      ]
    case "OwnerHealthy":
      return [...holderFacts(error.holder, nowMillis), useIt(error), ...stopIt(error.holder)]
    case "OwnerUnhealthy":
      return [...holderFacts(error.holder, nowMillis), health(error), ...stopIt(error.holder)]
  }
}

/** For a terminal or a log: the message, and the facts aligned under it. */
export const toText = (error: GatewayLockError, nowMillis: number): string => {
  const rows = facts(error, nowMillis)
  const width = Math.max(...rows.map(([label]) => label.length))
  return [
    `${error.name}: ${error.message}`,
    ...rows.map(([label, value]) => `  ${`${label}:`.padEnd(width + 1)} ${printable(value)}`)
  ].join("\n")
}

const encode = Schema.encodeSync(GatewayLockError)

/** For a log reader: one line of JSON with the same as fields. */
export const toJson = (error: GatewayLockError, nowMillis: number): string =>
  JSON.stringify({
    level: "ERROR",
    timestamp: DateTime.formatIso(DateTime.unsafeMake(nowMillis)),
    name: error.name,
    message: error.message,
    error: encode(error),
    facts: Object.fromEntries(facts(error, nowMillis))
  })
