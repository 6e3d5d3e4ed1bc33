/**
 * The status page for an app of your own, what it shows of other gateways, and the frames that it reads. The program imports
 * the modules themselves: a gateway needs no decoder for its own frames.
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
