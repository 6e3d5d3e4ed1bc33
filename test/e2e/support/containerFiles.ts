/**
 * Reads the container files in `test/examples/containers` as strictly as a container engine does: a key that the schemas below
 * do not have is an error.
 */
import { Effect, Schema } from "effect"
import * as Fs from "node:fs/promises"
import { fileURLToPath } from "node:url"
import * as Yaml from "yaml"

const read = (name: string): Effect.Effect<string> =>
  Effect.promise(() =>
    Fs.readFile(fileURLToPath(new URL(`../../examples/containers/${name}`, import.meta.url)), "utf8")
  )

const strict = { onExcessProperty: "error" } as const
const optional = Schema.optional
const Strings = Schema.Array(Schema.String)

/** Parses a duration in whole seconds, such as `30s`, from one of the container files. */
export const seconds = (text: string): number => {
  const match = /^(\d+)s$/.exec(text)
  if (match === null) throw new Error(`no whole seconds: ${text}`)
  return Number(match[1])
}

// ---------------------------------------------------------------------------
// Dockerfile
// ---------------------------------------------------------------------------

export interface Dockerfile {
  /** The instructions of the last stage, in order. */
  readonly last: ReadonlyArray<readonly [instruction: string, rest: string]>
  readonly env: Readonly<Record<string, string>>
  /** Returns the arguments of an instruction. Throws unless the instruction occurs exactly once. */
  readonly only: (instruction: string) => string
  /** The words of an instruction whose arguments are in exec form, that is, a JSON array of strings. */
  readonly exec: (instruction: string) => ReadonlyArray<string>
}

const decodeWords = Schema.decodeUnknownSync(Schema.parseJson(Strings))

/**
 * Splits the Dockerfile into instructions, as the Dockerfile reference defines them. An instruction whose line ends with a
 * backslash continues on the next line.
 */
