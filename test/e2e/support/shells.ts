/**
 * Asks real shells for the completions at the end of a line, with the completion script that the program prints.
 */
import { Effect } from "effect"
import type * as Gateways from "./gateways.ts"
import * as Processes from "./processes.ts"
import * as Program from "./program.ts"

export interface Shell {
  readonly name: "bash" | "zsh" | "fish"
  /** Why the tests cannot use this shell; `undefined` if they can. */
  readonly unavailable: string | undefined
  /** The command that completes an incomplete command line with a completion script, and prints one candidate per output line. */
  readonly complete: (script: string, line: string) => ReadonlyArray<string>
  /** The command that checks the syntax of a completion script. */
  readonly check: (script: string) => ReadonlyArray<string>
}

/** Calls the completion function as readline does: with the words of the line. Each `=` in the line is a word of its own. */
const bash = `
source "$1"
line=$2
read -ra COMP_WORDS <<< "\${line//=/ = }"
[[ $line == *' ' || $line == *= ]] && COMP_WORDS+=('')
[[ $line == *= ]] && unset 'COMP_WORDS[-1]'
COMP_CWORD=$((\${#COMP_WORDS[@]} - 1))
_gateway 2>&1
printf '%s\\n' "\${COMPREPLY[@]}"
`

/**
 * Runs an interactive zsh on a pseudo-terminal. The script defines a function `compadd`, which prints the candidates that zsh's
 * builtin `compadd` would add, and then calls that builtin. The first zsh with a home folder writes a file there (`.zcompdump`), from
 * which the next ones load zsh's own completion functions. That takes half the time.
 */
const zsh = `
zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z 'PS1=; PROMPT_EOL_MARK='
zpty -w z "autoload -Uz compinit; compinit -u -C -d ~/.zcompdump; source \${(q)1}"
zpty -w z 'compadd() {
  if [[ \${@[(ri)-[OAD]]} -le $# ]]; then builtin compadd "$@"; return; fi
  local -a hits; builtin compadd -A hits "$@"; print -rl -- "<<"\${^hits}">>"; builtin compadd "$@" }'
zpty -w z 'zle -C complete-word complete-word _generic; bindkey "^I" complete-word; print REA""DY'
local l
while zpty -r z l; do [[ $l == *READY* ]] && break; done
zpty -w -n z "$2"$'\\t'
zpty -w -n z $'\\C-a\\C-kprint DO""NE\\n'
while zpty -r z l; do
  for hit in \${(f)l}; do [[ $hit == *'<<'(#b)(*)'>>'* ]] && print -r -- $match[1]; done
  [[ $l == *DONE* ]] && break
done
zpty -d z
`

export const all: ReadonlyArray<Shell> = [
  {
    name: "bash",
    unavailable: Program.without("bash"),
    complete: (script, line) => ["bash", "--norc", "-c", bash, "bash", script, line],
    check: (script) => ["bash", "-n", script]
  },
  {
    name: "zsh",
    unavailable: Program.without("zsh"),
    complete: (script, line) => ["zsh", "-f", "-o", "extendedglob", "-c", zsh, "zsh", script, line],
    check: (script) => ["zsh", "-f", "-n", script]
  },
  {
    name: "fish",
    unavailable: Program.without("fish"),
    // fish prints a tab and a description after each candidate. `string replace` removes both.
    complete: (script, line) => [
      "fish",
      "--no-config",
      "-c",
      "source $argv[1]; complete -C $argv[2] | string replace -r '\\t.*' ''; true",
      script,
      line
    ],
    check: (script) => ["fish", "--no-config", "-n", script]
  }
]

/** Runs a shell command with the test's folder as home folder, and returns the lines that the command printed. */
export const lines = (site: Gateways.Site, words: ReadonlyArray<string>): Effect.Effect<ReadonlyArray<string>> =>
  Effect.scoped(Effect.gen(function*() {
    const env = { PATH: Program.searchPath, HOME: site.root, TERM: "dumb", LC_ALL: "C.UTF-8" }
    const { ended } = yield* Processes.start(words, { env, cwd: site.root })
    const { code, stderr, stdout } = yield* ended
    if (code !== 0) return yield* Effect.dieMessage(`${words[0]} ended with ${code}: ${stderr}`)
    return stdout.split(/\r?\n/).filter((line) => line !== "")
  }))
