// The board: columns by state, a row for each lane, and above them what needs a person.

import { actByKey, pauseLane, resumeLane } from "../actions.js";
import { get, query as queryOf } from "../api.js";
import { changedPlaces, COLUMNS, countIn, placeOf } from "../columns.js";
import { h, keyed } from "../dom.js";
import { cost, count, counted, shortId, stateOf, visible } from "../format.js";
import { icon } from "../icons.js";
import { step } from "../keys.js";
import { subscribe } from "../live.js";
import { button, empty, problem, stateBadge, timeTag, user } from "../parts.js";
import { isManaging, isReadOnly, onStatus, status } from "../status.js";

/** @typedef {import("../columns.js").Summary} Summary */
/** @typedef {import("../columns.js").Column} Column */
/** @typedef {import("../status.js").Lane} Lane */
/** @typedef {import("../status.js").Attention} Attention */
/**
 * A column within a lane, or of all lanes together.
 * @typedef {object} Cell
 * @property {string} place
 * @property {string} lane empty for all lanes
 * @property {Column} column
 * @property {HTMLElement} element
 * @property {HTMLElement} list
 * @property {HTMLElement} foot
 * @property {Summary[]} tasks
 * @property {number} total
 * @property {boolean} isRead whether its tasks have been read once
 * @property {boolean} isLate whether it has been read but not drawn
 */

export const title = "Board";

/** More lanes than this are not shown one by one. */
const MOST_LANES = 8;
/** Cards in a column of one lane, and in each cell when there are several. */
const CARDS = 50;
const CARDS_OF_LANE = 6;
/** A column gets a new order no more often than this. */
/** A pointer that rests for this long holds its column no more. */
const HOLD_MS = 10_000;
const SETTLE_MS = 300;
/** The time that each request costs before the next are sent, so that a busy queue is not asked without end. */
const REQUEST_MS = 100;
const ATTENTION_SHOWN = matchMedia("(max-width: 760px)").matches ? 2 : 4;

const KIND_ICONS = /** @type {Record<string, string>} */ ({
  question: "input_required", dead_letter: "dead", cooldown: "scheduled", paused_lane: "pause", expired_wait: "scheduled",
});

