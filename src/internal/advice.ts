/**
 * The commands that errors, `status`, `stop` and `doctor` advise, for each platform. They are for PowerShell on Windows and
 * for a POSIX shell elsewhere. Pure.
 */
import { shellWord } from "./shellWord.ts"

export interface Advice {
  /** Quotes a word of a command for this platform's shell. */
  readonly word: (word: string) => string
  /** A command that runs `command` as if the shell had not set the environment variable `variable`. */
  readonly unset: (variable: string, command: string) => string
  readonly removeFiles: (paths: ReadonlyArray<string>) => string
  /** A command that removes a link to a folder, but not the folder. */
  readonly removeFolderLink: (path: string) => string
  readonly rename: (path: string, to: string) => string
  /** A command that shows the owners and the permissions of files. */
  readonly showAccess: (paths: ReadonlyArray<string>) => string
  /** A command that makes a user the owner of a folder and of its content. Without `uid`, that is the user who runs the command. */
  readonly changeOwner: (path: string, uid: number | undefined) => string
  /** A command that does the same as `changeOwner` with the permissions of root, for a user who is not allowed to change the owner. */
  readonly changeOwnerAsRoot: (path: string, uid: number | undefined) => string
  /** A command that removes the write permission on a folder for all users except its owner. */
  readonly closeToOthers: (path: string) => string
  /** A command that makes the user with this uid the owner of a file. */
  readonly ownFile: (path: string, uid: number) => string
  /** A command that sets the mode (the permission bits) of a file. */
  readonly setMode: (path: string, mode: string) => string
  /** A command that gives the owner of a folder write permission. */
  readonly makeWritable: (path: string) => string
  readonly makeFolder: (path: string, uid: number | undefined) => string
  readonly edit: (path: string) => string
  /** A command that sets a file's modification time to now. */
  readonly renewTime: (path: string) => string
  readonly syncClock: string
  readonly showFileUsers: (path: string) => string
  readonly showListeners: (port: number) => string
  readonly showProcess: (pid: number) => string
  readonly endProcess: (pid: number) => string
  readonly askUrl: (url: string) => string
  /** A command that requests a URL, and that fails if the answer is an HTTP error. */
  readonly checkUrl: (url: string) => string
  /** A text that tells the reader to run a command with the permissions of root. */
  readonly asRoot: (command: string) => string
  /** A command that restores the loopback address 127.0.0.1. On Windows, the command only shows that address. */
  readonly restoreLoopback: string
}

/** The uid of the new owner, or a shell expression for the current user. */
const owner = (uid: number | undefined): string => uid === undefined ? "$(id -u)" : String(uid)

const words = (paths: ReadonlyArray<string>): string => paths.map(shellWord).join(" ")

const posix: Advice = {
  word: shellWord,
  unset: (variable, command) => `${variable}= ${command}`,
  removeFiles: (paths) => `rm ${words(paths)}`,
  removeFolderLink: (path) => `rm ${shellWord(path)}`,
  rename: (path, to) => `mv ${shellWord(path)} ${shellWord(to)}`,
  showAccess: (paths) => `ls -ld ${words(paths)}`,
  changeOwner: (path, uid) => `chown -R ${owner(uid)} ${shellWord(path)}`,
  changeOwnerAsRoot: (path, uid) => `sudo chown -R ${owner(uid)} ${shellWord(path)}`,
  closeToOthers: (path) => `chmod go-w ${shellWord(path)}`,
  ownFile: (path, uid) => `chown ${uid} ${shellWord(path)}`,
  setMode: (path, mode) => `chmod ${mode} ${shellWord(path)}`,
  makeWritable: (path) => `chmod u+rwx ${shellWord(path)}`,
  makeFolder: (path, uid) => `sudo install -d -m 700${uid === undefined ? "" : ` -o ${uid}`} ${shellWord(path)}`,
  edit: (path) => `\${EDITOR:-vi} ${shellWord(path)}`,
  renewTime: (path) => `touch ${shellWord(path)}`,
  syncClock: "timedatectl set-ntp true",
  showFileUsers: (path) => `lsof ${shellWord(path)}`,
  showListeners: (port) => `lsof -nP -iTCP:${port} -sTCP:LISTEN`,
  showProcess: (pid) => `ps -fp ${pid}`,
  endProcess: (pid) => `kill ${pid}`,
  askUrl: (url) => `curl ${url}`,
  checkUrl: (url) => `curl -f ${url}`,
  asRoot: (command) => `as root: sudo ${command}`,
  restoreLoopback: "sudo ifconfig lo0 inet 127.0.0.1 netmask 255.0.0.0 up"
}

