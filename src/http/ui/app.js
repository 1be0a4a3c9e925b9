// The frame of the page: which screen is shown, the header, the bars, the keys and the notices.

import { ApiError, auth, hasToken, isToken, isTransient, setToken } from "./api.js";
import { withoutEscapes } from "./ansi.js";
import { confirm } from "./dialog.js";
import { h, keyed } from "./dom.js";
import { isVisible, newest, summary } from "./fold.js";
import { count, cut, shortId, stateOf } from "./format.js";
import { icon } from "./icons.js";
import { isCharacter, isControl, keyText, resolve, takesText } from "./keys.js";
import * as live from "./live.js";
import { button, empty, problem, user } from "./parts.js";
import { apply, settings } from "./settings.js";
import { isReadOnly, onStatus, refresh, refreshSoon, status } from "./status.js";
import { coarse } from "./time.js";

/** @typedef {import("./keys.js").Binding} Binding */
/**
 * What a screen gets.
 * @typedef {object} Context
 * @property {Record<string, string>} params the parts of the path: `id` for a task
 * @property {URLSearchParams} query
 * @property {(hash: string, how?: {replace?: boolean}) => void} go
 * @property {(text: string, how?: {isError?: boolean, href?: string}) => void} notify shows and says a short message
 * @property {typeof confirm} confirm
 * @property {(bindings: Binding[]) => void} keys sets the keys of the screen, which the footer shows
 * @property {(text: string) => void} setTitle
 * @property {string} returnTo the task that was shown before, which gets the focus in a list of tasks; or empty
 */
/**
 * A screen: `mount` fills an element and returns what ends it. With `update` a change of the query alone does not
 * mount it again.
 * @typedef {{title: string, mount: (root: HTMLElement, context: Context) => Mounted}} Screen
 * @typedef {(() => void) | {unmount: () => void, update: (query: URLSearchParams) => void}} Mounted
 */

/** The screens of the header, in the order of their keys. */
const SCREENS = [
  { path: "", file: "board", label: "Board", second: "b" },
  { path: "tasks", file: "list", label: "Tasks", second: "t" },
  { path: "inbox", file: "inbox", label: "Inbox", second: "i" },
  { path: "workers", file: "workers", label: "Workers", second: "w" },
  { path: "spend", file: "spend", label: "Spend", second: "s" },
  { path: "dead", file: "dead", label: "Dead letters", second: "d" },
  { path: "graph", file: "graph", label: "Graph", second: "g" },
];

const main = at("main");
/** @type {{path: string, mounted: Mounted | null}} */
let shown = { path: "", mounted: null };
/** @type {Binding[]} */
let screenKeys = [];
let title = "lanes";
let visits = 0;
/** The screen, with its filters, from which a task was opened. */
let lastList = "#/";
/** @type {string | null} */
let version = null;
/** The workspace whose queue is shown. @type {string | null} */
let place = null;

/** @param {string} id */
function at(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}

// ---- Screens

/** @param {string} hash */
function parseHash(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  return { path: path.replace(/\/+$/, ""), query: new URLSearchParams(query) };
}

/** @param {string} hash @param {{replace?: boolean}} [how] */
function go(hash, { replace } = {}) {
  if (hash === location.hash) return;
  if (replace) {
    history.replaceState(null, "", hash);
    route();
  } else location.hash = hash;
}

async function route() {
  const { path, query } = parseHash(location.hash);
  const { mounted } = shown;
  if (shown.path === path && mounted && typeof mounted !== "function") {
    mounted.update(query);
    if (!path.startsWith("task/")) lastList = location.hash || "#/";
    return;
  }
  const returnTo = shown.path.startsWith("task/") ? decode(shown.path.slice("task/".length)) : "";
  end();
  shown = { path, mounted: null };
  if (!path.startsWith("task/")) lastList = location.hash || "#/";
  const visit = ++visits;
  const [first, ...rest] = path.split("/");
  const known = SCREENS.find((screen) => screen.path === first && rest.length === 0);
  const file = known?.file ?? (first === "task" && rest.length === 1 ? "task" : "unknown");
  showScreens();
  /** @type {Screen} */
  let screen;
  try {
    screen = await import(`./screens/${file}.js`);
  } catch {
    // The files of this version are gone once a newer server runs.
    if (visit === visits) main.replaceChildren(h("div", { class: "empty" }, h("p", { text: "This screen cannot be loaded." }), button("Reload", () => location.reload())));
    return;
  }
  if (visit !== visits) return;
  const root = h("div", { class: `screen screen-${file}` });
  main.replaceChildren(root);
  setTitle(screen.title);
  const lost = document.activeElement === document.body;
  const params = /** @type {Record<string, string>} */ (file === "task" ? { id: decode(rest[0]) } : {});
  try {
    shown.mounted = screen.mount(root, { params, query, go, notify, confirm, keys: setKeys, setTitle, returnTo });
  } catch (error) {
    root.replaceChildren(problem(error));
  }
  if (lost) main.focus({ preventScroll: true });
  main.scrollTop = 0;
}

