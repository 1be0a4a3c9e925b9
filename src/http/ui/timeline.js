// The history of a task as a person reads it: a bar for each attempt, and the events with repetitions folded.

/**
 * @typedef {{n?: number, created_at: string, type: string, message: string, data: Record<string, any>}} Event
 * @typedef {{first: Event, last: Event, count: number}} Fold Equal events in a row.
 * @typedef {{n: number, started_at: string | null, ended_at: string | null}} Attempt
 * @typedef {{n: number, x: number, width: number, running: boolean}} Bar A place on a line of the length 1000.
 */

// These say only that a worker is still there; in between, they would hide what happened.
const REPEATED = new Set(["renewed", "progress", "heartbeat"]);
const SHORTEST = 6;

/**
 * Folds events of one type that follow each other, where each alone tells nothing.
 * @param {Event[]} events
 * @returns {Fold[]}
 */
export function fold(events) {
  /** @type {Fold[]} */
  const folds = [];
  for (const event of events) {
    const before = folds[folds.length - 1];
    const same = before && before.last.type === event.type;
    if (same && (REPEATED.has(event.type) || before.last.message === event.message)) {
      before.last = event;
      before.count++;
    } else folds.push({ first: event, last: event, count: 1 });
  }
  return folds;
}

/**
 * Places attempts on a line from `from` to `to`, in milliseconds. An attempt whose start is unknown has no bar; one
 * without an end goes on if it is the last one.
 * @param {Attempt[]} attempts @param {number} from @param {number} to
 * @returns {Bar[]}
 */
export function bars(attempts, from, to) {
  const span = Math.max(1, to - from);
  const at = (/** @type {number} */ time) => Math.min(1000, Math.max(0, ((time - from) / span) * 1000));
  return attempts.flatMap((attempt, index) => {
    const start = Date.parse(attempt.started_at ?? "");
    const end = Date.parse(attempt.ended_at ?? "");
    if (Number.isNaN(start)) return [];
    const running = Number.isNaN(end) && index === attempts.length - 1;
    const last = running ? to : Number.isNaN(end) ? start : end;
    const width = Math.max(SHORTEST, at(last) - at(start));
    return [{ n: attempt.n, x: Math.min(at(start), 1000 - width), width, running }];
  });
}
