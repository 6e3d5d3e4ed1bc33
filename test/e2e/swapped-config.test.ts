import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { notLinux, unless } from "../fixtures/skips.ts"
import * as Gateways from "./support/gateways.ts"

/** A config file behind a symbolic link. `swap` changes the link, so that it leads to the next version of the config. */
interface Place {
  readonly site: Gateways.Site
  readonly swap: Effect.Effect<void>
  /** Removes the version of the config to which the link led before `swap`. */
  readonly removeOld: Effect.Effect<void>
}

/**
 * A config in a Kubernetes ConfigMap volume, with the links that kubelet's AtomicWriter makes: `gateway.json` leads to
 * `..data/gateway.json`, and `..data` leads to the folder `..<time>`. A swap renames a new link, `..data_tmp`, over `..data`.
 */
const configMap = Effect.gen(function*() {
  const site = yield* Gateways.newSite
  const volume = Path.join(site.root, "volume")
  const version = (name: string) => Path.join(volume, `..2026_01_01_00_00_0${name}`)
  const write = async (name: string) => {
    await Fs.mkdir(version(name), { recursive: true })
    await Fs.writeFile(Path.join(version(name), "gateway.json"), "{}")
  }
  yield* Effect.promise(async () => {
    await write("1")
    await Fs.symlink(Path.basename(version("1")), Path.join(volume, "..data"))
    await Fs.symlink("..data/gateway.json", Path.join(volume, "gateway.json"))
  })
  return {
    site: { ...site, configPath: Path.join(volume, "gateway.json") },
    swap: Effect.promise(async () => {
      await write("2")
      await Fs.symlink(Path.basename(version("2")), Path.join(volume, "..data_tmp"))
      await Fs.rename(Path.join(volume, "..data_tmp"), Path.join(volume, "..data"))
    }),
    removeOld: Effect.promise(() => Fs.rm(version("1"), { recursive: true }))
  } satisfies Place
})

/** A config in `releases/1`, reached by the link `current`. A swap lets this link lead to the next release. */
const releases = Effect.gen(function*() {
  const site = yield* Gateways.newSite
  const release = (number: number) => Path.join(site.root, "releases", String(number))
  const current = Path.join(site.root, "current")
  const write = async (number: number) => {
    await Fs.mkdir(release(number), { recursive: true })
    await Fs.writeFile(Path.join(release(number), "gateway.json"), "{}")
  }
  yield* Effect.promise(async () => {
    await write(1)
    await Fs.symlink(release(1), current)
  })
  return {
    site: { ...site, configPath: Path.join(current, "gateway.json") },
    swap: Effect.promise(async () => {
      await write(2)
      await Fs.symlink(release(2), `${current}.new`)
      await Fs.rename(`${current}.new`, current)
    }),
    removeOld: Effect.promise(() => Fs.rm(release(1), { recursive: true }))
  } satisfies Place
})

/**
 * A config file at the default path of the profile `default`. The file is a symbolic link into a store, as home-manager creates
 * it.
 */
const store = Effect.gen(function*() {
  const site = yield* Gateways.newSite
  const configPath = Path.join(site.root, ".config/gateway-lock/default/gateway.json")
  const generation = (name: string) => Path.join(site.root, `store-${name}.json`)
  yield* Effect.promise(async () => {
    await Fs.mkdir(Path.dirname(configPath), { recursive: true })
    await Fs.writeFile(generation("a"), "{}")
    await Fs.symlink(generation("a"), configPath)
  })
  return {
    site: { ...site, configPath },
    swap: Effect.promise(async () => {
      await Fs.writeFile(generation("b"), "{}")
      await Fs.rm(configPath)
      await Fs.symlink(generation("b"), configPath)
    }),
    removeOld: Effect.promise(() => Fs.rm(generation("a")))
  } satisfies Place
})

const kinds = [
  ["a ConfigMap volume whose ..data is swapped", configMap],
  ["a release link that leads to the next release", releases],
  ["a default config that is a link into a store", store]
] as const

/** The flags that select the gateway. If the config is at the default path, `--config` is left out. */
const words = ({ configPath, port, root, stateDir }: Gateways.Site) => [
  "--port",
  String(port),
  "--state-dir",
  stateDir,
  ...(configPath.startsWith(Path.join(root, ".config")) ? [] : ["--config", configPath])
]

const ask = (site: Gateways.Site, ...command: ReadonlyArray<string>) =>
  Gateways.run(site, { args: [...command, ...words(site)] })

/** Checks that `status`, `health`, `doctor`, `run --ensure` and `list` find the gateway of `site`, and that it has the pid `pid`. */
const assertSeen = (site: Gateways.Site, pid: number) =>
  Effect.gen(function*() {
    for (const command of [["status"], ["health"], ["doctor"], ["run", "--ensure"]]) {
      const { code, stderr, stdout } = yield* ask(site, ...command)
      assert.deepStrictEqual({ command, code }, { command, code: 0 }, stdout + stderr)
    }
    const { stdout } = yield* ask(site, "status", "--json")
    const status: unknown = JSON.parse(stdout)
    assert.deepInclude(status, { verdict: "running", warnings: [] })
    assert.notProperty(status, "stateLock")
    const list = yield* Gateways.run(site, { args: ["list"] })
    const rows = list.stdout.split("\n").filter((row) => row.includes(site.stateDir))
    assert.strictEqual(rows.length, 1, list.stdout)
    assert.match(rows[0] ?? "", new RegExp(` running +pid ${pid} `))
  })

