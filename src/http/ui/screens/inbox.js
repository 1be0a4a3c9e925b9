// What workers ask: each open question with a form for its answer.

import { get } from "../api.js";
import { h, keyed } from "../dom.js";
import { count, counted, shortId, visible } from "../format.js";
import { subscribe } from "../live.js";
import { empty, moveFocus, problem, serverNow, user } from "../parts.js";
import { endQuestion, isOpen, questionForm } from "../question.js";
import { reading, screenStyles } from "../sheet.js";

/** @typedef {import("../question.js").Question & {kind: string, task_id: string, lane: string, since: string}} Item */

await screenStyles();

export const title = "Inbox";

/** Forms on the page; more questions follow as these are answered. */
const SHOWN = 50;

/** @param {HTMLElement} root @param {import("../app.js").Context} context */
export function mount(root, { notify, keys }) {
  const abort = new AbortController();
  const sum = h("span", { class: "muted" });
  const place = h("div", {}, reading());
  const list = h("div", { class: "inbox" });
  root.append(h("header", { class: "screen-head" }, h("h1", { text: "Inbox" }), sum), place, list);
  /** @type {Item[]} */
  let items = [];
  /** The questions on the page: those that are open, and those that ended while they were being answered. @type {Item[]} */
  let drawn = [];
  let dead = 0;
  let isRead = false;
  /** The titles of tasks, as far as they are known. @type {Map<string, string>} */
  const titles = new Map();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;

  async function read() {
    timer = undefined;
    try {
      const answer = await get("/inbox", { signal: abort.signal });
      items = answer.items.filter((/** @type {Item} */ item) => item.kind === "question" && isOpen(item, serverNow()));
      dead = answer.items.filter((/** @type {Item} */ item) => item.kind === "dead").length;
      isRead = true;
      place.replaceChildren();
      draw();
    } catch (error) {
      if (!abort.signal.aborted && !isRead) place.replaceChildren(problem(error));
    }
  }

  function draw() {
    sum.replaceChildren(items.length ? counted(items.length, "question") : "", dead > 0 ? h("span", {}, items.length ? " · " : "", h("a", { href: "#/dead", text: counted(dead, "dead letter") })) : "");
    place.replaceChildren(...(items.length ? [] : [empty("There are no open questions. A worker asks one with:", "lanes ask ID --question …")]));
    const open = items.slice(0, SHOWN);
    const staying = drawn.filter((item) => {
      const element = open.every((one) => keyOf(one) !== keyOf(item)) && [.../** @type {NodeListOf<HTMLElement>} */ (list.querySelectorAll(".inbox-item"))].find(({ dataset }) => dataset.key === keyOf(item));
      return element && endQuestion(element, "This question has been answered meanwhile, or its task has ended.");
    });
    drawn = [...staying, ...open].sort((a, b) => Date.parse(a.since) - Date.parse(b.since));
    keyed(list, drawn, keyOf, create);
    if (items.length > SHOWN) place.replaceChildren(h("p", { class: "muted", text: `The ${count(SHOWN)} oldest are shown.` }));
    for (const { task_id: id } of items.slice(0, SHOWN)) name(id);
  }

  /** @param {Item} item */
  function keyOf({ task_id: id, n }) {
    return `${id} ${n}`;
  }

  /** @param {Item} item */
  function create(item) {
    const { task_id: id, lane } = item;
    const link = h("a", { href: `#/task/${encodeURIComponent(id)}`, "data-task": id, title: id }, user(titles.get(id) ?? shortId(id), 120));
    return h("article", { class: "panel inbox-item", "aria-label": `Question of ${shortId(id)}` },
      h("header", { class: "panel-head" }, h("h2", {}, link), h("span", { class: "muted" }, "lane ", user(lane, 60))),
      questionForm(id, item, () => {
        const at = items.findIndex((one) => keyOf(one) === keyOf(item));
        items = items.filter((one) => keyOf(one) !== keyOf(item));
        drawn = drawn.filter((one) => keyOf(one) !== keyOf(item));
        draw();
        notify("Answered; the task continues.", { href: `#/task/${encodeURIComponent(id)}` });
        // The next question takes the focus, so that the keyboard stays in the inbox.
        const next = list.children[Math.min(at, list.children.length - 1)];
        /** @type {HTMLElement | null} */ (next?.querySelector("input, textarea") ?? document.getElementById("main"))?.focus();
      }));
  }

  /** Shows the title of a task, once it is known. @param {string} id */
  async function name(id) {
    if (titles.has(id)) return;
    titles.set(id, shortId(id));
    try {
      const { task } = await get(`/tasks/${encodeURIComponent(id)}?fields=summary`, { signal: abort.signal });
      titles.set(id, task.title);
      for (const link of list.querySelectorAll("a[data-task]")) {
        if (link.getAttribute("data-task") === id) link.replaceChildren(user(visible(task.title) || shortId(id), 120));
      }
    } catch {
      // Its id stands for it.
    }
  }

  const unsubscribe = subscribe((message) => {
    if (message.type === "connection") return;
    const kinds = new Set(["asked", "answered", "cancelled", "dead", "retried", "response", "released"]);
    if (message.type === "gap" || message.events.some(({ type, state }) => kinds.has(type) || state === "input_required")) timer ??= setTimeout(read, 300);
  });
  keys([
    { keys: ["j"], label: "Next", run: () => moveFocus(list, ".inbox-item h2 a", 1) },
    { keys: ["k"], label: "Previous", run: () => moveFocus(list, ".inbox-item h2 a", -1) },
    { keys: ["a"], label: "Answer", run: () => {
      const item = document.activeElement?.closest(".inbox-item") ?? list;
      /** @type {HTMLElement | null} */ (item.querySelector("input, textarea"))?.focus();
    } },
  ]);
  read();
  return () => {
    abort.abort();
    clearTimeout(timer);
    unsubscribe();
  };
}
