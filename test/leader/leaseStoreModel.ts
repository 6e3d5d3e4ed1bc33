/** Drawn sequences of operations on a `LeaseStore`, whose answers can be compared between stores. */
import { Duration, Effect, FastCheck as fc, Option } from "effect"
import { randomUUID } from "node:crypto"
import type { Claim, Grant, LeaseStore, Sighting, StoreError } from "../../src/leader/LeaseStore.ts"

type Store = LeaseStore["Type"]

export const newName = (): string => `lease ${randomUUID()}`

export const claimOf = (name: string, options: Partial<Claim> = {}): Claim => ({
  name,
  holderId: randomUUID(),
  ttl: Duration.seconds(15),
  holder: {},
  ...options
})

type Operation = "look" | "create" | "acquire" | "acquire by an old look" | "renew" | "release" | "requestResign"

interface Command {
  readonly operation: Operation
  /** Which of two candidates. */
  readonly candidate: 0 | 1
  /** Which of two leases. */
  readonly lease: 0 | 1
}

export const commands: fc.Arbitrary<ReadonlyArray<Command>> = fc.array(
  fc.record({
    operation: fc.constantFrom<Operation>(
      "look",
      "create",
      "acquire",
      "acquire",
      "acquire by an old look",
      "renew",
      "renew",
      "release",
      "requestResign"
    ),
    candidate: fc.constantFrom<0 | 1>(0, 1),
    lease: fc.constantFrom<0 | 1>(0, 1)
  }),
  { minLength: 10, maxLength: 40 }
)

/** Runs commands, and returns their answers with tokens as ranks, since two stores may number their grants differently. */
export const answersOf = (
  stores: readonly [Store, Store],
  run: ReadonlyArray<Command>,
  ids: ReadonlyArray<string>
): Effect.Effect<ReadonlyArray<unknown>, StoreError> =>
  Effect.gen(function*() {
    const names = [newName(), newName()]
    const [looks, grants] = [new Map<string, Sighting>(), new Map<string, Grant>()]
    const tokens: Array<Set<bigint>> = [new Set(), new Set()]
    const answers: Array<{ readonly lease: 0 | 1; readonly answer: unknown; readonly token?: bigint }> = []
    for (const [at, { candidate, lease, operation }] of run.entries()) {
      const [store, name, key] = [stores[candidate], names[lease] ?? "", `${candidate} ${lease}`]
      const grant = grants.get(key) ?? { name, holderId: ids[0] ?? "", fencingToken: 0n }
      const claim = claimOf(name, { holderId: ids[at] ?? "", ttl: Duration.millis(1000 + at), holder: { at } })
      const look = Effect.map(store.look(name), (sighting) => {
        if (Option.isSome(sighting)) tokens[lease]?.add(sighting.value.fencingToken)
        return sighting
      })
      if (operation === "look" || operation === "acquire") {
        const sighting = Option.getOrUndefined(yield* look)
        if (sighting !== undefined) looks.set(key, sighting)
        const { epoch: _, fencingToken: token, ...answer } = sighting ?? { epoch: 0n, fencingToken: 0n }
        answers.push({ lease, answer, token })
      }
      if (operation.startsWith("acquire")) {
        const sighting = looks.get(key)
        const acquired = sighting === undefined ? Option.none() : yield* store.acquire(sighting, claim)
        if (Option.isSome(acquired)) {
          tokens[lease]?.add(acquired.value.fencingToken)
          grants.set(key, acquired.value)
        }
        answers.push({ lease, answer: Option.isSome(acquired), token: grants.get(key)?.fencingToken ?? 0n })
      }
      if (operation === "create") answers.push({ lease, answer: yield* store.create(claim) })
      if (operation === "renew") answers.push({ lease, answer: yield* store.renew(grant) })
      if (operation === "release") answers.push({ lease, answer: yield* store.release(grant) })
      if (operation === "requestResign") {
        answers.push({ lease, answer: yield* store.requestResign(name, grant.fencingToken) })
      }
    }
    const ranks = tokens.map((set) => [0n, ...set].toSorted((a, b) => a < b ? -1 : 1))
    return answers.map(({ answer, lease, token }) => [answer, token === undefined ? -1 : ranks[lease]?.indexOf(token)])
  })
