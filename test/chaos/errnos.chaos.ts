/**
 * Makes each file and socket call of a gateway fail, once or permanently, with each errno that this call can return. The gateway
 * must either serve nevertheless, or name the problem and end.
 */
import { assert, describe, it } from "@effect/vitest"
import { Array, Effect, Option, Schedule } from "effect"
import * as Os from "node:os"
import * as Clients from "../e2e/support/clients.ts"
import * as Gateways from "../e2e/support/gateways.ts"
import * as Program from "../e2e/support/program.ts"
import * as Strace from "./support/strace.ts"
import * as Sweep from "./support/sweep.ts"

/** The errnos that are tested for each call: those of its manual page, and those that some file systems return. */
const errnos: Readonly<Record<string, ReadonlyArray<string>>> = {
  mkdir: ["EACCES", "ENOSPC", "EROFS", "EDQUOT"],
  readlink: ["EACCES", "EIO"],
  statx: ["EACCES", "EIO"],
  openat: ["EACCES", "EMFILE", "ENFILE", "EIO", "EINTR"],
  "openat(O_CREAT)": ["EACCES", "EMFILE", "EIO", "EINTR", "EROFS", "ENOSPC", "EDQUOT"],
  // EACCES is left out, because it is not an error here: POSIX allows this errno if another process holds the lock.
  fcntl: ["ENOLCK", "EOPNOTSUPP", "EINVAL", "EIO", "EINTR"],
  pread64: ["EIO", "EINTR"],
  pwrite64: ["ENOSPC", "EIO", "EDQUOT", "EINTR"],
  ftruncate: ["EIO", "EINTR"],
  fsync: ["EIO", "ENOSPC", "EDQUOT", "EINVAL"],
  close: ["EIO", "EINTR", "EDQUOT"],
  rename: ["EACCES", "EBUSY", "EIO", "ENOSPC", "EROFS"],
  link: ["EPERM", "EACCES", "EIO", "ENOSPC", "EMLINK"],
  unlink: ["EACCES", "EBUSY", "EROFS"],
  // The gateway makes these two calls when it lists a folder.
  newfstatat: ["EIO", "ENOMEM"],
  getdents64: ["EIO", "ENOENT"],
  socket: ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"],
  connect: ["ECONNRESET", "ETIMEDOUT", "ENETUNREACH", "EADDRNOTAVAIL", "EACCES", "EINTR"],
  setsockopt: ["ENOBUFS"],
  bind: ["EADDRINUSE", "EACCES", "EADDRNOTAVAIL", "ENOMEM"],
  listen: ["EADDRINUSE", "EOPNOTSUPP"],
  accept4: ["EMFILE", "ENFILE", "ECONNABORTED", "ENOMEM", "EINTR"],
  shutdown: ["ENOTCONN"]
}

/**
 * On an open socket, these calls only copy data of the kernel, so they cannot fail in practice. Node does not handle a failure
 * of them. So the test does not make them fail, and `errnos` lists none for them.
 */
const infallible = new Set(["getsockopt", "getsockname", "getpeername"])

const errnosOf = ({ label, name }: Strace.Point): ReadonlyArray<string> =>
  errnos[label.slice(0, label.indexOf(" "))] ?? errnos[name] ?? []

interface Failure {
  readonly point: Strace.Point
  readonly tamper: Strace.Tamper
}

const describeFailure = ({ point, tamper }: Failure): string =>
  `${point.phase} ${point.label} #${point.ordinal}${
    tamper._tag === "Fail" ? ` ${tamper.errno}${tamper.always ? " from then on" : ""}` : " did nothing"
  }`

/** Failures of a single call: each call fails once with each of its errnos. */
const once = (points: ReadonlyArray<Strace.Point>): ReadonlyArray<Failure> =>
  points.flatMap((point) =>
    errnosOf(point).map((errno) => ({ point, tamper: { _tag: "Fail", errno, always: false } as const }))
  )

/**
 * The calls without which no gateway can serve. The test lets single calls of these kinds fail, but never all calls of a kind. If
 * every `close` fails, not even Node can start.
 */
const boundToServe = new Set(["sockets accept4", "sockets close"])

/**
 * Permanent failures: all calls of one kind fail with one errno, as on a full disk or in a folder that became read-only.
 *
 * `EINTR` is left out. No kernel interrupts every call, and Node would retry without limit.
 */
const forGood = (points: ReadonlyArray<Strace.Point>): ReadonlyArray<Failure> =>
  Array.dedupeWith(points, (a, b) => a.filter === b.filter && a.name === b.name).flatMap((point) =>
    boundToServe.has(`${point.filter} ${point.name}`) ? [] : errnosOf(point).flatMap((errno) =>
      errno === "EINTR"
        ? []
        : [{ point: { ...point, ordinal: 1 }, tamper: { _tag: "Fail", errno, always: true } as const }]
    )
  )

/**
 * Checks that the gateway serves: its health answer has the instance id that the record in its lock file names. The first
 * connections may fail because of the injected errors.
 */
const served = (site: Gateways.Site) =>
  Effect.gen(function*() {
    const answered = yield* Clients.instanceIdOf(site).pipe(
      Effect.sandbox,
      Effect.retry(Schedule.intersect(Schedule.spaced("100 millis"), Schedule.recurs(10))),
      Effect.orDie
    )
    assert.strictEqual((yield* Gateways.readRecord(Gateways.configLock(site))).instanceId, answered)
  })

