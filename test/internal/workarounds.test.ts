/**
 * These tests show why the workarounds in `src` are needed. Each test shows how Node, libuv, ws or Effect behaves without a
 * workaround, and its title names the file of the workaround. If a test fails after an upgrade, the workaround may no longer be
 * needed. Then read the comment at the workaround. Remove the workaround and its test once no supported version needs them.
 *
 * Node 20, 22, 24 and 26 all behave in this way, unless the test says otherwise.
 *
 * Three workarounds have their test elsewhere:
 *
 * - `src/internal/keepInterruption.ts` and `src/internal/memoized.ts`: in the test files of these modules.
 * - `src/cli/runProgram.ts`, `leaveTerminal`: in `test/e2e/shutdown.test.ts`, because it needs a terminal.
 *
 * Some have no test, because these tests run on Linux, where the behavior does not show:
 *
 * - `src/host/NativeFiles.ts`, `realPath`: shows only if the file system ignores case, as on Windows and macOS.
 * - `src/host/NativeFiles.ts`, `lowHalf`: shows only on Windows, with libuv 1.49 or 1.50.
 * - `src/host/momentary.ts`: shows only with the sharing violations and pending removals of Windows.
 * - `src/host/ProbeTransport.ts`, `hasLoopbackV4`: shows only if the system refuses to list its network interfaces.
 * - `src/host/endProcess.ts`, `sendSigterm`: only on Windows does `process.kill` of the calling process end that process at
 *   once.
 * - `src/cli/stopSignals.ts`, SIGBREAK and SIGHUP: needs a console of Windows.
 * - `src/internal/permissions.ts`: needs Windows, where libuv makes up the mode bits of files.
 */
import { Command, CommandExecutor, FileSystem, HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { NodeContext, NodeHttpServer } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Option, Queue, Random, Scope, Stream } from "effect"
import * as ChildProcess from "node:child_process"
import * as Dgram from "node:dgram"
import { once } from "node:events"
import * as Fs from "node:fs"
import * as Http from "node:http"
import * as Net from "node:net"
import * as Os from "node:os"
import * as Path from "node:path"
import { setImmediate as turn, setTimeout as after } from "node:timers/promises"
import * as Util from "node:util"
import * as WS from "ws"
import * as Program from "../e2e/support/program.ts"

const isWindows = process.platform === "win32"
const major = Number(process.versions.node.split(".")[0])

/** The oldest version of Node that this package supports, as `engines` in package.json has it. */
const oldest = Number(
  /"node": ">=(\d+)/.exec(Fs.readFileSync(new URL("../../package.json", import.meta.url), "utf8"))?.[1]
)

const needed = (file: string, what: string) => `src/${file} is still needed: ${what}`

// ---------------------------------------------------------------------------
// servers and clients of plain Node
// ---------------------------------------------------------------------------

/** Makes a temporary folder that exists as long as `use` runs. */
const withFolder = async (use: (folder: string) => Promise<void>) => {
  const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "workarounds-"))
  try {
    await use(folder)
  } finally {
    Fs.rmSync(folder, { recursive: true })
  }
}

const portOf = (server: Net.Server): number => {
  const address = server.address()
  return typeof address === "object" && address !== null ? address.port : 0
}

/** Lets a server listen on a free port of 127.0.0.1 as long as `use` runs. */
const withServer = async <S extends Net.Server>(server: S, use: (port: number) => Promise<void>) => {
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  try {
    await use(portOf(server))
  } finally {
    server.close()
    if (server instanceof Http.Server) server.closeAllConnections()
  }
}

/** Connects to a port. `text` returns everything that the connection has received. */
const connect = async (port: number) => {
  const socket = Net.connect(port, "127.0.0.1")
  const received: Array<Buffer> = []
  // An error needs no handling here, because the event "close" follows every error.
  socket.on("error", () => {})
  socket.on("data", (chunk: Buffer) => received.push(chunk))
  await once(socket, "connect")
  return { socket, text: () => Buffer.concat(received).toString("latin1") }
}

