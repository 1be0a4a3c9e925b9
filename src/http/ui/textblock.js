// A text of any length, shown as text: what it would do to a terminal is left out.

import { h } from "./dom.js";
import { count } from "./format.js";
import { button, user } from "./parts.js";

const SHOWN = 100_000;

/**
 * A text of any length as its own block. Of a very long one the beginning is shown, and the rest on request.
 * @param {string} text @param {string} label
 * @returns {HTMLElement}
 */
export function textBlock(text, label) {
  const block = h("pre", { class: "text", tabindex: "0", role: "region", "aria-label": label }, user(text.slice(0, SHOWN), Infinity));
  if (text.length <= SHOWN) return block;
  const more = button(`Show all ${count(text.length)} characters`, () => {
    block.replaceChildren(user(text, Infinity));
    more.remove();
    block.focus();
  });
  return h("div", {}, block, more);
}
