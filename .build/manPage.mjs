// Writes the manual page and the schema of the config file beside the program. SOURCE_DATE_EPOCH, if set, dates the page.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import { rolldown } from "rolldown"

const here = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url))
const folder = mkdtempSync(join(tmpdir(), "gateway-lock-build-"))
try {
  const load = async (room, name) => {
    const file = join(folder, `${name}.mjs`)
    const build = await rolldown({ platform: "node", input: here(`src/${room}/${name}.ts`) })
    await build.write({ file, format: "esm", codeSplitting: false })
    await build.close()
    return import(pathToFileURL(file).href)
  }
  const { manPage } = await load("cli", "ManPage")
  const seconds = process.env.SOURCE_DATE_EPOCH
  const date = seconds === undefined ? new Date() : new Date(Number(seconds) * 1000)
  const month = date.toLocaleString("en", { month: "long", timeZone: "UTC" })
  const page = manPage({ year: date.getUTCFullYear(), month, day: date.getUTCDate() })
  writeFileSync(here("dist/gateway.1"), page)
  const { configSchema } = await load("settings", "ConfigSchema")
  writeFileSync(here("dist/gateway.schema.json"), configSchema())
} finally {
  rmSync(folder, { recursive: true, force: true })
}
