/** Made by the plugin in `mutants.ts`: the subject of a simulation, with one mistake in it. */
declare module "virtual:mutants" {
  export const load: Readonly<Record<string, () => Promise<typeof import("./subject.ts")>>>
}
