/**
 * Builds the lines that a person reads when a gateway cannot start: the message, then the process that holds the lock or the port,
 * then the commands to type next. Pure: `ErrorReport` gathers the input, and `formats.ts` makes text and JSON of the lines.
 */
import * as Option from "effect/Option"
import * as NodePath from "node:path"
import { type Address, toUrl, urlHost } from "../Address.ts"
import type { BindFailed, GatewayLockError, Holder } from "../GatewayLockError.ts"
import { adviceFor } from "../internal/advice.ts"
import { documentAt } from "../internal/homepage.ts"
import * as BadPorts from "../server/BadPorts.ts"
import { defaultAddress, defaultProfile, type GatewayConfig, settings } from "../settings/GatewayConfig.ts"
import * as ServiceCommands from "../supervisor/ServiceCommands.ts"
import { leaseFlagsOf } from "./leaseFlags.ts"
import { describeListener, describeProcess, describeSince, namesNoInstance, saysGateway } from "./words.ts"

/** What is known about a start that failed, besides its error. The facts of a report are built from both. */
export interface Start {
  /** The settings of the start that failed. */
  readonly self:
    & Pick<GatewayConfig, "profile" | "configPath" | "stateDir" | "host" | "port">
    & Partial<Pick<GatewayConfig, "configName" | "configSource" | "lease">>
  /** The paths of config files that do not exist. The commands that the report advises must not name them. */
  readonly absent?: ReadonlySet<string>
  /** The default paths of a profile's files; `undefined` for a user without a home folder. */
  readonly folders: {
    readonly configPath: (profile: string) => string | undefined
    readonly stateDir: (profile: string) => string | undefined
  }
  /** A value of `process.platform`. */
  readonly platform: string
  readonly nowMillis: number
  /** The process that listens on the port, if no lock names a holder. */
  readonly listener?: { readonly pid: number; readonly command?: string }
  /** Set if an app started the gateway, and not the command `gateway run`. */
  readonly app?: App
  /** Set if the failed start was `gateway exec`, and not `gateway run`. `hasPort` is `false` for `exec --no-port`. */
  readonly exec?: { readonly hasPort: boolean }
}

/** A program that uses the library. */
export interface App {
  /** The words that suggested commands begin with instead of `gateway`, for example `npx gateway-lock`. */
  readonly command: string
  /** Builds the command that starts the app. Without this function, no fact contains such a command. */
  readonly run?: ((change: RunChange) => string) | undefined
}

/**
 * What a suggested command changes when it starts the program again. If no field is set, the command starts the program as
 * before. A value in angle brackets is a placeholder that the reader replaces.
 *
 * @since 0.1.0
 * @category models
 */
export interface RunChange {
  readonly profile?: "<name>"
  readonly stateDir?: "<path>"
  readonly port?: number | "<port>"
  /** An address of this machine, or `<host>`. */
  readonly host?: string
}

/**
 * One line of the report, below the message.
 *
 * @since 0.1.0
 * @category models
 */
export interface Fact {
  /** The name of the fact in JSON. */
  readonly key: string
  /** The name of the fact in text. */
  readonly label: string
  readonly value: string
  /** Whether the fact is a next step: a command, or the URL to use. */
  readonly isNext: boolean
}

const fact = (key: string, label: string, value: string): Fact => ({ key, label, value, isNext: false })
const next = (key: string, label: string, value: string): Fact => ({ key, label, value, isNext: true })

// ---------------------------------------------------------------------------
// the present holder
// ---------------------------------------------------------------------------

const supervisorOf = ({ supervisor, unit }: Holder): string | undefined =>
  supervisor === undefined || supervisor === "none"
    ? undefined
    : unit === undefined
    ? supervisor
    : `${supervisor} (${unit.name}${unit.scope === "user" ? ", a user unit" : ""})`

const holderFacts = (holder: Holder | undefined, start: Start): ReadonlyArray<Fact> => {
  if (holder === undefined) return []
  const { configPath, phase, pid, since, stateDir } = holder
  const supervisor = supervisorOf(holder)
  return [
    ...(pid === undefined ? [] : [fact("heldBy", "held by", describeProcess(holder))]),
    ...(since === undefined ? [] : [fact("since", "since", describeSince(since, start.nowMillis))]),
    ...(phase === undefined ? [] : [fact("phase", "phase", phase)]),
    ...(configPath === undefined ? [] : [fact("config", "config", configPath)]),
    ...(stateDir === undefined ? [] : [fact("state", "state", stateDir)]),
    ...(supervisor === undefined ? [] : [fact("supervisor", "supervisor", supervisor)])
  ]
}

