import { acquire, isGatewayLockError } from "gateway-lock/promise"

// A job without a port. If the previous run still works, this run ends at once.
const lock = await acquire({ port: false, profile: "import", lock: { timeout: 0 } }).catch((error) => {
  if (!isGatewayLockError(error) || error._tag !== "LockHeld") throw error
  console.log(`pid ${error.holder?.pid ?? "unknown"} is still at it`)
  process.exit(0)
})
try {
  console.log("importing")
  // A job must end when the lock is lost, because another run may have begun. `fetch` and many others take the signal.
  await import("node:timers/promises").then(({ setTimeout }) => setTimeout(1000, undefined, { signal: lock.signal }))
} finally {
  await lock.release()
}
