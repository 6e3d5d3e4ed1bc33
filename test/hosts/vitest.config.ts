import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: ["test/hosts/**/*.hosts.ts"],
    // No test needs certificates of its environment, and Node would read them at each start of a program.
    env: { NODE_EXTRA_CA_CERTS: "" },
    // Tests wait for the whole time of a lease, and for servers that start again.
    testTimeout: 120_000,
    hookTimeout: 60_000,
    // The bounds of takeovers are bounds of time. Files that run at the same time would take the processor from each other.
    pool: "forks",
    fileParallelism: false,
    // The verbose reporter shows the times that the tests print.
    reporters: ["verbose"]
  }
})
