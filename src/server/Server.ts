/**
 * The parts of the listener: its address, the access rules, the token, the sockets, and its shutdown.
 *
 * @example
 * import { Server } from "gateway-lock"
 *
 * const url = Server.Address.toUrl({ host: "::1", port: 18789 }) // ws://[::1]:18789
 * const isSecret = Server.AccessToken.isValid("short") // false
 *
 * @since 0.1.0
 */
export * as Address from "../Address.ts"
export * as Access from "./Access.ts"
export * as AccessToken from "./AccessToken.ts"
export * as Authorization from "./Authorization.ts"
export * as DrainCut from "./DrainCut.ts"
export * as Lifecycle from "./Lifecycle.ts"
export * as NodeServerSocket from "./node/NodeServerSocket.ts"
export * as ServerSocket from "./ServerSocket.ts"
export * as StopRequest from "./StopRequest.ts"
export * as TokenFile from "./TokenFile.ts"
