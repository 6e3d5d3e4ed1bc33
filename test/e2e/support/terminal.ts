/**
 * Runs the program on a real pseudo-terminal, and shows what a terminal emulator (xterm.js) makes of its output.
 */
import xterm from "@xterm/headless"
import { Cause, Effect, Schema, type Scope } from "effect"
import { spawn } from "node:child_process"
import { fileURLToPath } from "node:url"
import { isLinux } from "../../fixtures/machine.ts"
import * as Fixtures from "../../fixtures/processes.ts"

const host = fileURLToPath(new URL("../../fixtures/python/terminal.py", import.meta.url))

/** Why this machine has no pseudo-terminal for tests; `undefined` if it has. */
export const unavailable = isLinux && Fixtures.works("python3", ["-c", "import pty"])
  ? undefined
  : "needs Linux and python3"

const Modes = Schema.parseJson(
  Schema.Struct({ echo: Schema.Boolean, canonical: Schema.Boolean, signals: Schema.Boolean })
)

/** The modes in which a shell leaves its terminal. */
export const usual: typeof Modes.Type = { echo: true, canonical: true, signals: true }

export interface Size {
  readonly columns: number
  readonly rows: number
}

export interface Terminal {
  /** Everything that was written to the terminal so far. */
  readonly output: Effect.Effect<string>
  /** The rows that a person sees now, without blanks at their ends. */
  readonly screen: Effect.Effect<ReadonlyArray<string>>
  /** Waits until a person sees a screen that matches, and returns its rows. */
  readonly shows: (pattern: RegExp) => Effect.Effect<ReadonlyArray<string>>
  /** Waits until the terminal is on the alternate screen, or on the normal one. */
  readonly isAlternate: Effect.Effect<boolean>
  readonly type: (text: string) => Effect.Effect<void>
  readonly resize: (size: Size) => Effect.Effect<void>
  readonly modes: Effect.Effect<typeof Modes.Type>
  /** Closes the terminal, as a person closes a window. */
  readonly hangUp: Effect.Effect<void>
  /** The exit status, or 128 and the number of the signal. */
  readonly ended: Effect.Effect<number>
}

interface StartOptions extends Size {
  readonly cwd: string
  readonly env: Record<string, string>
}

const patience = "20 seconds"

/** Starts a program on a new terminal, of which it is the controlling process. */
export const start = (
  words: ReadonlyArray<string>,
  { columns, cwd, env, rows }: StartOptions
): Effect.Effect<Terminal, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => {
        const child = spawn("python3", [host, String(columns), String(rows), ...words], { cwd, env, stdio: "pipe" })
        const emulator = new xterm.Terminal({ cols: columns, rows, allowProposedApi: true, scrollback: 1000 })
        const seen = { output: "", errors: "" }
        const readers = new Set<() => void>()
        const wake = () => {
          for (const reader of readers) reader()
        }
        child.stdout.on("data", (data: Buffer) => {
          seen.output += data.toString("latin1")
          emulator.write(data, wake)
        })
        child.stderr.setEncoding("utf8").on("data", (text: string) => {
          seen.errors += text
          wake()
        })
        const status = new Promise<number>((resolve) => child.on("close", (code) => resolve(code ?? 255)))
        child.stdin.on("error", () => {})
        return { child, emulator, readers, seen, status }
      }),
      ({ child, emulator, status }) =>
        Effect.promise(async () => {
          child.kill("SIGKILL")
          await status
          emulator.dispose()
        })
    ),
    ({ child, emulator, readers, seen, status }) => {
      const order = (words: unknown) => Effect.sync(() => void child.stdin.write(`${JSON.stringify(words)}\n`))
      const screen = () => {
        const { baseY, getLine } = {
          baseY: emulator.buffer.active.baseY,
          getLine: emulator.buffer.active.getLine.bind(emulator.buffer.active)
        }
        return Array.from({ length: emulator.rows }, (_, row) =>
          getLine(baseY + row)?.translateToString(true, 0, emulator.cols) ?? "")
      }
      const until = <A>(what: string, find: () => A | undefined): Effect.Effect<A> =>
        Effect.async<A>((resume) => {
          const look = () => {
            const found = find()
            if (found !== undefined) {
              resume(Effect.succeed(found))
            }
          }
          readers.add(look)
          look()
          return Effect.sync(() =>
            readers.delete(look)
          )
        }).pipe(Effect.timeoutFailCause({
          duration: patience,
          onTimeout: () =>
            Cause.die(new Error(`${what} never came; the screen:\n${screen().join("\n")}\n${seen.errors}`))
        }))
      return {
        output: Effect.sync(() => Buffer.from(seen.output, "latin1").toString()),
        screen: Effect.sync(screen),
        shows: (pattern) =>
          until(String(pattern), () => {
            const rows = screen()
            return pattern.test(rows.join("\n")) ? rows : undefined
          }),
        isAlternate: Effect.sync(() => emulator.buffer.active.type === "alternate"),
        type: (type) => order({ type }),
        resize: ({ columns, rows }) =>
          Effect.zipRight(
            Effect.sync(() => emulator.resize(columns, rows)),
            order({ size: [columns, rows] })
          ),
        modes: Effect.suspend(() => {
          const from = seen.errors.length
          return Effect.zipRight(
            order({ modes: true }),
            until("the modes", () => /^\{.*\}\n/.exec(seen.errors.slice(from))?.[0])
          )
        }).pipe(Effect.flatMap(Schema.decode(Modes)), Effect.orDie),
        hangUp: order({ hangup: true }),
        ended: Effect.promise(() => status)
      }
    }
  )
