/**
 * The answers of etcd's JSON gateway, and what its errors mean. Pure.
 *
 * The gateway writes 64-bit integers as strings, writes keys and values in base64, and omits `false`, 0 and empty values. So every
 * field has a default.
 */
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"

/** Why a request did not succeed. */
export interface Fault {
  /**
   * - `endpoint`: this endpoint does not answer for the cluster now. Another one may.
   * - `token`: the authentication token is no longer valid.
   * - `failed`: the cluster answered, and cannot do it now.
   * - `refused`: the cluster answered, and will not do it.
   */
  readonly kind: "endpoint" | "token" | "failed" | "refused"
  readonly reason: string
  /** The code of gRPC, or 0 if the answer has none. */
  readonly code: number
  readonly cause?: unknown
}

// Effect's own schemas `BigIntFromNumber` and `StringFromBase64` would be made by each start of the program, also without a lease.
const BigIntFromInt = Schema.transform(Schema.Int, Schema.BigIntFromSelf, {
  strict: true,
  decode: BigInt,
  encode: Number
})
const Base64 = Schema.String.pipe(Schema.pattern(/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/))
const TextFromBase64 = Schema.transform(Base64, Schema.String, {
  strict: true,
  decode: (encoded) => Buffer.from(encoded, "base64").toString("utf8"),
  encode: (text) => Buffer.from(text, "utf8").toString("base64")
})

const int64 = Schema.optionalWith(Schema.Union(Schema.BigInt, BigIntFromInt), { default: () => 0n })
const flag = Schema.optionalWith(Schema.Boolean, { default: () => false })
const text = Schema.optionalWith(Schema.String, { default: () => "" })
const base64 = Schema.optionalWith(TextFromBase64, { default: () => "" })

const header = Schema.optionalWith(Schema.Struct({ revision: int64 }), { default: () => ({ revision: 0n }) })

/** A key with its value. */
export const KeyValue = Schema.Struct({
  key: base64,
  value: base64,
  create_revision: int64,
  mod_revision: int64,
  version: int64,
  lease: int64
})
export type KeyValue = Schema.Schema.Type<typeof KeyValue>

const kvs = Schema.optionalWith(Schema.Array(KeyValue), { default: () => [] })

export const Range = Schema.Struct({ header, kvs })

export const Txn = Schema.Struct({
  header,
  succeeded: flag,
  responses: Schema.optionalWith(
    Schema.Array(
      Schema.Struct({
        response_range: Schema.optionalWith(Schema.Struct({ kvs }), { default: () => ({ kvs: [] }) })
      })
    ),
    { default: () => [] }
  )
})

export const LeaseGrant = Schema.Struct({ ID: int64, TTL: int64, error: text })

/** The first answer of the stream. Without a TTL the lease is gone. */
export const LeaseKeepAlive = Schema.Struct({
  result: Schema.optionalWith(Schema.Struct({ TTL: int64 }), { default: () => ({ TTL: 0n }) })
})

export const Authenticate = Schema.Struct({ token: text })

/** One line of a watch. */
export const Watch = Schema.Struct({
  result: Schema.Struct({
    header,
    created: flag,
    canceled: flag,
    cancel_reason: text,
    compact_revision: int64,
    events: Schema.optionalWith(
      Schema.Array(Schema.Struct({ kv: Schema.Struct({ mod_revision: int64 }) })),
      { default: () => [] }
    )
  })
})

/** 3.4 repeats the message as `error`. In a stream, the error is an object below `error`. */
const plainError = Schema.Struct({ code: Schema.Number, message: text })
const ErrorBody = Schema.Union(
  plainError,
  Schema.Struct({ error: Schema.Struct({ grpc_code: Schema.Number, message: text }) }),
  Schema.Struct({ error: plainError })
)
const decodeError = Schema.decodeUnknownOption(ErrorBody)

/** The codes of gRPC that are used here. */
export const codes = {
  canceled: 1,
  unknown: 2,
  invalidArgument: 3,
  deadlineExceeded: 4,
  notFound: 5,
  permissionDenied: 7,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  unauthenticated: 16
} as const

/** The cluster may do it if another member is asked, or later. */
const ofEndpoint: ReadonlySet<number> = new Set([
  codes.canceled,
  codes.unknown,
  codes.deadlineExceeded,
  codes.internal,
  codes.unavailable
])

const kindOf = (code: number, message: string): Fault["kind"] => {
  // The second one: users or roles have changed since the token was issued.
  if (code === codes.unauthenticated || message.includes("revision of auth store is old")) return "token"
  if (ofEndpoint.has(code)) return "endpoint"
  if (code === codes.permissionDenied || code === codes.unimplemented || code === codes.invalidArgument) {
    return "refused"
  }
  return message.includes("authentication is not enabled") ? "refused" : "failed"
}

const meaningOf = (message: string): string => {
  if (message.includes("user name is empty")) return `${message}: authentication is on, so the URL needs name:password@`
  if (message.includes("authentication is not enabled")) return `${message}: remove name:password@ from the URL`
  if (message.includes("database space exceeded")) {
    return `${message}: compact and defragment etcd, then run etcdctl alarm disarm`
  }
  return message
}

/** Reads an error of etcd. `None`: the JSON is no error of etcd. */
export const faultIn = (json: unknown): Option.Option<Fault> =>
  Option.map(decodeError(json), (body) => {
    const { code, message } = "code" in body
      ? body
      : "grpc_code" in body.error
      ? { code: body.error.grpc_code, message: body.error.message }
      : body.error
    return { kind: kindOf(code, message), reason: meaningOf(message.replace(/^etcdserver: /, "etcd: ")), code }
  })

const firstLine = (body: string): string => {
  const line = body.replaceAll(/<[^>]*>/g, " ").trim().split(/[\r\n]/, 1)[0]?.trim() ?? ""
  return line.length > 100 ? `${line.slice(0, 100)}…` : line
}

/** What an answer means that is not JSON of etcd: of a proxy, or of a server that is not etcd. */
const foreign = (status: number, body: string): Fault => {
  const said = firstLine(body)
  return {
    kind: status === 404 || status === 401 || status === 403 ? "refused" : "endpoint",
    reason: `HTTP ${status}${said === "" ? "" : ` "${said}"`}: expected the JSON gateway of etcd 3.4 or later`,
    code: 0
  }
}

/** Reads the body of an answer. */
export const read = <A, I>(
  schema: Schema.Schema<A, I>,
  status: number,
  body: string
): Either.Either<A, Fault> => {
  let json: unknown
  try {
    json = JSON.parse(body)
  } catch {
    return Either.left(foreign(status, body))
  }
  const fault = faultIn(json)
  if (Option.isSome(fault)) return Either.left(fault.value)
  if (status !== 200) return Either.left(foreign(status, body))
  return Either.mapLeft(Schema.decodeUnknownEither(schema)(json), () => foreign(status, body))
}
