/** The body with which each server of this folder answers `GET /`. */
export const body = JSON.stringify({ hello: "world" })