/**
 * The facts about the process that has the lock or the port. Only for errors that occur because another process has the lock or
 * the port. If no holder is known, the facts name the process that listens on the port.
 */
const occupant = (holder: Holder | undefined, start: Start): ReadonlyArray<Fact> =>
  holder?.pid === undefined
    ? [fact("heldBy", "held by", describeListener(start.listener)), ...holderFacts(holder, start)]
    : holderFacts(holder, start)

// ---------------------------------------------------------------------------
// commands that the reader can paste
// ---------------------------------------------------------------------------

type Target = Pick<Holder, "configPath" | "configName" | "stateDir" | "host" | "port">

/**
 * The config path as the user typed it, if known. It is better than the resolved path, because the resolved path may no longer
 * exist after a symbolic link has changed.
 */
const configOf = ({ configName, configPath }: Target): string | undefined => configName ?? configPath

const program = ({ app }: Start): string => app === undefined ? "gateway" : app.command

const isProfile = (name: string): boolean => Option.isSome(settings.profile.decode(name))

/** The profile that a gateway's config file and state directory belong to; `undefined` if they belong to none. */
const profileOf = (target: Target, { folders, self }: Start): string | undefined => {
  const { configPath, stateDir } = target
  const config = configOf(target)
  const isOurs = (configPath ?? self.configPath) === self.configPath || config === configOf(self)
  if (isOurs && (stateDir ?? self.stateDir) === self.stateDir) {
    return self.profile
  }
  const name = NodePath.basename(stateDir ?? self.stateDir)
  return isProfile(name) && folders.stateDir(name) === stateDir && folders.configPath(name) === config
    ? name
    : undefined
}

/** The port of a gateway. A gateway without a port (`exec --no-port`) has 0 in its record, which no command accepts. */
const portOf = ({ port }: Target): number | undefined => port === 0 ? undefined : port

/**
 * A command with the flags that identify a gateway. A flag is left out if its value is the default.
 *
 * If a setting of the failed start is not the default, it may come from an environment variable, which would apply to the
 * suggested command as well. So the command always contains the flag for such a setting, because a flag takes precedence over
 * its environment variable.
 *
 * The command does not name a default config file that is absent, because the program fails if a named file does not exist. If
 * the failed start got its config path from an environment variable, the command unsets that variable, so that the default applies.
 */
const gateway = (command: string, target: Target, start: Start): string => {
  const { folders, self } = start
  const { unset, word } = adviceFor(start.platform)
  const known = profileOf(target, start)
  const profile = known ?? defaultProfile
  const rows: ReadonlyArray<
    readonly [flag: string, value: string, ours: string, byDefault: (profile: string) => string | undefined]
  > = [
    ["profile", profile, self.profile, () => defaultProfile],
    ["config", configOf(target) ?? configOf(self) ?? "", configOf(self) ?? "", folders.configPath],
    ["state-dir", target.stateDir ?? self.stateDir, self.stateDir, folders.stateDir],
    ["port", String(portOf(target) ?? self.port), String(self.port), () => String(defaultAddress.port)],
    ["host", target.host ?? self.host, self.host, () => defaultAddress.host]
  ]
  const isAbsentDefault = ([flag, value]: typeof rows[number]) =>
    flag === "config" && value === folders.configPath(profile) && start.absent?.has(value) === true
  const shown = rows
    .filter(([, value, ours, byDefault]) => value !== byDefault(profile) || ours !== byDefault(self.profile))
    // If the profile is unknown, its flag is left out. The config file and the state directory then identify the gateway.
    .filter(([flag]) => flag !== "profile" || known !== undefined)
    // For a user without a home folder, the default paths are unknown, and the value is empty.
    .filter(([, value]) => value !== "")
  const flags = shown
    .filter((row) => !isAbsentDefault(row))
    .map(([flag, value]) => value.startsWith("-") ? ` --${flag}=${word(value)}` : ` --${flag} ${word(value)}`)
    .join("")
  const words = `${program(start)} ${command}${flags}`
  const { env } = settings.configPath
  return env !== undefined && self.configSource === env && shown.some(isAbsentDefault) ? unset(env, words) : words
}

const useIt = (address: Address): Fact => next("use", "to use it", toUrl(address))

/**
 * The profile of a system service whose lock cannot be read. The name of the service's unit contains the profile. A command can
 * find such a service only by the profile.
 */
const serviceProfileOf = ({ configPath, unit }: Target & Pick<Holder, "unit">): string | undefined =>
  configPath === undefined && unit?.scope === "system"
    ? /^gateway-([a-z0-9_-]+)\.service$/.exec(unit.name)?.[1]
    : undefined

