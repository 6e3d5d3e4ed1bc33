import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: ["test/chaos/**/*.chaos.ts"],
    // Each test is a sweep of some hundred runs of the program; each run has a bound of its own.
    testTimeout: 600_000,
    hookTimeout: 60_000,
    pool: "threads",
    // A sweep keeps two cores busy by itself, and what it delays must not be late for another reason.
    fileParallelism: false,
    // With the tables that the sweeps print.
    reporters: ["verbose"]
  }
})
