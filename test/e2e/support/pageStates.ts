/**
 * Serves the status page with frames that a test has made, so that the page can be seen in every state.
 */
import { DateTime, Effect, type Scope } from "effect"
import * as Http from "node:http"
import { WebSocketServer } from "ws"
import type { StatusFrameEncoded } from "../../../src/page/StatusFrame.ts"
import * as StatusPage from "../../../src/page/StatusPage.ts"

// ---------------------------------------------------------------------------
// frames
// ---------------------------------------------------------------------------

const now = Date.parse("2026-11-30T14:32:10.000Z")
const ago = (seconds: number): string => DateTime.formatIso(DateTime.unsafeMake(now - seconds * 1000))

const [minute, hour] = [60, 3600]

/** Numbers that look like those of a gateway, and are the same in each picture. */
const samples = (base: number, swing: number, burst = 0): ReadonlyArray<number> =>
  Array.from({ length: 120 }, (_, at) => {
    const wave = Math.sin(at / 9) + Math.sin(at / 4.3 + 1) / 2 + Math.sin(at * 1.7) / 4
    return Math.max(0, Math.round(base + swing * wave + (at > 70 && at < 82 ? burst : 0)))
  })

const history: StatusFrameEncoded["history"] = [
  { at: ago(5 * hour), kind: "starting" },
  {
    at: ago(5 * hour),
    kind: "reclaimed",
    detail: "reclaimed gateway lock left by pid 3120 since 2026-11-30T07:12:44.031Z"
  },
  { at: ago(5 * hour - 1), kind: "listening" },
  { at: ago(50 * minute), kind: "regained", detail: "recreated gateway lock: it was removed" }
]

const frame: StatusFrameEncoded = {
  type: "status",
  version: 1,
  now: ago(0),
  instance: {
    instanceId: "0583bbf6-675d-4cf7-bfc9-52697242039a",
    version: "0.1.0",
    profile: "blue",
    pid: 4711,
    host: "127.0.0.1",
    port: 18789,
    configPath: "/home/deploy/.config/gateway-lock/blue/gateway.json",
    stateDir: "/home/deploy/.local/state/gateway-lock/blue",
    startedAt: ago(5 * hour),
    uptimeMs: 5 * hour * 1000,
    hostName: "web-01",
    user: "deploy",
    nodeVersion: "v20.20.2"
  },
  phase: "listening",
  connections: 38,
  watching: 2,
  lock: {
    path: "/home/deploy/.local/state/gateway-lock/blue/locks/gateway.17c972b3.lock",
    enforcement: "kernel",
    heldSince: ago(5 * hour - 1)
  },
  supervisor: { kind: "systemd", reason: "INVOCATION_ID is set and the control group is a service" },
  history,
  activity: {
    intervalMs: 5000,
    until: ago(2),
    connections: samples(34, 8),
    memoryBytes: samples(70, 3, 14).map((mebibytes) => mebibytes * 1_048_576),
    lagMs: samples(2, 1, 40),
    requests: samples(60, 25, 140)
  },
  runs: [
    { startedAt: ago(23 * hour), endedAt: ago(15 * hour), ending: "stopped", reason: "stopped", pid: 2290 },
    { startedAt: ago(15 * hour - 40), endedAt: ago(5 * hour + 10), ending: "crashed", pid: 3120 },
    { startedAt: ago(5 * hour - 1), ending: "running", tookOver: true, pid: 4711 }
  ],
  commands: [
    { purpose: "restart", command: "systemctl --user restart gateway-blue" },
    { purpose: "stop", command: "systemctl --user stop gateway-blue" },
    { purpose: "logs", command: "journalctl -e --user-unit gateway-blue" },
    { purpose: "status", command: "gateway status --profile blue" },
    { purpose: "check", command: "gateway doctor --profile blue" }
  ],
  neighbours: []
}

type Neighbour = NonNullable<StatusFrameEncoded["neighbours"]>[number]

const neighbour = (
  profile: string,
  verdict: Neighbour["verdict"],
  port: number,
  rest: Partial<Neighbour> = {}
): Neighbour => ({
  profile,
  stateDir: `/home/deploy/.local/state/gateway-lock/${profile}`,
  lockPath: `/home/deploy/.local/state/gateway-lock/${profile}/locks/gateway.00000000.lock`,
  configPath: `/home/deploy/.config/gateway-lock/${profile}/gateway.json`,
  pid: port - 13_000,
  host: "127.0.0.1",
  port,
  verdict,
  since: ago(3 * hour),
  look: `gateway status --profile ${profile} --port ${port}`,
  ...rest
})

const withoutProfile = ({ profile: _profile, ...rest }: Neighbour): Neighbour => rest

