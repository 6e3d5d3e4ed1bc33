import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Option, Schedule } from "effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { parse } from "../../src/cli/CommandLine.ts"
import { defaults as listenerDefaults } from "../../src/server/ListenerOptions.ts"
import { type Setting, settings } from "../../src/settings/GatewayConfig.ts"
import { longestStop } from "../../src/supervisor/ServiceOptions.ts"
import * as Files from "./support/containerFiles.ts"
import * as Containers from "./support/containers.ts"
import * as Gateways from "./support/gateways.ts"
import * as Program from "./support/program.ts"

const all: ReadonlyArray<Setting<unknown>> = Object.values(settings)
const ours = (env: Readonly<Record<string, string>>) =>
  Object.entries(env).filter(([name]) => name.startsWith("GATEWAY_"))

/** Checks that each `GATEWAY_*` variable belongs to a setting and has a value that the setting accepts. */
const assertKnown = (env: Readonly<Record<string, string>>) => {
  for (const [name, value] of ours(env)) {
    const setting = all.find(({ env }) => env === name)
    assert.isDefined(setting, name)
    assert.isTrue(Option.isSome(setting.decode(value)), `${name}=${value}: expected ${setting.allowed}`)
  }
}

/** The longest time that a stop takes, in seconds: the drain timeout that the environment sets, plus the rest of the shutdown. */
const stopOf = (env: Readonly<Record<string, string>>): number => {
  const drainTimeout = Option.getOrElse(
    settings.drainTimeout.decode(env["GATEWAY_DRAIN_TIMEOUT"]),
    () => listenerDefaults.drainTimeout
  )
  return Duration.toSeconds(longestStop({ drainTimeout }))
}

/** Checks that a command runs the program, and that the program parses its arguments as the command with this tag. */
const assertCommand = (words: ReadonlyArray<string>, tag: string) =>
  Effect.gen(function*() {
    assert.deepStrictEqual(words.slice(0, 2), ["node", "dist/main.js"])
    assert.strictEqual((yield* parse(words.slice(2)))._tag, tag)
  })

/** The gateway's image, as the Dockerfile describes it. */
const image = Effect.map(Files.dockerfile, (file): Containers.Image => ({
  workingDirectory: file.only("WORKDIR"),
  command: file.exec("CMD"),
  env: file.env,
  stateMount: file.only("VOLUME"),
  tokenMount: file.env["GATEWAY_TOKEN_FILE"] ?? "/run/secrets/gateway-token"
}))

/** The gateway's image with the command, environment and mounts that the Kubernetes StatefulSet sets. */
const podImage = Effect.gen(function*() {
  const [, { spec: { template: { spec } } }] = yield* Files.kubernetes
  const [container] = spec.containers
  const base = yield* image
  const env = { ...base.env, ...Object.fromEntries(container.env.map(({ name, value }) => [name, value])) }
  return {
    ...base,
    command: [...container.command, ...container.args],
    env,
    stateMount: container.volumeMounts.find(({ name }) => name === "state")?.mountPath ?? "",
    tokenMount: env["GATEWAY_TOKEN_FILE"] ?? ""
  } satisfies Containers.Image
})