/** @param {HTMLElement} root @param {import("../app.js").Context} context */
export function mount(root, { query, go, notify, keys, returnTo }) {
  const abort = new AbortController();
  const heading = h("h1", { class: "unseen", text: "Board" });
  const attention = h("section", { class: "attention", "aria-label": "Attention", hidden: true });
  const picker = h("div", { class: "picker" });
  const heads = h("div", { class: "board-heads", "aria-hidden": "true" });
  const rows = h("div", { class: "board-rows" });
  const board = h("div", { class: "board", hidden: true }, heads, rows);
  const blank = h("div", {});
  root.append(heading, attention, picker, blank, board);

  let lane = query.get("lane") ?? "";
  /** @type {Map<string, Cell>} */
  const cells = new Map();
  /** @type {Set<string>} */
  const dirty = new Set();
  /** @type {Set<string>} */
  const reading = new Set();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let mayReadAt = 0;
  let isAllShown = false;
  /** The card that has the focus, or would get it. */
  let current = returnTo;
  /** The card that gets the focus once it is there. */
  let awaited = returnTo;

  /** The column under a pointer that moves, in which no card may move. @type {Cell | null} */
  let held = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let resting;

  /** Lets the cards of a held column take their places. */
  function letGo() {
    clearTimeout(resting);
    const cell = held;
    held = null;
    if (cell?.isLate) draw(cell);
  }

  // ---- What is shown

  /** The lanes that have a row; a single row without a name holds all of them. @returns {Lane[]} */
  function shownLanes() {
    const lanes = status()?.lanes ?? [];
    if (lane) return lanes.filter(({ name }) => name === lane);
    const busy = lanes.filter(({ task_count, paused }) => task_count > 0 || paused);
    if (busy.length > 1 && busy.length <= MOST_LANES) return busy;
    /** @type {Record<string, number>} */
    const sum = {};
    for (const { tasks_by_state: byState } of lanes) {
      for (const [state, n] of Object.entries(byState)) sum[state] = (sum[state] ?? 0) + n;
    }
    return [{ name: "", paused: false, pause: null, description: "", task_count: 0, tasks_by_state: sum }];
  }

  function show() {
    const now = status();
    if (!now) return;
    const lanes = shownLanes();
    const tasks = now.lanes.reduce((sum, { task_count }) => sum + task_count, 0);
    board.hidden = tasks === 0 || lanes.length === 0;
    if (tasks > 0 && lanes.length === 0) blank.replaceChildren(empty(`There is no lane ${lane}.`), h("p", { class: "empty" }, h("a", { href: "#/", text: "Show all lanes" })));
    else blank.replaceChildren(...(tasks === 0 ? [empty("No tasks yet. Submit one here with New task, or in a shell:", "lanes submit --lane work --prompt \"…\"")] : []));
    showAttention(now.attention ?? []);
    showPicker(now.lanes);
    keyed(heads, COLUMNS, ({ id }) => id,
      ({ label }) => h("div", { class: "board-head" }, h("span", { text: label }), h("span", { class: "count" })),
      (element, column) => {
        const n = lanes.reduce((sum, { tasks_by_state }) => sum + countIn(tasks_by_state, column), 0);
        /** @type {HTMLElement} */ (element.lastElementChild).textContent = count(n);
      });
    keyed(rows, lanes, ({ name }) => `lane ${name}`, createLane, updateLane);
    const wanted = new Set(lanes.flatMap(({ name }) => COLUMNS.map(({ id }) => placeOf(name, id))));
    for (const place of [...cells.keys()]) if (!wanted.has(place)) cells.delete(place);
    readSoon();
  }

  /** @param {Lane} shown */
  function createLane({ name }) {
    const row = h("div", { class: "board-cells" });
    for (const column of COLUMNS) {
      const list = h("div", { class: "cards" });
      const foot = h("a", { class: "all", href: linkTo(name, column) });
      const label = h("h3", { class: "cell-label", "aria-hidden": "true" }, column.label);
      const note = h("p", { class: "late-note", text: "Updated; shown when the pointer leaves." });
      const element = h("div", { class: "cell" }, label, note, list, foot);
      /** @type {Cell} */
      const cell = { place: placeOf(name, column.id), lane: name, column, element, list, foot, tasks: [], total: 0, isRead: false, isLate: false };
      const hold = (/** @type {PointerEvent} */ { pointerType }) => {
        if (pointerType !== "mouse") return;
        clearTimeout(resting);
        held = cell;
        resting = setTimeout(letGo, HOLD_MS);
      };
      element.addEventListener("pointerenter", hold);
      element.addEventListener("pointermove", hold);
      element.addEventListener("pointerleave", () => { if (held === cell) letGo(); });
      cells.set(cell.place, cell);
      row.append(element);
    }
    return h("section", { class: "lane", "aria-label": name ? `Lane ${name}` : "All lanes" }, h("header", { class: "lane-head" }), row);
  }

  /** @param {HTMLElement} section @param {Lane} shown */
  function updateLane(section, shown) {
    const { name, paused, pause, tasks_by_state: byState } = shown;
    const head = /** @type {HTMLElement} */ (section.firstElementChild);
    head.hidden = name === "";
    section.classList.toggle("paused", paused);
    const mark = JSON.stringify([paused, pause, shown.task_count, isManaging()]);
    if (head.dataset.mark !== mark) {
      head.dataset.mark = mark;
      const hadFocus = head.contains(document.activeElement);
      head.replaceChildren(
        h("h2", {}, h("a", { href: lane ? "#/" : `#/?lane=${encodeURIComponent(name)}`, title: lane ? "Show all lanes" : "Show this lane alone" }, user(name, 80))),
        h("span", { class: "muted", text: counted(shown.task_count, "task") }),
        ...(paused ? [h("span", { class: "chip warn" }, icon("pause"), h("span", { class: "clip" }, "Paused", pause?.reason ? ": " : "", pause?.reason ? user(pause.reason, 120) : ""))] : []),
        ...(!isManaging() ? [] : [button(paused ? `Resume lane ${name}` : `Pause lane ${name}`, () => (paused ? resumeLane(name, notify) : pauseLane(name, notify)), { icon: paused ? "play" : "pause", bare: true, class: "quiet" })]),
      );
      if (hadFocus) head.querySelector("button")?.focus();
    }
    for (const column of COLUMNS) {
      const cell = cells.get(placeOf(name, column.id));
      if (!cell) continue;
      const total = countIn(byState, column);
      if (total !== cell.total || !cell.isRead) {
        if (total > 0 || cell.tasks.length > 0) dirty.add(cell.place);
        cell.total = total;
      }
      cell.element.classList.toggle("none", total === 0 && cell.tasks.length === 0);
      showFoot(cell);
    }
  }

  /** @param {string} name @param {Column} column */
  function linkTo(name, column) {
    return `#/tasks${queryOf({ lane: name, state: column.states, order: column.order })}`;
  }

  /** @param {Lane[]} lanes */
  function showPicker(lanes) {
    const isNeeded = lane !== "" || lanes.length > MOST_LANES;
    picker.hidden = !isNeeded;
    const mark = `${lane}\n${lanes.map(({ name }) => name).join("\n")}`;
    if (!isNeeded || picker.dataset.mark === mark) return;
    picker.dataset.mark = mark;
    const names = lanes.map(({ name }) => name);
    const select = h("select", { id: "board-lane", on: { change: () => go(select.value ? `#/?lane=${encodeURIComponent(select.value)}` : "#/") } },
      h("option", { value: "", text: "All lanes" }), names.map((name) => h("option", { value: name, selected: name === lane, text: name })));
    picker.replaceChildren(h("label", { for: "board-lane", text: "Lane" }), select);
  }

  // ---- What needs a person

  /** @param {Attention[]} entries */
  function showAttention(entries) {
    attention.hidden = entries.length === 0;
    const mark = JSON.stringify([entries, isAllShown, isManaging()]);
    if (attention.dataset.mark === mark) return;
    attention.dataset.mark = mark;
    const shown = isAllShown ? entries : entries.slice(0, ATTENTION_SHOWN);
    const rest = entries.length - shown.length;
    const focus = attention.contains(document.activeElement);
    attention.replaceChildren(
      h("ul", {}, shown.map((entry) => h("li", { class: `attention-${entry.kind}` },
        icon(KIND_ICONS[entry.kind] ?? "warning"),
        h("span", { class: "attention-text" }, user(entry.text, 400), " ", entry.command && !entry.text.includes(entry.command) && h("code", { text: entry.command })),
        (entry.count ?? 1) > 1 && h("span", { class: "muted", text: counted(entry.count ?? 0, "task") }),
        entry.until ? h("span", { class: "muted" }, timeTag(entry.until)) : entry.since ? h("span", { class: "muted" }, timeTag(entry.since)) : null,
        remedy(entry)))),
      ...(rest > 0 || isAllShown && entries.length > ATTENTION_SHOWN ? [button(rest > 0 ? `Show ${rest} more` : "Show fewer", () => {
        isAllShown = !isAllShown;
        showAttention(entries);
      }, { class: "quiet" })] : []),
    );
    if (focus) /** @type {HTMLElement | null} */ (attention.querySelector("button, a"))?.focus();
  }

  /** What can be done about it here. @param {Attention} entry */
  function remedy({ kind, task_id: id, lane: name }) {
    if (kind === "paused_lane" && name) return !isManaging() ? null : button("Resume", () => resumeLane(name, notify));
    if (kind === "dead_letter" && !id) return h("a", { class: "button", href: `#/dead${queryOf({ lane: name })}`, text: "Look" });
    if (id) return h("a", { class: "button", href: `#/task/${encodeURIComponent(id)}`, text: kind === "question" ? "Answer" : "Look" });
    if (kind === "question") return h("a", { class: "button", href: "#/inbox", text: "Answer" });
    if (kind === "cooldown" || kind === "unready_program") return h("a", { class: "button", href: "#/workers", text: "Look" });
    if (kind === "budget") return h("a", { class: "button", href: "#/spend", text: "Look" });
    return name ? h("a", { class: "button", href: `#/tasks?lane=${encodeURIComponent(name)}`, text: "Look" }) : null;
  }

  // ---- Reading

  /** Reads at once, but no more often than columns may get a new order, and not while nobody sees it. */
  function readSoon() {
    if (dirty.size > 0 && !document.hidden) timer ??= setTimeout(readDirty, Math.max(0, mayReadAt - Date.now()));
  }

  function readDirty() {
    timer = undefined;
    mayReadAt = Date.now() + Math.max(SETTLE_MS, dirty.size * REQUEST_MS);
    for (const place of [...dirty]) {
      const cell = cells.get(place);
      if (!cell) dirty.delete(place);
      else if (!reading.has(place)) {
        dirty.delete(place);
        read(cell);
      }
    }
  }

  /** @param {Cell} cell */
  async function read(cell) {
    const { place, column } = cell;
    reading.add(place);
    try {
      const limit = cell.lane && !lane ? CARDS_OF_LANE : CARDS;
      const page = await get(`/tasks${queryOf({ fields: "summary", lane: cell.lane, state: column.states, order: column.order, limit })}`, { signal: abort.signal });
      cell.tasks = page.tasks;
      if (typeof page.total === "number") cell.total = page.total;
      cell.isRead = true;
      draw(cell);
    } catch (error) {
      if (abort.signal.aborted) return;
      // What was read before stays; the connection tells how old it is.
      if (!cell.isRead) cell.list.replaceChildren(problem(error));
    } finally {
      reading.delete(place);
      if (dirty.has(place)) readSoon();
    }
  }

  // ---- Cards

  /** @param {Cell} cell */
  function draw(cell) {
    const { list, tasks } = cell;
    const shown = new Map([...list.children].map((child) => [/** @type {HTMLElement} */ (child).dataset.key ?? "", /** @type {HTMLElement} */ (child)]));
    const isSame = shown.size <= tasks.length && [...shown.keys()].every((key, i) => tasks[i]?.id === key);
    cell.isLate = cell === held && !isSame;
    cell.element.classList.toggle("late", cell.isLate);
    if (cell.isLate) {
      // Under the pointer the cards keep their places; those that have left are only marked.
      const now = new Map(tasks.map((task) => [task.id, task]));
      for (const [key, element] of shown) {
        const task = now.get(key);
        element.classList.toggle("left", !task);
        if (task) updateCard(element, task, cell);
      }
      return;
    }
    const focused = list.contains(document.activeElement) ? [...shown.keys()].indexOf(current) : -1;
    keyed(list, tasks, ({ id }) => id, (task) => createCard(task), (element, task) => updateCard(element, task, cell));
    if (tasks.length > 0) {
      list.setAttribute("role", "listbox");
      list.setAttribute("aria-label", cell.lane ? `${cell.column.label}, lane ${cell.lane}` : cell.column.label);
    } else {
      list.removeAttribute("role");
      list.removeAttribute("aria-label");
    }
    cell.element.classList.toggle("none", cell.total === 0 && tasks.length === 0);
    showFoot(cell);
    if (focused >= 0 && !list.contains(document.activeElement)) {
      // The card with the focus has left: its neighbour takes over.
      const next = /** @type {HTMLElement | undefined} */ (list.children[Math.min(focused, list.children.length - 1)] ?? rows.querySelector(".card"));
      if (next) focusCard(next);
    }
    keepTabStop();
    const { activeElement } = document;
    if (awaited && (activeElement === document.body || activeElement?.contains(list))) {
      const card = [.../** @type {HTMLCollectionOf<HTMLElement>} */ (list.children)].find(({ dataset }) => dataset.key === awaited);
      if (card) {
        awaited = "";
        focusCard(card);
      }
    }
  }

  /** @param {Cell} cell */
  function showFoot({ foot, total, tasks, lane: name, column }) {
    foot.hidden = total <= tasks.length || tasks.length === 0;
    foot.textContent = `All ${count(total)}`;
    foot.setAttribute("aria-label", `All ${count(total)}: ${column.label}${name ? `, lane ${name}` : ""}`);
  }

  /** @param {Summary} task */
  function createCard({ id }) {
    return h("div", {
      class: "card", role: "option", "aria-selected": "false", tabindex: "-1",
      on: {
        /** @param {MouseEvent} event */
        click: (event) => {
          const address = `#/task/${encodeURIComponent(id)}`;
          if (event.ctrlKey || event.metaKey) window.open(address);
          else go(address);
        },
        focus: () => setCurrent(id),
      },
    });
  }

  /** @param {HTMLElement} element @param {Summary} task @param {Cell} cell */
  function updateCard(element, task, cell) {
    element.classList.remove("left");
    const mark = JSON.stringify(task);
    if (element.dataset.mark === mark) return;
    element.dataset.mark = mark;
    const { word } = stateOf(task);
    const isPlain = task.state === "queued" || task.state === "completed";
    element.replaceChildren(
      h("div", { class: "card-title" }, isPlain ? h("span", { class: "unseen", text: `${word}: ` }) : null, user(visible(task.title) || shortId(task.id), 160)),
      h("div", { class: "card-meta" },
        isPlain || task.state === "claimed" ? null : stateBadge(task),
        task.state === "claimed" ? h("span", { class: "state state-claimed" }, icon("claimed"), h("span", { class: "unseen", text: "Running for " }), timeTag(task.claimed_at ?? task.updated_at, "span")) : null,
        task.state === "scheduled" && task.not_before ? timeTag(task.not_before) : null,
        task.verdict && task.verdict !== "accept" ? h("span", { class: "chip", text: task.verdict }) : null,
        !cell.lane && h("span", { class: "clip" }, user(task.lane, 40)),
        task.vendor && h("span", { class: "clip" }, user(task.vendor, 24)),
        task.attempt > 1 && h("span", { title: "Attempt", text: task.max_attempts ? `${task.attempt} of ${task.max_attempts}` : `attempt ${task.attempt}` }),
        task.cost_usd !== null && task.cost_usd !== undefined && h("span", { text: cost(task.cost_usd) }),
        ...(task.labels ?? []).slice(0, 2).map((label) => h("span", { class: "chip" }, user(label, 24))),
        h("span", { class: "card-end" },
          task.state === "claimed" || task.state === "scheduled" ? null : timeTag(task.ended_at ?? task.updated_at),
          h("span", { class: "mono id", text: shortId(task.id) }))),
    );
  }

  // ---- Moving among the cards

  /** @param {string} id */
  function setCurrent(id) {
    current = id;
    keepTabStop();
  }

  /** Lets one card be reached with Tab. */
  function keepTabStop() {
    const all = [.../** @type {NodeListOf<HTMLElement>} */ (rows.querySelectorAll(".card"))];
    const stop = all.find(({ dataset }) => dataset.key === current) ?? all[0];
    for (const card of all) {
      card.tabIndex = card === stop ? 0 : -1;
      card.setAttribute("aria-selected", String(card === stop && card.dataset.key === current));
    }
  }

  /** @param {HTMLElement} card */
  function focusCard(card) {
    card.focus({ preventScroll: true });
    card.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  /** The cards of a column, through all lanes. @param {string} column */
  function cardsOf(column) {
    return [...cells.values()].filter((cell) => cell.column.id === column)
      .flatMap(({ list }) => [.../** @type {NodeListOf<HTMLElement>} */ (list.querySelectorAll(".card"))]);
  }

  /** The card with the focus; it has no task when that has left the column. @returns {{cell: Cell, id: string, task: Summary | null} | null} */
  function focusedCard() {
    for (const cell of cells.values()) {
      if (!cell.list.contains(document.activeElement)) continue;
      const { key: id = "" } = /** @type {HTMLElement} */ (document.activeElement).dataset;
      return { cell, id, task: cell.tasks.find((one) => one.id === id) ?? null };
    }
    return null;
  }

  /** @param {"next" | "previous" | "first" | "last"} movement */
  function moveInColumn(movement) {
    letGo();
    const at = focusedCard();
    if (!at) {
      const card = /** @type {HTMLElement | null} */ (rows.querySelector('.card[tabindex="0"]'));
      if (card) focusCard(card);
      return;
    }
    const all = cardsOf(at.cell.column.id);
    const next = step(all.findIndex((card) => card.dataset.key === at.id), movement, all.length);
    if (next >= 0) focusCard(all[next]);
  }

  /** @param {1 | -1} by */
  function moveToColumn(by) {
    letGo();
    const at = focusedCard();
    if (!at) return moveInColumn("next");
    const columns = COLUMNS.map(({ id }) => id);
    const place = [...at.cell.list.children].indexOf(/** @type {Element} */ (document.activeElement));
    for (let i = columns.indexOf(at.cell.column.id) + by; i >= 0 && i < columns.length; i += by) {
      const beside = cells.get(placeOf(at.cell.lane, columns[i]))?.list.querySelectorAll(".card");
      const card = beside?.length ? beside[Math.min(place, beside.length - 1)] : cardsOf(columns[i])[0];
      if (card) return focusCard(/** @type {HTMLElement} */ (card));
    }
  }

  /** @param {import("../actions.js").ActionName} name */
  function actOnCard(name) {
    const at = focusedCard();
    if (!at) notify("Move to a card first, with j and k.", { isError: true });
    else if (!at.task) notify("This task has left the column.", { isError: true });
    else actByKey(name, at.task, notify);
  }

  keys([
    { keys: ["j", "ArrowDown"], label: "Next", run: () => moveInColumn("next") },
    { keys: ["k", "ArrowUp"], label: "Previous", run: () => moveInColumn("previous") },
    { keys: ["h", "ArrowLeft"], label: "Column left", run: () => moveToColumn(-1), hidden: true },
    { keys: ["l", "ArrowRight"], label: "Column right", run: () => moveToColumn(1), hidden: true },
    { keys: ["Home"], label: "First of the column", run: () => moveInColumn("first"), hidden: true },
    { keys: ["End"], label: "Last of the column", run: () => moveInColumn("last"), hidden: true },
    { keys: ["Enter", "o"], label: "Open", run: () => {
      const at = focusedCard();
      if (at) go(`#/task/${encodeURIComponent(at.id)}`);
    } },
    { keys: ["c"], label: "Cancel", run: () => actOnCard("cancel"), hidden: isReadOnly() },
    { keys: ["r"], label: "Retry", run: () => actOnCard("retry"), hidden: isReadOnly() },
    { keys: ["R"], label: "Redrive", run: () => actOnCard("redrive"), hidden: isReadOnly() },
    { keys: ["m"], label: "Move", run: () => actOnCard("move"), hidden: isReadOnly() },
    { keys: ["p"], label: "Pause lane", run: () => {
      const name = focusedCard()?.task?.lane ?? lane;
      const paused = status()?.lanes.find((one) => one.name === name)?.paused;
      if (!name) notify("Move to a card of the lane first.", { isError: true });
      else if (paused) resumeLane(name, notify);
      else pauseLane(name, notify);
    }, hidden: !isManaging() },
    { keys: ["a"], label: "Answer", run: () => {
      const at = focusedCard();
      go(at?.task?.state === "input_required" ? `#/task/${encodeURIComponent(at.id)}` : "#/inbox");
    } },
  ]);

  // ---- Following

  const stopStatus = onStatus(show);
  document.addEventListener("visibilitychange", readSoon);
  const stopLive = subscribe((message) => {
    if (message.type === "events") {
      const whereIs = (/** @type {string} */ id) => [...cells.values()].find(({ tasks }) => tasks.some((task) => task.id === id))?.place;
      const byLane = !cells.has(placeOf("", COLUMNS[0].id));
      const places = changedPlaces(message.events, whereIs, byLane);
      for (const place of places) dirty.add(place);

      readSoon();
    } else if (message.type === "gap") {
      for (const place of cells.keys()) dirty.add(place);
      readSoon();
    }
  });

  return {
    unmount: () => {
      stopStatus();
      stopLive();
      document.removeEventListener("visibilitychange", readSoon);
      abort.abort();
      clearTimeout(timer);
      clearTimeout(resting);
    },
    /** @param {URLSearchParams} next */
    update: (next) => {
      const other = next.get("lane") ?? "";
      if (other === lane) return;
      lane = other;
      held = null;
      cells.clear();
      rows.replaceChildren();
      dirty.clear();
      show();
    },
  };
}
