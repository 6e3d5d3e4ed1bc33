/**
 * The names of the slowest test files, the slowest first. These files begin before all others, because a slow file that begins
 * late runs alone at the end. A new clone has no recorded durations by which Vitest could order the files.
 */
export const longFiles = [
  "lease.test.ts",
  "exec-lease.test.ts",
  "guard.test.ts",
  "storm.test.ts",
  "promise.test.ts",
  "promise-life.test.ts",
  "exec-lock.test.ts",
  "protocol.test.ts",
  "protocol-readers.test.ts",
  "exec-service.test.ts",
  "service-control.test.ts",
  "namespaces.test.ts",
  "waiting.test.ts",
  "mutants.test.ts",
  "simulation.test.ts",
  "stop.test.ts",
  "examples.test.ts",
  "status-page.test.ts",
  "HeldLock.test.ts",
  "record-only.test.ts",
  "status.test.ts",
  "shutdown.test.ts",
  "doctor.test.ts",
  "wirings.test.ts",
  "Gateway.test.ts",
  "swapped-config.test.ts",
  "containers.test.ts"
]
