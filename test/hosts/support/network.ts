/**
 * Hosts that are network namespaces (network_namespaces(7)), with a bridge between them and this process. Each has a link of its own
 * that a test can cut. The servers of a test run beside this process, which is a host of its own: `test/hosts/inNamespace.sh` has put
 * it into a namespace. So nothing reaches the network of the machine, and the kernel removes everything with the last process.
 */
import { Config, Effect, type Scope } from "effect"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Namespaces from "../../e2e/support/namespaces.ts"
import * as Processes from "../../e2e/support/processes.ts"
import * as Program from "../../e2e/support/program.ts"

/** The network namespace of the machine, which `test/hosts/inNamespace.sh` names. */
const outside = Effect.runSync(Config.withDefault(Config.string("GATEWAY_HOSTS_OUTSIDE"), ""))

const isInside = (): boolean => outside !== "" && Fs.readlinkSync("/proc/self/ns/net") !== outside

/** The reason to skip a test that makes hosts; `undefined` if the test can run. */
export const noHosts = Namespaces.noNetwork
  ?? Program.without("setpriv")
  ?? (isInside() ? undefined : "needs a network namespace: npm run test:hosts")

/** The address at which the hosts reach the servers of a test. */
export const storeAddress = "10.99.0.1"
export const network = "10.99.0.0/24"

export interface Host {
  readonly name: string
  /** A command prefix that runs a program on this host. */
  readonly under: ReadonlyArray<string>
  /** Cuts the link in both directions. */
  readonly cutLink: Effect.Effect<void>
  /** Drops what this host sends. What others send still arrives. */
  readonly dropSent: Effect.Effect<void>
  /** Drops what is sent to this host. What it sends still arrives. */
  readonly dropReceived: Effect.Effect<void>
  /** Undoes all of these. */
  readonly mend: Effect.Effect<void>
}

const run = (...words: ReadonlyArray<string>): Effect.Effect<void> =>
  Effect.async((resume) => {
    const [command = "", ...args] = words
    ChildProcess.execFile(command, args, { env: { PATH: Program.searchPath } }, (error, _, stderr) =>
      resume(error === null ? Effect.void : Effect.dieMessage(`${words.join(" ")}: ${error.message}${stderr}`)))
  })

const ip = (...args: ReadonlyArray<string>) => run("ip", ...args)

const bridge = "hosts"

const makeHost = (name: string, at: number): Effect.Effect<Host, never, Scope.Scope> =>
  Effect.gen(function*() {
    const address = `10.99.0.${10 + at}`
    const outer = `to-${name}`
    // It keeps the namespace while no program runs there, and ends with this process.
    const words = ["unshare", "--net", "setpriv", "--pdeathsig", "KILL", "sh", "-c", "echo ready >&2; exec sleep 3600"]
    const keeper = yield* Processes.start(words, { cwd: Os.tmpdir(), env: { PATH: Program.searchPath } })
    yield* keeper.line(/^ready$/)
    const under = ["nsenter", "--target", String(keeper.pid), "--net"]
    const inside = (...args: ReadonlyArray<string>) => run(...under, "ip", ...args)
    const blackhole = ["blackhole", `${storeAddress}/32`]
    const plug = Effect.gen(function*() {
      yield* ip("link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", String(keeper.pid))
      yield* ip("link", "set", outer, "master", bridge, "up")
      yield* inside("link", "set", "lo", "up")
      yield* inside("address", "add", `${address}/24`, "dev", "eth0")
      yield* inside("link", "set", "eth0", "up")
    })
    yield* plug
    return {
      name,
      under,
      cutLink: ip("link", "set", outer, "down"),
      dropSent: inside("route", "add", ...blackhole),
      dropReceived: ip("route", "add", "blackhole", `${address}/32`),
      mend: Effect.all([
        ip("link", "set", outer, "up"),
        inside("route", "flush", "type", "blackhole"),
        ip("route", "flush", "type", "blackhole")
      ], { discard: true })
    }
  })

/** Makes hosts, which are removed when the scope closes. */
export const makeHosts = (names: ReadonlyArray<string>): Effect.Effect<ReadonlyArray<Host>, never, Scope.Scope> =>
  Effect.gen(function*() {
    yield* Effect.acquireRelease(
      ip("link", "add", bridge, "type", "bridge"),
      () => ip("link", "delete", bridge)
    )
    yield* ip("address", "add", `${storeAddress}/24`, "dev", bridge)
    yield* ip("link", "set", bridge, "up")
    return yield* Effect.forEach(names, makeHost)
  })