export const dockerfile: Effect.Effect<Dockerfile> = Effect.map(read("Dockerfile"), (text) => {
  const instructions = text
    .split("\n")
    .filter((line) => !/^\s*(?:#|$)/.test(line))
    .join("\n")
    .replace(/\\\n\s*/g, " ")
    .split("\n")
    .map((line) => {
      const match = /^([A-Z]+)\s+(.*)$/.exec(line)
      if (match?.[1] === undefined || match[2] === undefined) throw new Error(`no instruction: ${line}`)
      return [match[1], match[2]] as const
    })
  const last = instructions.slice(instructions.findLastIndex(([instruction]) => instruction === "FROM"))
  const only = (instruction: string) => {
    const [found, ...more] = last.filter(([name]) => name === instruction)
    if (found === undefined || more.length > 0) throw new Error(`not once: ${instruction}`)
    return found[1]
  }
  const env = last.filter(([name]) => name === "ENV").flatMap(([, rest]) => rest.split(/\s+(?=[A-Z_]+=)/))
  return {
    last,
    env: Object.fromEntries(env.map((pair) => {
      const at = pair.indexOf("=")
      return [pair.slice(0, at), pair.slice(at + 1).replace(/^"(.*)"$/, "$1")] as const
    })),
    only,
    exec: (instruction) => decodeWords(/\[.*\]$/.exec(only(instruction))?.[0])
  }
})

// ---------------------------------------------------------------------------
// The Compose file. The keys are those of the Compose specification.
// ---------------------------------------------------------------------------

const ComposeService = Schema.Struct({
  image: Schema.String,
  build: Schema.Struct({ context: Schema.String, dockerfile: Schema.String }),
  init: Schema.Boolean,
  stop_grace_period: Schema.String,
  restart: Schema.Literal("no", "always", "on-failure", "unless-stopped"),
  read_only: Schema.Boolean,
  tmpfs: Strings,
  cap_drop: Strings,
  security_opt: Strings,
  secrets: Strings,
  volumes: Strings,
  environment: optional(Schema.Record({ key: Schema.String, value: Schema.String })),
  ports: optional(Strings),
  command: optional(Strings),
  healthcheck: optional(Schema.Struct({ disable: Schema.Boolean })),
  networks: optional(Schema.Struct({ default: Schema.Struct({ aliases: Strings }) }))
})

const Compose = Schema.Struct({
  name: Schema.String,
  services: Schema.Struct({ gateway: ComposeService, standby: ComposeService }),
  volumes: Schema.Record({ key: Schema.String, value: Schema.Struct({}) }),
  secrets: Schema.Record({ key: Schema.String, value: Schema.Struct({ file: Schema.String }) }),
  // An extension field of Compose. Each service takes the content of this field into its own settings by the YAML merge key `<<`.
  "x-gateway": Schema.Unknown
})

export const compose: Effect.Effect<typeof Compose.Type> = Effect.flatMap(
  read("compose.yaml"),
  (text) => Effect.orDie(Schema.decodeUnknown(Compose, strict)(Yaml.parse(text, { merge: true, strict: true })))
)

// ---------------------------------------------------------------------------
// Kubernetes manifests. The keys are those of the API reference, core/v1 and apps/v1.
// ---------------------------------------------------------------------------

const Metadata = Schema.Struct({
  name: optional(Schema.String),
  labels: optional(Schema.Record({ key: Schema.String, value: Schema.String }))
})

const Labels = Schema.Struct({ app: Schema.String })

const Probe = Schema.Struct({
  httpGet: Schema.Struct({ path: Schema.String, port: Schema.String }),
  periodSeconds: Schema.Int,
  timeoutSeconds: optional(Schema.Int),
  failureThreshold: optional(Schema.Int)
})

const Service = Schema.Struct({
  apiVersion: Schema.Literal("v1"),
  kind: Schema.Literal("Service"),
  metadata: Metadata,
  spec: Schema.Struct({
    clusterIP: Schema.Literal("None"),
    selector: Labels,
    ports: Schema.Tuple(Schema.Struct({ name: Schema.String, port: Schema.Int, targetPort: Schema.String }))
  })
})

const Container = Schema.Struct({
  name: Schema.String,
  image: Schema.String,
  command: Strings,
  args: Strings,
  env: Schema.Array(Schema.Struct({ name: Schema.String, value: Schema.String })),
  ports: Schema.Tuple(Schema.Struct({ name: Schema.String, containerPort: Schema.Int })),
  startupProbe: Probe,
  livenessProbe: Probe,
  readinessProbe: Probe,
  lifecycle: Schema.Struct({ preStop: Schema.Struct({ exec: Schema.Struct({ command: Strings }) }) }),
  securityContext: Schema.Struct({
    allowPrivilegeEscalation: Schema.Boolean,
    readOnlyRootFilesystem: Schema.Boolean,
    capabilities: Schema.Struct({ drop: Strings })
  }),
  resources: Schema.Struct({
    requests: Schema.Struct({ cpu: Schema.String, memory: Schema.String }),
    limits: Schema.Struct({ memory: Schema.String })
  }),
  volumeMounts: Schema.Array(
    Schema.Struct({ name: Schema.String, mountPath: Schema.String, readOnly: optional(Schema.Boolean) })
  )
})

const StatefulSet = Schema.Struct({
  apiVersion: Schema.Literal("apps/v1"),
  kind: Schema.Literal("StatefulSet"),
  metadata: Metadata,
  spec: Schema.Struct({
    serviceName: Schema.String,
    replicas: Schema.Int,
    updateStrategy: Schema.Struct({ type: Schema.Literal("RollingUpdate", "OnDelete") }),
    selector: Schema.Struct({ matchLabels: Labels }),
    template: Schema.Struct({
      metadata: Schema.Struct({ labels: Labels }),
      spec: Schema.Struct({
        enableServiceLinks: Schema.Boolean,
        automountServiceAccountToken: Schema.Boolean,
        terminationGracePeriodSeconds: Schema.Int,
        securityContext: Schema.Struct({
          runAsNonRoot: Schema.Boolean,
          runAsUser: Schema.Int,
          runAsGroup: Schema.Int,
          fsGroup: Schema.Int,
          fsGroupChangePolicy: Schema.Literal("Always", "OnRootMismatch"),
          seccompProfile: Schema.Struct({ type: Schema.Literal("RuntimeDefault", "Unconfined") })
        }),
        containers: Schema.Tuple(Container),
        volumes: Schema.Array(Schema.Struct({
          name: Schema.String,
          secret: optional(Schema.Struct({ secretName: Schema.String, defaultMode: Schema.Int })),
          emptyDir: optional(Schema.Struct({ medium: Schema.Literal("Memory"), sizeLimit: Schema.String }))
        }))
      })
    }),
    volumeClaimTemplates: Schema.Tuple(Schema.Struct({
      metadata: Metadata,
      spec: Schema.Struct({
        accessModes: Schema.Array(Schema.Literal("ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany")),
        resources: Schema.Struct({ requests: Schema.Struct({ storage: Schema.String }) })
      })
    }))
  })
})

const Manifests = Schema.Tuple(Service, StatefulSet)

export const kubernetes: Effect.Effect<typeof Manifests.Type> = Effect.flatMap(
  read("kubernetes.yaml"),
  (text) => {
    // Kubernetes reads YAML 1.1, in which 0440 is octal.
    const documents = Yaml.parseAllDocuments(text, { version: "1.1", strict: true })
    return Effect.orDie(
      Schema.decodeUnknown(Manifests, strict)([...documents].map((document) => {
        if (document.errors[0] !== undefined) throw document.errors[0]
        return document.toJS()
      }))
    )
  }
)
