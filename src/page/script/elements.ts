/** A part of the status page's script: finds, creates and changes elements of the document. */
export const elements = String.raw`
  // --- the document --------------------------------------------------------------------------------------------------

  const root = document.documentElement;
  /** @param {string} id @returns {HTMLElement} */
  const element = (id) => {
    const found = document.getElementById(id);
    if (found === null) throw new Error("the page has no #" + id);
    return found;
  };
  /** Writes a text only if it differs: a screen reader announces every change. @param {Element} target @param {string} text */
  const setText = (target, text) => {
    if (target.textContent !== text) target.textContent = text;
  };
  /** @param {string} tag @param {string} className @param {...(Node | string)} children */
  const make = (tag, className, ...children) => {
    const made = document.createElement(tag);
    if (className !== "") made.className = className;
    made.append(...children);
    return made;
  };
  /** Splits a path so that a line can break after each separator. @param {string} path */
  const breakable = (path) =>
    path.split(/(?<=[/\\])/).flatMap((part, index) => index === 0 ? [part] : [document.createElement("wbr"), part]);
  /** @param {string} d */
  const signOf = (d) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    svg.setAttribute("viewBox", "0 0 16 16");
    svg.setAttribute("aria-hidden", "true");
    path.setAttribute("d", d);
    path.setAttribute("fill-rule", "evenodd");
    svg.append(path);
    return svg;
  };

  /**
   * The data that each element shows. An element is rebuilt only if its data changes, so that a selection or focus survives.
   * @type {WeakMap<Element, string>}
   */
  const shown = new WeakMap();
  /** @param {Element} target @param {unknown} data @param {() => ReadonlyArray<Node>} build */
  const show = (target, data, build) => {
    const now = JSON.stringify(data);
    if (shown.get(target) === now) return;
    shown.set(target, now);
    const active = document.activeElement;
    const href = active instanceof HTMLAnchorElement && target.contains(active) ? active.href : undefined;
    target.replaceChildren(...build());
    if (href === undefined) return;
    for (const link of target.querySelectorAll("a")) if (link.href === href) link.focus();
  };
`
