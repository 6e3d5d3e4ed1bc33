/** Prints what the tests of `npm run test:hosts` have measured, after the last of them. Each test file runs in a process of its own. */
import * as Fs from "node:fs"
import { tmpdir } from "node:os"
import * as Path from "node:path"
import type { TestProject } from "vitest/node"

declare module "vitest" {
  export interface ProvidedContext {
    /** The file to which tests append lines. */
    readonly summary: string
  }
}

const setup = ({ provide }: TestProject): () => void => {
  const folder = Fs.mkdtempSync(Path.join(tmpdir(), "gateway-hosts-"))
  const file = Path.join(folder, "summary")
  Fs.writeFileSync(file, "")
  provide("summary", file)
  return () => {
    process.stdout.write(`\nmeasured:\n${Fs.readFileSync(file, "utf8")}`)
    Fs.rmSync(folder, { recursive: true })
  }
}

export default setup
