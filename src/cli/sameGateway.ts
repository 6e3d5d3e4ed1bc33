import * as NodePath from "node:path"
import { settings } from "../GatewayConfig.ts"
import { shellWord } from "../internal/shellWord.ts"

const paths = new Set([settings.configPath.flag, settings.stateDir.flag])

/** A command with flags, to be typed. */
export const withFlags = (command: string, flags: Iterable<readonly [flag: string, value: string]>): string =>
  [`gateway ${command}`, ...[...flags].map(([flag, value]) => `--${flag} ${shellWord(value)}`)].join(" ")

/** A command for the same gateway, from wherever it is typed. */
export const sameGateway = (command: string, flags: ReadonlyMap<string, string>): string =>
  withFlags(command, [...flags].map(([flag, value]) => [flag, paths.has(flag) ? NodePath.resolve(value) : value]))
