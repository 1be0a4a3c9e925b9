// All tasks in a dense list: filters in the address, actions on one, on several, or on all that the filter shows.

import { actByKey, ACTIONS, actionFor, actionsFor, actOnAll, actOnEach, BULK_MOST } from "../actions.js";
import { ApiError, get, query as queryOf } from "../api.js";
import { h, keyed } from "../dom.js";
import { fromQuery, inWords, isPreset, ORDERS, PRESETS, toBody, toHash, without, withSearch } from "../filter.js";
import { isVisible, newest } from "../fold.js";
import { cost, count, counted, shortId, visible } from "../format.js";
import { icon } from "../icons.js";
import { step } from "../keys.js";
import { subscribe } from "../live.js";
import { Pages, slice } from "../pages.js";
import { button, empty, problem, stateBadge, timeTag, user } from "../parts.js";
import { isReadOnly, onStatus, status } from "../status.js";

/** @typedef {import("../columns.js").Summary} Summary */
/** @typedef {import("../filter.js").Filter} Filter */

export const title = "Tasks";

const PAGE = 100;
/** Changes are shown no more often than this. */
const SETTLE_MS = 300;
/** The time that each request costs before the next are sent, so that a busy queue is not asked without end. */
const REQUEST_MS = 100;
const TYPING_MS = 250;
/** The most changed rows that are read one by one in a turn. */
const AT_ONCE = 20;

