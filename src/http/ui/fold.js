// Folds the events of the feed, so that a burst costs a screen no more than one change.

/**
 * @typedef {object} LiveEvent
 * @property {number} seq
 * @property {string} task_id
 * @property {string} lane
 * @property {string} type
 * @property {string} message
 * @property {string} created_at
 * @property {Record<string, unknown>} [data]
 * @property {string | null} [state] the task's state after the event
 * @property {number | null} [attempt]
 * @property {string | null} [title]
 */

/** More events than this in one fold are a gap: what is visible is read again instead. */
export const MOST_EVENTS = 200;

/** Events after which a summary reads as before. */
const SILENT = new Set(["renewed", "read", "told", "note", "progress"]);

/** Whether what a list shows of the task may have changed. @param {LiveEvent} event */
export function isVisible(event) {
  return !SILENT.has(event.type);
}

/**
 * Returns the newest event of each task, in the order of their last change.
 * @param {LiveEvent[]} events
 * @returns {LiveEvent[]}
 */
export function newest(events) {
  /** @type {Map<string, LiveEvent>} */
  const byTask = new Map();
  for (const event of events) {
    byTask.delete(event.task_id);
    byTask.set(event.task_id, event);
  }
  return [...byTask.values()];
}

/**
 * Says what ended and what asks, in one sentence for people who hear the page; empty when nothing did.
 * @param {LiveEvent[]} events
 */
export function summary(events) {
  const counts = { completed: 0, failed: 0, input_required: 0 };
  for (const { type, state } of newest(events.filter(isVisible))) {
    if (type === "retried" || type === "edited" || type === "comment") continue;
    if (state === "completed" || state === "failed" || state === "input_required") counts[state] += 1;
  }
  const asks = counts.input_required;
  return [
    counts.completed && `${counts.completed} finished`,
    counts.failed && `${counts.failed} failed`,
    asks && (asks === 1 ? "1 asks a question" : `${asks} ask a question`),
  ].filter(Boolean).join(", ");
}

/**
 * Reads server-sent events: takes lines, and calls `onEvent` at the end of each event.
 * @param {(event: {id: string | null, type: string, data: string}) => void} onEvent
 * @returns {(line: string) => void}
 */
export function eventReader(onEvent) {
  /** @type {string | null} */
  let id = null;
  let type = "message";
  /** @type {string[]} */
  let data = [];
  return (line) => {
    if (line === "") {
      if (data.length) onEvent({ id, type, data: data.join("\n") });
      type = "message";
      data = [];
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "id") id = value;
    else if (field === "event") type = value;
    else if (field === "data") data.push(value);
  };
}
