import * as Fs from "node:fs"
import { defineConfig } from "vitest/config"

const root = new URL("../../", import.meta.url)

/** The test files whose simulated hosts follow the platform of `GATEWAY_SIMULATED_PLATFORM`. */
const files = Fs.readdirSync(new URL("test", root), { recursive: true, encoding: "utf8" })
  .map((path) => `test/${path.replaceAll("\\", "/")}`)
  .filter((path) => path.endsWith(".test.ts"))
  .filter((path) =>
    /import \{[^}]*\bmakeHost\b[^}]*\} from ".*\/fixtures\/simulated\.ts"/.test(
      Fs.readFileSync(new URL(path, root), "utf8")
    )
  )

/** Runs the simulated suite by the rules of another platform: `--mode darwin`, `--mode win32`. */
export default defineConfig(({ mode }) => ({
  test: {
    include: files,
    env: {
      GATEWAY_SIMULATED_PLATFORM: mode,
      // The whole suite runs on Linux. Fewer cases are enough to show what depends on the platform.
      FAST_CHECK_NUM_RUNS: "8"
    },
    testTimeout: 180_000,
    hookTimeout: 30_000,
    isolate: false,
    pool: "forks",
    // For the same reasons as in the configuration of `npm test`.
    poolOptions: { forks: { minForks: 2, maxForks: 2, execArgv: ["--max-semi-space-size=64"] } }
  }
}))
