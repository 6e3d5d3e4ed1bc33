import { defineConfig } from "vitest/config"
import { mutantSources } from "../simulation/mutants.ts"

export default defineConfig({
  plugins: [mutantSources()],
  test: {
    include: ["test/hosts/**/*.hosts.ts"],
    setupFiles: ["test/fixtures/deepEqual.ts"],
    globalSetup: "test/hosts/support/summary.ts",
    env: { NODE_EXTRA_CA_CERTS: "" },
    // Each test waits for whole leases, and starts and ends servers.
    testTimeout: 300_000,
    hookTimeout: 60_000,
    pool: "forks",
    // These tests judge times, and one file keeps two cores busy.
    fileParallelism: false,
    reporters: ["verbose"]
  }
})
