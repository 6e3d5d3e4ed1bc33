/** The RPC group that the server and its clients share. */
import { Rpc, RpcGroup } from "@effect/rpc"
import { Schema } from "effect"

export class Counting extends RpcGroup.make(
  Rpc.make("add", { payload: { a: Schema.Number, b: Schema.Number }, success: Schema.Number }),
  Rpc.make("count", { payload: { to: Schema.Int }, success: Schema.Number, stream: true })
) {}
