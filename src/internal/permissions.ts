/** The bits that chmod(1) sets, in octal, as it takes them. */
export const octal = (mode: number): string => (mode & 0o7777).toString(8).padStart(4, "0")
