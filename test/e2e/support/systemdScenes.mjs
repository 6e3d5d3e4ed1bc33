// This script runs as root under a systemd that only this test uses (see with-systemd). Node runs the script as it is, without a
// compiler, because the root file system is read-only. The script plays the scenes below one after the other, and prints what it
// saw as one JSON object. systemd.test.ts checks that object.
import { execFile, execFileSync, spawnSync } from "node:child_process"
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs"
import { get } from "node:http"
import { createServer } from "node:net"
import { setTimeout as sleep } from "node:timers/promises"
import { execScenes } from "./systemdExecScenes.mjs"
import { ask, main, playAll, show, systemctl, until } from "./systemdSteps.mjs"

const health = (port) => ask(port, "/healthz")
const healthy = (port, not) =>
  until(`health on ${port}`, async () => {
    const answer = await health(port)
    return answer?.ok === true && answer.instanceId !== not ? answer : undefined
  })

const unitFolder = "/etc/systemd/system"
const gateway = (...args) => [process.execPath, main, ...args]
const flags = (name, port) => ["--profile", name, "--port", String(port)]
// The lock folder of the unit that runs a profile.
const locks = (name) => `/var/lib/gateway-lock/${name}/locks`
const dropIn = (unit, lines) => {
  mkdirSync(`${unitFolder}/${unit}.d`, { recursive: true })
  writeFileSync(`${unitFolder}/${unit}.d/test.conf`, `${lines.join("\n")}\n`)
}
mkdirSync("/run/gateways", { recursive: true })
// systemd answers ordinary users only over D-Bus, so the bus must run here as it does on an ordinary machine.
systemctl("start", "dbus.socket")
/** Runs the program as an ordinary user. */
const ordinary = (...words) => {
  const { status, stderr, stdout } = spawnSync(
    "setpriv",
    ["--reuid", "65534", "--regid", "65534", "--clear-groups", process.execPath, main, ...words],
    { encoding: "utf8", env: { PATH: process.env.PATH, HOME: "/tmp/ordinary" }, cwd: "/" }
  )
  return { status, stderr, stdout }
}
/** Runs the program as root. */
const asRoot = (...words) => {
  const { status, stderr, stdout } = spawnSync(process.execPath, [main, ...words], {
    encoding: "utf8",
    env: { ...process.env, HOME: "/root" }
  })
  return { status, stderr, stdout }
}

/**
 * Makes the program install the unit that it generates for a profile, and starts the unit. If the start succeeds, waits until the
 * gateway is healthy.
 */
const install = async (name, port, overrides = [], more = []) => {
  const unit = `gateway-${name}.service`
  const [node, ...words] = gateway("service", "install", "--system", ...flags(name, port), ...more)
  const installed = spawnSync(node, words, { encoding: "utf8", env: { ...process.env, HOME: "/root" } })
  if (installed.status !== 0) throw new Error(`service install: ${installed.stdout}${installed.stderr}`)
  dropIn(unit, ["[Service]", "StandardError=file:/run/gateways/" + name + ".log", ...overrides])
  systemctl("daemon-reload")
  const started = systemctl("start", unit)
  const first = started.status === 0 ? await healthy(port) : undefined
  return { unit, started: started.status, log: () => readFileSync(`/run/gateways/${name}.log`, "utf8"), first }
}

