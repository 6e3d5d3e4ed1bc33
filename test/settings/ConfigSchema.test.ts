import { assert, describe, it } from "@effect/vitest"
import { FastCheck as fc, Option } from "effect"
import { readFileSync } from "node:fs"
import { configSchema } from "../../src/settings/ConfigSchema.ts"
import { type JsonSchema, type Setting, settings } from "../../src/settings/GatewayConfig.ts"
import "../arbitraries.ts"

const all: ReadonlyArray<Setting<unknown>> = Object.values(settings)
const inFile = all.filter(({ file }) => file !== undefined)

/** Whether a schema allows a value. Only the keywords that the schema uses are implemented. */
const isAllowed = (schema: JsonSchema, value: unknown): boolean => {
  const types = [schema.type].flat()
  if (typeof value === "string") {
    return types.includes("string") && value.length >= (schema.minLength ?? 0)
      && (schema.pattern === undefined || new RegExp(schema.pattern, "u").test(value))
  }
  if (Array.isArray(value)) {
    const { items } = schema
    return types.includes("array") && (items === undefined || value.every((item) => isAllowed(items, item)))
  }
  return types.includes("integer") && typeof value === "number" && Number.isInteger(value)
    && value >= (schema.minimum ?? -Infinity) && value <= (schema.maximum ?? Infinity)
}

const value = fc.oneof(
  fc.integer({ min: -5, max: 70_000 }),
  fc.double(),
  fc.boolean(),
  fc.constant(null),
  fc.string(),
  fc.constantFrom("1s", "1m30s", "5 seconds", "100 millis", "soon", "localhost", "*"),
  fc.array(fc.constantFrom("localhost", "null", "*", "")),
  fc.constant({})
)

describe("the schema of the config file", () => {
  it("has every setting that the file has, where the file has it, and no other key", () => {
    const root: unknown = JSON.parse(configSchema())
    const keysOf = (node: unknown): ReadonlyArray<string> => {
      if (typeof node !== "object" || node === null || !("properties" in node)) return [""]
      assert.propertyVal(node, "additionalProperties", false)
      return Object.entries(Object(node.properties)).flatMap(([key, child]) =>
        keysOf(child).map((rest) => rest === "" ? key : `${key}.${rest}`)
      )
    }
    assert.sameMembers([...keysOf(root)], ["$schema", ...inFile.map(({ file = [] }) => file.join("."))])
    for (const { json, name } of inFile) assert.isDefined(json, name)
    for (const setting of all) if (setting.file === undefined) assert.isUndefined(setting.json, setting.name)
  })

  it.prop("refuses nothing of the right type that the program takes", [value, fc.constantFrom(...inFile)], ([
    value,
    setting
  ]) => {
    const { json } = setting
    if (json === undefined || Option.isNone(setting.decode(value))) return
    // The program also accepts a number as text, because the value of an environment variable is text.
    assert.isTrue(isAllowed(json, value) || (json.type === "integer" && typeof value === "string"), setting.name)
  })

  it.prop("a number of the wrong size, a duration without a unit and a wrong type are wrong for both", [
    value,
    fc.constantFrom(...inFile.filter(({ json }) => json?.type === "integer"))
  ], ([value, { decode, json }]) => {
    if (json !== undefined && typeof value !== "string") {
      assert.strictEqual(isAllowed(json, value), Option.isSome(decode(value)))
    }
  })

  it("is part of the package", () => {
    const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8")
    assert.strictEqual(read("dist/gateway.schema.json"), configSchema())
    assert.include(read("package.json"), "\"./gateway.schema.json\": \"./dist/gateway.schema.json\"")
  })
})
