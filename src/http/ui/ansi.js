// Text that a program wrote for a terminal, as pieces with classes. Of its escape sequences, only colours and styles have
// an effect; every other one is dropped, as are control characters, so that output can change nothing but its own look.

/** The longest line that is shown, in UTF-16 units. */
export const MAX_LINE = 4000;

/**
 * The style that is in effect; kept from line to line of one stream.
 * @typedef {{fg: number, bg: number, bold: boolean, dim: boolean, italic: boolean, underline: boolean, inverse: boolean,
 *   strike: boolean}} Style
 * @typedef {{text: string, cls: string}} Piece
 */

/** @returns {Style} The style of a stream that has not begun. */
export function plain() {
  return { fg: -1, bg: -1, bold: false, dim: false, italic: false, underline: false, inverse: false, strike: false };
}

// The 16 colours of xterm; others become the nearest of them, so that each has a class whose contrast was checked.
const PALETTE = [
  [0, 0, 0], [205, 0, 0], [0, 205, 0], [205, 205, 0], [0, 0, 238], [205, 0, 205], [0, 205, 205], [229, 229, 229],
  [127, 127, 127], [255, 0, 0], [0, 255, 0], [255, 255, 0], [92, 92, 255], [255, 0, 255], [0, 255, 255], [255, 255, 255],
];

/**
 * @param {number} r @param {number} g @param {number} b
 * @returns {number} The nearest of the 16 colours.
 */
function nearest(r, g, b) {
  let best = 0;
  let least = Infinity;
  PALETTE.forEach(([x, y, z], index) => {
    const distance = (r - x) ** 2 + (g - y) ** 2 + (b - z) ** 2;
    if (distance < least) [least, best] = [distance, index];
  });
  return best;
}

/**
 * @param {number} index A colour of the 256.
 * @returns {number} The nearest of the 16 colours; -1 for a number that is none.
 */
function of256(index) {
  if (!(index >= 0 && index <= 255)) return -1;
  if (index < 16) return index;
  if (index >= 232) return nearest(...grey((index - 232) * 10 + 8));
  const level = (/** @type {number} */ n) => (n === 0 ? 0 : 55 + n * 40);
  const cube = index - 16;
  return nearest(level(Math.floor(cube / 36)), level(Math.floor(cube / 6) % 6), level(cube % 6));
}

/** @param {number} n @returns {[number, number, number]} */
const grey = (n) => [n, n, n];

/**
 * Applies the parameters of one `ESC [ … m`.
 * @param {Style} style @param {string} parameters
 */
function apply(style, parameters) {
  // `38:5:N` and `38:2::R:G:B` are the colon forms of `38;5;N` and `38;2;R;G;B`.
  const codes = parameters.replace(/:2::/g, ":2:").split(/[;:]/).slice(0, 64).map(Number);
  for (let i = 0; i < codes.length; i++) {
    const code = codes[i];
    if (code === 0) Object.assign(style, plain());
    else if (code === 1) style.bold = true;
    else if (code === 2) style.dim = true;
    else if (code === 3) style.italic = true;
    else if (code === 4) style.underline = true;
    else if (code === 7) style.inverse = true;
    else if (code === 9) style.strike = true;
    else if (code === 22) style.bold = style.dim = false;
    else if (code === 23) style.italic = false;
    else if (code === 24) style.underline = false;
    else if (code === 27) style.inverse = false;
    else if (code === 29) style.strike = false;
    else if (code >= 30 && code <= 37) style.fg = code - 30;
    else if (code >= 90 && code <= 97) style.fg = code - 82;
    else if (code >= 40 && code <= 47) style.bg = code - 40;
    else if (code >= 100 && code <= 107) style.bg = code - 92;
    else if (code === 39) style.fg = -1;
    else if (code === 49) style.bg = -1;
    else if (code === 38 || code === 48) {
      let colour = -1;
      if (codes[i + 1] === 5) {
        colour = of256(codes[i + 2]);
        i += 2;
      } else if (codes[i + 1] === 2) {
        colour = nearest(codes[i + 2] || 0, codes[i + 3] || 0, codes[i + 4] || 0);
        i += 4;
      }
      if (code === 38) style.fg = colour;
      else style.bg = colour;
    }
  }
}

/** @param {Style} style @returns {string} The classes of the style. */
function classes(style) {
  const [fg, bg] = style.inverse ? [style.bg, style.fg] : [style.fg, style.bg];
  const names = [];
  // A coloured background has a text colour of its own that can be read on it.
  if (bg >= 0) names.push(`bg-${bg}`);
  else if (style.inverse) names.push("bg-none");
  else if (fg >= 0) names.push(`fg-${fg}`);
  for (const name of /** @type {const} */ (["bold", "dim", "italic", "underline", "strike"])) {
    if (style[name]) names.push(`t-${name}`);
  }
  return names.join(" ");
}

// In order: CSI; strings of OSC, DCS, SOS, PM and APC; both up to their end or that of the line; other escapes; control
// characters except tab; marks that would reverse the text that follows.
const SPECIAL =
  /(?:\x1b\[|\x9b)([0-?]*)[ -/]*([@-~]|(?=\n)|$)|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\n\x1b\x90\x98\x9c-\x9f]*(?:\x07|\x1b\\|\x9c|(?=\n)|$)|\x1b[ -/]*[0-~]?|[\x00-\x08\x0a-\x1f\x7f-\x9f]|[\u202a-\u202e\u2066-\u2069]/g;

/** What a text has that may hold something special. */
const SUSPECT = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/;

/** @param {string} special What matched. @returns {string} What is shown instead: a mark is named, the rest is dropped. */
function inPlaceOf(special) {
  return /[\u202a-\u202e\u2066-\u2069]/.test(special) ? `‹U+${special.charCodeAt(0).toString(16).toUpperCase()}›` : "";
}

/**
 * Returns a text of several lines without escape sequences and control characters.
 * @param {string} text
 */
export function withoutEscapes(text) {
  return !SUSPECT.test(text) ? text : text.replace(SPECIAL, (special) => (special === "\n" ? special : inPlaceOf(special)));
}

/**
 * Splits a line into pieces of one look each. `style` is changed to what is in effect after the line. What a line
 * overwrites after a carriage return is not shown, as on a terminal; of a longer line than `MAX_LINE`, the beginning.
 * @param {string} line @param {Style} style
 * @returns {{pieces: Piece[], more: number}} The pieces, and how many UTF-16 units are not shown.
 */
export function parse(line, style) {
  let length = line.length;
  while (length > 0 && "\r\n".includes(line[length - 1])) length--;
  const start = line.lastIndexOf("\r", length - 1) + 1;
  const end = Math.min(length, start + MAX_LINE);
  /** @type {Piece[]} */
  const pieces = [];
  /** @param {string} text */
  const add = (text) => {
    if (!text) return;
    const cls = classes(style);
    const last = pieces[pieces.length - 1];
    if (last && last.cls === cls) last.text += text;
    else pieces.push({ text, cls });
  };
  // Styles set in what is overwritten stay in effect.
  for (const match of line.slice(Math.max(0, start - MAX_LINE), start).matchAll(SPECIAL)) {
    if (match[2] === "m") apply(style, match[1]);
  }
  const shown = line.slice(start, end);
  let from = 0;
  for (const match of shown.matchAll(SPECIAL)) {
    add(shown.slice(from, match.index));
    from = (match.index ?? 0) + match[0].length;
    if (match[2] === "m" && /^[\d;:]*$/.test(match[1])) apply(style, match[1]);
    else add(inPlaceOf(match[0]));
  }
  add(shown.slice(from));
  return { pieces, more: length - end };
}
