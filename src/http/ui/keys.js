// Which key does what. Pure: a key and what was pressed before it lead to an action or to none.

/**
 * @typedef {object} Binding
 * @property {string[]} keys each a key (`j`, `Enter`, `?`) or two in a row (`g t`)
 * @property {string} label what it does, in a word or two
 * @property {(event: KeyboardEvent) => void} run
 * @property {boolean} [hidden] whether the footer leaves it out
 */

/** The time within which the second key of two must follow, in milliseconds. */
const PAIR_MS = 1500;

/**
 * Finds the binding of a key. `before` is the first key of two, with the time at which it was pressed.
 * @param {Binding[]} bindings the later ones take precedence
 * @param {{key: string, at: number} | null} before
 * @param {string} key
 * @param {number} now
 * @returns {{binding: Binding | null, before: {key: string, at: number} | null}}
 */
export function resolve(bindings, before, key, now) {
  if (before && now - before.at <= PAIR_MS) {
    const pair = `${before.key} ${key}`;
    const binding = last(bindings, (wanted) => wanted === pair);
    if (binding) return { binding, before: null };
  }
  const binding = last(bindings, (wanted) => wanted === key);
  if (binding) return { binding, before: null };
  const begins = bindings.some(({ keys }) => keys.some((wanted) => wanted.startsWith(`${key} `)));
  return { binding: null, before: begins ? { key, at: now } : null };
}

/** @param {Binding[]} bindings @param {(key: string) => boolean} matches */
function last(bindings, matches) {
  return [...bindings].reverse().find(({ keys }) => keys.some(matches)) ?? null;
}

/** The key as it is shown. @param {string} key */
export function keyText(key) {
  return key.replace("Escape", "Esc").replace("Arrow", "").replace("Page", "Page ").replace(/^ $/, "Space");
}

/** Whether a key is a single character, which can be switched off. @param {string} key */
export function isCharacter(key) {
  return [...key].length === 1 && key !== " ";
}

/**
 * Whether the target takes text, so that letters are letters there.
 * @param {{tagName?: string, type?: string, isContentEditable?: boolean} | null} target
 */
export function takesText(target) {
  if (!target?.tagName) return false;
  if (target.isContentEditable || target.tagName === "TEXTAREA" || target.tagName === "SELECT") return true;
  return target.tagName === "INPUT" && !["checkbox", "radio", "button", "submit"].includes(target.type ?? "");
}

/** Whether the target does something of its own at Enter or space. @param {{tagName?: string} | null} target */
export function isControl(target) {
  return ["A", "BUTTON", "INPUT", "SUMMARY", "SELECT", "TEXTAREA"].includes(target?.tagName ?? "");
}

/**
 * The place to which a movement leads in a list of `size`; -1 when the list is empty.
 * @param {number} at @param {"next" | "previous" | "first" | "last"} movement @param {number} size
 */
export function step(at, movement, size) {
  if (size === 0) return -1;
  if (movement === "first" || (movement === "next" && at < 0)) return 0;
  if (movement === "last" || (movement === "previous" && at < 0)) return size - 1;
  return movement === "next" ? Math.min(at + 1, size - 1) : Math.max(at - 1, 0);
}
