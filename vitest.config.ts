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
    setupFiles: process.platform === "win32" ? ["test/e2e/support/windows.ts"] : [],
    sequence: { sequencer: LongestFirst },
    // Processes are started, killed and waited for: what hangs must end before the machine's patience does.
    testTimeout: 60_000,
    hookTimeout: 30_000,
    // Loading the modules anew for each file would take a third of the time.
    isolate: false,
    // Not threads: a program that one thread starts has, until it is executed, the sockets on which another listens, and
    // then a port that a test has just left is not free.
    pool: "forks",
    // As many at least as at most: without isolation, tinypool (1.1) ends a worker that has nothing to do, and the run with it.
    // The garbage of simulations is young.
    poolOptions: { forks: { minForks: 3, maxForks: 3, execArgv: ["--max-semi-space-size=64"] } }
  }
})
