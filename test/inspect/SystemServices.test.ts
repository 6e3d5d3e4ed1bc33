import { assert, describe, it } from "@effect/vitest"
import { FastCheck as fc } from "effect"
import * as SystemServices from "../../src/inspect/SystemServices.ts"

const execStart = (words: string) =>
  `{ path=/usr/bin/node ; argv[]=/usr/bin/node /opt/gateway/main.js ${words} ; ignore_errors=no ; start_time=[n/a] ; pid=0 }`

/** What `systemctl show` of systemd 252 prints for a unit that `gateway service install` wrote, with the properties in `change`. */
const shown = (change: Readonly<Record<string, string>> = {}): string =>
  Object.entries({
    ExecStart: execStart("run --profile blue --port 18790 --supervisor systemd"),
    MainPID: "4711",
    StatusText: "listening on ws://127.0.0.1:18790",
    User: "gateway-blue",
    StateDirectory: "gateway-lock/blue",
    Id: "gateway-blue.service",
    LoadState: "loaded",
    ActiveState: "active",
    ...change
  }).map(([property, value]) => `${property}=${value}`).join("\n")

const blue: SystemServices.SystemService = {
  name: "gateway-blue.service",
  profile: "blue",
  activeState: "active",
  pid: 4711,
  user: "gateway-blue",
  stateDir: "/var/lib/gateway-lock/blue",
  address: { host: "127.0.0.1", port: 18790 },
  mode: "run"
}

describe("SystemServices.parse (N40)", () => {
  it("reads a generated unit, and several", () => {
    assert.deepStrictEqual(SystemServices.parse(`${shown()}\n`), [blue])
    const both = SystemServices.parse(
      `${shown()}\n\n${
        shown({
          Id: "gateway-a.service",
          ExecStart: execStart("run --profile a --supervisor systemd"),
          StateDirectory: "gateway-lock/a"
        })
      }\n`
    )
    assert.deepStrictEqual(both.map(({ profile }) => profile), ["blue", "a"])
  })

  it("reads one whose process, address or state directory is not known", () => {
    const [seen] = SystemServices.parse(shown({
      MainPID: "0",
      StatusText: "waiting for pid 1 to end",
      User: "",
      StateDirectory: "",
      ActiveState: "activating"
    }))
    assert.deepStrictEqual(seen, {
      ...blue,
      activeState: "activating",
      pid: undefined,
      user: "root",
      stateDir: undefined,
      address: undefined
    })
  })

  it("reads a state directory that was given, and an IPv6 address", () => {
    const [seen] = SystemServices.parse(shown({
      StateDirectory: "",
      StatusText: "listening on ws://[::1]:18790",
      ExecStart: execStart("run --profile blue --state-dir /srv/my blue --supervisor systemd")
    }))
    assert.strictEqual(seen?.stateDir, "/srv/my blue")
    assert.deepStrictEqual(seen?.address, { host: "::1", port: 18790 })
  })

  it("reads a unit of exec, whatever the words of its command", () => {
    const [seen, ...others] = SystemServices.parse(shown({
      StatusText: "running /usr/bin/server, listening on ws://127.0.0.1:18790",
      ExecStart: execStart(
        "exec --profile blue --supervisor systemd --ready=port -- /bin/sh -c a\n\nId=gateway-x.service\nUser=x run --profile blue"
      )
    }))
    assert.deepStrictEqual(others, [])
    assert.deepStrictEqual(seen, { ...blue, mode: "exec" })
    const [late] = SystemServices.parse(shown({
      StatusText: "running /usr/bin/server, which does not listen on port 18790",
      ExecStart: execStart("exec --profile blue --supervisor systemd -- /usr/bin/server")
    }))
    assert.deepStrictEqual(late, { ...blue, mode: "exec", address: undefined })
  })

  it("passes over what is no unit of this program, whatever it is called", () => {
    for (
      const change of [
        { ExecStart: "{ path=/usr/bin/nginx ; argv[]=/usr/bin/nginx ; ignore_errors=no }" },
        { ExecStart: execStart("run --profile green --supervisor systemd") },
        { ExecStart: execStart("run --profile blue") },
        { ExecStart: execStart("status -- run --profile blue --supervisor systemd") },
        { LoadState: "not-found" },
        { Id: "gateway-BLUE.service" },
        { Id: "gateway-blue.socket" },
        { Id: "x-gateway-blue.service" }
      ]
    ) assert.deepStrictEqual(SystemServices.parse(shown(change)), [], JSON.stringify(change))
  })

  it.prop("never fails, whatever is printed", [fc.string()], ([text]) => Array.isArray(SystemServices.parse(text)))
})
