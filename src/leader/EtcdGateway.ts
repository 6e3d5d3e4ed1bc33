/**
 * Sends requests to an etcd cluster through the JSON gateway of its members.
 *
 * One member is asked at a time. If it does not answer, the next one is, and is remembered. So a member that hangs costs the first
 * request `endpointTimeout`, and later ones nothing. All requests are safe to send twice.
 */
import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import * as HttpClient from "@effect/platform/HttpClient"
import type * as HttpClientError from "@effect/platform/HttpClientError"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { short } from "../internal/durationText.ts"
import { codeOf } from "../internal/errno.ts"
import * as EtcdAnswer from "./EtcdAnswer.ts"
import type { EtcdUrl } from "./EtcdUrl.ts"
import { type StoreError, StoreFailed, StoreRefused } from "./LeaseStore.ts"

type Fault = EtcdAnswer.Fault

/** The largest answer, and the longest line of a stream, in bytes. etcd accepts no request above 1.5 MiB. */
const largest = 4 * 1024 * 1024

export interface EtcdGateway {
  readonly location: string
  /** Asks the members one after another until one answers for the cluster. */
  readonly call: <A, I>(path: string, body: unknown, answer: Schema.Schema<A, I>) => Effect.Effect<A, StoreError>
  /** The lines of an answer that goes on. It is not retried. */
  readonly lines: (path: string, body: unknown) => Stream.Stream<unknown, StoreError>
  /** Asks for another token before the next request. */
  readonly forgetToken: Effect.Effect<void>
  /** Asks one member, and fails with what is wrong. */
  readonly ask: <A, I>(
    endpoint: string,
    path: string,
    body: unknown,
    answer: Schema.Schema<A, I>
  ) => Effect.Effect<A, Fault>
}

interface State {
  readonly client: HttpClient.HttpClient
  readonly url: EtcdUrl
  readonly endpointTimeout: Duration.Duration
  /** The commands that give the missing rights. */
  readonly advice: string
  /** The index of the endpoint that answered last. */
  preferred: number
  token: string | undefined
}

const certificateErrors: ReadonlySet<string> = new Set([
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE"
])

/** Node's fetch says only "fetch failed", and several addresses give an error with an empty message: the causes say more. */
const reasonOf = (error: HttpClientError.HttpClientError): string => {
  const inner = error.cause instanceof Error ? error.cause.cause : undefined
  for (const cause of [inner, error.cause]) {
    if (!(cause instanceof Error)) continue
    const code = codeOf(cause)
    const message = cause.message === "" ? code : cause.message
    if (certificateErrors.has(code)) return `${message}: set NODE_EXTRA_CA_CERTS to the file of its CA`
    if (message !== "") return message
  }
  return error.description ?? error.reason
}

const unreachable = (reason: string, cause?: unknown): Fault => ({ kind: "endpoint", reason, code: 0, cause })

const hostOf = (endpoint: string): string => new URL(endpoint).host

/** Sends one request. The connection ends if the returned stream does not run to its end. */
const open = (state: State, endpoint: string, path: string, body: unknown, token: string | undefined) => {
  const request = HttpClientRequest.post(`${endpoint}/v3/${path}`).pipe(
    HttpClientRequest.bodyUnsafeJson(body),
    token === undefined ? (self) => self : HttpClientRequest.setHeader("authorization", token)
  )
  return state.client.execute(request).pipe(
    // A redirect would send the password and the token to another server.
    Effect.provideService(FetchHttpClient.RequestInit, { redirect: "manual" }),
    Effect.mapError((error) => unreachable(reasonOf(error), error))
  )
}

const tooLarge = unreachable(`its answer is larger than ${largest} bytes`)

/** The whole body of an answer, up to the limit. */
const bodyOf = <E>(stream: Stream.Stream<Uint8Array, E>, onError: (error: E) => Fault): Effect.Effect<string, Fault> =>
  Effect.suspend(() => {
    const chunks: Array<Uint8Array> = []
    let size = 0
    return stream.pipe(
      Stream.mapError(onError),
      Stream.runForEach((chunk) => {
        size += chunk.length
        chunks.push(chunk)
        return size > largest ? Effect.fail(tooLarge) : Effect.void
      }),
      Effect.map(() => Buffer.concat(chunks).toString("utf8"))
    )
  })

/** Sends one request to one member. Neither a time-out nor an interruption waits for the connection to end. */
const send = <A, I>(
  state: State,
  endpoint: string,
  path: string,
  body: unknown,
  answer: Schema.Schema<A, I>,
  token: string | undefined
): Effect.Effect<A, Fault> =>
  open(state, endpoint, path, body, token).pipe(
    Effect.flatMap((response) =>
      Effect.flatMap(
        bodyOf(response.stream, (error) => unreachable(reasonOf(error), error)),
        (text) => EtcdAnswer.read(answer, response.status, text)
      )
    ),
    Effect.disconnect,
    Effect.timeoutFail({
      duration: state.endpointTimeout,
      onTimeout: () => unreachable(`no answer within ${short(state.endpointTimeout)}`)
    })
  )

/** The token for requests, which is asked for if there is none. */
const tokenFor = (state: State, endpoint: string): Effect.Effect<string | undefined, Fault> =>
  Effect.suspend(() => {
    if (Option.isNone(state.url.credentials) || state.token !== undefined) return Effect.succeed(state.token)
    const { name, password } = state.url.credentials.value
    const body = { name, password: Redacted.value(password) }
    return Effect.map(
      send(state, endpoint, "auth/authenticate", body, EtcdAnswer.Authenticate, undefined),
      ({ token }) => {
        state.token = token
        return token
      }
    )
  })

