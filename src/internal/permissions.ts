/**
 * Whether the mode bits of a file show its permissions. On Windows they do not, because access control lists decide there. On
 * Windows, libuv invents the bits (`fs__stat_assign_statbuf` in libuv's src/win/fs.c): every file has 0666, or 0444 if it is
 * read-only. Every file also has the uid 0.
 */
export const hasModeBits = (platform: string): boolean => platform !== "win32"

/** The permission bits of a mode in octal, as an argument of chmod(1). */
export const octal = (mode: number): string => (mode & 0o7777).toString(8).padStart(4, "0")
