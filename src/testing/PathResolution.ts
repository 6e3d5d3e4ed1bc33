/**
 * Resolves paths of a simulated file system as path_resolution(7) describes.
 *
 * @since 0.1.0
 */
import * as NodePath from "node:path"
import { foldPath, ignoresCase } from "../host/NativeFiles.ts"
import type { Inode, KernelProcess, SimulatedKernel } from "./SimulatedKernel.ts"

/** How many symbolic links Linux follows in one resolution (path_resolution(7)). */
const maxLinks = 40

/** The components of a path, from the root down. */
export const parts = (path: string): ReadonlyArray<string> =>
  path.split("/").filter((part) => part !== "" && part !== ".")

/** The result of a resolution: a place in a folder, with the inode there if one exists, or the errno name of a failure. */
export type Resolved =
  | { readonly _tag: "Place"; readonly path: string; readonly parent: Inode; readonly inode: Inode | undefined }
  | { readonly _tag: "Fault"; readonly code: string }

const fault = (code: string): Resolved => ({ _tag: "Fault", code })

/** The permissions as bits of one octal digit of a mode. */
export const permission = { execute: 1, write: 2, read: 4 } as const

/** Whether a process has a permission on an inode. Root (uid 0) has all of them. */
export const may = (process: KernelProcess, inode: Inode, bit: number): boolean =>
  process.uid === 0 || (((inode.uid === process.uid ? inode.mode >> 6 : inode.mode) & bit) !== 0)

/**
 * The path in the spelling with which it was created, or as given if it does not exist. The two spellings can differ, because
 * NTFS and APFS preserve the case of a name but ignore case when they look up a name.
 */
const entryOf = (kernel: SimulatedKernel, path: string): string => {
  if (!ignoresCase(kernel.platform) || kernel.paths.has(path)) return path
  const folded = foldPath(kernel.platform, path)
  for (const known of kernel.paths.keys()) if (foldPath(kernel.platform, known) === folded) return known
  return path
}

/**
 * Resolves a path from the root and follows its symbolic links. If the last name of the path is a link, this link is followed
 * only if `follow` is `true`.
 */
export const resolve = (
  kernel: SimulatedKernel,
  process: KernelProcess,
  path: string,
  follow: boolean,
  links = 0
): Resolved => {
  const root = kernel.paths.get("/")
  if (root === undefined) return fault("ENOENT")
  let at: { readonly path: string; readonly inode: Inode } = { path: "", inode: root }
  let place: Resolved = { _tag: "Place", path: "/", parent: root, inode: root }
  const names = parts(NodePath.posix.resolve("/", path))
  for (const [index, name] of names.entries()) {
    if (at.inode.type !== "Directory") return fault("ENOTDIR")
    if (!may(process, at.inode, permission.execute)) return fault("EACCES")
    const here = entryOf(kernel, `${at.path}/${name}`)
    const inode = kernel.paths.get(here)
    const last = index === names.length - 1
    if (inode?.type === "SymbolicLink" && (follow || !last)) {
      if (links >= maxLinks) return fault("ELOOP")
      const target = NodePath.posix.resolve(at.path === "" ? "/" : at.path, inode.target, ...names.slice(index + 1))
      return resolve(kernel, process, target, follow, links + 1)
    }
    if (inode === undefined && !last) return fault("ENOENT")
    place = { _tag: "Place", path: here, parent: at.inode, inode }
    if (inode !== undefined) at = { path: here, inode }
  }
  return place
}
