/** Splits prose into sentences, and finds the sentences that have too many words. */

/** The most words that a sentence may have. */
export const mostWords = 35

/** Counts the words of a sentence. Code, a path or a URL counts as one word. */
const wordsOf = (sentence: string): number =>
  sentence.trim().split(/\s+/).filter((word) => /[\p{L}\p{N}]/u.test(word)).length

/** The sentences of a text. An item of a list or a row of a table ends where the next one begins, even without a full stop. */
const sentencesOf = (text: string): ReadonlyArray<string> =>
  text
    .replaceAll(/```.*?```/gs, " ")
    .replaceAll(/`[^`]*`/g, "Code")
    .split(/\n\s*\n|\n\s*(?=[-*|] |\d+\. )/)
    .flatMap((block) =>
      block.replaceAll(/\s+/g, " ").split(
        /(?<=[.!?][)"']?) (?=[\p{Lu}\d"'(]|(?:systemd|launchd|libuv|ws) )|(?<=:) (?=[-|] )/u
      )
    )

/** The sentences of a text that have too many words. */
export const tooLong = (text: string): ReadonlyArray<string> =>
  sentencesOf(text).filter((one) => wordsOf(one) > mostWords)