describe("the Dockerfile", () => {
  it.effect("runs the program as nobody's root, as pid 1 without a shell, with settings that it knows", () =>
    Effect.gen(function*() {
      const file = yield* Files.dockerfile
      yield* assertCommand(file.exec("CMD"), "Run")
      assertKnown(file.env)
      assert.match(file.only("USER"), /^[1-9]\d*:[1-9]\d*$/)
      assert.strictEqual(file.only("USER"), `${Containers.user}:${Containers.user}`)
      assert.strictEqual(file.only("STOPSIGNAL"), "SIGTERM")
      assert.strictEqual(file.only("EXPOSE"), settings.port.default)
      assert.strictEqual(file.only("VOLUME"), file.env["GATEWAY_STATE_DIR"])
      assert.include(file.only("RUN"), `-m 0700 -o ${Containers.user} -g ${Containers.user} ${file.only("VOLUME")}`)
      // Clients reach a container from outside its own network namespace, so the gateway must not listen on loopback only.
      assert.strictEqual(file.env["GATEWAY_HOST"], "0.0.0.0")
    }))

  it.effect("asks the gateway's health with patience for a start and for a pause", () =>
    Effect.gen(function*() {
      const file = yield* Files.dockerfile
      yield* assertCommand(file.exec("HEALTHCHECK"), "Health")
      const flags = new Map(
        [...file.only("HEALTHCHECK").matchAll(/--([a-z-]+)=(\S+)/g)].map(([, name = "", value = ""]) => [name, value])
      )
      assert.deepStrictEqual([...flags.keys()], ["interval", "timeout", "start-period", "retries"])
      const probe = Option.getOrThrow(settings["health.probeTimeout"].decode(settings["health.probeTimeout"].default))
      assert.isAbove(Files.seconds(flags.get("timeout") ?? ""), Duration.toSeconds(probe))
      const wait = Option.getOrThrow(settings["lock.timeout"].decode(settings["lock.timeout"].default))
      assert.isAbove(Files.seconds(flags.get("start-period") ?? ""), Duration.toSeconds(wait))
    }))

  it.effect("builds and runs with the same Node, for which the compiled code is", () =>
    Effect.gen(function*() {
      const { last } = yield* Files.dockerfile
      const text = yield* Effect.promise(() => Fs.readFile("test/examples/containers/Dockerfile", "utf8"))
      const bases = [...text.matchAll(/^FROM (\S+)/gm)].map(([, base]) => base)
      assert.deepStrictEqual(bases, [bases[0], bases[0]])
      assert.strictEqual(last[0]?.[1], bases[0])
    }))
})

describe("the Compose file", () => {
  it.effect("gives a stop more time than the drain, and starts again only what failed", () =>
    Effect.gen(function*() {
      const { env } = yield* Files.dockerfile
      const { services } = yield* Files.compose
      for (const service of Object.values(services)) {
        const whole = { ...env, ...service.environment }
        assertKnown(whole)
        assert.isAtLeast(Files.seconds(service.stop_grace_period), stopOf(whole))
        assert.strictEqual(service.restart, "on-failure")
        assert.strictEqual(whole["GATEWAY_SUPERVISOR"], "external")
        assert.isTrue(service.init && service.read_only)
      }
    }))

  it.effect("has two services on one volume and one secret, of which one stands by", () =>
    Effect.gen(function*() {
      const file = yield* Files.dockerfile
      const { secrets, services: { gateway, standby }, volumes } = yield* Files.compose
      assert.deepStrictEqual(gateway.volumes, [`${Object.keys(volumes).join()}:${file.only("VOLUME")}`])
      assert.deepStrictEqual(standby.volumes, gateway.volumes)
      assert.deepStrictEqual(gateway.secrets, Object.keys(secrets))
      assert.strictEqual(`/run/secrets/${gateway.secrets.join()}`, file.env["GATEWAY_TOKEN_FILE"])
      const command = yield* parse((standby.command ?? []).slice(2))
      assert.deepInclude(command, { _tag: "Run", standby: true })
      assert.deepStrictEqual(gateway.ports, [`127.0.0.1:${file.only("EXPOSE")}:${file.only("EXPOSE")}`])
      assert.isUndefined(standby.ports, "one port of the host is one container's")
    }))
})

