/** An `HttpApi` with its OpenAPI document. However often the program is started, only one process serves the API. */
import { HttpApi, HttpApiBuilder, HttpApiEndpoint, HttpApiGroup } from "@effect/platform"
import { NodeRuntime } from "@effect/platform-node"
import { Config, Effect, Layer, Ref, Schema } from "effect"
import { Gateway } from "gateway-lock"

const Note = Schema.Struct({ text: Schema.NonEmptyTrimmedString })

class Notes extends HttpApiGroup.make("notes")
  .add(HttpApiEndpoint.get("list", "/notes").addSuccess(Schema.Array(Note)))
  .add(HttpApiEndpoint.post("add", "/notes").setPayload(Note).addSuccess(Note, { status: 201 }))
{}

class Api extends HttpApi.make("notebook").add(Notes) {}

const NotesLive = HttpApiBuilder.group(Api, "notes", (handlers) =>
  Effect.gen(function*() {
    const notes = yield* Ref.make<ReadonlyArray<typeof Note.Type>>([])
    return handlers
      .handle("list", () => Ref.get(notes))
      .handle("add", ({ payload }) => Effect.as(Ref.update(notes, (notes) => [...notes, payload]), payload))
  }))

const Main = HttpApiBuilder.serve().pipe(
  Layer.provide(HttpApiBuilder.middlewareOpenApi({ path: "/openapi.json" })),
  Layer.provide(HttpApiBuilder.api(Api)),
  Layer.provide(NotesLive),
  Layer.provideMerge(Gateway.layerConfig({ port: Config.port("PORT").pipe(Config.withDefault(18789)) }))
)

NodeRuntime.runMain(Gateway.launch(Main))
