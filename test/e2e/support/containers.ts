/**
 * Runs an image without a container engine, by kernel features alone: a read-only root file system, new PID, network, mount,
 * IPC and UTS namespaces, an unprivileged user without capabilities, and mounts.
 */
import { Effect, type Scope } from "effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import * as Gateways from "./gateways.ts"
import * as Namespaces from "./namespaces.ts"
import * as Processes from "./processes.ts"
import * as Program from "./program.ts"

/** Why a test in a container is skipped; `undefined` if it can run. */
export const unavailable = Namespaces.noNetwork ?? Program.noOtherUser ?? Program.without("chroot")

/** The uid in the container, the same as in the container files. */
export const user = 1000

/** A volume and a secret, which two containers can share. */
export interface Volumes {
  readonly state: string
  readonly token: string
}

export const volumes: Effect.Effect<Volumes, never, Scope.Scope> = Effect.gen(function*() {
  const root = yield* Gateways.temporaryFolder
  const [state, token] = [Path.join(root, "state"), Path.join(root, "token")]
  yield* Effect.promise(async () => {
    await Fs.chmod(root, 0o755)
    await Fs.mkdir(state, { mode: 0o700 })
    await Fs.writeFile(token, `${"0123456789abcdef".repeat(4)}\n`, { mode: 0o600 })
  })
  yield* Gateways.giveTo(user, state, token)
  return { state, token }
})

/** Every file and folder below a folder, in kubelet's order: the folder itself comes last. */
const walk = async (path: string): Promise<ReadonlyArray<string>> => {
  const info = await Fs.lstat(path)
  if (!info.isDirectory()) return [path]
  const below = await Promise.all((await Fs.readdir(path)).map((name) => walk(Path.join(path, name))))
  return [...below.flat(), path]
}

const groupMode = 0o660
const folderMode = 0o2110

/**
 * Changes a volume as kubelet does before a pod with `fsGroup` starts (`SetVolumeOwnership` and `changeFilePermission` of
 * Kubernetes). It sets the group, the group's right to read and write, and the setgid bit of folders. With `OnRootMismatch`
 * nothing changes if the volume's root folder already has all of that.
 */
export const applyFsGroup = (
  volume: string,
  { fsGroup, fsGroupChangePolicy }: {
    readonly fsGroup: number
    readonly fsGroupChangePolicy: "Always" | "OnRootMismatch"
  }
) =>
  Effect.promise(async () => {
    const { gid, mode } = await Fs.stat(volume)
    const isDone = gid === fsGroup && (mode & (groupMode | folderMode)) === (groupMode | folderMode)
    if (fsGroupChangePolicy === "OnRootMismatch" && isDone) return
    for (const path of await walk(volume)) {
      const info = await Fs.lstat(path)
      await Fs.lchown(path, info.uid, fsGroup)
      if (info.isSymbolicLink()) continue
      await Fs.chmod(path, (info.mode & 0o7777) | groupMode | (info.isDirectory() ? folderMode : 0))
    }
  })

export interface Image {
  /** The folder of the program in the container. */
  readonly workingDirectory: string
  readonly command: ReadonlyArray<string>
  readonly env: Readonly<Record<string, string>>
  /** The mount points of the volume and the secret in the container. */
  readonly stateMount: string
  readonly tokenMount: string
}

/**
 * Builds the root file system and becomes the command. Every step is an exec, so that the command is pid 1.
 *
 * The system's own folders stand in for the base image. A path that is a link on this machine is a link there as well.
 */
const script = `
root=$1 state=$2 state_at=$3 token=$4 token_at=$5 app=$6 app_at=$7; shift 7
mount -t tmpfs -o mode=755 root "$root"
for name in usr bin sbin lib lib64 etc; do
  if [ -L "/$name" ]; then ln -s "$(readlink "/$name")" "$root/$name"
  elif [ -d "/$name" ]; then
    mkdir "$root/$name"
    mount --bind "/$name" "$root/$name"
    mount -o remount,bind,ro "$root/$name"
  fi
done
for name in dist node_modules; do
  mkdir -p "$root$app_at/$name"
  mount --bind "$app/$name" "$root$app_at/$name"
  mount -o remount,bind,ro "$root$app_at/$name"
done
mkdir -p "$root/proc" "$root/dev" "$root/tmp" "$root$state_at" "$(dirname "$root$token_at")"
for name in null zero urandom; do touch "$root/dev/$name"; mount --bind "/dev/$name" "$root/dev/$name"; done
touch "$root$token_at"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=1777 tmp "$root/tmp"
mount --bind "$state" "$root$state_at"
mount --bind "$token" "$root$token_at"
mount -o remount,bind,ro "$root$token_at"
mount -o remount,ro "$root"
ip link set lo up
exec chroot "$root" "$@"
`

/** Runs words as a user without privileges, in the program's folder, with only the image's environment. */
const inside = (image: Image, words: ReadonlyArray<string>): ReadonlyArray<string> => [
  ...Program.as(user),
  // unshare(1) sets the same death signal, but a change of user clears it (PR_SET_PDEATHSIG of prctl(2)).
  "--pdeathsig=KILL",
  "--bounding-set=-all",
  "--inh-caps=-all",
  "env",
  "--ignore-environment",
  `--chdir=${image.workingDirectory}`,
  `PATH=${Path.dirname(process.execPath)}:/usr/bin:/bin`,
  "HOME=/nonexistent",
  ...Object.entries(image.env).map(([name, value]) => `${name}=${value}`),
  ...words
]

export interface Container {
  readonly image: Image
  readonly running: Processes.Running
  /** The pid of the container's first process, as this process sees it. */
  readonly pid: Effect.Effect<number>
  /** Runs words inside the container, as an engine does for a health check or `docker exec`. */
  readonly exec: (words: ReadonlyArray<string>) => Effect.Effect<Processes.Ended>
  /** Sends the first signal of a stop to pid 1, as an engine does, and waits for the end. */
  readonly stop: (signal: NodeJS.Signals) => Effect.Effect<Processes.Ended>
}

/** Runs an image's command as pid 1. */
export const run = (image: Image, volumes: Volumes): Effect.Effect<Container, never, Scope.Scope> =>
  Effect.gen(function*() {
    const root = yield* Gateways.temporaryFolder
    const options = { cwd: "/", env: { PATH: Program.searchPath } }
    const app = Path.resolve(Path.dirname(Program.main), "..")
    const running = yield* Processes.start([
      "unshare",
      "--mount",
      "--pid",
      "--net",
      "--ipc",
      "--uts",
      "--fork",
      "--kill-child",
      "sh",
      "-e",
      "-c",
      script,
      "sh",
      root,
      volumes.state,
      image.stateMount,
      volumes.token,
      image.tokenMount,
      app,
      image.workingDirectory,
      ...inside(image, image.command)
    ], options)
    const pid = yield* Effect.cached(Namespaces.childOf(running))
    return {
      image,
      running,
      pid,
      exec: (words) =>
        Effect.scoped(Effect.gen(function*() {
          const entered = [
            "nsenter",
            "--target",
            String(yield* pid),
            "--mount",
            "--pid",
            "--net",
            "--ipc",
            "--uts",
            "--root"
          ]
          const { ended } = yield* Processes.start([...entered, ...inside(image, words)], options)
          return yield* ended
        })),
      stop: (signal) =>
        Effect.flatMap(pid, (pid) => Effect.zipRight(Effect.sync(() => process.kill(pid, signal)), running.ended))
    }
  })
