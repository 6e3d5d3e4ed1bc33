/**
 * Mutants of `gateway exec`: versions of the sources with one mistake each. `test/simulation/mutants.ts` explains how they are loaded.
 */
import type { Mutant } from "../simulation/mutants.ts"

const exec = "src/exec/Exec.ts"
const stopCommand = "src/exec/StopCommand.ts"
const cli = "src/cli/exec.ts"
const owner = "src/stop/VerifiedOwner.ts"
const kernelAttempt = "src/lock/KernelAttempt.ts"

export const execMutants = [
  {
    name: "SIGINT is relayed in the foreground of a terminal",
    changes: [{
      file: exec,
      from: `          if (fromKeys.has(signal) && (yield* terminal) === "Foreground") return
`,
      to: ""
    }]
  },
  {
    name: "the lock is released by unlocking instead of closing",
    changes: [{
      file: kernelAttempt,
      from: `    if (created) {
      // Only now`,
      // The test of a lock locks and unlocks the file. So this finalizer unlocks it.
      to: `    yield* Effect.addFinalizer(() => Effect.ignore(kernel.isLocked(file.fd)))
    if (created) {
      // Only now`
    }]
  },
  {
    name: "the command has its own session on a terminal",
    changes: [{
      file: exec,
      from: "const newSession = (yield* terminal) === \"None\"",
      to: "const newSession = (yield* terminal) !== undefined"
    }]
  },
  {
    name: "stop --force kills the wrapper before its command",
    changes: [{
      file: owner,
      from: `      what === "SIGKILL" ? killCommand(owner.value) : Effect.succeed(false),
      unlessGone(signals.send(process, what)),
      (toCommand, toOwner)`,
      to: `      unlessGone(signals.send(process, what)),
      what === "SIGKILL" ? killCommand(owner.value) : Effect.succeed(false),
      (toOwner, toCommand)`
    }]
  },
  {
    name: "the lock is released before the tree of the command has ended",
    changes: [{
      file: stopCommand,
      from: "if (yield* inTime(options, allEnded(child, before))) return",
      to: "if (yield* inTime(options, child.ended)) return"
    }]
  },
  {
    name: "the port is not asked after the lock was acquired",
    changes: [{
      file: cli,
      from: "if (!bindsNow) yield* probePort",
      to: "if (lock.stateDir === \"\") yield* probePort"
    }]
  },
  {
    name: "the command begins before the record names it, without kernel locks",
    changes: [{
      file: exec,
      from: "waits: lock.enforcement === \"record\" || sockets.length > 0 || lead !== undefined",
      to: "waits: sockets.length > 0 || lead !== undefined"
    }]
  },
  {
    name: "the command inherits no lock",
    changes: [{
      file: exec,
      from: "inherits: options.inheritsLock ? descriptors : []",
      to: "inherits: options.inheritsLock ? descriptors.slice(2) : []"
    }]
  },
  {
    name: "daemons of the command are not searched for",
    changes: [{
      file: stopCommand,
      from: "    yield* signalAll(yield* identifyAll(yield* holdersOf(child)), \"SIGKILL\")\n",
      to: ""
    }]
  },
  {
    name: "the lock is released although SIGKILL has not ended the command yet",
    changes: [{
      file: stopCommand,
      from: `      yield* treeEnded(child, tree)
    }
`,
      to: `    }
`
    }]
  },
  {
    name: "a command that ignores SIGTERM gets no SIGKILL",
    changes: [{
      file: stopCommand,
      from: `    yield* killTree(child, before)
    yield* awaitKilled(child, before)
`,
      to: ""
    }]
  }
] as const satisfies ReadonlyArray<Pick<Mutant, "name" | "changes">>
