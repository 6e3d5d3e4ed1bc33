/**
 * Whether the mode bits of a file show its permissions. On Windows access control lists decide, and libuv invents the bits:
 * every file has 0666, or 0444 if it is read-only, and the uid 0 (`fs__stat_assign_statbuf` in libuv's src/win/fs.c).
 */
export const hasModeBits = (platform: string): boolean => platform !== "win32"

/** The permission bits of a mode in octal, as an argument of chmod(1). */
export const octal = (mode: number): string => (mode & 0o7777).toString(8).padStart(4, "0")
