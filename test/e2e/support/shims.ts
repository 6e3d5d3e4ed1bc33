/**
 * C libraries that replace functions of libc and so change what a program's system calls do. A test compiles such a library and
 * preloads it into the programs that the test starts.
 */
import { Clock, Effect, type Scope } from "effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import * as Gateways from "./gateways.ts"
import * as Processes from "./processes.ts"
import * as Program from "./program.ts"

/** The reason to skip a test that preloads a library of this module; `undefined` if the test can run. */
export const noShims = Program.isLinux ? Program.without("cc") : "needs Linux"

/** The environment variables that make a program preload a library: `LD_PRELOAD` with the path of the library. */
type Preloaded = Record<string, string>

const compile = (source: string): Effect.Effect<Preloaded, never, Scope.Scope> =>
  Effect.gen(function*() {
    const folder = yield* Gateways.temporaryFolder
    const [code, library] = [Path.join(folder, "shim.c"), Path.join(folder, "shim.so")]
    yield* Effect.promise(() => Fs.writeFile(code, source))
    const env = { PATH: Program.searchPath }
    const compiler = yield* Processes.start(["cc", "-shared", "-fPIC", "-O1", "-o", library, code], {
      cwd: folder,
      env
    })
    const { code: status, stderr } = yield* compiler.ended
    return status === 0 ? { LD_PRELOAD: library } : yield* Effect.dieMessage(`cc ended with ${status}: ${stderr}`)
  })

/** Clock offsets of one day forward and one day back. No time limit in the settings of a gateway is longer than a day. */
export const steps = [["forward", 86_400], ["back", -86_400]] as const

/** How many seconds a time is in the future, by the clock of the test. The number is negative for a time in the past. */
export const fromNow = (iso: string): Effect.Effect<number> =>
  Effect.map(Clock.currentTimeMillis, (now) => (Date.parse(iso) - now) / 1000)

/** A wall clock that a test can set. Only the programs that the test starts with `env` see this clock. */
export interface WallClock {
  readonly env: Preloaded
  /** Sets how many seconds this clock differs from the real time. Programs that already run see the change too. */
  readonly step: (seconds: number) => Effect.Effect<void>
}

/**
 * Makes a wall clock from a library that adds an offset to the time of day, and does not change other clocks. The library reads
 * the offset from a file at each call.
 */
export const wallClock = (seconds: number): Effect.Effect<WallClock, never, Scope.Scope> =>
  Effect.gen(function*() {
    const path = Path.join(yield* Gateways.temporaryFolder, "offset")
    const step = (seconds: number) =>
      Effect.promise(async () => {
        // The rename makes sure that a reader sees either the old offset or the new one.
        await Fs.writeFile(`${path}.next`, String(seconds))
        await Fs.rename(`${path}.next`, path)
      })
    yield* step(seconds)
    const preloaded = yield* compile(`
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long offset(void) {
  char text[32];
  const char *path = getenv("WALL_CLOCK_OFFSET");
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return 0;
  ssize_t length = read(file, text, sizeof text - 1);
  close(file);
  text[length > 0 ? length : 0] = 0;
  return atol(text);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  int result = syscall(SYS_clock_gettime, clock, now);
  if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += offset();
  return result;
}

int gettimeofday(struct timeval *now, void *zone) {
  struct timespec precise;
  (void)zone;
  if (clock_gettime(CLOCK_REALTIME, &precise) != 0) return -1;
  now->tv_sec = precise.tv_sec;
  now->tv_usec = precise.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *out) {
  struct timespec precise;
  clock_gettime(CLOCK_REALTIME, &precise);
  if (out) *out = precise.tv_sec;
  return precise.tv_sec;
}
`)
    return { env: { ...preloaded, WALL_CLOCK_OFFSET: path }, step }
  })

/** Compiles a library that answers every fcntl(2) request for a kernel lock with the same result, without a call to the kernel. */
export const lockAnswers = (statement: "errno = ENOLCK; return -1;" | "return 0;") =>
  compile(`
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>

#define ANSWER(name) \\
  int name(int file, int command, ...) { \\
    va_list rest; \\
    va_start(rest, command); \\
    void *argument = va_arg(rest, void *); \\
    va_end(rest); \\
    if (command == F_OFD_SETLK) { ${statement} } \\
    int (*real)(int, int, ...) = dlsym(RTLD_NEXT, #name); \\
    return real(file, command, argument); \\
  }

ANSWER(fcntl)
ANSWER(fcntl64)
`)

/** A file system that a test can make hang. Only the programs that the test starts with `env` are affected. */
export interface HangingDisk {
  readonly env: Preloaded
  /** Makes the file system hang: from then on, a write to a lock file never returns. */
  readonly hang: Effect.Effect<void>
}

/** After `hang`, every write to a lock file blocks permanently, as on a network file system whose server is gone. */
export const hangingDisk: Effect.Effect<HangingDisk, never, Scope.Scope> = Effect.gen(function*() {
  const path = Path.join(yield* Gateways.temporaryFolder, "hang")
  const preloaded = yield* compile(`
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void perhaps_hang(int file) {
  char link[64], target[4096];
  const char *path = getenv("HANGING_DISK");
  if (!path || access(path, F_OK) != 0) return;
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, target, sizeof target - 1);
  if (length < 0) return;
  target[length] = 0;
  if (strstr(target, ".lock")) for (;;) pause();
}

ssize_t write(int file, const void *data, size_t size) {
  perhaps_hang(file);
  ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
  return real(file, data, size);
}

#define AT(name) \\
  ssize_t name(int file, const void *data, size_t size, off_t at) { \\
    perhaps_hang(file); \\
    ssize_t (*real)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, #name); \\
    return real(file, data, size, at); \\
  }

AT(pwrite)
AT(pwrite64)
`)
  return {
    env: { ...preloaded, HANGING_DISK: path },
    hang: Effect.promise(() => Fs.writeFile(path, ""))
  }
})
