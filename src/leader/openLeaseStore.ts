/**
 * Opens or checks the lease store that a URL names. The module of an engine is loaded only with a URL of that engine.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { short } from "../internal/durationText.ts"
import { type LeaseStore, StoreRefused } from "./LeaseStore.ts"
import type { LeaseTimes } from "./LeaseTimes.ts"
import * as LeaseUrl from "./LeaseUrl.ts"

const loadPostgres = Effect.tryPromise({
  try: () => import("./PostgresLeaseStore.ts"),
  catch: (cause) => new StoreRefused({ reason: "the package pg cannot be loaded; run: npm install pg", cause })
})

const loadEtcd = Effect.promise(() =>
  Promise.all([import("./EtcdLeaseStore.ts"), import("@effect/platform/FetchHttpClient")])
)

const postgresql = (url: Redacted.Redacted, { attemptTimeout }: Pick<LeaseTimes, "attemptTimeout">) =>
  Effect.map(
    loadPostgres,
    ({ layerPostgres }) => layerPostgres({ url, attemptTimeout })
  )

const etcd = (url: Redacted.Redacted, { attemptTimeout }: Pick<LeaseTimes, "attemptTimeout">) =>
  Effect.map(
    loadEtcd,
    ([{ layerEtcd }, http]) => layerEtcd({ url, attemptTimeout }).pipe(Layer.provide(http.layer))
  )

/** Provides the store. Fails with `StoreRefused` if the URL is wrong. */
export const openLeaseStore = (
  url: Redacted.Redacted,
  times: Pick<LeaseTimes, "attemptTimeout">
): Layer.Layer<LeaseStore, StoreRefused> =>
  Layer.unwrapEffect(Effect.suspend(() => {
    const parts = LeaseUrl.parse(Redacted.value(url))
    if (Option.isNone(parts)) return new StoreRefused({ reason: `the URL is not ${LeaseUrl.allowed}` })
    return parts.value.engine === "postgresql" ? postgresql(url, times) : etcd(url, times)
  }))

/** One finding about a store. */
export interface StoreFinding {
  readonly severity: "ok" | "warning" | "error"
  readonly message: string
  /** SQL for PostgreSQL, otherwise a command. */
  readonly remedy?: string | undefined
}

/** The findings about a store, and its address without credentials. */
export interface StoreDiagnosis {
  readonly location: string
  readonly findings: ReadonlyArray<StoreFinding>
}

const failed = (message: string): ReadonlyArray<StoreFinding> => [{ severity: "error", message }]

/** Asks the store that a URL names, for at most `limit`. Changes nothing in it. */
export const diagnoseLeaseStore = (
  url: Redacted.Redacted,
  { attemptTimeout }: Pick<LeaseTimes, "attemptTimeout">,
  limit: Duration.Duration
): Effect.Effect<StoreDiagnosis> => {
  const parts = LeaseUrl.parse(Redacted.value(url))
  if (Option.isNone(parts)) {
    return Effect.succeed({ location: "its URL", findings: failed(`the lease URL is not ${LeaseUrl.allowed}`) })
  }
  const { engine, location } = parts.value
  const options = { url, attemptTimeout }
  const asked: Effect.Effect<ReadonlyArray<StoreFinding>, StoreRefused> = engine === "postgresql"
    ? Effect.flatMap(loadPostgres, ({ diagnose }) => diagnose(options))
    : Effect.flatMap(loadEtcd, ([{ diagnose }, http]) => Effect.provide(diagnose(options), http.layer))
  return Effect.disconnect(asked).pipe(
    Effect.catchAll(({ message }) => Effect.succeed(failed(`${location} cannot keep a lease: ${message}`))),
    Effect.timeoutTo({
      duration: limit,
      onSuccess: (findings) => findings,
      onTimeout: () => failed(`${location} did not answer all questions within ${short(limit)}`)
    }),
    Effect.map((findings) => ({ location, findings }))
  )
}
