import { HttpRouter, HttpServer, HttpServerResponse } from "@effect/platform"
import { assert, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { Gateway } from "gateway-lock"
import { SimulatedHost } from "gateway-lock/testing"

const App = HttpRouter.empty.pipe(
  HttpRouter.get("/hello", HttpServerResponse.text("world")),
  HttpServer.serve()
)
const address = { host: "127.0.0.1", port: 18789 }

it.effect("my app survives the crash of its predecessor", () =>
  Effect.gen(function*() {
    const host = yield* SimulatedHost.make
    const start = host.spawn(Gateway.launch(App.pipe(Layer.provideMerge(Gateway.layerPlatform()))))
    const hello = Effect.zipRight(host.settle, host.ports.get(address, "/hello"))

    const first = yield* start
    assert.strictEqual((yield* hello).body, "world")
    yield* first.kill // no finalizer runs, the kernel takes back what it lent

    const second = yield* start
    assert.strictEqual((yield* hello).body, "world")
    assert.deepStrictEqual(host.ports.owners(18789), [second.pid])
  }))
