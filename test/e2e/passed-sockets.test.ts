import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { fileURLToPath } from "node:url"
import * as Clients from "./support/clients.ts"
import * as Execs from "./support/execs.ts"
import * as Gateways from "./support/gateways.ts"
import * as Namespaces from "./support/namespaces.ts"
import * as Program from "./support/program.ts"

/**
 * A Python script that plays a service manager. It opens a descriptor of the given kind as number 3, sets the variables of
 * sd_listen_fds(3), and becomes the given program.
 */
const passing = `
import os, socket, sys
kind, port, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
keep = []
def tcp(family, host, listens):
    s = socket.socket(family); s.bind((host, port))
    if listens: s.listen()
    return s
def unix(type, listens):
    s = socket.socket(socket.AF_UNIX, type); s.bind(folder + "/own.sock")
    if listens: s.listen()
    return s
def connected():
    l = socket.create_server(("127.0.0.1", 0))
    s = socket.create_connection(l.getsockname())
    other = l.accept()[0]; other.set_inheritable(True); keep.append(other)
    return s
def pair():
    a, b = socket.socketpair(); keep.append(b)
    return a
def pipe():
    r, w = os.pipe(); keep.append(w)
    return r
make = {
    "tcp": lambda: tcp(socket.AF_INET, "127.0.0.1", True),
    "tcp-bound": lambda: tcp(socket.AF_INET, "127.0.0.1", False),
    "tcp-fresh": lambda: socket.socket(),
    "tcp-connected": connected,
    "tcp6": lambda: tcp(socket.AF_INET6, "::1", True),
    "udp": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    "udp-bound": lambda: (lambda s: (s.bind(("127.0.0.1", port)), s)[1])(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)),
    "unix": lambda: unix(socket.SOCK_STREAM, True),
    "unix-datagram": lambda: unix(socket.SOCK_DGRAM, False),
    "unix-sequential": lambda: unix(socket.SOCK_SEQPACKET, True),
    "unix-pair": pair,
    "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "pipe": pipe,
    "file": lambda: os.open(folder + "/file", os.O_RDWR | os.O_CREAT),
    "folder": lambda: os.open(folder, os.O_RDONLY),
    "null": lambda: os.open("/dev/null", os.O_RDWR),
    "closed": lambda: None,
}[kind]()
if make is not None:
    os.dup2(make if isinstance(make, int) else make.fileno(), 63)
    os.dup2(63, 3)
    os.set_inheritable(3, True)
    os.close(63)
else:
    os.closerange(3, 64)
os.environ["LISTEN_PID"] = str(os.getpid())
os.environ.setdefault("LISTEN_FDS", "1")
os.execvp(sys.argv[4], sys.argv[4:])
`

const under = (kind: string, site: Gateways.Site): ReadonlyArray<string> => [
  "python3",
  "-c",
  passing,
  kind,
  String(site.port),
  site.root
]

const noPython = Program.isLinux ? Program.without("python3") : "needs Linux"

/** How the error names each kind of descriptor. `<root>` stands for the test's folder. */
const kinds: ReadonlyArray<readonly [kind: string, what: string | RegExp]> = [
  ["unix", "a Unix stream socket (<root>/own.sock)"],
  ["unix-datagram", "a Unix datagram socket (<root>/own.sock)"],
  ["unix-sequential", "a Unix sequential-packet socket (<root>/own.sock)"],
  ["unix-pair", "a Unix stream socket"],
  ["udp-bound", "a UDP socket"],
  ["udp", /a socket that cannot be listened on \(listen EINVAL: .*\)/],
  ["netlink", /a socket that cannot be listened on \(listen EINVAL: .*\)/],
  ["tcp-connected", "a TCP connection, as passed by a socket unit with Accept=yes"],
  ["tcp-bound", "a TCP socket that did not listen"],
  ["tcp-fresh", "a TCP socket that did not listen"],
  ["pipe", /not a socket \(pipe:\[\d+\]\)/],
  ["file", "not a socket (<root>/file)"],
  ["folder", "not a socket (<root>)"],
  ["null", "not a socket (/dev/null)"],
  // The script passes no descriptor 3. Node opens a file of its own under that number, and the gateway finds that file.
  ["closed", /not a socket \(.+\)/]
]

