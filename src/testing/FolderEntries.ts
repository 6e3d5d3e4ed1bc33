/**
 * The calls of a simulated file system that create, resolve, list, rename and remove files, folders and links.
 *
 * @since 0.1.0
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as NodePath from "node:path"
import { foldPath } from "../host/NativeFiles.ts"
import type { FileCalls } from "./FileCalls.ts"
import { may, parts, permission, resolve } from "./PathResolution.ts"
import type { Inode, SimulatedKernel } from "./SimulatedKernel.ts"

const temporaryFolder = "/tmp"

const isOpen = (kernel: SimulatedKernel, inode: Inode): boolean =>
  [...kernel.processes].some(({ files }) => [...files.values()].some((open) => open.inode === inode))

const removeName = (kernel: SimulatedKernel, path: string, inode: Inode) => {
  inode.links -= 1
  kernel.paths.delete(path)
}

/** Simulates readlink(2). */
export const readLink = ({ call, existing }: FileCalls): FileSystem.FileSystem["readLink"] => (path) =>
  call(
    "readlink",
    path,
    (fail) =>
      existing(path, fail, (inode) =>
        inode.type === "SymbolicLink" ? Effect.succeed(inode.target) : fail("EINVAL"), false)
  )

/**
 * Resolves a path as Node's `fs.realpath` does. If the file system ignores case, the result has the upper and lower case of the
 * given path, not that of the names on disk (nodejs/node#11379).
 */
export const realPath = ({ call, existing, kernel }: FileCalls): FileSystem.FileSystem["realPath"] => (given) =>
  call("realpath", given, (fail) =>
    existing(given, fail, (_, { path }) => {
      const absolute = NodePath.posix.resolve("/", given)
      return Effect.succeed(
        foldPath(kernel.platform, absolute) === foldPath(kernel.platform, path) ? absolute : path
      )
    }))

/** Simulates symlink(2). */
export const symlink = ({ call, create, kernel, process }: FileCalls): FileSystem.FileSystem["symlink"] => (from, to) =>
  call("symlink", to, (fail, now) => {
    const place = resolve(kernel, process, to, false)
    if (place._tag === "Fault") return fail(place.code)
    if (place.inode !== undefined) return fail("EEXIST")
    return Effect.map(create(place, "SymbolicLink", 0o777, now, fail), (inode) => {
      inode.target = from
    })
  })

/** Simulates link(2). */
export const link =
  ({ call, existing, folderFault, kernel, process }: FileCalls): FileSystem.FileSystem["link"] => (from, to) =>
    call("link", to, (fail) =>
      existing(from, fail, (inode) => {
        const place = resolve(kernel, process, to, false)
        const code = place._tag === "Fault"
          ? place.code
          : place.inode === undefined
          ? folderFault(place.parent)
          : "EEXIST"
        if (place._tag === "Fault" || code !== undefined) return fail(code ?? "EIO")
        inode.links += 1
        kernel.paths.set(place.path, inode)
        return Effect.void
      }, false))

/** Simulates rename(2). */
export const rename =
  ({ call, existing, folderFault, kernel, process }: FileCalls): FileSystem.FileSystem["rename"] => (from, to) =>
    call("rename", from, (fail) =>
      existing(from, fail, (inode, source) => {
        const place = resolve(kernel, process, to, false)
        if (place._tag === "Fault") return fail(place.code)
        const code = folderFault(source.parent, inode) ?? folderFault(place.parent, place.inode)
        if (code !== undefined) return fail(code)
        // `MoveFileExW` does not replace an open file, whatever its share mode is.
        if (kernel.platform === "win32" && place.inode !== undefined && isOpen(kernel, place.inode)) {
          return fail("EPERM")
        }
        // If both names are links to the same file, rename(2) does nothing.
        if (place.inode === inode) return Effect.void
        if (place.inode !== undefined) removeName(kernel, place.path, place.inode)
        const below = [...kernel.paths].filter(([name]) => name.startsWith(`${source.path}/`))
        for (const [name, child] of below) {
          kernel.paths.delete(name)
          kernel.paths.set(`${place.path}${name.slice(source.path.length)}`, child)
        }
        kernel.paths.delete(source.path)
        kernel.paths.set(place.path, inode)
        return Effect.void
      }, false))

