/**
 * Whether the mode bits of a file say who may use it. On Windows libuv makes them up: every file has 0666, or 0444 if it is
 * read-only, and the uid 0 (`fs__stat_assign_statbuf` in libuv's src/win/fs.c). Access control lists decide there.
 */
export const hasModeBits = (platform: string): boolean => platform !== "win32"

/** The bits that chmod(1) sets, in octal, as it takes them. */
export const octal = (mode: number): string => (mode & 0o7777).toString(8).padStart(4, "0")
