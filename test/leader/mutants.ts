/**
 * Mutants of leadership: versions of the sources with one mistake each. `test/simulation/mutants.ts` explains how they are loaded.
 */
import type { Mutant } from "../simulation/mutants.ts"

const term = "src/leader/Term.ts"
const token = "src/leader/FencingToken.ts"
const candidacy = "src/leader/Candidacy.ts"
const candidate = "src/leader/Candidate.ts"
const leadership = "src/leader/Leadership.ts"
const proof = "src/leader/DeathProof.ts"
const server = "src/testing/LeaseServer.ts"
const link = "src/testing/LeaseLink.ts"

export const leaderMutants = [
  {
    name: "the deadline is counted from the receipt",
    changes: [{
      file: term,
      from: "? Option.some({ ...term, renewedAt: sentAt, trustedUntil: deadlineOf(times, sentAt) })",
      to: "? Option.some({ ...term, renewedAt: sentAt, trustedUntil: deadlineOf(times, receivedAt) })"
    }]
  },
  {
    name: "a leader renews and accepts renewals after its deadline",
    changes: [
      { file: term, from: "isTrusted(term, sentAt) && isTrusted(term, receivedAt)", to: "receivedAt >= sentAt" },
      { file: leadership, from: "    if (!Term.isTrusted(before, sentAt)) return tooLate(leading)\n", to: "" }
    ]
  },
  {
    name: "time is that of the wall clock",
    changes: [
      {
        file: leadership,
        from: "import * as Context from \"effect/Context\"\n",
        to: "import * as Clock from \"effect/Clock\"\nimport * as Context from \"effect/Context\"\n"
      },
      {
        file: leadership,
        from: "    const { checkEvery, now } = yield* ElapsedTime\n",
        to: `    const { checkEvery } = yield* ElapsedTime
    const now = Effect.map(Clock.currentTimeMillis, (millis) => BigInt(Math.round(millis * 1e6)))
`
      }
    ]
  },
  {
    name: "a resource refuses a token that it has seen",
    changes: [{ file: token, from: "=> highest <= token", to: "=> highest < token" }]
  },
  {
    name: "the token is kept when the lease is acquired again",
    changes: [{
      file: token,
      from: "(previous > floor ? previous : floor) + 1n",
      to: "previous > floor ? previous : floor + 1n"
    }]
  },
  {
    name: "a token is a plain counter",
    changes: [{
      file: token,
      from: "(previous > floor ? previous : floor) + 1n",
      to: "previous + (floor < 0n ? 0n : 1n)"
    }]
  },
  {
    name: "a fenced write checks the token without a lock on the row",
    changes: [{ file: link, from: "    state.keyShares.add(share)\n", to: "" }]
  },
  {
    name: "a takeover does not wait for fenced writes, as without a unique key",
    changes: [{
      file: link,
      from: `          withoutKeyShares(state, claim.name),
`,
      to: "          Effect.void,\n"
    }]
  },
  {
    name: "the epoch is not compared when the lease is acquired",
    changes: [{ file: server, from: "  && epochOf(server, row) === seen.epoch\n", to: "" }]
  },
  {
    name: "renewals are not compared when the lease is acquired",
    changes: [{ file: server, from: "  && row.renewals === seen.renewals\n", to: "" }]
  },
  {
    name: "a released lease is acquired at once in any epoch",
    changes: [{
      file: candidacy,
      from: "isOfPresentEpoch(sighting) && (Option.isNone(sighting.holderId) || isHolderDead)",
      to: "Option.isNone(sighting.holderId) || (isOfPresentEpoch(sighting) && isHolderDead)"
    }]
  },
  {
    name: "a proof of death counts in any epoch",
    changes: [{
      file: candidacy,
      from: "isOfPresentEpoch(sighting) && (Option.isNone(sighting.holderId) || isHolderDead)",
      to: "(isOfPresentEpoch(sighting) && Option.isNone(sighting.holderId)) || isHolderDead"
    }]
  },
  {
    name: "the same folder proves the death of the former holder",
    changes: [{
      file: proof,
      from: "  one.device === other.device && one.inode === other.inode",
      to: "  one.device === other.device || one.inode === other.inode"
    }]
  },
  {
    name: "a created lease names its creator as the holder",
    changes: [{ file: candidate, from: ", holder: {} }", to: " }" }]
  },
  {
    name: "a change does not start the wait again",
    changes: [{
      file: candidacy,
      from: "isSame(watch.sighting, sighting) ? watch : { sighting, since: receivedAt }",
      to: "isSame(watch.sighting, sighting) ? watch : { sighting, since: watch.since }"
    }]
  },
  {
    name: "the wait is counted from the sending of the first look",
    changes: [{
      file: candidate,
      from: "const watch = Candidacy.observe(before, sighting, receivedAt)",
      to: "const watch = Candidacy.observe(before, sighting, sentAt)"
    }]
  },
  {
    name: "a lease is released before the work has ended",
    changes: [{
      file: leadership,
      from: "          if (yield* stopped(leading, work)) return\n",
      to: `          yield* release(leading.election, (yield* Ref.get(leading.term)).grant)
          if (yield* stopped(leading, work)) return
`
    }]
  }
] as const satisfies ReadonlyArray<Omit<Mutant, "habitat" | "caughtBy">>
