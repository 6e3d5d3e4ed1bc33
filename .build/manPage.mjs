// Writes the manual page beside the program, dated by SOURCE_DATE_EPOCH where that is set.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import { rolldown } from "rolldown"

const here = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url))
const folder = mkdtempSync(join(tmpdir(), "gateway-lock-build-"))
try {
  const file = join(folder, "manPage.mjs")
  const build = await rolldown({ platform: "node", input: here("src/cli/ManPage.ts") })
  await build.write({ file, format: "esm" })
  await build.close()
  const { manPage } = await import(pathToFileURL(file).href)
  const seconds = process.env.SOURCE_DATE_EPOCH
  const date = seconds === undefined ? new Date() : new Date(Number(seconds) * 1000)
  const month = date.toLocaleString("en", { month: "long", timeZone: "UTC" })
  const page = manPage({ year: date.getUTCFullYear(), month, day: date.getUTCDate() })
  writeFileSync(here("dist/gateway.1"), page)
} finally {
  rmSync(folder, { recursive: true, force: true })
}