const neighbours: ReadonlyArray<Neighbour> = [
  neighbour("api", "running", 18801),
  neighbour("billing", "dead", 18802, { reason: "its owner, pid 5802, has ended without releasing the lock" }),
  neighbour("cache", "running", 18803),
  neighbour("docs", "draining", 18804),
  neighbour("events", "unhealthy", 18805, { reason: "its owner, pid 5805, does not answer within 1s" }),
  neighbour("green", "running", 18806),
  withoutProfile(
    neighbour("importer", "running", 18807, { stateDir: "/var/lib/importer", configPath: "/etc/importer.json" })
  ),
  neighbour("mail", "foreign-listener", 18808, { reason: "pid 812 (nginx) listens on its port" }),
  neighbour("search", "running", 18809),
  neighbour("web", "starting", 18810)
]

/** What a gateway without a monitor sends. */
const { activity: _activity, commands: _commands, runs: _runs, ...bare } = frame

// ---------------------------------------------------------------------------
// states
// ---------------------------------------------------------------------------

export interface State {
  readonly name: string
  /** The state that the page shows in the end. */
  readonly shows: string
  readonly frame?: StatusFrameEncoded
  /** What the server does after it has sent the frame. */
  readonly after?: "ends" | "vanishes" | "asks"
}

export const states: ReadonlyArray<State> = [
  {
    name: "starting",
    shows: "starting",
    frame: { ...bare, phase: "starting", history: history.slice(0, 2), connections: 1, watching: 1 }
  },
  { name: "listening", shows: "listening", frame },
  {
    name: "draining",
    shows: "draining",
    frame: { ...frame, phase: "draining", shutdownReason: "stopped", connections: 7 }
  },
  { name: "ended", shows: "ended", frame, after: "ends" },
  { name: "lost", shows: "lost", frame: { ...frame, neighbours }, after: "vanishes" },
  {
    name: "candidate",
    shows: "standby",
    frame: {
      ...frame,
      lease: { name: "blue", state: "standby", store: "postgresql://db.internal:5432/leases" },
      leader: { hostName: "web-02", pid: 1234, url: "ws://10.0.0.2:18789" },
      neighbours: [
        neighbour("blue-b", "standby", 18790, {
          lease: { name: "blue", state: "standby", store: "postgresql://db.internal:5432/leases" }
        })
      ]
    }
  },
  {
    name: "leader",
    shows: "listening",
    frame: {
      ...frame,
      lease: {
        name: "blue",
        state: "leader",
        store: "postgresql://db.internal:5432/leases",
        fencingToken: "4294967299",
        renewedAt: ago(1),
        trustedUntil: ago(-9)
      },
      neighbours: [
        neighbour("blue-b", "standby", 18790, {
          lease: { name: "blue", state: "standby", store: "postgresql://db.internal:5432/leases" }
        })
      ]
    }
  },
  { name: "token", shows: "token", after: "asks" },
  { name: "neighbours", shows: "listening", frame: { ...frame, neighbours } },
  {
    name: "crash-loop",
    shows: "listening",
    frame: {
      ...bare,
      ...frame,
      runs: Array.from({ length: 30 }, (_, at) => {
        const started = (30 - at) * 90
        return at === 29
          ? { startedAt: ago(started), ending: "running", tookOver: true }
          : { startedAt: ago(started), endedAt: ago(started - 30), ending: "crashed", tookOver: at > 0 }
      })
    }
  },
  { name: "without a monitor", shows: "listening", frame: bare }
]

// ---------------------------------------------------------------------------
// the server
// ---------------------------------------------------------------------------

/** Serves the page in a state. Returns its URL. */
export const serve = (state: State): Effect.Effect<string, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.async<{ readonly url: string; readonly close: () => void }>((resume) => {
      const isLocked = state.after === "asks"
      const server = Http.createServer((request, response) => {
        if (request.url === "/metrics") return response.writeHead(isLocked ? 401 : 200).end()
        response.writeHead(200, {
          "content-type": "text/html; charset=utf-8",
          "content-security-policy": StatusPage.contentSecurityPolicy
        }).end(StatusPage.html({ metricsPath: "/metrics" }))
      })
      const sockets = new WebSocketServer({ noServer: true })
      const close = () => {
        for (const socket of sockets.clients) socket.terminate()
        server.closeAllConnections()
        server.close()
      }
      server.on("upgrade", (request, socket, head) => {
        if (isLocked) return socket.end("HTTP/1.1 401 Unauthorized\r\nconnection: close\r\n\r\n")
        sockets.handleUpgrade(request, socket, head, (client) => {
          const send = (message: unknown) => client.send(JSON.stringify(message))
          send({ type: "hello", instanceId: frame.instance.instanceId, version: frame.instance.version, uptimeMs: 1 })
          client.on("message", () => {
            send(state.frame)
            if (state.after === "ends") {
              send({ type: "shutdown", reason: "stopped" })
              client.close(1001, "stopped")
              client.on("close", close)
            }
            // The browser answers a ping once it has received the frame.
            if (state.after === "vanishes") client.on("pong", close).ping()
          })
        })
      })
      server.listen(0, "127.0.0.1", () => {
        const address = server.address()
        const port = typeof address === "object" && address !== null ? address.port : 0
        resume(Effect.succeed({ url: `http://127.0.0.1:${port}/`, close }))
      })
    }),
    ({ close }) => Effect.sync(close)
  ).pipe(Effect.map(({ url }) => url))