describe("the Kubernetes manifests", () => {
  it.effect("ask each probe's own question", () =>
    Effect.gen(function*() {
      const [service, { spec }] = yield* Files.kubernetes
      const [container] = spec.template.spec.containers
      assert.strictEqual(container.startupProbe.httpGet.path, "/startupz")
      assert.strictEqual(container.livenessProbe.httpGet.path, "/healthz")
      assert.strictEqual(container.readinessProbe.httpGet.path, "/readyz")
      const [port] = container.ports
      for (const probe of [container.startupProbe, container.livenessProbe, container.readinessProbe]) {
        assert.strictEqual(probe.httpGet.port, port.name)
      }
      assert.strictEqual(String(port.containerPort), settings.port.default)
      assert.strictEqual(service.spec.ports[0].targetPort, port.name)
      assert.strictEqual(service.spec.ports[0].port, port.containerPort)
      assert.strictEqual(service.metadata.name, spec.serviceName)
      assert.deepStrictEqual(service.spec.selector, spec.template.metadata.labels)
      assert.deepStrictEqual(spec.selector.matchLabels, spec.template.metadata.labels)
    }))

  it.effect("give a start the time that a lock may take, and a stop more than the drain", () =>
    Effect.gen(function*() {
      const { env } = yield* podImage
      assertKnown(env)
      const [, { spec: { template: { spec } } }] = yield* Files.kubernetes
      const [{ lifecycle, startupProbe }] = spec.containers
      const [program, seconds] = lifecycle.preStop.exec.command
      assert.strictEqual(program, "sleep")
      assert.isAtLeast(spec.terminationGracePeriodSeconds, Number(seconds) + stopOf(env))
      const wait = Option.getOrThrow(settings["lock.timeout"].decode(settings["lock.timeout"].default))
      assert.isAbove(startupProbe.periodSeconds * (startupProbe.failureThreshold ?? 3), Duration.toSeconds(wait))
    }))

  it.effect("run one gateway, unprivileged, on a root that cannot be written, with its state on a volume", () =>
    Effect.gen(function*() {
      const { env } = yield* podImage
      const [, { spec }] = yield* Files.kubernetes
      const pod = spec.template.spec
      const [container] = pod.containers
      yield* assertCommand([...container.command, ...container.args], "Run")
      assert.strictEqual(spec.replicas, 1)
      assert.deepStrictEqual(spec.volumeClaimTemplates[0].spec.accessModes, ["ReadWriteOncePod"])
      assert.deepInclude(pod.securityContext, {
        runAsNonRoot: true,
        runAsUser: Containers.user,
        fsGroup: Containers.user,
        fsGroupChangePolicy: "OnRootMismatch"
      })
      assert.deepInclude(container.securityContext, { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true })
      // Every mount of the container names a volume that the manifest defines, and every volume is mounted.
      const volumes = [...pod.volumes.map(({ name }) => name), spec.volumeClaimTemplates[0].metadata.name]
      assert.deepStrictEqual(container.volumeMounts.map(({ name }) => name).toSorted(), volumes.toSorted())
      const at = (name: string) => container.volumeMounts.find((mount) => mount.name === name)?.mountPath ?? "?"
      assert.isTrue(env["GATEWAY_STATE_DIR"]?.startsWith(`${at("state")}/`), "made by us, and so ours")
      assert.strictEqual(Path.dirname(env["GATEWAY_TOKEN_FILE"] ?? ""), at("token"))
      assert.strictEqual(pod.volumes.find(({ name }) => name === "token")?.secret?.defaultMode, 0o440)
    }))

  it.scopedLive("keep a Service called gateway from setting our port", () =>
    Effect.gen(function*() {
      const [, { spec: { template: { spec } } }] = yield* Files.kubernetes
      assert.isFalse(spec.enableServiceLinks)
      // If service links are on, Kubernetes sets GATEWAY_PORT to the address of the Service `gateway`. This address is not a
      // valid port, so the start is refused.
      const site = yield* Gateways.newSite
      const env = { GATEWAY_PORT: "tcp://10.0.0.1:18789" }
      const { code, stderr } = yield* Gateways.run(site, { env, args: ["--state-dir", site.stateDir] })
      assert.strictEqual(code, 64)
      assert.include(stderr, "GATEWAY_PORT")
    }))
})

const named = (name: string) => Program.named(name, Containers.unavailable)
const isHere = Containers.unavailable === undefined

/** Starts a container and waits for the line that says that the gateway listens. */
const started = (image: Containers.Image, volumes: Containers.Volumes) =>
  Effect.tap(Containers.run(image, volumes), ({ running }) => running.listening)

/** Requests a path from inside the container. Returns the status and the body. */
const get = (container: Containers.Container, path: string) =>
  Effect.map(
    container.exec([
      "node",
      "-e",
      "fetch(process.argv[1]).then(async (r) => console.log(r.status, await r.text()))",
      `http://127.0.0.1:18789${path}`
    ]),
    ({ stderr, stdout }) => {
      const [, status, body] = /^(\d+) (.*)\n$/s.exec(stdout) ?? []
      assert.isDefined(status, stderr)
      return { status: Number(status), body }
    }
  )

const healthcheck = (container: Containers.Container) =>
  Effect.flatMap(Files.dockerfile, (file) => container.exec(file.exec("HEALTHCHECK")))

const stateOf = (pid: number) =>
  Effect.promise(async () => {
    const stat = await Fs.readFile(`/proc/${pid}/stat`, "utf8")
    return stat.slice(stat.lastIndexOf(")") + 2)[0]
  })

