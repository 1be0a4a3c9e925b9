// Icons, drawn: a glyph may be missing in the fonts of a machine.

import { svg } from "./dom.js";

/** The lines of each icon on a grid of 16 by 16; those in `FILLED` are areas. */
const PATHS = /** @type {Record<string, string>} */ ({
  queued: "M8 2.5a5.5 5.5 0 1 1 0 11a5.5 5.5 0 0 1 0-11",
  scheduled: "M8 2.5a5.5 5.5 0 1 1 0 11a5.5 5.5 0 0 1 0-11M8 5v3l2 1.5",
  blocked: "M8 2.5a5.5 5.5 0 1 1 0 11a5.5 5.5 0 0 1 0-11M4.2 4.2l7.6 7.6",
  claimed: "M8 2.5a5.5 5.5 0 1 1 0 11a5.5 5.5 0 0 1 0-11M6.8 5.8v4.4L10.3 8z",
  input_required: "M8 2.5a5.5 5.5 0 1 1 0 11a5.5 5.5 0 0 1 0-11M6.5 6.6a1.5 1.5 0 1 1 2.2 1.3c-.5.3-.7.5-.7 1M8 10.9v.1",
  completed: "M8 2.5a5.5 5.5 0 1 1 0 11a5.5 5.5 0 0 1 0-11M5.6 8.2l1.7 1.7l3.2-3.6",
  failed: "M8 2.5a5.5 5.5 0 1 1 0 11a5.5 5.5 0 0 1 0-11M6 6l4 4M10 6l-4 4",
  dead: "M5.7 2.5h4.6l3.2 3.2v4.6l-3.2 3.2H5.7l-3.2-3.2V5.7zM6 6l4 4M10 6l-4 4",
  cancelled: "M8 2.5a5.5 5.5 0 1 1 0 11a5.5 5.5 0 0 1 0-11M5.5 8h5",
  pause: "M5.5 3.5v9M10.5 3.5v9",
  play: "M5 3.2v9.6L12.6 8z",
  warning: "M8 2.4L14 13H2zM8 6.4v3M8 11.3v.1",
  plus: "M8 3v10M3 8h10",
  search: "M7 2.8a4.2 4.2 0 1 1 0 8.4a4.2 4.2 0 0 1 0-8.4M10.2 10.2l3.2 3.2",
  close: "M4 4l8 8M12 4l-8 8",
  check: "M3.5 8.5l3 3l6-7",
  settings: "M2.5 5h6M12 5h1.5M2.5 11H4M7.5 11h6M10.2 3.4a1.6 1.6 0 1 1 0 3.2a1.6 1.6 0 0 1 0-3.2M5.8 9.4a1.6 1.6 0 1 1 0 3.2a1.6 1.6 0 0 1 0-3.2",
  right: "M6 3.5L10.5 8L6 12.5",
  down: "M3.5 6L8 10.5L12.5 6",
  link: "M6.5 9.5l3-3M7 4.8l1.2-1.2a2.6 2.6 0 0 1 3.7 3.7L10.7 8.5M9 11.2l-1.2 1.2a2.6 2.6 0 0 1-3.7-3.7L5.3 7.5",
});

/** Draws an icon. It says nothing of its own: the word stands beside it. @param {string} name */
export function icon(name) {
  return svg("svg", { class: `icon icon-${name}`, viewBox: "0 0 16 16", "aria-hidden": "true", focusable: "false" },
    svg("path", { d: PATHS[name] ?? PATHS.queued }));
}
