// Dialogs that ask a person something.

import { h } from "./dom.js";
import { button, problem } from "./parts.js";

/**
 * @typedef {object} FieldOf
 * @property {string} name
 * @property {string} label
 * @property {"text" | "textarea" | "number" | "select" | "password"} [type]
 * @property {string} [value]
 * @property {string} [help]
 * @property {string[]} [options] the choices of a select, or suggestions for a text
 * @property {boolean} [required]
 * @property {Record<string, unknown>} [attributes]
 */
/**
 * @typedef {object} Question
 * @property {string} title
 * @property {string} [text]
 * @property {string} action the label of the button that agrees
 * @property {boolean} [danger]
 * @property {FieldOf[]} [fields]
 * @property {FieldOf[]} [more] fields that are shown on request
 * @property {string} [draft] the name under which what was written is kept when the dialog is closed before it is done
 */
/** @typedef {{signal: AbortSignal, tell: (text: string) => void}} Going `signal` ends with the dialog; `tell` shows how far it is */

let last = 0;

/** What was written in dialogs that were closed before it was sent, by the name of the draft. @type {Map<string, Record<string, string>>} */
const drafts = new Map();

/**
 * Opens a dialog with `content` and closes it with Escape. The focus returns to where it was.
 * @param {string} title @param {(close: () => void) => HTMLElement[]} content @param {string} [kind]
 * @returns {HTMLDialogElement}
 */
export function open(title, content, kind = "") {
  const opener = document.activeElement;
  const id = `dialog-${++last}`;
  const dialog = h("dialog", { class: kind, "aria-labelledby": id });
  const close = () => dialog.close();
  dialog.append(
    h("header", {}, h("h2", { id, text: title }), button("Close", close, { icon: "close", bare: true, class: "quiet" })),
    ...content(close),
  );
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (opener instanceof HTMLElement && opener.isConnected) opener.focus({ preventScroll: true });
    else document.getElementById("main")?.focus({ preventScroll: true });
  });
  document.body.append(dialog);
  dialog.showModal();
  // The first field in sight that is still empty, else the first control of the content.
  const controls = [.../** @type {NodeListOf<HTMLElement>} */ (dialog.querySelectorAll(":scope > :not(header) :is(input, select, textarea, button):not(details:not([open]) *)"))];
  (controls.find((one) => one instanceof HTMLInputElement || one instanceof HTMLTextAreaElement ? one.value === "" : false) ?? controls[0])?.focus();
  return dialog;
}

/**
 * Asks for fields and gives them to `act`; an error that it throws is shown in the dialog, which stays open.
 * @param {Question} question @param {(values: Record<string, string>, going: Going) => Promise<void>} act
 */
export function form(question, act) {
  const { title, text, action, danger, fields = [], more = [], draft = "" } = question;
  const kept = drafts.get(draft) ?? {};
  const fill = (/** @type {FieldOf} */ field) => fieldOf({ ...field, value: kept[field.name] ?? field.value });
  const trouble = h("div", { class: "trouble" });
  const ended = new AbortController();
  const submit = h("button", { type: "submit", class: `button ${danger ? "danger" : "primary"}`, text: action });
  const tell = (/** @type {string} */ words) => { submit.textContent = words; };
  let isBusy = false;
  let isDone = false;
  /** @type {HTMLFormElement} */
  let element;
  const values = () => Object.fromEntries([...new FormData(element).entries()].map(([name, value]) => [name, String(value)]));
  const dialog = open(title, (close) => {
    element = h("form", {
      on: {
        /** @param {SubmitEvent} event */
        submit: async (event) => {
          event.preventDefault();
          if (isBusy) return;
          isBusy = true;
          submit.setAttribute("aria-disabled", "true");
          trouble.replaceChildren();
          try {
            await act(values(), { signal: ended.signal, tell });
            isDone = true;
            close();
          } catch (error) {
            trouble.replaceChildren(problem(error));
          } finally {
            isBusy = false;
            submit.removeAttribute("aria-disabled");
            tell(action);
          }
        },
        /** @param {KeyboardEvent} event */
        keydown: (event) => {
          if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) element.requestSubmit();
        },
      },
    },
    text && h("p", { class: "prose", text }),
    ...fields.map(fill),
    more.length > 0 && h("details", { open: more.some(({ name }) => kept[name]) }, h("summary", { text: "More" }), h("div", { class: "pair" }, more.map(fill))),
    trouble,
    h("div", { class: "buttons" }, button("Back", close), submit));
    // The browser says what is wrong with a field only where it can be seen.
    element.addEventListener("invalid", ({ target }) => /** @type {Element} */ (target).closest("details")?.setAttribute("open", ""), true);
    return [element];
  });
  dialog.addEventListener("close", () => {
    ended.abort();
    if (isDone) drafts.delete(draft);
    else if (draft) drafts.set(draft, values());
  });
}

/** Asks whether to do something. @param {Question} question @returns {Promise<boolean>} */
export function confirm(question) {
  return new Promise((done) => {
    form(question, async () => done(true));
    const dialogs = document.querySelectorAll("dialog[open]");
    dialogs[dialogs.length - 1].addEventListener("close", () => done(false));
  });
}

/** @param {FieldOf} field */
function fieldOf(field) {
  const id = `field-${++last}`;
  const { name, label, type = "text", value = "", help, options = [], required, attributes = {} } = field;
  const all = { id, name, required, "aria-describedby": help ? `${id}-help` : null, ...attributes };
  let control;
  if (type === "select") {
    control = h("select", all, options.map((option) => h("option", { value: option, selected: option === value, text: option || "—" })));
  } else if (type === "textarea") {
    control = h("textarea", { rows: 6, ...all });
    control.value = value;
  } else {
    control = h("input", { type, value, autocomplete: "off", list: options.length ? `${id}-list` : null, ...all });
  }
  return h("div", { class: "field" },
    h("label", { for: id, text: label }),
    control,
    options.length > 0 && type === "text" && h("datalist", { id: `${id}-list` }, options.map((option) => h("option", { value: option }))),
    help && h("p", { class: "help", id: `${id}-help`, text: help }));
}
