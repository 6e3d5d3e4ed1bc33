import { assert, describe, it } from "@effect/vitest"
import { transformSync } from "esbuild"
import { execFileSync, spawnSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { breakToWidth, cutToWidth, displayWidth, padToWidth } from "../../src/cli/DisplayWidth.ts"
import { rowsOf } from "../../src/cli/Picture.ts"
import * as Terminals from "../e2e/support/terminal.ts"
import { unless } from "../fixtures/skips.ts"

const red = (text: string) => `\u001b[31m${text}\u001b[0m`

describe("the width of wide characters and others", () => {
  it("counts columns", () => {
    for (
      const [text, width] of [
        ["", 0],
        ["gateway", 7],
        ["ünïcödé", 7],
        ["u\u0308", 1],
        ["日本語", 6],
        ["한국어", 6],
        ["ｶﾅ", 2],
        ["🚀", 2],
        ["👩‍👩‍👧‍👦", 2],
        ["🇩🇪", 2],
        ["❤️", 2],
        ["❤", 1],
        ["a\u200bb", 2],
        ["…", 1],
        [red("rot"), 3]
      ] as const
    ) assert.strictEqual(displayWidth(text), width, JSON.stringify(text))
  })

  it("never breaks a wide character, and keeps colours on each row", () => {
    assert.deepStrictEqual(breakToWidth("日本語", 3), ["日", "本", "語"])
    assert.deepStrictEqual(breakToWidth("a🚀b", 2), ["a", "🚀", "b"])
    assert.deepStrictEqual(breakToWidth(red("abc"), 2), ["\u001b[31mab\u001b[0m", red("c")])
    assert.deepStrictEqual(breakToWidth("日a", 1), ["a"])
    assert.strictEqual(cutToWidth("日本語", 6), "日本語")
    assert.strictEqual(cutToWidth("日本語", 5), "日本…")
    assert.strictEqual(cutToWidth("日本語", 4), "日…")
    assert.strictEqual(cutToWidth("abc", 1), "…")
    assert.strictEqual(cutToWidth("abc", 0), "")
    assert.strictEqual(cutToWidth(red("abc"), 2), `${red("a")}…`)
    assert.strictEqual(padToWidth("日", 4), "日  ")
    assert.strictEqual(padToWidth("日本", 3), "日本")
  })

  it("makes no segmenter for a plain text, with or without colours: Node needs seven milliseconds for the first", () => {
    const source = readFileSync(new URL("../../src/cli/DisplayWidth.ts", import.meta.url), "utf8")
    const { code } = transformSync(source, { loader: "ts", format: "cjs" })
    const ask = (call: string) => {
      const program =
        `Intl.Segmenter = class { constructor() { throw new Error("made") } }\n${code}\nconsole.log(${call})`
      return spawnSync(process.execPath, ["-e", program], { encoding: "utf8" })
    }
    const plain = ask("displayWidth('gateway'), padToWidth('a', 2), cutToWidth('\\x1b[31mabc\\x1b[0m', 2)")
    assert.strictEqual(plain.stdout, "7 a  \u001b[31ma\u001b[0m…\n", plain.stderr)
    assert.match(ask("displayWidth('é')").stderr, /Error: made/)
  })

  // Versions of Unicode differ in a few characters.
  unless(Terminals.unavailable).test(
    "agrees with Unicode's table of East Asian widths, as Python has it",
    () => {
      const program = [
        "import unicodedata as u",
        "for c in range(0x20, 0x110000):",
        "    if (c < 0x3400 or 0xd7a4 <= c < 0x17000 or 0x18800 <= c < 0x20000 or c % 97 == 0) and u.category(chr(c)) not in ('Cn','Cs','Co','Cc','Cf','Mn','Me'):",
        "        print(c, 2 if u.east_asian_width(chr(c)) in 'WF' else 1)"
      ].join("\n")
      const lines = execFileSync("python3", ["-c", program], { encoding: "utf8", maxBuffer: 1e8 }).trim().split("\n")
      const wrong = lines.filter((line) => {
        const [code = "", width] = line.split(" ")
        return displayWidth(String.fromCodePoint(Number(code))) !== Number(width)
      })
      assert.isAbove(lines.length, 15_000)
      assert.isBelow(wrong.length, 300, wrong.join(", "))
    }
  )
})

describe("a picture", () => {
  const picture = { header: "header", report: "one\ntwo\nthree", overflow: "cut" as const }
  it("counts the rows that do not fit", () => {
    assert.deepStrictEqual(rowsOf(picture, { columns: 80, rows: 5 }), ["header", "", "one", "two", "three"])
    assert.deepStrictEqual(rowsOf(picture, { columns: 80, rows: 4 }), ["header", "", "one", "… 2 more"])
    assert.deepStrictEqual(rowsOf(picture, { columns: 80, rows: 2 }), ["header", "… 4 more"])
    assert.deepStrictEqual(rowsOf(picture, { columns: 3, rows: 1 }), ["he…"])
  })
  it("wraps or cuts long lines", () => {
    assert.deepStrictEqual(rowsOf({ ...picture, report: "abcd" }, { columns: 3, rows: 9 }), ["he…", "", "ab…"])
    assert.deepStrictEqual(
      rowsOf({ ...picture, report: "abcd", overflow: "wrap" }, { columns: 3, rows: 9 }),
      ["he…", "", "abc", "d"]
    )
  })
})