/** Sends a text on a new connection, and returns everything that arrives until the server closes the connection. */
const exchange = async (port: number, text: string): Promise<string> => {
  const client = await connect(port)
  client.socket.write(text)
  await once(client.socket, "close")
  return client.text()
}

const get = (path: string, ...lines: ReadonlyArray<string>) =>
  [`GET ${path} HTTP/1.1`, "Host: localhost", ...lines, "", ""].join("\r\n")

const h2c = ["Connection: Upgrade", "Upgrade: h2c"]
const webSocket = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
const key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="

// ---------------------------------------------------------------------------
// the tests
// ---------------------------------------------------------------------------

describe("HTTP", () => {
  it(
    needed("server/node/UpgradeRequests.ts", "a listener of \"upgrade\" gets every request with an Upgrade"),
    async () => {
      const server = Http.createServer((_, response) => response.end("plain"))
      server.on("upgrade", (_, socket) => socket.end("taken over"))
      await withServer(server, async (port) => {
        assert.strictEqual(await exchange(port, get("/", ...h2c)), "taken over")
      })
    }
  )

  it(needed("server/node/UpgradeRequests.ts", "Node 20 has no shouldUpgradeCallback"), () => {
    // Node has `shouldUpgradeCallback` from 22.21 and 24.9 on. Once this package supports no older version of Node, that
    // callback can replace the class `UpgradeRequest`.
    assert.strictEqual(oldest, 20)
    assert.strictEqual("shouldUpgradeCallback" in Http.createServer(), major > 20)
  })

  it(
    needed("server/node/UpgradeRequests.ts", "Node drops what follows a request with an ignored Upgrade"),
    async () => {
      const paths: Array<string | undefined> = []
      const server = Http.createServer((request, response) => {
        paths.push(request.url)
        response.end("answered")
      })
      await withServer(server, async (port) => {
        const client = await connect(port)
        client.socket.write(get("/first", ...h2c) + get("/dropped"))
        await once(client.socket, "data")
        client.socket.write(get("/last", "Connection: close"))
        await once(client.socket, "close")
      })
      assert.deepStrictEqual(paths, ["/first", "/last"])
    }
  )

  // The body does not fit into the buffers of the connection's two sockets. So a part of it is still unsent when `close` is called.
  const body = Buffer.alloc(32 * 1024 * 1024)
  const closing: ReadonlyArray<readonly [what: string, isCut: boolean, close: (server: Http.Server) => void]> = [
    ["closeIdleConnections", true, (server) => server.closeIdleConnections()],
    ["close of http.Server", true, (server) => server.close()],
    ["close of net.Server", false, (server) => Net.Server.prototype.close.call(server)]
  ]
  for (const [what, isCut, close] of closing) {
    it(
      needed(
        "server/node/ConnectionTable.ts",
        `${what} ${isCut ? "cuts" : "does not cut"} a response that has ended and is not sent`
      ),
      async () => {
        const server = Http.createServer((_, response) => {
          response.end(body)
          setImmediate(() => close(server))
        })
        await withServer(server, async (port) => {
          const { length } = await exchange(port, get("/", "Connection: close"))
          if (isCut) assert.isBelow(length, body.length)
          else assert.isAbove(length, body.length)
        })
      }
    )
  }

  it(
    needed(
      "server/node/ConnectionTable.ts",
      `closeIdleConnections ${
        major < 26
          ? "keeps a connection that never sends anything"
          : "leaves a new connection no time to send its request"
      }`
    ),
    async () => {
      // In Node 20 to 24, `closeIdleConnections` leaves a connection open on which nothing has arrived yet. In Node 26, it closes
      // such a connection (nodejs/node#63470).
      const server = Http.createServer()
      await withServer(server, async (port) => {
        const accepted = once(server, "connection")
        await connect(port)
        const [socket]: Array<Net.Socket> = await accepted
        server.closeIdleConnections()
        assert.strictEqual(socket?.destroyed, major >= 26)
      })
    }
  )

  it(needed("server/node/ConnectionTable.ts", "a timer that is due comes before data that has arrived"), async () => {
    const order: Array<string> = []
    const server = Net.createServer((socket) => socket.on("data", () => order.push("data")))
    await withServer(server, async (port) => {
      const accepted = once(server, "connection")
      const client = await connect(port)
      const [socket]: Array<Net.Socket> = await accepted
      await turn()
      client.socket.write("x")
      const timer = after(1).then(() => order.push("timer"))
      const end = performance.now() + 5
      while (performance.now() < end);
      if (socket !== undefined) await once(socket, "data")
      await timer
      client.socket.destroy()
    })
    assert.deepStrictEqual(order, ["timer", "data"])
  })

  it(
    needed("server/node/InterceptingServer.ts", "maxConnections counts only the server's own connections"),
    async () => {
      const server = Http.createServer((_, response) => response.end("answered"))
      server.maxConnections = 1
      const other = Net.createServer((socket) => server.emit("connection", socket))
      await withServer(server, async (port) => {
        await withServer(other, async (otherPort) => {
          const accepted = once(server, "connection")
          await connect(port)
          await accepted
          assert.match(await exchange(otherPort, get("/", "Connection: close")), /answered$/)
        })
      })
    }
  )

  it(needed("server/node/InterceptingServer.ts", "Node refuses a headersTimeout above the requestTimeout"), () => {
    assert.throws(() => Http.createServer({ headersTimeout: 2, requestTimeout: 1 }), /headersTimeout/)
  })

  it(
    needed("server/node/InterceptingServer.ts", "Node leaves the errors of an upgraded socket unhandled"),
    async () => {
      const listeners: Array<number> = []
      const server = Http.createServer()
      server.on("upgrade", (_, socket) => {
        listeners.push(socket.listenerCount("error"))
        socket.destroy()
      })
      await withServer(server, async (port) => {
        await exchange(port, get("/", ...webSocket, key))
      })
      assert.deepStrictEqual(listeners, [0])
    }
  )
})

