import { defineConfig } from "vitest/config"
import { mutantSources } from "./test/simulation/mutants.ts"

export default defineConfig({
  plugins: [mutantSources()],
  test: {
    include: ["test/**/*.test.ts"],
    // Processes are started, killed and waited for: what hangs must end before the machine's patience does.
    testTimeout: 60_000,
    hookTimeout: 30_000,
    pool: "threads",
    poolOptions: { threads: { minThreads: 1, maxThreads: 3 } }
  }
})
