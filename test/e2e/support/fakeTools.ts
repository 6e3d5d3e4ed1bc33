/**
 * Stand-ins for programs of this machine, such as `systemctl`. Each stand-in records the environment that it was started with.
 */
import { Effect, type Scope } from "effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import * as Gateways from "./gateways.ts"

export interface Started {
  readonly program: string
  readonly environment: Readonly<Record<string, string>>
}

export interface FakeTools {
  /** The value for `PATH`. */
  readonly path: string
  /** All starts so far. */
  readonly started: Effect.Effect<ReadonlyArray<Started>>
}

/** The environment variables that a shell sets by itself. */
const ofTheShell = new Set(["PWD", "OLDPWD", "SHLVL", "_"])

/** Makes stand-ins for the named programs. Each stand-in prints nothing and exits with 0. */
export const make = (names: ReadonlyArray<string>): Effect.Effect<FakeTools, never, Scope.Scope> =>
  Effect.gen(function*() {
    const folder = yield* Gateways.temporaryFolder
    const [bin, seen] = [Path.join(folder, "bin"), Path.join(folder, "seen")]
    yield* Effect.promise(async () => {
      await Fs.mkdir(bin)
      await Fs.mkdir(seen)
      for (const name of names) {
        const script = `#!/bin/sh\n/usr/bin/env -0 > ${seen}/.$$ && /bin/mv ${seen}/.$$ ${seen}/${name}.$$\n`
        await Fs.writeFile(Path.join(bin, name), script, { mode: 0o755 })
      }
    })
    const read = async (file: string): Promise<Started> => {
      const variables = (await Fs.readFile(Path.join(seen, file), "utf8")).split("\0").filter((text) => text !== "")
      const entries = variables.map((text): [string, string] => {
        const at = text.indexOf("=")
        return [text.slice(0, at), text.slice(at + 1)]
      })
      return {
        program: file.replace(/\.\d+$/, ""),
        environment: Object.fromEntries(entries.filter(([name]) => !ofTheShell.has(name)))
      }
    }
    const started = Effect.promise(async () => {
      const files = await Fs.readdir(seen)
      return Promise.all(files.filter((file) => !file.startsWith(".")).map(read))
    })
    return { path: bin, started }
  })

/** Variables that the gateway must not pass to a child process: secrets, and variables that systemd sets for one process only. */
export const withheld: Readonly<Record<string, string>> = {
  GATEWAY_TOKEN: "secret-token-0123456789-0123456789-0123456789",
  GATEWAY_LEASE_URL: "postgresql://user:secret-lease@db/lease",
  OTEL_EXPORTER_OTLP_HEADERS: "authorization=secret-otel",
  OTEL_EXPORTER_OTLP_TRACES_HEADERS: "authorization=secret-traces",
  DATABASE_URL: "postgresql://user:secret-app@db/app",
  PGPASSWORD: "secret-password",
  AWS_SECRET_ACCESS_KEY: "secret-aws",
  NODE_OPTIONS: "--no-deprecation",
  NOTIFY_SOCKET: "/nonexistent/notify",
  WATCHDOG_USEC: "60000000",
  LISTEN_FDS: "1",
  LISTEN_FDNAMES: "gateway.socket",
  LISTEN_PID: "1"
}

/** Variables that the gateway passes on to a child process. */
export const handed: Readonly<Record<string, string>> = {
  LANG: "C.UTF-8",
  XDG_RUNTIME_DIR: "/nonexistent/run",
  DBUS_SESSION_BUS_ADDRESS: "unix:path=/nonexistent/bus"
}
