/**
 * Locks the two files that the arguments name, prints `locked`, and then stays. The first file has a low descriptor and the
 * second a high one, with many open files between them.
 */
const { openSync, writeSync } = require("node:fs")
const { tryLock } = require("fs-native-extensions")

const between = 500
const low = openSync(process.argv[2], "w")
for (let count = 0; count < between; count++) openSync("/dev/null", "r")
const high = openSync(process.argv[3], "w")
if (!tryLock(low) || !tryLock(high)) throw new Error("the files are locked already")
writeSync(1, "locked\n")
setInterval(() => {}, 60_000)
