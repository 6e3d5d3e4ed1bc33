/**
 * The command that the tests of this folder run under `gateway exec`, which is the judge of these tests. At its start it takes a
 * lock of the kernel, the witness, which is none of the project's own locks, and it keeps the witness until it ends. A command that
 * does not get the witness has found another command alive. It then writes a line to the file `two`, and exits with 99.
 */
import { assert } from "@effect/vitest"
import { Effect, Exit, Fiber, Option, type Scope } from "effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import * as Execs from "../../e2e/support/execs.ts"
import type * as Gateways from "../../e2e/support/gateways.ts"
import * as Processes from "../../e2e/support/processes.ts"
import * as Program from "../../e2e/support/program.ts"

/** Why this machine cannot run the judge; `undefined` if it can. */
export const unavailable = (Program.isLinux ? undefined : "needs /proc")
  ?? Program.without("bash")
  ?? Program.without("flock")

/** The exit status of a command that has found another command alive. */
export const accuses = 99

/**
 * The witness has a higher descriptor than the lock files, which the command inherits as 20 and 21. The kernel closes the higher
 * descriptor of a killed process first. So the next command never finds the witness held by a command that is already dead.
 */
const script = `exec 40>>witness
flock -n 40 || { echo "$$ ran beside $(cat running)" >>two; exit ${accuses}; }
echo $$ >running
echo child $$ >&2
exec sleep "$1"`

/** The judge, which ends by itself after a time in seconds. It uses files of its working directory, the root of the site. */
export const command = (seconds: number): ReadonlyArray<string> => ["bash", "-c", script, "bash", String(seconds)]

/** The line that a wrapper logs when it has the lock, before it starts the judge. */
export const gotTheLock = /starting .*bash.* with gateway lock/

/** The longest life of a judge. A test ends its judges long before that. */
export const longLife = 300

/**
 * Waits for a line on stderr. `None` if the program and all that inherited its streams have ended without such a line.
 *
 * The wait has a fiber of its own, because it is interruptible: a finalizer cannot do such a wait, least of all the finalizer of a
 * fiber that was interrupted.
 */
export const lineOf = (running: Processes.Running, pattern: RegExp): Effect.Effect<Option.Option<string>> =>
  Effect.forkDaemon(Effect.interruptible(running.line(pattern))).pipe(
    Effect.flatMap(Fiber.await),
    Effect.map(Exit.match({ onFailure: () => Option.none<string>(), onSuccess: Option.some }))
  )

/** A command that ran under `gateway exec`, and may still run. `startTime` is missing if it had ended before it could be read. */
export interface Child {
  readonly pid: number
  readonly startTime: Option.Option<number>
}

/** Waits for the command of `gateway exec`. `None` if the command never ran, and never will. */
export const childOf = (wrapper: Processes.Running): Effect.Effect<Option.Option<Child>> =>
  Effect.flatMap(
    lineOf(wrapper, /^child \d+$/),
    Option.match({
      onNone: () => Effect.succeedNone,
      onSome: (line) => {
        const pid = Number(line.split(" ")[1])
        return Effect.map(
          Effect.option(Effect.sandbox(Processes.startTimeOf(pid))),
          (startTime) => Option.some({ pid, startTime })
        )
      }
    })
  )

/** Sends SIGKILL to a command, unless it has ended. */
export const killChild = ({ pid, startTime }: Child): Effect.Effect<void> =>
  Option.match(startTime, { onNone: () => Effect.void, onSome: (startTime) => Execs.kill(pid, startTime) })

/** Starts the judge under `gateway exec`. When the scope closes, the wrapper is killed, and then the judge if it runs. */
export const start = (
  site: Gateways.Site,
  seconds: number,
  options: Execs.Options
): Effect.Effect<Processes.Running, never, Scope.Scope> =>
  Effect.tap(
    Execs.start(site, command(seconds), options),
    (wrapper) =>
      Effect.addFinalizer(() =>
        wrapper.signal("SIGKILL").pipe(
          Effect.zipRight(childOf(wrapper)),
          Effect.flatMap(Option.match({ onNone: () => Effect.void, onSome: killChild }))
        )
      )
  )

/** What the judges of a site have written about commands that ran at the same time; empty if there were none. */
export const accusations = (site: Gateways.Site): Effect.Effect<string> =>
  Effect.promise(() => Fs.readFile(Path.join(site.root, "two"), "utf8").catch(() => ""))

/** Checks that no two commands of a site ever ran at the same time. */
export const assertNeverTwo = (site: Gateways.Site): Effect.Effect<void> =>
  Effect.map(accusations(site), (two) => assert.strictEqual(two, ""))
