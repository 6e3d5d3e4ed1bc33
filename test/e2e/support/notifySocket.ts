/**
 * The service manager's end of `NOTIFY_SOCKET`, a Unix datagram socket. It is written in Python, because Node has no such
 * sockets.
 */
import { Effect, type Scope } from "effect"
import * as Path from "node:path"
import * as Gateways from "./gateways.ts"
import * as Processes from "./processes.ts"
import * as Program from "./program.ts"

/** Why a test that needs the socket is skipped; `undefined` if it can run. */
export const noNotifySocket = (Program.isLinux ? Program.without("python3") : "needs Linux")
  ?? Program.without("systemd-notify")

/**
 * Prints each datagram as one line to both streams, its lines joined by spaces. On SIGTERM it reads the remaining datagrams
 * and ends.
 */
const receiver = `
import os, signal, socket, sys
name = sys.argv[1]
manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
manager.bind("\\0" + name[1:] if name.startswith("@") else name)
if not name.startswith("@"): os.chmod(name, 0o777)
def show(data):
    for stream in (sys.stdout, sys.stderr): print(data.decode().replace("\\n", " ").strip(), file=stream, flush=True)
def leave(*_):
    manager.setblocking(False)
    try:
        while True: show(manager.recv(65536))
    except BlockingIOError: os._exit(0)
signal.signal(signal.SIGTERM, leave)
print("ready", file=sys.stderr, flush=True)
while True: show(manager.recv(65536))
`

export interface Manager {
  /** The value for `NOTIFY_SOCKET`. */
  readonly name: string
  readonly pid: number
  /** Waits for the first message that matches, already received or not. */
  readonly message: (pattern: RegExp) => Effect.Effect<string>
  /** Ends the receiver. Returns all messages, one line for each. */
  readonly heard: Effect.Effect<ReadonlyArray<string>>
}

/** Listens on a path, or on a name in the abstract namespace. */
export const listen = (kind: "path" | "abstract"): Effect.Effect<Manager, never, Scope.Scope> =>
  Effect.gen(function*() {
    const folder = yield* Gateways.temporaryFolder
    const name = kind === "path" ? Path.join(folder, "notify") : `@${folder}/notify`
    const running = yield* Processes.start(["python3", "-u", "-c", receiver, name], {
      cwd: folder,
      env: { PATH: Program.searchPath, HOME: folder }
    })
    yield* running.line(/^ready$/)
    const heard = Effect.map(
      Gateways.stop(running),
      // systemd-notify itself sends BARRIER=1: it waits until the manager has read everything before it.
      ({ stdout }) => stdout.split("\n").filter((line) => line !== "" && line !== "BARRIER=1")
    )
    return { name, pid: running.pid, message: running.line, heard }
  })
