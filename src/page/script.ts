/**
 * The status page's script, as the browser gets it. Checked as JavaScript under strict types, in `test/server/page.test.ts`.
 *
 * Whatever it is sent is text: it makes elements, and sets `textContent`. Times are by the gateway's clock, as far as its
 * last frame told it; what ticks, ticks by the browser's monotonic one.
 */
export const script = String.raw`
"use strict";
(() => {
  // --- what a state is called and looks like -------------------------------------------------------------------------

  const circle = "M8 2a6 6 0 1 0 0 12A6 6 0 1 0 8 2z";
  const hole = "M8 4.6a3.4 3.4 0 1 0 0 6.8A3.4 3.4 0 1 0 8 4.6z";
  /** @type {Readonly<Record<string, { readonly word: string, readonly sign: string, readonly colour: string }>>} */
  const states = {
    connecting: { word: "Connecting", sign: circle + hole, colour: "#777777" },
    starting: { word: "Starting", sign: circle + "M8 4a4 4 0 0 1 0 8z", colour: "#c77d00" },
    listening: { word: "Listening", sign: circle, colour: "#12875c" },
    draining: { word: "Draining", sign: "M2 3h12L8 14z", colour: "#c77d00" },
    ended: { word: "Ended", sign: "M3 3h10v10H3z", colour: "#777777" },
    lost: { word: "Connection lost", sign: "M3 4.4L4.4 3 8 6.6 11.6 3 13 4.4 9.4 8 13 11.6 11.6 13 8 9.4 4.4 13 3 11.6 6.6 8z", colour: "#d0433a" },
    refused: { word: "Not let in", sign: "M8 1.5L14.5 8 8 14.5 1.5 8z" + "M7.2 4.5h1.6v4.4H7.2zM7.2 10h1.6v1.6H7.2z", colour: "#d0433a" }
  };
  /** @type {Readonly<Record<string, string>>} */
  const verdictSigns = { running: "listening", starting: "starting", draining: "draining", dead: "ended", "not-running": "ended", unhealthy: "lost" };
  /** @type {Readonly<Record<string, string>>} */
  const changeWords = {
    starting: "Started",
    locked: "Took the lock",
    reclaimed: "Took over a lock that was left behind",
    listening: "Listening",
    draining: "Draining",
    regained: "Regained its lock file",
    rewritten: "Rewrote its lock file",
    unavailable: "Lock file lost, and not to be had yet",
    lost: "Lost the lock"
  };
  /** @type {Readonly<Record<string, string>>} */
  const reasons = { stopped: "it was told to stop", failed: "it failed", finished: "it has finished" };

  /** Our own words, or theirs where we have none. @param {Readonly<Record<string, string>>} table @param {string} key */
  const wordFor = (table, key) => Object.hasOwn(table, key) ? table[key] ?? key : key;

  // --- the document --------------------------------------------------------------------------------------------------

  const root = document.documentElement;
  /** @param {string} id @returns {HTMLElement} */
  const element = (id) => {
    const found = document.getElementById(id);
    if (found === null) throw new Error("the page has no #" + id);
    return found;
  };
  /** Only where it differs: a screen reader hears of every change. @param {Element} target @param {string} text */
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
  /** A path may be broken after a separator. @param {string} path */
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

  /** What is shown in an element, so that it stays as it is (selected, focused) until it is something else. @type {WeakMap<Element, string>} */
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

  // --- times ---------------------------------------------------------------------------------------------------------

  /** Their wall clock's time at our monotonic zero. */
  let theirZero = Date.now() - performance.now();
  const theirNow = () => theirZero + performance.now();

  /** @param {number} ms */
  const span = (ms) => {
    const seconds = Math.max(0, Math.floor(ms / 1000));
    const minutes = Math.floor(seconds / 60);
    const hours = Math.floor(minutes / 60);
    const days = Math.floor(hours / 24);
    if (seconds < 60) return seconds + " s";
    if (minutes < 60) return minutes + " min";
    if (hours < 48) return hours + " h " + (minutes % 60) + " min";
    return days + " days " + (hours % 24) + " h";
  };
  /** @param {number} ms */
  const ago = (ms) => ms < 2000 ? "just now" : span(ms) + " ago";

  const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  const calendar = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });
  /** @param {number} at */
  const absolute = (at) => {
    const date = new Date(at);
    return date.toDateString() === new Date(theirNow()).toDateString()
      ? clock.format(date)
      : calendar.format(date) + ", " + clock.format(date);
  };
  /** @param {string} iso */
  const timeOf = (iso) => {
    const at = Date.parse(iso);
    if (Number.isNaN(at)) return make("span", "", iso);
    const time = document.createElement("time");
    time.dateTime = iso;
    time.title = iso;
    time.append(make("span", "relative", ago(theirNow() - at)), " · ", make("span", "absolute", absolute(at)));
    return time;
  };

  // --- what is known -------------------------------------------------------------------------------------------------

  /**
   * @typedef {{ readonly at: string, readonly kind: string, readonly detail?: string }} Change
   * @typedef {{ readonly profile?: string, readonly stateDir: string, readonly configPath?: string, readonly pid?: number,
   *   readonly host?: string, readonly port?: number, readonly verdict: string, readonly since?: string }} Neighbour
   * @typedef {{
   *   readonly now: string, readonly phase: string, readonly shutdownReason?: string,
   *   readonly connections: number, readonly watching: number,
   *   readonly instance: { readonly instanceId: string, readonly version: string, readonly profile?: string, readonly pid: number,
   *     readonly host: string, readonly port: number, readonly configPath: string, readonly stateDir: string,
   *     readonly startedAt: string, readonly uptimeMs: number },
   *   readonly lock: { readonly path: string, readonly enforcement: string, readonly heldSince: string },
   *   readonly supervisor: { readonly kind: string, readonly reason?: string },
   *   readonly history: ReadonlyArray<Change>, readonly neighbours?: ReadonlyArray<Neighbour>
   * }} Status
   */

  /** @type {Status | undefined} */
  let status;
  let statusAt = 0;
  /** Whether what is shown is what the gateway says now. */
  let live = false;

  /** @param {string} host */
  const bracketed = (host) => host.includes(":") ? "[" + host + "]" : host;
  /** @param {string} host @param {number} port */
  const authority = (host, port) => bracketed(host) + ":" + port;

  /** @param {string} state @param {string} text */
  const setState = (state, text) => {
    const { colour, sign, word } = states[state] ?? states["connecting"] ?? { colour: "#777777", sign: circle, word: state };
    const name = status === undefined ? location.host : (status.instance.profile ?? "") + " " + authority(status.instance.host, status.instance.port);
    document.title = (word + " · " + name.trim() + " · gateway");
    setText(element("state-word"), word);
    setText(element("state-text"), text);
    if (root.dataset["state"] === state && element("sign").hasAttribute("d")) return;
    root.dataset["state"] = state;
    element("sign").setAttribute("fill-rule", "evenodd");
    element("sign").setAttribute("d", sign);
    element("icon").setAttribute(
      "href",
      "data:image/svg+xml," + encodeURIComponent(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'><path fill-rule='evenodd' fill='" + colour + "' d='" + sign + "'/></svg>"
      )
    );
  };

  /** @param {string} id @param {ReadonlyArray<readonly [string, string, "text" | "code" | "time"]>} rows */
  const showRows = (id, rows) =>
    show(element(id), rows, () =>
      rows.map(([label, value, kind]) =>
        make("div", "", make("dt", "", label), kind === "code" ? make("dd", "mono", ...breakable(value)) : make("dd", "", kind === "time" ? timeOf(value) : value))));

  /** @param {Neighbour} neighbour */
  const linkTo = ({ host, port, verdict }) => {
    if (host === undefined || port === undefined) return undefined;
    const text = "ws://" + authority(host, port);
    /** @param {string} name */
    const isLocal = (name) => name === "localhost" || name === "::1" || /^127(\.\d{1,3}){3}$/.test(name);
    const here = location.hostname.replace(/^\[(.*)\]$/, "$1");
    const reachable = host === here || (isLocal(host) && isLocal(here));
    const href = "http://" + authority(host, port) + "/";
    if (!reachable || verdict === "dead" || verdict === "not-running" || !URL.canParse(href)) return make("span", "mono", text);
    const link = document.createElement("a");
    link.href = href;
    link.className = "mono";
    link.textContent = text;
    return link;
  };

  /** @param {Neighbour} neighbour */
  const cardOf = (neighbour) => {
    const { configPath, pid, profile, since, stateDir, verdict } = neighbour;
    const sign = states[wordFor(verdictSigns, verdict)]?.sign ?? circle + hole;
    const card = make(
      "li",
      "",
      make("p", "name", signOf(sign), make("span", "", profile ?? "(own state directory)"), make("span", "word", verdict))
    );
    const link = linkTo(neighbour);
    const line = make("p", "", ...(link === undefined ? [] : [link]), ...(pid === undefined ? [] : [" pid " + pid]));
    if (line.hasChildNodes()) card.append(line);
    if (since !== undefined) card.append(make("p", "note", "since ", timeOf(since)));
    card.append(make("p", "note mono", ...breakable(configPath ?? stateDir)));
    return card;
  };

  /** @param {Status} status */
  const showStatus = (status) => {
    const { connections, history, instance, lock, neighbours, supervisor, watching } = status;
    element("facts").hidden = false;
    setText(element("profile"), instance.profile ?? "");
    setText(element("address"), authority(instance.host, instance.port));
    setText(element("version"), instance.version);
    setText(element("connections"), String(connections));
    setText(element("watching"), watching + " watching");
    showRows("instance", [
      ["Address", "ws://" + authority(instance.host, instance.port), "code"],
      ...(instance.profile === undefined ? [] : [/** @type {const} */ (["Profile", instance.profile, "text"])]),
      ["Process", "pid " + instance.pid, "text"],
      ["Started", instance.startedAt, "time"],
      ["Instance", instance.instanceId, "code"],
      ["Version", instance.version, "text"],
      ["Config", instance.configPath, "code"],
      ["State directory", instance.stateDir, "code"]
    ]);
    showRows("lock", [
      ["File", lock.path, "code"],
      ["Kept by", lock.enforcement === "kernel" ? "a lock of the kernel" : "its record alone: no kernel lock could be had", "text"],
      ["Held since", lock.heldSince, "time"]
    ]);
    showRows("supervisor", [
      ["Started by", supervisor.kind === "none" ? "no supervisor" : supervisor.kind, "text"],
      ...(supervisor.reason === undefined ? [] : [/** @type {const} */ (["Because", supervisor.reason, "text"])])
    ]);
    show(element("history"), history, () =>
      history.toReversed().map(({ at, detail, kind }) =>
        make(
          "li",
          "",
          make("div", "when", timeOf(at)),
          make("div", "", make("span", "what", wordFor(changeWords, kind)), ...(detail === undefined ? [] : [make("span", "detail", detail)]))
        )));
    element("neighbours-section").hidden = neighbours === undefined;
    if (neighbours === undefined) return;
    element("neighbours-none").hidden = neighbours.length > 0;
    show(element("neighbours"), neighbours, () => neighbours.map(cardOf));
  };

  /** What passes by itself. */
  const tick = () => {
    const now = theirNow();
    for (const time of document.querySelectorAll("time")) {
      const [relative, shownAt] = time.children;
      const at = Date.parse(time.dateTime);
      if (relative !== undefined) setText(relative, ago(now - at));
      if (shownAt !== undefined) setText(shownAt, absolute(at));
    }
    if (status !== undefined) {
      const since = live ? performance.now() - statusAt : 0;
      const asOf = Date.parse(status.now) + since;
      setText(element("uptime"), span(status.instance.uptimeMs + since));
      setText(element("held-for"), span(asOf - Date.parse(status.lock.heldSince)));
      element("as-of").hidden = live;
      if (!live) setText(element("as-of"), "What follows was so " + ago(now - asOf) + ", at " + absolute(asOf) + ".");
    }
    if (retryAt !== undefined) {
      const left = Math.ceil((retryAt - performance.now()) / 1000);
      setText(element("retry-text"), left > 0 ? "Trying again in " + left + " s." : "Trying again …");
    }
  };

  // --- the connection ------------------------------------------------------------------------------------------------

  /** Three heartbeats of the gateway, and a little. */
  const silence = 17_000;
  const firstDelay = 500, lastDelay = 15_000, growth = 1.7;
  const tokenKey = "gateway-token";

  /** @type {WebSocket | undefined} */
  let socket;
  let heardAt = 0;
  let attempt = 0;
  /** @type {string | undefined} Why the gateway said that it ends. */
  let farewell;
  /** @type {string | undefined} Whose page this is. */
  let version;
  /** @type {number | undefined} */
  let retryAt;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let retryTimer;
  /** A tab may be without storage. @returns {string} */
  const storedToken = () => {
    try {
      return sessionStorage.getItem(tokenKey) ?? "";
    } catch {
      return "";
    }
  };
  let token = storedToken();

  /** @param {string} text */
  const base64url = (text) =>
    btoa(String.fromCharCode(...new TextEncoder().encode(text))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

  /** @param {number} delay */
  const retryIn = (delay) => {
    clearTimeout(retryTimer);
    retryAt = performance.now() + delay;
    retryTimer = setTimeout(connect, delay);
    element("retry").hidden = false;
    tick();
  };
  const backoff = () => {
    const delay = Math.min(lastDelay, firstDelay * growth ** attempt) * (0.8 + 0.4 * Math.random());
    attempt += 1;
    return delay;
  };

  /** @param {unknown} frame */
  const receive = (frame) => {
    if (typeof frame !== "object" || frame === null || !("type" in frame)) return;
    heardAt = performance.now();
    if (frame.type === "hello" && "version" in frame && typeof frame.version === "string") {
      // Another version has another page.
      if (version !== undefined && version !== frame.version) location.reload();
      version = frame.version;
    } else if (frame.type === "status" && "version" in frame && frame.version === 1) {
      status = /** @type {Status} */ (/** @type {unknown} */ (frame));
      statusAt = heardAt;
      live = true;
      attempt = 0;
      retryAt = undefined;
      theirZero = Date.parse(status.now) - statusAt;
      element("retry").hidden = true;
      element("token-form").hidden = true;
      showStatus(status);
      const { connections, instance, phase, shutdownReason, watching } = status;
      const waiting = Math.max(0, connections - watching);
      if (phase === "draining") {
        setState(
          "draining",
          "Shutting down" + (shutdownReason === undefined ? "" : ", because " + wordFor(reasons, shutdownReason)) + ". "
            + (waiting === 0 ? "Nothing is waited for." : "Waiting for " + waiting + (waiting === 1 ? " connection." : " connections."))
        );
      } else if (phase === "listening") setState("listening", "Serving on ws://" + authority(instance.host, instance.port) + ".");
      else setState("starting", "It has the lock, and does not serve yet.");
      tick();
    } else if (frame.type === "shutdown") {
      farewell = "reason" in frame && typeof frame.reason === "string" ? frame.reason : "";
    }
  };

  /** It answers, and did not take the WebSocket: perhaps it had not when we tried. @param {boolean} again @param {boolean} forToken */
  const refused = (again, forToken) => {
    if (!again) return open(true);
    setState(
      "refused",
      forToken
        ? token === "" ? "This gateway has an access token." : "This gateway did not accept the access token."
        : "The gateway answers, and takes no WebSocket from this page. It may have as many as it takes, or have an access token."
    );
    const form = element("token-form");
    if (form.hidden) {
      form.hidden = false;
      if (document.activeElement === document.body) element("token").focus();
    }
    retryIn(2 * lastDelay);
  };

  /** What it says to plain HTTP: whether the token is right, where metrics are served; nothing, where nobody answers. */
  const answer = () =>
    fetch("/metrics", {
      method: "HEAD",
      cache: "no-store",
      signal: AbortSignal.timeout(3000),
      headers: token === "" ? {} : { authorization: "Bearer " + token }
    }).then(({ status }) => status, () => undefined);

  /** @param {boolean} wasOpen @param {boolean} again */
  const closed = async (wasOpen, again) => {
    socket = undefined;
    live = false;
    const status = wasOpen ? undefined : await answer();
    // Somebody has asked to try at once, meanwhile.
    if (socket !== undefined) return;
    if (status !== undefined) return refused(again, status === 401);
    if (farewell === undefined) {
      setState(
        "lost",
        version === undefined
          ? "The gateway does not answer."
          : "The gateway does not answer any more. It may have crashed, or something is in between."
      );
    } else {
      setState(
        "ended",
        "The gateway has shut down in order" + (farewell === "" ? "" : ", because " + wordFor(reasons, farewell))
          + ". This page waits for the next start."
      );
    }
    retryIn(backoff());
  };

  /** @param {boolean} again Whether it was tried a moment ago, and the gateway answered otherwise. */
  const open = (again) => {
    clearTimeout(retryTimer);
    retryAt = undefined;
    const url = new URL(document.documentElement.dataset.control || "/", location.href);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    const opening = new WebSocket(url, token === "" ? ["gateway"] : ["gateway", "gateway-token." + base64url(token)]);
    let wasOpen = false;
    socket = opening;
    heardAt = performance.now();
    opening.onopen = () => {
      wasOpen = true;
      farewell = undefined;
      opening.send(JSON.stringify({ type: "watch" }));
    };
    opening.onmessage = ({ data }) => {
      if (socket !== opening) return;
      try {
        receive(JSON.parse(String(data)));
      } catch (error) {
        // Not to be shown: its next word may be.
        console.warn("a frame could not be read", error);
      }
    };
    opening.onclose = () => {
      if (socket === opening) void closed(wasOpen, again);
    };
  };
  const connect = () => {
    if (socket === undefined) open(false);
  };
  /** Gives up on a connection that has gone silent. */
  const abandon = () => {
    const silent = socket;
    if (silent === undefined) return;
    silent.onclose = null;
    silent.close();
    void closed(true, false);
  };

  const retryNow = () => {
    if (socket !== undefined) return;
    attempt = 0;
    connect();
    tick();
  };
  element("retry-now").addEventListener("click", retryNow);
  addEventListener("online", retryNow);
  addEventListener("pageshow", ({ persisted }) => {
    if (persisted) abandon();
    if (persisted) retryNow();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") retryNow();
  });
  element("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const field = element("token");
    if (!(field instanceof HTMLInputElement)) return;
    token = field.value.trim();
    field.value = "";
    try {
      sessionStorage.setItem(tokenKey, token);
    } catch {
      // Then it is asked for again after a reload.
    }
    abandon();
    retryNow();
  });
  setInterval(() => {
    if (socket !== undefined && performance.now() - heardAt > silence) abandon();
    tick();
  }, 1000);
  setText(element("zone"), " · times in " + new Intl.DateTimeFormat().resolvedOptions().timeZone);
  setState("connecting", "Waiting for the gateway’s first word.");
  connect();
})();
`