const linux: Advice = {
  ...posix,
  showListeners: (port) => `ss -ltnp 'sport = :${port}'`,
  restoreLoopback: "sudo ip address add 127.0.0.1/8 dev lo && sudo ip link set lo up"
}

const darwin: Advice = { ...posix, syncClock: "sudo sntp -sS time.apple.com" }

/**
 * Quotes a word of a PowerShell command, if it needs quotes. Within double quotes PowerShell interprets `$`, backticks and
 * double quotes (about_Quoting_Rules), so these are escaped. Backslashes at the end are doubled, because the started program
 * would read a backslash and the closing quote as an escaped quote (CommandLineToArgvW).
 */
export const powerShellWord = (word: string): string =>
  /^[\w./:\\=+-]+$/.test(word)
    ? word
    : `"${word.replaceAll(/[$`"]/g, (special) => `\`${special}`).replace(/\\+$/, (end) => end + end)}"`

const powerShellWords = (paths: ReadonlyArray<string>): string => paths.map(powerShellWord).join(", ")

/** Makes a command (icacls) that gives the user who runs it full control of a folder and of its content. */
const grant = (path: string): string => `icacls ${powerShellWord(path)} /grant "\${env:USERNAME}:(OI)(CI)F" /T`

/** Makes a command (icacls) that removes inherited permissions, and that gives full control to the user who runs the command. */
const restrict = (path: string): string => `icacls ${powerShellWord(path)} /inheritance:r /grant:r "\${env:USERNAME}:F"`

const windows: Advice = {
  word: powerShellWord,
  unset: (variable, command) => `$env:${variable}=$null; ${command}`,
  removeFiles: (paths) => `Remove-Item ${powerShellWords(paths)}`,
  // `rmdir` without /S removes the link alone, and leaves the folder that the link leads to.
  removeFolderLink: (path) => `cmd /c rmdir ${powerShellWord(path)}`,
  rename: (path, to) => `Move-Item ${powerShellWord(path)} ${powerShellWord(to)}`,
  showAccess: (paths) => paths.map((path) => `icacls ${powerShellWord(path)}`).join("; "),
  changeOwner: grant,
  changeOwnerAsRoot: grant,
  closeToOthers: restrict,
  ownFile: restrict,
  setMode: restrict,
  makeWritable: grant,
  makeFolder: (path) => `New-Item -ItemType Directory ${powerShellWord(path)}`,
  edit: (path) => `notepad ${powerShellWord(path)}`,
  renewTime: (path) => `(Get-Item ${powerShellWord(path)}).LastWriteTime = Get-Date`,
  syncClock: "w32tm /resync",
  // By default, no command of Windows lists the processes that have a file open. Only Node processes open lock files, so this
  // command lists all Node processes.
  showFileUsers: () => "tasklist /FI \"IMAGENAME eq node.exe\"",
  showListeners: (port) => `netstat -ano | findstr :${port}`,
  showProcess: (pid) => `tasklist /V /FI "PID eq ${pid}"`,
  // `taskkill` can end a process that has no window only with /F.
  endProcess: (pid) => `taskkill /F /PID ${pid}`,
  askUrl: (url) => `Invoke-WebRequest -UseBasicParsing ${url}`,
  checkUrl: (url) => `Invoke-WebRequest -UseBasicParsing ${url}`,
  asRoot: (command) => `as an administrator: ${command}`,
  restoreLoopback: "Get-NetIPAddress -IPAddress 127.0.0.1"
}

/** The commands for a platform. `platform` is a value of `process.platform`. */
export const adviceFor = (platform: string): Advice =>
  platform === "win32" ? windows : platform === "darwin" ? darwin : platform === "linux" ? linux : posix
