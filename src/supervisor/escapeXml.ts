/**
 * Escapes text for XML.
 */

/** Matches a character that XML cannot contain: anything that is not a `Char` (XML 1.0, 2.2). */
export const notXml = /[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/u

const xmlReferences: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  "\"": "&quot;",
  // A parser would read an unescaped carriage return as a line feed (XML 1.0, 2.11).
  "\r": "&#13;"
}

/**
 * Escapes a text for the content of an element, or for an attribute in double quotes.
 *
 * @since 0.1.0
 * @category quoting
 */
export const escapeXml = (text: string): string => text.replace(/[&<>"\r]/g, (char) => xmlReferences[char] ?? char)
