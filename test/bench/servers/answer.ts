/** The answer of each server to `GET /`. */
export const body = JSON.stringify({ hello: "world" })
