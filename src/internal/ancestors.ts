import * as NodePath from "node:path"

/** The function of `node:path` that `ancestors` uses. It differs between POSIX and Windows paths. */
interface Paths {
  readonly dirname: (path: string) => string
}

/**
 * The folders above a path, nearest first, the root last.
 *
 * The root (`/`, `C:\`, `\\host\share\`) and the relative path `.` are their own `dirname`. A loop that calls `dirname` until a
 * folder exists would never end if the root does not exist, so callers loop over this list instead.
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
