// The filter of the task list: in the address, in the search field, and in words.

import { cut } from "./format.js";

/** @typedef {Record<string, string[]> & {order?: string[]}} Filter values by parameter; no parameter is empty */

/** The parameters of `GET /tasks` that narrow it; the first of these may be written as `name:value` in the search field. */
export const QUALIFIERS = ["lane", "state", "label", "owner", "group", "failure_class", "key", "match"];
const ALL = [...QUALIFIERS, "q", "order"];
/** Those that have one value. */
const SINGLE = new Set(["owner", "group", "key", "q", "order"]);

export const ORDERS = [["newest", "Newest"], ["updated", "Last changed"], ["oldest", "Oldest"]];

/** @type {{label: string, state: string[], failure_class?: string[]}[]} */
export const PRESETS = [
  { label: "All", state: [] },
  { label: "Needs you", state: ["input_required"] },
  { label: "Waiting", state: ["queued", "scheduled", "blocked"] },
  { label: "Running", state: ["claimed"] },
  { label: "Done", state: ["completed"] },
  { label: "Failed", state: ["failed"] },
  { label: "Dead", state: ["failed"], failure_class: ["dead"] },
];

/** @param {URLSearchParams} params @returns {Filter} */
export function fromQuery(params) {
  /** @type {Filter} */
  const filter = {};
  for (const name of ALL) {
    const values = [...new Set(params.getAll(name).filter((value) => value !== ""))];
    if (values.length) filter[name] = SINGLE.has(name) ? values.slice(0, 1) : values;
  }
  return filter;
}

/** The same filter has the same text. @param {Filter} filter */
export function toHash(filter) {
  const params = new URLSearchParams();
  for (const name of ALL) {
    for (const value of filter[name] ?? []) {
      if (!(name === "order" && value === "newest")) params.append(name, value);
    }
  }
  const text = params.toString();
  return `#/tasks${text && `?${text}`}`;
}

/** What `POST /tasks/bulk` takes: all but the order. @param {Filter} filter @returns {Record<string, string | string[]>} */
export function toBody(filter) {
  return Object.fromEntries(Object.entries(filter).filter(([name]) => name !== "order")
    .map(([name, values]) => [name, SINGLE.has(name) ? values[0] : values]));
}

/**
 * Splits what was typed into text and `name:value`, where the value may stand in quotes.
 * @param {string} text
 * @returns {{text: string, values: [string, string][]}}
 */
export function parseSearch(text) {
  /** @type {[string, string][]} */
  const values = [];
  const rest = text.replace(/(?:^|\s)([a-z_]+):(?:"([^"]*)"|(\S+))/g, (whole, name, quoted, plain) => {
    const value = quoted ?? plain;
    if (!QUALIFIERS.includes(name) || value === "") return whole;
    values.push([name, value]);
    return " ";
  });
  return { text: rest.trim().replace(/\s+/g, " "), values };
}

/** Adds what was typed to a filter. @param {Filter} filter @param {string} typed @returns {Filter} */
export function withSearch(filter, typed) {
  const { text, values } = parseSearch(typed);
  /** @type {Filter} */
  const next = { ...filter };
  delete next.q;
  if (text) next.q = [text];
  for (const [name, value] of values) {
    next[name] = SINGLE.has(name) ? [value] : [...new Set([...(next[name] ?? []), value])];
  }
  return next;
}

/** The filter without one value. @param {Filter} filter @param {string} name @param {string} value @returns {Filter} */
export function without(filter, name, value) {
  /** @type {Filter} */
  const next = { ...filter, [name]: (filter[name] ?? []).filter((one) => one !== value) };
  if (next[name].length === 0) delete next[name];
  return next;
}

/** Whether a filter has the states of a preset. @param {Filter} filter @param {{state: string[], failure_class?: string[]}} preset */
export function isPreset(filter, { state, failure_class: classes = [] }) {
  const same = (/** @type {string[]} */ a, /** @type {string[]} */ b) => a.length === b.length && a.every((one) => b.includes(one));
  return same(filter.state ?? [], state) && same(filter.failure_class ?? [], classes);
}

/** What the filter shows, in words. @param {Filter} filter */
export function inWords(filter) {
  const words = ALL.filter((name) => name !== "order" && filter[name])
    .map((name) => (name === "q" ? `text “${cut(filter.q[0], 60)}”` : `${name.replace("_", " ")} ${filter[name].map((one) => cut(one, 40)).join(" or ")}`));
  return words.join(", ") || "all tasks of this store";
}