/** Simulates unlink(2), or rmdir(2) for a folder. A folder with entries is removed only with `recursive`. */
export const remove =
  ({ call, folderFault, kernel, process }: FileCalls): FileSystem.FileSystem["remove"] => (path, options) =>
    call("unlink", path, (fail) => {
      const place = resolve(kernel, process, path, false)
      if (place._tag === "Fault" || place.inode === undefined) {
        const code = place._tag === "Fault" ? place.code : "ENOENT"
        return options?.force === true && code === "ENOENT" ? Effect.void : fail(code)
      }
      const code = folderFault(place.parent, place.inode)
      if (code !== undefined) return fail(code)
      const below = [...kernel.paths].filter(([name]) => name.startsWith(`${place.path}/`))
      if (below.length > 0 && options?.recursive !== true) return fail("ENOTEMPTY")
      for (const [name, child] of below) removeName(kernel, name, child)
      removeName(kernel, place.path, place.inode)
      return Effect.void
    })

/** Simulates mkdir(2). */
export const makeDirectory =
  ({ call, create, kernel, process }: FileCalls): FileSystem.FileSystem["makeDirectory"] => (path, options) =>
    call("mkdir", path, (fail, now) =>
      Effect.gen(function*() {
        const names = parts(NodePath.posix.resolve("/", path))
        for (const index of names.keys()) {
          const last = index === names.length - 1
          const place = resolve(kernel, process, `/${names.slice(0, index + 1).join("/")}`, true)
          if (place._tag === "Fault") return yield* fail(place.code)
          const { inode } = place
          if (inode === undefined) {
            if (!last && options?.recursive !== true) return yield* fail("ENOENT")
            yield* create(place, "Directory", options?.mode ?? 0o777, now, fail)
          } else if (inode.type !== "Directory") return yield* fail(last ? "EEXIST" : "ENOTDIR")
          else if (last && options?.recursive !== true) return yield* fail("EEXIST")
        }
      }))

/** Simulates mkdtemp(3). The default folder is `/tmp`. */
export const makeTempDirectory =
  ({ call, create, kernel, process }: FileCalls): FileSystem.FileSystem["makeTempDirectory"] =>
  ({ directory = temporaryFolder, prefix = "" } = {}) =>
    call("mkdtemp", `${directory}/${prefix}`, (fail, now) =>
      Effect.gen(function*() {
        const folder = resolve(kernel, process, directory, true)
        if (folder._tag === "Fault") return yield* fail(folder.code)
        if (folder.inode === undefined) {
          if (directory !== temporaryFolder) return yield* fail("ENOENT")
          // Every machine has `/tmp`, so this call creates it if it is missing. Every user may write there. The mode is set after
          // `create`, because `create` clears the bits of the process's umask.
          const inode = yield* create(folder, "Directory", 0o777, now, fail)
          inode.mode = 0o1777
        }
        const place = resolve(kernel, process, `${directory}/${prefix}${kernel.nextInode}`, false)
        if (place._tag === "Fault") return yield* fail(place.code)
        yield* create(place, "Directory", 0o700, now, fail)
        return place.path
      }))

/** Makes a folder as mkdtemp(3) does, and removes the folder and its contents when the scope closes. */
export const makeTempDirectoryScoped =
  (calls: FileCalls): FileSystem.FileSystem["makeTempDirectoryScoped"] => (options) =>
    Effect.acquireRelease(
      makeTempDirectory(calls)(options),
      (path) => Effect.ignore(remove(calls)(path, { recursive: true }))
    )

/** Simulates readdir(3). */
export const readDirectory =
  ({ call, existing, kernel, process }: FileCalls): FileSystem.FileSystem["readDirectory"] => (path) =>
    call("readdir", path, (fail) =>
      existing(path, fail, (inode, { path }) => {
        if (inode.type !== "Directory") return fail("ENOTDIR")
        if (!may(process, inode, permission.read)) return fail("EACCES")
        const prefix = path === "/" ? "/" : `${path}/`
        return Effect.succeed(
          [...kernel.paths.keys()].filter((name) => name.startsWith(prefix) && name !== "/")
            .map((name) => name.slice(prefix.length)).filter((name) => !name.includes("/"))
        )
      }))
