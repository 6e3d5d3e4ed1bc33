/**
 * The HTML of the status page. A browser without scripts shows this HTML as it is.
 */

/** The icon before the state is known: an empty circle. */
const icon =
  "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath fill='none' stroke='%23777' stroke-width='2' d='M8 2a6 6 0 1 0 0 12A6 6 0 1 0 8 2z'/%3E%3C/svg%3E"

const quoted = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("\"", "&quot;")

/** The heading: which gateway, where, and as whom. */
const header = `<a class="skip" href="#main">Skip to the state</a>
<header>
  <h1 id="name">Gateway</h1>
  <p id="place" class="place"></p>
</header>`

/** The state, as a sign and in words, and the time of the next connection attempt. */
const state = `  <section class="state" aria-labelledby="state-title">
    <h2 id="state-title" class="visually-hidden">State</h2>
    <svg class="sign" viewBox="0 0 16 16" aria-hidden="true" focusable="false"><path id="sign"/></svg>
    <div class="words">
      <div role="status" aria-live="polite" aria-atomic="true">
        <p id="state-word" class="state-word">Connecting</p>
        <p id="state-text" class="state-text">Waiting for the first message of the gateway.</p>
      </div>
      <p id="as-of" class="as-of" hidden></p>
      <p id="retry" class="retry" hidden><span id="retry-text"></span> <button type="button" id="retry-now">Try now</button></p>
    </div>
    <dl class="up" id="up" hidden><dt>Up for</dt><dd id="uptime"></dd></dl>
  </section>
  <noscript><p class="note">This page needs JavaScript to show the live state. Without JavaScript, request <code>/healthz</code> or run <code>gateway status</code>.</p></noscript>`

/** The form for the access token. The script shows it if the gateway refuses the WebSocket. */
const tokenForm = `  <form id="token-form" class="token" hidden autocomplete="off" aria-labelledby="token-title">
    <h2 id="token-title">Access token</h2>
    <p id="token-error" class="error" role="alert"></p>
    <label for="token">Enter the token of this gateway</label>
    <div class="field">
      <input id="token" type="password" autocomplete="off" autocapitalize="off" spellcheck="false" required aria-describedby="token-note">
      <button type="submit" class="primary">Connect</button>
    </div>
    <p id="token-note" class="note">It is in the file that <code>--token-file</code> names, or in <code>GATEWAY_TOKEN</code>. This tab keeps it until you close it, and sends it only to this gateway.</p>
  </form>`

const tile = (id: string, label: string): string =>
  `<div class="tile"><dt>${label}</dt><dd><span class="value" id="${id}">&ndash;</span> <span class="aside" id="${id}-peak"></span></dd><dd class="chart" id="${id}-chart"></dd></div>`

/** What the gateway does and did. The script fills it in from each status message. */
const overview = `    <section aria-labelledby="activity-title">
      <h2 id="activity-title" class="visually-hidden">Activity</h2>
      <dl class="tiles" id="tiles">
        ${tile("connections", "Connections")}
        ${tile("requests", "Requests")}
        ${tile("memory", "Memory")}
        ${tile("lag", "Event loop lag")}
      </dl>
      <p id="span" class="note span" hidden></p>
    </section>`

const columns = `    <div class="columns">
      <div>
        <section aria-labelledby="runs-title" id="runs-section" hidden>
          <div class="head"><h2 id="runs-title">Starts and ends</h2><p id="runs-text" class="note"></p></div>
          <div id="strip" class="strip"></div>
          <p class="axis note"><span id="strip-from"></span><span id="strip-signs" class="signs"></span><span>now</span></p>
        </section>
        <section aria-labelledby="neighbours-title" id="neighbours-section" hidden>
          <div class="head"><h2 id="neighbours-title">Your other gateways on this host</h2><p id="neighbours-text" class="note"></p></div>
          <div id="neighbours"></div>
        </section>
      </div>
      <div>
        <section aria-labelledby="lease-title" id="lease-section" hidden>
          <h2 id="lease-title">Leadership across hosts</h2>
          <dl class="facts" id="lease"></dl>
        </section>
        <section aria-labelledby="commands-title" id="commands-section" hidden>
          <h2 id="commands-title">What to type</h2>
          <dl class="commands" id="commands"></dl>
        </section>
        <section aria-labelledby="links-title">
          <h2 id="links-title">For programs</h2>
          <ul class="links" id="links"></ul>
        </section>
      </div>
    </div>`

const details = `    <details id="details">
      <summary>Details</summary>
      <div class="columns even">
        <section aria-labelledby="instance-title">
          <h2 id="instance-title">This gateway</h2>
          <dl class="facts" id="instance"></dl>
        </section>
        <section aria-labelledby="history-title">
          <h2 id="history-title">Changes since the start</h2>
          <ol class="history" id="history"></ol>
        </section>
        <section aria-labelledby="past-title" id="past-section" hidden>
          <h2 id="past-title">Runs</h2>
          <ol class="history" id="past"></ol>
        </section>
      </div>
    </details>`

export const markup = (
  assets: {
    readonly style: string
    readonly script: string
    readonly controlPath: string
    readonly metricsPath: string | undefined
  }
): string =>
  `<!doctype html>
<html lang="en" data-state="connecting" data-live="false" data-control="${quoted(assets.controlPath)}"${
    assets.metricsPath === undefined ? "" : ` data-metrics="${quoted(assets.metricsPath)}"`
  }>
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex">
<title>Gateway</title>
<link rel="icon" id="icon" href="${icon}">
<style>${assets.style}</style>
</head>
<body>
${header}
<main id="main" tabindex="-1">
${state}

${tokenForm}

  <div id="facts" hidden>
${overview}

${columns}

${details}
  </div>
</main>
<p id="said" class="visually-hidden" role="status"></p>
<footer><p>gateway-lock <span id="version"></span><span id="zone"></span></p></footer>
<script>${assets.script}</script>
</body>
</html>
`