const childrenOf = (pid: number) =>
  Effect.promise(async () =>
    (await Fs.readFile(`/proc/${pid}/task/${pid}/children`, "utf8")).trim().split(/\s+/).map(Number)
  )

describe.skipIf(!isHere)("in a container, what the files say", () => {
  it.scopedLive(
    named("runs as pid 1 on a root that cannot be written, and its stop signal drains and ends with 0"),
    () =>
      Effect.gen(function*() {
        const file = yield* Files.dockerfile
        const volumes = yield* Containers.volumes
        const container = yield* started(yield* image, volumes)
        const facts = yield* container.exec([
          "sh",
          "-c",
          "readlink /proc/1/exe; id -u; grep CapBnd /proc/1/status; touch /app/x 2>&1; cd \"$GATEWAY_STATE_DIR/locks\"; ls *.lock"
        ])
        const [program, uid, capabilities, touched, ...locks] = facts.stdout.trim().split("\n")
        assert.deepStrictEqual([Path.basename(program ?? ""), uid], ["node", String(Containers.user)], facts.stderr)
        assert.match(capabilities ?? "", /^CapBnd:\s+0+$/)
        assert.include(touched, "Read-only file system")
        assert.strictEqual(locks.length, 2)

        const ended = yield* container.stop(file.only("STOPSIGNAL") === "SIGTERM" ? "SIGTERM" : "SIGINT")
        yield* Gateways.assertClean(ended)
        assert.deepStrictEqual(yield* Gateways.namesIn(Path.join(volumes.state, "locks")), [])
      })
  )

  it.scopedLive(
    named("has a health check that ends with 0 while it is healthy and with 1 when it is not"),
    () =>
      Effect.gen(function*() {
        const container = yield* started(yield* image, yield* Containers.volumes)
        const healthy = yield* healthcheck(container)
        assert.strictEqual(healthy.code, 0, healthy.stderr)
        const pid = yield* container.pid
        yield* Effect.sync(() => process.kill(pid, "SIGSTOP"))
        const stopped = yield* healthcheck(container)
        assert.strictEqual(stopped.code, 1, stopped.stderr)
        yield* Effect.sync(() => process.kill(pid, "SIGCONT"))
        assert.strictEqual((yield* healthcheck(container)).code, 0)
      })
  )

  it.scopedLive(named("answers the paths of the probes, as the StatefulSet runs it"), () =>
    Effect.gen(function*() {
      const [, { spec: { template: { spec } } }] = yield* Files.kubernetes
      const [{ livenessProbe, readinessProbe, startupProbe }] = spec.containers
      const container = yield* started(yield* podImage, yield* Containers.volumes)
      for (const { httpGet } of [startupProbe, livenessProbe, readinessProbe]) {
        assert.strictEqual((yield* get(container, httpGet.path)).status, 200, httpGet.path)
      }
      yield* Gateways.assertClean(yield* container.stop("SIGTERM"))
    }))

  it.scopedLive(named("starts again at once after SIGKILL, three times in a row"), () =>
    Effect.gen(function*() {
      const volumes = yield* Containers.volumes
      for (let restart = 0; restart < 3; restart++) {
        const container = yield* started(yield* image, volumes)
        assert.strictEqual((yield* healthcheck(container)).code, 0)
        const { stderr } = yield* container.stop("SIGKILL")
        assert.strictEqual(Gateways.count(stderr, /reclaimed gateway lock/), restart === 0 ? 0 : 1, stderr)
        assert.strictEqual(Gateways.count(stderr, /waiting/), 0, stderr)
      }
    }))

  it.scopedLive.each(["OnRootMismatch", "Always"] as const)(
    named("starts again and again on a volume that kubelet opens to fsGroup, with the policy %s (N29)"),
    (fsGroupChangePolicy) =>
      Effect.gen(function*() {
        const [, { spec: { template: { spec } } }] = yield* Files.kubernetes
        const volumes = yield* Containers.volumes
        // A new volume belongs to root, and other users cannot write to the volume until kubelet applies `fsGroup`.
        yield* Effect.promise(() => Fs.chown(volumes.state, 0, 0).then(() => Fs.chmod(volumes.state, 0o755)))
        const image = yield* podImage
        const mounted = Containers.applyFsGroup(volumes.state, { ...spec.securityContext, fsGroupChangePolicy })
        const locks = Path.join(
          volumes.state,
          Path.relative(image.stateMount, image.env["GATEWAY_STATE_DIR"] ?? ""),
          "locks"
        )
        const modes = Effect.promise(async () => {
          const names = (await Fs.readdir(locks)).filter((name) => name.endsWith(".lock")).map((name) =>
            Path.join(locks, name)
          )
          return Promise.all([locks, ...names].map(async (path) => ((await Fs.stat(path)).mode & 0o7777).toString(8)))
        })
        // After SIGTERM the gateway removes its lock files. After SIGKILL the lock files stay.
        for (const signal of ["SIGTERM", "SIGKILL", "SIGKILL", "SIGTERM"] as const) {
          yield* mounted
          const container = yield* started(image, volumes)
          assert.deepStrictEqual((yield* modes).map((mode) => mode.replace(/^2/, "")), ["700", "600", "600"])
          assert.strictEqual((yield* healthcheck(container)).code, 0)
          // A kubelet that restarts while the pod runs applies `fsGroup` to the volume again.
          yield* mounted
          assert.strictEqual((yield* healthcheck(container)).code, 0)
          yield* container.stop(signal)
        }
        assert.deepStrictEqual(yield* Gateways.namesIn(locks), [])
      })
  )

  it.scopedLive(
    named("on a volume that another container has waits, and fails within bounds, and touches nothing"),
    () =>
      Effect.gen(function*() {
        const volumes = yield* Containers.volumes
        const first = yield* started(yield* image, volumes)
        const base = yield* image
        const hurried = { GATEWAY_LOCK_TIMEOUT: "200 millis", GATEWAY_HEALTH_TIMEOUT: "1 second" }
        const second = yield* Containers.run({ ...base, env: { ...base.env, ...hurried } }, volumes)
        const { code, stderr } = yield* second.running.ended
        assert.strictEqual(code, 1, stderr)
        assert.include(stderr, "existing gateway did not become healthy after 1000ms")
        assert.include(stderr, "in another PID namespace")
        assert.strictEqual((yield* healthcheck(first)).code, 0)
        yield* Gateways.assertClean(yield* first.stop("SIGTERM"))
      })
  )

  it.scopedLive.each(["SIGTERM", "SIGKILL"] as const)(
    named("stands by as the second service of Compose, and takes over after %s"),
    (signal) =>
      Effect.gen(function*() {
        const { services: { standby } } = yield* Files.compose
        const volumes = yield* Containers.volumes
        const base = yield* image
        const first = yield* started(base, volumes)
        const second = yield* Containers.run({
          ...base,
          command: standby.command ?? [],
          env: { ...base.env, ...standby.environment, GATEWAY_HEALTH_RETRY_INTERVAL: "500 millis" }
        }, volumes)
        yield* second.running.line(/standing by: /)
        assert.strictEqual((yield* healthcheck(second)).code, 1)
        yield* first.stop(signal)
        yield* second.running.listening
        assert.strictEqual((yield* healthcheck(second)).code, 0)
        yield* Gateways.assertClean(yield* second.stop("SIGTERM"))
      })
  )

  it.scopedLive(
    named("leaves a child's orphan a zombie where there is no init, and is none the worse for it"),
    () =>
      Effect.gen(function*() {
        const container = yield* started(yield* image, yield* Containers.volumes)
        const pid = yield* container.pid
        // If the parent of a process has ended, pid 1 becomes the parent and must collect the process when it ends. As pid 1,
        // Node does not do that, because Node collects only the children that it started. So the process stays a zombie.
        yield* container.exec(["sh", "-c", "(exec 1>&- 2>&-; sleep 0.1) &"])
        const zombie = yield* childrenOf(pid).pipe(
          Effect.filterOrFail((children) => children.length === 1 && (children[0] ?? 0) > 0, () => "none yet" as const),
          Effect.flatMap(([child = 0]) =>
            Effect.filterOrFail(stateOf(child), (state) => state === "Z", () => "alive" as const)
          ),
          Effect.retry(Schedule.spaced("20 millis").pipe(Schedule.upTo("10 seconds")))
        )
        assert.strictEqual(zombie, "Z")
        assert.strictEqual((yield* healthcheck(container)).code, 0)
        yield* Gateways.assertClean(yield* container.stop("SIGTERM"))
      })
  )
})
