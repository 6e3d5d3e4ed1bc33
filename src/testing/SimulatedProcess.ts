/**
 * A process of the simulated host: what it is like, and what a test can do to it.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Option from "effect/Option"

/**
 * What a simulated process is like. All optional.
 *
 * @since 0.1.0
 * @category models
 */
export interface ProcessOptions {
  /** Default, and where a running process has that number: the next free one. The number of a process that ended is reused. */
  readonly pid?: number | undefined
  /** The numbers of further threads, which kill(2) takes for processes. Default none. */
  readonly threads?: ReadonlyArray<number> | undefined
  /** The pid of its parent. Default: none that can be seen. */
  readonly parent?: number | undefined
  /** Default 0, root, whom no permission stops. */
  readonly uid?: number | undefined
  /** Default 0o022. */
  readonly umask?: number | undefined
  /** Files that it may have open at one time. Default: no limit. */
  readonly maxFiles?: number | undefined
  /** Default: the host's own. */
  readonly pidNamespace?: string | undefined
  /** Default: the host's own. */
  readonly networkNamespace?: string | undefined
  /**
   * Default: the host's present one. Another is another machine on the same volume: it does not end with `reboot`, and its
   * PID namespaces are its own. Give it a network namespace of its own, and no kernel locks where the volume has none.
   */
  readonly bootId?: string | undefined
  /** Whether the program has the addon that asks for kernel locks. Default `true`. */
  readonly kernelLocks?: boolean | undefined
  /** The program's file name. Default `node`. */
  readonly command?: string | undefined
  /** Whether it listens for SIGTERM and ends in order, as a program under `runMain` does. Default `true`. */
  readonly listensForSigterm?: boolean | undefined
  /**
   * A running process in which the program runs: a worker thread, or another copy of the library. It has that process's pid,
   * start, boot, namespaces, parent, user and limits, whatever else is given here, and shares its fate: SIGKILL ends and
   * SIGSTOP stops all of its programs. Default: a process of its own.
   */
  readonly within?: SimulatedProcess<unknown, unknown> | undefined
}

/**
 * A program that runs on the host, and what can be done to it.
 *
 * @since 0.1.0
 * @category models
 */
export interface SimulatedProcess<A, E> {
  readonly pid: number
  /** The how-manyth program of this host: never used twice, as a pid can be. */
  readonly serial: number
  /** SIGKILL: no finalizer runs, and the kernel takes back what it lent. */
  readonly kill: Effect.Effect<void>
  /** SIGKILL by a parent that does not wait: the pid stays taken. */
  readonly killUnreaped: Effect.Effect<void>
  /** SIGTERM: interrupts the program, not others in its process, and waits for its finalizers. */
  readonly terminate: Effect.Effect<Exit.Exit<A, E>>
  /** SIGTERM without waiting. */
  readonly interrupt: Effect.Effect<void>
  /** SIGSTOP. */
  readonly freeze: Effect.Effect<void>
  /** SIGCONT. */
  readonly resume: Effect.Effect<void>
  /** Waits for the program's end; for ever, if it was killed. */
  readonly exit: Effect.Effect<Exit.Exit<A, E>>
  /** The exit, if the program has ended. */
  readonly poll: Effect.Effect<Option.Option<Exit.Exit<A, E>>>
  /** Completes when the program has ended, by itself or by SIGKILL of its process: wait(2). */
  readonly gone: Effect.Effect<void>
  /**
   * With which exit status it has ended: 0 for success and interruption, 1 for a failure and where `ProcessEnd` ended it.
   * `None` while it runs, and if it was killed.
   */
  readonly status: Effect.Effect<Option.Option<number>>
  /** Neither killed nor ended. */
  readonly isRunning: () => boolean
}
