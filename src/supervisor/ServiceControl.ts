/**
 * The commands of the service managers that start, stop, restart and show a service. Pure: `cli/serviceControl.ts` runs them.
 */
import { serviceNames } from "./ServiceOptions.ts"
import { definitionPath, launchdDomain, logsOf, type Place, systemctl } from "./ServiceSteps.ts"

export type Words = readonly [string, ...Array<string>]

/** How many lines of a log are shown, and whether new lines follow. */
export interface LogRange {
  /** A number, or `all`. */
  readonly lines: string
  readonly follow: boolean
}

/** The command of systemd for each action. `--no-pager`: the output is for a terminal and for a pipe alike. */
export const ofSystemd = (place: Place, { follow, lines }: LogRange) => {
  const { name } = serviceNames("systemd", place.service.profile)
  const run = (...words: ReadonlyArray<string>): Words => [...systemctl(place), ...words]
  const logs: Words = ["journalctl", "--no-pager", ...logsOf(place), "-n", lines]
  return {
    start: run("start", name),
    stop: run("stop", name),
    restart: run("restart", name),
    status: run("status", "--no-pager", name),
    logs: follow ? [...logs, "-f"] as const : logs,
    /** Prints `LoadState=not-found` for a unit that systemd does not know. */
    load: run("show", "--property=LoadState", name),
    /** Fails if no manager answers, for example for a user without a login session. */
    reach: run("show", "--property=Version")
  }
}

/**
 * The commands of launchd. A stopped job is not loaded, because launchd would start a loaded job again. So a start loads it
 * (`bootstrap`), and only a job that is loaded and does not run is started by `kickstart`.
 */
export const ofLaunchd = (place: Place) => {
  const target = `${launchdDomain(place)}/${serviceNames("launchd", place.service.profile).name}`
  return {
    print: ["launchctl", "print", target],
    kickstart: ["launchctl", "kickstart", target],
    bootstrap: ["launchctl", "bootstrap", launchdDomain(place), definitionPath(place)],
    bootout: ["launchctl", "bootout", target]
  } as const satisfies Record<string, Words>
}

/** The commands of the Task Scheduler. */
export const ofScheduler = (place: Place) => {
  const { name } = serviceNames("schtasks", place.service.profile)
  return {
    start: ["schtasks", "/Run", "/TN", name],
    stop: ["schtasks", "/End", "/TN", name],
    status: ["schtasks", "/Query", "/V", "/FO", "LIST", "/TN", name]
  } as const satisfies Record<string, Words>
}

const entities: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: "\"", apos: "'" }

const unescapeXml = (text: string): string =>
  text.replaceAll(/&(\w+);/g, (whole, name: string) => entities[name] ?? whole)

/** The files to which a property list lets launchd write the output of a service. */
export const logFilesIn = (propertyList: string): ReadonlyArray<string> =>
  [...propertyList.matchAll(/<key>Standard(?:Out|Error)Path<\/key>\s*<string>([^<]+)<\/string>/g)].map((
    [, path = ""]
  ) => unescapeXml(path))
