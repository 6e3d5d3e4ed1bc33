// This script runs as root under a systemd that only this test uses (see with-systemd). It plays the scenes of `gateway exec --ready
// notify` one after the other, and prints what it saw as one JSON object. exec-notify.test.ts checks that object.
import { spawnSync } from "node:child_process"
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { setTimeout as sleep } from "node:timers/promises"
import { main, playAll, show, systemctl, until } from "./systemdSteps.mjs"

mkdirSync("/run/execs")
const selectors = (name, port) => ["--port", String(port), "--state-dir", `/run/execs/${name}`, "--profile", name]
/** Runs the program, and returns what a person sees. */
const gateway = (...words) => {
  const { status, stderr, stdout } = spawnSync(process.execPath, [main, ...words], {
    encoding: "utf8",
    env: { ...process.env, HOME: "/root" }
  })
  return { status, stderr, stdout }
}
const recordOf = (name) => {
  const folder = `/run/execs/${name}/locks`
  try {
    const file = readdirSync(folder).find((one) => /^gateway\.[0-9a-f]{8}\.lock$/.test(one))
    return JSON.parse(readFileSync(`${folder}/${file}`, "utf8"))
  } catch {
    return undefined
  }
}
/** Writes a unit that runs a shell script by `gateway exec`. */
const unitOf = (unit, { flags, name, port, script, service = ["Type=notify", "NotifyAccess=all"] }) => {
  writeFileSync(`/run/execs/${unit}.sh`, script)
  const words = [process.execPath, main, "exec", ...selectors(name, port), ...flags, "--", "/bin/sh", `/run/execs/${unit}.sh`]
  writeFileSync(
    `/etc/systemd/system/${unit}.service`,
    ["[Service]", ...service, "KillMode=mixed", "TimeoutStopSec=10", `StandardError=file:/run/execs/${unit}.log`, `ExecStart=${words.join(" ")}`, ""].join("\n")
  )
  systemctl("daemon-reload")
}
const logOf = (unit) => readFileSync(`/run/execs/${unit}.log`, "utf8")
const ended = (unit) =>
  until(`the end of ${unit}`, () => {
    const seen = show(unit, "ActiveState", "ExecMainStatus", "Result")
    return ["failed", "inactive"].includes(seen.ActiveState) ? seen : undefined
  })

// Waits for a file, then notifies systemd. The port listens before that, by a socket that `--listen` passes.
const notifying = "until test -e /run/execs/go; do sleep 0.05; done\nsystemd-notify --ready --status=mine\nexec sleep infinity\n"

const scenes = {
  async ready() {
    const selected = selectors("ready", 21901)
    unitOf("exec-ready", { name: "ready", port: 21901, flags: ["--ready", "notify", "--listen"], script: notifying })
    systemctl("start", "--no-block", "exec-ready")
    const first = await until("the record", () => recordOf("ready")?.child && recordOf("ready"))
    await sleep(1500)
    const before = {
      ...show("exec-ready", "ActiveState"),
      phase: recordOf("ready").phase,
      rule: first.ready,
      status: gateway("status", ...selected).status,
      health: gateway("health", ...selected).status
    }
    writeFileSync("/run/execs/go", "")
    await until("the phase listening", () => recordOf("ready")?.phase === "listening")
    const status = gateway("status", ...selected)
    const after = {
      ...show("exec-ready", "ActiveState", "StatusText"),
      status: status.status,
      health: gateway("health", ...selected).status
    }
    unitOf("exec-second", { name: "ready", port: 21901, flags: ["--ready", "notify"], script: notifying })
    systemctl("start", "exec-second")
    const second = await ended("exec-second")
    systemctl("stop", "exec-ready")
    return { before, after, text: status.stdout, second, stopped: await ended("exec-ready"), log: logOf("exec-ready") }
  },

  async late() {
    unitOf("exec-late", {
      name: "late",
      port: 21902,
      flags: ["--ready", "notify", "--start-timeout", "1s"],
      script: "exec sleep infinity\n"
    })
    systemctl("start", "exec-late")
    return { seen: await ended("exec-late"), log: logOf("exec-late"), left: existsSync("/run/execs/late/locks") ? readdirSync("/run/execs/late/locks") : [] }
  },

  async unsuitable() {
    const seen = {}
    for (const [name, service] of [["simple", ["Type=simple", "NotifyAccess=all"]], ["main", ["Type=notify", "NotifyAccess=main"]], ["silent", ["Type=exec"]]]) {
      const unit = `exec-${name}`
      unitOf(unit, { name, port: 21903, flags: ["--ready", "notify"], script: "echo started >&2\n", service })
      systemctl("start", unit)
      seen[name] = { ...await ended(unit), log: logOf(unit) }
    }
    return seen
  }
}

console.log(JSON.stringify(await playAll(scenes)))
process.exit(0)
