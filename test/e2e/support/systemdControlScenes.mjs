// This script runs as root under a systemd that only this test uses (see with-systemd). Node runs the script as it is, without a
// compiler, because the root file system is read-only. The script plays the scenes below one after the other, and prints what it
// saw as one JSON object. service-control.test.ts checks that object.
import { spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { chmodSync, mkdirSync, writeFileSync } from "node:fs"
import { main, playAll, show, systemctl, until } from "./systemdSteps.mjs"

const site = "/run/site"
mkdirSync(site, { mode: 0o755 })
writeFileSync(`${site}/server.cjs`, `#!${process.execPath}
require("node:http").createServer((_, response) => response.end("ok")).listen(process.env.PORT, "127.0.0.1", () => console.log("serving"))
`)
chmodSync(`${site}/server.cjs`, 0o755)
systemctl("start", "dbus.socket", "systemd-journald.socket", "systemd-journald.service")

const environment = { PATH: process.env.PATH, HOME: "/root", PWD: site, NO_COLOR: "1" }
const result = ({ signal, status, stderr, stdout }) => ({ status, signal, stderr, stdout })
const options = { encoding: "utf8", env: environment, cwd: site, timeout: 60_000 }
const gateway = (...args) => result(spawnSync(process.execPath, [main, ...args], options))

const profile = "a-b--c"
const unit = `gateway-${profile}.service`
const of = ["--system", "--profile", profile]
const service = (action, ...args) => gateway("service", action, ...of, ...args)

/** Starts a command that does not end by itself, and waits until it has written `text`. */
const following = async (text, ...args) => {
  const child = spawn(process.execPath, [main, "service", "logs", ...of, ...args], { env: environment, cwd: site })
  let stdout = ""
  child.stdout.setEncoding("utf8").on("data", (part) => stdout += part)
  await until(`the line ${text}`, () => stdout.includes(text))
  return child
}

const journals = () => spawnSync("pgrep", ["-x", "journalctl"], { encoding: "utf8" }).stdout.trim()

const scenes = {
  async life() {
    const absent = { status: service("status"), start: service("start"), logs: service("logs") }
    const installed = gateway("service", "install", ...of, "--port", "21827", "--exec", "--ready", "port", "--", "./server.cjs")
    const before = service("status")
    const dry = service("start", "--dry-run")
    const untouched = show(unit, "ActiveState").ActiveState
    const started = service("start")
    const running = { ...service("status"), ...show(unit, "ActiveState", "MainPID") }
    // The line of the installation works with another word.
    const restarted = gateway("service", "restart", ...of, "--port", "21827", "--exec", "--ready", "port", "--", "./server.cjs")
    const after = show(unit, "ActiveState", "MainPID")
    await until("the journal", () => service("logs", "--lines", "all").stdout.split("serving").length > 2)
    const logs = service("logs", "--lines", "all")
    const last = service("logs", "--lines", "1")
    return { absent, installed, before, dry, untouched, started, running, restarted, after, logs, last }
  },

  async following() {
    const child = await following("serving", "--follow", "--lines", "all")
    const during = journals()
    child.kill("SIGINT")
    const [status, signal] = await once(child, "close")
    // The reader of the pipe ends before journalctl writes, so the write fails with EPIPE.
    const unread = "exec 3> >(exec true); wait $!; \"$@\" >&3; echo $?"
    const closed = spawnSync(
      "/bin/bash",
      ["--norc", "-c", unread, "bash", process.execPath, main, "service", "logs", ...of, "--lines", "all"],
      options
    )
    return { during: during !== "", status, signal, left: journals(), closed: result(closed) }
  },

  async stopped() {
    const stopped = service("stop")
    return { stopped, again: service("stop"), after: service("status") }
  },

  async failed() {
    const missing = ["--system", "--profile", "missing"]
    gateway("service", "install", ...missing, "--port", "21828")
    mkdirSync("/etc/systemd/system/gateway-missing.service.d")
    writeFileSync("/etc/systemd/system/gateway-missing.service.d/test.conf", "[Service]\nExecStart=\nExecStart=/bin/false\nRestart=no\n")
    systemctl("daemon-reload")
    return {
      refused: gateway("service", "start", ...missing),
      status: gateway("service", "status", ...missing)
    }
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
    const user = ["--reuid", uid, "--regid", uid, "--groups", "systemd-journal"]
    const mine = (action, ...args) =>
      result(spawnSync("setpriv", [...user, process.execPath, main, "service", action, "--profile", "mine", ...args], {
        ...options,
        env: { ...environment, HOME: home, XDG_RUNTIME_DIR: folder }
      }))
    const installed = mine("install", "--port", "21829")
    const started = mine("start")
    const status = mine("status")
    // The rights that systemd-tmpfiles gives to the group systemd-journal. It does not run here.
    spawnSync("chgrp", ["-R", "systemd-journal", "/run/log/journal"])
    spawnSync("chmod", ["-R", "g+rX", "/run/log/journal"])
    // journald may write the lines a moment later.
    const logs = await until("the journal of the user", () => {
      const logs = mine("logs", "--lines", "all")
      return logs.stdout.includes("Started gateway-mine") ? logs : undefined
    }, 10).catch(() => mine("logs", "--lines", "all"))
    return { manager, installed, started, status, logs, stopped: mine("stop") }
  },

  async withoutManager() {
    // A user whose manager does not run, for example after `su`.
    mkdirSync("/tmp/ordinary/.config/systemd/user", { recursive: true })
    writeFileSync("/tmp/ordinary/.config/systemd/user/gateway-default.service", "[Service]\nExecStart=/bin/true\n")
    spawnSync("chown", ["-R", "65534:65534", "/tmp/ordinary"])
    const ordinary = (...args) =>
      result(spawnSync("setpriv", ["--reuid", "65534", "--regid", "65534", "--clear-groups", process.execPath, main, ...args], {
        ...options,
        env: { PATH: process.env.PATH, HOME: "/tmp/ordinary" },
        cwd: "/"
      }))
    const system = ["--profile", profile]
    return {
      start: ordinary("service", "start"),
      status: ordinary("service", "status"),
      elsewhere: ordinary("service", "status", ...system)
    }
  }
}

console.log(JSON.stringify(await playAll(scenes)))
process.exit(0)
