/**
 * The commands that errors, `status`, `stop` and `doctor` advise, in the words of each platform. On Windows they are
 * PowerShell's, elsewhere a POSIX shell's. Pure.
 */
import { shellWord } from "./shellWord.ts"

export interface Advice {
  /** A word of a command, quoted for this platform's shell. */
  readonly word: (word: string) => string
  /** A command with an environment variable unset. */
  readonly unset: (variable: string, command: string) => string
  readonly removeFiles: (paths: ReadonlyArray<string>) => string
  readonly removeFolderLink: (path: string) => string
  readonly rename: (path: string, to: string) => string
  /** Shows whose files these are, and who may use them. */
  readonly showAccess: (paths: ReadonlyArray<string>) => string
  /** Makes a folder and what is in it a user's own. */
  readonly own: (path: string, uid: number | undefined) => string
  /** The same for somebody who may not change it. */
  readonly ownAsRoot: (path: string, uid: number | undefined) => string
  /** Takes the right to write in a folder from all but its owner. */
  readonly closeToOthers: (path: string) => string
  readonly ownFile: (path: string, uid: number) => string
  /** Sets the mode of a file. */
  readonly setMode: (path: string, mode: string) => string
  /** Lets the owner of a folder write in it. */
  readonly makeWritable: (path: string) => string
  readonly makeFolder: (path: string, uid: number | undefined) => string
  readonly edit: (path: string) => string
  /** Sets a file's time to now. */
  readonly renewTime: (path: string) => string
  readonly syncClock: string
  readonly whoHasFile: (path: string) => string
  readonly whoListens: (port: number) => string
  readonly showProcess: (pid: number) => string
  readonly endProcess: (pid: number) => string
  readonly askUrl: (url: string) => string
  /** The same; it fails if the answer is an error. */
  readonly checkUrl: (url: string) => string
  /** How to do that as a user who may. */
  readonly asRoot: (command: string) => string
  readonly restoreLoopback: string
}

/** The user's number, where it is known. */
const owner = (uid: number | undefined): string => uid === undefined ? "$(id -u)" : String(uid)

const words = (paths: ReadonlyArray<string>): string => paths.map(shellWord).join(" ")

const posix: Advice = {
  word: shellWord,
  unset: (variable, command) => `${variable}= ${command}`,
  removeFiles: (paths) => `rm ${words(paths)}`,
  removeFolderLink: (path) => `rm ${shellWord(path)}`,
  rename: (path, to) => `mv ${shellWord(path)} ${shellWord(to)}`,
  showAccess: (paths) => `ls -ld ${words(paths)}`,
  own: (path, uid) => `chown -R ${owner(uid)} ${shellWord(path)}`,
  ownAsRoot: (path, uid) => `sudo chown -R ${owner(uid)} ${shellWord(path)}`,
  closeToOthers: (path) => `chmod go-w ${shellWord(path)}`,
  ownFile: (path, uid) => `chown ${uid} ${shellWord(path)}`,
  setMode: (path, mode) => `chmod ${mode} ${shellWord(path)}`,
  makeWritable: (path) => `chmod u+rwx ${shellWord(path)}`,
  makeFolder: (path, uid) => `sudo install -d -m 700${uid === undefined ? "" : ` -o ${uid}`} ${shellWord(path)}`,
  edit: (path) => `\${EDITOR:-vi} ${shellWord(path)}`,
  renewTime: (path) => `touch ${shellWord(path)}`,
  syncClock: "timedatectl set-ntp true",
  whoHasFile: (path) => `lsof ${shellWord(path)}`,
  whoListens: (port) => `lsof -nP -iTCP:${port} -sTCP:LISTEN`,
  showProcess: (pid) => `ps -fp ${pid}`,
  endProcess: (pid) => `kill ${pid}`,
  askUrl: (url) => `curl ${url}`,
  checkUrl: (url) => `curl -f ${url}`,
  asRoot: (command) => `as root: sudo ${command}`,
  restoreLoopback: "sudo ifconfig lo0 inet 127.0.0.1 netmask 255.0.0.0 up"
}

const linux: Advice = {
  ...posix,
  whoListens: (port) => `ss -ltnp 'sport = :${port}'`,
  restoreLoopback: "sudo ip address add 127.0.0.1/8 dev lo && sudo ip link set lo up"
}

const darwin: Advice = { ...posix, syncClock: "sudo sntp -sS time.apple.com" }

/**
 * A word of a PowerShell command, in double quotes where it needs any. PowerShell expands `$`, a backtick and its own double
 * quotes within them (about_Quoting_Rules). A backslash before the closing quote would escape it for the program that is
 * started (CommandLineToArgvW), so it is doubled there.
 */
export const powerShellWord = (word: string): string =>
  /^[\w./:\\=+-]+$/.test(word)
    ? word
    : `"${word.replaceAll(/[$`"]/g, (special) => `\`${special}`).replace(/\\+$/, (end) => end + end)}"`

const powerShellWords = (paths: ReadonlyArray<string>): string => paths.map(powerShellWord).join(", ")

/** Full control for whoever types it, of the folder and of what is in it (icacls). */
const grant = (path: string): string => `icacls ${powerShellWord(path)} /grant "\${env:USERNAME}:(OI)(CI)F" /T`

/** Takes away what the file inherited, and gives full control to whoever types it, and to nobody else. */
const restrict = (path: string): string => `icacls ${powerShellWord(path)} /inheritance:r /grant:r "\${env:USERNAME}:F"`

const windows: Advice = {
  word: powerShellWord,
  unset: (variable, command) => `$env:${variable}=$null; ${command}`,
  removeFiles: (paths) => `Remove-Item ${powerShellWords(paths)}`,
  // Without -Recurse, and so without what the link leads to.
  removeFolderLink: (path) => `cmd /c rmdir ${powerShellWord(path)}`,
  rename: (path, to) => `Move-Item ${powerShellWord(path)} ${powerShellWord(to)}`,
  showAccess: (paths) => paths.map((path) => `icacls ${powerShellWord(path)}`).join("; "),
  own: grant,
  ownAsRoot: grant,
  closeToOthers: restrict,
  ownFile: restrict,
  setMode: restrict,
  makeWritable: grant,
  makeFolder: (path) => `New-Item -ItemType Directory ${powerShellWord(path)}`,
  edit: (path) => `notepad ${powerShellWord(path)}`,
  renewTime: (path) => `(Get-Item ${powerShellWord(path)}).LastWriteTime = Get-Date`,
  syncClock: "w32tm /resync",
  // No program of Windows itself names who has a file open on this machine; whoever has a lock file is a Node.
  whoHasFile: () => "tasklist /FI \"IMAGENAME eq node.exe\"",
  whoListens: (port) => `netstat -ano | findstr :${port}`,
  showProcess: (pid) => `tasklist /V /FI "PID eq ${pid}"`,
  // Without /F, a process without a window is not ended.
  endProcess: (pid) => `taskkill /F /PID ${pid}`,
  askUrl: (url) => `Invoke-WebRequest -UseBasicParsing ${url}`,
  checkUrl: (url) => `Invoke-WebRequest -UseBasicParsing ${url}`,
  asRoot: (command) => `as an administrator: ${command}`,
  restoreLoopback: "Get-NetIPAddress -IPAddress 127.0.0.1"
}

/** The commands of a platform, named as `process.platform`. */
export const adviceFor = (platform: string): Advice =>
  platform === "win32" ? windows : platform === "darwin" ? darwin : platform === "linux" ? linux : posix
