/** A part of the status page's script: the words, signs and colours of states and changes. */
export const states = String.raw`
  // --- words, signs and colours --------------------------------------------------------------------------------------

  const circle = "M8 2a6 6 0 1 0 0 12A6 6 0 1 0 8 2z";
  const hole = "M8 4.6a3.4 3.4 0 1 0 0 6.8A3.4 3.4 0 1 0 8 4.6z";
  const cross = "M3 4.4L4.4 3 8 6.6 11.6 3 13 4.4 9.4 8 13 11.6 11.6 13 8 9.4 4.4 13 3 11.6 6.6 8z";
  /** @type {Readonly<Record<string, { readonly word: string, readonly sign: string, readonly colour: string }>>} */
  const states = {
    connecting: { word: "Connecting", sign: circle + hole, colour: "#777777" },
    starting: { word: "Starting", sign: circle + "M8 4a4 4 0 0 1 0 8z", colour: "#c77d00" },
    listening: { word: "Listening", sign: circle, colour: "#12875c" },
    standby: { word: "Standing by", sign: "M3.5 3h3.2v10H3.5zM9.3 3h3.2v10H9.3z", colour: "#12875c" },
    draining: { word: "Draining", sign: "M2 3h12L8 14z", colour: "#c77d00" },
    ended: { word: "Ended", sign: "M3 3h10v10H3z", colour: "#777777" },
    lost: { word: "Connection lost", sign: cross, colour: "#d0433a" },
    token: { word: "Access token", sign: "M5 5a3 3 0 1 0 2.8 4H14v2h-2v2h2v-2h1V7H7.8A3 3 0 0 0 5 5zM5 7a1 1 0 1 1 0 2A1 1 0 1 1 5 7z", colour: "#777777" },
    refused: { word: "Access refused", sign: "M8 1.5L14.5 8 8 14.5 1.5 8z" + "M7.2 4.5h1.6v4.4H7.2zM7.2 10h1.6v1.6H7.2z", colour: "#d0433a" }
  };
  const question = circle + "M7.2 4.5h1.6v4.4H7.2zM7.2 10h1.6v1.6H7.2z";
  /**
   * The states of another gateway, the worst first: the group that lists it, its sign and its word.
   * @type {Readonly<Record<string, { readonly group: Group, readonly sign: string, readonly word: string }>>}
   */
  const verdicts = {
    unhealthy: { group: "bad", sign: cross, word: "unhealthy" },
    dead: { group: "bad", sign: "M3 3h10v10H3zM5 5v6h6V5z", word: "crashed" },
    "foreign-listener": { group: "bad", sign: "M8 1.5L14.5 8 8 14.5 1.5 8z", word: "another program has its port" },
    unknown: { group: "bad", sign: question, word: "state unknown" },
    draining: { group: "busy", sign: "M2 3h12L8 14z", word: "draining" },
    starting: { group: "busy", sign: circle + "M8 4a4 4 0 0 1 0 8z", word: "starting" },
    running: { group: "good", sign: circle, word: "running" },
    standby: { group: "good", sign: "M3.5 3h3.2v10H3.5zM9.3 3h3.2v10H9.3z", word: "standing by" },
    "not-running": { group: "off", sign: circle + hole, word: "not running" }
  };
  /** @typedef {"bad" | "busy" | "good" | "off"} Group */
  /** @type {ReadonlyArray<readonly [Group, string]>} */
  const groups = [["bad", "Problems"], ["busy", "Changing"], ["good", "Running"], ["off", "Not running"]];
  /** @type {Readonly<Record<string, string>>} */
  const changeWords = {
    starting: "Started",
    locked: "Acquired the lock",
    reclaimed: "Reclaimed a stale lock",
    listening: "Listening",
    draining: "Draining",
    regained: "Restored its lock file",
    rewritten: "Rewrote its lock file",
    unavailable: "Lost its lock file; trying to restore it",
    lost: "Lost the lock",
    standby: "Waits to lead",
    leading: "Leads",
    "leadership-lost": "Lost its leadership"
  };
  /** @type {Readonly<Record<string, string>>} */
  const leaseWords = { standby: "stands by", leader: "leads", lost: "lost; the gateway ends" };
  /** @type {Readonly<Record<string, string>>} */
  const purposes = { restart: "Restart it", stop: "Stop it", logs: "Read its log", status: "Look at it", check: "Check its settings and host" };
  /** @type {Readonly<Record<string, string>>} */
  const reasons = {
    stopped: "it was asked to stop",
    failed: "it failed",
    finished: "it has finished",
    "lock lost": "it has lost its lock",
    "leadership lost": "it has lost its leadership"
  };

  /**
   * The words for a key. An unknown key is returned as it is.
   * @param {Readonly<Record<string, string>>} table @param {string} key
   */
  const wordFor = (table, key) => Object.hasOwn(table, key) ? table[key] ?? key : key;
`
