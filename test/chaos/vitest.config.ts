import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: ["test/chaos/**/*.chaos.ts"],
    setupFiles: ["test/fixtures/deepEqual.ts"],
    // Each test runs the program some hundred times. Each of these runs also has its own, shorter time limit.
    testTimeout: 600_000,
    hookTimeout: 60_000,
    pool: "threads",
    // One test file keeps two cores busy. If two files ran at the same time, a slow run could pass its time limit.
    fileParallelism: false,
    // The verbose reporter shows the tables that the tests print.
    reporters: ["verbose"]
  }
})
