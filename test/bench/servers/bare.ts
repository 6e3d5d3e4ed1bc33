/** `node:http` alone: `bare <port> <folder>`. */
import { createServer } from "node:http"
import { body } from "./answer.ts"

const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(body) }

createServer((_, response) => response.writeHead(200, headers).end(body))
  .listen(Number(process.argv.at(-2)), "127.0.0.1", () => process.stdout.write("listening\n"))
