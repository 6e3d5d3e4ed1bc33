/**
 * The table of all commands, from which the parser, the help, the completions and the manual page are made.
 */
import { type Setting, settings } from "../settings/GatewayConfig.ts"
import type { Manager } from "../supervisor/ServiceOptions.ts"
import * as ExitStatus from "./ExitStatus.ts"

/** The actions of `gateway service` that run a command of the service manager. */
export const controlActions = ["start", "stop", "restart", "status", "logs"] as const

export type ControlAction = typeof controlActions[number]

export const isControlAction = (word: string | undefined): word is ControlAction =>
  controlActions.some((action) => action === word)

export const serviceActions = ["print", "install", "uninstall", ...controlActions] as const

/** The actions of `gateway service`. */
export type ServiceAction = typeof serviceActions[number]

export const leaderActions = ["show", "resign"] as const

/** The actions of `gateway leader`. */
export type LeaderAction = typeof leaderActions[number]

/** The shells for which there are completions. */
export const shells = ["bash", "zsh", "fish"] as const

export type Shell = typeof shells[number]

export type CommandName =
  | "run"
  | "exec"
  | "status"
  | "health"
  | "stop"
  | "list"
  | "leader"
  | "doctor"
  | "service"
  | "completions"

/** A flag that takes a value and belongs to only one command. */
export interface CommandValue {
  readonly placeholder: string
  readonly description: string
  /** All allowed words, if there are few. Shells complete them. */
  readonly values?: ReadonlyArray<string>
}

/**
 * One command of the program. Help, completions and the manual page are generated from these fields.
 */
export interface Command {
  readonly description: string
  /** Whether `--` and another program's command line follow the flags, or can follow them. */
  readonly command?: "required" | "optional"
  /** Another command whose own flags this command takes too, except some. */
  readonly takesFlagsOf?: { readonly command: "exec"; readonly except: ReadonlyArray<string> }
  /** The word that must follow the command. */
  readonly argument?: { readonly name: string; readonly allowed: ReadonlyArray<string> }
  /** The flags of this command alone that take no value. The key is the flag, and the value is its description. */
  readonly switches: Readonly<Record<string, string>>
  /** The flags of `switches` that have a letter, each with its letter. */
  readonly letters?: Readonly<Record<string, string>>
  /** The flags of this command alone that take a value. The key is the flag. */
  readonly values: Readonly<Record<string, CommandValue>>
  /** The settings that this command uses. */
  readonly settings: ReadonlyArray<Setting<unknown>>
  /** The exit statuses of this command, in addition to those of every command. */
  readonly exits: ReadonlyArray<ExitStatus.Description>
}

const json = { json: "print one JSON document, for programs" } as const

/** The flags of a command that can keep showing what it found. */
const watched: Pick<Command, "switches" | "values"> = {
  switches: {
    ...json,
    watch: "keep running: redraw the report on a terminal, else print it again after each change; q or Ctrl-C ends it"
  },
  values: {
    interval: {
      placeholder: "<duration>",
      description:
        "with --watch: time between two looks; a start or an end is seen at once; default: 2 to 10 seconds, for less than 1% of a processor"
    }
  }
}

/** The settings that select a lease and its store. */
const leaseSettings: ReadonlyArray<Setting<unknown>> = [
  settings.profile,
  settings.configPath,
  settings["lease.urlFile"],
  settings["lease.name"]
]

const allSettings: ReadonlyArray<Setting<unknown>> = Object.values(settings)

/** The settings of logs and errors. */
const logSettings: ReadonlyArray<Setting<unknown>> = [settings.logFormat, settings.logLevel]

/** The settings that select a gateway, and the settings of logs and errors. */
const targetSettings: ReadonlyArray<Setting<unknown>> = [
  settings.profile,
  settings.port,
  settings.host,
  settings.configPath,
  settings.stateDir,
  ...logSettings
]

