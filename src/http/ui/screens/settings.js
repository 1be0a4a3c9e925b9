// The settings of this browser.

import { setToken, hasToken } from "../api.js";
import { open as openDialog } from "../dialog.js";
import { h } from "../dom.js";
import { button } from "../parts.js";
import { change, settings } from "../settings.js";

/** @typedef {import("../settings.js").Settings} Settings */

/** Opens the settings. */
export function open() {
  const trouble = h("p", { class: "help", role: "status" });
  openDialog("Settings", (close) => [h("div", { class: "fields" },
    h("fieldset", {}, h("legend", { text: "Colours" }),
      ...["auto", "light", "dark"].map((scheme) => h("label", { class: "choice" },
        h("input", { type: "radio", name: "scheme", value: scheme, checked: settings.scheme === scheme, on: { change: () => change({ scheme: /** @type {Settings["scheme"]} */ (scheme) }) } }),
        scheme === "auto" ? "As the system" : scheme === "light" ? "Light" : "Dark"))),
    toggle("Single-key shortcuts", "Letters act as shortcuts outside of text fields. Arrows, Enter and Escape always work.", settings.keys, (keys) => {
      change({ keys });
      const footer = document.getElementById("footer");
      if (footer) footer.hidden = !keys;
    }),
    toggle("Browser notifications", "While this page is hidden: when a task asks, ends or fails.", settings.notify, async (notify, box) => {
      if (notify && (!("Notification" in self) || (await Notification.requestPermission()) !== "granted")) {
        trouble.textContent = "The browser does not allow notifications for this page.";
        box.checked = false;
        return;
      }
      trouble.textContent = "";
      change({ notify });
    }),
    trouble,
    h("div", { class: "buttons" },
      hasToken() && button("Forget the token", () => { setToken(null); location.reload(); }),
      button("Done", close, { class: "primary" })))]);
}

/** @param {string} label @param {string} help @param {boolean} isOn @param {(isOn: boolean, box: HTMLInputElement) => void} set */
function toggle(label, help, isOn, set) {
  const box = h("input", { type: "checkbox", checked: isOn, on: { change: () => set(box.checked, box) } });
  return h("div", { class: "field" }, h("label", { class: "choice" }, box, label), h("p", { class: "help", text: help }));
}
