/**
 * A part of the status page's script: the sparklines of the last minutes, and the strip of starts and ends. They are drawn as SVG
 * elements with attributes only, because the policy of the page allows no style attribute.
 */
export const charts = String.raw`
  // --- charts --------------------------------------------------------------------------------------------------------

  /** @param {string} name @param {Readonly<Record<string, string | number>>} attributes @param {...(Node | string)} children */
  const shape = (name, attributes, ...children) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
    made.append(...children);
    return made;
  };
  /** @param {number} value */
  const round = (value) => Math.round(value * 10) / 10;

  /** How many samples the width of a sparkline has room for: those of ten minutes. */
  const room = 120;
  /**
   * A line from zero, with the latest sample at the right edge.
   * @param {ReadonlyArray<number>} values @param {number} least The least value of the upper edge. @param {string} label
   */
  const sparkline = (values, least, label) => {
    const top = Math.max(least, ...values);
    const points = values.map((value, index) => round((room - values.length + index) / (room - 1) * 240) + " " + round(38 - value / top * 36));
    const from = round((room - values.length) / (room - 1) * 240);
    return shape(
      "svg",
      { viewBox: "0 0 240 40", preserveAspectRatio: "none", role: "img", "aria-label": label },
      shape("path", { class: "base", d: "M0 39.5H240", "vector-effect": "non-scaling-stroke" }),
      shape("path", { class: "area", d: "M" + from + " 39L" + points.join("L") + "L240 39z" }),
      shape("path", { class: "line", d: "M" + points.join("L"), "vector-effect": "non-scaling-stroke" })
    );
  };

  const minute = 60_000, hour = 60 * minute, day = 24 * hour;
  /** The ranges that the strip may have. @type {ReadonlyArray<readonly [number, string]>} */
  const ranges = [[hour, "an hour"], [6 * hour, "6 hours"], [day, "24 hours"], [7 * day, "7 days"], [30 * day, "30 days"]];
  /** The shortest range that shows the last ten starts. @param {ReadonlyArray<Run>} runs @param {number} now */
  const rangeOf = (runs, now) => {
    const first = Math.min(now, ...runs.slice(-10).map(({ startedAt }) => Date.parse(startedAt)));
    return ranges.find(([range]) => now - first <= range) ?? [30 * day, "30 days"];
  };

  /** The signs of the strip: as shapes of 10 by 10, with what they mean. */
  const marks = {
    crash: "M1 2.2L2.2 1 5 3.8 7.8 1 9 2.2 6.2 5 9 7.8 7.8 9 5 6.2 2.2 9 1 7.8 3.8 5z",
    takeover: "M5 1L9.4 8.6H.6z",
    start: "M2 1L9 5 2 9z",
    stop: "M1.5 1.5h7v7h-7z"
  };
  /** @type {Readonly<Record<string, string>>} */
  const markWords = { start: "start", takeover: "takeover", stop: "stop", crash: "crash" };
  /** @typedef {keyof typeof marks} Mark */

  /** @param {Run} run @returns {ReadonlyArray<{ readonly mark: Mark, readonly at: number }>} */
  const marksOf = ({ endedAt, ending, ledAt, startedAt, tookOver }) => {
    const started = Date.parse(startedAt);
    return [
      { mark: tookOver === true ? "takeover" : "start", at: started },
      ...(ledAt === undefined ? [] : [{ mark: /** @type {const} */ ("takeover"), at: Date.parse(ledAt) }]),
      ...(ending === "running" ? [] : [{ mark: ending === "crashed" ? /** @type {const} */ ("crash") : /** @type {const} */ ("stop"), at: endedAt === undefined ? started : Date.parse(endedAt) }])
    ];
  };

  /** How a run ended, in words. @param {Run} run */
  const endOf = ({ ending, reason }) =>
    ending === "running" ? "runs" : ending === "crashed" ? "crashed" : "stopped" + (reason === undefined ? "" : ", because " + wordFor(reasons, reason));

  /** @param {ReadonlyArray<Run>} runs @param {number} now @param {number} range @param {string} label */
  const stripOf = (runs, now, range, label) => {
    /** @param {number} at */
    const place = (at) => Math.min(100, Math.max(0, round((at - now + range) / range * 1000) / 10));
    const from = now - range;
    const bars = runs.flatMap((run) => {
      const [began, ended] = [Date.parse(run.startedAt), run.ending === "running" ? now : Date.parse(run.endedAt ?? run.startedAt)];
      if (ended < from) return [];
      const bar = { class: "run", x: place(began) + "%", width: Math.max(.3, round((place(ended) - place(began)) * 10) / 10) + "%", y: 20, height: 12, rx: 1 };
      const [first, last] = [absolute(began), run.ending === "running" ? "now" : absolute(ended)];
      const edge = { class: "crash", x: place(ended) + "%", width: 3, y: 20, height: 12, transform: "translate(-3 0)" };
      return [
        shape("rect", bar, shape("title", {}, first + " to " + last + ", " + endOf(run))),
        ...(run.ending === "crashed" ? [shape("rect", edge)] : [])
      ];
    });
    const signs = runs.flatMap(marksOf).filter(({ at }) => at >= from).map(({ at, mark }) => {
      const x = place(at);
      return shape(
        "svg",
        { x: x + "%", y: 4, width: 10, height: 10, overflow: "visible" },
        // An end is left of its moment, and a start right of it, so that a restart shows both.
        shape("path", { class: mark === "takeover" ? "start" : mark, d: marks[mark], transform: "translate(" + ((mark === "crash" || mark === "stop") && x > 1 || x > 99 ? -10 : 0) + " 0)" })
      );
    });
    return shape("svg", { role: "img", "aria-label": label }, shape("rect", { class: "track", x: 0, width: "100%", y: 25, height: 2 }), ...bars, ...signs);
  };
`
