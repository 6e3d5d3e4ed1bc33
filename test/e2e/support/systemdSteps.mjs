// Steps that the scripts share which run as root under a systemd that only one test uses (see with-systemd). Node runs them as they
// are, without a compiler, because the root file system is read-only.
import { spawnSync } from "node:child_process"
import { cpSync, mkdirSync } from "node:fs"
import { get } from "node:http"
import { dirname } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"

/** The program. It is copied to /run, because a service with a `/tmp` or a user of its own does not see the host's /var/tmp. */
export const main = "/run/installed/dist/main.js"
mkdirSync("/run/installed", { mode: 0o755 })
cpSync(dirname(dirname(process.argv[2])), "/run/installed", { recursive: true })

export const systemctl = (...args) => spawnSync("systemctl", args, { encoding: "utf8" })

/** The properties of a unit, by name. */
export const show = (unit, ...properties) =>
  Object.fromEntries(
    systemctl("show", unit, ...properties.flatMap((property) => ["-p", property])).stdout.trim().split("\n")
      .map((line) => line.split(/=(.*)/s).slice(0, 2))
  )

/** Repeats `check` until its result is truthy. Fails after a time limit. */
export const until = async (what, check, seconds = 30) => {
  const deadline = Date.now() + seconds * 1000
  for (;;) {
    const result = await check()
    if (result) return result
    if (Date.now() > deadline) {
      throw new Error(`waited in vain for ${what}\n${systemctl("status", "gateway-*", "exec-*").stdout}`)
    }
    // A check starts systemctl, which takes more processor time than the gateways do.
    await sleep(100)
  }
}

/** The JSON of the answer on a port; `undefined` if there is none. */
export const ask = (port, path = "/") =>
  new Promise((resolve) => {
    get({ host: "127.0.0.1", port, path, agent: false, timeout: 1000 }, (response) => {
      let body = ""
      response.on("data", (chunk) => body += chunk).on("end", () => {
        try {
          resolve(JSON.parse(body))
        } catch {
          resolve(undefined)
        }
      })
    }).on("error", () => resolve(undefined)).on("timeout", function() {
      this.destroy()
    })
  })

/** Plays scenes one after the other. A scene that fails leaves its error instead of what it saw. */
export const playAll = async (scenes) => {
  const seen = {}
  for (const [name, play] of Object.entries(scenes)) {
    try {
      seen[name] = await play()
    } catch (error) {
      seen[name] = { error: String(error?.stack ?? error) }
    }
  }
  return seen
}
