/**
 * Asks a gateway on its own host every 20 ms whether it is ready, and writes each yes to the judge's Unix socket: the name of the
 * host, the fencing token, and the times of the monotonic clock at which it asked and got the answer.
 *
 * Arguments: the socket, the name of the host, the port of the gateway.
 */
const http = require("node:http")
const net = require("node:net")

const [, , path, host, port] = process.argv
const socket = net.connect(path)
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
const now = () => Number(process.hrtime.bigint()) / 1e6

const get = (path) =>
  new Promise((resolve) => {
    const request = http.get({ host: "127.0.0.1", port, path, agent, timeout: 1000 }, (response) => {
      let body = ""
      response.setEncoding("utf8").on("data", (text) => {
        body += text
      })
      response.on("end", () => resolve({ status: response.statusCode, body }))
      response.on("error", () => resolve({ status: 0, body: "" }))
    })
    request.on("timeout", () => request.destroy())
    request.on("error", () => resolve({ status: 0, body: "" }))
  })

let token = "0"
const probe = async () => {
  const asked = now()
  const { status } = await get("/readyz")
  const answered = now()
  if (status !== 200) token = "0"
  else {
    if (token === "0") token = /^gateway_leader_fencing_token (\d+)/m.exec((await get("/metrics")).body)?.[1] ?? "0"
    if (token !== "0") socket.write(`${host} ${token} ${asked} ${answered}\n`)
  }
  setTimeout(probe, 20)
}
socket.on("connect", () => {
  process.stderr.write("probing\n")
  probe()
})
