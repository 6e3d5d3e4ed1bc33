/**
 * A rate limit that allows bursts. The functions are pure.
 *
 * @since 0.1.0
 */
import * as Option from "effect/Option"

/**
 * The state of a rate limit.
 *
 * @since 0.1.0
 * @category models
 */
export interface TokenBucket {
  /** How many tokens were left at the time `at`. */
  readonly left: number
  /** A time of the monotonic clock, in nanoseconds. */
  readonly at: bigint
}

/**
 * A full bucket holds as many tokens as are added in this many seconds. After a pause, a burst of that many tokens is allowed.
 *
 * @since 0.1.0
 * @category constants
 */
export const burstSeconds = 2

/**
 * Makes a full bucket.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (perSecond: number, now: bigint): TokenBucket => ({ left: perSecond * burstSeconds, at: now })

/**
 * Takes one token. Returns `None` if no token is left. If the clock goes back, no tokens are added.
 *
 * @since 0.1.0
 * @category decisions
 */
export const take = (bucket: TokenBucket, perSecond: number, now: bigint): Option.Option<TokenBucket> => {
  const seconds = Math.max(0, Number(now - bucket.at) / 1e9)
  const left = Math.min(perSecond * burstSeconds, bucket.left + seconds * perSecond)
  return left >= 1 ? Option.some({ left: left - 1, at: now }) : Option.none()
}
