/**
 * `gateway leader show` says which gateway leads across hosts. `gateway leader resign` makes that leader hand over.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import { LeaseUnavailable } from "../GatewayLockError.ts"
import { short } from "../internal/durationText.ts"
import { printable } from "../internal/printable.ts"
import * as HolderText from "../leader/HolderText.ts"
import { LeaseStore, type Sighting, type StoreError } from "../leader/LeaseStore.ts"
import { openLeaseStore } from "../leader/openLeaseStore.ts"
import * as GatewayConfig from "../settings/GatewayConfig.ts"
import { type CommandLine, UsageError } from "./CommandLine.ts"
import { Answered, ExitStatus } from "./ExitStatus.ts"
import { notice } from "./Notice.ts"
import { print } from "./Stdout.ts"

type LeaderCommand = Extract<CommandLine, { readonly _tag: "Leader" }>

/** The store, as one command uses it. */
interface Asked {
  readonly store: LeaseStore["Type"]
  readonly lease: GatewayConfig.GatewayConfig["lease"]
  /** Sends a statement, and fails if no answer comes in time. */
  readonly ask: <A>(statement: Effect.Effect<A, StoreError>) => Effect.Effect<A, LeaseUnavailable>
}

/** How often a command looks again while it waits for a change. */
const lookInterval = Duration.millis(250)

/** The time to connect, which a single statement need not include. */
const connectTime = Duration.seconds(5)

const open = (flags: LeaderCommand["flags"]) =>
  Effect.gen(function*() {
    const { lease } = yield* GatewayConfig.resolve(flags)
    const url = yield* GatewayConfig.leaseUrl(lease)
    if (Option.isNone(url)) {
      return yield* new UsageError({
        reason: "no lease is configured: set --lease-url-file, GATEWAY_LEASE_URL_FILE or GATEWAY_LEASE_URL",
        command: "leader"
      })
    }
    const unavailable = (store: string) => (error: StoreError) =>
      new LeaseUnavailable({ lease: lease.name, store, reason: error.message, cause: error })
    const limit = Duration.sum(lease.attemptTimeout, connectTime)
    const context = yield* Effect.mapError(
      Layer.build(openLeaseStore(url.value, { attemptTimeout: limit })),
      unavailable("its URL")
    )
    const store = Context.get(context, LeaseStore)
    const asked: Asked = {
      store,
      lease,
      ask: (statement) =>
        Effect.disconnect(statement).pipe(
          Effect.mapError(unavailable(store.location)),
          Effect.timeoutFail({
            duration: limit,
            onTimeout: () =>
              new LeaseUnavailable({
                lease: lease.name,
                store: store.location,
                reason: `no answer within ${short(limit)}`
              })
          })
        )
    }
    return asked
  })

const lookOnce = ({ ask, lease, store }: Asked) => ask(store.look(lease.name))

/** Looks until the lease has changed as `isChanged` says, but not longer than a time. Returns the last look, and whether it has. */
const lookUntil = (
  asked: Asked,
  limit: Duration.Duration,
  isChanged: (seen: Option.Option<Sighting>) => boolean
): Effect.Effect<readonly [seen: Option.Option<Sighting>, isChanged: boolean], LeaseUnavailable> =>
  Effect.gen(function*() {
    const until = (yield* Clock.currentTimeNanos) + Duration.unsafeToNanos(limit)
    while (true) {
      const seen = yield* lookOnce(asked)
      if (isChanged(seen)) return [seen, true] as const
      if ((yield* Clock.currentTimeNanos) >= until) return [seen, false] as const
      yield* Effect.sleep(lookInterval)
    }
  })

const isHeld = (seen: Option.Option<Sighting>): boolean =>
  Option.exists(seen, ({ holderId }) => Option.isSome(holderId))

const holderWords = ({ holder }: Sighting): string => {
  const { hostname, pid, url } = HolderText.gatewayOf(holder)
  const place = [...(pid === undefined ? [] : [`pid ${pid}`]), ...(url === undefined ? [] : [url])].join(", ")
  return printable(`${hostname ?? "an unknown host"}${place === "" ? "" : ` (${place})`}`)
}

