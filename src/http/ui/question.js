// An open question of a worker, and the form that answers it.

import { send } from "./api.js";
import { h } from "./dom.js";
import { button, problem, timeTag, user } from "./parts.js";
import { isReadOnly } from "./status.js";

/**
 * @typedef {{n: number, question: string, choices?: string[], asked_by?: string, asked_at?: string, default?: string,
 *   expires_at?: string, tool?: string, answer?: string | null, answered_by?: string, answered_at?: string}} Question
 */

let forms = 0;

/**
 * Shows a question with a form for its answer. `done` is called after the server has taken the answer.
 * @param {string} taskId @param {Question} question @param {(text: string) => void} done
 * @returns {HTMLElement}
 */
export function questionForm(taskId, question, done) {
  const { choices = [] } = question;
  const id = `question-${++forms}`;
  const text = h("textarea", { id: `${id}-text`, rows: choices.length ? 2 : 4 });
  const choice = (/** @type {string} */ value, /** @type {string} */ label) => h("label", { class: "choice" },
    h("input", { type: "radio", name: id, value, required: true, on: { change: showText } }), user(label, 1000));
  const other = h("div", { class: "field" },
    h("label", { for: `${id}-text`, class: choices.length ? "unseen" : "", text: choices.length ? "Another answer" : "Answer" }), text);
  const trouble = h("div", { class: "trouble" });
  const submit = h("button", { type: "submit", class: "button primary", text: "Answer and continue" });
  const form = h("form", { class: "question-form", "aria-labelledby": id, on: { submit: answer, keydown: sendKey } },
    choices.length > 0 && h("fieldset", { class: "choices" },
      h("legend", { class: "unseen", text: "Choices" }),
      // The empty value stands for a text: no choice is empty.
      choices.map((one) => choice(one, one)), choice("", "Another answer")),
    other, trouble, h("div", { class: "question-end" }, submit,
      question.default !== undefined && h("span", { class: "muted" }, "Without an answer, “", user(question.default, 200), "” counts ", timeTag(question.expires_at), ".")));
  showText();

  /** @returns {string | null} The choice that is taken; null before one is. */
  function taken() {
    if (choices.length === 0) return "";
    const checked = form.querySelector("input:checked");
    return checked instanceof HTMLInputElement ? checked.value : null;
  }

  function showText() {
    const isText = taken() === "";
    other.hidden = !isText;
    text.required = isText;
    if (isText && choices.length > 0) text.focus();
  }

  /** @param {KeyboardEvent} event */
  function sendKey(event) {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  }

  /** @param {SubmitEvent} event */
  async function answer(event) {
    event.preventDefault();
    if (submit.hasAttribute("aria-disabled") || !submit.isConnected) return;
    submit.setAttribute("aria-disabled", "true");
    trouble.replaceChildren();
    const choice = taken();
    const words = choice || text.value;
    try {
      await send("POST", `/tasks/${encodeURIComponent(taskId)}/answer`,
        { question: question.n, answer: words, ...(choice && { choice: true }), by: "board" });
      done(words);
    } catch (error) {
      trouble.replaceChildren(problem(error));
      submit.removeAttribute("aria-disabled");
    }
  }

  return h("section", { class: "question", "aria-labelledby": id },
    h("p", { class: "question-text", id }, user(question.question, 20_000)),
    h("p", { class: "muted" },
      question.tool && [h("span", { class: "chip" }, "Tool ", user(question.tool, 80)), " "],
      "Asked", question.asked_by && [" by ", user(question.asked_by, 80)], question.asked_at && [" ", timeTag(question.asked_at)]),
    isReadOnly() ? h("p", { class: "muted", text: "This server is read-only: answer with lanes answer." }) : form);
}

/**
 * Ends a question that is open no more. A form that somebody fills in stays, with the reason, until it is dismissed: what was
 * typed is not lost, and what is typed next is not taken as keys of the page.
 * @param {HTMLElement} element with the form, to be removed when it does not stay @param {string} why
 * @returns {boolean} whether it stays
 */
export function endQuestion(element, why) {
  const submit = element.querySelector(".question-end button[type=submit]");
  // Ended already, or its answer is on its way.
  if (!submit || submit.hasAttribute("aria-disabled")) return element.querySelector(".question-form") !== null;
  const { value = "" } = element.querySelector("textarea") ?? {};
  if (!element.contains(document.activeElement) && !value.trim()) return false;
  const dismiss = () => {
    element.remove();
    document.getElementById("main")?.focus();
  };
  const isHere = document.activeElement === submit;
  const end = button("Dismiss", dismiss);
  element.querySelector(".question-end")?.replaceChildren(problem(why), end);
  if (isHere) end.focus();
  return true;
}

/** Whether a question has no answer yet. @param {Question} question @param {number} now */
export function isOpen(question, now) {
  return question.answer == null && !(question.expires_at && Date.parse(question.expires_at) <= now);
}
