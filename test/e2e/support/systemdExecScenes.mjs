// The scenes of systemdScenes.mjs in which `gateway exec` runs a command as a service. systemd.test.ts checks what they saw.
import { spawn } from "node:child_process"
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { get } from "node:http"
import { createServer } from "node:net"
import { setTimeout as sleep } from "node:timers/promises"

const folder = "/run/exec"

// A server. It answers each request with its pid and with the variables that it got from systemd. For `/say` it first sends a status
// to systemd, as a service does that knows sd_notify(3).
const server = `
import { spawnSync } from "node:child_process"
import { createServer } from "node:http"
const names = ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"]
createServer(({ url }, response) => {
  if (url === "/say") spawnSync("systemd-notify", ["--status=said by the command"])
  const got = names.filter((name) => process.env[name] !== undefined)
  response.end(JSON.stringify({ pid: process.pid, got }))
}).listen(Number(process.env.PORT), "127.0.0.1")
`

const ask = (port, path = "/") =>
  new Promise((resolve) => {
    get({ host: "127.0.0.1", port, path, agent: false, timeout: 5000 }, (response) => {
      let body = ""
      response.on("data", (chunk) => body += chunk).on("end", () => resolve(JSON.parse(body))).on("error", () => resolve(undefined))
    }).on("error", () => resolve(undefined)).on("timeout", function() {
      this.destroy()
    })
  })

const lives = (pid) => existsSync(`/proc/${pid}`)

