// What a run prints: the last lines, and then every new one.

import { MAX_LINE, parse, plain } from "../ansi.js";
import { ApiError, lines, query as queryOf } from "../api.js";
import { h } from "../dom.js";
import { count, counted } from "../format.js";
import { problem } from "../parts.js";

/** @typedef {{n: number, t: string | null, stream: "stdout" | "stderr", text: string, pos: string, cut?: boolean}} LogLine */

const TAIL = 1000;
/** The most lines on the page; while a person reads above the end, twice as many, and then the stream waits. */
const WINDOW = 2000;

/** @type {import("./task.js").MakePanel} */
export function make(root, model, id) {
  const wanted = Number(new URLSearchParams(location.hash.split("?")[1] ?? "").get("attempt"));
  // Only runs of dispatchers leave their output in the store.
  const runs = (/** @type {import("./task.js").Model} */ { history }) => history.attempts.filter(({ vendor }) => vendor).map(({ n }) => n);
  let attempts = runs(model);
  let attempt = attempts.includes(wanted) ? wanted : (attempts[attempts.length - 1] ?? 0);
  let stream = "all";
  /** @type {AbortController | null} */
  let abort = null;
  /** Where the stream goes on after the last line that was taken. @type {string | null} */
  let pos = null;
  /** Lines that are not on the page yet. @type {LogLine[]} */
  let pending = [];
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let drawing;
  /** The time between two changes of the page: longer when they take long, as when a run prints without end. */
  let pause = 50;
  let isEnded = false;
  /** Whether the page stays at the end. */
  let isAtEnd = true;
  let top = 0;
  let delay = 500;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let styles = { stdout: plain(), stderr: plain() };
  let left = 0;
  // A stream ends in the same way when the run has ended and when the server was killed: the history tells which.
  const isOver = () => model.history.attempts.some(({ n, ended_at: end }) => n === attempt && end);

  const attemptSelect = h("select", { id: "output-attempt", on: { change: () => { attempt = Number(attemptSelect.value); restart(); } } });
  const streamSelect = h("select", { id: "output-stream", on: { change: () => { stream = streamSelect.value; restart(); } } },
    [["all", "Both"], ["stdout", "Standard output"], ["stderr", "Standard error"]].map(([value, text]) => h("option", { value, text })));
  const follow = h("input", { type: "checkbox", id: "output-follow", checked: true, on: { change: () => { if (follow.checked) toEnd(); else isAtEnd = false; } } });
  const note = h("span", { class: "muted", role: "status" });
  const list = h("div", { class: "log", role: "log", "aria-live": "off", "aria-label": "Output", tabindex: "0", on: { scroll: scrolled } });
  const trouble = h("div", {});
  root.replaceChildren(
    h("div", { class: "log-tools" },
      h("span", {}, h("label", { for: "output-attempt", text: "Attempt" }), attemptSelect),
      h("span", {}, h("label", { for: "output-stream", text: "Stream" }), streamSelect),
      h("label", { class: "choice" }, follow, "Follow"), note),
    trouble, list);

  function drawAttempts() {
    attemptSelect.replaceChildren(...attempts.map((n) => h("option", { value: n, text: n, selected: n === attempt })));
  }

  function restart() {
    stop();
    pos = null;
    pending = [];
    left = 0;
    styles = { stdout: plain(), stderr: plain() };
    isAtEnd = follow.checked = true;
    list.replaceChildren();
    trouble.replaceChildren();
    start();
  }

  function stop() {
    clearTimeout(timer);
    abort?.abort();
    abort = null;
  }

  async function start() {
    if (abort || attempt === 0 || document.hidden) {
      showNote();
      return;
    }
    const own = (abort = new AbortController());
    isEnded = false;
    showNote();
    try {
      const query = queryOf({ stream: "all", attempt, follow: 1, ...(pos === null ? { tail: TAIL } : { since: pos }) });
      await lines(`/tasks/${encodeURIComponent(id)}/log${query}`, take, { signal: own.signal });
      if (own.signal.aborted) return;
      abort = null;
      trouble.replaceChildren();
      if (isOver()) {
        isEnded = true;
        draw();
      } else startAgain();
    } catch (error) {
      if (own.signal.aborted) return;
      abort = null;
      const isGone = error instanceof ApiError && error.status !== 0 && error.status < 500;
      if (isGone && pos === null) trouble.replaceChildren(problem(error));
      else startAgain();
    }
    showNote();
  }

  /** What arrived stays; the stream goes on where it broke off. */
  function startAgain() {
    timer = setTimeout(start, delay);
    delay = Math.min(delay * 2, 10_000);
  }

  /** @param {LogLine} line */
  function take(line) {
    if (typeof line.pos === "string") pos = line.pos;
    delay = 500;
    if (typeof line.text !== "string" || (stream !== "all" && line.stream !== stream)) return;
    // A copy: a part of a text would keep all of it in memory.
    if (line.text.length > MAX_LINE * 2) line = { ...line, text: JSON.parse(JSON.stringify(line.text.slice(0, MAX_LINE * 2))), cut: true };
    pending.push(line);
    if (pending.length > 2 * WINDOW) {
      left += WINDOW;
      pending.splice(0, WINDOW);
    }
    drawing ??= setTimeout(draw, pause);
  }

  function draw() {
    clearTimeout(drawing);
    drawing = undefined;
    const began = performance.now();
    const lines = pending;
    pending = [];
    if (isAtEnd && lines.length > WINDOW) left += lines.splice(0, lines.length - WINDOW).length;
    if (lines.length) {
      const part = document.createDocumentFragment();
      for (const line of lines) part.append(row(line));
      list.append(part);
    }
    if (isAtEnd) {
      while (list.children.length > WINDOW) {
        list.firstElementChild?.remove();
        left++;
      }
      list.scrollTop = list.scrollHeight;
      top = list.scrollTop;
    } else if (list.children.length > 2 * WINDOW) stop();
    showNote();
    pause = Math.min(1000, Math.max(50, 4 * (performance.now() - began)));
  }

  /** @param {LogLine} line */
  function row(line) {
    const { pieces, more } = parse(line.text, styles[line.stream] ?? plain());
    const element = h("div", { class: line.stream === "stderr" ? "log-line err" : "log-line", title: line.t },
      pieces.map(({ text, cls }) => (cls ? h("span", { class: cls, text }) : text)));
    if (more > 0 || line.cut) element.append(h("span", { class: "muted", text: " … the line goes on" }));
    // An empty line has a height too.
    if (!element.firstChild) element.append("\u200b");
    return element;
  }

  function scrolled() {
    const wasAtEnd = isAtEnd;
    // Only a move upwards leaves the end: lines that are added or wrapped anew move it away, too.
    const isBelow = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
    isAtEnd = isBelow || (wasAtEnd && list.scrollTop >= top);
    top = list.scrollTop;
    if (isAtEnd !== wasAtEnd) follow.checked = isAtEnd;
    if (isAtEnd && !wasAtEnd && !isEnded) start();
  }

  function toEnd() {
    isAtEnd = true;
    draw();
    if (!isEnded) start();
  }

  function showNote() {
    const shown = list.children.length;
    const parts = [attempt === 0 ? "No agent of a dispatcher has run yet; only their output is kept" : counted(shown, "line")];
    if (left > 0) parts.push(`${count(left)} earlier ones are not kept here: lanes logs shows all`);
    else if (shown >= TAIL) parts.push(`the last ${count(TAIL)} and what followed`);
    if (isEnded) parts.push("the run has ended");
    else if (abort) parts.push("live");
    else if (attempt !== 0) parts.push(isAtEnd ? "waiting for the server" : "waiting until you go to the end");
    const text = parts.join(" · ");
    if (note.textContent !== text) note.textContent = text;
  }

  function seen() {
    // A page that nobody sees reads nothing; it goes on where it stopped.
    if (document.hidden) stop();
    else if (!isEnded && (isAtEnd || list.children.length <= 2 * WINDOW)) start();
  }

  document.addEventListener("visibilitychange", seen);
  drawAttempts();
  start();
  return {
    update: (changed) => {
      model = changed;
      const now = runs(changed);
      if (now.join() === attempts.join()) return;
      const wasNewest = attempt === (attempts[attempts.length - 1] ?? 0);
      attempts = now;
      if (wasNewest && isAtEnd) {
        attempt = now[now.length - 1] ?? 0;
        restart();
      }
      drawAttempts();
    },
    unmount: () => {
      stop();
      clearTimeout(drawing);
      document.removeEventListener("visibilitychange", seen);
    },
  };
}
