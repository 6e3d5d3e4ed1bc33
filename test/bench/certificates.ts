/**
 * The two ways in which the benchmark starts processes. If `NODE_EXTRA_CA_CERTS` names a file of certificates, every start of
 * Node 20 reads it. That takes some tens of milliseconds, in the measured program and in its baseline, so each ratio looks better
 * than it is. The aims are for starts without it.
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { join } from "node:path"
import { rootCertificates } from "node:tls"
import { BenchFailed } from "./processes.ts"

const named = Config.option(Config.nonEmptyString("NODE_EXTRA_CA_CERTS"))

/** The file that the variable names. If it is not set, a file of the certificates that Node itself trusts, for the scope. */
export const file = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const given = yield* named
  if (Option.isSome(given)) return given.value
  const path = join(yield* fs.makeTempDirectoryScoped({ prefix: "gateway-lock-bench-" }), "certificates.pem")
  yield* fs.writeFileString(path, `${rootCertificates.join("\n")}\n`)
  return path
}).pipe(Effect.mapError((error) => new BenchFailed({ reason: `a file of certificates: ${error}` })))
