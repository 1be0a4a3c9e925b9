// The columns of the board: which tasks stand where, and which places an event may change.

import { isVisible, newest } from "./fold.js";

/**
 * @typedef {object} Summary a task as a list shows it
 * @property {string} id
 * @property {string} title
 * @property {string} lane
 * @property {string} state
 * @property {string | null} failure_class
 * @property {number} attempt
 * @property {number | null} max_attempts
 * @property {number} priority
 * @property {string | null} owner
 * @property {string | null} vendor
 * @property {string[]} labels
 * @property {string | null} group
 * @property {string} created_at
 * @property {string} updated_at
 * @property {string | null} claimed_at
 * @property {string | null} ended_at
 * @property {string | null} lease_expires_at
 * @property {string | null} not_before
 * @property {number} open_questions
 * @property {number | null} cost_usd
 * @property {string | null} verdict
 */
/** @typedef {{id: string, label: string, states: string[], order: string}} Column */

/** @type {Column[]} */
export const COLUMNS = [
  { id: "asks", label: "Needs you", states: ["input_required"], order: "updated" },
  { id: "waiting", label: "Waiting", states: ["queued", "scheduled", "blocked"], order: "newest" },
  { id: "running", label: "Running", states: ["claimed"], order: "oldest" },
  { id: "done", label: "Done", states: ["completed"], order: "updated" },
  { id: "failed", label: "Failed", states: ["failed"], order: "updated" },
];

/** The column of a state. @param {string | null | undefined} state */
export function columnOf(state) {
  return COLUMNS.find(({ states }) => states.includes(state ?? ""));
}

/** Names the place of a lane and a column; `lane` is empty where a column holds all lanes. @param {string} lane @param {string} column */
export function placeOf(lane, column) {
  return `${column} ${lane}`;
}

/** How many tasks of a lane a column has. @param {Record<string, number>} byState @param {Column} column */
export function countIn(byState, { states }) {
  return states.reduce((sum, state) => sum + (byState[state] ?? 0), 0);
}

/**
 * The places whose tasks may have changed: where a task was and where it is now. An event that does not tell the
 * state may have led anywhere in its lane.
 * @param {import("./fold.js").LiveEvent[]} events
 * @param {(id: string) => string | undefined} whereIs the place at which a task is shown
 * @param {boolean} byLane whether each lane has places of its own
 * @returns {Set<string>}
 */
export function changedPlaces(events, whereIs, byLane) {
  /** @type {Set<string>} */
  const places = new Set();
  for (const { task_id: id, lane, state } of newest(events.filter(isVisible))) {
    const before = whereIs(id);
    if (before !== undefined) places.add(before);
    const column = columnOf(state);
    for (const { id: to } of column ? [column] : COLUMNS) places.add(placeOf(byLane ? lane : "", to));
  }
  return places;
}
