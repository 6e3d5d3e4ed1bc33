/**
 * A registry on loopback, from which npm installs the dependencies of the package. It has them as `node_modules` has them. So no
 * test needs a network or npm's cache.
 */
import { Effect, type Scope } from "effect"
import { spawn } from "node:child_process"
import * as Fs from "node:fs"
import * as Http from "node:http"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"

export const root = fileURLToPath(new URL("../..", import.meta.url))

const modules = Path.join(root, "node_modules")

interface Manifest {
  readonly version: string
  readonly dependencies?: Readonly<Record<string, string>>
  readonly optionalDependencies?: Readonly<Record<string, string>>
}

const manifestIn = (folder: string): Manifest => JSON.parse(Fs.readFileSync(Path.join(folder, "package.json"), "utf8"))

/** The names of all packages that this package needs to run, direct and indirect. Those that are not installed are left out. */
export const dependencies = (): ReadonlyArray<string> => {
  const found = new Set<string>()
  const add = (folder: string) => {
    const { dependencies, optionalDependencies } = manifestIn(folder)
    for (const name of Object.keys({ ...dependencies, ...optionalDependencies })) {
      const next = Path.join(modules, name)
      if (found.has(name) || !Fs.existsSync(next)) continue
      found.add(name)
      add(next)
    }
  }
  add(root)
  return [...found].toSorted()
}

const answer = (request: Http.IncomingMessage, response: Http.ServerResponse) => {
  const path = decodeURIComponent(new URL(request.url ?? "/", "http://registry").pathname).slice(1)
  const isTarball = path.startsWith("-/")
  const name = path.replace(/^-\//, "")
  if (!dependencies().includes(name)) return response.writeHead(404).end()
  if (isTarball) {
    // npm drops the first folder of each path in a tarball, whatever its name is.
    const tar = spawn("tar", ["-cz", name], { cwd: modules, stdio: ["ignore", "pipe", "inherit"] })
    return tar.stdout.pipe(response)
  }
  const manifest = manifestIn(Path.join(modules, name))
  const dist = { tarball: `http://${request.headers.host}/-/${encodeURIComponent(name)}` }
  return response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({
    name,
    "dist-tags": { latest: manifest.version },
    versions: { [manifest.version]: { ...manifest, dist } }
  }))
}

/** Starts the registry, and returns its URL. */
export const serve: Effect.Effect<string, never, Scope.Scope> = Effect.gen(function*() {
  const server = yield* Effect.acquireRelease(
    Effect.async<Http.Server>((resume) => {
      const server = Http.createServer(answer).listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
    }),
    (server) =>
      Effect.async<void>((resume) => {
        server.close(() => resume(Effect.void))
        server.closeAllConnections()
      })
  )
  const address = server.address()
  return `http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`
})
