// The map of all keys.

import { open as openDialog } from "../dialog.js";
import { h } from "../dom.js";
import { keyText } from "../keys.js";

/** @typedef {import("../keys.js").Binding} Binding */

/** Opens the map. @param {Binding[]} everywhere @param {Binding[]} here the keys of the screen, which take precedence */
export function open(everywhere, here) {
  const taken = new Set(here.flatMap(({ keys }) => keys));
  openDialog("Keys", () => [
    ...(here.length > 0 ? [h("h3", { text: "On this screen" }), map(here)] : []),
    h("h3", { text: "Everywhere" }),
    map(everywhere.filter(({ keys }) => !keys.every((key) => taken.has(key)))),
    h("p", { class: "help", text: "Letters do nothing while you type. Settings has a switch that turns them off." }),
  ], "wide");
}

/** @param {Binding[]} bindings */
function map(bindings) {
  return h("dl", { class: "keymap" }, bindings.map(({ keys, label }) => h("div", {},
    h("dt", {}, keys.map((key) => h("kbd", { text: keyText(key) }))),
    h("dd", { text: label }))));
}
