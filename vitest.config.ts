import { defineConfig } from "vitest/config"
import { mutantSources } from "./test/simulation/mutants.ts"

export default defineConfig({
  plugins: [mutantSources()],
  test: {
    include: ["test/**/*.test.ts"],
    // Processes are started, killed and waited for: what hangs must end before the machine's patience does.
    testTimeout: 60_000,
    hookTimeout: 30_000,
    // Not threads: a program that one thread starts has, until it is executed, the sockets on which another listens, and
    // then a port that a test has just left is not free.
    isolate: false,
    pool: "forks",
    poolOptions: { forks: { minForks: 3, maxForks: 3, execArgv: ["--max-semi-space-size=64"] } }
  }
})
