/**
 * Runs a program that uses `gateway-lock/promise`, as a user's program does: in a process of its own, from the built package.
 */
import { Effect, type Scope } from "effect"
import { fileURLToPath } from "node:url"
import type * as Gateways from "./gateways.ts"
import * as Processes from "./processes.ts"
import * as Program from "./program.ts"

/** The folder of the package. A program that runs there imports the package by its name. */
export const root = fileURLToPath(new URL("../../..", import.meta.url))

/** The URL of the built module, for programs outside of the package. */
export const entry = new URL("../../../dist/promise/index.mjs", import.meta.url).href

/** The names that the code of a test can use. `options` are those of the site, and `say` writes a line that the test can await. */
const preamble = (site: Gateways.Site) => `
import { acquire, isGatewayLockError } from "gateway-lock/promise"
import { once } from "node:events"
import { createServer } from "node:http"
const say = (...words) => process.stderr.write(words.join(" ") + "\\n")
const options = ${
  JSON.stringify({ port: site.port, profile: "app", configPath: site.configPath, stateDir: site.stateDir })
}
const refused = async (given) => {
  let pace = "soon"
  const info = (line) => {
    if (line.startsWith("waiting up to ")) pace = "late"
  }
  const logger = { info, warn: info, error: info }
  const error = await acquire({ logger, ...given }).then(() => ({ _tag: "acquired" }), (error) => error)
  say("refused", error._tag ?? error.name, pace, JSON.stringify(error))
  return error
}
const serve = async (lock, port = lock.port) => {
  const server = createServer((request, response) => response.end("hello"))
  server.listen({ port, host: lock.host })
  await once(server, "listening")
  return server
}
`

/** A program that holds the lock and serves until a signal ends it. It has no listener for signals. */
export const server = `
const lock = await acquire(options)
await serve(lock)
await lock.listening()
say("listening")
`

export interface Options {
  readonly env?: Record<string, string>
  /** Flags of Node. */
  readonly flags?: ReadonlyArray<string>
}

/** Starts Node with these arguments in the folder of the package. */
export const startFile = (
  site: Gateways.Site,
  args: ReadonlyArray<string>,
  env: Record<string, string> = {}
): Effect.Effect<Processes.Running, never, Scope.Scope> =>
  Processes.start([process.execPath, ...args], {
    cwd: root,
    env: { PATH: Program.searchPath, HOME: site.root, ...env }
  })

/** Starts a program with this code. */
export const start = (site: Gateways.Site, code: string, { env, flags = [] }: Options = {}) =>
  startFile(site, [...flags, "--input-type=module", "-e", `${preamble(site)}${code}`], env)

/** Runs the code until the process ends. */
export const run = (site: Gateways.Site, code: string, options: Options = {}): Effect.Effect<Processes.Ended> =>
  Effect.scoped(Effect.flatMap(start(site, code, options), ({ ended }) => ended))

/** Starts `server`, or other code that says `listening`, and waits until it listens. */
export const startListening = (site: Gateways.Site, code: string = server, options: Options = {}) =>
  Effect.tap(start(site, code, options), ({ line }) => line(/^listening$/))
