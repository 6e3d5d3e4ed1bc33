/**
 * One worker process of a storm test, in which many workers compete for the lock under test. In each turn of its loop, the worker
 * acquires that lock, and then a second lock, the witness. If another worker has the witness, both hold the lock under test. After
 * a moment, the worker releases both locks or kills itself.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Array from "effect/Array"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import * as Fs from "node:fs"
import { type Acquire, make } from "./contenders.ts"
import { Event, Orders, type Phase, type Point } from "./stormEvents.ts"
import * as Witness from "./witness.ts"

const orders = Schema.decodeUnknownSync(Schema.parseJson(Orders))(process.argv[2])
// The file of the witness (the second lock) gets a higher descriptor than all other files. If the worker is killed, Linux then
// releases the witness before the lock under test (`witness.ts` explains why). So the next worker that acquires the lock under
// test never finds the witness still held by a dead worker.
const witness = Witness.open(orders.folder)

const encode = Schema.encodeSync(Schema.parseJson(Event))

/** Writes synchronously, so that the event arrives even if the process ends at once. */
const tell = (event: Event) => Fs.writeSync(1, `${encode(event)}\n`)

let phase: Phase = "pausing"

const die = (point: Point) => {
  tell({ _tag: "Dying", point, phase })
  process.kill(process.pid, "SIGKILL")
}

/**
 * If set, the worker kills itself before a later step of the lock under test. A step is a change of a file. `count` is the
 * number of steps to that death, and `point` is the point of the turn that the worker reports. If `undefined`, no step kills it.
 */
let stepsLeft: { readonly point: Point; count: number } | undefined

const step = Effect.sync(() => {
  if (stepsLeft === undefined) return
  stepsLeft.count -= 1
  if (stepsLeft.count === 0) die(stepsLeft.point)
})

const random = Random.make(orders.seed)
const below = (bound: number) => Effect.map(random.nextIntBetween(0, Math.round(bound * 1000)), (n) => n / 1000)

const points = ["acquiring", "granted", "holding", "releasing", "any"] as const satisfies ReadonlyArray<Point>

/** Draws the point at which the worker dies in this turn of its loop. `undefined` if the worker survives the turn. */
const fate = Effect.map(
  random.nextIntBetween(0, 1000),
  (n) => n < orders.killsPerThousand ? points[n % points.length] : undefined
)

/**
 * Schedules a death of the worker, and returns the effect that cancels this death. Usually the worker dies after a random time.
 * If the lock under test reports its steps, the worker dies before a random step instead, in half of the cases.
 */
const arm = (point: Point, most: { readonly steps: number; readonly millis: number }) =>
  Effect.gen(function*() {
    const tellsSteps = orders.contender === "kernel" || orders.contender === "record"
    const count = yield* random.nextIntBetween(1, most.steps + 1)
    const delay = yield* below(most.millis)
    if (tellsSteps && (yield* random.nextBoolean)) {
      stepsLeft = { point, count }
      return Effect.sync(() => {
        stepsLeft = undefined
      })
    }
    return Fiber.interrupt(yield* Effect.fork(Effect.delay(Effect.sync(() => die(point)), Duration.millis(delay))))
  })

/**
 * Takes the witness (a second lock, which shows whether the lock under test works) until the scope closes. Reports a violation if
 * another worker already holds the witness. Also reports a violation if the witness contains the token of another worker when the
 * scope closes.
 */
const testify = (token: string, turn: number) =>
  Effect.acquireRelease(
    Effect.map(Clock.currentTimeMillis, (at) => {
      const { granted, other } = witness.take(token)
      if (!granted) tell({ _tag: "Violation", kind: "refused", pid: process.pid, at, turn, other })
      return granted
    }),
    (granted) =>
      Effect.map(Clock.currentTimeMillis, (at) => {
        if (!granted) return
        const other = witness.read()
        if (other !== token) tell({ _tag: "Violation", kind: "overtaken", pid: process.pid, at, turn, other })
        witness.drop()
      })
  )

const turn = (acquire: Acquire, number: number) =>
  Effect.gen(function*() {
    const point = yield* fate
    let callOff: Effect.Effect<unknown> = Effect.void
    if (point === "any") callOff = yield* arm(point, { steps: 20, millis: 200 })
    if (point === "acquiring") callOff = yield* arm(point, { steps: 16, millis: 40 })

    phase = "acquiring"
    const startedAt = yield* Clock.currentTimeNanos
    yield* Effect.scoped(Effect.gen(function*() {
      yield* acquire
      const grantedAt = yield* Clock.currentTimeNanos
      phase = "holding"
      tell({ _tag: "Granted", waitedMs: Number(grantedAt - startedAt) / 1e6 })
      if (point === "acquiring") yield* callOff
      if (point === "granted") die(point)

      const token = `${process.pid} turn ${number} ${yield* Clock.currentTimeMillis}`
      const time = yield* below(5)
      yield* Effect.scoped(Effect.gen(function*() {
        yield* testify(token, number)
        if (point === "holding") {
          yield* Effect.sleep(Duration.millis(yield* below(time)))
          die(point)
        }
        yield* Effect.sleep(Duration.millis(time))
      }))
      phase = "releasing"
      if (point === "releasing") callOff = yield* arm(point, { steps: 2, millis: 5 })
    })).pipe(
      Effect.andThen(Effect.sync(() => tell({ _tag: "Released" }))),
      Effect.catchTag("NotGranted", ({ reason }) => Effect.sync(() => tell({ _tag: "Failed", reason }))),
      Effect.ensuring(Effect.suspend(() => callOff))
    )
    phase = "pausing"
    yield* Effect.sleep(Duration.millis(yield* below(5)))
  })

const logger = Logger.make(({ message }) => {
  const text = Array.isArray(message) ? message.join(" ") : String(message)
  if (text.startsWith("reclaimed")) tell({ _tag: "Reclaimed", message: text })
})

Effect.gen(function*() {
  const acquire = yield* make(orders.contender, {
    folder: orders.folder,
    pollInterval: Duration.millis(orders.pollMillis),
    step
  })
  yield* Effect.forEach(Array.range(1, orders.turns), (number) => turn(acquire, number), { discard: true })
}).pipe(
  Effect.scoped,
  Effect.provide(Logger.replace(Logger.defaultLogger, logger)),
  NodeRuntime.runMain({ disablePrettyLogger: true })
)
