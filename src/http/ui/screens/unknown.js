// What an address without a screen shows.

import { h } from "../dom.js";

export const title = "No such page";

/** @param {HTMLElement} root @param {import("../app.js").Context} context */
export function mount(root, { go }) {
  root.append(h("div", { class: "empty" },
    h("h1", { text: "No such page" }),
    h("p", { text: "This version has no screen at this address." }),
    h("button", { type: "button", class: "button", text: "Go to the board", on: { click: () => go("#/") } })));
  return () => {};
}
