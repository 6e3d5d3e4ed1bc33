/** A part of the status page's script. The connection to the control socket: its frames, its end, and the next try. */
export const connection = String.raw`
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
`
