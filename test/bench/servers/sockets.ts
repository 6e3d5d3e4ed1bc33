/**
 * A server with the library `ws` and without a gateway: `sockets <port> <folder>`. It does not use the folder. On SIGTERM it closes
 * every WebSocket with code 1001. It ends when all WebSockets are closed.
 */
import { createServer } from "node:http"
import { WebSocketServer } from "ws"

const server = createServer()
const sockets = new WebSocketServer({ server })

process.once("SIGTERM", () => {
  server.close()
  for (const socket of sockets.clients) socket.close(1001)
})

server.listen(Number(process.argv.at(-2)), "127.0.0.1", () => process.stdout.write("listening\n"))