describe("HTTP clients", () => {
  it(needed("probe/OwnerWatch.ts", "a request leaves its socket open once it was upgraded"), async () => {
    const server = Http.createServer()
    server.on("upgrade", (_, socket) => {
      socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    })
    await withServer(server, async (port) => {
      const headers = { connection: "Upgrade", upgrade: "websocket" }
      const request = Http.request({ host: "127.0.0.1", port, agent: false, headers }).end()
      const [, socket]: Array<Net.Socket> = await once(request, "upgrade")
      request.destroy()
      await turn()
      assert.deepStrictEqual([request.destroyed, socket?.destroyed], [true, false])
      socket?.destroy()
    })
  })

  it(needed("telemetry/Otlp.ts", "the message of an error of fetch gives no reason"), async () => {
    const server = Net.createServer((socket) => socket.destroy())
    await withServer(server, async (port) => {
      const error: unknown = await fetch(`http://127.0.0.1:${port}`).then(() => undefined, (error: unknown) => error)
      assert.instanceOf(error, TypeError)
      assert.strictEqual(error.message, "fetch failed")
    })
  })
})

describe("ws", () => {
  const opened = async (request: string, before: (socket: Net.Socket) => void) => {
    let calls = 0
    const server = Http.createServer()
    const sockets = new WS.WebSocketServer({ noServer: true })
    server.on("upgrade", (request, socket, head) => {
      before(request.socket)
      sockets.handleUpgrade(request, socket, head, () => calls += 1)
      // If the WebSocket was opened, its connection stays open. It is ended here, because `exchange` waits for its end.
      socket.end()
    })
    await withServer(server, async (port) => {
      await exchange(port, request)
    })
    return calls
  }

  it("calls back for a valid handshake, so that the next two tests show something", async () => {
    assert.strictEqual(await opened(get("/", ...webSocket, key), () => {}), 1)
  })

  it(needed("server/node/AppUpgrades.ts", "ws does not call back for a client that has gone"), async () => {
    assert.strictEqual(await opened(get("/", ...webSocket, key), (socket) => socket.destroy()), 0)
  })

  it(needed("server/node/UpgradeRequests.ts", "ws does not call back for a handshake that it refuses"), async () => {
    assert.strictEqual(await opened(get("/", ...webSocket), () => {}), 0)
  })

  it(needed("server/node/FrameHeads.ts", "ws reports no fragments of a message"), async () => {
    const events: Array<string> = []
    const server = Http.createServer()
    const sockets = new WS.WebSocketServer({ noServer: true })
    server.on("upgrade", (request, socket, head) => {
      sockets.handleUpgrade(request, socket, head, (ws) => {
        for (const event of ["message", "ping", "pong"]) ws.on(event, () => events.push(event))
        ws.on("message", () => ws.terminate())
      })
    })
    // A mask of zeros leaves the payload as it is.
    const fragment = (
      first: number,
      ...payload: ReadonlyArray<number>
    ) => [first, 0x80 + payload.length, 0, 0, 0, 0, ...payload]
    await withServer(server, async (port) => {
      const client = await connect(port)
      client.socket.write(get("/", ...webSocket, key))
      await once(client.socket, "data")
      client.socket.write(Buffer.from([fragment(0x01, 0x61), fragment(0x00), fragment(0x00), fragment(0x80)].flat()))
      await once(client.socket, "close")
    })
    assert.deepStrictEqual(events, ["message"])
  })
})

