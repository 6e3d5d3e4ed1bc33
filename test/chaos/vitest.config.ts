import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: ["test/chaos/**/*.chaos.ts"],
    // Each test is a sweep of some hundred runs of the program. Each run has its own time limit.
    testTimeout: 600_000,
    hookTimeout: 60_000,
    pool: "threads",
    // A sweep keeps two cores busy. A second sweep beside it would delay runs by itself.
    fileParallelism: false,
    // The verbose reporter shows the tables that the sweeps print.
    reporters: ["verbose"]
  }
})
