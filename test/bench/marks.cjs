/**
 * Notes when the phases of the built program begin: `node --require marks.cjs dist/main.js …`. At the exit of the process, it writes
 * the times to the file that GATEWAY_LOCK_BENCH_MARKS names, in nanoseconds of the monotonic clock that all processes share.
 *
 * It watches from outside, so the program has no code for it. Each wrapper adds its own time to the phase in which it runs.
 */
const began = process.hrtime.bigint()
const { dirname, sep } = require("node:path")
const { realpathSync } = require("node:fs")
const fs = require("node:fs")
const { Module } = require("node:module")
const vm = require("node:vm")

const output = process.env.GATEWAY_LOCK_BENCH_MARKS
delete process.env.GATEWAY_LOCK_BENCH_MARKS

/** The folder of the measured program. */
const own = dirname(realpathSync(process.argv[1])) + sep

const isOwn = (path) => typeof path === "string" && path.startsWith(own)

/** The moments that end a phase. `reported` is the last write to stderr. */
const marks = { began, ready: began, main: undefined, connected: undefined, reported: undefined }

/** The time in each kind of work so far. `rest` is all other work since `main`; it is split at the connect. */
const spent = { read: 0n, evaluate: 0n }
const spentBeforeConnect = { read: 0n, evaluate: 0n }

const stack = []
let since = began

/** Runs `call`, and counts its time as `kind`. Calls within it that are counted themselves do not count twice. */
const counted = (kind, call) => {
  const entered = process.hrtime.bigint()
  if (stack.length > 0) spent[stack.at(-1)] += entered - since
  stack.push(kind)
  since = entered
  try {
    return call()
  } finally {
    const left = process.hrtime.bigint()
    spent[stack.pop()] += left - since
    since = left
  }
}

/** Each file of the program has a function that evaluates its modules. */
const evaluating = (value) =>
  typeof value === "function"
    ? function(...args) {
      return counted("evaluate", () => Reflect.apply(value, this, args))
    }
    : value

const readFileSync = fs.readFileSync
fs.readFileSync = (path, ...rest) =>
  isOwn(path) ? counted("read", () => readFileSync(path, ...rest)) : readFileSync(path, ...rest)

const Script = vm.Script
vm.Script = function(source, options) {
  if (!isOwn(options?.filename)) return new Script(source, options)
  const script = counted("read", () => new Script(source, options))
  const run = script.runInThisContext
  script.runInThisContext = function(...args) {
    return evaluating(counted("read", () => Reflect.apply(run, this, args)))
  }
  return script
}

// Node's own loader compiles and runs only `main.js`.
const compile = Module.prototype._compile
Module.prototype._compile = function(content, path, ...rest) {
  if (!isOwn(path)) return Reflect.apply(compile, this, [content, path, ...rest])
  marks.main ??= process.hrtime.bigint()
  return counted("read", () => Reflect.apply(compile, this, [content, path, ...rest]))
}

require("node:diagnostics_channel").subscribe("net.client.socket", () => {
  if (marks.connected !== undefined) return
  marks.connected = process.hrtime.bigint()
  Object.assign(spentBeforeConnect, spent)
})

// The program makes this stream when it first uses it, and so do the marks.
const stderr = Object.getOwnPropertyDescriptor(process, "stderr")
let isWatched = false
Object.defineProperty(process, "stderr", {
  configurable: true,
  enumerable: true,
  get: () => {
    const stream = stderr.get.call(process)
    if (isWatched) return stream
    isWatched = true
    const write = stream.write
    stream.write = function(...args) {
      marks.reported = process.hrtime.bigint()
      return Reflect.apply(write, this, args)
    }
    return stream
  }
})
const writeSync = fs.writeSync
fs.writeSync = (descriptor, ...rest) => {
  if (descriptor === 2) marks.reported = process.hrtime.bigint()
  return writeSync(descriptor, ...rest)
}

const writeFileSync = fs.writeFileSync
const reallyExit = process.reallyExit
process.reallyExit = function(...args) {
  const times = { ...marks, read: spent.read, evaluate: spent.evaluate }
  const before = { readBeforeConnect: spentBeforeConnect.read, evaluateBeforeConnect: spentBeforeConnect.evaluate }
  writeFileSync(
    output,
    JSON.stringify({ ...times, ...before }, (_, value) => typeof value === "bigint" ? String(value) : value)
  )
  return Reflect.apply(reallyExit, this, args)
}

require("node:module").syncBuiltinESMExports()
marks.ready = process.hrtime.bigint()
