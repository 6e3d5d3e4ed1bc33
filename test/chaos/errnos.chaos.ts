/**
 * Makes each file and socket call fail, once or permanently, with each of its errors. The gateway must serve anyway, or name
 * the problem and end.
 */
import { assert, describe, it } from "@effect/vitest"
import { Array, Effect, Option, Schedule } from "effect"
import * as Os from "node:os"
import * as Clients from "../e2e/support/clients.ts"
import * as Gateways from "../e2e/support/gateways.ts"
import * as Program from "../e2e/support/program.ts"
import * as Strace from "./support/strace.ts"
import * as Sweep from "./support/sweep.ts"

/** The errors of each call: those of its manual page, and those that file systems are known to give. */
const errnos: Readonly<Record<string, ReadonlyArray<string>>> = {
  mkdir: ["EACCES", "ENOSPC", "EROFS", "EDQUOT"],
  readlink: ["EACCES", "EIO"],
  statx: ["EACCES", "EIO"],
  openat: ["EACCES", "EMFILE", "ENFILE", "EIO", "EINTR"],
  "openat(O_CREAT)": ["EACCES", "EMFILE", "EIO", "EINTR", "EROFS", "ENOSPC", "EDQUOT"],
  // EACCES is left out: POSIX allows it for a lock that another process holds.
  fcntl: ["ENOLCK", "EOPNOTSUPP", "EINVAL", "EIO", "EINTR"],
  pread64: ["EIO", "EINTR"],
  pwrite64: ["ENOSPC", "EIO", "EDQUOT", "EINTR"],
  ftruncate: ["EIO", "EINTR"],
  fsync: ["EIO", "ENOSPC", "EDQUOT", "EINVAL"],
  close: ["EIO", "EINTR", "EDQUOT"],
  rename: ["EACCES", "EBUSY", "EIO", "ENOSPC", "EROFS"],
  link: ["EPERM", "EACCES", "EIO", "ENOSPC", "EMLINK"],
  unlink: ["EACCES", "EBUSY", "EROFS"],
  // Both calls are made on a folder that is listed.
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
 * On an open socket these calls only copy data of the kernel. They cannot fail in practice, and Node does not handle a
 * failure.
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

/** Each call, failing once with each of its errors. */
const once = (points: ReadonlyArray<Strace.Point>): ReadonlyArray<Failure> =>
  points.flatMap((point) =>
    errnosOf(point).map((errno) => ({ point, tamper: { _tag: "Fail", errno, always: false } as const }))
  )

/** If these calls fail permanently, no gateway can serve; without `close`, not even Node can start. */
const boundToServe = new Set(["sockets accept4", "sockets close"])

/**
 * Each kind of call, failing permanently with each of its errors: for example a full disk, or a folder that became read-only.
 * `EINTR` is left out, because no kernel interrupts every call, and Node retries without limit.
 */
const forGood = (points: ReadonlyArray<Strace.Point>): ReadonlyArray<Failure> =>
  Array.dedupeWith(points, (a, b) => a.filter === b.filter && a.name === b.name).flatMap((point) =>
    boundToServe.has(`${point.filter} ${point.name}`) ? [] : errnosOf(point).flatMap((errno) =>
      errno === "EINTR"
        ? []
        : [{ point: { ...point, ordinal: 1 }, tamper: { _tag: "Fail", errno, always: true } as const }]
    )
  )

/** Whether the gateway serves: its own instance answers. The first connections may fail. */
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
 * The texts for an errno: the system's, Node's and the gateway's. libuv has no name for some errnos, and gives their number.
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
 * Checks that the first line says that the gateway refuses to start, and where. The cause is in that line or among the facts.
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
      // Between its creation and its lock, another process may have locked the new file. The refused start leaves it, without
      // a record.
      if (outcome === "refused" && sizes.every((size) => size === 0)) return `refused, left an empty file; ${next}`
      // A claim of a process that has ended is void, so the start need not report it.
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
  for (const mode of Sweep.modes) {
    it.scopedLive.skipIf(mode.unavailable !== undefined)(
      Program.named(`is survived or explained: ${mode.name}`, mode.unavailable),
      () =>
        Effect.gen(function*() {
          const main = yield* mode.main
          const first = yield* watchAll(yield* Sweep.makeStage(mode, main, "a first start"))
          // After a crash, only the calls that a first start does not make, one of each kind.
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
              (results) => Sweep.conclude(`errno x call, ${mode.name}, ${scene}`, results)
            )
          yield* sweep("a first start", [...once(first), ...forGood(first)])
          yield* sweep("a start after a crash", once(reclaim))
        })
    )
  }
})
