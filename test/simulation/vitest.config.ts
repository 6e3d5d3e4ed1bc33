import * as Fs from "node:fs"
import { defineConfig } from "vitest/config"

const root = new URL("../../", import.meta.url)

/** Every test file that leaves the platform of its simulated hosts to `GATEWAY_SIMULATED_PLATFORM`. */
const files = Fs.readdirSync(new URL("test", root), { recursive: true, encoding: "utf8" })
  .map((path) => `test/${path.replaceAll("\\", "/")}`)
  .filter((path) => path.endsWith(".test.ts"))
  .filter((path) =>
    /import \{[^}]*\bmakeHost\b[^}]*\} from ".*\/fixtures\/simulated\.ts"/.test(
      Fs.readFileSync(new URL(path, root), "utf8")
    )
  )

/** The simulated suite by the rules of another platform: `--mode darwin`, `--mode win32`. */
export default defineConfig(({ mode }) => ({
  test: {
    include: files,
    env: {
      GATEWAY_SIMULATED_PLATFORM: mode,
      // The suite as a whole runs on Linux. What depends on the platform shows in fewer cases.
      FAST_CHECK_NUM_RUNS: "8"
    },
    testTimeout: 180_000,
    hookTimeout: 30_000,
    isolate: false,
    pool: "forks",
    // See the configuration of `npm test`.
    poolOptions: { forks: { minForks: 2, maxForks: 2, execArgv: ["--max-semi-space-size=64"] } }
  }
}))
