/** Serves an `HttpApi` on a simulated host, which opens no real port, and calls it by a client. */
import { HttpApi, HttpApiBuilder, HttpApiClient, HttpApiEndpoint, HttpApiGroup } from "@effect/platform"
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
  Layer.provide(GreetingsLive)
)
const address = { host: "127.0.0.1", port: 18789 }

it.effect("my API answers, and survives the crash of its predecessor", () =>
  Effect.gen(function*() {
    const host = yield* SimulatedHost.make
    const start = host.spawn(Gateway.launch(App.pipe(Layer.provideMerge(Gateway.layerPlatform()))))
    const client = yield* Effect.provide(
      HttpApiClient.make(Api, { baseUrl: "http://127.0.0.1:18789" }),
      host.layerClient
    )
    const hello = Effect.zipRight(host.settle, client.greetings.hello())

    const first = yield* start
    assert.deepStrictEqual(yield* hello, { hello: "world" })
    assert.include((yield* host.ports.get(address, "/openapi.json")).body, "\"/hello\"")
    yield* first.kill

    const second = yield* start
    assert.deepStrictEqual(yield* hello, { hello: "world" })
    assert.deepStrictEqual(host.ports.owners(18789), [second.pid])
  }))