const showText = ({ lease, store }: Asked, seen: Option.Option<Sighting>, isRenewed: boolean): string => {
  if (Option.isNone(seen)) return `lease ${lease.name} at ${store.location}: no gateway has led yet`
  const { fencingToken, renewals, ttl } = seen.value
  if (!isHeld(seen)) return `lease ${lease.name} at ${store.location}: released; last token ${fencingToken}`
  return [
    `lease ${lease.name} at ${store.location}: ${isRenewed ? "led by" : "held, but not renewed, by"} ${
      holderWords(seen.value)
    }`,
    `  token:    ${fencingToken}`,
    `  renewals: ${renewals}${isRenewed ? ", the last one just now" : ""}`,
    `  duration: ${short(ttl)}`
  ].join("\n")
}

const showJson = ({ lease, store }: Asked, seen: Option.Option<Sighting>, isRenewed: boolean): string =>
  JSON.stringify({
    lease: lease.name,
    store: store.location,
    leads: isRenewed,
    ...Option.match(seen, {
      onNone: () => ({}),
      onSome: (sighting) => ({
        held: isHeld(seen),
        fencingToken: String(sighting.fencingToken),
        renewals: String(sighting.renewals),
        durationMs: Duration.toMillis(sighting.ttl),
        holder: HolderText.gatewayOf(sighting.holder)
      })
    })
  })

/** No clock of a store is compared, so a leader counts as alive if the command sees it renew its lease. */
const show = (asked: Asked, json: boolean) =>
  Effect.gen(function*() {
    const first = yield* lookOnce(asked)
    const { attemptTimeout, renewInterval } = asked.lease
    const [seen, isChanged] = isHeld(first)
      ? yield* lookUntil(
        asked,
        Duration.sum(renewInterval, attemptTimeout),
        (now) => JSON.stringify(identity(now)) !== JSON.stringify(identity(first))
      )
      : [first, false] as const
    const isRenewed = isChanged && isHeld(seen)
    yield* print((json ? showJson : showText)(asked, seen, isRenewed))
    return new Answered({ status: isRenewed ? ExitStatus.ok : ExitStatus.failure })
  })

const identity = (seen: Option.Option<Sighting>): ReadonlyArray<string> =>
  Option.match(seen, {
    onNone: () => [],
    onSome: ({ fencingToken, holderId, renewals }) => [
      Option.getOrElse(holderId, () => ""),
      String(fencingToken),
      String(renewals)
    ]
  })

const resign = (asked: Asked) =>
  Effect.gen(function*() {
    const { ask, lease, store } = asked
    const seen = yield* lookOnce(asked)
    const failed = (reason: string) => Effect.as(notice(reason, "ERROR"), new Answered({ status: ExitStatus.failure }))
    if (Option.isNone(seen) || !isHeld(seen)) return yield* failed(`no gateway leads ${lease.name}`)
    const { fencingToken, ttl } = seen.value
    if (!(yield* ask(store.requestResign(lease.name, fencingToken)))) {
      return yield* failed(`the leader of ${lease.name} has changed; run the command again`)
    }
    yield* print(`asked the leader of ${lease.name} to hand over: ${holderWords(seen.value)}`)
    const [, isOver] = yield* lookUntil(
      asked,
      ttl,
      (now) => !isHeld(now) || Option.exists(now, (now) => now.fencingToken !== fencingToken)
    )
    if (!isOver) return yield* failed(`it has not handed over within ${short(ttl)}`)
    yield* print(`token ${fencingToken} no longer leads ${lease.name}`)
    return new Answered({ status: ExitStatus.ok })
  })

export const leader = ({ action, flags, json }: LeaderCommand) =>
  Effect.gen(function*() {
    const asked = yield* open(flags)
    return yield* action === "show" ? show(asked, json) : resign(asked)
    // The log of the store would be mixed with the output. An error says what went wrong.
  }).pipe(Effect.scoped, Logger.withMinimumLogLevel(LogLevel.None))
