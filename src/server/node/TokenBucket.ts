/**
 * So many in a second, and a few more at once. Pure.
 *
 * @since 0.1.0
 */
import * as Option from "effect/Option"

/**
 * @since 0.1.0
 * @category models
 */
export interface TokenBucket {
  /** How many may come now. */
  readonly left: number
  /** When that was so, on the monotonic clock, in nanoseconds. */
  readonly at: bigint
}

/**
 * How many seconds' worth may come at once, after a pause.
 *
 * @since 0.1.0
 * @category constants
 */
export const burstSeconds = 2

/**
 * A full one.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (perSecond: number, now: bigint): TokenBucket => ({ left: perSecond * burstSeconds, at: now })

/**
 * Takes one; `None` where none is left. A clock that goes back fills nothing.
 *
 * @since 0.1.0
 * @category decisions
 */
export const take = (bucket: TokenBucket, perSecond: number, now: bigint): Option.Option<TokenBucket> => {
  const seconds = Math.max(0, Number(now - bucket.at) / 1e9)
  const left = Math.min(perSecond * burstSeconds, bucket.left + seconds * perSecond)
  return left >= 1 ? Option.some({ left: left - 1, at: now }) : Option.none()
}