/** Sends one request with a token. A token that is refused is forgotten, and the next request asks for another one. */
const ask = <A, I>(
  state: State,
  endpoint: string,
  path: string,
  body: unknown,
  answer: Schema.Schema<A, I>
): Effect.Effect<A, Fault> =>
  Effect.flatMap(
    tokenFor(state, endpoint),
    (token) =>
      Effect.tapError(send(state, endpoint, path, body, answer, token), ({ cause, kind }) =>
        Effect.sync(() => {
          // Some versions of 3.5 close the connection instead of refusing a token (patroni/patroni#2552).
          const isSuspect = kind === "token" || (kind === "endpoint" && cause !== undefined)
          if (isSuspect && state.token === token) state.token = undefined
        }))
  )

const toStoreError = (state: State, endpoint: string, { cause, code, kind, reason }: Fault): StoreError => {
  const advice = code === EtcdAnswer.codes.permissionDenied ? `: run ${state.advice}` : ""
  const fields = { reason: `${hostOf(endpoint)}: ${reason}${advice}`, ...(cause === undefined ? {} : { cause }) }
  return kind === "refused" ? new StoreRefused(fields) : new StoreFailed(fields)
}

const moveOn = (state: State, at: number): void => {
  if (state.preferred === at) state.preferred = (at + 1) % state.url.endpoints.length
}

/**
 * Asks until one member answers for the cluster. A single member is asked twice, because a connection that was kept open may have
 * been closed meanwhile. A refused token costs one more request.
 */
const call = <A, I>(
  state: State,
  path: string,
  body: unknown,
  answer: Schema.Schema<A, I>,
  left = Math.max(2, state.url.endpoints.length),
  hasRenewedToken = false
): Effect.Effect<A, StoreError> =>
  Effect.suspend(() => {
    const at = state.preferred
    const endpoint = state.url.endpoints[at] ?? ""
    return ask(state, endpoint, path, body, answer).pipe(
      // A caller that does not wait any longer has waited for this member.
      Effect.onInterrupt(() => Effect.sync(() => moveOn(state, at))),
      Effect.catchAll((fault) => {
        if (fault.kind === "token" && !hasRenewedToken) return call(state, path, body, answer, left, true)
        if (fault.kind !== "endpoint") return toStoreError(state, endpoint, fault)
        moveOn(state, at)
        return left > 1
          ? call(state, path, body, answer, left - 1, hasRenewedToken)
          : toStoreError(state, endpoint, fault)
      })
    )
  })

/** Splits a stream into lines of JSON. A line that does not end within the limit fails. */
const parseLines = <R>(
  bytes: Stream.Stream<Uint8Array, Fault, R>
): Stream.Stream<unknown, Fault, R> =>
  Stream.suspend(() => {
    const decoder = new TextDecoder()
    let rest = ""
    return Stream.mapConcatEffect(bytes, (chunk): Effect.Effect<ReadonlyArray<unknown>, Fault> => {
      const [first = "", ...others] = decoder.decode(chunk, { stream: true }).split("\n")
      const lines = [rest + first, ...others]
      rest = lines.pop() ?? ""
      if (rest.length > largest) return Effect.fail(tooLarge)
      return Effect.try({
        try: () => lines.filter((line) => line.trim() !== "").map((line): unknown => JSON.parse(line)),
        catch: (cause) => unreachable("a line of its answer is not JSON", cause)
      })
    })
  })

const lines = (state: State, path: string, body: unknown): Stream.Stream<unknown, StoreError> =>
  Stream.unwrap(Effect.gen(function*() {
    const endpoint = state.url.endpoints[state.preferred] ?? ""
    const failed = (fault: Fault) => toStoreError(state, endpoint, fault)
    const token = yield* Effect.mapError(tokenFor(state, endpoint), failed)
    const response = yield* Effect.mapError(open(state, endpoint, path, body, token), failed)
    const bytes = Stream.mapError(response.stream, (error) => unreachable(reasonOf(error), error))
    return parseLines(bytes).pipe(
      // Not `mapEffect`: with it, each start of the program would evaluate more modules of Effect, also without a lease.
      Stream.mapConcatEffect((json): Effect.Effect<ReadonlyArray<unknown>, Fault> =>
        Option.match(EtcdAnswer.faultIn(json), { onNone: () => Effect.succeed([json]), onSome: Effect.fail })
      ),
      Stream.tapError(({ kind }) =>
        Effect.sync(() => {
          if (kind === "token" && state.token === token) state.token = undefined
        })
      ),
      Stream.mapError(failed)
    )
  }))

/** Prepares requests to a cluster. Sends none yet. */
export const make = (
  url: EtcdUrl,
  endpointTimeout: Duration.Duration,
  advice: string
): Effect.Effect<EtcdGateway, never, HttpClient.HttpClient> =>
  Effect.map(HttpClient.HttpClient, (client) => {
    const state: State = {
      // Renewals and looks go on for ever: a span for each would drown out the rest.
      client: HttpClient.withTracerDisabledWhen(client, () => true),
      url,
      endpointTimeout,
      advice,
      preferred: 0,
      token: undefined
    }
    return {
      location: url.location,
      call: (path, body, answer) => call(state, path, body, answer),
      lines: (path, body) => lines(state, path, body),
      forgetToken: Effect.sync(() => {
        state.token = undefined
      }),
      ask: (endpoint, path, body, answer) => ask(state, endpoint, path, body, answer)
    }
  })
