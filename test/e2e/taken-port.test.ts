import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema, type Scope } from "effect"
import * as DoctorReport from "../../src/doctor/DoctorReport.ts"
import { GatewayStatus } from "../../src/inspect/GatewayStatus.ts"
import * as Gateways from "./support/gateways.ts"
import * as Processes from "./support/processes.ts"
import * as Program from "./support/program.ts"

/**
 * A Python script that takes a port and does not listen on it. With `connection` as its first argument, the script uses the port
 * for an outgoing connection. Otherwise it only binds the port. When the script is killed, the port is free at once.
 */
const holding = `
import socket, struct, sys, time
kind, port = sys.argv[1], int(sys.argv[2])
if kind == "connection":
    l = socket.create_server(("127.0.0.1", 0))
    s = socket.create_connection(l.getsockname(), source_address=("127.0.0.1", port))
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer = l.getsockname()[1]
else:
    s = socket.socket(); s.bind(("127.0.0.1", port)); peer = 0
print(f"has it, peer {peer}", file=sys.stderr, flush=True)
time.sleep(300)
`

interface Kind {
  readonly name: string
  /** How an error describes the process that has the port, given that process's pid and the port of the connection's peer. */
  readonly words: (pid: number, peer: string) => string
}

const kinds: ReadonlyArray<Kind> = [
  {
    name: "connection",
    words: (pid, peer) => `pid ${pid} \\(python[\\d.]+\\) uses it for a connection to 127.0.0.1:${peer}`
  },
  { name: "bound", words: () => "a process that is not visible from here has bound it and does not listen" }
]

const hold = (site: Gateways.Site, { name, words }: Kind) =>
  Effect.gen(function*() {
    const holder = yield* Processes.start(["python3", "-c", holding, name, String(site.port)], {
      cwd: site.root,
      env: { PATH: Program.searchPath }
    })
    const line = yield* holder.line(/^has it/)
    return { holder, words: words(holder.pid, line.split(" ").at(-1) ?? "") }
  })

const noPython = Program.isLinux ? Program.without("python3") : "needs Linux"

const decodeStatus = Schema.decodeUnknown(Schema.parseJson(GatewayStatus), { onExcessProperty: "error" })
const decodeDoctor = Schema.decodeUnknown(Schema.parseJson(DoctorReport.DoctorReport), { onExcessProperty: "error" })

for (const kind of kinds) {
  const each = (name: string, test: (site: Gateways.Site) => Effect.Effect<void, never, Scope.Scope>) =>
    it.scopedLive.skipIf(noPython !== undefined)(
      Program.named(name, noPython),
      () => Effect.flatMap(Gateways.newSite, test)
    )

  describe(`a port that a socket has which does not listen (${kind.name})`, () => {
    each("cannot be bound, and a start says what has it", (site) =>
      Effect.gen(function*() {
        const { words } = yield* hold(site, kind)
        const refused = yield* Gateways.run(site)
        const [line = ""] = Gateways.linesOf(refused)
        assert.match(
          line,
          new RegExp(
            `^GatewayLockError: failed to bind gateway socket on ${Gateways.url(site)}: `
              + `listen EADDRINUSE: address already in use 127.0.0.1:${site.port}; nothing listens there: ${words}$`
          )
        )
        assert.strictEqual(refused.code, 1)
        const facts = Gateways.facts(refused)
        assert.strictEqual(
          facts["to reserve it"],
          `sudo sysctl net.ipv4.ip_local_reserved_ports=${site.port}, so that no connection gets it`
        )
        assert.match(facts["to use another"] ?? "", / --port /)
        assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), [])
      }))

    each("is free for no gateway, and status and doctor say so", (site) =>
      Effect.gen(function*() {
        const { holder, words } = yield* hold(site, kind)
        const asked = yield* Gateways.run(site, { flags: ["status", "--json"] })
        const status = yield* Effect.orDie(decodeStatus(asked.stdout))
        assert.strictEqual(status.verdict, "not-running")
        assert.strictEqual(asked.code, 3)
        assert.match(status.port?.blocked?.reason ?? "", new RegExp(`^${words}$`))
        assert.strictEqual(status.port?.blocked?.pid, kind.name === "bound" ? undefined : holder.pid)
        const text = yield* Gateways.run(site, { flags: ["status"] })
        assert.match(text.stdout, new RegExp(`port: +${Gateways.url(site)}, cannot be bound: ${words}\n`))
        const examined = yield* Gateways.run(site, { flags: ["doctor", "--json"] })
        const { findings } = yield* Effect.orDie(decodeDoctor(examined.stdout))
        const [problem] = findings.filter(DoctorReport.isProblem)
        assert.deepInclude(problem, { check: "port", severity: "error" })
        assert.match(problem?.message ?? "", new RegExp(`cannot be bound, though nothing listens there: ${words}$`))
        assert.match(problem?.remedy ?? "", / run .*--port /)
        assert.strictEqual(examined.code, 1)
        // `status` and `doctor` try to bind the port. They must leave nothing that keeps it in use after its holder has ended.
        yield* Effect.zipRight(holder.signal("SIGKILL"), holder.ended)
        const free = yield* Gateways.run(site, { flags: ["status", "--json"] })
        assert.isUndefined((yield* Effect.orDie(decodeStatus(free.stdout))).port?.blocked)
        yield* Gateways.assertClean(yield* Gateways.stop(yield* Gateways.startListening(site)))
      }))

    each("is waited for by a standby and by a service, which say what has it", (site) =>
      Effect.gen(function*() {
        const { holder, words } = yield* hold(site, kind)
        const other = { ...(yield* Gateways.newSite), port: site.port }
        const standby = yield* Gateways.start(site, { flags: ["--standby"] })
        yield* standby.line(new RegExp(`standing by: ${Gateways.url(site)} cannot be bound: .*${words}`))
        const service = yield* Gateways.start(other, { flags: ["--supervisor", "external"] })
        yield* service.line(
          new RegExp(`waiting up to 5m for the port: ${Gateways.url(site)} cannot be bound: .*${words}`)
        )
        yield* holder.signal("SIGKILL")
        yield* Gateways.within("10 seconds", Effect.raceFirst(standby.listening, service.listening))
      }))

    each("is waited for by a service no longer than for an owner", (site) =>
      Effect.gen(function*() {
        yield* hold(site, kind)
        const ended = yield* Gateways.run(site, {
          flags: ["--supervisor", "external"],
          env: { GATEWAY_HEALTH_TIMEOUT: "1500 millis" }
        })
        assert.include(ended.stderr, `GatewayLockError: failed to bind gateway socket on ${Gateways.url(site)}: `)
        assert.strictEqual(ended.code, 1)
      }))
  })
}