export const execScenes = ({ gateway, show, systemctl, unitFolder, until }) => {
  mkdirSync(folder, { recursive: true })
  writeFileSync(`${folder}/server.mjs`, server)
  const serve = [process.execPath, `${folder}/server.mjs`]
  const stateDir = (profile) => `${folder}/${profile}`
  const site = (profile, port) => ["--profile", profile, "--state-dir", stateDir(profile), ...(port === undefined ? ["--no-port"] : ["--port", String(port)])]

  /** Writes a unit that runs the program with these words. */
  const write = (name, words, lines = []) => {
    const unit = `${name}.service`
    // A service manager of systemd reads no quotes from a file that a test writes, so no word may have a space.
    writeFileSync(`${unitFolder}/${unit}`, [
      "[Unit]",
      "StartLimitIntervalSec=0",
      "[Service]",
      "Type=notify",
      "NotifyAccess=all",
      "KillMode=mixed",
      "Restart=always",
      "RestartSec=100ms",
      "RestartPreventExitStatus=64 78",
      `Environment=HOME=${folder}`,
      `StandardError=append:${folder}/${name}.log`,
      `ExecStart=${gateway(...words).join(" ")}`,
      ...lines
    ].join("\n") + "\n")
    systemctl("daemon-reload")
    return unit
  }
  const log = (name) => readFileSync(`${folder}/${name}.log`, "utf8")
  const record = (profile, folder = stateDir(profile)) => {
    try {
      const name = readdirSync(`${folder}/locks`).find((name) => /^gateway\.[0-9a-f]{8}\.lock$/.test(name))
      return JSON.parse(readFileSync(`${folder}/locks/${name}`, "utf8"))
    } catch {
      // There is no lock file, or its owner writes it at this moment.
      return {}
    }
  }
  const answered = (port, not) =>
    until(`the command on ${port}`, async () => {
      const answer = await ask(port)
      return answer !== undefined && answer.pid !== not ? answer : undefined
    })
  const state = (unit) => show(unit, "ActiveState", "SubState", "ExecMainStatus", "NRestarts")
  /** Starts a unit, and waits until its main process has ended for good. */
  const untilOver = async (unit) => {
    systemctl("start", unit)
    await until(`the end of ${unit}`, () => ["failed", "inactive"].includes(state(unit).ActiveState))
    // The time of RestartSec= passes, and systemd must not start the unit again.
    await sleep(500)
    const { ExecMainExitTimestampMonotonic, ExecMainStartTimestampMonotonic } = show(unit, "ExecMainStartTimestampMonotonic", "ExecMainExitTimestampMonotonic")
    return { ...state(unit), tookMs: (Number(ExecMainExitTimestampMonotonic) - Number(ExecMainStartTimestampMonotonic)) / 1000 }
  }

  return {
    async wrapped() {
      const port = 21820
      const unit = write("wrapped", ["exec", ...site("wrapped", port), "--ready", "port", "--", ...serve], ["WatchdogSec=2"])
      const started = systemctl("start", unit).status
      // The unit is active only once the command listens, so the first request is answered.
      const first = await ask(port)
      const began = Date.now()
      const before = show(unit, "MainPID", "ActiveState", "StatusText")
      const { child, mode, phase, pid, supervisor } = record("wrapped")
      await ask(port, "/say")
      const said = show(unit, "StatusText").StatusText

      // Other starts of the same gateway: one of `exec`, and one of `run`.
      const copies = {}
      for (const [name, words] of [["exec", ["exec", ...site("wrapped", port), "--", ...serve]], ["run", ["run", ...site("wrapped", port)]]]) {
        copies[name] = { ...await untilOver(write(`copy-${name}`, words)), log: log(`copy-${name}`) }
      }

      // The wrapper feeds the watchdog. Without that, systemd would have killed it by now.
      await sleep(Math.max(0, began + 5000 - Date.now()))
      const fed = show(unit, "MainPID", "NRestarts", "ActiveState")
      const still = await ask(port)

      // A wrapper that is stopped feeds the watchdog no longer. systemd kills it, and its command.
      process.kill(Number(before.MainPID), "SIGSTOP")
      const second = await answered(port, first.pid)
      const hung = { NRestarts: show(unit, "NRestarts").NRestarts, firstLives: lives(first.pid) }
      await until("the restarted unit to be active", () => show(unit, "ActiveState").ActiveState === "active")

      // systemd kills the command of a wrapper that was killed, and starts a new one.
      process.kill(Number(show(unit, "MainPID").MainPID), "SIGKILL")
      const third = await answered(port, second.pid)
      const killed = { NRestarts: show(unit, "NRestarts").NRestarts, secondLives: lives(second.pid) }
      await until("the unit to be active again", () => show(unit, "ActiveState").ActiveState === "active")

      const stopped = systemctl("stop", unit).status
      return {
        started,
        first: { ...first, isChild: child?.pid === first?.pid },
        record: { mode, phase, supervisor, isMain: String(pid) === before.MainPID },
        before,
        said,
        copies,
        fed: { ...fed, isSame: fed.MainPID === before.MainPID && still?.pid === first?.pid },
        hung,
        killed,
        stop: { stopped, ...show(unit, "Result", "ActiveState"), thirdLives: lives(third.pid), left: readdirSync(`${stateDir("wrapped")}/locks`) }
      }
    },

    async documented() {
      // The unit of docs/any-server.md: a user of its own, and the state directory that systemd makes for it.
      const unit = write("documented", ["exec", "--profile", "documented", "--port", "21823", "--ready", "port", "--", ...serve], [
        "DynamicUser=yes",
        "StateDirectory=gateway-lock/documented",
        "Environment=GATEWAY_STATE_DIR=/var/lib/gateway-lock/documented"
      ])
      const started = systemctl("start", unit).status
      const { child, phase } = record("documented", "/var/lib/gateway-lock/documented")
      const answer = await ask(21823)
      const uid = answer === undefined ? 0 : Number(/^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${answer.pid}/status`, "utf8"))?.[1])
      const seen = { started, phase: phase ?? "none", isChild: answer !== undefined && child?.pid === answer.pid, isRoot: uid === 0 }
      return { ...seen, stopped: systemctl("stop", unit).status, ...show(unit, "Result"), log: `${systemctl("status", "--no-pager", unit).stdout}${log("documented")}` }
    },

    async speaking() {
      // The wrapper waits for a listener and sends no READY=1, because this command never listens. The command sends it itself.
      writeFileSync(`${folder}/speaker`, "#!/bin/sh\nsystemd-notify --ready --status=own\nexec sleep infinity\n", { mode: 0o755 })
      const unit = write("speaking", ["exec", ...site("speaking", 21821), "--start-timeout", "10m", "--", `${folder}/speaker`])
      const started = systemctl("start", unit).status
      const seen = { started, ...show(unit, "ActiveState", "StatusText"), phase: record("speaking").phase }
      systemctl("stop", unit)
      return seen
    },

    async refused() {
      // 75: another process has the lock, and this unit does not count as supervised. Without a supervisor there is no READY=1.
      const [node, ...words] = gateway("exec", ...site("busy"), "--", "sleep", "infinity")
      const owner = spawn(node, words, { stdio: "ignore", env: { ...process.env, HOME: folder } })
      const ended = new Promise((resolve) => owner.on("exit", resolve))
      await until("the owner's lock", () => record("busy").phase === "listening")
      const unit = write("busy", ["exec", "--supervisor", "none", ...site("busy"), "--lock-timeout", "0s", "--", "sleep", "infinity"], ["Type=exec"])
      systemctl("start", unit)
      const refused = await until("a restart after 75", () => {
        const seen = show(unit, "ExecMainStatus", "NRestarts")
        return seen.ExecMainStatus === "75" && Number(seen.NRestarts) >= 1 ? seen.ExecMainStatus : undefined
      })
      owner.kill("SIGTERM")
      await ended
      await until("the unit's own lock", () => String(record("busy").pid) === show(unit, "MainPID").MainPID)
      const seen = { refused, after: show(unit, "ActiveState").ActiveState, log: log("busy") }
      systemctl("stop", unit)
      return seen
    },

    async unhealthy() {
      // 125: this script listens on the port of the unit, and never answers.
      const sockets = new Set()
      const stranger = createServer((socket) => sockets.add(socket.on("error", () => {})))
      await new Promise((resolve) => stranger.listen(21822, "127.0.0.1", resolve))
      const unit = write("strange", ["exec", ...site("strange", 21822), "--ready", "port", "--", ...serve], [
        "Environment=\"GATEWAY_HEALTH_TIMEOUT=1 seconds\" \"GATEWAY_HEALTH_RETRY_INTERVAL=200 millis\""
      ])
      systemctl("start", "--no-block", unit)
      const refused = await until("a restart after 125", () => {
        const seen = show(unit, "ExecMainStatus", "NRestarts")
        return seen.ExecMainStatus === "125" && Number(seen.NRestarts) >= 1 ? seen.ExecMainStatus : undefined
      })
      stranger.close()
      for (const socket of sockets) socket.destroy()
      const after = await until("the unit to be active", () => show(unit, "ActiveState").ActiveState === "active" ? "active" : undefined)
      const seen = { refused, after, answered: (await ask(21822)) !== undefined, log: log("strange") }
      systemctl("stop", unit)
      return seen
    },

    async own() {
      // The statuses that the command itself ends with. It ends once, and runs on if it is started again.
      const seen = {}
      for (const status of [75, 78, 125]) {
        const script = `${folder}/exits-${status}`
        writeFileSync(script, `#!/bin/sh\n[ -e ${script}.ran ] && exec sleep infinity\ntouch ${script}.ran\nexit ${status}\n`, { mode: 0o755 })
        const unit = write(`own-${status}`, ["exec", ...site(`own-${status}`), "--", script])
        systemctl("start", "--no-block", unit)
        seen[status] = await until(`what follows ${status}`, () => {
          const { ActiveState, NRestarts } = state(unit)
          return ActiveState === "failed" || (ActiveState === "active" && NRestarts === "1") ? { ActiveState, NRestarts } : undefined
        })
        systemctl("stop", unit)
      }
      return seen
    }
  }
}
