import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { randomBytes } from "node:crypto"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import * as Execs from "./support/execs.ts"
import * as Gateways from "./support/gateways.ts"
import * as Namespaces from "./support/namespaces.ts"
import * as Ports from "./support/ports.ts"
import * as Program from "./support/program.ts"

const sh = (script: string, ...args: ReadonlyArray<string>) => ["sh", "-c", script, "sh", ...args]

describe("gateway exec ends as its command", () => {
  it.scopedLive.each([0, 1, 75, 255])("with exit status %d", (status) =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const { code, signal, stderr, stdout } = yield* Execs.run(site, sh(`exit ${status}`))
      assert.deepStrictEqual({ code, signal, stdout }, { code: status, signal: null, stdout: "" }, stderr)
      assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), [])
    }))

  // SIGQUIT and SIGSEGV would make the kernel write core files. `ulimit -c 0` keeps it from that.
  it.scopedLive.each(["TERM", "INT", "HUP", "QUIT", "PIPE", "SEGV", "KILL", "USR1"])(
    "by SIG%s, which the parent of the wrapper sees",
    (name) =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const { code, signal, stderr } = yield* Execs.run(site, sh(`kill -${name} $$`), {
          under: ["sh", "-c", "ulimit -c 0; exec \"$@\"", "sh"]
        })
        assert.deepStrictEqual({ code, signal }, { code: null, signal: `SIG${name}` }, stderr)
        assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), [])
      })
  )

  it.scopedLive.skipIf(Program.noNamespaces !== undefined)(
    Program.named("with 128 + n as pid 1 of a PID namespace", Program.noNamespaces),
    () =>
      Effect.gen(function*() {
        const statuses = {
          HUP: 129,
          INT: 130,
          QUIT: 131,
          ABRT: 134,
          KILL: 137,
          USR1: 138,
          SEGV: 139,
          PIPE: 141,
          ALRM: 142,
          TERM: 143,
          XCPU: 152
        }
        for (const [name, status] of Object.entries(statuses)) {
          const site = yield* Gateways.newSite
          const ended = yield* Execs.run(site, sh(`kill -${name} $$`), {
            under: [...Namespaces.pid, "sh", "-c", "ulimit -c 0; exec \"$@\"", "sh"]
          })
          assert.deepStrictEqual([name, ended.code, ended.signal], [name, status, null], ended.stderr)
          assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), [])
        }
      })
  )

  it.scopedLive("with 127 if there is no such program, and 126 if it cannot be executed", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const missing = yield* Execs.run(site, ["no-such-program"])
      assert.strictEqual(missing.code, 127, missing.stderr)
      assert.include(missing.stderr, "\"no-such-program\": there is no such program; check its name and PATH")
      const file = Path.join(site.root, "file")
      yield* Effect.promise(() => Fs.writeFile(file, "", { mode: 0o644 }))
      const closed = yield* Execs.run(site, [file])
      assert.strictEqual(closed.code, 126, closed.stderr)
      assert.include(closed.stderr, `${JSON.stringify(file)}: it cannot be executed; check its mode bits`)
      assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), [])
    }))
})

