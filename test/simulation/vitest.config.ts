import * as Fs from "node:fs"
import { defineConfig } from "vitest/config"

const root = new URL("../../", import.meta.url)

/** The test files that use a simulated host. The host follows the rules of the platform in `GATEWAY_SIMULATED_PLATFORM`. */
const files = Fs.readdirSync(new URL("test", root), { recursive: true, encoding: "utf8" })
  .map((path) => `test/${path.replaceAll("\\", "/")}`)
  .filter((path) => path.endsWith(".test.ts"))
  .filter((path) =>
    /import \{[^}]*\bmakeHost\b[^}]*\} from ".*\/fixtures\/simulated\.ts"/.test(
      Fs.readFileSync(new URL(path, root), "utf8")
    )
  )

/**
 * Runs these test files by the rules of another platform than Linux. `--mode darwin` or `--mode win32` selects the platform.
 */
export default defineConfig(({ mode }) => ({
  test: {
    include: files,
    setupFiles: ["test/fixtures/deepEqual.ts"],
    env: {
      GATEWAY_SIMULATED_PLATFORM: mode,
      // `npm test` runs all cases by the rules of Linux. Here fewer cases are enough, because they only have to show what
      // depends on the platform.
      FAST_CHECK_NUM_RUNS: "4"
    },
    testTimeout: 180_000,
    hookTimeout: 30_000,
    isolate: false,
    pool: "forks",
    // One process, because loading the modules a second time would take longer than the second process saves while `npm test` runs
    // beside it. The main configuration (that of `npm test`) explains the other values.
    poolOptions: { forks: { minForks: 1, maxForks: 1, execArgv: ["--max-semi-space-size=64"] } }
  }
}))
