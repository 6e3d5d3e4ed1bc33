/**
 * Which requests Node hands over as upgrades. Only WebSockets are spoken; any other `Upgrade` is ignored (RFC 9110, 7.8),
 * and its request is a plain one: curl and Java's client ask for HTTP/2 in this way, and go on in HTTP/1.1 where they do
 * not get it.
 */
import * as Http from "node:http"

const webSocket = "websocket"

/** Members of a list, in any case (RFC 9110, 7.8), whatever version they have. */
const protocolsOf = (header: string | undefined): ReadonlyArray<string> =>
  (header ?? "").split(",").map((protocol) => protocol.trim().toLowerCase())

/** RFC 6455, 4.1: only GET opens a WebSocket. RFC 9110, 7.8: an HTTP/1.0 request upgrades to nothing. */
const opensWebSocket = ({ headers, httpVersion, method }: Http.IncomingMessage): boolean =>
  method === "GET" && httpVersion !== "1.0" && protocolsOf(headers.upgrade).includes(webSocket)

/**
 * A request whose `upgrade` is true only where Node is to hand its connection over.
 *
 * Node (nodejs/node#57054; `parserOnIncoming` in lib/_http_server.js) takes each request for an upgrade as soon as a server
 * listens for any. `shouldUpgradeCallback` tells them apart from Node 24.9 on, which is too late for Node 20.
 */
export class UpgradeRequest extends Http.IncomingMessage {
  // Set by the constructor of the base class, before a field of this class could be initialised.
  declare private asksForUpgrade: boolean | undefined
  get upgrade(): boolean {
    return this.asksForUpgrade === true && (this.method === "CONNECT" || opensWebSocket(this))
  }
  set upgrade(asks: boolean | null) {
    if (asks === true) this.asksForUpgrade = true
  }
  /** It asks for a protocol that is not spoken here. */
  get isIgnored(): boolean {
    return this.asksForUpgrade === true && !this.upgrade
  }
}

/** `ws` wants one protocol in this header, and a client may offer others besides. */
export const offerOnlyWebSocket = ({ headers }: Http.IncomingMessage): void => {
  headers.upgrade = webSocket
}

/** RFC 6455, 4.1: sixteen bytes in base64. */
const key = /^[+/0-9A-Za-z]{22}==$/

/** RFC 9110, 5.6.2. */
const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/

/** Whether it is a list of names, each of them once (RFC 6455, 4.1). */
const isProtocolList = (header: string): boolean => {
  const names = header.split(",").map((name) => name.replace(/^[ \t]+|[ \t]+$/g, ""))
  return names.every((name) => token.test(name)) && new Set(names).size === names.length
}

/**
 * Why a request cannot become a WebSocket, or `undefined`. `ws` (8.23.0; `handleUpgrade` in lib/websocket-server.js) refuses
 * such a request by itself, and does not call back.
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

/** `HTTPParser.kOnExecute` in src/node_http_parser.cc: called after a chunk has been parsed, with how much of it was. */
const onExecuteKey = 5

const isCallable = (value: unknown): value is (this: unknown, ...args: ReadonlyArray<unknown>) => unknown =>
  typeof value === "function"

/** Listeners of ours: Node uses a parser for one connection after another, and sets its own listener each time. */
const tending = new WeakSet<object>()

/**
 * Has the rest of a chunk parsed that llhttp did not look at.
 *
 * Behind a request with an `Upgrade`, llhttp stops even where the upgrade is ignored, and Node (20 to 24;
 * `onParserExecuteCommon` in lib/_http_server.js) drops what else the chunk had: requests that a client has pipelined. To
 * be called while a request is parsed; does nothing for one that has no ignored `Upgrade`.
 */
export const keepRest = (request: Http.IncomingMessage): void => {
  if (!(request instanceof UpgradeRequest) || !request.isIgnored) return
  const { socket } = request
  const parser: unknown = Reflect.get(socket, "parser")
  if (typeof parser !== "object" || parser === null) return
  const onExecute: unknown = Reflect.get(parser, onExecuteKey)
  const currentBuffer: unknown = Reflect.get(parser, "getCurrentBuffer")
  const execute: unknown = Reflect.get(parser, "execute")
  if (!isCallable(onExecute) || !isCallable(currentBuffer) || !isCallable(execute) || tending.has(onExecute)) return
  // Behind the last message of a connection, llhttp parses nothing: an error that Node does not see after an upgrade.
  const restOf = (chunk: unknown, parsed: unknown): Buffer =>
    Buffer.isBuffer(chunk) && typeof parsed === "number" && parsed > 0 ? chunk.subarray(parsed) : Buffer.alloc(0)
  const parse = (rest: Buffer): void => {
    let left = rest
    // Without a parser, the connection has gone, or now belongs to a WebSocket.
    while (left.length > 0 && Reflect.get(socket, "parser") === parser) {
      const chunk = left
      // Paused until an earlier answer has been read. Node does not read from the socket before that either.
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
  const tend = (parsed: unknown) => {
    const chunk = currentBuffer.call(parser)
    onExecute.call(parser, parsed)
    parse(restOf(chunk, parsed))
  }
  tending.add(tend)
  Reflect.set(parser, onExecuteKey, tend)
}
