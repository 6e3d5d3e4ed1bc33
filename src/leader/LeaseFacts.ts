/**
 * The facts about a lease that the table of settings contains. Every start loads this module, so it has no code of the lease.
 *
 * @internal
 */
import * as Duration from "effect/Duration"

/** The default times. */
export const defaults = {
  duration: Duration.seconds(15),
  renewInterval: Duration.seconds(3),
  attemptTimeout: Duration.seconds(2),
  renewDeadline: Duration.seconds(10),
  stopTimeout: Duration.seconds(4)
} as const

/** The format of the URL of a lease store, as text for errors and help. */
export const allowedUrl =
  "the URL of one PostgreSQL host (postgresql://host/database) or of etcd members (etcd+https://a:2379,b:2379)"
