import { basename } from "node:path"
import { defineConfig } from "vitest/config"
import { BaseSequencer, type TestSpecification } from "vitest/node"
import { longFiles } from "./test/longFiles.ts"
import { mutantSources } from "./test/simulation/mutants.ts"

const rank = ({ moduleId }: TestSpecification) => {
  const at = longFiles.indexOf(basename(moduleId))
  return at < 0 ? longFiles.length : at
}

class LongestFirst extends BaseSequencer {
  override async sort(files: Array<TestSpecification>) {
    // oxlint-disable-next-line unicorn/no-array-sort -- not an array's
    const sorted = await super.sort(files)
    return sorted.toSorted((one, other) => rank(one) - rank(other))
  }
}

export default defineConfig({
  plugins: [mutantSources()],
  test: {
    include: ["test/**/*.test.ts"],
    setupFiles: [
      "test/fixtures/deepEqual.ts",
      ...(process.platform === "win32" ? ["test/e2e/support/windows.ts"] : [])
    ],
    // No test needs certificates, and Node would read them at each start of a program.
    env: { NODE_EXTRA_CA_CERTS: "" },
    sequence: { sequencer: LongestFirst },
    // Tests start, kill and wait for processes. A test that hangs must fail before the time limit of the whole run.
    testTimeout: 60_000,
    hookTimeout: 30_000,
    // Test files share modules: loading them again for each file took a third of the time.
    isolate: false,
    // Not threads: between fork and exec, a program that one thread starts has the listening sockets of all other threads. A port
    // that a test has just closed is then still in use.
    pool: "forks",
    // The minimum equals the maximum: without isolation, tinypool 1.1 ends an idle worker, and that ends the whole run.
    // Simulations make much short-lived garbage, so a larger young generation saves a third of their processor time.
    poolOptions: { forks: { minForks: 4, maxForks: 4, execArgv: ["--max-semi-space-size=64"] } }
  }
})
