/**
 * Serves as one of several hosts, of which one leads. This module is loaded only if a lease is configured.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import type { ServingOptions } from "../gateway/GatewayInstance.ts"
import * as LeadingInstance from "../gateway/LeadingInstance.ts"
import { LeaseUnavailable } from "../GatewayLockError.ts"
import * as SelfFence from "../host/SelfFence.ts"
import { shown } from "../internal/WaitDisplay.ts"
import { LeaseStore } from "../leader/LeaseStore.ts"
import { openLeaseStore } from "../leader/openLeaseStore.ts"
import type { GatewayConfig } from "../settings/GatewayConfig.ts"
import type { SystemdNotify } from "../supervisor/SystemdNotify.ts"

export interface LeadOptions {
  readonly lease: GatewayConfig["lease"]
  /** The URL of the lease store. */
  readonly url: Redacted.Redacted
  readonly systemd: SystemdNotify["Type"]
}

/**
 * Binds the port. `lead` of the result then waits until this gateway leads, and never ends by itself. The lease is released after
 * everything that is acquired later in this scope has ended.
 */
export const candidate = (serving: ServingOptions, { lease, systemd, url }: LeadOptions) =>
  Effect.gen(function*() {
    const scope = yield* Effect.scope
    const { context, lead } = yield* LeadingInstance.candidate({ ...serving, lease })
    const leaseScope = yield* Scope.fork(scope, ExecutionStrategy.sequential)
    const leading = Effect.gen(function*() {
      const fence = yield* Layer.build(SelfFence.layer)
      const store = yield* Effect.mapError(
        Layer.build(openLeaseStore(url, lease)),
        (error) => new LeaseUnavailable({ lease: lease.name, store: "its URL", reason: error.message, cause: error })
      )
      const { location } = Context.get(store, LeaseStore)
      yield* systemd.notify(`STATUS=waiting to lead ${lease.name} at ${location}`)
      const { fencingToken } = yield* Effect.provide(lead, Context.merge(store, fence)).pipe(
        shown({ text: Effect.succeed(`waiting to lead ${lease.name} at ${location}`) })
      )
      yield* systemd.notify(`STATUS=leading ${lease.name} with fencing token ${fencingToken}`)
      return yield* Effect.never
    })
    return { context, lead: Scope.extend(leading, leaseScope) }
  })