/** @param {string} text */
function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Ends the screen that is shown. */
function end() {
  const { mounted } = shown;
  if (typeof mounted === "function") mounted();
  else mounted?.unmount();
  shown = { path: "", mounted: null };
  setKeys([]);
}

/** @param {string} text */
function setTitle(text) {
  title = text;
  const n = status()?.attention?.length ?? 0;
  const place = status()?.workspace_id;
  document.title = withoutEscapes(`${n ? `(${n}) ` : ""}${cut(title, 60)} · ${place ? `${cut(place, 40)} · ` : ""}lanes`);
}

// ---- The header

const workspace = h("bdi", { class: "workspace clip" });
const nav = h("nav", { "aria-label": "Screens" });
const tools = h("div", { class: "tools" });

function showHeader() {
  at("header").replaceChildren(
    h("a", { class: "brand", href: "#/", title: "lanes" }, h("span", { class: "mark" }), h("span", { text: "lanes" })),
    workspace,
    nav,
    tools,
  );
  at("skip").addEventListener("click", (event) => {
    event.preventDefault();
    main.focus();
  });
}

function showScreens() {
  const { path } = parseHash(location.hash);
  const counts = countsOf(status());
  keyed(nav, SCREENS, ({ file }) => file,
    ({ path, label }) => h("a", { href: `#/${path}` }, h("span", { text: label }), h("span", { class: "count" })),
    (element, screen) => {
      const isHere = screen.path === path || (screen.path === "tasks" && path.startsWith("task/"));
      if (isHere) element.setAttribute("aria-current", "page");
      else element.removeAttribute("aria-current");
      const number = /** @type {HTMLElement} */ (element.lastElementChild);
      const { text = "", isUrgent = false } = counts[screen.file] ?? {};
      number.textContent = text;
      number.classList.toggle("urgent", isUrgent);
    });
  // On a narrow page the names of the screens are a strip, of which this one is in sight.
  const here = /** @type {HTMLElement | null} */ (nav.querySelector("[aria-current]"));
  if (here && here.dataset.key !== seen) {
    seen = here.dataset.key;
    nav.scrollTo({ left: here.offsetLeft - nav.offsetLeft - 40 });
  }
}

/** The screen whose name was brought into sight. @type {string | undefined} */
let seen;

/** @param {import("./status.js").Status | null} now @returns {Record<string, {text: string, isUrgent?: boolean}>} */
function countsOf(now) {
  if (!now) return {};
  const of = (/** @type {string} */ kind) =>
    (now.attention ?? []).filter((entry) => entry.kind === kind).reduce((sum, entry) => sum + (entry.count ?? 1), 0);
  const questions = of("question");
  const dead = of("dead_letter");
  const tasks = now.lanes.reduce((sum, lane) => sum + lane.task_count, 0);
  return {
    list: { text: count(tasks) },
    inbox: questions ? { text: count(questions), isUrgent: true } : { text: "" },
    dead: dead ? { text: count(dead), isUrgent: true } : { text: "" },
    workers: now.capacity ? { text: `${now.active_agents}/${now.capacity}` } : { text: "" },
  };
}

function showTools() {
  tools.replaceChildren(
    ...(isReadOnly() ? [h("span", { class: "chip", text: "Read only", title: "This server was started with --read-only" })] : [button("New task", openSubmit, { icon: "plus", class: "primary", title: "New task (n)" })]),
    button("Settings", openSettings, { icon: "settings", bare: true, class: "quiet" }),
  );
}

/** @template T @param {Promise<T>} dialog @param {(dialog: T) => void} open */
async function openDialog(dialog, open) {
  try {
    open(await dialog);
  } catch {
    notify("This dialog cannot be loaded; reload the page once the server is there.", { isError: true });
  }
}

function openSubmit() {
  if (isReadOnly()) return notify("This server is read-only.", { isError: true });
  openDialog(import("./screens/submit.js"), ({ open }) => open({ lane: parseHash(location.hash).query.get("lane") ?? "", notify }));
}

function openSettings() {
  openDialog(import("./screens/settings.js"), ({ open }) => open());
}

function openHelp() {
  openDialog(import("./screens/help.js"), ({ open }) => open(globalKeys, screenKeys));
}

