/**
 * Tests that an `HttpApi` app that was written for `NodeHttpServer.layer` also works with `Gateway.layer`, and on a simulated
 * host with `Gateway.layerPlatform`. Only the line that provides the server differs.
 */
import {
  FetchHttpClient,
  FileSystem,
  HttpApi,
  HttpApiBuilder,
  HttpApiClient,
  HttpApiEndpoint,
  HttpApiGroup,
  HttpApiSchema,
  HttpApiSwagger,
  HttpApp,
  HttpClient,
  HttpServer,
  HttpServerResponse,
  Multipart,
  Path
} from "@effect/platform"
import { NodeHttpServer } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Fiber, Layer, Schema, type Scope, TestClock } from "effect"
import { createServer } from "node:http"
import * as Gateway from "../src/Gateway.ts"
import { makeHost, simulated } from "./fixtures/simulated.ts"

class Refused extends Schema.TaggedError<Refused>()("Refused", { why: Schema.String }) {}

class Files extends HttpApiGroup.make("files")
  .add(HttpApiEndpoint.get("hello", "/hello").addSuccess(Schema.String))
  .add(HttpApiEndpoint.get("refused", "/refused").addError(Refused, { status: 409 }))
  .add(HttpApiEndpoint.get("slow", "/slow").addSuccess(Schema.String))
  .add(
    HttpApiEndpoint.post("add", "/notes").setPayload(Schema.Struct({ text: Schema.NonEmptyString }))
      .addSuccess(Schema.Struct({ id: Schema.Number, text: Schema.String }), { status: 201 })
  )
  .add(
    HttpApiEndpoint.post("upload", "/files")
      .setPayload(HttpApiSchema.Multipart(Schema.Struct({ file: Multipart.SingleFileSchema })))
      .addSuccess(Schema.Struct({ name: Schema.String, content: Schema.String }))
  )
  .add(
    HttpApiEndpoint.get("download", "/file").addSuccess(
      Schema.String.pipe(HttpApiSchema.withEncoding({ kind: "Text" }))
    )
  )
{}

class Api extends HttpApi.make("api").add(Files) {}

const FilesLive = HttpApiBuilder.group(Api, "files", (handlers) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const path = yield* Path.Path
    const folder = yield* Effect.orDie(fs.makeTempDirectoryScoped())
    const greeting = path.join(folder, "greeting.txt")
    yield* Effect.orDie(fs.writeFileString(greeting, "hello from a file"))
    return handlers
      .handle("hello", () =>
        Effect.as(
          HttpApp.appendPreResponseHandler((_, response) =>
            Effect.succeed(HttpServerResponse.setHeader(response, "x-greeted", "yes"))
          ),
          "world"
        ))
      .handle("refused", () => new Refused({ why: "not today" }))
      .handle("slow", () => Effect.as(Effect.sleep("1 hour"), "at last"))
      .handle("add", ({ payload }) => Effect.succeed({ id: 1, text: payload.text }))
      .handle("upload", ({ payload: { file } }) =>
        Effect.map(Effect.orDie(fs.readFileString(file.path)), (content) => ({ name: file.name, content })))
      .handleRaw("download", () =>
        Effect.orDie(HttpServerResponse.file(greeting)))
  }))

/** The app, without the layer of the HTTP server that runs it. */
const App = HttpApiBuilder.serve().pipe(
  Layer.provide(HttpApiSwagger.layer({ path: "/docs" })),
  Layer.provide(HttpApiBuilder.middlewareOpenApi({ path: "/openapi.json" })),
  Layer.provide(HttpApiBuilder.api(Api)),
  Layer.provide(FilesLive)
)

const upload = (): FormData => {
  const form = new FormData()
  form.append("file", new Blob(["some bytes"], { type: "text/plain" }), "notes.txt")
  return form
}

