/**
 * Decides which requests Node hands over as upgrades. The gateway upgrades a connection to WebSocket only. If a request has an
 * `Upgrade` to another protocol, the gateway ignores that header (RFC 9110, 7.8) and treats the request as a plain one. Clients
 * such as curl and Java's HTTP client offer HTTP/2 with `Upgrade`. They continue in HTTP/1.1 if the server ignores the offer.
 */
import * as Http from "node:http"

const webSocket = "websocket"

/** The members of an `Upgrade` list in lower case, because their names are case-insensitive (RFC 9110, 7.8). */
const protocolsOf = (header: string | undefined): ReadonlyArray<string> =>
  (header ?? "").split(",").map((protocol) => protocol.trim().toLowerCase())

/** Only GET opens a WebSocket (RFC 6455, 4.1). `Upgrade` in an HTTP/1.0 request is ignored (RFC 9110, 7.8). */
const opensWebSocket = ({ headers, httpVersion, method }: Http.IncomingMessage): boolean =>
  method === "GET" && httpVersion !== "1.0" && protocolsOf(headers.upgrade).includes(webSocket)

/**
 * A request that decides by its property `upgrade` whether Node hands over its connection. Node gives the connection to a
 * listener for "upgrade" or "connect" only if `upgrade` is true.
 *
 * A plain `IncomingMessage` is not enough. As soon as a server has an "upgrade" listener, Node hands over every request with an
 * `Upgrade` (nodejs/node#57054; `parserOnIncoming` in lib/_http_server.js). Node's option `shouldUpgradeCallback` can decide for
 * each request (nodejs/node#59824). But it needs Node 22.21 or 24.9, and this package supports Node 20.
 */
export class UpgradeRequest extends Http.IncomingMessage {
  // The field has `declare`, because the constructor of the base class sets `upgrade`, whose setter writes this field. An
  // ordinary field would be reset to `undefined` after that constructor.
  declare private asksForUpgrade: boolean | undefined
  get upgrade(): boolean {
    return this.asksForUpgrade === true && (this.method === "CONNECT" || opensWebSocket(this))
  }
  set upgrade(asks: boolean | null) {
    if (asks === true) this.asksForUpgrade = true
  }
  /** Whether the request has an `Upgrade` that the gateway ignores. */
  get isIgnored(): boolean {
    return this.asksForUpgrade === true && !this.upgrade
  }
}

/** Removes the other protocols that a client offers in `Upgrade`, because `ws` accepts only `websocket` there. */
export const offerOnlyWebSocket = ({ headers }: Http.IncomingMessage): void => {
  headers.upgrade = webSocket
}

/** A valid `Sec-WebSocket-Key`: 16 bytes in base64 (RFC 6455, 4.1). */
const key = /^[+/0-9A-Za-z]{22}==$/

/** The syntax of a name in a header: a `token` of RFC 9110, 5.6.2. */
const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/

/** Whether a header is a list of names without a repeated name (RFC 6455, 4.1). */
const isProtocolList = (header: string): boolean => {
  const names = header.split(",").map((name) => name.replace(/^[ \t]+|[ \t]+$/g, ""))
  return names.every((name) => token.test(name)) && new Set(names).size === names.length
}

/**
 * Returns the reason why a request cannot become a WebSocket, or `undefined` if it can. A request with such a reason must not
 * reach `ws`, because `ws` would refuse it without calling back (8.23.0; `handleUpgrade` in lib/websocket-server.js).
 */
export const handshakeFault = ({ headers }: Http.IncomingMessage): string | undefined => {
  if (!key.test(headers["sec-websocket-key"] ?? "")) return "Sec-WebSocket-Key must be 16 bytes in base64"
  if (!["13", "8"].includes(headers["sec-websocket-version"] ?? "")) return "Sec-WebSocket-Version must be 13 or 8"
  const protocols = headers["sec-websocket-protocol"]
  if (protocols !== undefined && !isProtocolList(protocols)) {
    return "Sec-WebSocket-Protocol must be a list of different names"
  }
  return undefined
}

/**
 * The key of a listener on Node's HTTP parser: `HTTPParser.kOnExecute` in src/node_http_parser.cc. The parser calls this listener
 * after each chunk, with the number of bytes parsed.
 */
const onExecuteKey = 5

const isCallable = (value: unknown): value is (this: unknown, ...args: ReadonlyArray<unknown>) => unknown =>
  typeof value === "function"

/**
 * Remembers the parser listeners that `keepRest` has set, so that `keepRest` does not set one twice. The set has the listeners
 * and not their parsers, because Node reuses a parser for later connections and then sets its own listener again.
 */
const installed = new WeakSet<object>()

/**
 * Makes Node's parser parse the rest of a chunk after a request with an ignored `Upgrade`.
 *
 * After a request with an `Upgrade`, llhttp (the parser in Node) stops, even if the gateway ignores the upgrade. Node (20 to 26;
 * `onParserExecuteCommon` in lib/_http_server.js) then drops the rest of the chunk. That rest can contain further requests, which
 * the client has pipelined. Call this function synchronously in the "request" listener, while Node still parses the chunk. For a
 * request without an ignored `Upgrade`, it does nothing.
 */
export const keepRest = (request: Http.IncomingMessage): void => {
  if (!(request instanceof UpgradeRequest) || !request.isIgnored) return
  const { socket } = request
  const parser: unknown = Reflect.get(socket, "parser")
  if (typeof parser !== "object" || parser === null) return
  const onExecute: unknown = Reflect.get(parser, onExecuteKey)
  const currentBuffer: unknown = Reflect.get(parser, "getCurrentBuffer")
  const execute: unknown = Reflect.get(parser, "execute")
  if (!isCallable(onExecute) || !isCallable(currentBuffer) || !isCallable(execute) || installed.has(onExecute)) return
  // After the last message of a connection, llhttp parses 0 bytes and fails. After an upgrade, Node does not report that error.
  // Without the check `parsed > 0`, the loop in `parse` would then try the same bytes again and never end.
  const restOf = (chunk: unknown, parsed: unknown): Buffer =>
    Buffer.isBuffer(chunk) && typeof parsed === "number" && parsed > 0 ? chunk.subarray(parsed) : Buffer.alloc(0)
  const parse = (rest: Buffer): void => {
    let left = rest
    // If the socket no longer has this parser, its connection has ended or belongs to a WebSocket. The rest is then not parsed.
    while (left.length > 0 && Reflect.get(socket, "parser") === parser) {
      const chunk = left
      // If a client is slow to read the answers, Node pauses its connection. During the pause, Node does not read from the
      // socket, so the rest of this chunk waits as well.
      if (Reflect.get(socket, "_paused") === true) {
        socket.once("resume", () => parse(chunk))
        return
      }
      left = Buffer.alloc(0)
      Reflect.set(parser, "execute", (bytes: unknown) => {
        const parsed = execute.call(parser, bytes)
        left = restOf(bytes, parsed)
        return parsed
      })
      socket.emit("data", chunk)
      Reflect.deleteProperty(parser, "execute")
    }
  }
  const onExecuteAndRest = (parsed: unknown) => {
    const chunk = currentBuffer.call(parser)
    onExecute.call(parser, parsed)
    parse(restOf(chunk, parsed))
  }
  installed.add(onExecuteAndRest)
  Reflect.set(parser, onExecuteKey, onExecuteAndRest)
}