describe("NodeHttpServer", () => {
  const loopback = { host: "127.0.0.1", port: 0 }

  it.live(
    needed("server/node/AppUpgrades.ts", "an app that asks for a refused WebSocket can never be interrupted"),
    () =>
      Effect.gen(function*() {
        const server = Http.createServer()
        const asking = yield* Deferred.make<Fiber.RuntimeFiber<unknown, unknown>>()
        const app = Effect.withFiberRuntime<
          HttpServerResponse.HttpServerResponse,
          unknown,
          HttpServerRequest.HttpServerRequest
        >(
          (fiber) =>
            Deferred.succeed(asking, fiber).pipe(
              Effect.zipRight(HttpServerRequest.upgrade),
              Effect.flatMap((socket) => socket.run(() => {})),
              Effect.as(HttpServerResponse.empty())
            )
        )
        // Closing this scope would wait forever for the app, because the app cannot be interrupted. So the test leaves the
        // scope open.
        const scope = yield* Scope.make()
        const { serve } = yield* Scope.extend(NodeHttpServer.make(() => server, loopback), scope)
        yield* Scope.extend(serve(app), scope)
        yield* Effect.promise(() => exchange(portOf(server), get("/", ...webSocket)))
        const fiber = yield* Deferred.await(asking)
        yield* Fiber.interruptFork(fiber)
        yield* Effect.promise(() => turn())
        assert.isTrue(Option.isNone(yield* Fiber.poll(fiber)))
        server.close()
      })
  )

  it.live(
    needed("server/node/NodeServerSocket.ts", "it does not close a server that is interrupted before it listens"),
    () =>
      Effect.gen(function*() {
        const server = Http.createServer()
        const fiber = yield* Effect.fork(Effect.scoped(NodeHttpServer.make(() => server, loopback)))
        yield* Effect.yieldNow()
        yield* Fiber.interrupt(fiber)
        assert.isFalse(server.listening)
        // The second server calls `listen` later than the first one. So when the second one listens, the first one listens too.
        yield* Effect.promise(() => withServer(Net.createServer(), async () => assert.isTrue(server.listening)))
        server.close()
      })
  )

  it.live(
    needed("server/node/NodeServerSocket.ts", "it dies if the server has no address, as on a Unix socket"),
    () =>
      Effect.gen(function*() {
        class WithoutAddress extends Http.Server {
          override address() {
            return null
          }
        }
        const exit = yield* Effect.exit(Effect.scoped(NodeHttpServer.make(() => new WithoutAddress(), loopback)))
        assert.isTrue(Exit.isFailure(exit) && Cause.isDie(exit.cause))
      })
  )

  it.scopedLive(
    needed("server/node/ServedApps.ts", "an app is served by listeners of the server"),
    () =>
      Effect.gen(function*() {
        const server = Http.createServer()
        const { serve } = yield* NodeHttpServer.make(() => server, loopback)
        yield* serve(HttpServerResponse.empty())
        assert.deepStrictEqual([server.listenerCount("request"), server.listenerCount("upgrade")], [1, 1])
      })
  )
})

