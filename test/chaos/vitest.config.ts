import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: ["test/chaos/**/*.chaos.ts"],
    // Each test runs the program some hundred times. Each of these runs has its own time limit.
    testTimeout: 600_000,
    hookTimeout: 60_000,
    pool: "threads",
    // One test file keeps two cores busy. A second one at the same time would delay runs of the program, which the tests do
    // themselves where they need delays.
    fileParallelism: false,
    // The verbose reporter shows the tables that the tests print.
    reporters: ["verbose"]
  }
})
