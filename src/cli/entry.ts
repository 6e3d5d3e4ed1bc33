/**
 * The first module of the bundled program. It answers `gateway --version` itself, and loads the rest of the program for anything
 * else. Effect is part of that rest, because it takes longer to load than Node needs for its own start.
 */
import { version } from "../Version.ts"
import { writeText } from "./writeText.ts"

/** Loads the program and runs it. `failed` is why its output cannot be written, if it has already been tried. */
const load = async (failed?: NodeJS.ErrnoException): Promise<void> => {
  const { runProgram } = await import("./runProgram.ts")
  runProgram(failed)
}

const [word, ...others] = process.argv.slice(2)
if ((word === "--version" || word === "-V") && others.length === 0) {
  // Without a listener, a reader that has ended would be an uncaught exception.
  process.stdout.on("error", () => {})
  writeText(`gateway ${version}\n`, (failed) => {
    // The program reports the failure in the form that the settings ask for, and ends with its status.
    if (failed !== undefined) void load(failed)
  })
} else {
  void load()
}
