/**
 * A module that the plugin in `mutants.ts` creates. Each entry loads, by the name of a mutant, the modules with that one
 * mistake: the subject of a simulation, or the places that start programs.
 */
declare module "virtual:mutants" {
  // A type in an ambient module can refer to a relative module only by `import()`.
  // oxlint-disable-next-line typescript/consistent-type-imports
  export const load: Readonly<Record<string, () => Promise<typeof import("./subject.ts")>>>
  // oxlint-disable-next-line typescript/consistent-type-imports
  export const loadPlaces: Readonly<Record<string, () => Promise<typeof import("../internal/places.ts")>>>
}
