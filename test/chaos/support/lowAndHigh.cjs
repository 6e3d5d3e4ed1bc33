/**
 * Locks the two files named in the arguments, with many open files between, the first under the lower descriptor; says
 * so, and stays.
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
