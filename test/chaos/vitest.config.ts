import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: ["test/chaos/**/*.chaos.ts"],
    // Each test runs the program some hundred times. Each of these runs has its own time limit.
    testTimeout: 600_000,
    hookTimeout: 60_000,
    pool: "threads",
    // One test file keeps two cores busy. A second file at the same time would slow down the runs, in addition to the delays
    // that tests insert.
    fileParallelism: false,
    // The verbose reporter shows the tables that the tests print.
    reporters: ["verbose"]
  }
})
