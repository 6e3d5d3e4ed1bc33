/**
 * Starts the command of `gateway exec` as a child of this process.
 *
 * `internal/child.ts` starts the tools that a gateway needs for itself, and hides the environment from them. The command here is
 * the user's own program, so it inherits standard streams, environment and lock descriptors.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { type ChildProcess, spawn, type StdioOptions } from "node:child_process"
import { fstatSync } from "node:fs"
import type { Duplex } from "node:stream"
import { codeOf } from "../internal/errno.ts"

/**
 * The command could not be started.
 *
 * @since 0.1.0
 * @category errors
 */
export class SpawnFailed extends Data.TaggedError("SpawnFailed")<{
  readonly command: string
  /** `NotFound`: there is no such program. `NotExecutable`: the file exists, but cannot be executed. */
  readonly why: "NotFound" | "NotExecutable" | "Failed"
  readonly reason: string
}> {
  override get message() {
    return `failed to start ${JSON.stringify(this.command)}: ${this.reason}`
  }
}

/**
 * How a child ended: it exited with a status, or a signal ended it.
 *
 * @since 0.1.0
 * @category models
 */
export type ChildExit =
  | { readonly _tag: "Exited"; readonly status: number }
  | { readonly _tag: "Signalled"; readonly signal: NodeJS.Signals }

/**
 * The command to start, and the resources that the child inherits.
 *
 * @since 0.1.0
 * @category models
 */
export interface ChildSpec {
  readonly command: string
  readonly args: ReadonlyArray<string>
  /** The whole environment of the child. */
  readonly env: Readonly<Record<string, string>>
  /** The descriptors of this process that the child inherits, in addition to its standard streams. */
  readonly inherits: ReadonlyArray<number>
  /**
   * The descriptors of listening sockets that are passed to the command as sd_listen_fds(3) describes: as descriptors 3, 4 and so
   * on, in blocking mode, with the command's pid in `LISTEN_PID`.
   */
  readonly sockets: ReadonlyArray<number>
  /** Whether the child becomes the leader of a new session and process group (setsid(2)). */
  readonly newSession: boolean
  /**
   * Whether the child waits until `begin` is called before it executes the command. If this process ends before that, the command
   * is never executed.
   */
  readonly waits: boolean
}

/**
 * A child that was started.
 *
 * @since 0.1.0
 * @category models
 */
export interface StartedChild {
  readonly pid: number
  /** Completes when the child has ended. */
  readonly ended: Effect.Effect<ChildExit>
  /**
   * Completes when the child and all processes that inherited the descriptors of `inherits` have ended or have closed them. These
   * processes also inherit one end of a pipe. The kernel reports when the last of them has closed it, so no polling is needed.
   * Completes at once if `inherits` is empty.
   */
  readonly deserted: Effect.Effect<void>
  /** Whether `deserted` has completed. */
  readonly isDeserted: Effect.Effect<boolean>
  /**
   * The identity of the first file of `inherits`, as `<device>:<inode>`. If another process has this file open and shares the lock
   * on it, that process has inherited the file from the child. `None` if the child inherits no file.
   */
  readonly mark: Option.Option<string>
  /** Whether the child has ended. Its pid may belong to another process then. */
  readonly hasEnded: Effect.Effect<boolean>
  /** Lets a child that was started with `waits` execute the command. */
  readonly begin: Effect.Effect<void>
  /**
   * Sends a signal to the child, or to its process group. A child that has ended gets no signal, because another process may have
   * its pid now. Its group, if it has its own (`newSession`), gets the signal as long as a process of the group lives.
   */
  readonly signal: (signal: NodeJS.Signals, to: "child" | "group") => Effect.Effect<void>
}

/**
 * Starts a child process.
 *
 * @since 0.1.0
 * @category tags
 */
export class ChildProgram extends Context.Tag("gateway-lock/ChildProgram")<ChildProgram, {
  readonly start: (spec: ChildSpec) => Effect.Effect<StartedChild, SpawnFailed>
}>() {}

/**
 * The number that the first descriptor of `inherits` has in the child. The numbers from 3 to 19 stay free for the command, which
 * may expect a passed socket at descriptor 3 (sd_listen_fds(3)).
 */
const firstInherited = 20

/**
 * The descriptor at which a child that `waits` reads the permission to begin. It has one digit, because the shell `dash`
 * redirects no descriptor with more digits.
 */
const gateDescriptor = 9

/**
 * Reads one line, and closes the descriptor. If the pipe ends without a line, the process that started this shell has ended. The
 * command is not executed then.
 */
const gateScript = `read -r _ <&${gateDescriptor} || exit 125; exec ${gateDescriptor}<&-;`

/** Sets the pid for which the sockets are meant. The shell becomes the command without a change of its pid. */
const pidScript = "LISTEN_PID=$$; export LISTEN_PID;"

/** Words that a shell executes first, and then the command in the same process. Without such words, no shell is needed. */
const words = ({ args, command, sockets, waits }: ChildSpec): readonly [string, ReadonlyArray<string>] => {
  const script = [waits ? gateScript : "", sockets.length > 0 ? pidScript : ""].filter((part) => part !== "")
  return script.length > 0
    ? ["/bin/sh", ["-c", [...script, "exec \"$@\""].join(" "), "sh", command, ...args]]
    : [command, args]
}

/** The descriptor of the first passed socket, `SD_LISTEN_FDS_START`. */
const firstSocket = 3

