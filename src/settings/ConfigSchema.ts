/**
 * Generates the JSON Schema of the config file from the table of settings. The build writes the schema to `dist`. Pure.
 */
import type { JsonSchema, Setting } from "./Setting.ts"
import { settings } from "./SettingsTable.ts"

interface Node extends Partial<JsonSchema> {
  readonly description?: string
  readonly properties?: Readonly<Record<string, Node>>
  readonly additionalProperties?: boolean
}

const all: ReadonlyArray<Setting<unknown>> = Object.values(settings)

/**
 * Returns the schema of one object in the config file. `below` lists the settings in that object, each with the keys that lead
 * from the object to the setting.
 */
const objectOf = (below: ReadonlyArray<readonly [keys: ReadonlyArray<string>, setting: Setting<unknown>]>): Node => {
  const properties: Record<string, Node> = {}
  for (const [[key = "", ...rest], setting] of below) {
    if (rest.length === 0) {
      properties[key] = { description: `${setting.description}; default: ${setting.default}`, ...setting.json }
    } else if (!Object.hasOwn(properties, key)) {
      properties[key] = objectOf(
        below.flatMap(([[first, ...others], setting]) => first === key ? [[others, setting] as const] : [])
      )
    }
  }
  return { type: "object", properties, additionalProperties: false }
}

/** The schema as JSON text, in draft 2020-12. The schema refuses unknown keys, as the program does. */
export const configSchema = (): string => {
  const { properties, ...root } = objectOf(
    all.flatMap((setting) => setting.file === undefined ? [] : [[setting.file, setting] as const])
  )
  return `${
    JSON.stringify(
      {
        $schema: "https://json-schema.org/draft/2020-12/schema",
        title: "gateway-lock config file",
        ...root,
        properties: { $schema: { type: "string", description: "path or URL of this schema" }, ...properties }
      },
      null,
      2
    )
  }\n`
}