const scenes = {
  async service() {
    const { first, log, started, unit } = await install("main", 21801, ["WatchdogSec=2"])
    const listening = await until("status text", () => {
      const { StatusText } = show(unit, "StatusText")
      return StatusText?.startsWith("listening") ? StatusText : undefined
    })
    const statusPage = systemctl("status", "--no-pager", unit).stdout
    const before = show(unit, "MainPID", "ActiveState", "NRestarts")
    const lock = JSON.parse(
      execFileSync("sh", ["-c", `cat ${locks("main")}/gateway.*.lock | head -1`], { encoding: "utf8" })
    )

    // A process that a service starts inherits the service's variables, but it is not the service.
    const inherited = spawnSync(process.execPath, [main, ...flags("child", 21809), "--log-level", "debug", "--lock-timeout", "0 seconds", "--port", "21801"], {
      encoding: "utf8",
      env: { ...process.env, SYSTEMD_EXEC_PID: before.MainPID, INVOCATION_ID: "0123", NOTIFY_SOCKET: "/run/systemd/notify" }
    })

    // After SIGKILL of its main process, systemd restarts the service.
    process.kill(Number(before.MainPID), "SIGKILL")
    const restarted = await healthy(21801, first.instanceId)
    // READY=1 arms the watchdog. That message reaches systemd a moment after the port answers.
    await until("the restarted unit to be active", () => show(unit, "ActiveState").ActiveState === "active")
    const after = show(unit, "MainPID", "NRestarts")

    // A process that SIGSTOP has stopped does not feed the watchdog, so systemd restarts the service.
    process.kill(Number(after.MainPID), "SIGSTOP")
    const woken = await healthy(21801, restarted.instanceId)
    const last = show(unit, "MainPID", "NRestarts")

    const stopped = systemctl("stop", unit).status
    const result = show(unit, "Result", "ExecMainStatus", "ActiveState", "StatusText")
    const left = execFileSync("sh", ["-c", `ls --ignore="*.runs" ${locks("main")}`], { encoding: "utf8" })
    return {
      started,
      listening,
      statusPage,
      before,
      lock: { supervisor: lock.supervisor, pid: lock.pid },
      inherited: { status: inherited.status, stderr: inherited.stderr },
      restarted: { after, ok: restarted.ok },
      watchdog: { last, ok: woken.ok },
      stop: { stopped, result, left },
      log: log()
    }
  },

  async borrowed() {
    // This service is a shell script that runs a gateway for a while. The gateway is not the service's main process, so the
    // gateway must not speak for the service. systemd before 248 sets no SYSTEMD_EXEC_PID, which would name the main process; the
    // run `old` removes the variable.
    const runs = {}
    for (const [name, port, wrapper] of [["new", 21807, []], ["old", 21808, ["env", "-u", "SYSTEMD_EXEC_PID"]]]) {
      const unit = `borrower-${name}.service`
      const folder = `/run/gateways/borrower-${name}`
      mkdirSync(folder, { recursive: true })
      const words = [...wrapper, ...gateway("run", ...flags(`borrower-${name}`, port), "--state-dir", `${folder}/state`)]
      writeFileSync(`${folder}/service`, [
        "#!/bin/bash",
        "systemd-notify --ready --status=busy",
        `${words.join(" ")} 2> ${folder}/log & gateway=$!`,
        `until grep -q 'gateway listening' ${folder}/log; do sleep 0.05; done`,
        `kill $gateway; wait $gateway; echo $? > ${folder}/status`,
        "exec sleep infinity"
      ].join("\n"), { mode: 0o755 })
      writeFileSync(`${unitFolder}/${unit}`, `[Service]\nType=notify\nNotifyAccess=all\nRestart=no\nTimeoutStopSec=2\nExecStart=${folder}/service\n`)
      systemctl("daemon-reload")
      systemctl("start", unit)
      const { MainPID } = show(unit, "MainPID")
      const status = await until("the borrowed gateway's end", () => {
        try {
          return readFileSync(`${folder}/status`, "utf8").trim()
        } catch {
          return undefined
        }
      })
      const after = show(unit, "MainPID", "ActiveState", "SubState", "StatusText")
      runs[name] = { status, ...after, MainPID: after.MainPID === MainPID ? "the same" : after.MainPID, log: readFileSync(`${folder}/log`, "utf8") }
      systemctl("stop", unit)
    }
    return runs
  },

  async duplicate() {
    // Two units with Restart=always run the same gateway, as after a migration that went wrong.
    const original = await install("twin", 21802)
    const { MainPID } = show(original.unit, "MainPID")
    const text = readFileSync(`${unitFolder}/${original.unit}`, "utf8")
    writeFileSync(`${unitFolder}/gateway-copy.service`, text)
    dropIn("gateway-copy.service", ["[Service]", "StandardError=file:/run/gateways/copy.log"])
    systemctl("daemon-reload")
    systemctl("start", "gateway-copy.service")
    const copy = await until("the copy's end", () => {
      const seen = show("gateway-copy.service", "ActiveState", "SubState", "ExecMainStatus", "NRestarts", "Result")
      return ["failed", "inactive"].includes(seen.ActiveState) ? seen : undefined
    })
    // The time of RestartSec= passes, and systemd must not start the copy again.
    await sleep(1500)
    const later = show("gateway-copy.service", "ActiveState", "SubState", "NRestarts")
    const untouched = show(original.unit, "MainPID", "ActiveState", "NRestarts")
    const still = await health(21802)
    systemctl("stop", original.unit)
    return {
      copy,
      later,
      untouched: { ...untouched, samePid: untouched.MainPID === MainPID, sameInstance: still?.instanceId === original.first.instanceId },
      log: readFileSync("/run/gateways/copy.log", "utf8")
    }
  },

  async unhealthy() {
    // This script, which is no gateway, listens on the service's port, accepts connections and never answers.
    const server = createServer(() => {})
    await new Promise((resolve) => server.listen(21803, "127.0.0.1", resolve))
    const began = Date.now()
    const { log, unit } = await install("blocked", 21803, [
      "Environment=\"GATEWAY_HEALTH_TIMEOUT=3 seconds\" \"GATEWAY_HEALTH_RETRY_INTERVAL=500 millis\"",
      "Restart=no"
    ])
    const took = Date.now() - began
    const seen = show(unit, "ActiveState", "ExecMainStatus", "Result")
    server.close()
    return { took, seen, log: log() }
  },

  async operators() {
    const name = "operated"
    const run = (...words) => asRoot(...words, ...flags(name, 21806))
    const { first, unit } = await install(name, 21806)
    const doctor = run("doctor", "--json")
    const stop = run("stop")
    const still = await health(21806)

    // `stop` refuses to end a service's process. With --force it ends the process, and systemd starts the service again.
    const forced = run("stop", "--force")
    const successor = await healthy(21806, first.instanceId)
    const advised = spawnSync("sh", ["-c", /to stop it: (.*)/.exec(stop.stderr)?.[1] ?? "false"]).status
    const stopped = show(unit, "ActiveState", "Result")

    // An administrator's drop-in can break the unit. Here the start fails until systemd gives up (StartLimitBurst=), and `doctor`
    // examines the unit.
    dropIn(unit, ["[Unit]", "StartLimitIntervalSec=60", "StartLimitBurst=2", "[Service]", "RestartSec=100ms", "RestartPreventExitStatus=", "NotifyAccess=main", "TimeoutStopSec=5", "ExecStart=", "ExecStart=/bin/false"])
    systemctl("daemon-reload")
    systemctl("start", unit)
    await until("the latch", () => {
      const seen = show(unit, "ActiveState", "SubState", "NRestarts")
      return seen.ActiveState === "failed" && Number(seen.NRestarts) >= 1 ? seen : undefined
    })
    const latched = run("doctor", "--json")
    dropIn(unit, [])
    systemctl("daemon-reload")
    const mended = systemctl("reset-failed", unit).status === 0 && systemctl("start", unit).status === 0
    await healthy(21806)
    systemctl("stop", unit)
    return {
      doctor: { status: doctor.status, report: JSON.parse(doctor.stdout) },
      stop,
      untouched: still?.instanceId === first.instanceId,
      forced,
      succeeded: successor.instanceId !== first.instanceId,
      advised,
      stopped,
      latched: { status: latched.status, report: JSON.parse(latched.stdout) },
      mended
    }
  },

  async hardened() {
    // The generated unit has DynamicUser= and further options that confine the service.
    const { started, unit } = await install("kept", 21807)
    const pid = Number(show(unit, "MainPID").MainPID)
    const status = readFileSync(`/proc/${pid}/status`, "utf8")
    const security = spawnSync("systemd-analyze", ["security", "--no-pager", unit], { encoding: "utf8" }).stdout
    const uid = Number(/^Uid:\s+(\d+)/m.exec(status)?.[1])
    const stat = (path) =>
      spawnSync("stat", ["-L", "-c", "%u %a", path], { encoding: "utf8" }).stdout.trim().replace(`${uid} `, "its own ")
    const seen = {
      started,
      isRoot: uid === 0,
      security: Number(/Overall exposure level[^:]*: (\d+\.\d+)/.exec(security)?.[1]),
      capabilities: /^CapBnd:\s+(\S+)/m.exec(status)?.[1],
      noNewPrivileges: /^NoNewPrivs:\s+(\S+)/m.exec(status)?.[1],
      stateDir: stat("/var/lib/gateway-lock/kept"),
      lockFolder: stat(locks("kept")),
      enforcement: JSON.parse(
        execFileSync("sh", ["-c", `cat ${locks("kept")}/gateway.*.lock | head -1`], { encoding: "utf8" })
      ).lock
    }
    const commands = {}
    for (const words of [["status"], ["status", "--json"], ["list"], ["list", "--json"], ["doctor"], ["stop"], ["health"], ["run"]]) {
      commands[words.join(" ")] = ordinary(...words, ...(words[0] === "list" ? [] : flags("kept", 21807)))
    }
    // The first two commands name another profile on the service's port. The third command names the service's profile on another
    // port.
    commands.other = ordinary("status", ...flags("other", 21807))
    commands.refusedOther = ordinary("run", ...flags("other", 21807))
    commands.elsewhere = ordinary("status", ...flags("kept", 21899))
    // A gateway of this user with a state directory of its own is not the service.
    commands.ownState = ordinary("status", ...flags("kept", 21898), "--state-dir", "/tmp/ordinary/state")
    commands.advised = ordinary("status", "--profile", "kept")
    commands.root = asRoot("status", ...flags("kept", 21807))
    commands.rootList = asRoot("list")
    commands.rootHealth = asRoot("health", ...flags("kept", 21807))
    systemctl("stop", unit)
    commands.stopped = ordinary("status", ...flags("kept", 21807))
    return { ...seen, commands }
  },

  async user() {
    // The service runs as an existing user, on a port that needs a capability, with a token file that only root can read.
    writeFileSync("/run/gateways/token", "0123456789abcdef".repeat(4), { mode: 0o600 })
    const { log, started, unit } = await install("named", 443, [], ["--user", "nobody", "--host", "0.0.0.0", "--token-file", "/run/gateways/token"])
    const pid = Number(show(unit, "MainPID").MainPID)
    const status = pid > 0 ? readFileSync(`/proc/${pid}/status`, "utf8") : ""
    const upgrade = (token) =>
      new Promise((resolve) => {
        const headers = { Connection: "Upgrade", Upgrade: "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==", ...(token ? { Authorization: `Bearer ${token}` } : {}) }
        get({ host: "127.0.0.1", port: 443, path: "/", headers, agent: false }, (response) => resolve(response.statusCode))
          .on("upgrade", (response, socket) => {
            socket.destroy()
            resolve(response.statusCode)
          })
          .on("error", (error) => resolve(error.message))
      })
    const answers = [await upgrade(), await upgrade("0123456789abcdef".repeat(4))]
    const restarted = systemctl("restart", unit).status
    systemctl("stop", unit)
    const missing = asRoot("service", "install", "--system", "--user", "nosuchuser", ...flags("missing", 21811))
    return {
      started,
      restarted,
      uid: Number(/^Uid:\s+(\d+)/m.exec(status)?.[1]),
      capabilities: /^CapEff:\s+(\S+)/m.exec(status)?.[1],
      answers,
      missing,
      log: log()
    }
  },

  async uninstall() {
    const never = asRoot("service", "install", "--system", ...flags("never", 21812))
    const uninstalled = asRoot("service", "uninstall", "--system", ...flags("never", 21812))
    const again = asRoot("service", "uninstall", "--system", ...flags("never", 21812))
    const shown = show("gateway-never.service", "LoadState", "ActiveState")
    symlinkSync("/dev/null", `${unitFolder}/gateway-masked.service`)
    systemctl("daemon-reload")
    const masked = asRoot("service", "uninstall", "--system", ...flags("masked", 21813))
    // systemd remembers that a unit has failed. `service uninstall` must also remove such a unit.
    const { unit } = await install("broken", 21814, ["ExecStart=", "ExecStart=/bin/false", "Restart=no"])
    const failed = asRoot("service", "uninstall", "--system", ...flags("broken", 21814))
    return { never, uninstalled, again, shown, masked, failed, after: show(unit, "ActiveState", "LoadState") }
  },

  async activation() {
    const name = "activated"
    const { unit } = await install(name, 21804)
    systemctl("stop", unit)
    writeFileSync(`${unitFolder}/gateway-${name}.socket`, "[Socket]\nListenStream=127.0.0.1:21804\n")
    systemctl("daemon-reload")
    const socket = systemctl("start", `gateway-${name}.socket`)
    await healthy(21804)
    let sent = 0
    let answered = 0
    const failures = []
    const load = { goesOn: true }
    const instances = new Set()
    const client = async () => {
      while (load.goesOn || sent < 1000) {
        sent += 1
        const result = await new Promise((resolve) => {
          get({ host: "127.0.0.1", port: 21804, path: "/healthz", agent: false }, (response) => {
            let body = ""
            response.on("data", (chunk) => body += chunk).on("end", () => resolve({ status: response.statusCode, body }))
              .on("error", (error) => resolve({ error: error.message }))
          }).on("error", (error) => resolve({ error: error.message }))
        })
        if (result.error === undefined) {
          answered += 1
          instances.add(JSON.parse(result.body).instanceId)
        } else failures.push(result.error)
        await sleep(5)
      }
    }
    const clients = Array.from({ length: 16 }, client)
    const restarts = []
    for (let round = 0; round < 3; round += 1) {
      await sleep(300)
      // The clients run in this process, so the restart must not block it: the gateway would cut a client that has connected and
      // then sends nothing.
      restarts.push(
        await new Promise((resolve) => {
          execFile("systemctl", ["restart", unit], (error) => resolve(error === null ? 0 : error.code))
        })
      )
    }
    await sleep(300)
    load.goesOn = false
    await Promise.all(clients)
    systemctl("stop", `gateway-${name}.socket`, unit)

    // The port of this socket unit differs from the port that the gateway is configured for.
    writeFileSync(`${unitFolder}/gateway-${name}.socket`, "[Socket]\nListenStream=127.0.0.1:21805\n")
    dropIn(unit, ["[Service]", `StandardError=file:/run/gateways/${name}.log`, "Restart=no"])
    systemctl("daemon-reload")
    systemctl("start", `gateway-${name}.socket`)
    systemctl("start", unit)
    const mismatch = show(unit, "ExecMainStatus", "ActiveState")
    systemctl("stop", `gateway-${name}.socket`)
    return { socket: socket.status, sent, answered, failures: failures.slice(0, 5), restarts, instances: instances.size, mismatch, log: readFileSync(`/run/gateways/${name}.log`, "utf8") }
  }
}

const seen = await playAll(scenes)
seen.exec = await playAll(execScenes({ gateway, show, systemctl, unitFolder, until }))
console.log(JSON.stringify(seen))
process.exit(0)
