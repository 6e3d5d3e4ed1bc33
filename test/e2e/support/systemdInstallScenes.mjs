// This script runs as root under a systemd that only this test uses (see with-systemd). Node runs the script as it is, without a
// compiler, because the root file system is read-only. The script plays the scenes below one after the other, and prints what it
// saw as one JSON object. exec-service.test.ts checks that object.
import { spawnSync } from "node:child_process"
import { chmodSync, cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { dirname } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { ask, main, playAll, show, systemctl, until } from "./systemdSteps.mjs"

const [, words] = process.argv.slice(2)

const site = "/run/my site 100% \"$HOME\" \\x"
mkdirSync(site, { recursive: true, mode: 0o755 })
const pathFolder = "/run/my programs"
mkdirSync(pathFolder, { mode: 0o755 })
// This server finds Node by PATH, as the scripts in node_modules/.bin do.
writeFileSync(`${site}/server.cjs`, `#!/usr/bin/env node
const facts = () => ({ argv: process.argv.slice(2), cwd: process.cwd(), path: process.env.PATH, pid: process.pid,
  ppid: process.ppid, uid: process.getuid(), token: process.env.GATEWAY_TOKEN })
if (process.argv[2] === "stubborn") process.on("SIGTERM", () => {})
require("node:http").createServer((_, response) => response.end(JSON.stringify(facts()))).listen(process.env.PORT, "127.0.0.1")
`)
chmodSync(`${site}/server.cjs`, 0o755)
cpSync(`${site}/server.cjs`, `${pathFolder}/my-server`)
chmodSync(`${pathFolder}/my-server`, 0o755)

const searchPath = `${pathFolder}:relative:${dirname(process.execPath)}:/usr/bin:/bin`
const environment = { ...process.env, HOME: "/root", PATH: searchPath, PWD: site }
/** Waits until the server on a port answers with another pid than `not`. */
const serving = (port, not) =>
  until(`a server on ${port}`, async () => {
    const answer = await ask(port)
    return answer !== undefined && answer.pid !== not ? answer : undefined
  })

const unitFolder = "/etc/systemd/system"
const flags = (name, port) => ["--profile", name, "--port", String(port)]
const unitOf = (name) => `gateway-${name}.service`
const result = ({ status, stderr, stdout }) => ({ status, stderr, stdout })
// systemd answers ordinary users only over D-Bus, so the bus must run here as it does on an ordinary machine.
systemctl("start", "dbus.socket")
const asRoot = (...args) =>
  result(spawnSync(process.execPath, [main, ...args], { encoding: "utf8", env: environment, cwd: site }))
const ordinary = (...args) =>
  result(spawnSync("setpriv", ["--reuid", "65534", "--regid", "65534", "--clear-groups", process.execPath, main, ...args], {
    encoding: "utf8",
    env: { PATH: process.env.PATH, HOME: "/tmp/ordinary" },
    cwd: "/"
  }))
const install = (name, port, own, command) => {
  const installed = asRoot("service", "install", "--system", ...flags(name, port), "--exec", ...own, "--", ...command)
  if (installed.status !== 0) throw new Error(`service install: ${installed.stdout}${installed.stderr}`)
  return { installed, unit: unitOf(name) }
}
const start = (unit) => {
  const began = Date.now()
  return { status: systemctl("start", unit).status, took: Date.now() - began }
}
const stop = (unit) => {
  const began = Date.now()
  return { status: systemctl("stop", unit).status, took: Date.now() - began, ...show(unit, "ActiveState", "Result") }
}
const isAlive = (pid) => existsSync(`/proc/${pid}`)

const scenes = {
  async service() {
    const port = 21821
    const { unit } = install("web", port, ["--ready", "http:/", "--stop-timeout", "2s"], ["./server.cjs", ...JSON.parse(words)])
    const started = start(unit)
    const first = await serving(port)
    const shown = show(unit, "ActiveState", "MainPID", "StatusText", "WorkingDirectory")
    const run = (...args) => ({ root: asRoot(...args, ...flags("web", port)), ordinary: ordinary(...args, ...flags("web", port)) })
    const seen = { status: run("status"), json: run("status", "--json"), doctor: asRoot("doctor", "--json", ...flags("web", port)) }

    // The command crashes. Its wrapper ends by the same signal, and systemd restarts the service.
    process.kill(first.pid, "SIGKILL")
    const second = await serving(port, first.pid)
    await until("the restarted unit to be active", () => show(unit, "ActiveState").ActiveState === "active")
    const afterCrash = show(unit, "NRestarts", "MainPID")

    // The wrapper is killed. systemd ends the command that is left, and restarts the service.
    process.kill(Number(afterCrash.MainPID), "SIGKILL")
    const third = await serving(port, second.pid)
    await until("the restarted unit to be active", () => show(unit, "ActiveState").ActiveState === "active")
    const afterKill = show(unit, "NRestarts", "MainPID")

    // A second unit runs the same command with the same settings. The owner is healthy, so this unit must not be restarted.
    writeFileSync(`${unitFolder}/gateway-copy.service`, readFileSync(`${unitFolder}/${unit}`, "utf8"))
    mkdirSync(`${unitFolder}/gateway-copy.service.d`)
    writeFileSync(`${unitFolder}/gateway-copy.service.d/test.conf`, "[Service]\nStandardError=file:/run/copy.log\nDynamicUser=no\n")
    // The copy must use the same lock, so both services run as root here.
    mkdirSync(`${unitFolder}/${unit}.d`)
    writeFileSync(`${unitFolder}/${unit}.d/test.conf`, "[Service]\nDynamicUser=no\n")
    systemctl("daemon-reload")
    systemctl("restart", unit)
    const owner = await serving(port, third.pid)
    systemctl("start", "gateway-copy.service")
    const copy = await until("the end of the copy", () => {
      const state = show("gateway-copy.service", "ActiveState", "ExecMainStatus", "NRestarts")
      return state.ActiveState === "failed" ? state : undefined
    })
    // The time of RestartSec= passes, and systemd must not start the copy again.
    await sleep(2500)
    const later = show("gateway-copy.service", "ActiveState", "NRestarts")
    const untouched = (await ask(port))?.pid === owner.pid
    const stopped = stop(unit)
    return {
      started,
      facts: first,
      shown,
      seen,
      afterCrash: { NRestarts: afterCrash.NRestarts },
      afterKill: { NRestarts: afterKill.NRestarts, isLeft: isAlive(second.pid) },
      copy,
      later,
      untouched,
      copyLog: readFileSync("/run/copy.log", "utf8"),
      stopped,
      isLeft: isAlive(owner.pid),
      after: asRoot("status", ...flags("web", port))
    }
  },

  async stubborn() {
    // This command ignores SIGTERM. It is found by PATH, and uses a port that needs a capability.
    const { unit } = install("stubborn", 443, ["--ready", "port", "--stop-timeout", "1s"], ["my-server", "stubborn"])
    const started = start(unit)
    const { argv, cwd, pid, uid } = await serving(443)
    const stopped = stop(unit)
    return { started, facts: { argv, cwd, uid }, stopped, isLeft: isAlive(pid) }
  },

  async portless() {
    // Without --ready, a command that does not listen on its port runs on, and systemd must not end it.
    const { unit } = install("portless", 21822, ["--start-timeout", "1s"], ["sleep", "1000"])
    const started = start(unit)
    const shown = show(unit, "ActiveState", "StatusText")
    const { MainPID } = show(unit, "MainPID")
    const late = install("late", 21823, ["--ready", "port", "--start-timeout", "1s"], ["sleep", "1000"])
    systemctl("start", "--no-block", late.unit)
    const restarted = await until("a restart after 124", () => {
      const state = show(late.unit, "NRestarts", "ExecMainStatus")
      return Number(state.NRestarts) >= 1 ? state : undefined
    })
    systemctl("stop", late.unit)
    return { started, shown, sleeps: MainPID !== "0", restarted: Number(restarted.NRestarts), stopped: stop(unit) }
  },

  async leased() {
    // Only root can read the file with the URL. No store is at this URL, so the service waits to lead.
    writeFileSync("/run/lease-url", "etcd+http://127.0.0.1:1", { mode: 0o600 })
    const { unit } = install("leased", 21827, ["--lease-url-file", "/run/lease-url"], ["sleep", "1000"])
    const started = start(unit)
    const shown = await until("the unit to wait to lead", () => {
      const state = show(unit, "ActiveState", "NRestarts", "StatusText")
      return state.StatusText.startsWith("waiting to lead") ? state : undefined
    })
    return { started, shown, stopped: stop(unit) }
  },

  async user() {
    // The systemd of the user `daemon`, as a login session would start it. systemd needs a user who is in /etc/passwd.
    const uid = spawnSync("id", ["-u", "daemon"], { encoding: "utf8" }).stdout.trim()
    const folder = `/run/user/${uid}`
    const home = "/run/home"
    mkdirSync("/run/user", { recursive: true, mode: 0o755 })
    for (const path of [folder, home]) mkdirSync(path, { mode: 0o700 })
    spawnSync("chown", ["daemon", folder, home])
    writeFileSync("/run/systemd/system/manager.service", [
      "[Service]",
      "Type=notify",
      "User=daemon",
      "Delegate=yes",
      `Environment=XDG_RUNTIME_DIR=${folder} HOME=${home}`,
      "ExecStart=/lib/systemd/systemd --user"
    ].join("\n"))
    systemctl("daemon-reload")
    const manager = systemctl("start", "manager.service").status
    const as = (program, ...args) =>
      result(spawnSync("setpriv", ["--reuid", uid, "--regid", uid, "--clear-groups", program, ...args], {
        encoding: "utf8",
        env: { PATH: searchPath, HOME: home, XDG_RUNTIME_DIR: folder, PWD: site },
        cwd: site
      }))
    const own = (...args) => as(process.execPath, main, ...args, ...flags("mine", 21824))
    const installed = as(process.execPath, main, "service", "install", ...flags("mine", 21824), "--exec", "--ready", "port", "--", "./server.cjs", "a b")
    const started = as("systemctl", "--user", "start", unitOf("mine"))
    const facts = started.status === 0 ? await serving(21824) : {}
    const status = own("status")
    const doctor = own("doctor", "--json")
    const uninstalled = own("service", "uninstall")
    return { manager, uid: Number(uid), installed, started, facts, status, doctor, uninstalled, left: await ask(21824) === undefined }
  },

  async uninstall() {
    const { unit } = install("gone", 21825, [], ["sleep", "1000"])
    const path = `${unitFolder}/${unit}`
    const wasThere = existsSync(path)
    const uninstalled = asRoot("service", "uninstall", "--system", ...flags("gone", 21825), "--exec", "--", "sleep", "1000")
    const missing = asRoot("service", "install", "--system", ...flags("missing", 21826), "--exec", "--", "nosuchprogram")
    return { wasThere, uninstalled, isThere: existsSync(path), missing, isMissingThere: existsSync(`${unitFolder}/${unitOf("missing")}`) }
  }
}

console.log(JSON.stringify(await playAll(scenes)))
process.exit(0)
