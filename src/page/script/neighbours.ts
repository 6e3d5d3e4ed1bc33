/** A part of the status page's script: the other gateways of the host, the worst first, and the commands to copy. */
export const neighbours = String.raw`
  // --- commands ------------------------------------------------------------------------------------------------------

  /**
   * Copies a text. A page that did not come over HTTPS or from this machine has no clipboard, so there it copies the selection.
   * @param {string} text @param {HTMLElement} shown The element that shows the text.
   */
  const copy = async (text, shown) => {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      getSelection()?.selectAllChildren(shown);
      return document.execCommand("copy");
    }
  };
  /** A command with a button that copies it. @param {string} tag @param {string} command */
  const typed = (tag, command) => {
    const code = make("code", "", command);
    const button = make("button", "", "Copy");
    button.setAttribute("type", "button");
    button.setAttribute("aria-label", "Copy " + command);
    button.addEventListener("click", async () => {
      const isCopied = await copy(command, code);
      setText(button, isCopied ? "Copied" : "Selected");
      setText(element("said"), isCopied ? "Copied: " + command : "Selected: " + command);
      setTimeout(() => setText(button, "Copy"), 2000);
    });
    return make(tag, "typed", code, button);
  };

  // --- other gateways ------------------------------------------------------------------------------------------------

  /** @param {string} name */
  const isLocal = (name) => name === "localhost" || name === "::1" || /^127(\.\d{1,3}){3}$/.test(name);
  /** The page of another gateway, if this browser can reach it. @param {Neighbour} neighbour */
  const pageOf = ({ host, port, verdict }) => {
    if (host === undefined || port === undefined || verdict === "dead" || verdict === "not-running") return undefined;
    const here = location.hostname.replace(/^\[(.*)\]$/, "$1");
    const href = "http://" + authority(host, port) + "/";
    return (host === here || (isLocal(host) && isLocal(here))) && URL.canParse(href) ? href : undefined;
  };
  /** What a gateway is called. @param {Neighbour} neighbour */
  const nameOf = ({ profile, stateDir }) => profile ?? stateDir.split(/[/\\]/).findLast((part) => part !== "") ?? stateDir;

  /** @param {Neighbour} neighbour */
  const judge = ({ verdict }) =>
    (Object.hasOwn(verdicts, verdict) ? verdicts[verdict] : undefined) ?? { group: /** @type {const} */ ("bad"), sign: question, word: verdict };

  /** @param {Neighbour} neighbour @param {boolean} isTitled Whether the title of its group says that it runs. */
  const cardOf = (neighbour, isTitled) => {
    const { configPath, host, lease, look, pid, port, profile, reason, since, stateDir, verdict } = neighbour;
    const { group, sign, word } = judge(neighbour);
    const href = pageOf(neighbour);
    const name = make(href === undefined ? "strong" : "a", "", nameOf(neighbour));
    if (name instanceof HTMLAnchorElement && href !== undefined) name.href = href;
    const words = [
      ...(isTitled && verdict === "running" ? [] : [word]),
      ...(lease === undefined || lease.state === "standby" ? [] : [wordFor(leaseWords, lease.state) + " " + lease.name])
    ];
    const where = host !== undefined && port !== undefined ? authority(host, port) : pid === undefined ? "" : "pid " + pid;
    const card = make(
      "li",
      "tone-" + group,
      make("p", "name", signOf(sign), name, make("span", "word", words.join(", ")), make("span", "where mono", where))
    );
    if (group === "bad") {
      if (reason !== undefined) card.append(make("p", "reason", reason));
      if (since !== undefined) card.append(make("p", "note", "since ", timeOf(since)));
    }
    // A gateway with paths of its own is known by them.
    if (profile === undefined || look?.includes("--config") === true) card.append(make("p", "note mono", ...breakable(configPath ?? stateDir)));
    if (group === "bad" && look !== undefined) card.append(typed("div", look));
    return card;
  };

  /** @param {ReadonlyArray<Neighbour>} all */
  const groupsOf = (all) => {
    const order = Object.keys(verdicts);
    const sorted = all.toSorted((a, b) => order.indexOf(a.verdict) - order.indexOf(b.verdict) || nameOf(a).localeCompare(nameOf(b)));
    return groups.flatMap(([group, title]) => {
      const own = sorted.filter((neighbour) => judge(neighbour).group === group);
      if (own.length === 0) return [];
      const isTitled = own.length < all.length || group === "bad";
      const list = make("ul", "list" + (group === "bad" ? "" : " fine"), ...own.map((neighbour) => cardOf(neighbour, isTitled)));
      list.setAttribute("aria-label", title);
      return isTitled ? [make("h3", "", title), list] : [list];
    });
  };

  /** @param {ReadonlyArray<Neighbour>} all */
  const countOf = (all) => {
    const problems = all.filter((neighbour) => judge(neighbour).group === "bad").length;
    if (all.length === 0) return "None";
    if (problems === 0) return all.length === 1 ? "" : all.length + ", all well";
    return problems + " of " + all.length + (problems === 1 ? " has a problem" : " have problems");
  };
`
