/**
 * The address of the project, as `homepage` of `package.json`.
 */
export const homepage = "https://github.com/gateway-lock/gateway-lock#readme"

/** The address of a page of the documents, with an anchor. */
export const documentAt = (page: string, anchor: string): string =>
  `${homepage.replace(/#.*$/, "")}/blob/main/docs/${page}#${anchor}`
