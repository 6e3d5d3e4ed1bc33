/**
 * A part of the status page's script. It connects to the control socket (the gateway's own WebSocket), reads the frames,
 * and connects again after the connection has ended.
 */
export const connection = String.raw`
  // --- the connection ------------------------------------------------------------------------------------------------

  /** Three heartbeats of the gateway (5 seconds each), plus 2 seconds. A longer silence means a lost connection. */
  const silence = 17_000;
  const firstDelay = 500, lastDelay = 15_000, growth = 1.7;
  const tokenKey = "gateway-token";

  /** @type {WebSocket | undefined} */
  let socket;
  let heardAt = 0;
  let attempt = 0;
  /** @type {string | undefined} The reason that the gateway gave for its shutdown. */
  let farewell;
  /** @type {string | undefined} The version of the gateway that this page belongs to. */
  let version;
  /** @type {number | undefined} */
  let retryAt;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let retryTimer;
  /** A browser may deny access to the storage. @returns {string} */
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
      // Another version of the gateway may have another page.
      if (version !== undefined && version !== frame.version) location.reload();
      version = frame.version;
    } else if (frame.type === "status" && "version" in frame && frame.version === 1) {
      status = /** @type {Status} */ (/** @type {unknown} */ (frame));
      statusAt = heardAt;
      setLive(true);
      attempt = 0;
      retryAt = undefined;
      gatewayZero = Date.parse(status.now) - statusAt;
      element("retry").hidden = true;
      element("token-form").hidden = true;
      showStatus(status, token !== "");
      const { connections, instance, lease, phase, shutdownReason, watching } = status;
      const waiting = Math.max(0, connections - watching);
      if (phase === "draining") {
        setState(
          "draining",
          "Shutting down" + (shutdownReason === undefined ? "" : ", because " + wordFor(reasons, shutdownReason)) + ". "
            + (waiting === 0 ? "No connections are left." : "Waiting for " + waiting + (waiting === 1 ? " connection." : " connections."))
        );
      } else if (phase === "listening" && lease !== undefined && lease.state === "standby") {
        const { leader } = status;
        const leads = leader === undefined ? "another gateway may lead" : (leader.hostName ?? leader.url ?? "another gateway") + " leads";
        setState("standby", "Waits to lead " + lease.name + ". Until then, " + leads + ", and requests to an app get 503.");
      } else if (phase === "listening") {
        const role = lease !== undefined && lease.state === "leader" ? ", and leads " + lease.name : "";
        setState("listening", "Serving on ws://" + authority(instance.host, instance.port) + role + ".");
      }
      else setState("starting", "The gateway holds the lock, but does not serve yet.");
      tick();
    } else if (frame.type === "shutdown") {
      farewell = "reason" in frame && typeof frame.reason === "string" ? frame.reason : "";
    }
  };

  /**
   * The WebSocket failed, but the gateway then answered an HTTP request. After the first such failure ("again" is false), the page
   * opens the WebSocket again at once, because the gateway may have started only after the WebSocket had failed. "forToken": the
   * gateway answered that it requires an access token.
   * @param {boolean} again @param {boolean} forToken
   */
  const refused = (again, forToken) => {
    if (!again) return open(true);
    const isWrong = forToken && token !== "";
    if (forToken) {
      setState("token", "This gateway asks for its access token.");
      if (status === undefined) setText(element("name"), "Gateway at " + location.host);
    } else {
      setState(
        "refused",
        "The gateway answers, but refuses the WebSocket of this page. It may require an access token, or have reached its limit of WebSockets."
      );
    }
    setText(element("token-error"), isWrong ? "This token was not accepted." : "");
    element("token").setAttribute("aria-invalid", String(isWrong));
    const form = element("token-form");
    if (form.hidden) {
      form.hidden = false;
      if (document.activeElement === document.body) element("token").focus();
    }
    retryIn(2 * lastDelay);
  };

  /**
   * The status of a plain HTTP request, or undefined if the gateway does not answer. A browser hides why a WebSocket failed.
   * If the gateway serves metrics, the status tells whether it accepts the token.
   */
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
    setLive(false);
    const status = wasOpen ? undefined : await answer();
    // A new connection attempt began during the HTTP request, for example by the button.
    if (socket !== undefined) return;
    if (status !== undefined) return refused(again, status === 401);
    if (farewell === undefined) {
      setState(
        "lost",
        version === undefined
          ? "The gateway does not answer."
          : "The gateway no longer answers. It may have crashed, or the network is interrupted."
      );
    } else {
      setState(
        "ended",
        "The gateway has shut down" + (farewell === "" ? "" : ", because " + wordFor(reasons, farewell))
          + ". This page waits for the next start."
      );
    }
    retryIn(backoff());
  };

  /** @param {boolean} again Whether this is the second attempt, after the gateway answered HTTP but refused the WebSocket. */
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
        // The page ignores this frame, because the next frame may be valid.
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
  /** Closes a silent connection without waiting for its close event, which may come much later. */
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
      // Without storage, the page asks for the token again after a reload.
    }
    abandon();
    retryNow();
  });
  setInterval(() => {
    if (socket !== undefined && performance.now() - heardAt > silence) abandon();
    tick();
  }, 1000);
  setText(element("zone"), " \u00b7 times in " + new Intl.DateTimeFormat().resolvedOptions().timeZone);
  setState("connecting", "Waiting for the first message of the gateway.");
  connect();
`
