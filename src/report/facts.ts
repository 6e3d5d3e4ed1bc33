/**
 * What a person reads when a start fails: the message, then who is in the way, then what can be typed next. And the same as
 * JSON, for programs. Pure: `ErrorReport` gathers what it takes.
 */
import type * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as NodePath from "node:path"
import { type Address, toUrl, urlHost } from "../Address.ts"
import { type BindFailed, GatewayLockError, type Holder } from "../GatewayLockError.ts"
import { adviceFor } from "../internal/advice.ts"
import { printable } from "../internal/printable.ts"
import * as BadPorts from "../server/BadPorts.ts"
import { defaultAddress, defaultProfile, type GatewayConfig, settings } from "../settings/GatewayConfig.ts"
import * as ServiceCommands from "../supervisor/ServiceCommands.ts"
import { jsonLine } from "./jsonLine.ts"
import { since as sinceWords, who } from "./words.ts"

/** What the advice depends on besides the error. */
export interface Start {
  /** The settings of the start that failed. */
  readonly self:
    & Pick<GatewayConfig, "profile" | "configPath" | "stateDir" | "host" | "port">
    & Partial<Pick<GatewayConfig, "configName" | "configSource">>
  /** Of the config files that advice could name, those that do not exist. */
  readonly absent?: ReadonlySet<string>
  /** Where the files of a profile are by default; `undefined` for a user without a home folder. */
  readonly folders: {
    readonly configPath: (profile: string) => string | undefined
    readonly stateDir: (profile: string) => string | undefined
  }
  /** As `process.platform`. */
  readonly platform: string
  readonly nowMillis: number
  /** Who listens on the port, where no lock names its holder. */
  readonly listener?: { readonly pid: number; readonly command?: string }
  /** Of a start that was not `gateway run`. */
  readonly app?: App
}

/** A program that uses the library. */
export interface App {
  /** How the program `gateway` is called. */
  readonly command: string
  /** The command that starts this program; without one, no fact has any. */
  readonly run?: ((change: RunChange) => string) | undefined
}

/**
 * What a command that starts the program is to change. Without any of them, it starts the program as before. A value in angle
 * brackets is for the reader to replace.
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
 * One line under the message.
 *
 * @since 0.1.0
 * @category models
 */
export interface Fact {
  /** What it is called in JSON. */
  readonly key: string
  /** What a person reads. */
  readonly label: string
  readonly value: string
  /** Whether it is something to be done next: a command, or the URL to use. */
  readonly isNext: boolean
}

const fact = (key: string, label: string, value: string): Fact => ({ key, label, value, isNext: false })
const next = (key: string, label: string, value: string): Fact => ({ key, label, value, isNext: true })

// ---------------------------------------------------------------------------
// who
// ---------------------------------------------------------------------------

/** In milliseconds; `undefined` where it cannot be true: a clock was set back. */
const ageMillis = (since: DateTime.Utc | undefined, { nowMillis }: Start): number | undefined =>
  since === undefined || since.epochMillis > nowMillis ? undefined : nowMillis - since.epochMillis

const supervisorOf = ({ supervisor, unit }: Holder): string | undefined =>
  supervisor === undefined || supervisor === "none"
    ? undefined
    : unit === undefined
    ? supervisor
    : `${supervisor} (${unit.name}${unit.scope === "user" ? ", a user's" : ""})`

const holderFacts = (holder: Holder | undefined, start: Start): ReadonlyArray<Fact> => {
  if (holder === undefined) return []
  const { configPath, phase, pid, since, stateDir } = holder
  const supervisor = supervisorOf(holder)
  return [
    ...(pid === undefined ? [] : [fact("heldBy", "held by", who(holder))]),
    ...(since === undefined ? [] : [fact("since", "since", sinceWords(since, start.nowMillis))]),
    ...(phase === undefined ? [] : [fact("phase", "phase", phase)]),
    ...(configPath === undefined ? [] : [fact("config", "config", configPath)]),
    ...(stateDir === undefined ? [] : [fact("state", "state", stateDir)]),
    ...(supervisor === undefined ? [] : [fact("supervisor", "supervisor", supervisor)])
  ]
}

