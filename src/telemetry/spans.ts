/**
 * Spans around the main steps of a gateway, such as start, bind and drain. Each span is named after its step. Attributes
 * hold only facts that the lock file or the log shows as well, and never secrets.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as FiberRef from "effect/FiberRef"
import * as Tracer from "effect/Tracer"

/** The attributes of a span. */
export type Attributes = Readonly<Record<string, string | number | boolean>>

/**
 * Spans record no stack trace. A trace shows which steps ran and how they ended, and the reader of a trace does not need the
 * position of a step in the source.
 */
const captureStackTrace = false

/** Runs an effect in a new span, as a child of the current span. */
export const spanned = (name: string, attributes: Attributes) => <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.withSpan(self, name, { attributes, captureStackTrace })

/**
 * Runs an effect in a new span that starts its own trace. The drain of connections at shutdown needs this. As a child of the
 * surrounding span, the drain would join the trace of the gateway's start, which began long before.
 */
export const spannedAsRoot = (name: string, attributes: Attributes) => <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.withSpan(self, name, { attributes, captureStackTrace, root: true })

/**
 * Runs an effect outside the current span. Use this for work that outlives the span, such as a server that handles requests.
 * Otherwise each later request would become part of the trace of the gateway's start, and the log lines of each request would be
 * added to a span that has ended.
 */
export const detachSpan = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.locallyWith(self, FiberRef.currentContext, (context) => Context.omit(Tracer.ParentSpan)(context))

/**
 * Runs an effect in a new span, and adds the attributes that `result` returns when the effect ends. The effect does not see
 * the span as its parent, so fibers that it forks do not inherit the span.
 */
export const spannedDetached = <A, E>(
  name: string,
  attributes: Attributes,
  result: (exit: Exit.Exit<A, E>) => Attributes
) =>
<R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.useSpan(
    name,
    { attributes, captureStackTrace },
    (span) =>
      Effect.onExit(detachSpan(self), (exit) =>
        Effect.sync(() => {
          for (const [key, value] of Object.entries(result(exit))) span.attribute(key, value)
        }))
  )
