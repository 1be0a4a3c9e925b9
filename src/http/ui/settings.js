// What a person has set for this browser. Nothing secret is kept here.

const KEY = "lanes-settings";

/** @typedef {{scheme: "auto" | "light" | "dark", keys: boolean, notify: boolean}} Settings */

/** @type {Settings} */
const DEFAULTS = { scheme: "auto", keys: true, notify: false };

/** The settings in effect. @type {Settings} */
export const settings = { ...DEFAULTS, ...read() };

/** @returns {Partial<Settings>} */
function read() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    return {
      ...(["light", "dark"].includes(kept.scheme) && { scheme: kept.scheme }),
      ...(typeof kept.keys === "boolean" && { keys: kept.keys }),
      ...(typeof kept.notify === "boolean" && { notify: kept.notify }),
    };
  } catch {
    return {};
  }
}

/** Changes settings, for all pages that this browser opens from now on. @param {Partial<Settings>} changes */
export function change(changes) {
  Object.assign(settings, changes);
  try {
    localStorage.setItem(KEY, JSON.stringify(settings));
  } catch {
    // Without storage they last until the page is reloaded.
  }
  apply();
}

/** Shows the page in the scheme that was chosen. */
export function apply() {
  document.documentElement.dataset.scheme = settings.scheme;
}