/** All commands, in the order in which the help lists them. */
export const commands: Readonly<Record<CommandName, Command>> = {
  run: {
    description: "start the gateway and keep running; the default command",
    switches: {
      standby: "wait without a time limit until the current owner ends, then take over",
      ensure: "exit 0 at once if this gateway is already running and healthy",
      force: "stop a verified owner first, by SIGTERM, then SIGKILL; an unverified process is never signalled"
    },
    values: {},
    settings: allSettings,
    exits: ExitStatus.ofRun
  },
  exec: {
    description: "run any command under the lock, for as long as it runs",
    command: "required",
    switches: {
      standby: "wait without a time limit until the current owner ends, then start the command",
      ensure: "exit 0 at once if this gateway is already running and healthy",
      force: "stop a verified owner first, by SIGTERM, then SIGKILL; an unverified process is never signalled",
      "no-port": "hold the lock alone; the port is neither probed nor passed to the command",
      listen: "bind the port and pass the listening socket to the command as descriptor 3 (LISTEN_FDS)",
      group: "relay signals to the command's process group instead of the command alone",
      "no-inherit-lock": "release the lock when the command ends, even if processes that it started still run",
      "die-with-wrapper": "end the command if this wrapper is killed (Linux, needs setpriv)"
    },
    values: {
      ready: {
        placeholder: "<rule>",
        description:
          "when the command is ready: none, port (it listens), http:/<path> (it answers 200 to 299), or notify (READY=1 to systemd); default: port, but only reported"
      },
      "start-timeout": {
        placeholder: "<duration>",
        description: "time limit for the command to become ready; default: 1 minute"
      },
      "stop-timeout": {
        placeholder: "<duration>",
        description: "time from SIGTERM to SIGKILL if the wrapper has to stop the command; default: 10 seconds"
      },
      "conflict-exit-code": {
        placeholder: "<status>",
        description: "exit status if the lock or the port is taken, from 0 to 255; default: 75"
      }
    },
    settings: allSettings,
    exits: ExitStatus.ofExec
  },
  status: {
    description: "show the holder of the lock and the port, and its health",
    ...watched,
    settings: targetSettings,
    // These statuses follow those that the Linux Standard Base defines for the `status` action of an init script.
    exits: [
      [ExitStatus.ExitStatus.ok, "running and healthy; with --watch always, if no error occurs"],
      [ExitStatus.ExitStatus.failure, "not running, but a lock file remains"],
      [ExitStatus.ExitStatus.notRunning, "not running"],
      [
        ExitStatus.ExitStatus.otherwise,
        "any other state: starting, draining, unhealthy, another program on the port, or unknown"
      ]
    ]
  },
  health: {
    description: "exit 0 if this gateway is healthy, else 1; for probes",
    switches: {},
    values: {},
    settings: targetSettings,
    exits: [[0, "this gateway answers and is healthy"], [1, "it is not healthy, or cannot be identified"]]
  },
  stop: {
    description: "stop the verified owner, and return when the lock is free",
    switches: { force: "send SIGKILL to an owner that does not end in time" },
    values: {
      timeout: {
        placeholder: "<duration>",
        description: "time limit for the owner to end; default: the drain timeout plus 5 seconds, more with a lease"
      }
    },
    settings: [...targetSettings, settings.drainTimeout],
    exits: [[0, "stopped, or not running"], [1, "it did not end in time, or cannot be verified"]]
  },
  list: {
    description: "list all gateways of this user on this host",
    ...watched,
    settings: logSettings,
    exits: [[0, "always, even if there is no gateway"]]
  },
  leader: {
    description: "show which gateway leads across hosts, or make it hand over",
    argument: { name: "action", allowed: leaderActions },
    switches: json,
    values: {},
    settings: leaseSettings,
    exits: [[0, "show: a gateway leads; resign: it has handed over"], [1, "no gateway leads, or it did not hand over"]]
  },
  doctor: {
    description: "find problems, and show the command that fixes each",
    switches: json,
    values: {},
    settings: targetSettings,
    exits: [[0, "no problem was found"], [1, "a warning or an error was found"]]
  },
  service: {
    description: "run this gateway as a service of the system: install, start, logs",
    command: "optional",
    // A service manager decides when a service starts. With --ensure, it would start a service again and again that exits 0 at once.
    takesFlagsOf: { command: "exec", except: ["ensure", "force"] },
    argument: { name: "action", allowed: serviceActions },
    switches: {
      exec: "run the command after -- under the lock, instead of a gateway; takes most flags of exec",
      system: "use a service of the whole machine instead of this user's",
      "dry-run": "show what would be done, without doing it",
      follow: "with logs: keep showing new lines until Ctrl-C"
    },
    letters: { follow: "f" },
    values: {
      manager: {
        placeholder: "<name>",
        description: "service manager: systemd, launchd or schtasks; default: the one of this platform",
        values: ["systemd", "launchd", "schtasks"] satisfies ReadonlyArray<Manager>
      },
      user: {
        placeholder: "<name>",
        description:
          "with --system: user that the service runs as; default on systemd: a user that exists only while the service runs"
      },
      lines: {
        placeholder: "<count>",
        description: "with logs: number of the latest lines to show, or all; default: 100"
      }
    },
    settings: allSettings,
    exits: [
      [0, "done; status: running"],
      [1, "failed; start, stop, restart, status and logs: otherwise the status of the service manager's own command"],
      [ExitStatus.ExitStatus.notRunning, "status: not running"],
      [ExitStatus.ExitStatus.otherwise, "status: not installed, or unknown"]
    ]
  },
  completions: {
    description: "print the completion script for a shell",
    argument: { name: "shell", allowed: shells },
    switches: {},
    values: {},
    settings: [],
    exits: [[0, "always"]]
  }
}

const without = <A>(record: Readonly<Record<string, A>>, names: ReadonlyArray<string>): Record<string, A> =>
  Object.fromEntries(Object.entries(record).filter(([name]) => !names.includes(name)))

/** The flags of a command that not every command has, with those of `takesFlagsOf`. */
export const flagsOf = (command: Command): Pick<Command, "switches" | "values"> => {
  const { switches, takesFlagsOf, values } = command
  if (takesFlagsOf === undefined) return { switches, values }
  const other = commands[takesFlagsOf.command]
  return {
    switches: { ...without(other.switches, takesFlagsOf.except), ...switches },
    values: { ...without(other.values, takesFlagsOf.except), ...values }
  }
}