/** @param {HTMLElement} root @param {import("../app.js").Context} context */
export function mount(root, { query, go, notify, keys, returnTo }) {
  let abort = new AbortController();
  /** @type {Filter} */
  let filter = fromQuery(query);
  /** @type {Pages<Summary>} */
  let pages = new Pages();
  /** @type {number | null} */
  let total = null;
  let isReading = false;
  let at = -1;
  /** The places that are drawn. @type {[number, number]} */
  let drawn = [0, 0];
  /** @type {Map<string, Summary>} */
  const selected = new Map();
  let isAllSelected = false;
  let isOver = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let typing;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let settling;
  let maySettleAt = 0;
  /** Tasks that have changed since the last reading. @type {Set<string>} */
  const changed = new Set();

  // ---- The frame

  const search = h("input", {
    type: "search", class: "search", "aria-label": "Search tasks", placeholder: "Search, or lane:work label:urgent owner:…", spellcheck: "false", autocomplete: "off",
    on: {
      input: () => {
        clearTimeout(typing);
        // A qualifier that is still being typed is not one yet.
        if (!/[a-z_]+:\S*$/.test(search.value)) typing = setTimeout(applySearch, TYPING_MS);
      },
      change: applySearch,
      /** @param {KeyboardEvent} event */
      keydown: (event) => {
        if (event.key === "Enter") applySearch();
        // Escape leaves the field, and keeps what is in it.
        if (["Enter", "Escape", "ArrowDown"].includes(event.key)) {
          event.preventDefault();
          if (pages.length > 0) moveTo(Math.max(at, 0));
          else search.blur();
        }
      },
    },
  });
  const presets = h("div", { class: "segments", role: "group", "aria-label": "State" });
  const laneBox = h("select", { "aria-label": "Lane", on: { change: () => setFilter({ ...without2("lane"), ...(laneBox.value && { lane: [laneBox.value] }) }) } });
  const orderBox = h("select", { "aria-label": "Order", on: { change: () => setFilter({ ...filter, order: [orderBox.value] }) } },
    ORDERS.map(([value, label]) => h("option", { value, text: label })));
  const chips = h("div", { class: "chips" });
  const unreadable = h("div", {});
  const tally = h("span", { class: "muted tally" });
  const news = button("Show changes", () => reload(true), { class: "news" });
  news.hidden = true;
  const selectAll = h("input", { type: "checkbox", "aria-label": "Select all that are loaded", on: { change: () => setAllLoaded(selectAll.checked) } });
  const selection = h("div", { class: "selection", hidden: true });
  const list = h("div", { class: "rows", role: "listbox", "aria-multiselectable": "true", "aria-label": "Tasks" });
  const below = h("div", { class: "below" });
  const scroller = h("div", { class: "scroller", on: { scroll: () => requestAnimationFrame(draw), pointerenter: () => { isOver = true; }, pointerleave: () => { isOver = false; if (!news.hidden) { changed.add(""); settle(); } } } }, list, below);
  const heads = h("div", { class: "row heads" },
    h("span", { class: "pick" }, isReadOnly() ? null : selectAll),
    ...[["state", "State"], ["what", "Task"], ["in", "Lane"], ["by", "Worker"], ["n", "Attempt"], ["usd", "Cost"], ["when", "Changed"], ["id", "Id"]].map(([name, text]) => h("span", { class: name, text })));
  root.append(
    h("h1", { class: "unseen", text: "Tasks" }),
    h("div", { class: "filters" }, search, presets, laneBox, orderBox, tally, news),
    chips, unreadable, selection, heads, scroller);

  /** @param {string} name */
  function without2(name) {
    const next = { ...filter };
    delete next[name];
    return next;
  }

  /** @param {Filter} next */
  function setFilter(next) {
    go(toHash(next), { replace: true });
  }

  function applySearch() {
    clearTimeout(typing);
    const next = withSearch(filter, search.value);
    if (toHash(next) !== toHash(filter)) setFilter(next);
  }

  function showFilter() {
    if (document.activeElement !== search || (filter.q?.[0] ?? "") !== search.value.trim()) search.value = filter.q?.[0] ?? "";
    presets.replaceChildren(...PRESETS.map((preset) => h("button", {
      type: "button", "aria-pressed": String(isPreset(filter, preset)), text: preset.label,
      on: { click: () => {
        const { state, failure_class: classes, ...rest } = filter;
        setFilter(/** @type {Filter} */ ({ ...rest, ...(preset.state.length && { state: preset.state }), ...(preset.failure_class && { failure_class: preset.failure_class }) }));
        /** @type {HTMLElement | null} */ (presets.querySelector('[aria-pressed="true"]'))?.focus();
      } },
    })));
    orderBox.value = filter.order?.[0] ?? "newest";
    showLanes();
    const known = PRESETS.some((preset) => isPreset(filter, preset));
    const extra = Object.entries(filter).flatMap(([name, values]) => {
      if (name === "q" || name === "order" || (name === "lane" && values.length === 1) || (known && (name === "state" || name === "failure_class"))) return [];
      return values.map((value) => /** @type {[string, string]} */ ([name, value]));
    });
    chips.replaceChildren(...extra.map(([name, value]) => h("button", {
      type: "button", class: "chip", "aria-label": `Remove ${name} ${value}`, on: { click: () => setFilter(without(filter, name, value)) },
    }, `${name.replace("_", " ")}: `, user(value, 60), icon("close"))));
  }

  function showLanes() {
    const names = [...new Set([...(status()?.lanes ?? []).map(({ name }) => name), ...(filter.lane ?? [])])];
    const wanted = filter.lane?.length === 1 ? filter.lane[0] : "";
    const mark = names.join("\n");
    if (laneBox.dataset.mark !== mark) {
      laneBox.dataset.mark = mark;
      laneBox.replaceChildren(h("option", { value: "", text: "All lanes" }), ...names.map((name) => h("option", { value: name, text: name })));
    }
    laneBox.value = wanted;
  }

  // ---- Reading

  /** @param {string | null} cursor @returns {Promise<{tasks: Summary[], next_cursor: string | null, total: number | null, unreadable?: {id: string, error: string}[]}>} */
  function readPage(cursor) {
    return get(`/tasks${queryOf({ fields: "summary", limit: PAGE, order: "newest", ...filter, cursor })}`, { signal: abort.signal });
  }

  /** Reads the list from its beginning; what is shown stays until there is an answer. @param {boolean} [toTop] @param {boolean} [isOther] whether the filter has changed */
  async function reload(toTop = false, isOther = false) {
    abort.abort();
    abort = new AbortController();
    const { signal } = abort;
    changed.clear();
    news.hidden = true;
    isReading = true;
    list.setAttribute("aria-busy", "true");
    try {
      const page = await readPage(null);
      pages = new Pages();
      pages.add(page.tasks, page.next_cursor);
      total = page.total ?? null;
      unreadable.replaceChildren(...(page.unreadable ?? []).slice(0, 3).map(({ id, error }) => problem(`${id} cannot be read: ${error}`)));
      if (toTop) scroller.scrollTop = 0;
      below.replaceChildren();
    } catch (error) {
      if (signal.aborted) return;
      // What is shown is the answer to another filter, or to none.
      if (isOther) {
        pages = new Pages();
        total = null;
      }
      if (!pages.isBegun) below.replaceChildren(problem(error));
      else if (error instanceof ApiError && error.status !== 0) unreadable.replaceChildren(problem(error));
    }
    isReading = false;
    list.removeAttribute("aria-busy");
    draw();
    showSelection();
  }

  async function readMore() {
    if (isReading || !pages.hasMore) return;
    isReading = true;
    const { signal } = abort;
    try {
      const page = await readPage(pages.next);
      pages.add(page.tasks, page.next_cursor);
      isReading = false;
      draw();
    } catch (error) {
      if (signal.aborted) return;
      isReading = false;
      below.replaceChildren(problem(error), button("Try again", () => {
        below.replaceChildren();
        readMore();
      }));
    }
  }

  /** Reads pages again that were dropped. @param {number[]} missing */
  async function readAgain(missing) {
    if (isReading) return;
    isReading = true;
    const { signal } = abort;
    try {
      for (const page of missing) pages.fill(page, (await readPage(pages.pages[page].cursor)).tasks);
    } catch {
      if (signal.aborted) return;
    }
    isReading = false;
    draw();
  }

  // ---- Rows

  /** The height of a row, which the style sets. */
  const height = () => (matchMedia("(max-width: 760px)").matches ? 52 : 32);

  function draw() {
    const size = height();
    const { length } = pages;
    const top = scroller.scrollTop / size;
    const seen = Math.ceil(scroller.clientHeight / size);
    const [from, to] = slice(length, top, seen);
    drawn = [from, to];
    pages.trim(top + seen / 2);
    const rows = Array.from({ length: to - from }, (_, i) => ({ index: from + i, task: pages.row(from + i) }));
    list.style.setProperty("padding-top", `${from * size}px`);
    list.style.setProperty("padding-bottom", `${Math.max(0, length - to) * size}px`);
    const hadFocus = list.contains(document.activeElement);
    // A row that has moved keeps the focus.
    const focused = focusedKey();
    at = rows.find(({ task }) => task && task.id === focused)?.index ?? at;
    keyed(list, rows, ({ index, task }) => task?.id ?? `missing ${index}`, createRow, updateRow);
    // The row with the focus is gone: the one in its place takes over.
    if (hadFocus && !list.contains(document.activeElement)) rowAt(Math.min(Math.max(at, from), to - 1))?.focus({ preventScroll: true });
    tally.textContent = total !== null ? counted(total, "task") : pages.isBegun ? `${counted(length, "task")}${pages.hasMore ? " and more" : ""}` : "";
    const isEmpty = pages.isBegun && length === 0;
    heads.hidden = isEmpty;
    list.hidden = isEmpty;
    if (isEmpty) {
      const isFiltered = Object.keys(filter).some((name) => name !== "order");
      below.replaceChildren(isFiltered
        ? h("div", { class: "empty" }, h("p", { text: "No task matches this filter." }), button("Clear the filter", () => setFilter({})))
        : empty("No tasks yet.", "lanes submit --lane work --prompt \"…\""));
    } else if (below.querySelector(".empty")) below.replaceChildren();
    const missing = pages.missing(from, to);
    if (missing.length) readAgain(missing);
    else if (pages.hasMore && !below.querySelector(".problem") && top + seen * 2 > length) readMore();
  }

  /** @param {{index: number, task: Summary | null}} row */
  function createRow({ task }) {
    if (!task) return h("div", { class: "row missing", role: "option", "aria-selected": "false" }, h("span", { class: "what muted", text: "…" }));
    const { id } = task;
    return h("div", {
      class: "row", role: "option", tabindex: "-1",
      on: {
        /** @param {MouseEvent} event */
        click: (event) => {
          const address = `#/task/${encodeURIComponent(id)}`;
          if (/** @type {Element} */ (event.target).closest(".pick")) toggle(id);
          else if (event.ctrlKey || event.metaKey) window.open(address);
          else go(address);
        },
      },
    });
  }

  /** @param {HTMLElement} element @param {{index: number, task: Summary | null}} row */
  function updateRow(element, { index, task }) {
    element.setAttribute("aria-posinset", String(index + 1));
    element.setAttribute("aria-setsize", String(total ?? -1));
    element.dataset.index = String(index);
    if (!task) return;
    element.tabIndex = index === Math.max(at, 0) ? 0 : -1;
    const isPicked = isAllSelected || selected.has(task.id);
    element.setAttribute("aria-selected", String(isPicked));
    const mark = JSON.stringify(task);
    if (element.dataset.mark === mark) return;
    element.dataset.mark = mark;
    element.replaceChildren(
      h("span", { class: "pick" }, isReadOnly() ? null : h("span", { class: "box" }, icon("check"))),
      h("span", { class: "state-of" }, stateBadge(task)),
      h("span", { class: "what" }, h("span", { class: "clip" }, user(visible(task.title) || shortId(task.id), 200)), ...(task.labels ?? []).slice(0, 3).map((label) => h("span", { class: "chip" }, user(label, 30)))),
      h("span", { class: "in clip" }, user(task.lane, 60)),
      h("span", { class: "by clip" }, user(task.owner ?? task.vendor ?? "", 60)),
      h("span", { class: "n", text: task.attempt ? (task.max_attempts ? `${task.attempt}/${task.max_attempts}` : task.attempt) : "" }),
      h("span", { class: "usd", text: task.cost_usd === null || task.cost_usd === undefined ? "" : cost(task.cost_usd) }),
      h("span", { class: "when" }, task.state === "claimed" && task.claimed_at ? timeTag(task.claimed_at, "span") : timeTag(task.updated_at)),
      h("span", { class: "id mono", text: shortId(task.id) }));
  }

  /** @param {number} index */
  function moveTo(index) {
    if (index < 0 || pages.length === 0) return;
    const to = Math.min(index, pages.length - 1);
    const size = height();
    const top = to * size;
    if (top < scroller.scrollTop) scroller.scrollTop = top;
    else if (top + size > scroller.scrollTop + scroller.clientHeight) scroller.scrollTop = top + size - scroller.clientHeight;
    // Where the focus is until then, `draw` keeps it.
    draw();
    rowAt(to)?.focus({ preventScroll: true });
    at = to;
  }

  /** @param {number} index @returns {HTMLElement | null} */
  function rowAt(index) {
    return list.querySelector(`[data-index="${index}"]`);
  }

  list.addEventListener("focusin", (event) => {
    const { index } = /** @type {HTMLElement} */ (event.target).dataset;
    if (index === undefined || Number(index) === at) return;
    const before = /** @type {HTMLElement | null} */ (list.querySelector('[tabindex="0"]'));
    if (before) before.tabIndex = -1;
    at = Number(index);
    /** @type {HTMLElement} */ (event.target).tabIndex = 0;
  });

  /** The id of the task whose row has the focus. */
  function focusedKey() {
    const { activeElement } = document;
    return activeElement instanceof HTMLElement && list.contains(activeElement) ? activeElement.dataset.key : undefined;
  }

  /** The task whose row has the focus: never the one that happens to be in its place. */
  function focusedTask() {
    const key = focusedKey();
    return pages.rows().find(({ id }) => id === key) ?? null;
  }

  /** @param {"next" | "previous" | "first" | "last"} movement */
  const move = (movement) => moveTo(list.contains(document.activeElement) ? step(at, movement, pages.length) : Math.max(at, 0));

  // ---- Selecting and acting

  /** @param {string} id */
  function toggle(id) {
    if (isReadOnly()) return;
    const task = pages.rows().find((row) => row.id === id);
    if (isAllSelected) {
      isAllSelected = false;
      for (const row of pages.rows()) selected.set(row.id, row);
    }
    if (!selected.delete(id) && task) selected.set(id, task);
    showSelection();
  }

  /** @param {boolean} isOn */
  function setAllLoaded(isOn) {
    isAllSelected = false;
    selected.clear();
    if (isOn) for (const row of pages.rows()) selected.set(row.id, row);
    showSelection();
  }

  function showSelection() {
    const n = isAllSelected ? (total ?? pages.length) : selected.size;
    selection.hidden = n === 0;
    selectAll.checked = n > 0 && (isAllSelected || selected.size >= pages.length);
    selectAll.indeterminate = n > 0 && !selectAll.checked;
    for (const child of list.children) {
      const { key = "" } = /** @type {HTMLElement} */ (child).dataset;
      child.setAttribute("aria-selected", String(isAllSelected || selected.has(key)));
    }
    if (n === 0) {
      selection.replaceChildren();
      return;
    }
    const tasks = isAllSelected ? pages.rows() : [...selected.values()];
    const offered = ACTIONS.filter(({ name }) => tasks.some((task) => actionsFor(task).some((action) => action.name === name)));
    selection.replaceChildren(
      h("strong", { text: isAllSelected ? `All ${count(n)} of this filter` : `${count(n)} selected` }),
      ...(!isAllSelected && total !== null && total > n && selected.size >= pages.length
        ? [total > BULK_MOST ? h("span", { class: "muted", text: `of ${count(total)}; up to ${count(BULK_MOST)} can be changed at once` })
          : button(`Select all ${count(total)} of this filter`, () => {
            isAllSelected = true;
            showSelection();
          })] : []),
      ...offered.map(({ name, label, danger }) => button(label, () => actOnSelected(name), { class: danger ? "danger" : "" })),
      button("Clear", () => setAllLoaded(false), { class: "quiet" }));
  }

  /** @param {import("../actions.js").ActionName} name */
  function actOnSelected(name) {
    const done = () => {
      setAllLoaded(false);
      reload();
    };
    if (isAllSelected && total !== null) return actOnAll(name, toBody(filter), total, inWords(filter), notify, done);
    const tasks = [...selected.values()].filter((task) => actionFor(name, task));
    if (tasks.length) actOnEach(name, tasks, notify, done);
    else notify(`None of the selected tasks takes this: ${name}.`, { isError: true });
  }

  /** @param {import("../actions.js").ActionName} name */
  function actOnRow(name) {
    if (isAllSelected || selected.size > 0) return actOnSelected(name);
    const task = focusedTask();
    if (!task) notify("Move to a task first, with j and k.", { isError: true });
    else actByKey(name, task, notify);
  }

  keys([
    { keys: ["j", "ArrowDown"], label: "Next", run: () => move("next") },
    { keys: ["k", "ArrowUp"], label: "Previous", run: () => move("previous") },
    { keys: ["Home"], label: "First", run: () => move("first"), hidden: true },
    { keys: ["End"], label: "Last that is loaded", run: () => move("last"), hidden: true },
    { keys: ["PageDown"], label: "Page down", run: () => moveTo(at + Math.floor(scroller.clientHeight / height())), hidden: true },
    { keys: ["PageUp"], label: "Page up", run: () => moveTo(Math.max(0, at - Math.floor(scroller.clientHeight / height()))), hidden: true },
    { keys: ["Enter", "o"], label: "Open", run: () => {
      const task = focusedTask();
      if (task) go(`#/task/${encodeURIComponent(task.id)}`);
    } },
    { keys: ["x", " "], label: "Select", run: () => {
      const task = focusedTask();
      if (task) toggle(task.id);
    } },
    { keys: ["c"], label: "Cancel", run: () => actOnRow("cancel"), hidden: isReadOnly() },
    { keys: ["r"], label: "Retry", run: () => actOnRow("retry"), hidden: isReadOnly() },
    { keys: ["R"], label: "Redrive", run: () => actOnRow("redrive"), hidden: isReadOnly() },
    { keys: ["m"], label: "Move", run: () => actOnRow("move"), hidden: isReadOnly() },
    { keys: ["/"], label: "Search", run: () => search.focus() },
    { keys: ["u"], label: "Show changes", run: () => reload(true), hidden: true },
  ]);

  // ---- Following

  function settle() {
    if (changed.size > 0 && !document.hidden) settling ??= setTimeout(takeChanges, Math.max(0, maySettleAt - Date.now()));
  }

  /** Shows what has changed: rows in their places at once, a new order only where it moves nothing that is looked at. */
  async function takeChanges() {
    settling = undefined;
    const isQuiet = scroller.scrollTop < height() && !isOver && selected.size === 0 && !isAllSelected;
    if (isQuiet) {
      maySettleAt = Date.now() + SETTLE_MS;
      return reload();
    }
    news.hidden = false;
    const [from, to] = drawn;
    const isGap = changed.has("");
    pages.forget((id) => isGap || changed.has(id), from, to);
    // What is left is in sight or near it.
    const here = isGap ? pages.rows().map(({ id }) => id) : [...changed].filter((id) => pages.has(id) || selected.has(id));
    const now = here.slice(0, AT_ONCE);
    changed.clear();
    for (const id of here.slice(AT_ONCE)) changed.add(id);
    maySettleAt = Date.now() + Math.max(SETTLE_MS, now.length * REQUEST_MS);
    const { signal } = abort;
    for (const id of now) {
      try {
        const { task } = await get(`/tasks/${encodeURIComponent(id)}?fields=summary`, { signal });
        pages.replace(task);
        if (selected.has(id)) selected.set(id, task);
      } catch (error) {
        if (signal.aborted) return;
        // It was removed, or this is another queue.
        if (error instanceof ApiError && error.status === 404) {
          selected.delete(id);
          if (isGap) return reload();
        }
      }
    }
    draw();
    showSelection();
    settle();
  }

  const stopLive = subscribe((message) => {
    if (message.type === "events") for (const { task_id: id } of newest(message.events.filter(isVisible))) changed.add(id);
    else if (message.type === "gap") changed.add("");
    else return;
    settle();
  });
  document.addEventListener("visibilitychange", settle);
  const stopStatus = onStatus(showLanes);
  const onResize = () => draw();
  addEventListener("resize", onResize);

  /** @param {URLSearchParams} params */
  function begin(params) {
    if (params.get("search")) {
      search.focus();
      params.delete("search");
      setFilter(fromQuery(params));
    }
  }

  showFilter();
  reload().then(() => {
    const before = pages.rows().findIndex(({ id }) => id === returnTo);
    const { activeElement } = document;
    if (before >= 0 && (activeElement === document.body || activeElement?.contains(list))) moveTo(before);
  });
  // Once it is mounted, because this changes the address.
  queueMicrotask(() => begin(query));

  return {
    unmount: () => {
      stopLive();
      stopStatus();
      removeEventListener("resize", onResize);
      document.removeEventListener("visibilitychange", settle);
      clearTimeout(typing);
      clearTimeout(settling);
      abort.abort();
    },
    /** @param {URLSearchParams} next */
    update: (next) => {
      if (next.get("search")) return begin(next);
      const wanted = fromQuery(next);
      const isOther = toHash(wanted) !== toHash(filter);
      filter = wanted;
      showFilter();
      if (!isOther) return;
      at = -1;
      isAllSelected = false;
      selected.clear();
      reload(true, true);
    },
  };
}
