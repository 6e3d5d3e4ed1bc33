/**
 * The service manager's end of `NOTIFY_SOCKET` (sd_notify(3)), which is a Unix datagram socket. A Python program opens the
 * socket, because Node has no Unix datagram sockets.
 */
import { Effect, type Scope } from "effect"
import * as Path from "node:path"
import * as Gateways from "./gateways.ts"
import * as Processes from "./processes.ts"
import * as Program from "./program.ts"

/** The reason to skip a test that needs the notification socket; `undefined` if the test can run. */
export const noNotifySocket = (Program.isLinux ? Program.without("python3") : "needs Linux")
  ?? Program.without("systemd-notify")

/**
 * A Python program that prints each datagram as one line to stdout and to stderr; spaces join the lines of a datagram. On SIGTERM
 * the program reads the remaining datagrams and ends.
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
  /** Returns the first message that matches. If no received message matches, it waits for one. */
  readonly message: (pattern: RegExp) => Effect.Effect<string>
  /** Ends the receiver. Returns all messages, one line for each. */
  readonly heard: Effect.Effect<ReadonlyArray<string>>
}

/** Opens a notification socket at a path, or at a name in the abstract namespace (unix(7)). */
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
      // systemd-notify(1) sends BARRIER=1 after each message, to wait until the service manager has read that message. The
      // gateway itself does not send BARRIER=1, so the test leaves it out.
      ({ stdout }) => stdout.split("\n").filter((line) => line !== "" && line !== "BARRIER=1")
    )
    return { name, pid: running.pid, message: running.line, heard }
  })
