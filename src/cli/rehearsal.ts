/**
 * Runs a takeover once while a start waits, without its effects. Code is slow when it runs for the first time, because V8 has not
 * yet compiled it, or not seen the types of its values. In a takeover that took half of the time.
 *
 * A rehearsal locks files in memory, and its server opens no port. It logs nothing, tells a supervisor nothing and makes no span.
 * Its metrics have a label of their own, and are not exported.
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import * as HashSet from "effect/HashSet"
import * as MutableRef from "effect/MutableRef"
import * as Option from "effect/Option"
import * as Dns from "node:dns"
import type * as Http from "node:http"
import * as Net from "node:net"
import type { Address } from "../Address.ts"
import { BlockingFiles } from "../host/BlockingFiles.ts"
import { KernelLock } from "../host/KernelLock.ts"
import { byFiles, LinkTarget } from "../host/LinkTarget.ts"
import { ProbeFailed, ProbeTransport } from "../host/ProbeTransport.ts"
import { IsAlone } from "../host/QuickFiles.ts"
import { WaitDisplay } from "../internal/WaitDisplay.ts"
import { configLockPath, stateLockPath } from "../lock/LockPaths.ts"
import * as OwnerRecord from "../lock/OwnerRecord.ts"
import { BeforeListening } from "../server/node/NodeServerSocket.ts"
import type { SystemdNotify } from "../supervisor/SystemdNotify.ts"
import { rehearsalLabel } from "../telemetry/Metrics.ts"
import * as MemoryFiles from "./MemoryFiles.ts"

/** Tells systemd nothing. */
export const silentSystemd: SystemdNotify["Type"] = { notify: () => Effect.succeed(true), watchdog: Option.none() }

/** A connection on which one request has arrived. It keeps the answer, and has no socket of the system. */
class Connection extends Net.Socket {
  answer = ""
  constructor(request: string) {
    super()
    this.push(request)
  }
  override _read(): void {}
  override _write(chunk: unknown, _: unknown, done: () => void): void {
    this.answer += String(chunk)
    done()
  }
  override _writev(chunks: ReadonlyArray<{ readonly chunk: unknown }>, done: () => void): void {
    for (const { chunk } of chunks) this.answer += String(chunk)
    done()
  }
  override _final(done: () => void): void {
    done()
  }
}

/** A server that says that it listens, and opens no port. */
const listenNowhere = (servers: Array<Http.Server>, address: Address) => (server: Http.Server): void => {
  servers.push(server)
  Object.assign(server, {
    listen: (_: unknown, listening: () => void) => {
      // A real server resolves its host. For an address that asks no resolver, but loads Node's.
      Dns.lookup(address.host, listening)
      return server
    },
    address: () => ({ address: address.host, port: address.port, family: "IPv4" })
  })
}

/** How long an answer of a rehearsal may take. */
const answerTimeout = Duration.seconds(1)

/** Asks the server for its health, and returns the answer. */
const ask = (server: Http.Server, { host, port }: Address) =>
  Effect.async<string>((resume) => {
    const connection = new Connection(
      `GET /healthz HTTP/1.1\r\nHost: ${host}:${port}\r\nConnection: close\r\nAccept: application/json\r\n\r\n`
    )
    connection.once("close", () => resume(Effect.sync(() => connection.answer)))
    server.emit("connection", connection)
    return Effect.sync(() => connection.destroy())
  }).pipe(Effect.timeout(answerTimeout))

/** The lock files of a gateway that was killed. */
const leftBehind = (gateway: { readonly configPath: string; readonly stateDir: string }, address: Address) =>
  Effect.map(DateTime.now, (now) => {
    const record = OwnerRecord.encode({
      version: 1,
      instanceId: "rehearsal",
      pid: 1,
      createdAt: Option.some(now),
      configPath: gateway.configPath,
      stateDir: gateway.stateDir,
      ...address,
      phase: "listening",
      supervisor: "none",
      lock: "kernel"
    })
    return { [configLockPath(gateway)]: record, [stateLockPath(gateway)]: record }
  })

/** The services that a rehearsal has instead of those of the machine. */
const makeServices = (content: Readonly<Record<string, Uint8Array>>, servers: Array<Http.Server>, address: Address) => {
  const { files, kernel } = MemoryFiles.make(content)
  return Context.make(FileSystem.FileSystem, files).pipe(
    Context.add(KernelLock, kernel),
    Context.add(BlockingFiles, { isAllowed: () => Effect.succeed(false) }),
    Context.add(LinkTarget, byFiles),
    // A copy, because the rehearsed start sets it before it serves.
    Context.add(IsAlone, MutableRef.make(true)),
    Context.add(ProbeTransport, {
      get: () => new ProbeFailed({ reason: "NoListener", detail: "a rehearsal connects to nothing" })
    }),
    Context.add(BeforeListening, listenNowhere(servers, address)),
    Context.add(WaitDisplay, () => (self) => self)
  )
}

/**
 * Rehearses a start on a loopback address, and a health probe that it answers. Returns what both had as a result. A failure does not
 * matter to the real start, which then is only slower.
 */
export const rehearse = <A, E, R>(
  gateway: { readonly configPath: string; readonly stateDir: string },
  address: Address,
  start: Effect.Effect<A, E, R>
) =>
  Effect.gen(function*() {
    const servers: Array<Http.Server> = []
    const services = makeServices(yield* leftBehind(gateway, address), servers, address)
    return yield* Effect.scoped(Effect.zip(start, Effect.forEach(servers, (server) => ask(server, address)))).pipe(
      Effect.provide(services),
      Effect.tagMetrics(rehearsalLabel, "true"),
      Effect.withTracerEnabled(false),
      Effect.locally(FiberRef.currentLoggers, HashSet.empty())
    )
  }).pipe(Effect.exit)
