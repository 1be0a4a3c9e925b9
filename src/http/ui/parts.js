// The small parts that all screens are made of.

import { h } from "./dom.js";
import { cut, stateOf } from "./format.js";
import { icon } from "./icons.js";
import { exact, parse, relative, span } from "./time.js";

/** How far the server's clock is ahead of this one, in milliseconds. */
let skew = 0;

/** Sets the clock by a time that the server has told just now. @param {string | undefined} now */
export function setClock(now) {
  const time = parse(now);
  // Less than this is the time that the answer took.
  if (!Number.isNaN(time)) skew = Math.abs(time - Date.now()) < 2000 ? 0 : time - Date.now();
}

/** The server's time in milliseconds. */
export function serverNow() {
  return Date.now() + skew;
}

/** Text of a person or a program: cut, and in a direction of its own. @param {unknown} text @param {number} [most] */
export function user(text, most) {
  return h("bdi", { text: cut(text, most) });
}

/** The state of a task: word, icon and colour. @param {{state: string, failure_class?: string | null}} task */
export function stateBadge(task) {
  const { word, kind, detail } = stateOf(task);
  return h("span", { class: `state state-${kind}` }, icon(kind), h("span", {}, detail ? `${word}: ${detail}` : word));
}

/**
 * A time that keeps itself up to date, with the exact one as its title. With `form` `span` it is the time since then.
 * @param {string | null | undefined} text @param {"relative" | "span"} [form]
 */
export function timeTag(text, form = "relative") {
  if (!text) return h("span", {});
  const element = h("time", { datetime: text, title: exact(text), "data-form": form });
  setTime(element);
  return element;
}

/** @param {HTMLElement} element */
function setTime(element) {
  const then = parse(element.getAttribute("datetime"));
  const now = serverNow();
  const shown = element.dataset.form === "span" ? span((now - then) / 1000) : relative(then, now);
  if (element.textContent !== shown) element.textContent = shown;
}

setInterval(() => {
  if (document.hidden) return;
  for (const element of document.querySelectorAll("time[data-form]")) setTime(/** @type {HTMLElement} */ (element));
}, 1000);

/** What a screen without content says, with the command that would change that. @param {string} text @param {string} [command] */
export function empty(text, command) {
  return h("div", { class: "empty" }, h("p", { text }), command && h("p", {}, h("code", { text: command })));
}

/**
 * A button.
 * @param {string} label @param {(event: MouseEvent) => void} run
 * @param {{icon?: string, class?: string, title?: string, bare?: boolean, disabled?: boolean}} [look] `bare` shows the icon alone
 */
export function button(label, run, look = {}) {
  return h("button", {
    type: "button",
    class: `button ${look.class ?? ""}${look.bare ? " bare" : ""}`,
    title: look.title ?? (look.bare ? label : null),
    "aria-label": look.bare ? label : null,
    disabled: look.disabled,
    on: { click: run },
  }, look.icon && icon(look.icon), !look.bare && h("span", { text: label }));
}

/** A line that says what went wrong. @param {unknown} error */
export function problem(error) {
  return h("p", { class: "problem", role: "alert" }, icon("warning"), user(error instanceof Error ? error.message : error, 1000));
}

/**
 * Moves the focus to the next or previous element of a kind, or to the first one.
 * @param {Element} root @param {string} selector @param {1 | -1} by
 */
export function moveFocus(root, selector, by) {
  const all = /** @type {HTMLElement[]} */ ([...root.querySelectorAll(selector)]);
  const at = all.findIndex((one) => one === document.activeElement || one.closest("li, article")?.contains(document.activeElement));
  all[at < 0 ? 0 : Math.max(0, Math.min(at + by, all.length - 1))]?.focus();
}
