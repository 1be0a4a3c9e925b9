// What a run changed in its worktree.

import { ApiError, text as getText } from "../api.js";
import { parse } from "../diff.js";
import { h } from "../dom.js";
import { count, counted } from "../format.js";
import { button, problem, user } from "../parts.js";
import { textBlock } from "../textblock.js";

/** @typedef {import("../diff.js").DiffFile} DiffFile */

/** A file with more changed lines than this is closed at first. */
const OPEN_LINES = 400;
const PART = 1000;
const LINE = 1000;

/** @type {import("./task.js").MakePanel} */
export function make(root, model, id) {
  const abort = new AbortController();
  const wanted = Number(new URLSearchParams(location.hash.split("?")[1] ?? "").get("attempt"));
  let { attempts, response } = model.history;
  let attempt = 0;
  const select = h("select", { id: "changes-attempt", on: { change: () => { attempt = Number(select.value); read(); } } });
  const sum = h("span", { class: "muted" });
  const place = h("div", {});
  const tools = h("div", { class: "log-tools" }, h("span", {}, h("label", { for: "changes-attempt", text: "Attempt" }), select), sum);

  async function read() {
    sum.textContent = "";
    const own = attempt;
    try {
      const patch = await getText(`/tasks/${encodeURIComponent(id)}/diff?attempt=${own}`, { signal: abort.signal });
      if (own === attempt) draw(patch);
    } catch (error) {
      if (abort.signal.aborted || own !== attempt) return;
      const isNone = error instanceof ApiError && error.status === 404;
      place.replaceChildren(isNone ? h("p", { class: "muted" }, user(error.message, 500)) : problem(error));
    }
  }

  /** @param {string} patch */
  function draw(patch) {
    const files = parse(patch);
    if (files.length === 0) {
      // A patch that was too large to be kept is replaced by the list of what it changes.
      place.replaceChildren(patch.trim() ? textBlock(patch, "Changed files") : h("p", { class: "muted", text: "The run changed no files." }));
      return;
    }
    const added = files.reduce((all, file) => all + file.added, 0);
    const removed = files.reduce((all, file) => all + file.removed, 0);
    sum.textContent = `${counted(files.length, "file")} · ${count(added)} added · ${count(removed)} removed`;
    let budget = 3 * OPEN_LINES;
    place.replaceChildren(...files.map((file) => {
      const size = file.added + file.removed;
      const isOpen = size <= OPEN_LINES && size <= budget;
      if (isOpen) budget -= size;
      return fileBlock(file, isOpen);
    }));
  }

  function choose() {
    const with_ = attempts.filter(({ has_diff: has }) => has).map(({ n }) => n);
    if (with_.length === 0) {
      attempt = 0;
      const { files_changed: files, insertions, deletions } = response?.metadata?.worktree ?? {};
      // What is known of a patch that was too large to be kept.
      if (files > 0) root.replaceChildren(h("p", {}, `${counted(files, "file")} · ${count(insertions)} added · ${count(deletions)} removed`), h("p", { class: "muted", text: "No patch is kept; lanes diff ID --stat shows the files." }));
      else root.replaceChildren(h("p", { class: "muted", text: attempts.some(({ has_diff: has }) => has == null) && attempts.length ? "This server does not report whether there are changes." : "No run of this task has recorded changes. A run does when the route of its lane has a worktree." }));
      return;
    }
    const before = attempt;
    attempt = with_.includes(attempt) ? attempt : with_.includes(wanted) ? wanted : with_[with_.length - 1];
    select.replaceChildren(...with_.map((n) => h("option", { value: n, text: n, selected: n === attempt })));
    if (before === 0) root.replaceChildren(tools, place);
    if (before !== attempt) read();
  }

  choose();
  return {
    update: ({ history }) => {
      ({ attempts, response } = history);
      choose();
    },
    unmount: () => abort.abort(),
  };
}

/** @param {DiffFile} file @param {boolean} isOpen */
function fileBlock(file, isOpen) {
  const { change, from, binary, mode, added, removed, hunks } = file;
  const words = [change !== "modified" && change, from && `from ${from}`, binary && "binary", mode && `mode ${mode}`].filter(Boolean).join(", ");
  const body = h("div", { class: "diff-body", tabindex: "0", role: "region", "aria-label": `Changes of ${file.path}` });
  let isDrawn = false;
  const draw = () => {
    if (isDrawn) return;
    isDrawn = true;
    // Lines with the headers of their hunks between them, so that a part can end anywhere.
    const rows = hunks.flatMap(({ header, lines }) => [`line ${lines[0]?.after ?? lines[0]?.before ?? 0}${header ? ` · ${header}` : ""}`, ...lines]);
    let shown = 0;
    const more = () => {
      body.append(...rows.slice(shown, shown + PART).map(rowOf));
      shown += PART;
      if (shown < rows.length) {
        const next = button(`Show ${count(Math.min(PART, rows.length - shown))} more lines of ${count(rows.length)}`, () => {
          next.remove();
          more();
        }, { class: "quiet" });
        body.append(next);
      }
    };
    if (rows.length === 0) body.append(h("p", { class: "muted", text: binary ? "A binary file." : "No line has changed." }));
    more();
  };
  const details = h("details", { class: "diff", open: isOpen, on: { toggle: () => { if (details.open) draw(); } } },
    h("summary", {}, h("span", { class: "mono diff-path" }, user(file.path, 300)), words && h("span", { class: "muted" }, user(words, 300)),
      h("span", { class: "diff-sum" }, h("span", { class: "plus", text: `+${count(added)}` }), " ", h("span", { class: "minus", text: `−${count(removed)}` }))),
    body);
  if (isOpen) draw();
  return details;
}

const KINDS = { "+": "add", "-": "del", " ": "same", "\\": "mark" };

/** @param {string | import("../diff.js").DiffLine} row */
function rowOf(row) {
  if (typeof row === "string") return h("div", { class: "diff-line hunk" }, user(row, 200));
  const { kind, before, after, text } = row;
  return h("div", { class: `diff-line ${KINDS[kind]}` },
    h("span", { class: "diff-n", "aria-hidden": "true", text: before ?? "" }), h("span", { class: "diff-n", "aria-hidden": "true", text: after ?? "" }),
    h("span", { class: "diff-kind", text: kind }), h("bdi", { text: text.slice(0, LINE) }),
    text.length > LINE && h("span", { class: "muted", text: ` … ${count(text.length - LINE)} more characters` }));
}