describe("programs", () => {
  it.live(needed("internal/child.ts", "the executor dies of an exception of spawn"), () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(Command.exitCode(Command.make(process.execPath, "a\0b")))
      assert.isTrue(Exit.isFailure(exit) && Cause.isDie(exit.cause))
    }).pipe(Effect.provide(NodeContext.layer)))

  const ignoring =
    "process.on('SIGTERM', () => console.log('ignored')); setInterval(() => {}, 1000); console.log('ready')"

  it.scopedLive.skipIf(isWindows)(
    Program.named(
      needed("internal/child.ts", "the executor waits for a program that ignores SIGTERM"),
      isWindows ? "needs signals" : undefined
    ),
    () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const executor = yield* CommandExecutor.CommandExecutor
        const running = yield* Scope.extend(executor.start(Command.make(process.execPath, "-e", ignoring)), scope)
        const kill = Effect.sync(() => process.kill(running.pid, "SIGKILL"))
        yield* Effect.addFinalizer(() => Effect.ignore(Effect.sandbox(kill)))
        const printed = yield* Queue.unbounded<string>()
        const printing = running.stdout.pipe(Stream.decodeText(), Stream.splitLines)
        yield* Effect.forkDaemon(Stream.runForEach(printing, (line) => Queue.offer(printed, line)))
        assert.strictEqual(yield* Queue.take(printed), "ready")
        const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
        assert.strictEqual(yield* Queue.take(printed), "ignored")
        assert.isTrue(Option.isNone(yield* Fiber.poll(closing)))
        yield* kill
        yield* Fiber.join(closing)
      }).pipe(Effect.provide(NodeContext.layer))
  )

  it(needed("supervisor/SystemdNotify.ts", "Node has no Unix datagram sockets"), () => {
    assert.throws(() => Reflect.apply(Dgram.createSocket, undefined, ["unix_dgram"]), /Bad socket type/)
  })
})

