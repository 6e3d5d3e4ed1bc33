/** What each of the servers answers to `GET /`. */
export const body = JSON.stringify({ hello: "world" })
