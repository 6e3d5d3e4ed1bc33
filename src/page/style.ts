/**
 * The style of the status page. A shape and a word express each state, because some readers cannot distinguish colours. The
 * colour only repeats what the shape and the word say.
 */
export const style = String.raw`
:root {
  color-scheme: light dark;
  --ground: #fbfbf9; --sheet: #ffffff; --ink: #1b1d20; --quiet: #5a6068; --line: #dcdeda; --focus: #0b57d0;
  --good: #0b6b47; --busy: #7a4b00; --bad: #a3261b; --off: #5a6068;
  --mono: ui-monospace, "SF Mono", SFMono-Regular, "Cascadia Mono", "DejaVu Sans Mono", Menlo, Consolas, monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #131517; --sheet: #1b1e21; --ink: #e7e8e6; --quiet: #a3a9b0; --line: #33383d; --focus: #8ab4f8;
    --good: #5fd0a2; --busy: #f0b558; --bad: #ff9a8f; --off: #a3a9b0;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0 auto; max-width: 62rem; padding: 1.5rem 1rem 3rem;
  background: var(--ground); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", sans-serif;
}
h1, h2, p, dl, dd, ol, ul { margin: 0; padding: 0; }
h1 { font-size: clamp(1.35rem, 5vw, 1.9rem); line-height: 1.2; font-weight: 650; letter-spacing: -.01em; overflow-wrap: anywhere; }
h2 { font-size: 1rem; line-height: 1.3; font-weight: 650; margin-bottom: .6rem; }
ol, ul { list-style: none; }
code, .mono { font-family: var(--mono); font-size: .9em; overflow-wrap: anywhere; }
a { color: inherit; text-underline-offset: .2em; text-decoration-thickness: 1px; }
a:hover { text-decoration-thickness: 2px; }
:focus-visible { outline: 3px solid var(--focus); outline-offset: 3px; border-radius: 3px; }
main:focus { outline: none; }
[hidden] { display: none !important; }
.visually-hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.skip {
  position: absolute; left: 1rem; top: -4rem; z-index: 1; padding: .5rem .8rem;
  background: var(--sheet); border: 1px solid var(--line); border-radius: 4px;
}
.skip:focus { top: .5rem; }
.eyebrow { color: var(--quiet); margin-bottom: .15rem; overflow-wrap: anywhere; }
.eyebrow span { color: var(--ink); font-weight: 600; }
header { margin-bottom: 1.25rem; }

.state {
  display: grid; grid-template-columns: auto 1fr; gap: 1rem; align-items: start;
  padding: 1.1rem; background: var(--sheet); border: 1px solid var(--line); border-left: .35rem solid var(--tone); border-radius: 6px;
}
html { --tone: var(--off); }
html[data-state="listening"], html[data-state="standby"] { --tone: var(--good); }
html[data-state="starting"], html[data-state="draining"] { --tone: var(--busy); }
html[data-state="lost"], html[data-state="refused"] { --tone: var(--bad); }
.sign { width: 2.2rem; height: 2.2rem; margin-top: .1rem; fill: var(--tone); stroke: var(--tone); stroke-width: .8; stroke-linejoin: round; }
.state-word { font-size: 1.5rem; line-height: 1.25; font-weight: 650; color: var(--tone); }
.state-text { overflow-wrap: anywhere; }
.retry { margin-top: .6rem; color: var(--quiet); display: flex; flex-wrap: wrap; gap: .5rem .8rem; align-items: center; font-variant-numeric: tabular-nums; }
button {
  font: inherit; font-weight: 600; min-height: 2.75rem; padding: .4rem 1rem; cursor: pointer;
  color: var(--ink); background: var(--ground); border: 1px solid var(--quiet); border-radius: 5px;
}
button:hover { border-color: var(--ink); }

.token { margin-top: 1rem; padding: 1.1rem; background: var(--sheet); border: 1px solid var(--line); border-radius: 6px; }
.token label { display: block; margin-bottom: .25rem; font-weight: 600; }
.field { display: flex; flex-wrap: wrap; gap: .6rem; }
input {
  font: inherit; font-family: var(--mono); flex: 1 1 14rem; min-width: 0; min-height: 2.75rem; padding: .4rem .7rem;
  color: var(--ink); background: var(--ground); border: 1px solid var(--quiet); border-radius: 5px;
}
.note { color: var(--quiet); font-size: .925rem; }
.token .note { margin-top: .5rem; }
main > noscript .note { margin-top: 1rem; }

.as-of { margin-top: 1rem; padding: .5rem .8rem; border: 1px dashed var(--quiet); border-radius: 5px; }
.figures { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: .75rem; margin: 1.25rem 0 .25rem; }
.figures dt { color: var(--quiet); font-size: .925rem; }
.figures dd { font-size: 1.15rem; line-height: 1.3; font-weight: 600; font-variant-numeric: tabular-nums; letter-spacing: -.01em; }
.figures .aside { font-size: .925rem; font-weight: 400; color: var(--quiet); letter-spacing: 0; white-space: nowrap; }
#facts > section { margin-top: 1.5rem; padding-top: 1.1rem; border-top: 1px solid var(--line); }
.facts { display: grid; gap: .55rem; }
.facts > div { display: grid; gap: 0 1rem; }
.facts dt { color: var(--quiet); font-size: .925rem; }
.facts dd { overflow-wrap: anywhere; min-width: 0; }
time { font-variant-numeric: tabular-nums; }
time span { white-space: nowrap; }
time .absolute { color: var(--quiet); }
.history li { display: grid; gap: 0 1rem; padding: .5rem 0; border-top: 1px solid var(--line); }
.history li:first-child { border-top: 0; padding-top: 0; }
.history .when { color: var(--quiet); font-size: .925rem; }
.history .what { font-weight: 600; }
.history .detail { display: block; color: var(--quiet); font-size: .925rem; overflow-wrap: anywhere; }
.neighbours { display: grid; gap: .75rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); }
.neighbours li { padding: .8rem .9rem; background: var(--sheet); border: 1px solid var(--line); border-radius: 6px; min-width: 0; }
.neighbours .name { display: flex; gap: .5rem; align-items: center; font-weight: 600; overflow-wrap: anywhere; }
.neighbours .name svg { flex: none; width: 1rem; height: 1rem; stroke-width: .8; stroke-linejoin: round; fill: currentColor; stroke: currentColor; }
.neighbours p { overflow-wrap: anywhere; }
.neighbours .note { margin-top: .15rem; }
.neighbours .name .word { color: var(--quiet); font-weight: 400; }
.neighbours a { display: inline-block; padding: .35rem 0; }
footer { margin-top: 2.5rem; padding-top: 1rem; border-top: 1px solid var(--line); color: var(--quiet); font-size: .925rem; }

@media (min-width: 44rem) {
  body { padding: 2.5rem 2rem 4rem; }
  .facts > div { grid-template-columns: 11rem 1fr; align-items: baseline; }
  .history li { grid-template-columns: 11rem 1fr; align-items: baseline; padding: .35rem 0; border-top: 0; }
  .figures { gap: 1.5rem; }
  .figures dd { font-size: 1.35rem; }
}
@media (prefers-reduced-motion: no-preference) {
  html[data-state="connecting"] .sign, html[data-state="starting"] .sign, html[data-state="draining"] .sign { animation: breathe 2s ease-in-out infinite; }
  @keyframes breathe { 50% { opacity: .45; } }
}
@media (forced-colors: active) { .sign, .neighbours .name svg { forced-color-adjust: none; fill: CanvasText; stroke: CanvasText; } }
`
