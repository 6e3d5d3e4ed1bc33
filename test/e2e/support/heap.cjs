/**
 * Preloaded into a program (`NODE_OPTIONS=--require …`): on SIGUSR2 it collects its garbage and writes what is left to the
 * file that GATEWAY_TEST_HEAP_FILE names. NODE_OPTIONS does not allow --expose-gc.
 */
const fs = require("node:fs")
const v8 = require("node:v8")
const vm = require("node:vm")

v8.setFlagsFromString("--expose-gc")
const collect = vm.runInNewContext("gc")
const path = process.env.GATEWAY_TEST_HEAP_FILE

process.on("SIGUSR2", () => {
  collect()
  collect()
  fs.writeFileSync(`${path}.new`, JSON.stringify(process.memoryUsage()))
  fs.renameSync(`${path}.new`, path)
})
