// What the screens besides the board and the list share: their styles, loaded with the first of them, and what stands on
// them before the first answer.

import { h } from "./dom.js";

/** @type {Promise<void> | null} */
let loaded = null;

/** Loads the styles; a screen that waits for this is never seen without them. */
export function screenStyles() {
  loaded ??= new Promise((done) => {
    const link = h("link", { rel: "stylesheet", href: new URL("./screens.css", import.meta.url).href });
    // A page without the styles is better than none.
    for (const end of ["load", "error"]) link.addEventListener(end, () => done());
    document.head.append(link);
  });
  return loaded;
}

/** What a screen shows until it has read something. It can be seen only when that takes long. */
export function reading() {
  return h("p", { class: "reading", text: "Reading…" });
}
