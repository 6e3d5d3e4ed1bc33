/**
 * The JSON Schema of the config file, from the table of settings; the build writes it. Pure.
 */
import type { JsonSchema, Setting } from "./Setting.ts"
import { settings } from "./SettingsTable.ts"

interface Node extends Partial<JsonSchema> {
  readonly description?: string
  readonly properties?: Readonly<Record<string, Node>>
  readonly additionalProperties?: boolean
}

const all: ReadonlyArray<Setting<unknown>> = Object.values(settings)

/** What is below a key, by the rest of each setting's way. */
const objectOf = (below: ReadonlyArray<readonly [way: ReadonlyArray<string>, setting: Setting<unknown>]>): Node => {
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

/** The schema, as text. Draft 2020-12; an unknown key is none, as for the program. */
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
        properties: { $schema: { type: "string", description: "where an editor finds this schema" }, ...properties }
      },
      null,
      2
    )
  }\n`
}
