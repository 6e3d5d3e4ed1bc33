/**
 * Finds the word that a mistyped word was probably meant to be.
 */

/**
 * The smallest number of edits that turn one word into another. An edit adds, removes or replaces a letter, or swaps two adjacent
 * letters.
 */
const distance = (a: string, b: string): number => {
  const rows: Array<Array<number>> = [Array.from({ length: b.length + 1 }, (_, column) => column)]
  const at = (row: number, column: number): number => rows[row]?.[column] ?? Infinity
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    rows.push(row)
    for (let j = 1; j <= b.length; j++) {
      const swapped = a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1] ? at(i - 2, j - 2) + 1 : Infinity
      row.push(Math.min(
        at(i - 1, j) + 1,
        at(i, j - 1) + 1,
        at(i - 1, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1),
        swapped
      ))
    }
  }
  return at(a.length, b.length)
}

/** The longest text to compare. A longer text is not a typing error. */
const longest = 40

/**
 * The known word into which the fewest edits turn the typed word. Their number may be at most a third of the number of letters in
 * the known word, but one edit is always allowed. If several words need equally few edits, the first of them is returned. Upper
 * and lower case count as equal.
 */
export const suggest = (typed: string, known: Iterable<string>): string | undefined => {
  if (typed.length > longest) return undefined
  let best: { readonly word: string; readonly distance: number } | undefined
  for (const word of known) {
    const edits = distance(typed.toLowerCase(), word.toLowerCase())
    if (edits <= Math.max(1, Math.floor(word.length / 3)) && edits < (best?.distance ?? Infinity)) {
      best = { word, distance: edits }
    }
  }
  return best?.word
}

const lastWord = (name: string): string => name.slice(name.lastIndexOf(".") + 1)

/**
 * A hint that names the option which was probably meant, or an empty string. Compares the whole name, and then its last word, with
 * all names, such as `lock.timeout`. Of two options with the same last word, the first one is suggested.
 */
export const suggestOption = (name: string, all: ReadonlyArray<string>): string => {
  const spellings = new Map([
    ...all.toReversed().map((name) => [lastWord(name), name] as const),
    ...all.map((name) => [name, name] as const)
  ])
  const near = suggest(name, spellings.keys()) ?? suggest(lastWord(name), spellings.keys())
  return near === undefined ? "" : `; did you mean ${spellings.get(near)}?`
}
