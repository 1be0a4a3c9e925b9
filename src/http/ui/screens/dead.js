// Dead letters: tasks whose attempts are spent and that nobody has submitted again, grouped by what went wrong.

import { actOnAll, actOnEach, BULK_MOST, run } from "../actions.js";
import { get, query as queryOf, send } from "../api.js";
import { h, keyed } from "../dom.js";
import { count, counted, cut, shortId, visible } from "../format.js";
import { groups } from "../groups.js";
import { subscribe } from "../live.js";
import { button, empty, moveFocus, problem, timeTag, user } from "../parts.js";
import { reading, screenStyles } from "../sheet.js";
import { isReadOnly } from "../status.js";

/** @typedef {import("../groups.js").DeadLetter} DeadLetter */
/** @typedef {import("../groups.js").Group} Group */

await screenStyles();

export const title = "Dead letters";

/** Tasks of a group that are shown before all are asked for. */
const SHOWN = 5;

/** @param {HTMLElement} root @param {import("../app.js").Context} context */
export function mount(root, { query, notify, keys }) {
  const abort = new AbortController();
  const lane = query.get("lane") ?? "";
  const sum = h("span", { class: "muted" });
  const all = h("span", {});
  const list = h("div", { class: "dead-groups" });
  const place = h("div", {}, reading());
  root.append(h("header", { class: "screen-head" }, h("h1", { text: "Dead letters" }), sum,
    lane && h("a", { class: "chip", href: "#/dead", title: "Show all lanes" }, "Lane ", user(lane, 60), " ×"), all), place, list);
  /** @type {Set<string>} */
  const open = new Set();
  /** @type {DeadLetter[]} */
  let letters = [];
  /** @type {Map<string, string>} */
  const titles = new Map();
  const filter = { state: ["failed"], failure_class: ["dead"], ...(lane && { lane: [lane] }) };
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;

  async function read() {
    timer = undefined;
    try {
      const { items } = await get(`/inbox${queryOf({ lane })}`, { signal: abort.signal });
      letters = items.filter((/** @type {any} */ item) => item.kind === "dead");
      draw();
      if (letters.some(({ task_id: id }) => !titles.has(id))) await readTitles();
    } catch (error) {
      if (!abort.signal.aborted && letters.length === 0) place.replaceChildren(problem(error));
    }
  }

  /** The reasons come without titles; those of older letters than these stay ids. */
  async function readTitles() {
    const { tasks } = await get(`/tasks${queryOf({ ...filter, fields: "summary", order: "updated", limit: 1000 })}`, { signal: abort.signal });
    for (const task of tasks) titles.set(task.id, task.title);
    for (const { task_id: id } of letters) if (!titles.has(id)) titles.set(id, "");
    draw();
  }

  function draw() {
    const grouped = groups(letters);
    sum.textContent = letters.length ? `${counted(letters.length, "task")} in ${counted(grouped.length, "group")}` : "";
    place.replaceChildren(...(letters.length ? [] : [empty("No dead letters. A task becomes one when its attempts are spent; in a shell, these are submitted again with:", "lanes redrive --lane LANE")]));
    all.replaceChildren(...(letters.length && !isReadOnly() ? [button(`Redrive all ${count(letters.length)}`, redriveAll)] : []));
    keyed(list, grouped, ({ key }) => key, () => h("section", { class: "panel" }), drawGroup);
  }

  function redriveAll() {
    const words = lane ? `all dead letters of lane ${cut(lane, 60)}` : "all dead letters";
    // The server counts dead tasks that were submitted again before, too: the number comes from it.
    return run(notify, async () => {
      const { total } = await get(`/tasks${queryOf({ ...filter, fields: "summary", limit: 1 })}`, { signal: abort.signal });
      if (total === letters.length && total <= BULK_MOST) actOnAll("redrive", filter, total, words, notify, soon);
      else actOnEach("redrive", letters.map(target), notify, soon);
    });
  }

  /** @param {HTMLElement} section @param {Group} group */
  function drawGroup(section, group) {
    const { key, reason, failureClass, letters: of, lanes } = group;
    const isOpen = open.has(key);
    const mark = JSON.stringify([of.map(({ task_id: id }) => [id, titles.get(id)]), isOpen, isReadOnly()]);
    if (section.dataset.mark === mark) return;
    section.dataset.mark = mark;
    section.setAttribute("aria-label", cut(reason, 80));
    const { activeElement } = document;
    // A control is known by its task and its place in the row, or by its words.
    const row = activeElement && section.contains(activeElement) ? activeElement.closest("li") : null;
    const words = activeElement && section.contains(activeElement) ? activeElement.textContent : null;
    const inRow = row && { id: row.dataset.of, isLink: activeElement?.matches("a") };
    const shown = isOpen ? of : of.slice(0, SHOWN);
    section.replaceChildren(
      h("header", { class: "panel-head dead-head" },
        h("h2", {}, user(reason, 500)),
        h("span", { class: "muted" }, failureClass && [user(failureClass, 40), " · "], counted(of.length, "task"), " · ", user(lanes.slice(0, 5).join(", "), 200)),
        !isReadOnly() && h("span", { class: "panel-end" }, button(of.length === 1 ? "Redrive" : `Redrive these ${count(of.length)}`, () => (of.length === 1 ? redriveOne(of[0]) : actOnEach("redrive", of.map(target), notify, soon))))),
      h("ul", {}, shown.map((letter) => h("li", { class: "fact-row", "data-of": letter.task_id },
        h("a", { "data-task": letter.task_id, href: `#/task/${encodeURIComponent(letter.task_id)}`, title: letter.task_id }, user(visible(titles.get(letter.task_id)) || shortId(letter.task_id), 80)),
        h("span", { class: "muted" }, user(letter.lane, 60)),
        h("span", { class: "grow muted clip", title: cut(letter.reason, 500) }, letter.reason === of[0].reason ? "" : user(letter.reason, 300)),
        timeTag(letter.since),
        !isReadOnly() && of.length > 1 && button(`Redrive ${shortId(letter.task_id)}`, () => redriveOne(letter), { class: "quiet", title: "Submit this task again" })))),
      ...(of.length > SHOWN ? [button(isOpen ? "Show fewer" : `Show all ${count(of.length)}`, () => {
        if (isOpen) open.delete(key);
        else open.add(key);
        drawGroup(section, group);
      }, { class: "quiet" })] : []));
    if (words === null) return;
    const again = inRow
      ? [...section.querySelectorAll("li")].find(({ dataset }) => dataset.of === inRow.id)?.querySelector(inRow.isLink ? "a" : "button")
      : [...section.querySelectorAll("button")].find((one) => one.textContent === words);
    // What has gone leaves the focus to a task, where a key acts on that alone.
    /** @type {HTMLElement | null} */ (again ?? section.querySelector("a[data-task]"))?.focus();
  }

  /** @param {DeadLetter} letter */
  function redriveOne({ task_id: id }) {
    return run(notify, async () => {
      const answer = await send("POST", `/tasks/${encodeURIComponent(id)}/redrive`, { by: "board" });
      notify(`Submitted ${shortId(id)} again.`, { href: `#/task/${encodeURIComponent(answer.task_id)}` });
      soon();
    });
  }

  function soon() {
    timer ??= setTimeout(read, 300);
  }

  const unsubscribe = subscribe((message) => {
    if (message.type === "gap") soon();
    else if (message.type === "events" && message.events.some(({ type, state }) => type === "dead" || type === "retried" || state === "failed")) timer ??= setTimeout(read, 1000);
  });
  keys([
    { keys: ["j"], label: "Next", run: () => moveFocus(list, "a[data-task]", 1) },
    { keys: ["k"], label: "Previous", run: () => moveFocus(list, "a[data-task]", -1) },
    {
      keys: ["R"], label: "Redrive", run: () => {
        if (isReadOnly()) return;
        const id = document.activeElement?.getAttribute("data-task");
        const letter = letters.find(({ task_id: one }) => one === id);
        if (letter) redriveOne(letter);
        else if (letters.length) redriveAll();
      },
    },
  ]);
  read();
  return () => {
    abort.abort();
    clearTimeout(timer);
    unsubscribe();
  };
}

/** @param {DeadLetter} letter */
function target({ task_id: id, lane }) {
  return { id, title: shortId(id), lane, state: "failed", failure_class: "dead" };
}
