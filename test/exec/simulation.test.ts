/**
 * Runs `gateway exec` on a simulated host, with drawn commands, signals, deaths, losses of the lock and stops. Wrong versions of the
 * sources (`mutants.ts`) must break a rule of the judge in a scenario in which the unchanged sources break none.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { loadExec } from "virtual:mutants"
import { numRuns } from "../arbitraries.ts"
import { unchanged } from "../simulation/mutants.ts"
import { execMutants } from "./mutants.ts"
import { afterSpawn, type Contender, quiet, type Scenario, scenario, usual } from "./scenario.ts"
import { simulate } from "./simulate.ts"
import * as Original from "./subject.ts"

const subjectOf = (name: string) =>
  Effect.promise(() => loadExec[name]?.() ?? Promise.reject(new Error(`no mutant ${name}`)))

const of = (contender: Partial<Contender>, ...events: Scenario["events"]): Scenario => ({
  order: 0,
  locking: "works",
  contenders: [{ ...usual, ...contender }],
  events
})

/** A child of the command, or a daemon, that ends only by SIGKILL. */
const stubborn = (isDaemon: boolean) => ({ lifetime: undefined, termDelay: undefined, isDaemon })

const pressed = of(
  { hasTerminal: true, command: { ...quiet, ignoresKeys: true } },
  { at: 1000, what: { _tag: "Key", victim: 0, signal: "SIGINT" } }
)

/** The scenario that shows the mistake of each mutant. */
const shownBy: Readonly<Record<typeof execMutants[number]["name"], Scenario>> = {
  "SIGINT is relayed in the foreground of a terminal": pressed,
  "the command has its own session on a terminal": pressed,
  // The wrapper locks a new file instead of the removed one, and closes the removed one. The daemon is found by its lock on that file.
  "the lock is released by unlocking instead of closing": of(
    { command: { ...quiet, heirs: [stubborn(true)] } },
    { at: 1000, what: { _tag: "Unlink" } },
    { at: 15_000, what: { _tag: "Lose", millis: 40_000 } }
  ),
  "stop --force kills the wrapper before its command": of(
    { command: { ...quiet, termDelay: undefined } },
    { at: 1000, what: { _tag: "Stop", force: true } }
  ),
  "the lock is released before the tree of the command has ended": of({
    mustListen: true,
    command: { ...quiet, heirs: [stubborn(false)] }
  }),
  "the port is not asked after the lock was acquired": of({
    faults: [{ name: "fcntl", call: 1, fate: { _tag: "Stranger" } }]
  }),
  // The wrapper is killed before it has written the command into the record. The next start finds only a dead owner.
  "the command begins before the record names it, without kernel locks": {
    order: 0,
    locking: "absent",
    contenders: [
      { ...usual, hasPort: false, faults: [{ name: afterSpawn, call: 1, fate: { _tag: "Kill" } }] },
      { ...usual, hasPort: false, at: 1000 }
    ],
    events: []
  },
  "the command inherits no lock": of({}),
  "daemons of the command are not searched for": of({
    mustListen: true,
    command: { ...quiet, heirs: [stubborn(true)] }
  }),
  "the lock is released although SIGKILL has not ended the command yet": of({
    mustListen: true,
    command: { ...quiet, blocked: { at: 7000, millis: 30_000 } }
  }),
  "a command that ignores SIGTERM gets no SIGKILL": of({
    mustListen: true,
    command: { ...quiet, termDelay: undefined }
  })
}

/** Without kernel locks and on a full disk, the command's pid cannot be recorded. The wrapper is killed, and another start follows. */
const unrecorded: Scenario = {
  order: 0,
  locking: "absent",
  contenders: [
    { ...usual, hasPort: false, faults: [{ name: "spawn", call: 1, fate: { _tag: "Full" } }] },
    { ...usual, hasPort: false, at: 5000 }
  ],
  events: [{ at: 3000, what: { _tag: "KillWrapper", victim: 0 } }]
}

describe("exec on a simulated host", () => {
  it.effect("begins no command that no record names, because the disk is full", () =>
    Effect.map(simulate(Original, unrecorded), (broken) => assert.deepStrictEqual(broken, [])))

  it.effect.prop(
    "keeps every rule in drawn scenarios",
    [scenario],
    ([scenario]) => Effect.map(simulate(Original, scenario), (broken) => assert.deepStrictEqual(broken, [])),
    {
      timeout: 600_000,
      // The same scenarios in each run. For others, change the seed.
      fastCheck: { numRuns, seed: 20261129 }
    }
  )

  it.effect(
    "keeps every rule in the scenarios that show mistakes, also if it is loaded as the mutants are",
    () =>
      Effect.gen(function*() {
        const subject = yield* subjectOf(unchanged)
        assert.notStrictEqual(subject.execWith, Original.execWith)
        for (const [name, scenario] of Object.entries(shownBy)) {
          assert.deepStrictEqual(yield* simulate(subject, scenario), [], name)
        }
      }),
    120_000
  )
})

describe("a mistake in exec is found:", () => {
  for (const { name } of execMutants) {
    it.effect(name, () =>
      Effect.gen(function*() {
        assert.isNotEmpty(yield* simulate(yield* subjectOf(name), shownBy[name]))
      }), 120_000)
  }
})
