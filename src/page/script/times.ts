/** A part of the status page's script. It computes times by the gateway's clock, and formats them as text. */
export const times = String.raw`
  // --- times ---------------------------------------------------------------------------------------------------------

  /**
   * The gateway's wall clock time at the zero of the browser's monotonic clock. Until the gateway has sent its time, this is the
   * browser's own wall clock time.
   */
  let gatewayZero = Date.now() - performance.now();
  const gatewayNow = () => gatewayZero + performance.now();

  /** @param {number} ms */
  const span = (ms) => {
    const seconds = Math.max(0, Math.floor(ms / 1000));
    const minutes = Math.floor(seconds / 60);
    const hours = Math.floor(minutes / 60);
    const days = Math.floor(hours / 24);
    if (seconds < 60) return seconds + " s";
    if (minutes < 60) return minutes + " min";
    if (hours < 48) return hours + " h" + (minutes % 60 === 0 ? "" : " " + minutes % 60 + " min");
    return days + " days" + (hours % 24 === 0 ? "" : " " + hours % 24 + " h");
  };
  /** @param {number} ms */
  const ago = (ms) => ms < 2000 ? "just now" : span(ms) + " ago";

  const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  const calendar = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });
  /** @param {number} at */
  const absolute = (at) => {
    const date = new Date(at);
    return date.toDateString() === new Date(gatewayNow()).toDateString()
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
    time.append(make("span", "relative", ago(gatewayNow() - at)), " \u00b7 ", make("span", "absolute", absolute(at)));
    return time;
  };
`
