/**
 * The status page for your own app, the search for other gateways, and the frames that the page reads. The program
 * `gateway` imports only some of the modules below and not this module, because this module also loads the decoder for
 * frames. The program does not need that decoder.
 *
 * @example
 * import { HttpRouter } from "@effect/platform"
 * import { StatusPage } from "gateway-lock"
 *
 * const router = HttpRouter.empty.pipe(HttpRouter.get("/status", StatusPage.make({ controlPath: "/control" })))
 *
 * @since 0.1.0
 */
export * as Neighbours from "./Neighbours.ts"
export * as StatusFrame from "./StatusFrame.ts"
export * from "./StatusPage.ts"
