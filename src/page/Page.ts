/**
 * The status page for your own app, the search for other gateways, what the page shows of the process, and the status frames
 * (WebSocket messages) that the page reads. The program `gateway` does not import this module, but only some of the modules below. This module also
 * loads the decoder for frames, which the program does not need.
 *
 * @example
 * import { HttpRouter } from "@effect/platform"
 * import { StatusPage } from "gateway-lock"
 *
 * const router = HttpRouter.empty.pipe(HttpRouter.get("/status", StatusPage.make({ controlPath: "/control" })))
 *
 * @since 0.1.0
 */
export * as Monitor from "./Monitor.ts"
export * as Neighbours from "./Neighbours.ts"
export * as StatusFrame from "./StatusFrame.ts"
export * from "./StatusPage.ts"
