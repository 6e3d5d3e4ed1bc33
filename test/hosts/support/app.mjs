/**
 * An app on `Gateway.layerWithLease`, which writes to a database in several forms. The only argument is JSON: `journal` (the judge's
 * Unix socket), `host`, `gateway` (options of the layer), `leaseUrl`, `appUrl`, `connections` (of the pool of the app).
 *
 * A thread acts for the judge, so that a blocked event loop does not stop it. The judge sends commands, a line each:
 *
 *   write <form> <note>  writes once: `third` in a transaction that is fenced by the lease, `fourth` with the token in the row, `bare`
 *   writers <count>      as many loops that write in the third form, without a pause
 *   hog <seconds>        takes every connection of the pool for this time
 *   block <seconds>      blocks the event loop
 *
 * The answer is a line `wrote <form> <note> <rows or error>`, `writing` or `blocking`.
 */
import { Reactivity } from "@effect/experimental"
import { NodeRuntime } from "@effect/platform-node"
import { SqlClient } from "@effect/sql"
import { PgClient } from "@effect/sql-pg"
import { Cause, Effect, Layer, Logger, Redacted, Runtime } from "effect"
import * as FencedWrite from "gateway-lock/FencedWrite"
import * as Gateway from "gateway-lock/Gateway"
import { Leadership } from "gateway-lock/Leadership"
import { layerPostgres } from "gateway-lock/PostgresLeaseStore"
import * as Net from "node:net"
import { Worker } from "node:worker_threads"

const { appUrl, connections, gateway, host, journal, leaseUrl } = JSON.parse(process.argv[2])

const thread = `
const { path, host, token } = require("node:worker_threads").workerData
const socket = require("node:net").connect(path)
const stamp = () => {
  const at = Number(process.hrtime.bigint()) / 1e6
  socket.write(host + " " + token + " " + at + " " + at + "\\n")
}
socket.on("connect", () => {
  stamp()
  setInterval(stamp, 20)
})
socket.on("error", () => {})
`

const Acting = Layer.scopedDiscard(Effect.gen(function*() {
  const { fencingToken } = yield* Leadership
  yield* Effect.acquireRelease(
    Effect.sync(() => new Worker(thread, { eval: true, workerData: { path: journal, host, token: String(fencingToken) } })),
    (worker) => Effect.promise(() => worker.terminate())
  )
}))

const block = (seconds) => {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Number(seconds) * 1000)
}

const Working = Layer.scopedDiscard(Effect.gen(function*() {
  const leadership = yield* Leadership
  const sql = yield* SqlClient.SqlClient
  const token = String(leadership.fencingToken)
  const forms = {
    third: (note) =>
      sql`INSERT INTO written (form, token, note) VALUES ('third', ${token}::bigint, ${note}) RETURNING 1`.pipe(
        FencedWrite.fenced(leadership)
      ),
    fourth: (note) =>
      sql`UPDATE document SET fencing_token = ${token}::bigint, note = ${note} WHERE id = 1 AND fencing_token <= ${token}::bigint RETURNING 1`,
    bare: (note) => sql`INSERT INTO written (form, token, note) VALUES ('bare', ${token}::bigint, ${note}) RETURNING 1`
  }
  const socket = Net.connect(journal)
  const say = (line) => socket.write(`${host}: ${line}\n`)
  const write = (form, note) =>
    forms[form](note).pipe(
      Effect.matchCause({
        onSuccess: (rows) => say(`wrote ${form} ${note} ${rows.length}`),
        onFailure: (cause) => say(`wrote ${form} ${note} ${Cause.squash(cause)._tag}`)
      })
    )
  const commands = {
    write,
    writers: (count) =>
      Effect.zipRight(
        Effect.sync(() => say("writing")),
        Effect.all(
          Array.from({ length: Number(count) }, () => Effect.forever(Effect.zipRight(forms.third("loop"), Effect.yieldNow()))),
          { concurrency: "unbounded", discard: true }
        )
      ),
    hog: (seconds) =>
      Effect.all(Array.from({ length: connections }, () => sql`SELECT pg_sleep(${Number(seconds)})`), {
        concurrency: "unbounded",
        discard: true
      }),
    block: (seconds) =>
      Effect.sync(() => {
        say("blocking")
        // The line is sent first.
        setImmediate(() => setImmediate(() => block(seconds)))
      })
  }
  // Opens all connections of the pool.
  yield* commands.hog(0.2)
  const runFork = Runtime.runFork(yield* Effect.runtime())
  socket.setEncoding("utf8").on("error", () => {}).on("data", (text) => {
    for (const line of text.split("\n").filter((line) => line.startsWith(`${host} `))) {
      const [, name, ...words] = line.split(" ")
      runFork(Effect.ignore(commands[name](...words)))
    }
  })
  yield* Effect.addFinalizer(() => Effect.sync(() => socket.destroy()))
  say("works")
}))

const Client = Layer.provide(
  PgClient.layer({ url: Redacted.make(appUrl), maxConnections: connections, minConnections: connections }),
  Reactivity.layer
)
const Main = Layer.mergeAll(Acting, Working).pipe(
  Layer.provide(Client),
  Layer.provideMerge(Gateway.layerWithLease(gateway)),
  Layer.provide(layerPostgres({ url: Redacted.make(leaseUrl), attemptTimeout: gateway.lease.attemptTimeout }))
)
const log = Logger.replace(Logger.defaultLogger, Logger.withConsoleError(Logger.logfmtLogger))
NodeRuntime.runMain(Effect.provide(Gateway.launch(Main), log), { disablePrettyLogger: true })