unless(notLinux).describe("with", () => {
  for (const [what, make] of kinds) {
    it.scopedLive(`${what} while it runs, a gateway stays the same for all that look, and is stopped`, () =>
      Effect.gen(function*() {
        const { removeOld, site, swap } = yield* make
        const gateway = yield* Gateways.startListening(site, { args: words(site) })
        const record = yield* Gateways.readRecord(Gateways.stateLock(site))
        assert.strictEqual(record.configName, site.configPath)
        assert.notStrictEqual(record.configPath, site.configPath)
        yield* assertSeen(site, gateway.pid)
        yield* swap
        yield* assertSeen(site, gateway.pid)
        yield* removeOld
        yield* assertSeen(site, gateway.pid)
        const { code, stderr, stdout } = yield* ask(site, "stop")
        assert.strictEqual(code, 0, stderr)
        assert.include(stdout, `stopped gateway on ${Gateways.url(site)} (pid ${gateway.pid})`)
        yield* Gateways.assertGone(site, yield* gateway.ended)
      }))

    it.scopedLive(`${what} while it runs, a second start beside a gateway is refused as ever`, () =>
      Effect.gen(function*() {
        const { removeOld, site, swap } = yield* make
        const gateway = yield* Gateways.startListening(site, { args: words(site) })
        yield* swap
        yield* removeOld
        const second = yield* ask(site, "run")
        Gateways.assertRefused(second, `another gateway instance is already listening on ${Gateways.url(site)}`)
        const facts = Gateways.facts(second)
        assert.strictEqual(facts["held by"], `pid ${gateway.pid} (node)`)
        assert.include(facts["to stop it"] ?? "", "gateway stop ")
        assert.notMatch(second.stderr, /--config \S*(?:\.\.2026|releases|store-a)/)
        const elsewhere = yield* ask(yield* Gateways.onAnotherPort(site), "run")
        Gateways.assertRefused(elsewhere, `gateway already running (pid ${gateway.pid}) on ${Gateways.url(site)}`)
        for (const [supervisor, status] of [["systemd", 78], ["external", 0]] as const) {
          const supervised = yield* ask(site, "run", "--supervisor", supervisor)
          assert.strictEqual(supervised.code, status, supervised.stderr)
          assert.include(supervised.stderr, "existing gateway is healthy")
        }
        // The first error advises a command (`gateway stop …`). The test runs that command with exactly the arguments that the error
        // shows.
        const stop = (facts["to stop it"] ?? "").split(" ").slice(1)
        assert.strictEqual((yield* Gateways.run(site, { args: stop })).code, 0)
        yield* Gateways.assertGone(site, yield* gateway.ended)
      }))
  }

  it.scopedLive("a swapped config, run --force ends the owner and starts in its place", () =>
    Effect.gen(function*() {
      const { removeOld, site, swap } = yield* configMap
      const first = yield* Gateways.startListening(site, { args: words(site) })
      yield* swap
      yield* removeOld
      const second = yield* Gateways.startListening(site, { args: ["run", "--force", ...words(site)] })
      yield* Gateways.assertClean(yield* first.ended)
      yield* assertSeen(site, second.pid)
    }))

  it.scopedLive("a config swapped back after a crash, the owner of the other version is still the one that is seen", () =>
    Effect.gen(function*() {
      const { site, swap } = yield* releases
      const current = Path.dirname(site.configPath)
      const first = yield* Gateways.startListening(site, { args: words(site) })
      yield* Gateways.stop(first, "SIGKILL")
      yield* swap
      const second = yield* Gateways.startListening(site, { args: words(site) })
      yield* Effect.promise(async () => {
        await Fs.symlink(Path.join(site.root, "releases", "1"), `${current}.new`)
        await Fs.rename(`${current}.new`, current)
      })
      // The name of a lock file comes from the path to which the config's link leads. The second gateway made its lock file while
      // the link led to another version. Now the link leads to the first version again, and the commands must still find that
      // lock file.
      for (const command of [["status"], ["health"], ["run", "--ensure"], ["stop"]]) {
        const { code, stderr, stdout } = yield* ask(site, ...command)
        assert.deepStrictEqual({ command, code }, { command, code: 0 }, stdout + stderr)
      }
      yield* Gateways.assertClean(yield* second.ended)
    }))

  it.scopedLive("another config of the same state directory, nothing is taken for it", () =>
    Effect.gen(function*() {
      const { site } = yield* configMap
      yield* Gateways.startListening(site, { args: words(site) })
      const other = yield* Effect.flatMap(Gateways.withConfig(site, "other.json"), Gateways.onAnotherPort)
      assert.strictEqual((yield* ask(other, "status")).code, 3)
      assert.strictEqual((yield* ask(other, "health")).code, 1)
      const { code, stdout } = yield* ask(other, "stop")
      assert.deepStrictEqual({ code, stdout }, { code: 0, stdout: "gateway is not running\n" })
      yield* assertSeen(site, (yield* Gateways.readRecord(Gateways.stateLock(site))).pid)
    }))
})
