/**
 * The module that the plugin in `mutants.ts` creates. The keys of `load` and `loadPlaces` are the names of mutants. A function
 * of `load` imports the modules that a simulation tests, with the mistake of that mutant. A function of `loadPlaces` imports
 * the list of the places that start programs, with that mistake. A function of `loadExec` imports the modules of `gateway exec`,
 * one of `loadLeader` those of leadership, and one of `loadEtcd` the store in etcd.
 */
declare module "virtual:mutants" {
  // A type in an ambient module can refer to a relative module only by `import()`.
  // oxlint-disable-next-line typescript/consistent-type-imports
  export const load: Readonly<Record<string, () => Promise<typeof import("./subject.ts")>>>
  // oxlint-disable-next-line typescript/consistent-type-imports
  export const loadPlaces: Readonly<Record<string, () => Promise<typeof import("../internal/places.ts")>>>
  // oxlint-disable-next-line typescript/consistent-type-imports
  export const loadExec: Readonly<Record<string, () => Promise<typeof import("../exec/subject.ts")>>>
  // oxlint-disable-next-line typescript/consistent-type-imports
  export const loadLeader: Readonly<Record<string, () => Promise<typeof import("../leader/subject.ts")>>>
  // oxlint-disable-next-line typescript/consistent-type-imports
  export const loadEtcd: Readonly<Record<string, () => Promise<typeof import("../hosts/support/etcdSubject.ts")>>>
}