/** Checks the answers of the app. They must be the same with every server that can run the app. */
const isServed = (baseUrl: string) =>
  Effect.gen(function*() {
    const { files } = yield* HttpApiClient.make(Api, { baseUrl })
    const [hello, { headers }] = yield* files.hello({ withResponse: true })
    assert.deepStrictEqual([hello, headers["x-greeted"]], ["world", "yes"])
    assert.deepStrictEqual(yield* Effect.flip(files.refused()), new Refused({ why: "not today" }))
    assert.deepStrictEqual(yield* files.add({ payload: { text: "remember" } }), { id: 1, text: "remember" })
    assert.deepStrictEqual(yield* files.upload({ payload: upload() }), { name: "notes.txt", content: "some bytes" })
    assert.strictEqual(yield* files.download(), "hello from a file")

    const client = yield* HttpClient.HttpClient
    const get = (path: string) =>
      Effect.flatMap(client.get(`${baseUrl}${path}`), (response) =>
        Effect.map(response.text, (body) => ({ body, response })))
    const file = yield* get("/file")
    assert.strictEqual(file.response.headers["content-length"], "17")
    assert.match(file.response.headers["etag"] ?? "", /^W?\/?"/)
    assert.include((yield* get("/docs")).body, "swagger-ui")
    assert.include((yield* get("/openapi.json")).body, "\"/notes\"")
    assert.strictEqual((yield* get("/none")).response.status, 404)
    const invalid = yield* client.post(`${baseUrl}/notes`)
    assert.strictEqual(invalid.status, 400)
  })

const baseUrlOf = (context: Context.Context<HttpServer.HttpServer>): string => {
  const { address } = Context.get(context, HttpServer.HttpServer)
  return address._tag === "TcpAddress" ? `http://127.0.0.1:${address.port}` : assert.fail("no TCP address")
}

/** Serves the app on a real port, and checks its answers there with `isServed`. */
const isServedLive = <A extends HttpServer.HttpServer, E>(
  server: Layer.Layer<A | Layer.Layer.Context<typeof App>, E>
): Effect.Effect<void, unknown, Scope.Scope> =>
  Layer.build(App.pipe(Layer.provideMerge(server))).pipe(
    Effect.flatMap((context) => isServed(baseUrlOf(context))),
    Effect.provide(FetchHttpClient.layer)
  )

describe("an HttpApi is served alike", () => {
  it.scopedLive("by NodeHttpServer.layer", () => isServedLive(NodeHttpServer.layer(createServer, { port: 0 })))

  it.scopedLive("by Gateway.layer, in that one line", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const folder = yield* fs.makeTempDirectoryScoped()
      const place = { stateDir: `${folder}/state`, configPath: `${folder}/gateway.json` }
      yield* isServedLive(Gateway.layer({ ...place, port: 0 }))
    }).pipe(Effect.provide(NodeHttpServer.layerContext)))

  simulated("by Gateway.layerPlatform on a simulated host, in that line", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const server = Gateway.layerPlatform({ port: 18789 }).pipe(Layer.provideMerge(host.layer()))
      const context = yield* Layer.build(App.pipe(Layer.provideMerge(server)))
      yield* Effect.provide(isServed(baseUrlOf(context)), host.layerClient)
    }))
})

const address = { host: "127.0.0.1", port: 18789 }
const baseUrl = "http://127.0.0.1:18789"

describe("an HttpApi in a simulated process", () => {
  const start = Gateway.launch(App.pipe(Layer.provideMerge(Gateway.layerPlatform(address))))

  simulated("answers a client of the test, and survives the crash of its predecessor", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const { files } = yield* Effect.provide(HttpApiClient.make(Api, { baseUrl }), host.layerClient)
      const first = yield* host.spawn(start)
      yield* host.settle
      assert.strictEqual(yield* files.hello(), "world")
      yield* first.kill
      assert.strictEqual((yield* Effect.flip(files.hello()))._tag, "RequestError")
      yield* host.spawn(start)
      yield* host.settle
      assert.strictEqual(yield* files.download(), "hello from a file")
    }))

  simulated("serves files of the host that another process has written", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const { files } = yield* Effect.provide(HttpApiClient.make(Api, { baseUrl }), host.layerClient)
      yield* host.spawn(start)
      yield* host.settle
      const [folder = ""] = yield* host.files.readDirectory("/tmp")
      yield* host.files.writeFile(`/tmp/${folder}/greeting.txt`, new TextEncoder().encode("changed"))
      assert.strictEqual(yield* files.download(), "changed")
      // The temporary folder of an uploaded file is removed at the end of the request.
      yield* files.upload({ payload: upload() })
      assert.deepStrictEqual(yield* host.files.readDirectory("/tmp"), [folder])
    }))

  simulated("takes its time from the test's clock", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const { files } = yield* Effect.provide(HttpApiClient.make(Api, { baseUrl }), host.layerClient)
      yield* host.spawn(start)
      yield* host.settle
      const slow = yield* Effect.fork(files.slow())
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(yield* Fiber.join(slow), "at last")
    }))

  simulated("that is killed breaks off what it has not answered", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const { files } = yield* Effect.provide(HttpApiClient.make(Api, { baseUrl }), host.layerClient)
      const process = yield* host.spawn(start)
      yield* host.settle
      const slow = yield* Effect.fork(Effect.flip(files.slow()))
      yield* TestClock.adjust("1 minute")
      yield* process.kill
      const error = yield* Fiber.join(slow)
      assert.isTrue(error._tag === "RequestError" && error.reason === "Transport")
      assert.match(error.message, /socket hang up/)
    }))
})
