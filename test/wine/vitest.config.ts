import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: ["test/wine/**/*.wine.ts"],
    // One prefix for all tests: wine, Node for Windows, the built program and the stand-ins.
    globalSetup: ["test/wine/support/setup.ts"],
    // A program takes a second to start. Each wait has a limit of its own.
    testTimeout: 180_000,
    hookTimeout: 60_000,
    pool: "forks",
    // Eight programs at one time are enough for two processors.
    fileParallelism: false,
    reporters: ["verbose"]
  }
})