const listenerWords = ({ listener }: Start): string => {
  if (listener === undefined) return "a process that is not known from here"
  return `pid ${listener.pid}${listener.command === undefined ? "" : ` (${listener.command})`}`
}

/** Of a lock or port that somebody certainly has. */
const occupant = (holder: Holder | undefined, start: Start): ReadonlyArray<Fact> =>
  holder?.pid === undefined
    ? [fact("heldBy", "held by", listenerWords(start)), ...holderFacts(holder, start)]
    : holderFacts(holder, start)

// ---------------------------------------------------------------------------
// commands, so that they can be pasted
// ---------------------------------------------------------------------------

type Target = Pick<Holder, "configPath" | "configName" | "stateDir" | "host" | "port">

/** As the config was named, where that is known: what its links led to can be gone. */
const configOf = ({ configName, configPath }: Target): string | undefined => configName ?? configPath

const program = ({ app }: Start): string => app === undefined ? "gateway" : app.command

const isProfile = (name: string): boolean => Option.isSome(settings.profile.decode(name))

/** The profile that a gateway's config file and state directory belong to, if they belong to one. */
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

/**
 * The flags that mean that gateway: those that a default does not say already. Where a setting of the failed start is not
 * the default one, the environment may have it, and the flag goes before that. A default config file that is absent is not
 * named, since a file that is named must exist: then its variable is unset instead.
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
    ["port", String(target.port ?? self.port), String(self.port), () => String(defaultAddress.port)],
    ["host", target.host ?? self.host, self.host, () => defaultAddress.host]
  ]
  const isAbsentDefault = ([flag, value]: typeof rows[number]) =>
    flag === "config" && value === folders.configPath(profile) && start.absent?.has(value) === true
  const shown = rows
    .filter(([, value, ours, byDefault]) => value !== byDefault(profile) || ours !== byDefault(self.profile))
    // A profile that is not known is not said: config file and state directory are.
    .filter(([flag]) => flag !== "profile" || known !== undefined)
  const flags = shown
    .filter((row) => !isAbsentDefault(row))
    .map(([flag, value]) => value.startsWith("-") ? ` --${flag}=${word(value)}` : ` --${flag} ${word(value)}`)
    .join("")
  const words = `${program(start)} ${command}${flags}`
  const { env } = settings.configPath
  return env !== undefined && self.configSource === env && shown.some(isAbsentDefault) ? unset(env, words) : words
}

const useIt = (address: Address): Fact => next("use", "to use it", toUrl(address))

/** A service of the system whose lock cannot be read is found by its profile. */
const asService = ({ configPath, unit }: Target & Pick<Holder, "unit">): string | undefined =>
  configPath === undefined && unit?.scope === "system"
    ? /^gateway-([a-z0-9_-]+)\.service$/.exec(unit.name)?.[1]
    : undefined

const lookAtIt = (target: Target & Pick<Holder, "unit">, start: Start): Fact => {
  const profile = asService(target)
  return next(
    "status",
    "to look at it",
    profile === undefined ? gateway("status", target, start) : `${program(start)} status --profile ${profile}`
  )
}

const checkIt = (start: Start): Fact => next("doctor", "to check it", gateway("doctor", {}, start))

/** `gateway run` with a change. What is left to the reader is said as it is, without the flags of the failed start. */
const runProgram = (change: RunChange, start: Start): string => {
  const { host, port, profile, stateDir } = change
  if (!Object.values(change).some((value) => String(value).startsWith("<"))) {
    return gateway("run", {
      ...(host === undefined ? {} : { host }),
      ...(typeof port === "number" ? { port } : {})
    }, start)
  }
  const flags = Object.entries({ profile, "state-dir": stateDir, port, host })
  return `gateway run${flags.map(([flag, value]) => value === undefined ? "" : ` --${flag} ${value}`).join("")}`
}

