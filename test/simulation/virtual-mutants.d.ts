/** Made by the plugin in `mutants.ts`: the subject of a simulation, or the places that start programs, with one mistake. */
declare module "virtual:mutants" {
  // In an ambient module, only `import()` can refer to a relative module.
  // oxlint-disable-next-line typescript/consistent-type-imports
  export const load: Readonly<Record<string, () => Promise<typeof import("./subject.ts")>>>
  // oxlint-disable-next-line typescript/consistent-type-imports
  export const loadPlaces: Readonly<Record<string, () => Promise<typeof import("../internal/places.ts")>>>
}