const lookAtIt = (target: Target & Pick<Holder, "unit">, start: Start): Fact => {
  const profile = serviceProfileOf(target)
  return next(
    "status",
    "to look at it",
    profile === undefined ? gateway("status", target, start) : `${program(start)} status --profile ${profile}`
  )
}

const checkIt = (start: Start): Fact =>
  next(
    "doctor",
    "to check it",
    `${gateway("doctor", {}, start)}${leaseFlagsOf(start.self.lease, start.self.profile, start.platform)}`
  )

/**
 * The command that starts the program again (`gateway run` or `gateway exec`) with a change. If the change has a placeholder that
 * the reader must replace, the command contains only the flags of the change and of the lease, and not the other flags of the failed
 * start. A gateway with another profile has another lease, so its command has no flags of the lease.
 */
const runProgram = ({ host, port: newPort, profile, stateDir }: RunChange, start: Start): string => {
  const { exec } = start
  const port = exec?.hasPort === false ? undefined : newPort
  const [command, rest] = exec === undefined ? ["run", ""] : [exec.hasPort ? "exec" : "exec --no-port", " -- <command>"]
  if (![host, port, profile, stateDir].some((value) => String(value).startsWith("<"))) {
    const flags = { ...(host === undefined ? {} : { host }), ...(typeof port === "number" ? { port } : {}) }
    return `${gateway(command, flags, start)}${
      leaseFlagsOf(start.self.lease, start.self.profile, start.platform)
    }${rest}`
  }
  const flags = Object.entries({ profile, "state-dir": stateDir, port, host })
  const typed = flags.map(([flag, value]) => value === undefined ? "" : ` --${flag} ${value}`).join("")
  const leased = profile === undefined ? leaseFlagsOf(start.self.lease, defaultProfile, start.platform) : ""
  return `gateway ${command}${typed}${leased}${rest}`
}

/**
 * The fact whose value is the command that starts the program again, with `change` applied. If an app does not pass the function
 * `run`, there is no such fact, because the command that starts the app is unknown.
 */
const runWith = (key: string, label: string, change: RunChange, start: Start): ReadonlyArray<Fact> => {
  const { app } = start
  if (app === undefined) return [next(key, label, runProgram(change, start))]
  return app.run === undefined ? [] : [next(key, label, app.run(change))]
}

const runBeside = (port: number | "<port>", start: Start): ReadonlyArray<Fact> =>
  runWith("runBeside", "to run beside it", { profile: "<name>", port }, start)

const runElsewhere = (change: RunChange, start: Start): ReadonlyArray<Fact> =>
  runWith("runElsewhere", "to use another", change, start)

const otherPort = (port: number): number => port < 65535 ? port + 1 : port - 1

/**
 * The facts that say how to stop the holder. There are none if the holder is not known to be alive or if its pid is not valid in this
 * PID namespace. The pid could then belong to an unrelated process, which the command would end.
 */
const stopIt = (holder: Holder | undefined, start: Start): ReadonlyArray<Fact> => {
  if (holder?.pid === undefined || holder.pidMeaning !== "Alive") return []
  const service = start.platform === "win32" && holder.supervisor !== "schtasks" ?
    Option.none() :
    ServiceCommands.make({
      supervisor: holder.supervisor ?? "none",
      unit: holder.unit,
      profile: profileOf(holder, start)
    })
  if (Option.isSome(service)) {
    return [
      next("serviceStatus", "to see its service", service.value.status),
      next("stop", "to stop it", service.value.stop)
    ]
  }
  const stop = holder.configPath === undefined || holder.stateDir === undefined
    ? adviceFor(start.platform).endProcess(holder.pid)
    : gateway("stop", holder, start)
  return [next("stop", "to stop it", stop)]
}

const privileged = ({ port }: Address): string =>
  `sudo sysctl net.ipv4.ip_unprivileged_port_start=${port}, or CAP_NET_BIND_SERVICE for its service`