// ---- Keys

/** @type {Binding[]} */
const globalKeys = [
  { keys: ["n"], label: "New task", run: openSubmit },
  { keys: ["/"], label: "Search", run: () => go("#/tasks?search=1") },
  ...SCREENS.map(({ path, label, second }, index) => ({ keys: [`${index + 1}`, `g ${second}`], label, run: () => go(`#/${path}`), hidden: true })),
  { keys: ["Escape"], label: "Back", run: () => go(shown.path.startsWith("task/") ? lastList : "#/"), hidden: true },
  { keys: ["?"], label: "All keys", run: openHelp },
];
/** @type {{key: string, at: number} | null} */
let before = null;

document.addEventListener("keydown", (event) => {
  if (isAsking || event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const target = /** @type {HTMLElement | null} */ (event.target);
  if (takesText(target)) {
    if (event.key === "Escape") target?.blur();
    return;
  }
  if ((event.key === "Enter" || event.key === " ") && isControl(target)) return;
  if (!settings.keys && isCharacter(event.key)) return;
  const found = resolve([...globalKeys, ...screenKeys], before, event.key, Date.now());
  before = found.before;
  if (!found.binding) return;
  event.preventDefault();
  found.binding.run(event);
});

/** @param {Binding[]} bindings */
function setKeys(bindings) {
  screenKeys = bindings;
  before = null;
  const taken = new Set(bindings.flatMap(({ keys }) => keys));
  const all = [...bindings, ...globalKeys.filter(({ keys }) => !taken.has(keys[0]))].filter(({ hidden, run }) => !hidden && !(run === openSubmit && isReadOnly()));
  at("footer").replaceChildren(h("ul", { "aria-label": "Keys" }, all.map(({ keys, label }) => h("li", {}, h("kbd", { text: keyText(keys[0]) }), h("span", { text: label })))));
  at("footer").hidden = !settings.keys;
}

// ---- Notices, bars, and what is said aloud

/** @param {string} text @param {{isError?: boolean, href?: string}} [how] */
function notify(text, { isError = false, href } = {}) {
  const notice = h("div", { class: `notice${isError ? " error" : ""}` },
    icon(isError ? "warning" : "check"),
    href ? h("a", { href }, user(text, 300)) : h("span", {}, user(text, 300)),
    button("Dismiss", () => notice.remove(), { icon: "close", bare: true, class: "quiet" }));
  at("notices").append(notice);
  while (at("notices").children.length > 4) at("notices").firstElementChild?.remove();
  setTimeout(() => notice.remove(), isError ? 15_000 : 6000);
  say(text);
}

let saidAt = 0;
let unsaid = "";
/** @type {ReturnType<typeof setTimeout> | undefined} */
let sayTimer;

/** Says a text to people who hear the page. @param {string} text */
function say(text) {
  at("live").textContent = withoutEscapes(cut(text, 300));
  saidAt = Date.now();
}

/** Says at most one thing in 5 seconds: the newest. @param {string} text */
function saySoon(text) {
  unsaid = text;
  sayTimer ??= setTimeout(() => {
    sayTimer = undefined;
    say(unsaid);
  }, Math.max(0, saidAt + 5000 - Date.now()));
}

/** @type {Map<string, HTMLElement>} */
const bars = new Map();

/** Shows a bar, or hides it when there is nothing to show. @param {string} name @param {HTMLElement | null} element */
function bar(name, element) {
  bars.delete(name);
  if (element) bars.set(name, element);
  at("bars").replaceChildren(...bars.values());
}

/** When the connection broke; null while it is there. @type {number | null} */
let lostSince = null;
/** Why, in the words of the server, if it said so. */
let lostReason = "";
const lostText = h("span", {});

/** @param {boolean} isLost @param {number} since @param {string} [reason] */
function setLost(isLost, since, reason = "") {
  lostReason = reason;
  if (isLost === (lostSince !== null)) {
    showLost();
    return;
  }
  lostSince = isLost ? since : null;
  say(isLost ? "Connection lost." : "Connected again.");
  document.documentElement.classList.toggle("stale", isLost);
  showLost();
  bar("lost", isLost ? h("div", { class: "bar warn" }, icon("warning"), lostText, button("Try now", () => (started ? live.retry() : begin()))) : null);
}

function showLost() {
  if (lostSince === null) return;
  const age = Math.max(0, Math.floor((Date.now() - lostSince) / 1000));
  const old = `what you see is ${coarse(age)} old.`;
  if (lostReason) lostText.textContent = `The server says: ${lostReason}. ${started ? `W${old.slice(1)}` : ""}`;
  else lostText.textContent = started ? `Connection lost; ${old}` : "The server cannot be reached.";
}
setInterval(showLost, 1000);

// ---- The token

/** @param {string} message */
function askToken(message) {
  end();
  visits += 1;
  document.documentElement.classList.add("locked");
  const input = h("input", { id: "token", type: "password", autocomplete: "off", spellcheck: "false", required: true, "aria-describedby": "token-help" });
  main.replaceChildren(h("form", {
    class: "token",
    on: {
      /** @param {SubmitEvent} event */
      submit: (event) => {
        event.preventDefault();
        const entered = input.value.trim();
        if (isToken(entered)) setToken(entered);
        else askToken("That is not a token: it has visible ASCII characters only.");
      },
    },
  },
  h("h1", { text: "This server asks for a token" }),
  h("p", { id: "token-help" }, "Run ", h("code", { text: "lanes serve --open" }), " to open this page without one, or enter the token: it is in the file that the server named when it started, or in the file of ", h("code", { text: "--token-file" }), "."),
  h("label", { for: "token", text: "Token" }),
  input,
  message && problem(message),
  h("button", { type: "submit", class: "button primary", text: "Show the queue" })));
  input.focus();
}

let isAsking = false;
auth.addEventListener("needed", () => {
  if (isAsking) return;
  isAsking = true;
  const isWrong = hasToken();
  setToken(null);
  // Nothing is shown, so that nothing is old.
  setLost(false, 0);
  askToken(isWrong ? "That is not the token of this server." : "");
});
auth.addEventListener("given", () => {
  isAsking = false;
  document.documentElement.classList.remove("locked");
  begin();
});

// ---- The beginning

let started = false;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let again;

async function begin() {
  clearTimeout(again);
  /** @type {import("./status.js").Status} */
  let first;
  try {
    first = await refresh();
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) return;
    if (error instanceof ApiError && error.status === 0) setLost(true, Date.now());
    else main.replaceChildren(problem(error), empty("The server does not show the queue."));
    if (error instanceof ApiError && isTransient(error)) again = setTimeout(begin, 2000);
    return;
  }
  if (!started) setLost(false, 0);
  started = true;
  live.start(first.feed, first.started_at);
  end();
  route();
}

