/**
 * The HTML of the status page. A browser without scripts shows this HTML as it is.
 */

/** The icon before the state is known: an empty circle. */
const icon =
  "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath fill='none' stroke='%23777' stroke-width='2' d='M8 2a6 6 0 1 0 0 12A6 6 0 1 0 8 2z'/%3E%3C/svg%3E"

const quoted = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("\"", "&quot;")

/** The heading: profile and address. */
const header = `<a class="skip" href="#main">Skip to the state</a>
<header>
  <p class="eyebrow">Gateway <span id="profile"></span></p>
  <h1 id="address">Status</h1>
</header>`

/** The state, as a sign and in words, and the time of the next connection attempt. */
const state = `  <section class="state" aria-labelledby="state-word">
    <svg class="sign" viewBox="0 0 16 16" aria-hidden="true" focusable="false"><path id="sign"/></svg>
    <div>
      <h2 class="visually-hidden">State</h2>
      <div role="status" aria-live="polite" aria-atomic="true">
        <p id="state-word" class="state-word">Connecting</p>
        <p id="state-text" class="state-text">Waiting for the first message of the gateway.</p>
      </div>
      <p id="retry" class="retry" hidden><span id="retry-text"></span> <button type="button" id="retry-now">Try now</button></p>
    </div>
  </section>
  <noscript><p class="note">This page needs JavaScript to show the live state. Without JavaScript, request <code>/healthz</code> or run <code>gateway status</code>.</p></noscript>`

/** The form for the access token. The script shows it if the gateway refuses the WebSocket. */
const tokenForm = `  <form id="token-form" class="token" hidden autocomplete="off" aria-label="Access">
    <label for="token">Access token</label>
    <div class="field">
      <input id="token" type="password" autocomplete="off" autocapitalize="off" spellcheck="false" required aria-describedby="token-note">
      <button type="submit">Connect</button>
    </div>
    <p id="token-note" class="note">The token is stored in this tab until you close it, and is sent only to this gateway.</p>
  </form>`

/** The facts about the gateway. The script fills them in from each status message of the gateway. */
const facts = `  <div id="facts" hidden>
    <p id="as-of" class="as-of" hidden></p>
    <dl class="figures">
      <div><dt>Up for</dt><dd id="uptime">–</dd></div>
      <div><dt>Connections</dt><dd><span id="connections">–</span> <span id="watching" class="aside"></span></dd></div>
      <div><dt>Lock held for</dt><dd id="held-for">–</dd></div>
    </dl>

    <section aria-labelledby="instance-title">
      <h2 id="instance-title">This gateway</h2>
      <dl class="facts" id="instance"></dl>
    </section>

    <section aria-labelledby="lock-title">
      <h2 id="lock-title">Lock</h2>
      <dl class="facts" id="lock"></dl>
    </section>

    <section aria-labelledby="lease-title" id="lease-section" hidden>
      <h2 id="lease-title">Leadership across hosts</h2>
      <dl class="facts" id="lease"></dl>
    </section>

    <section aria-labelledby="supervisor-title">
      <h2 id="supervisor-title">Supervisor</h2>
      <dl class="facts" id="supervisor"></dl>
    </section>

    <section aria-labelledby="history-title">
      <h2 id="history-title">Recent changes</h2>
      <ol class="history" id="history"></ol>
    </section>

    <section aria-labelledby="neighbours-title" id="neighbours-section" hidden>
      <h2 id="neighbours-title">Your other gateways on this host</h2>
      <p id="neighbours-none" class="note">None.</p>
      <ul class="neighbours" id="neighbours"></ul>
    </section>
  </div>`

export const markup = (
  assets: { readonly style: string; readonly script: string; readonly controlPath: string }
): string =>
  `<!doctype html>
<html lang="en" data-state="connecting" data-control="${quoted(assets.controlPath)}">
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

${facts}
</main>
<footer><p>gateway-lock <span id="version"></span><span id="zone"></span></p></footer>
<script>${assets.script}</script>
</body>
</html>
`
