/**
 * Fencing tokens: numbers that grow with each change of the leader. A resource that remembers the highest token refuses the late
 * write of a former leader. Pure.
 *
 * The upper bits of a token are an *epoch*, the lower 40 bits a counter. The epoch is the sum of the store's timeline and a base.
 * A plain counter could give the same number twice: a replica that was promoted may have lost the last grant. Its timeline
 * is higher, so its tokens are too.
 *
 * @since 0.1.0
 */

/** The number of bits of the counter. At one grant per millisecond, the counter lasts for 34 years. */
const counterBits = 40n

/**
 * The epoch in which a token was granted.
 *
 * @internal
 */
export const epochOf = (token: bigint): bigint => token >> counterBits

/**
 * The first number of an epoch. No token has it.
 *
 * @internal
 */
export const floorOf = (epoch: bigint): bigint => epoch << counterBits

/**
 * The token of a new grant. It is higher than the previous token, and than every token of an earlier epoch.
 *
 * @internal
 */
export const next = (previous: bigint, epoch: bigint): bigint => {
  const floor = floorOf(epoch)
  return (previous > floor ? previous : floor) + 1n
}

/**
 * The base after the store was replaced by another one with the same content, whose timelines begin anew, as `pg_upgrade` does.
 * Timelines begin with 1, so the epochs of the new store are higher.
 *
 * Limit: if a failover lost a grant, and the store is replaced before the next grant, the new epochs can repeat lost ones. Only the
 * highest token that each host remembers protects then.
 *
 * @internal
 */
export const rebase = (token: bigint): bigint => epochOf(token)

/**
 * Whether a resource that has seen the token `highest` must accept a write with `token`. A leader writes many times with the same
 * token, so an equal token is accepted.
 *
 * @example
 * import { Leadership } from "gateway-lock"
 *
 * Leadership.FencingToken.isAccepted(7n, 7n) // true: the present leader writes again
 * Leadership.FencingToken.isAccepted(6n, 7n) // false: a former leader writes late
 *
 * @since 0.1.0
 * @category checks
 */
export const isAccepted = (token: bigint, highest: bigint): boolean => highest <= token