describe("a descriptor passed by a supervisor", () => {
  for (const [kind, what] of kinds) {
    it.scopedLive.skipIf(noPython !== undefined)(
      Program.named(`that is no listening TCP socket is refused in one line: ${kind}`, noPython),
      () =>
        Effect.gen(function*() {
          const site = yield* Gateways.newSite
          const ended = yield* Gateways.run(site, { under: under(kind, site) })
          const before = `failed to bind gateway socket on ${Gateways.url(site)}: descriptor 3 is `
          const after =
            `; a listening TCP socket is needed, as passed by a socket unit with ListenStream=127.0.0.1:${site.port}`
          const [line = ""] = Gateways.linesOf(ended)
          assert.isTrue(line.startsWith(`GatewayLockError: ${before}`), ended.stderr)
          assert.isTrue(line.endsWith(after), ended.stderr)
          const said = line.slice(`GatewayLockError: ${before}`.length, -after.length)
          if (typeof what === "string") assert.strictEqual(said, what.replace("<root>", site.root))
          else assert.match(said, new RegExp(`^${what.source}$`))
          assert.strictEqual(ended.code, 1, ended.stderr)
          assert.deepStrictEqual(Gateways.facts(ended), {
            address: Gateways.url(site),
            "to see the socket": "systemctl list-sockets --all",
            "to check it": `gateway doctor ${Gateways.selectors(site)}`,
            more: "https://github.com/gateway-lock/gateway-lock/blob/main/docs/errors.md#bindfailed"
          })
          assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), [])
        })
    )
  }

  it.scopedLive.skipIf(noPython !== undefined)(
    Program.named("is refused, with the setting and what is allowed, where there are several or no number", noPython),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        for (const count of ["2", "3", "-1", "1.5", "one", " 1", "999999999999999999999"]) {
          const ended = yield* Gateways.run(site, {
            under: under("tcp", site),
            env: { LISTEN_FDS: count, LISTEN_FDNAMES: "http:metrics" }
          })
          assert.deepStrictEqual(Gateways.linesOf(ended), [
            `gateway: invalid LISTEN_FDS ${JSON.stringify(count)}: expected 1, one ListenStream= in the socket unit`
          ])
          assert.strictEqual(ended.code, 64, ended.stderr)
        }
      })
  )

  it.scopedLive.skipIf((noPython ?? Program.noNamespaces) !== undefined)(
    Program.named("that is a Unix socket is refused where /proc says nothing of it", noPython ?? Program.noNamespaces),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const withoutProc = ["unshare", "--mount", "sh", "-c", "mount -t tmpfs none /proc && exec \"$@\"", "sh"]
        const ended = yield* Gateways.run(site, { under: [...withoutProc, ...under("unix", site)] })
        Gateways.assertRefused(
          ended,
          `failed to bind gateway socket on ${Gateways.url(site)}: descriptor 3 is not a TCP socket; `
            + `a listening TCP socket is needed, as passed by a socket unit with ListenStream=127.0.0.1:${site.port}`
        )
      })
  )

  it.scopedLive.skipIf(noPython !== undefined)(
    Program.named("on IPv6 is served for that host, whatever its name, and refused for another", noPython),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const refused = yield* Gateways.run(site, { under: under("tcp6", site) })
        Gateways.assertRefused(
          refused,
          `failed to bind gateway socket on ${Gateways.url(site)}: the passed socket listens on ${
            Gateways.url(site, "[::1]")
          }; the socket unit's ListenStream= must match the gateway's host and port`
        )
        const gateway = yield* Gateways.startListening(site, {
          under: under("tcp6", site),
          flags: ["--host", "::1"],
          env: { LISTEN_FDNAMES: "gateway.socket" }
        })
        // The passed socket listens on `::1`. Every gateway also binds its port on 127.0.0.1, whatever `--host` is, so that no other
        // gateway can have the same port. This request goes to 127.0.0.1.
        assert.strictEqual((yield* Clients.request(site, "/healthz")).status, 200)
        yield* Gateways.assertGone(site, yield* Gateways.stop(gateway))
      })
  )

  it.scopedLive.skipIf((noPython ?? Namespaces.noNetwork) !== undefined)(
    Program.named(
      "is served, though it belongs to another network namespace, as with PrivateNetwork=",
      noPython ?? Namespaces.noNetwork
    ),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        // The script creates the socket in this network namespace, and runs the gateway in another network namespace.
        const gateway = yield* Gateways.startListening(site, {
          under: [...under("tcp", site), ...Namespaces.network]
        })
        assert.strictEqual((yield* Clients.request(site, "/healthz")).status, 200)
        yield* Gateways.assertGone(site, yield* Gateways.stop(gateway))
      })
  )

  it.scopedLive.skipIf(noPython !== undefined)(
    Program.named("is handed on to its command by exec --listen", noPython),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const command = [process.execPath, fileURLToPath(new URL("support/listenFds.cjs", import.meta.url))]
        const wrapper = yield* Execs.start(site, command, { under: under("tcp", site), flags: ["--listen"] })
        const pid = yield* Execs.pidOf(wrapper)
        const { body } = yield* Clients.request(site, "/")
        assert.include(body, `"LISTEN_FDS":"1","LISTEN_PID":"${pid}"`)
        const refused = yield* Execs.run(site, command, { under: under("udp-bound", site), flags: ["--listen"] })
        assert.strictEqual(refused.code, 75, refused.stderr)
        yield* wrapper.signal("SIGUSR1")
        assert.strictEqual((yield* wrapper.ended).code, 3)
        const wrong = yield* Execs.run(site, command, { under: under("udp-bound", site), flags: ["--listen"] })
        assert.strictEqual(wrong.code, 125, wrong.stderr)
        assert.include(wrong.stderr, "descriptor 3 is a UDP socket")
      })
  )
})
