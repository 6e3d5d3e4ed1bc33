import * as NodePath from "node:path"

/** What differs between `node:path`'s two kinds of paths. */
interface Paths {
  readonly dirname: (path: string) => string
}

/**
 * The folders above a path, nearest first, the root last. The root (`/`, `C:\`, `\\host\share\`) and the relative `.` are
 * their own `dirname`, so a loop that only asks for `dirname` never ends where the root does not exist.
 */
export const ancestors = (path: string, { dirname }: Paths = NodePath): ReadonlyArray<string> => {
  const found: Array<string> = []
  for (let folder = path;;) {
    const above = dirname(folder)
    if (above === folder) return found
    found.push(above)
    folder = above
  }
}
