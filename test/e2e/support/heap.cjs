/**
 * A test preloads this file into a gateway (`NODE_OPTIONS=--require …`). On SIGUSR2 the gateway collects its garbage, and writes
 * the number of bytes that are left on its heap to the file that GATEWAY_TEST_HEAP_FILE names. The code below sets --expose-gc
 * itself, because NODE_OPTIONS does not allow that flag.
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