describe("files", () => {
  const { errno } = Os.constants

  it.skipIf(isWindows)(
    Program.named(
      needed("internal/errno.ts", "libuv has no name for ENOLCK and EDQUOT"),
      isWindows ? "needs Unix" : undefined
    ),
    () => {
      assert.deepStrictEqual(
        [errno.ENOLCK, errno.EDQUOT].map((number) => Util.getSystemErrorName(-number)),
        [errno.ENOLCK, errno.EDQUOT].map((number) => `Unknown system error -${number}`)
      )
    }
  )

  it.effect(
    needed("host/NativeFiles.ts", "FileSystem reads an inode as a number, which is exact up to 53 bits"),
    () =>
      Effect.gen(function*() {
        const { ino } = yield* Effect.flatMap(FileSystem.FileSystem, (fs) => fs.stat(Os.tmpdir()))
        assert.deepStrictEqual(Option.map(ino, (value) => typeof value), Option.some("number"))
      }).pipe(Effect.provide(NodeContext.layer))
  )

  /** Mounts a read-only file system on `folder` in a new mount namespace, runs a Node script there, and returns its output. */
  const onReadOnly = (folder: string, script: string): string =>
    ChildProcess.execFileSync(
      "unshare",
      [
        "--mount",
        "sh",
        "-ec",
        "mount -t tmpfs -o ro none \"$1\"\n\"$2\" -e \"$3\" \"$1\"",
        "sh",
        folder,
        process.execPath,
        script
      ],
      { encoding: "utf8" }
    )

  it.skipIf(Program.noNamespaces !== undefined)(
    Program.named(
      needed("lock/LockFolder.ts", "a recursive mkdir answers ENOENT on a read-only disk"),
      Program.noNamespaces
    ),
    () =>
      withFolder(async (folder) => {
        const script = `
          const make = (recursive) => {
            try { fs.mkdirSync(process.argv[1] + "/new", { recursive }) } catch ({ code }) { return code }
          }
          console.log(make(true), make(false))`
        assert.strictEqual(onReadOnly(folder, script), "ENOENT EROFS\n")
      })
  )

  it.skipIf(isWindows)(
    Program.named(
      needed("cli/Stdout.ts", "Node takes a partial write to a file for a whole one"),
      isWindows ? "needs sh" : undefined
    ),
    () =>
      withFolder(async (folder) => {
        const path = Path.join(folder, "out")
        const size = 100_000
        // `ulimit -f 1` limits the output file to 1 block, which is 512 or 1024 bytes. A write beyond the limit raises SIGXFSZ.
        // `trap` makes the process ignore that signal, so the write is partial and the process lives on.
        const limited = "trap '' XFSZ; ulimit -f 1; exec \"$1\" -e \"$2\" > \"$3\""
        const script = `process.stdout.write("x".repeat(${size}), (error) => console.error(error ?? "written"))`
        const args = ["-c", limited, "sh", process.execPath, script, path]
        const { status, stderr } = ChildProcess.spawnSync("sh", args, { encoding: "utf8" })
        assert.deepStrictEqual({ status, stderr }, { status: 0, stderr: "written\n" })
        assert.isBelow(Fs.statSync(path).size, size)
      })
  )

  const noPipes = isWindows ? "needs Unix" : Program.without("mkfifo")

  it.skipIf(noPipes !== undefined)(
    Program.named(
      needed("host/endProcess.ts", "process.exit waits for a file request that hangs"),
      noPipes
    ),
    () =>
      withFolder(async (folder) => {
        const pipe = Path.join(folder, "pipe")
        ChildProcess.execFileSync("mkfifo", [pipe])
        const script = `
          fs.open(process.argv[1], "r", () => {})
          setImmediate(() => { console.log(...process.getActiveResourcesInfo()); process.exit() })`
        const exiting = ChildProcess.spawn(process.execPath, ["-e", script, pipe], {
          stdio: ["ignore", "pipe", "inherit"]
        })
        const ended = once(exiting, "exit")
        const [resources]: Array<Buffer> = await once(exiting.stdout, "data")
        assert.match(String(resources), /\bFSReq/)
        // Gives `exiting` enough time to exit if the pending `open` did not hold it: another process starts and ends meanwhile.
        ChildProcess.execFileSync(process.execPath, ["-e", ""])
        await turn()
        assert.isNull(exiting.exitCode)
        // The pending `open` completes once the pipe has a writer. Then `exiting` exits.
        Fs.closeSync(Fs.openSync(pipe, Fs.constants.O_WRONLY | Fs.constants.O_NONBLOCK))
        assert.deepStrictEqual(await ended, [0, null])
      })
  )

  it.skipIf(isWindows)(
    Program.named(
      needed("server/node/PassedSocket.ts", "Node serves HTTP on a Unix socket, which has no address"),
      isWindows ? "needs Unix" : undefined
    ),
    () =>
      withFolder(async (folder) => {
        const listener = Net.createServer().listen(Path.join(folder, "socket"))
        await once(listener, "listening")
        const script = `
          require("node:http").createServer().listen({ fd: 3 }, function() { console.log(this.address()); process.exit() })`
        const handle: unknown = Reflect.get(listener, "_handle")
        const fd: unknown = typeof handle === "object" && handle !== null ? Reflect.get(handle, "fd") : undefined
        const output = ChildProcess.spawnSync(process.execPath, ["-e", script], {
          encoding: "utf8",
          stdio: ["ignore", "pipe", "inherit", Number(fd)]
        })
        listener.close()
        assert.strictEqual(output.stdout, "null\n")
      })
  )
})