const stdioOf = ({ inherits, sockets, waits }: ChildSpec): StdioOptions => {
  // Descriptors from 3 on that are `ignore` stay closed in the child (`uv__process_child_init` in libuv's src/unix/process.c).
  const stdio: Array<"inherit" | "ignore" | "pipe" | number> = Array.from(
    { length: firstInherited + inherits.length + 1 },
    (_, descriptor) => descriptor < 3 ? "inherit" : "ignore"
  )
  for (const [index, descriptor] of inherits.entries()) stdio[firstInherited + index] = descriptor
  for (const [index, descriptor] of sockets.entries()) stdio[firstSocket + index] = descriptor
  if (inherits.length > 0) stdio[firstInherited + inherits.length] = "pipe"
  if (waits) stdio[gateDescriptor] = "pipe"
  return stdio
}

/**
 * Sets sockets to blocking mode, in which systemd passes sockets too. A program that calls accept(2) at once would otherwise fail
 * with EAGAIN, because Node sets its own sockets to non-blocking mode.
 *
 * Node cannot change the mode of a socket. But if a child inherits a socket as a standard stream, libuv sets it to blocking mode
 * (`uv__process_child_init` in src/unix/process.c). The mode belongs to the socket itself, so it holds in all processes. Two
 * sockets at a time are standard streams of a shell that does nothing.
 */
const setBlocking = (sockets: ReadonlyArray<number>): void => {
  for (let at = 0; at < sockets.length; at += 2) {
    const stdio: StdioOptions = [sockets[at] ?? "ignore", sockets[at + 1] ?? "ignore", "ignore"]
    spawn("/bin/sh", ["-c", ":"], { stdio, env: {} }).on("error", () => {})
  }
}

const failure = (command: string, cause: unknown): SpawnFailed => {
  const code = codeOf(cause)
  if (code === "ENOENT") {
    return new SpawnFailed({ command, why: "NotFound", reason: "there is no such program; check its name and PATH" })
  }
  if (code === "EACCES" || code === "ENOEXEC") {
    return new SpawnFailed({
      command,
      why: "NotExecutable",
      reason: "it cannot be executed; check its mode bits (chmod +x) and the interpreter in its first line"
    })
  }
  return new SpawnFailed({ command, why: "Failed", reason: cause instanceof Error ? cause.message : String(cause) })
}

const isDuplex = (stream: unknown): stream is Duplex =>
  typeof stream === "object" && stream !== null && "write" in stream && "on" in stream

const hasEnded = ({ exitCode, signalCode }: ChildProcess): boolean => exitCode !== null || signalCode !== null

/** The identity of an open file. */
const markOf = (descriptor: number): Option.Option<string> => {
  try {
    const { dev, ino } = fstatSync(descriptor, { bigint: true })
    return Option.some(`${dev}:${ino}`)
  } catch {
    return Option.none()
  }
}

const signalTo = (child: ChildProcess, newSession: boolean) => (signal: NodeJS.Signals, to: "child" | "group") =>
  Effect.sync(() => {
    const { pid } = child
    if (pid === undefined) return
    if (to === "child" || !newSession) {
      if (!hasEnded(child)) child.kill(signal)
      return
    }
    try {
      // The group's id is the child's pid. The kernel does not reuse that number while a process of the group lives.
      process.kill(-pid, signal)
    } catch {
      // No process of the group is left.
    }
  })

const started = (child: ChildProcess, pid: number, spec: ChildSpec): StartedChild => {
  const ended = Deferred.unsafeMake<ChildExit>(FiberId.none)
  child.on("exit", (status, signal) =>
    Deferred.unsafeDone(
      ended,
      Effect.succeed(signal === null ? { _tag: "Exited", status: status ?? 0 } : { _tag: "Signalled", signal })
    ))
  const deserted = Deferred.unsafeMake<void>(FiberId.none)
  const streams: ReadonlyArray<unknown> = child.stdio
  const pipe = streams[firstInherited + spec.inherits.length]
  const mark = Option.flatMap(Option.fromNullable(spec.inherits[0]), markOf)
  if (isDuplex(pipe)) {
    // The command has the other end of the pipe and can write to it. This process reads and discards that data, because Node emits
    // `close` only after all data has been read.
    pipe.on("error", () => {}).on("close", () => Deferred.unsafeDone(deserted, Effect.void)).resume()
  } else Deferred.unsafeDone(deserted, Effect.void)
  const gate = streams[gateDescriptor]
  if (isDuplex(gate)) gate.on("error", () => {}).resume()
  return {
    pid,
    ended: Deferred.await(ended),
    deserted: Deferred.await(deserted),
    isDeserted: Deferred.isDone(deserted),
    mark,
    hasEnded: Effect.sync(() => hasEnded(child)),
    begin: Effect.sync(() => {
      if (isDuplex(gate)) gate.end("\n")
    }),
    signal: signalTo(child, spec.newSession)
  }
}

/**
 * Starts children of this process with `node:child_process`.
 *
 * @internal
 */
export const live: ChildProgram["Type"] = ChildProgram.of({
  start: (spec) =>
    Effect.async<StartedChild, SpawnFailed>((resume) => {
      const [command, args] = words(spec)
      try {
        setBlocking(spec.sockets)
        const child = spawn(command, args, {
          env: spec.env,
          stdio: stdioOf(spec),
          detached: spec.newSession
        })
        child.once("error", (cause) => resume(failure(spec.command, cause)))
        // The listeners for the exit must be set in this turn of the event loop, because the child may end at once.
        if (child.pid !== undefined) resume(Effect.succeed(started(child, child.pid, spec)))
      } catch (cause) {
        resume(failure(spec.command, cause))
      }
    })
})
/**
 * `live` as a layer.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerLive: Layer.Layer<ChildProgram> = Layer.succeed(ChildProgram, live)
