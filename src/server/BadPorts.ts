/**
 * The ports that browsers refuse to connect to, even if a gateway listens there. Pure.
 */

/** The Fetch Standard's bad ports (https://fetch.spec.whatwg.org/#port-blocking): the ports of other protocols. */
const badPorts: ReadonlySet<number> = new Set([
  1,
  7,
  9,
  11,
  13,
  15,
  17,
  19,
  20,
  21,
  22,
  23,
  25,
  37,
  42,
  43,
  53,
  69,
  77,
  79,
  87,
  95,
  101,
  102,
  103,
  104,
  109,
  110,
  111,
  113,
  115,
  117,
  119,
  123,
  135,
  137,
  139,
  143,
  161,
  179,
  389,
  427,
  465,
  512,
  513,
  514,
  515,
  526,
  530,
  531,
  532,
  540,
  548,
  554,
  556,
  563,
  587,
  601,
  636,
  989,
  990,
  993,
  995,
  1719,
  1720,
  1723,
  2049,
  3659,
  4045,
  4190,
  5060,
  5061,
  6000,
  6566,
  6665,
  6666,
  6667,
  6668,
  6669,
  6679,
  6697,
  10080
])

/** Whether browsers refuse to connect to a port. Other clients, such as curl, do connect. */
export const isBad = (port: number): boolean => badPorts.has(port)

/** The next higher port that browsers connect to. For 65535, the next lower one. */
export const nextAllowed = (port: number): number => {
  const step = port < 65535 ? 1 : -1
  let candidate = port + step
  while (isBad(candidate)) candidate += step
  return candidate
}

/** A one-line warning about a port that browsers refuse. */
export const warning = (port: number): string =>
  `browsers refuse port ${port} (Fetch Standard, port blocking): the status page does not open on it`