describe("fibers", () => {
  it(needed("host/InstanceId.ts", "the seed of Effect's Random has 32 bits"), () => {
    const seeds = [Math.SQRT1_2, Math.PI, "a longer text", 2 ** 52 + 1].map((seed) =>
      Number(Reflect.get(Random.make(seed), "seed"))
    )
    assert.deepStrictEqual(seeds, seeds.map((seed) => seed | 0))
  })

  const somewhatLater = Effect.repeatN(Effect.yieldNow(), 20)

  it.effect(
    needed("internal/once.ts", "Effect.cached hands an interruption on to those who wait for the result"),
    () =>
      Effect.gen(function*() {
        const begun = yield* Deferred.make<void>()
        const release = yield* Deferred.make<void>()
        const ask = yield* Effect.cached(Effect.zipRight(Deferred.succeed(begun, undefined), Deferred.await(release)))
        const first = yield* Effect.fork(Effect.uninterruptible(ask))
        yield* Deferred.await(begun)
        const second = yield* Effect.fork(Effect.zipRight(ask, Effect.yieldNow()))
        yield* Effect.yieldNow()
        yield* Fiber.interruptFork(first)
        yield* Effect.yieldNow()
        yield* Deferred.succeed(release, undefined)
        assert.isTrue(Exit.isInterrupted(yield* Fiber.await(second)))
      })
  )

  it.effect(
    needed("internal/atMost.ts", "an interruption reaches the children of a fiber that is uninterruptible"),
    () =>
      Effect.gen(function*() {
        const forked = yield* Deferred.make<Fiber.RuntimeFiber<never>>()
        const release = yield* Deferred.make<void>()
        const parent = yield* Effect.fork(Effect.uninterruptible(
          Effect.fork(Effect.interruptible(Effect.never)).pipe(
            Effect.flatMap((child) => Deferred.succeed(forked, child)),
            Effect.zipRight(Deferred.await(release))
          )
        ))
        const child = yield* Deferred.await(forked)
        yield* Fiber.interruptFork(parent)
        yield* somewhatLater
        assert.isTrue(Option.isNone(yield* Fiber.poll(parent)))
        assert.isTrue(Option.exists(yield* Fiber.poll(child), Exit.isInterrupted))
        yield* Deferred.succeed(release, undefined)
        yield* Fiber.await(parent)
      })
  )

  it.effect(
    needed("internal/whileNot.ts", "an interrupted race does not wait for the finalizers of its fibers"),
    () =>
      Effect.gen(function*() {
        const begun = yield* Deferred.make<void>()
        const releasing = yield* Deferred.make<void>()
        const release = yield* Deferred.make<void>()
        const order: Array<string> = []
        const racing = Effect.zipRight(Deferred.succeed(begun, undefined), Effect.never).pipe(
          Effect.ensuring(Effect.zipRight(Deferred.succeed(releasing, undefined), Deferred.await(release))),
          Effect.ensuring(Effect.sync(() => order.push("racing fiber")))
        )
        const fiber = yield* Effect.raceFirst(racing, Effect.never).pipe(
          Effect.ensuring(Effect.sync(() => order.push("interrupted fiber"))),
          Effect.fork
        )
        yield* Deferred.await(begun)
        yield* Effect.yieldNow()
        yield* Fiber.interruptFork(fiber)
        yield* Deferred.await(releasing)
        yield* somewhatLater
        yield* Deferred.succeed(release, undefined)
        yield* Fiber.await(fiber)
        yield* somewhatLater
        assert.deepStrictEqual(order, ["interrupted fiber", "racing fiber"])
      })
  )

  it.live(
    needed("testing/SimulatedKernel.ts", "Effect.never starts a timer, which keeps the process alive"),
    () =>
      Effect.gen(function*() {
        const timers = () => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length
        const before = timers()
        const fiber = yield* Effect.fork(Effect.never)
        yield* Effect.yieldNow()
        assert.strictEqual(timers(), before + 1)
        yield* Fiber.interrupt(fiber)
      })
  )
})