describe("the command of gateway exec", () => {
  it.scopedLive.each(["exec true", "exec --", "exec -- ", "exec"])(
    "is missing in \"%s\": usage error",
    (line) =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const { code, stderr, stdout } = yield* Gateways.run(site, { args: line.split(" ") })
        assert.deepStrictEqual({ code, stdout }, { code: 64, stdout: "" }, stderr)
        assert.match(stderr, /^gateway: exec needs .*gateway exec --help"\n$/)
      })
  )

  it.scopedLive("gets its arguments unchanged: spaces, quotes, newlines, dashes and empty words", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const words = ["a b", "'", "\"", "$HOME `id` \\", "line\nline\n", "", "--", "--port", "1", "-h", "*", "ä€"]
      const print = ["node", "-e", "console.log(JSON.stringify(process.argv.slice(1)))", "--", ...words]
      const { code, stderr, stdout } = yield* Execs.run(site, print)
      assert.strictEqual(code, 0, stderr)
      assert.deepStrictEqual(JSON.parse(stdout), words)
    }))

  it.scopedLive("reads the wrapper's stdin, and its stdout is passed on byte for byte", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const bytes = randomBytes(2 ** 20)
      yield* Effect.promise(() => Fs.writeFile(Path.join(site.root, "in"), bytes))
      // If the wrapper opened `process.stdin` or `process.stdout`, Node would make that pipe non-blocking. `cat` shares this mode
      // and would fail with EAGAIN. On a file, the mode has no effect and this test would not notice it. So both ends are pipes.
      const ended = yield* Execs.run(site, ["cat"], { under: ["sh", "-c", "cat in | \"$@\" | cat > out", "sh"] })
      assert.strictEqual(ended.code, 0, ended.stderr)
      assert.isTrue(bytes.equals(yield* Effect.promise(() => Fs.readFile(Path.join(site.root, "out")))))
    }))

  it.scopedLive("runs with a closed stdout, and its status passes", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const { code, stderr } = yield* Execs.run(site, sh("exit 3"), {
        under: ["sh", "-c", "exec \"$@\" >&- <&-", "sh"]
      })
      assert.strictEqual(code, 3, stderr)
    }))

  it.scopedLive("ends by SIGPIPE if the reader of its stdout ends, and so does the wrapper", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const reader = ["bash", "-c", "\"$@\" | head -n 1; exit ${PIPESTATUS[0]}", "bash"]
      const { code, stderr, stdout } = yield* Execs.run(site, ["yes"], { under: reader })
      assert.deepStrictEqual({ code, stdout }, { code: 128 + 13, stdout: "y\n" }, stderr)
    }))

  it.scopedLive("has the port, the lock and the instance in its environment, and no secret", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const withheld = {
        GATEWAY_TOKEN: "secret-of-the-gateway-".padEnd(40, "x"),
        NOTIFY_SOCKET: "/nowhere",
        WATCHDOG_USEC: "1000000",
        WATCHDOG_PID: "1",
        LISTEN_PID: "1",
        LISTEN_FDS: "1",
        LISTEN_FDNAMES: "web",
        LISTEN_PIDFDID: "1"
      }
      const print = [
        "node",
        "-e",
        "console.log(JSON.stringify([process.env, fs.readFileSync(process.argv[1], 'utf8')]))"
      ]
      const { code, stderr, stdout } = yield* Execs.run(site, [...print, Gateways.configLock(site)], {
        env: { ...withheld, KEPT: "as it is" },
        flags: ["--supervisor", "none"]
      })
      assert.strictEqual(code, 0, stderr)
      const [environment, content] = JSON.parse(stdout)
      const record = JSON.parse(content)
      assert.strictEqual(environment.PORT, String(site.port))
      assert.strictEqual(environment.GATEWAY_LOCK_PATH, Gateways.configLock(site))
      assert.strictEqual(environment.GATEWAY_INSTANCE_ID, record.instanceId)
      assert.strictEqual(environment.KEPT, "as it is")
      for (const name of Object.keys(withheld)) assert.notProperty(environment, name)
    }))

  it.scopedLive("finds only the lock files and a pipe open, at the descriptors from 20 on", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      // The shell itself expands `*`. A program such as `ls` would open the folder under one more descriptor.
      const { stderr, stdout } = yield* Execs.run(site, sh("cd /proc/$$/fd; echo *"))
      const descriptors = stdout.trim().split(" ").filter((name) => name !== "10" && name !== "255").map(Number)
      const inherited = Program.kernelLocks ? [20, 21, 22] : []
      assert.deepStrictEqual(
        descriptors.toSorted((a, b) => a - b).filter((fd) => fd > 3 && fd < 100),
        inherited,
        stderr
      )
    }))

  it.scopedLive("is named in the record, with the wrapper as the owner", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const { pid, wrapper } = yield* Execs.startChild(site, ["listen"])
      yield* Execs.untilRecord(site, "the phase listening", ({ phase }) => phase === "listening")
      for (const path of [Gateways.configLock(site), Gateways.stateLock(site)]) {
        const record = yield* Gateways.readRecord(path)
        assert.deepInclude(record, { pid: wrapper.pid, mode: "exec", ready: "port", inheritsLock: true })
        assert.strictEqual(record.child?.pid, pid)
      }
      yield* wrapper.signal("SIGUSR1")
      yield* Gateways.assertGone(site, yield* wrapper.ended)
    }))

  it.scopedLive("with --no-port gets no PORT, and does not ask whether the port is free", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const other = { ...(yield* Gateways.newSite), port: site.port }
      const holder = yield* Execs.startChild(other, ["listen"])
      const { code, stderr, stdout } = yield* Execs.run(site, sh("echo \"${PORT-unset}\""), { flags: ["--no-port"] })
      assert.deepStrictEqual({ code, stdout }, { code: 0, stdout: "unset\n" }, stderr)
      assert.isFalse(yield* Ports.isFree(site.port))
      yield* holder.wrapper.signal("SIGUSR1")
      yield* holder.wrapper.ended
    }))
})
