/** A part of the status page's script: the last known state of the gateway, and how the page shows it. */
export const status = String.raw`
  // --- the last known state ------------------------------------------------------------------------------------------

  /**
   * @typedef {{ readonly at: string, readonly kind: string, readonly detail?: string }} Change
   * @typedef {{ readonly name: string, readonly store?: string, readonly state: string, readonly fencingToken?: string,
   *   readonly renewedAt?: string, readonly trustedUntil?: string }} Lease
   * @typedef {{ readonly profile?: string, readonly stateDir: string, readonly configPath?: string, readonly pid?: number,
   *   readonly host?: string, readonly port?: number, readonly verdict: string, readonly since?: string, readonly reason?: string,
   *   readonly lease?: Lease, readonly look?: string }} Neighbour
   * @typedef {{ readonly startedAt: string, readonly endedAt?: string, readonly ending: string, readonly tookOver?: boolean,
   *   readonly ledAt?: string, readonly reason?: string, readonly pid?: number }} Run
   * @typedef {{ readonly intervalMs: number, readonly until: string, readonly connections: ReadonlyArray<number>,
   *   readonly memoryBytes: ReadonlyArray<number>, readonly lagMs: ReadonlyArray<number>, readonly requests: ReadonlyArray<number> }} Activity
   * @typedef {{
   *   readonly now: string, readonly phase: string, readonly shutdownReason?: string,
   *   readonly connections: number, readonly watching: number,
   *   readonly instance: { readonly instanceId: string, readonly version: string, readonly profile?: string, readonly pid: number,
   *     readonly host: string, readonly port: number, readonly configPath: string, readonly stateDir: string,
   *     readonly startedAt: string, readonly uptimeMs: number, readonly hostName?: string, readonly user?: string,
   *     readonly nodeVersion?: string },
   *   readonly lock: { readonly path: string, readonly enforcement: string, readonly heldSince: string },
   *   readonly supervisor: { readonly kind: string, readonly reason?: string }, readonly lease?: Lease,
   *   readonly leader?: { readonly hostName?: string, readonly url?: string, readonly pid?: number },
   *   readonly history: ReadonlyArray<Change>, readonly activity?: Activity, readonly runs?: ReadonlyArray<Run>,
   *   readonly commands?: ReadonlyArray<{ readonly purpose: string, readonly command: string }>,
   *   readonly neighbours?: ReadonlyArray<Neighbour>
   * }} Status
   */

  /** @type {Status | undefined} */
  let status;
  let statusAt = 0;
  /** Whether the shown state is current, because the connection is open. */
  let live = false;
  /** @param {boolean} isLive */
  const setLive = (isLive) => {
    live = isLive;
    root.dataset["live"] = String(isLive);
  };

  /** @param {string} host */
  const bracketed = (host) => host.includes(":") ? "[" + host + "]" : host;
  /** @param {string} host @param {number} port */
  const authority = (host, port) => bracketed(host) + ":" + port;

  /** Which gateway this is: "profile@host". @param {Status} status */
  const titleOf = ({ instance: { host, hostName, port, profile } }) => (profile ?? "gateway") + "@" + (hostName ?? authority(host, port));

  /** @param {string} state @param {string} text */
  const setState = (state, text) => {
    const { colour, sign, word } = states[state] ?? states["connecting"] ?? { colour: "#777777", sign: circle, word: state };
    document.title = word + " \u00b7 " + (status === undefined ? location.host : titleOf(status));
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

  /** @param {string} id @param {ReadonlyArray<number>} values @param {number} least @param {string} value @param {string} peak */
  const showTile = (id, values, least, value, peak) => {
    setText(element(id), value);
    setText(element(id + "-peak"), peak);
    const label = "in the last minutes, now " + value + (peak === "" ? "" : ", " + peak);
    show(element(id + "-chart"), values, () => values.length < 2 ? [] : [sparkline(values, least, label)]);
  };
  /** @param {number} bytes */
  const mebibytes = (bytes) => Math.round(bytes / 1048576) + " MiB";
  /** @param {number} rate */
  const perSecond = (rate) => (rate < 10 ? round(rate) : Math.round(rate)) + " per s";

  /** @param {Status} status */
  const showActivity = ({ activity, connections, watching }) => {
    if (activity === undefined) {
      for (const id of ["requests", "memory", "lag"]) element(id).closest(".tile")?.toggleAttribute("hidden", true);
      return showTile("connections", [connections], 1, String(connections), watching + " watching");
    }
    for (const tile of element("tiles").children) tile.toggleAttribute("hidden", false);
    const { intervalMs, lagMs, memoryBytes, requests } = activity;
    const rates = requests.map((count) => count * 1000 / intervalMs);
    showTile("connections", activity.connections, 4, String(connections), "peak " + Math.max(connections, ...activity.connections));
    showTile("requests", rates, 1, perSecond(rates.at(-1) ?? 0), "peak " + perSecond(Math.max(...rates)).replace(" per s", ""));
    showTile("memory", memoryBytes, 1, mebibytes(memoryBytes.at(-1) ?? 0), "peak " + mebibytes(Math.max(...memoryBytes)).replace(" MiB", ""));
    showTile("lag", lagMs, 10, Math.round(lagMs.at(-1) ?? 0) + " ms", "peak " + Math.round(Math.max(...lagMs)));
    element("span").hidden = false;
    setText(element("span"), "The last " + span(Math.max(minute, lagMs.length * intervalMs)));
  };

  /** @param {Status} status */
  const showRuns = ({ now, runs }) => {
    element("runs-section").hidden = element("past-section").hidden = runs === undefined;
    if (runs === undefined) return;
    const at = Date.parse(now);
    const [range, name] = rangeOf(runs, at);
    const shown = runs.flatMap(marksOf).filter((mark) => mark.at >= at - range);
    /** @param {Mark} mark @param {string} many */
    const count = (mark, many) => {
      const found = shown.filter((other) => other.mark === mark).length;
      return found === 0 ? [] : [found + " " + (found === 1 ? wordFor(markWords, mark) : many)];
    };
    const counts = [...count("start", "starts"), ...count("takeover", "takeovers"), ...count("stop", "stops"), ...count("crash", "crashes")].join(", ");
    const text = (counts === "" ? "No start or end" : counts) + " in " + name;
    setText(element("runs-text"), text);
    setText(element("strip-from"), name + " ago");
    // Redrawn once a minute: more would not be seen.
    show(element("strip"), [runs, Math.floor(at / minute)], () => [stripOf(runs, at, range, text)]);
    const kinds = /** @type {ReadonlyArray<Mark>} */ (Object.keys(markWords)).filter((kind) => shown.some(({ mark }) => mark === kind));
    show(element("strip-signs"), kinds, () =>
      kinds.map((kind) => make("span", "", shape("svg", { viewBox: "0 0 10 10", "aria-hidden": "true" }, shape("path", { d: marks[kind], fill: "currentColor" })), wordFor(markWords, kind))));
    show(element("past"), runs, () =>
      runs.toReversed().map((run) =>
        make(
          "li",
          "",
          make("div", "when", timeOf(run.startedAt)),
          make(
            "div",
            "",
            make("span", "what", run.tookOver === true ? "Took over" : "Started"),
            make("span", "detail", endOf(run), ...(run.endedAt === undefined ? [] : [" ", timeOf(run.endedAt)]))
          )
        )));
  };

  /** @param {Status} status */
  const showLease = ({ leader, lease, neighbours }) => {
    element("lease-section").hidden = lease === undefined;
    if (lease === undefined) return;
    const others = (neighbours ?? []).filter((other) => other.lease?.name === lease.name && other.lease.store === lease.store);
    const leads = others.find((other) => other.lease?.state === "leader");
    const waiting = [...(lease.state === "standby" ? ["this gateway"] : []), ...others.filter((other) => other.lease?.state === "standby").map(nameOf)];
    const leaderName = lease.state === "leader"
      ? "this gateway"
      : leads !== undefined
      ? nameOf(leads) + " on this host"
      : leader !== undefined
      ? (leader.hostName ?? leader.url ?? "another gateway") + (leader.pid === undefined ? "" : ", pid " + leader.pid)
      : "none that is known";
    showRows("lease", [
      ["Lease", lease.name, "text"],
      ...(lease.store === undefined ? [] : [/** @type {const} */ (["Store", lease.store, "code"])]),
      ["This gateway", wordFor(leaseWords, lease.state), "text"],
      ["Leader", leaderName, "text"],
      ["Candidates here", waiting.length === 0 ? "none" : waiting.join(", "), "text"],
      ...(lease.fencingToken === undefined ? [] : [/** @type {const} */ (["Fencing token", lease.fencingToken, "code"])]),
      ...(lease.renewedAt === undefined ? [] : [/** @type {const} */ (["Last renewal", lease.renewedAt, "time"])]),
      ...(lease.trustedUntil === undefined ? [] : [/** @type {const} */ (["Stops leading", lease.trustedUntil, "until"])])
    ]);
  };

  /** @param {Status} status */
  const showDetails = ({ history, instance, lock, supervisor }) => {
    showRows("instance", [
      ["Started", instance.startedAt, "time"],
      ["Supervisor", supervisor.kind, "text"],
      ...(supervisor.reason === undefined ? [] : [/** @type {const} */ (["Reason", supervisor.reason, "text"])]),
      ["Config", instance.configPath, "code"],
      ["State directory", instance.stateDir, "code"],
      ["Lock file", lock.path, "code"],
      ["Enforced by", lock.enforcement === "kernel" ? "kernel lock" : "lock record only (no kernel lock available)", "text"],
      ["Held since", lock.heldSince, "time"],
      ["Instance", instance.instanceId, "code"]
    ]);
    show(element("history"), history, () =>
      history.toReversed().map(({ at, detail, kind }) =>
        make(
          "li",
          "",
          make("div", "when", timeOf(at)),
          make("div", "", make("span", "what", wordFor(changeWords, kind)), ...(detail === undefined ? [] : [make("span", "detail", detail)]))
        )));
  };

  /** The links for programs. A gateway with a token answers its metrics only to who sends it. @param {boolean} hasToken */
  const showLinks = (hasToken) => {
    const metrics = root.dataset["metrics"];
    const links = [["/healthz", "Health"], ["/readyz", "Readiness"], ...(metrics === undefined || hasToken ? [] : [[metrics, "Metrics"]])];
    show(element("links"), links, () =>
      links.map(([href = "", text = ""]) => {
        const link = document.createElement("a");
        link.href = href;
        link.textContent = text;
        return make("li", "", link);
      }));
  };

  /** @param {Status} status @param {boolean} hasToken */
  const showStatus = (status, hasToken) => {
    const { commands, instance, neighbours } = status;
    element("facts").hidden = element("up").hidden = false;
    setText(element("name"), titleOf(status));
    const { nodeVersion, pid, user } = instance;
    setText(element("place"), [...(user === undefined ? [] : ["user " + user]), "pid " + pid, ...(nodeVersion === undefined ? [] : ["Node " + nodeVersion.replace(/^v/, "")])].join(" \u00b7 "));
    setText(element("version"), instance.version);
    showActivity(status);
    showRuns(status);
    showLease(status);
    element("commands-section").hidden = commands === undefined;
    if (commands !== undefined) show(element("commands"), commands, () =>
      commands.map(({ command, purpose }) => make("div", "", make("dt", "", wordFor(purposes, purpose)), typed("dd", command))));
    showLinks(hasToken);
    showDetails(status);
    element("neighbours-section").hidden = neighbours === undefined;
    if (neighbours === undefined) return;
    setText(element("neighbours-text"), countOf(neighbours));
    show(element("neighbours"), neighbours, () => groupsOf(neighbours));
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
      element("as-of").hidden = live;
      if (!live) setText(element("as-of"), "Last update " + ago(now - asOf) + " (" + absolute(asOf) + "). The values below may be out of date.");
    }
    if (retryAt !== undefined) {
      const left = Math.ceil((retryAt - performance.now()) / 1000);
      setText(element("retry-text"), left > 0 ? "Trying again in " + left + " s." : "Trying again \u2026");
    }
  };
`