onStatus((now) => {
  version ??= now.version;
  if (now.version !== version) {
    bar("version", h("div", { class: "bar" }, h("span", { text: "The server was upgraded." }), button("Reload", () => location.reload())));
  }
  // Another queue behind the same address: nothing of this page is true any more.
  place ??= now.workspace_id ?? "";
  if (now.workspace_id !== undefined && now.workspace_id !== place) location.reload();
  // A server that takes long to count shows its last counts for a while: they may be those of before an event.
  if (now.feed !== undefined && now.feed < (live.lastSeen() ?? 0)) refreshSoon();
  workspace.textContent = cut(now.workspace_id ?? "", 60);
  showScreens();
  setTitle(title);
});
/** @type {boolean | null} */
let wasReadOnly = null;
onStatus(() => {
  if (wasReadOnly === isReadOnly()) return;
  wasReadOnly = isReadOnly();
  showTools();
});

live.subscribe((message) => {
  if (message.type === "connection") {
    if (message.state === "live" && lostSince !== null) refreshSoon();
    setLost(message.state === "lost", message.since, message.reason);
    return;
  }
  refreshSoon();
  if (message.type !== "events") return;
  const text = summary(message.events);
  if (text) saySoon(text);
  tellBrowser(message.events);
});

/** Shows a notification of the browser while the page is not seen. @param {import("./fold.js").LiveEvent[]} events */
function tellBrowser(events) {
  if (!settings.notify || !document.hidden || !("Notification" in self) || Notification.permission !== "granted") return;
  for (const event of newest(events.filter(isVisible)).slice(-3)) {
    const { state, task_id: id, lane } = event;
    if (state !== "input_required" && state !== "completed" && state !== "failed") continue;
    // The tag keeps several tabs from saying the same.
    const note = new Notification(`${stateOf({ state }).word}: ${event.title ?? shortId(id)}`, { body: cut(`${lane} · ${event.message ?? ""}`, 120), tag: `${id} ${state}` });
    note.onclick = () => {
      window.focus();
      go(`#/task/${encodeURIComponent(id)}`);
    };
  }
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden || !started) return;
  if (lostSince !== null) live.retry();
  refresh().catch(() => {});
});
addEventListener("hashchange", () => { if (started && !isAsking) route(); });

apply();
showHeader();
showTools();
setKeys([]);
begin();
