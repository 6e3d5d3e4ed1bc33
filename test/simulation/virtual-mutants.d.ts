/** Made by the plugin in `mutants.ts`: the subject of a simulation, or the places that start programs, with one mistake in them. */
declare module "virtual:mutants" {
  // An ambient module can import no relative one in any other way.
  // oxlint-disable-next-line typescript/consistent-type-imports
  export const load: Readonly<Record<string, () => Promise<typeof import("./subject.ts")>>>
  // oxlint-disable-next-line typescript/consistent-type-imports
  export const loadPlaces: Readonly<Record<string, () => Promise<typeof import("../internal/places.ts")>>>
}
