/**
 * The answers with which the gateway itself refuses a request. Each answer ends its connection.
 */
import * as Http from "node:http"
import type { Duplex } from "node:stream"
import { ownAnswerHeaders } from "../ServerSocket.ts"

type AnswerHeaders = Readonly<Record<string, string>>

/** The header of an answer with status 401. */
export const needsToken = { "www-authenticate": "Bearer" } as const

/** The headers of a refusal. A refusal ends its connection, and whatever else the client has sent is discarded. */
const answerHead = (body: string, headers: AnswerHeaders): AnswerHeaders => ({
  ...ownAnswerHeaders,
  ...headers,
  connection: "close",
  "content-type": "text/plain; charset=utf-8",
  "content-length": String(Buffer.byteLength(body))
})

const lineOf = (reason: string): string => `${reason}\n`

/** Refuses a request that Node has parsed. The refusal is written to the response that Node has made for the request. */
export const refuseRequest = (response: Http.ServerResponse, status: number, reason: string) => {
  const body = lineOf(reason)
  response.shouldKeepAlive = false
  response.writeHead(status, answerHead(body, {}))
  response.end(body)
}

/** Refuses a request that has no response to write to: an upgrade, or bytes that Node could not parse. */
export const refuseRaw = (socket: Duplex, status: number, reason: string, headers: AnswerHeaders = {}) => {
  const body = lineOf(reason)
  const lines = Object.entries(answerHead(body, headers)).map(([name, value]) => `${name}: ${value}\r\n`)
  // Without this listener, a client that does not close its side would keep the connection open permanently.
  socket.once("finish", () => socket.destroy())
  socket.end(`HTTP/1.1 ${status} ${Http.STATUS_CODES[status] ?? ""}\r\n${lines.join("")}\r\n${body}`)
}

/** The answer to bytes that could not be parsed as a request, chosen by the error code of Node or llhttp. */
export const unreadable = (code: string): readonly [status: number, reason: string] => {
  switch (code) {
    case "HPE_HEADER_OVERFLOW":
      return [431, "the headers are too large"]
    case "HPE_CHUNK_EXTENSIONS_OVERFLOW":
      return [413, "a chunk's extensions are too large"]
    case "ERR_HTTP_REQUEST_TIMEOUT":
      return [408, "the request took too long"]
    default:
      return [400, "this is not an HTTP request"]
  }
}
