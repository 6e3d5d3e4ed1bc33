/**
 * An `HttpApi` on the simulated host. What `Gateway.layer` gives it besides a server (`HttpPlatform`, `Etag.Generator`, `Path`)
 * comes from `HttpServer.layerContext`, for the app alone: its `FileSystem` is not the simulated host's.
 */
import { HttpApi, HttpApiBuilder, HttpApiEndpoint, HttpApiGroup, HttpServer } from "@effect/platform"
import { assert, it } from "@effect/vitest"
import { Effect, Layer, Schema } from "effect"
import { Gateway } from "gateway-lock"
import { SimulatedHost } from "gateway-lock/testing"

class Greetings extends HttpApiGroup.make("greetings")
  .add(HttpApiEndpoint.get("hello", "/hello").addSuccess(Schema.Struct({ hello: Schema.String })))
{}

class Api extends HttpApi.make("greeter").add(Greetings) {}

const GreetingsLive = HttpApiBuilder.group(
  Api,
  "greetings",
  (handlers) => handlers.handle("hello", () => Effect.succeed({ hello: "world" }))
)

const App = HttpApiBuilder.serve().pipe(
  Layer.provide(HttpApiBuilder.middlewareOpenApi({ path: "/openapi.json" })),
  Layer.provide(HttpApiBuilder.api(Api)),
  Layer.provide(GreetingsLive),
  Layer.provide(HttpServer.layerContext)
)
const address = { host: "127.0.0.1", port: 18789 }

it.effect("my API answers, and survives the crash of its predecessor", () =>
  Effect.gen(function*() {
    const host = yield* SimulatedHost.make
    const start = host.spawn(Gateway.launch(App.pipe(Layer.provideMerge(Gateway.layerPlatform()))))
    const hello = Effect.zipRight(host.settle, host.ports.get(address, "/hello"))

    const first = yield* start
    assert.strictEqual((yield* hello).body, "{\"hello\":\"world\"}")
    assert.include((yield* host.ports.get(address, "/openapi.json")).body, "\"/hello\"")
    yield* first.kill

    const second = yield* start
    assert.strictEqual((yield* hello).body, "{\"hello\":\"world\"}")
    assert.deepStrictEqual(host.ports.owners(18789), [second.pid])
  }))
