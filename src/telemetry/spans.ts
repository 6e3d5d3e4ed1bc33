/**
 * Spans around the few things that a gateway does, named after them. Attributes are facts that the lock file and the log
 * show as well, never secrets.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as FiberRef from "effect/FiberRef"
import * as Tracer from "effect/Tracer"

/** What a span may tell. */
export type Attributes = Readonly<Record<string, string | number | boolean>>

/** A trace shows what was done and how it ended; where in the code, nobody looks for there. */
const captureStackTrace = false

/** Runs an effect in a span of its own, under the present one. */
export const spanned = (name: string, attributes: Attributes) => <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.withSpan(self, name, { attributes, captureStackTrace })

/** The same, in a trace of its own: for what happens long after the span that happens to be around it. */
export const spannedApart = (name: string, attributes: Attributes) => <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.withSpan(self, name, { attributes, captureStackTrace, root: true })

/**
 * Leaves the present span: for what outlives it. Else a request would belong to the start for ever, and what is logged
 * would be kept with a span that has ended.
 */
export const detachSpan = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.locallyWith(self, FiberRef.currentContext, (context) => Context.omit(Tracer.ParentSpan)(context))

/**
 * Runs an effect in a span that what it leaves running does not belong to.
 */
export const spannedAround = <A, E>(
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
