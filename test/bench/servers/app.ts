import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { body } from "./answer.ts"

/** The same app, whatever it is served by. */
export const App = HttpServer.serve(
  HttpRouter.get(HttpRouter.empty, "/", HttpServerResponse.text(body, { contentType: "application/json" }))
)
