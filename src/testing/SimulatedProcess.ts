/**
 * A process of a simulated host: its options, and the handle with which a test controls it.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Option from "effect/Option"

/**
 * Options of a simulated process. All of them are optional.
 *
 * @since 0.1.0
 * @category models
 */
export interface ProcessOptions {
  /**
   * The pid of the process. It can be the pid of a process that has ended. If the option is missing, or if another process
   * still has this pid, the process gets the next free pid.
   */
  readonly pid?: number | undefined
  /** The ids of the threads other than the main thread. kill(2) accepts these ids like pids. Default: none. */
  readonly threads?: ReadonlyArray<number> | undefined
  /** The pid of the parent process. Default: the process cannot see its parent. */
  readonly parent?: number | undefined
  /**
   * The process group. Default: the process leads a new group, whose number is its pid.
   *
   * @internal
   */
  readonly group?: number | undefined
  /**
   * Whether the host's terminal is the controlling terminal of the process. Default `false`.
   *
   * @internal
   */
  readonly hasTerminal?: boolean | undefined
  /**
   * A running process whose open files the new process inherits, with the kernel locks on them. The locks then last until both
   * processes have closed the files or ended. Default: the process inherits no open file.
   */
  readonly inherits?: SimulatedProcess<unknown, unknown> | undefined
  /** The user id. Default 0: root, whose permissions are not checked. */
  readonly uid?: number | undefined
  /** The umask of the process (umask(2)). Default 0o022. */
  readonly umask?: number | undefined
  /** How many files the process may have open at the same time. Default: no limit. */
  readonly maxFiles?: number | undefined
  /** The PID namespace of the process. Default: the PID namespace of the host. */
  readonly pidNamespace?: string | undefined
  /** The network namespace of the process. Default: the network namespace of the host. */
  readonly networkNamespace?: string | undefined
  /**
   * The boot id that the process sees. Default: the current boot id of the host.
   *
   * A process with another boot id stands for a process on another machine that shares the file system. A reboot of the host does
   * not end such a process, and its PID namespaces are separate from those of the host. Give such a process its own network
   * namespace as well. Set `kernelLocks` to `false` if the shared file system is meant to have no kernel locks.
   */
  readonly bootId?: string | undefined
  /** Whether the program has the native addon that takes kernel locks. Default `true`. */
  readonly kernelLocks?: boolean | undefined
  /** The file name of the program. Default `node`. */
  readonly command?: string | undefined
  /**
   * Whether the program listens for SIGTERM and runs its finalizers when it gets the signal. A program under
   * `NodeRuntime.runMain` does so. Default `true`.
   */
  readonly listensForSigterm?: boolean | undefined
  /**
   * A process that is already running. The program runs in that process, as a worker thread or another copy of the library
   * does. Default: the program gets a new process.
   *
   * The program has the pid, start time, boot id, namespaces, parent, user and limits of that process. So the options for these
   * properties have no effect together with `within`. SIGKILL ends all programs of the process, and SIGSTOP stops all of them.
   */
  readonly within?: SimulatedProcess<unknown, unknown> | undefined
}

/**
 * A handle to a program on the simulated host, with the signals and other operations that a test can use.
 *
 * @since 0.1.0
 * @category models
 */
export interface SimulatedProcess<A, E> {
  readonly pid: number
  /** The number of this program on its host. Unlike a pid, it is never reused. */
  readonly serial: number
  /** Sends SIGKILL. No finalizer runs, and the kernel closes the files and releases the locks and ports. */
  readonly kill: Effect.Effect<void>
  /** Sends SIGKILL, and the parent does not call wait(2). The process stays as a zombie, and its pid stays taken. */
  readonly killUnreaped: Effect.Effect<void>
  /** Sends SIGTERM: interrupts the program and waits for its finalizers. Other programs in the same process continue. */
  readonly terminate: Effect.Effect<Exit.Exit<A, E>>
  /** Sends SIGTERM without waiting for the finalizers. */
  readonly interrupt: Effect.Effect<void>
  /** Sends SIGSTOP: stops the process. */
  readonly freeze: Effect.Effect<void>
  /** Sends SIGCONT: lets the process continue. */
  readonly resume: Effect.Effect<void>
  /** Waits for the exit of the program. This effect never completes if the program is killed. In that case, use `gone`. */
  readonly exit: Effect.Effect<Exit.Exit<A, E>>
  /** The exit of the program. `None` while the program runs, and if it was killed. */
  readonly poll: Effect.Effect<Option.Option<Exit.Exit<A, E>>>
  /** Completes when the program has ended, by itself or by SIGKILL, like wait(2). */
  readonly gone: Effect.Effect<void>
  /**
   * The exit status: 0 after success or interruption, 1 after a failure. The status is also 1 if the program ended its process
   * through the service `ProcessEnd`. The result is `None` while the program runs, and if it was killed.
   */
  readonly status: Effect.Effect<Option.Option<number>>
  /** Whether the program still runs: it has neither ended nor been killed. */
  readonly isRunning: () => boolean
}
