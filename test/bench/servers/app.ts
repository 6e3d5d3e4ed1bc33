import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { body } from "./answer.ts"

/** The app that each server serves. */
export const App = HttpServer.serve(
  HttpRouter.get(HttpRouter.empty, "/", HttpServerResponse.text(body, { contentType: "application/json" }))
)
