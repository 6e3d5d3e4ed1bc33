import { HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { Effect, FastCheck as fc } from "effect"
import { createHash } from "node:crypto"
import ts from "typescript-api"
import { script } from "../../src/page/script.ts"
import * as StatusPage from "../../src/page/StatusPage.ts"
import * as arbitraries from "../arbitraries.ts"
import "../arbitraries.ts"

/** The Accept header that each browser sends when the user types an address. */
const browsers = {
  chromium:
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7",
  firefox: "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
  safari: "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
  lynx: "text/html, text/plain, text/sgml, text/css, application/xhtml+xml, */*;q=0.01",
  w3m: "text/html, text/*;q=0.5, image/*, application/*, audio/*, */*"
}

describe("StatusPage.prefersHtml", () => {
  it.each(Object.entries(browsers))("%s gets the page", (_, accept) => {
    assert.isTrue(StatusPage.prefersHtml(accept))
  })

  it.each([
    ["no header", undefined],
    ["an empty one", ""],
    ["curl, wget", "*/*"],
    ["axios", "application/json, text/plain, */*"],
    ["any text", "text/*"],
    ["Prometheus", "application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"],
    ["who likes something else better", "application/json, text/html;q=0.9"],
    ["who does not want it", "text/html;q=0, */*"],
    ["who does not want it, precisely", "text/html;q=0.000"],
    ["a weight that is none", "text/html;q=high"],
    ["a weight out of range", "text/html;q=1.1"],
    ["no media type", "html"],
    ["something like it", "text/htmlx, x-text/html"]
  ])("%s does not", (_, accept) => {
    assert.isFalse(StatusPage.prefersHtml(accept))
  })

  it.each([
    "TEXT/HTML",
    " text/html ; charset=utf-8 ; q=0.3 ",
    "text/html;Q=0.5",
    "nonsense,,text/html",
    "text/html;level=1"
  ])(
    "%s asks for it",
    (accept) => {
      assert.isTrue(StatusPage.prefersHtml(accept))
    }
  )

  it.prop(
    "whoever does not name it does not get it, whatever is sent",
    [fc.string({ unit: arbitraries.character })],
    ([accept]) => !StatusPage.prefersHtml(accept) || accept.toLowerCase().includes("text/html")
  )

  const quality = fc.integer({ min: 0, max: 1000 })
  it.prop(
    "of two types the one with the greater weight wins, in either order; html wins a tie",
    [quality, quality, fc.boolean()],
    ([html, json, first]) => {
      const both = [`text/html;q=${(html / 1000).toFixed(3)}`, `application/json;q=${(json / 1000).toFixed(3)}`]
      return StatusPage.prefersHtml((first ? both : both.toReversed()).join(",")) === (html > 0 && html >= json)
    }
  )
})

const ask = (accept: string | undefined, method = "GET") =>
  StatusPage.app.pipe(
    Effect.provideService(
      HttpServerRequest.HttpServerRequest,
      HttpServerRequest.fromWeb(
        new Request("http://127.0.0.1/", { method, headers: accept === undefined ? {} : { accept } })
      )
    ),
    Effect.scoped
  )

describe("StatusPage.app", () => {
  it.effect("is the page for GET and HEAD of a browser", () =>
    Effect.gen(function*() {
      for (const method of ["GET", "HEAD"]) {
        const response = HttpServerResponse.toWeb(yield* ask(browsers.firefox, method))
        assert.strictEqual(response.status, 200)
        assert.strictEqual(response.headers.get("content-type"), "text/html; charset=utf-8")
        assert.strictEqual(response.headers.get("content-security-policy"), StatusPage.contentSecurityPolicy)
        assert.strictEqual(response.headers.get("x-content-type-options"), "nosniff")
        assert.strictEqual(response.headers.get("referrer-policy"), "no-referrer")
        assert.strictEqual(response.headers.get("cache-control"), "no-store")
        assert.strictEqual(response.headers.get("vary"), "Accept")
        assert.strictEqual(yield* Effect.promise(() => response.text()), StatusPage.html())
      }
    }))

  it.effect("is not found by a program, nor by any other method", () =>
    Effect.gen(function*() {
      assert.strictEqual((yield* Effect.flip(ask("*/*")))._tag, "RouteNotFound")
      for (const method of ["POST", "PUT", "DELETE", "OPTIONS"]) {
        assert.strictEqual((yield* Effect.flip(ask(browsers.chromium, method)))._tag, "RouteNotFound")
      }
    }))
})

const directives = new Map(
  StatusPage.contentSecurityPolicy.split("; ").map((directive) => {
    const [name = "", ...sources] = directive.split(" ")
    return [name, sources.join(" ")]
  })
)

const inline = (tag: string) =>
  [...StatusPage.html().matchAll(new RegExp(`<${tag}>([^]*?)</${tag}>`, "g"))].map((match) => match[1] ?? "")

const hashOf = (text: string) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`

describe("the policy of the page", () => {
  it("allows nothing but the page's own script and style, and its gateway", () => {
    assert.deepStrictEqual(Object.fromEntries(directives), {
      "default-src": "'none'",
      "script-src": inline("script").map(hashOf).join(" "),
      "style-src": inline("style").map(hashOf).join(" "),
      "connect-src": "'self'",
      "img-src": "data:",
      "base-uri": "'none'",
      "form-action": "'none'",
      "frame-ancestors": "'none'",
      "require-trusted-types-for": "'script'",
      "trusted-types": "'none'"
    })
  })

  it("is of one script and one style, as the browser sees them", () => {
    assert.lengthOf(inline("script"), 1)
    assert.lengthOf(inline("style"), 1)
  })

  it("is not got round by attributes, which no hash allows", () => {
    const markup = StatusPage.html().replace(/<(script|style)>[^]*?<\/\1>/g, "")
    assert.notMatch(markup, /\son[a-z]+=/i)
    assert.notMatch(markup, /\sstyle=/i)
    assert.notMatch(markup, /javascript:/i)
  })

  it("has nothing to fetch from anywhere", () => {
    const elsewhere = StatusPage.html().replaceAll("http://www.w3.org/2000/svg", "")
    assert.notMatch(elsewhere, /<(?:img|iframe|object|embed|video|audio|base)\b/i)
    assert.notMatch(elsewhere, /\bsrc=/i)
    assert.notMatch(inline("style").join(""), /@import|url\(/i)
    assert.notMatch(elsewhere, /https?:\/\/[a-z]/i)
  })
})

describe("the document of the page", () => {
  it("is small", () => {
    assert.isBelow(Buffer.byteLength(StatusPage.html({ controlPath: "/control", metricsPath: "/metrics" })), 60_000)
  })
})

describe("the script of the page", () => {
  it("sets text, and never markup", () => {
    assert.notMatch(script, /innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\b|new Function/)
  })

  it("keeps a token for its tab alone", () => {
    assert.notMatch(script, /localStorage|document\.cookie|indexedDB/)
  })

  it("is right under strict types", () => {
    const options: ts.CompilerOptions = {
      allowJs: true,
      checkJs: true,
      noEmit: true,
      strict: true,
      noUnusedLocals: true,
      noUnusedParameters: true,
      noImplicitReturns: true,
      noUncheckedIndexedAccess: true,
      exactOptionalPropertyTypes: true,
      target: ts.ScriptTarget.ES2023,
      lib: ["lib.es2023.d.ts", "lib.dom.d.ts", "lib.dom.iterable.d.ts"],
      types: []
    }
    const name = "/status-page.js"
    const host = ts.createCompilerHost(options)
    const { fileExists, getSourceFile, readFile } = host
    host.fileExists = (file) => file === name || fileExists(file)
    host.readFile = (file) => file === name ? script : readFile(file)
    host.getSourceFile = (file, version) =>
      file === name ? ts.createSourceFile(file, script, version, true) : getSourceFile(file, version)
    const program = ts.createProgram([name], options, host)
    const source = program.getSourceFile(name)
    const found = [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)]
    assert.isDefined(source)
    const diagnostics = found.map(({ file, messageText, start }) => {
      const line = file === undefined || start === undefined ? 0 : file.getLineAndCharacterOfPosition(start).line + 1
      return `${line}: ${ts.flattenDiagnosticMessageText(messageText, "\n")}`
    })
    assert.deepStrictEqual(diagnostics, [])
  }, 120_000)
})
