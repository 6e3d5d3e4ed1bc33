/**
 * The judge: a journal outside of the engine and of the leaders. Work writes to it when it acts and with which token, by the monotonic
 * clock, which all hosts share because they are namespaces of one machine.
 */
import { assert } from "@effect/vitest"
import { Cause, type Duration, Effect, type Scope } from "effect"
import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Path from "node:path"
import { inject } from "vitest"
import * as Gateways from "../../e2e/support/gateways.ts"

/** The work of one host with one token. The times are in milliseconds. */
export interface Term {
  readonly host: string
  readonly token: bigint
  /** When the first act had happened for certain. */
  readonly first: number
  /** When the last act had not happened yet for certain. */
  last: number
}

export interface Journal {
  /** The Unix socket to which work writes. Unlike a port, it is the same in each network namespace. */
  readonly path: string
  readonly terms: ReadonlyArray<Term>
  /** Other lines than those of acts, as an app writes them. */
  readonly lines: ReadonlyArray<string>
  /** Sends a line to each process that is connected. */
  readonly tell: (line: string) => Effect.Effect<void>
  /** Waits until the journal is as a condition says. The effect dies after `limit`, by default a minute. */
  readonly until: <A>(
    what: string,
    condition: () => A | false | undefined,
    limit?: Duration.DurationInput
  ) => Effect.Effect<A>
  /** Waits until a host acts, with a token that is higher than all before. */
  readonly acts: (host: string) => Effect.Effect<Term>
  /** Asserts that no two terms overlap and that their tokens grow. */
  readonly judge: () => void
}

/** The time of the monotonic clock in milliseconds. */
export const now = (): number => Number(process.hrtime.bigint()) / 1e6

const judge = (terms: ReadonlyArray<Term>): void => {
  const sorted = terms.toSorted((one, other) => one.first - other.first)
  for (const [at, term] of sorted.entries()) {
    const next = sorted[at + 1]
    if (next === undefined) continue
    assert.isBelow(
      term.last,
      next.first,
      `${term.host} with token ${term.token} acts beside ${next.host} with token ${next.token}`
    )
    assert.isTrue(term.token < next.token, `token ${next.token} after ${term.token}`)
  }
}

export const open: Effect.Effect<Journal, never, Scope.Scope> = Effect.gen(function*() {
  const path = Path.join(yield* Gateways.temporaryFolder, "judge")
  const terms: Array<Term> = []
  const lines: Array<string> = []
  const sockets = new Set<Net.Socket>()
  const waiters = new Set<() => void>()
  const read = (line: string) => {
    const [, host, token, from, until] = /^(\S+) (\d+) ([\d.]+) ([\d.]+)$/.exec(line) ?? []
    if (host === undefined || token === undefined) {
      lines.push(line)
      return
    }
    const [asked, answered] = [Number(from), Number(until)]
    const term = terms.find((term) => term.host === host && term.token === BigInt(token))
    if (term === undefined) {
      terms.push({ host, token: BigInt(token), first: answered, last: asked })
      return
    }
    term.last = Math.max(term.last, asked)
  }
  const serve = (socket: Net.Socket) => {
    let rest = ""
    sockets.add(socket)
    socket.setEncoding("utf8").on("data", (text: string) => {
      const parts = (rest + text).split("\n")
      rest = parts.pop() ?? ""
      for (const part of parts) read(part)
      for (const wake of waiters) wake()
    })
    socket.on("error", () => {})
    socket.on("close", () => sockets.delete(socket))
  }
  yield* Effect.acquireRelease(
    Effect.async<Net.Server>((resume) => {
      const server = Net.createServer(serve)
      server.listen(path, () => resume(Effect.succeed(server)))
    }),
    (server) =>
      Effect.async<void>((resume) => {
        for (const socket of sockets) socket.destroy()
        server.close(() => resume(Effect.void))
      })
  )
  const until = <A>(
    what: string,
    condition: () => A | false | undefined,
    limit: Duration.DurationInput = "1 minute"
  ): Effect.Effect<A> =>
    Effect.async<A>((resume) => {
      const look = () => {
        const found = condition()
        if (found === false || found === undefined) return
        waiters.delete(look)
        resume(Effect.succeed(found))
      }
      waiters.add(look)
      look()
      return Effect.sync(() => waiters.delete(look))
    }).pipe(Effect.timeoutFailCause({
      duration: limit,
      onTimeout: () =>
        Cause.die(new Error(`waited in vain: ${what}; terms: ${terms.map(({ host, token }) => `${host} ${token}`)}`))
    }))
  return {
    path,
    terms,
    lines,
    tell: (line) =>
      Effect.sync(() => {
        for (const socket of sockets) socket.write(`${line}\n`)
      }),
    until,
    acts: (host) => {
      const before = terms.reduce((highest, { token }) => token > highest ? token : highest, 0n)
      return until(`${host} leads`, () => terms.find((term) => term.host === host && term.token > before))
    },
    judge: () => judge(terms)
  }
})

/** Notes a time that was measured, for the summary after all tests. */
export const note = (what: string, millis: number): Effect.Effect<void> =>
  Effect.sync(() => Fs.appendFileSync(inject("summary"), `${what}: ${Math.round(millis)} ms\n`))
