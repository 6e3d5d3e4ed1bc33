/**
 * Opens the lease store that a URL names. The module of an engine is loaded only with a URL of that engine.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { type LeaseStore, StoreRefused } from "../leader/LeaseStore.ts"
import type { LeaseTimes } from "../leader/LeaseTimes.ts"
import * as LeaseUrl from "../leader/LeaseUrl.ts"

const postgresql = (url: Redacted.Redacted, { attemptTimeout }: Pick<LeaseTimes, "attemptTimeout">) =>
  Effect.map(
    Effect.promise(() => import("../leader/PostgresLeaseStore.ts")),
    ({ layerPostgres }) => layerPostgres({ url, attemptTimeout })
  )

const etcd = (url: Redacted.Redacted, { attemptTimeout }: Pick<LeaseTimes, "attemptTimeout">) =>
  Effect.map(
    Effect.promise(() =>
      Promise.all([import("../leader/EtcdLeaseStore.ts"), import("@effect/platform/FetchHttpClient")])
    ),
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