/**
 * The texts by which an error message can name an errno. The text can come from the system, from Node or from the gateway. For an
 * errno that libuv does not know, Node shows only the number.
 */
const wordsFor = (errno: string, text: string): ReadonlyArray<string> => {
  const number = Object.entries(Os.constants.errno).find(([name]) => name === errno)?.[1]
  return [
    errno,
    /\(([^()]+)\) \(INJECTED\)/.exec(text)?.[1] ?? errno,
    `system error -${number ?? errno}`,
    ...(errno === "EADDRINUSE" ? ["already listening"] : []),
    ...(errno === "EOPNOTSUPP" ? ["ENOTSUP"] : [])
  ]
}

/**
 * Checks the message of a gateway that refused to start. The first line names the error and the place, which is a path or the
 * port. The cause is in that line or in a line after it.
 */
const assertExplained = (site: Gateways.Site, stderr: string, tamper: Strace.Tamper, injected: string): void => {
  const lines = stderr.split("\n").filter((line) => !/level=WARN .*(no kernel lock for|could not remove) /.test(line))
  assert.match(lines[0] ?? "", /^GatewayLockError: /, stderr)
  assert.isTrue([site.stateDir, `:${site.port}`].some((place) => lines[0]?.includes(place)), stderr)
  if (tamper._tag !== "Fail") return
  const words = wordsFor(tamper.errno, injected)
  assert.isTrue(
    words.some((word) => stderr.toLowerCase().includes(word.toLowerCase())),
    `${words.join(" / ")}: ${stderr}`
  )
}

const failAt = (stage: Sweep.Stage, scene: Sweep.Scene, { point, tamper }: Failure) =>
  Effect.gen(function*() {
    const { site } = stage
    for (let run = 1; run <= Sweep.tries; run++) {
      if (run > 1) yield* stage.reset
      const { calls, ended, visited } = yield* Sweep.runTraced(stage, () => served(site), point.filter, {
        point,
        tamper
      })
      const hit = Strace.findHit(site, point, tamper, calls)
      if (hit === undefined) continue
      const outcome = Option.isSome(visited) ? "served" : "refused"
      if (outcome === "served") yield* Gateways.assertClean(ended)
      else {
        assert.strictEqual(ended.code, 1, ended.stderr)
        assertExplained(site, ended.stderr, tamper, hit.text)
      }
      yield* Sweep.assertPortFree(site)
      const names = yield* Gateways.namesIn(Gateways.locksFolder(site))
      const sizes = yield* Sweep.sizesIn(Gateways.locksFolder(site))
      if (names.length === 0) return `${outcome}, left nothing`
      const next = yield* Sweep.assertNextStartSucceeds(stage)
      if (outcome === "refused" && scene === "a start after a crash") return `refused, left what it found; ${next}`
      // Another process could have locked the new file in the moment after its creation. So the refused start does not remove
      // the file, which has no record yet.
      if (outcome === "refused" && sizes.every((size) => size === 0)) return `refused, left an empty file; ${next}`
      // A claim is the file with which a start reserves the right to reclaim a lock. The claim of a process that has ended has
      // no effect. So a start need not report that it left a claim.
      if (names.every((name) => name.endsWith(".reclaim"))) return `${outcome}, left its claim; ${next}`
      assert.match(ended.stderr, /could not remove gateway lock /)
      return `${outcome}, left files and said so; ${next}`
    }
    return yield* Effect.dieMessage(`not reached in ${Sweep.tries} runs`)
  })

const watchAll = (stage: Sweep.Stage) =>
  Effect.map(
    Effect.all([Sweep.watch(stage, "files"), Sweep.watch(stage, "sockets", () => served(stage.site))]),
    Array.flatten
  )

describe("any system call that fails", () => {
  for (const mode of [...Sweep.modes, Sweep.blocking]) {
    const title = mode.title ?? mode.name
    it.scopedLive.skipIf(mode.unavailable !== undefined)(
      Program.named(`is survived or explained: ${title}`, mode.unavailable),
      () =>
        Effect.gen(function*() {
          const main = yield* mode.main
          const first = yield* watchAll(yield* Sweep.makeStage(mode, main, "a first start"))
          // For the start after a crash, the test uses only the calls that a first start does not make, one call of each kind.
          const reclaim = Array.dedupeWith(
            (yield* watchAll(yield* Sweep.makeStage(mode, main, "a start after a crash")))
              .filter(({ label }) => first.every((point) => point.label !== label)),
            (a, b) => a.label === b.label
          )
          const unknown = [...first, ...reclaim].filter((point) =>
            errnosOf(point).length === 0 && !infallible.has(point.name)
          )
          assert.deepStrictEqual(unknown, [])

          const sweep = (scene: Sweep.Scene, failures: ReadonlyArray<Failure>) =>
            Effect.flatMap(
              Sweep.sweep(
                failures,
                Sweep.makeStage(mode, main, scene),
                (stage, failure) => Sweep.result(describeFailure(failure), failAt(stage, scene, failure))
              ),
              (results) => Sweep.conclude(`errno x call, ${title}, ${scene}`, results)
            )
          yield* sweep("a first start", [...once(first), ...forGood(first)])
          yield* sweep("a start after a crash", once(reclaim))
        })
    )
  }
})
