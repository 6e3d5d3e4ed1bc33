/** Made by the plugin in `mutants.ts`: the subject of a simulation, with one mistake in it. */
declare module "virtual:mutants" {
  // An ambient module can import no relative one in any other way.
  // oxlint-disable-next-line typescript/consistent-type-imports
  export const load: Readonly<Record<string, () => Promise<typeof import("./subject.ts")>>>
}