const bindFacts = (error: BindFailed, start: Start): ReadonlyArray<Fact> => {
  const address = fact("address", "address", toUrl(error))
  switch (error.code) {
    case "EACCES":
      return [
        address,
        ...runElsewhere({ port: error.port < 1024 ? error.port + 8000 : defaultAddress.port }, start),
        ...(start.platform === "linux" ? [next("allow", "to allow this one", privileged(error))] : [])
      ]
    case "EADDRNOTAVAIL":
      return [
        address,
        ...(error.available === undefined
          ? []
          : [fact("available", "addresses here", error.available.length === 0 ? "none" : error.available.join(", "))]),
        // Every gateway also binds the loopback address. If this host has the requested address, then the bind of the loopback
        // address is the one that failed.
        ...(error.available?.includes(error.host) === true
          ? [next("loopback", "to fix it", adviceFor(start.platform).restoreLoopback)]
          : runElsewhere({ host: error.available?.[0] ?? defaultAddress.host }, start))
      ]
    case "EADDRINUSE":
      return [
        address,
        ...runElsewhere({ port: BadPorts.nextAllowed(error.port) }, start),
        ...(start.platform === "linux"
          ? [
            next(
              "reserve",
              "to reserve it",
              `sudo sysctl net.ipv4.ip_local_reserved_ports=${error.port}, so that no connection gets it`
            )
          ]
          : [])
      ]
    // These codes concern a socket that a supervisor passed. Another address would not help, so the facts suggest none.
    case "EBADF":
    case "ENOTSOCK":
    case "EPROTOTYPE":
    case "EADDRMISMATCH":
      return [
        address,
        ...(start.platform === "linux" ? [next("socketUnit", "to see the socket", "systemctl list-sockets --all")] : [])
      ]
    default:
      return [address, ...runElsewhere({ port: "<port>", host: "<host>" }, start)]
  }
}

// ---------------------------------------------------------------------------
// facts for each error
// ---------------------------------------------------------------------------

/** The page about the errors with this tag. Its headings are the tags, which GitHub turns into anchors in lower case. */
const pageOf = ({ _tag }: GatewayLockError): Fact => next("page", "more", documentAt("errors.md", _tag.toLowerCase()))

/**
 * The facts under the message: first the holder, then the next steps. The step to use the running gateway comes before the step
 * to stop it. The address of the page about the error is the last one.
 */
export const facts = (error: GatewayLockError, start: Start): ReadonlyArray<Fact> => [
  ...factsOf(error, start),
  pageOf(error)
]

const factsOf = (error: GatewayLockError, start: Start): ReadonlyArray<Fact> => {
  switch (error._tag) {
    case "PortInUse": {
      const { holder, listener } = error
      const isGateway = holder !== undefined || saysGateway(listener)
      const target = holder ?? { host: error.host, port: error.port }
      return [
        ...occupant(holder, start),
        ...(listener === undefined ? [] : [fact("listener", "listener", listener)]),
        ...(isGateway ? [useIt(error)] : []),
        // `gateway list` finds gateways by their lock files. A gateway that answers without an instance id has no lock file, so
        // `gateway list` is not advised for it.
        ...(isGateway && holder === undefined && !namesNoInstance(listener)
          ? [next("list", "to identify it", `${program(start)} list`)]
          : []),
        isGateway ? lookAtIt(target, start) : next("status", "to identify it", gateway("status", target, start)),
        ...stopIt(holder, start),
        ...runBeside(otherPort(error.port), start)
      ]
    }
    case "BindFailed":
      return [...bindFacts(error, start), checkIt(start)]
    case "LockHeld":
      return [
        ...occupant(error.holder, start),
        fact("lock", "lock", error.path),
        ...(error.serving === undefined ? [] : [useIt(error.serving)]),
        lookAtIt(error.holder ?? {}, start),
        ...stopIt(error.holder, start),
        ...runBeside("<port>", start)
      ]
    case "LockUnavailable":
      return [
        ...holderFacts(error.holder, start),
        fact("lock", "lock", error.path),
        ...(error.holder === undefined ? [] : [lookAtIt(error.holder, start)]),
        checkIt(start),
        ...stopIt(error.holder, start),
        ...runWith("runElsewhere", "to use another folder", { stateDir: "<path>" }, start)
      ]
    case "LockLost":
      return [
        ...holderFacts(error.holder, start),
        fact("lock", "lock", error.path),
        fact("prevention", "to prevent this", "keep cleaners and rm out of the state directory"),
        lookAtIt({}, start),
        ...stopIt(error.holder, start),
        ...runWith("run", "to start again", {}, start)
      ]
    case "OwnerHealthy":
      return [
        ...occupant(error.holder, start),
        useIt(error),
        lookAtIt(error.holder ?? error, start),
        ...stopIt(error.holder, start)
      ]
    case "OwnerUnhealthy":
      return [
        ...occupant(error.holder, start),
        lookAtIt(error.holder ?? error, start),
        next(
          "ask",
          "to probe it",
          adviceFor(start.platform).askUrl(`http://${urlHost(error.host)}:${error.port}/healthz`)
        ),
        ...stopIt(error.holder, start),
        checkIt(start)
      ]
    case "LeadershipLost":
      return [fact("lease", "lease", error.lease), lookAtIt({}, start), ...runWith("run", "to start again", {}, start)]
    case "LeaseUnavailable":
      return [fact("lease", "lease", error.lease), fact("store", "store", error.store), checkIt(start)]
  }
}
