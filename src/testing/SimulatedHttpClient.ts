/**
 * An `HttpClient` that sends the requests of a test to the listeners on simulated ports.
 *
 * @since 0.1.0
 */
import * as Headers from "@effect/platform/Headers"
import * as HttpClient from "@effect/platform/HttpClient"
import { RequestError } from "@effect/platform/HttpClientError"
import type * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { Address } from "../Address.ts"
import type { PortTable } from "./PortTable.ts"

const addressOf = ({ hostname, port }: URL): Address => ({
  host: hostname.replace(/^\[|\]$/g, ""),
  port: port === "" ? 80 : Number(port)
})

const bodyOf = (
  { body }: HttpClientRequest.HttpClientRequest
): Effect.Effect<NonNullable<RequestInit["body"]> | null> => {
  switch (body._tag) {
    case "Empty":
      return Effect.succeed(null)
    case "Uint8Array":
      return Effect.succeed(new Uint8Array(body.body))
    case "FormData":
      return Effect.succeed(body.formData)
    case "Stream":
      return Stream.toReadableStreamEffect(body.stream)
    case "Raw":
      return Effect.succeed(isBodyInit(body.body) ? body.body : String(body.body))
  }
}

const isBodyInit = (value: unknown): value is Blob | ReadableStream | URLSearchParams =>
  value instanceof Blob || value instanceof ReadableStream || value instanceof URLSearchParams

const webRequest = (request: HttpClientRequest.HttpClientRequest, url: URL): Effect.Effect<Request> =>
  Effect.map(bodyOf(request), (body) =>
    new Request(url, {
      method: request.method,
      // The header `content-length` is left out, because the length follows from the body.
      headers: Headers.remove(request.headers, "content-length"),
      body,
      duplex: "half"
    }))

/** Makes a client that sends each request to the listener on the address in its URL. */
export const make = (table: Pick<PortTable, "find">): HttpClient.HttpClient =>
  HttpClient.make((request, url) =>
    Effect.gen(function*() {
      const bound = yield* table.find(addressOf(url))
      const response = yield* bound.request(yield* webRequest(request, url))
      return HttpClientResponse.fromWeb(
        request,
        HttpServerResponse.toWeb(response, { withoutBody: request.method === "HEAD" })
      )
    }).pipe(
      Effect.mapError((cause) => new RequestError({ request, reason: "Transport", cause, description: cause.message }))
    )
  )
