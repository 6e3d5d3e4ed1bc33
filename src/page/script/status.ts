/** A part of the status page's script: the last known state of the gateway, and how the page shows it. */
export const status = String.raw`
  // --- the last known state ------------------------------------------------------------------------------------------

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
   *   readonly lease?: { readonly name: string, readonly store?: string, readonly state: string, readonly fencingToken?: string,
   *     readonly renewedAt?: string, readonly trustedUntil?: string },
   *   readonly history: ReadonlyArray<Change>, readonly neighbours?: ReadonlyArray<Neighbour>
   * }} Status
   */

  /** @type {Status | undefined} */
  let status;
  let statusAt = 0;
  /** Whether the shown state is current, because the connection is open. */
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

  /** A moment that each renewal of the lease moves. @param {string} iso */
  const untilOf = (iso) => {
    const value = make("dd", "");
    value.dataset["until"] = iso;
    return value;
  };
  /** @param {string} value @param {"text" | "code" | "time" | "until"} kind */
  const valueOf = (value, kind) => {
    if (kind === "until") return untilOf(value);
    return kind === "code" ? make("dd", "mono", ...breakable(value)) : make("dd", "", kind === "time" ? timeOf(value) : value);
  };
  /** @param {string} id @param {ReadonlyArray<readonly [string, string, "text" | "code" | "time" | "until"]>} rows */
  const showRows = (id, rows) =>
    show(element(id), rows, () =>
      rows.map(([label, value, kind]) => make("div", "", make("dt", "", label), valueOf(value, kind))));

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
      make("p", "name", signOf(sign), make("span", "", profile ?? "(no profile)"), make("span", "word", verdict))
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
    const { connections, history, instance, lease, lock, neighbours, supervisor, watching } = status;
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
      ["Enforced by", lock.enforcement === "kernel" ? "kernel lock" : "lock record only (no kernel lock available)", "text"],
      ["Held since", lock.heldSince, "time"]
    ]);
    element("lease-section").hidden = lease === undefined;
    if (lease !== undefined) showRows("lease", [
      ["Lease", lease.name, "text"],
      ...(lease.store === undefined ? [] : [/** @type {const} */ (["Store", lease.store, "code"])]),
      ["This gateway", wordFor(leaseWords, lease.state), "text"],
      ...(lease.fencingToken === undefined ? [] : [/** @type {const} */ (["Fencing token", lease.fencingToken, "code"])]),
      ...(lease.renewedAt === undefined ? [] : [/** @type {const} */ (["Last renewal", lease.renewedAt, "time"])]),
      ...(lease.trustedUntil === undefined ? [] : [/** @type {const} */ (["Stops leading", lease.trustedUntil, "until"])])
    ]);
    showRows("supervisor", [
      ["Started by", supervisor.kind === "none" ? "no supervisor" : supervisor.kind, "text"],
      ...(supervisor.reason === undefined ? [] : [/** @type {const} */ (["Reason", supervisor.reason, "text"])])
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

  /** Updates all values that change with time: ages, durations and the countdown. */
  const tick = () => {
    const now = gatewayNow();
    for (const time of document.querySelectorAll("time")) {
      const [relative, shownAt] = time.children;
      const at = Date.parse(time.dateTime);
      if (relative !== undefined) setText(relative, ago(now - at));
      if (shownAt !== undefined) setText(shownAt, absolute(at));
    }
    for (const value of document.querySelectorAll("[data-until]")) {
      if (!(value instanceof HTMLElement)) continue;
      const at = Date.parse(value.dataset["until"] ?? "");
      // Without a connection, renewals are not seen.
      const when = !live ? "at " + absolute(at) : at > now ? "in " + span(at - now + 999) : "now";
      setText(value, when + ", unless it renews the lease");
    }
    if (status !== undefined) {
      const since = live ? performance.now() - statusAt : 0;
      const asOf = Date.parse(status.now) + since;
      setText(element("uptime"), span(status.instance.uptimeMs + since));
      setText(element("held-for"), span(asOf - Date.parse(status.lock.heldSince)));
      element("as-of").hidden = live;
      if (!live) setText(element("as-of"), "Last update " + ago(now - asOf) + " (" + absolute(asOf) + "). The values below may be out of date.");
    }
    if (retryAt !== undefined) {
      const left = Math.ceil((retryAt - performance.now()) / 1000);
      setText(element("retry-text"), left > 0 ? "Trying again in " + left + " s." : "Trying again …");
    }
  };
`
