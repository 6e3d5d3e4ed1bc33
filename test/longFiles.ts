/**
 * The names of the test files that take longest, the longest first. They begin before all others: one that is left to the end
 * runs alone. A new clone has no durations of its own, by which Vitest would order them.
 */
export const longFiles = [
  "guard.test.ts",
  "storm.test.ts",
  "namespaces.test.ts",
  "waiting.test.ts",
  "mutants.test.ts",
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