/** How to start with a change: a program of somebody else's has a command of its own, or none that is known. */
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

/** Only where the pid is the holder's here: elsewhere the command would meet a stranger, or init. */
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

/** Whether what answers says that it is a gateway, though not which process. */
const saysGateway = (listener: string | undefined): boolean =>
  listener !== undefined && (listener === "a healthy gateway" || listener.includes("gateway that"))

const namesNoInstance = (listener: string | undefined): boolean => listener?.includes("names no instance") === true

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
        // The asked address is there, so it is the guard address that is not.
        ...(error.available?.includes(error.host) === true
          ? [next("loopback", "to mend it", adviceFor(start.platform).restoreLoopback)]
          : runElsewhere({ host: error.available?.[0] ?? defaultAddress.host }, start))
      ]
    case "EADDRINUSE":
      return [
        address,
        ...runElsewhere({ port: BadPorts.another(error.port) }, start),
        ...(start.platform === "linux"
          ? [
            next(
              "reserve",
              "to keep it",
              `sudo sysctl net.ipv4.ip_local_reserved_ports=${error.port}, so that no connection gets it`
            )
          ]
          : [])
      ]
    // Of a socket that a supervisor passed: another address would not help.
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
// all of it
// ---------------------------------------------------------------------------

/** The facts under the message: who, then what next, *use it* before *stop it*. */
export const facts = (error: GatewayLockError, start: Start): ReadonlyArray<Fact> => {
  switch (error._tag) {
    case "PortInUse": {
      const { holder, listener } = error
      const isGateway = holder !== undefined || saysGateway(listener)
      const target = holder ?? { host: error.host, port: error.port }
      return [
        ...occupant(holder, start),
        ...(listener === undefined ? [] : [fact("listener", "listener", listener)]),
        ...(isGateway ? [useIt(error)] : []),
        // `list` reads lock files: a gateway that names no instance has none there.
        ...(isGateway && holder === undefined && !namesNoInstance(listener)
          ? [next("list", "to see which it is", `${program(start)} list`)]
          : []),
        isGateway ? lookAtIt(target, start) : next("status", "to see who it is", gateway("status", target, start)),
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
        fact("prevention", "to keep it", "no cleaner and no rm in the state directory"),
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
          "to ask it",
          adviceFor(start.platform).askUrl(`http://${urlHost(error.host)}:${error.port}/healthz`)
        ),
        ...stopIt(error.holder, start),
        checkIt(start)
      ]
  }
}

/** What every error of a start is called where a person reads it; a program reads its tag. */
const family = "GatewayLockError"

/** For a terminal or a log: the message, and the facts aligned under it. */
export const toText = (error: GatewayLockError, start: Start): string => {
  const rows = facts(error, start)
  const width = Math.max(...rows.map(({ label }) => label.length))
  return [
    `${family}: ${printable(error.message)}`,
    ...rows.map(({ label, value }) => `  ${`${label}:`.padEnd(width + 1)} ${printable(value)}`)
  ].join("\n")
}

const byKey = (rows: ReadonlyArray<Fact>): Readonly<Record<string, string>> =>
  Object.fromEntries(rows.map(({ key, value }) => [key, value]))

/** For a log reader: one line of JSON with the same as fields. */
export const toJson = (error: GatewayLockError, start: Start): string => {
  const rows = facts(error, start)
  const heldForMs = "holder" in error ? ageMillis(error.holder?.since, start) : undefined
  return jsonLine(start.nowMillis, "ERROR", error.message, {
    name: family,
    error: Schema.encodeSync(GatewayLockError)(error),
    ...(heldForMs === undefined ? {} : { heldForMs }),
    facts: byKey(rows.filter(({ isNext }) => !isNext)),
    next: byKey(rows.filter(({ isNext }) => isNext))
  })
}
