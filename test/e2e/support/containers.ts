/**
 * Runs an image without a container engine, by kernel features alone. The container has new PID, network, mount, IPC and UTS
 * namespaces, a read-only root file system, mounts for its volume and secret, and an unprivileged user without capabilities.
 */
import { Effect, type Scope } from "effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import * as Gateways from "./gateways.ts"
import * as Namespaces from "./namespaces.ts"
import * as Processes from "./processes.ts"
import * as Program from "./program.ts"

/** The reason to skip a test in a container; `undefined` if the test can run. */
export const unavailable = Namespaces.noNetwork ?? Program.noOtherUser ?? Program.without("chroot")

/** The uid as which the container's program runs. The Dockerfile and the Kubernetes manifest name the same uid. */
export const user = 1000

/** A volume (the folder `state`) and a secret (the file `token`), as paths on the host. Two containers can share them. */
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

/** A folder and everything below it, in the order in which kubelet changes them: a folder comes after its content. */
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
 * Kubernetes). kubelet sets the group of each file and folder, lets that group read and write, and sets the setgid bit of
 * folders. With `OnRootMismatch` kubelet changes nothing if the volume's root folder already has this group and these mode bits.
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
  /** The folder in the container that has the program. */
  readonly workingDirectory: string
  readonly command: ReadonlyArray<string>
  readonly env: Readonly<Record<string, string>>
  /** The paths in the container at which the volume (`stateMount`) and the secret (`tokenMount`) are mounted. */
  readonly stateMount: string
  readonly tokenMount: string
}

/**
 * A shell script that builds the container's root file system and then becomes the command. From the shell to the command every
 * program replaces the one before it by exec, so the command is pid 1.
 *
 * This machine's own folders stand in for the base image. A path that is a symbolic link on this machine is a symbolic link in
 * the container as well.
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

/** The command that runs `words` as a user without privileges, in the program's folder, with only the image's environment. */
const inside = (image: Image, words: ReadonlyArray<string>): ReadonlyArray<string> => [
  ...Program.as(user),
  // The kernel kills the container when its parent dies. unshare(1) sets this death signal too, but a change of user clears it
  // (PR_SET_PDEATHSIG of prctl(2)).
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
  /** The pid that the container's first process has in the PID namespace of the test. Inside the container, its pid is 1. */
  readonly pid: Effect.Effect<number>
  /** Runs a command inside the container, as a container engine does for a health check or `docker exec`. */
  readonly exec: (words: ReadonlyArray<string>) => Effect.Effect<Processes.Ended>
  /** Sends a signal to the container's pid 1, as a container engine does to stop a container, and waits until pid 1 ends. */
  readonly stop: (signal: NodeJS.Signals) => Effect.Effect<Processes.Ended>
}

/** Runs an image's command as pid 1 of a new container. */
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
