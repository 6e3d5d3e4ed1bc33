/**
 * The style of the status page. A shape and a word express each state, because some readers cannot distinguish colours. The
 * colour only repeats what the shape and the word say.
 */
export const style = String.raw`
:root {
  color-scheme: light dark;
  --ground: #f7f7f5; --sheet: #ffffff; --ink: #1b1d20; --quiet: #5a6068; --line: #dcdeda; --focus: #0b57d0;
  --good: #0b6b47; --busy: #7a4b00; --bad: #a3261b; --off: #5a6068; --trace: #2f6fb0; --wash: #e8f0f8;
  --mono: ui-monospace, "SF Mono", SFMono-Regular, "Cascadia Mono", "DejaVu Sans Mono", Menlo, Consolas, monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #121416; --sheet: #1b1e21; --ink: #e7e8e6; --quiet: #a3a9b0; --line: #33383d; --focus: #8ab4f8;
    --good: #5fd0a2; --busy: #f0b558; --bad: #ff9a8f; --off: #a3a9b0; --trace: #7ab3ec; --wash: #21303f;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0 auto; max-width: 76rem; padding: 1.25rem 1rem 2.5rem;
  background: var(--ground); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", sans-serif;
}
h1, h2, h3, p, dl, dd, ol, ul { margin: 0; padding: 0; }
h1 { font-size: clamp(1.3rem, 5vw, 1.75rem); line-height: 1.2; font-weight: 650; letter-spacing: -.01em; overflow-wrap: anywhere; }
h2 { font-size: 1rem; line-height: 1.3; font-weight: 650; margin-bottom: .6rem; }
h3 { font-size: .925rem; line-height: 1.3; font-weight: 600; color: var(--quiet); margin: .9rem 0 .4rem; }
ol, ul { list-style: none; }
code, .mono { font-family: var(--mono); font-size: .875em; overflow-wrap: anywhere; }
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
header { display: flex; flex-wrap: wrap; gap: .1rem 1.25rem; align-items: baseline; justify-content: space-between; margin-bottom: .9rem; }
.place { color: var(--quiet); font-size: .925rem; overflow-wrap: anywhere; }
.note { color: var(--quiet); font-size: .925rem; }

.state {
  display: grid; grid-template-columns: auto minmax(0, 1fr); gap: .25rem .9rem; align-items: center;
  padding: .9rem 1.1rem; background: var(--sheet); border: 1px solid var(--line); border-left: .35rem solid var(--tone); border-radius: 6px;
}
html { --tone: var(--off); }
html[data-state="listening"], html[data-state="standby"] { --tone: var(--good); }
html[data-state="starting"], html[data-state="draining"] { --tone: var(--busy); }
html[data-state="lost"], html[data-state="refused"] { --tone: var(--bad); }
html[data-state="token"] .state { display: none; }
.sign { width: 2.2rem; height: 2.2rem; fill: var(--tone); stroke: var(--tone); stroke-width: .8; stroke-linejoin: round; }
.state-word { font-size: 1.4rem; line-height: 1.25; font-weight: 650; color: var(--tone); }
.state-text, .as-of { overflow-wrap: anywhere; }
.as-of { color: var(--quiet); }
.retry { margin-top: .5rem; color: var(--quiet); display: flex; flex-wrap: wrap; gap: .5rem .8rem; align-items: center; font-variant-numeric: tabular-nums; }
.up { grid-column: 2; display: flex; gap: .4rem; align-items: baseline; font-variant-numeric: tabular-nums; }
.up dt { color: var(--quiet); font-size: .925rem; }
.up dd { font-weight: 600; white-space: nowrap; }
button {
  font: inherit; font-weight: 600; min-height: 2.5rem; padding: .3rem .9rem; cursor: pointer;
  color: var(--ink); background: var(--ground); border: 1px solid var(--quiet); border-radius: 5px;
}
button:hover { border-color: var(--ink); }
.primary { color: var(--sheet); background: var(--ink); border-color: var(--ink); }

.token { max-width: 36rem; margin: 1rem 0 2rem; padding: 1.5rem; background: var(--sheet); border: 1px solid var(--line); border-radius: 8px; }
.token h2 { font-size: 1.25rem; }
.token label { display: block; margin-bottom: .35rem; }
.field { display: flex; flex-wrap: wrap; gap: .6rem; }
input {
  font: inherit; font-family: var(--mono); flex: 1 1 14rem; min-width: 0; min-height: 2.75rem; padding: .4rem .7rem;
  color: var(--ink); background: var(--ground); border: 1px solid var(--quiet); border-radius: 5px;
}
input[aria-invalid="true"] { border-color: var(--bad); }
.token .note { margin-top: .75rem; }
.error { color: var(--bad); font-weight: 600; }
.error:not(:empty) { margin-bottom: .6rem; }
main > noscript .note { margin-top: 1rem; }

.tiles { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: .75rem; margin-top: .75rem; }
.tile { display: flex; flex-direction: column; padding: .7rem .9rem .8rem; background: var(--sheet); border: 1px solid var(--line); border-radius: 6px; min-width: 0; }
.tile dt { color: var(--quiet); font-size: .925rem; }
.value { font-size: 1.25rem; line-height: 1.3; font-weight: 600; font-variant-numeric: tabular-nums; letter-spacing: -.01em; white-space: nowrap; }
.chart { margin-top: auto; }
.aside { margin-left: .2rem; font-size: .875rem; color: var(--quiet); white-space: nowrap; font-variant-numeric: tabular-nums; }
.chart svg { display: block; width: 100%; height: 2.25rem; margin-top: .3rem; overflow: visible; }
.chart .line { fill: none; stroke: var(--trace); stroke-width: 1.5; stroke-linejoin: round; }
.chart .area { fill: var(--wash); }
.chart .base { stroke: var(--line); stroke-width: 1; }
.span { text-align: right; margin-top: .25rem; }

#facts section h2 { margin-top: 0; }
.columns { display: grid; gap: 0 2rem; }
.columns section { margin-top: 1.5rem; min-width: 0; }
.head { display: flex; flex-wrap: wrap; gap: 0 1rem; align-items: baseline; justify-content: space-between; margin-bottom: .5rem; }
.head h2 { margin-bottom: 0; }
.strip svg { display: block; width: 100%; height: 2.1rem; overflow: visible; }
.strip .track { fill: var(--line); }
.strip .run { fill: var(--good); }
.strip .crash { fill: var(--bad); stroke: var(--bad); }
.strip .start { fill: var(--good); }
.strip .stop { fill: var(--off); }
.axis { display: flex; flex-wrap: wrap; gap: 0 1rem; justify-content: space-between; font-size: .875rem; margin-top: .2rem; }
.signs { display: flex; flex-wrap: wrap; gap: 0 .9rem; order: 1; flex-basis: 100%; }
.signs span { display: inline-flex; gap: .3rem; align-items: center; }
.signs svg { width: .7rem; height: .7rem; }

.list { display: grid; gap: .5rem; }
.list li { padding: .6rem .8rem; background: var(--sheet); border: 1px solid var(--line); border-left: .25rem solid var(--tone); border-radius: 5px; min-width: 0; overflow-wrap: anywhere; }
.tone-bad { --tone: var(--bad); }
.tone-busy { --tone: var(--busy); }
.tone-good { --tone: var(--good); }
.tone-off { --tone: var(--off); }
.list .name { display: flex; flex-wrap: wrap; gap: 0 .5rem; align-items: center; }
.list .name svg { flex: none; width: .9rem; height: .9rem; stroke-width: .8; stroke-linejoin: round; fill: var(--tone); stroke: var(--tone); }
.list .name strong, .list .name a { font-weight: 600; }
.list a { padding: .25rem 0; }
.word { color: var(--tone); }
.list .where { color: var(--quiet); font-size: .925rem; margin-left: auto; }

.facts { display: grid; gap: .45rem; }
.facts > div { display: grid; gap: 0 1rem; }
.facts dt, .commands dt { color: var(--quiet); font-size: .925rem; }
.facts dd { overflow-wrap: anywhere; min-width: 0; }
.commands { display: grid; gap: .6rem; }
.commands > div { display: grid; grid-template-columns: minmax(0, 1fr) auto; gap: .15rem .5rem; align-items: center; }
.commands .typed { display: contents; }
.commands code { grid-row: 2; grid-column: 1 / -1; }
.typed { display: flex; gap: .5rem; align-items: center; min-width: 0; }
.typed code { flex: 1 1 auto; min-width: 0; padding: .35rem .6rem; background: var(--sheet); border: 1px solid var(--line); border-radius: 5px; }
.typed button { flex: none; min-width: 4.6rem; min-height: 1.9rem; padding: .05rem .6rem; font-size: .875rem; }
.list .typed { margin-top: .35rem; }
.list .typed code { background: var(--ground); }
.links { display: flex; flex-wrap: wrap; gap: 0 1.25rem; }
.links a { display: inline-block; padding: .35rem 0; }

details { margin-top: 1.5rem; border-top: 1px solid var(--line); padding-top: .75rem; }
summary { font-weight: 650; cursor: pointer; padding: .35rem 0; width: fit-content; }
details .columns section { margin-top: 1rem; }
time { font-variant-numeric: tabular-nums; }
time span { white-space: nowrap; }
time .absolute { color: var(--quiet); }
.history li { display: grid; gap: 0 1rem; padding: .35rem 0; }
.history .when { color: var(--quiet); font-size: .925rem; }
.history .what { font-weight: 600; }
.history .detail { display: block; color: var(--quiet); font-size: .925rem; overflow-wrap: anywhere; }
footer { margin-top: 2rem; padding-top: .75rem; border-top: 1px solid var(--line); color: var(--quiet); font-size: .925rem; }

/* Old values are dimmed, but stay readable. */
html[data-live="false"] #facts { --ink: var(--quiet); --good: var(--off); --busy: var(--off); --bad: var(--off); --trace: var(--off); --wash: transparent; color: var(--quiet); }
html[data-live="false"] .up dd { color: var(--quiet); }
html[data-live="false"] #facts .tile, html[data-live="false"] #facts .list li { border-style: dashed; background: transparent; }

@media (min-width: 44rem) {
  body { padding: 1.75rem 2rem 3rem; }
  .state { grid-template-columns: auto minmax(0, 1fr) auto; }
  .up { grid-column: 3; display: block; text-align: right; padding-left: 1rem; }
  .up dd { font-size: 1.25rem; line-height: 1.3; }
  .facts > div { grid-template-columns: 8.5rem minmax(0, 1fr); align-items: baseline; }
  .history li { grid-template-columns: 12rem minmax(0, 1fr); align-items: baseline; padding: .2rem 0; }
  .signs { order: 0; flex-basis: auto; }
  .tiles { grid-template-columns: repeat(4, minmax(0, 1fr)); }
}
@media (min-width: 64rem) {
  .columns { grid-template-columns: minmax(0, 1fr) 25rem; }
  .columns.even { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .fine { grid-template-columns: repeat(2, minmax(0, 1fr)); }
}
@media (prefers-reduced-motion: no-preference) {
  html[data-state="connecting"] .sign, html[data-state="starting"] .sign, html[data-state="draining"] .sign { animation: breathe 2s ease-in-out infinite; }
  @keyframes breathe { 50% { opacity: .45; } }
}
@media (forced-colors: active) { .sign, .list .name svg, .strip svg, .signs svg { forced-color-adjust: none; fill: CanvasText; stroke: CanvasText; } .chart .line { stroke: CanvasText; } }
`
