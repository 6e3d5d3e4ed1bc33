/**
 * Reads the listening sockets that lsof(8) and the netstat of Windows print. Pure.
 *
 * @since 0.1.0
 */
import { canonical } from "../Address.ts"
import type { PortListener } from "./PortListener.ts"

const splitAddress = (text: string): { readonly host: string; readonly port: number } | undefined => {
  const match = /^(.*):(\d{1,5})$/.exec(text)
  return match?.[1] === undefined ? undefined : { host: match[1].replace(/^\[(.*)\]$/, "$1"), port: Number(match[2]) }
}

/**
 * Reads the output of `lsof -F ptn`. Each line is one field, and its first letter names the field. A process (`p`) is
 * followed by the fields of each of its files: the descriptor (`f`), the kind (`t`) and the address (`n`).
 *
 * @since 0.1.0
 * @category decoding
 */
export const parseLsof = (text: string): ReadonlyArray<PortListener> => {
  const listeners: Array<PortListener> = []
  let pid: number | undefined
  let kind = ""
  for (const line of text.split("\n")) {
    const [field, value] = [line.slice(0, 1), line.slice(1).trim()]
    if (field === "p") pid = /^\d+$/.test(value) ? Number(value) : undefined
    if (field === "f") kind = ""
    if (field === "t") kind = value
    if (field !== "n" || pid === undefined) continue
    const address = splitAddress(value)
    const host = address?.host === "*" ? kind === "IPv6" ? "::" : "0.0.0.0" : canonical(address?.host ?? "")
    if (address !== undefined && host !== undefined) listeners.push({ host, port: address.port, pid })
  }
  return listeners
}

/**
 * Reads the output of `netstat -ano` on Windows. A listener is recognized by its remote address, which is a wildcard with
 * port 0. The state column cannot be used, because it is in the language of the system.
 *
 * @since 0.1.0
 * @category decoding
 */
export const parseNetstat = (text: string): ReadonlyArray<PortListener> =>
  text.split("\n").flatMap((line) => {
    const words = line.trim().split(/\s+/)
    const [protocol, local = "", remote = ""] = words
    const pid = words.at(-1) ?? ""
    if (protocol !== "TCP" || words.length < 5 || !/^(0\.0\.0\.0|\[::\]):0$/.test(remote) || !/^\d+$/.test(pid)) {
      return []
    }
    const address = splitAddress(local)
    // The zone at the end of a link-local address (`%12`) is removed, because `canonical` accepts no zone.
    const host = canonical((address?.host ?? "").replace(/%.*$/, ""))
    return address === undefined || host === undefined ? [] : [{ host, port: address.port, pid: Number(pid) }]
  })
