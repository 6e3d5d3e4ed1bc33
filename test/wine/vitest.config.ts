import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: ["test/wine/**/*.wine.ts"],
    setupFiles: ["test/fixtures/deepEqual.ts"],
    // All tests share one wine prefix, which the setup makes. It contains Node for Windows, the built program, and stand-ins
    // for some Windows programs, such as PowerShell.
    globalSetup: ["test/wine/support/setup.ts"],
    // A Windows program takes a second to start. Each wait in a test has its own limit, so this limit is rarely reached.
    testTimeout: 180_000,
    hookTimeout: 60_000,
    pool: "forks",
    // The test files run one after the other. One file runs up to eight programs at one time, which is enough for two
    // processors.
    fileParallelism: false,
    reporters: ["verbose"]
  }
})
