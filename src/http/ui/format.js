// Turns values into the words and numbers that people read.

/** Cuts a text that is longer than `most` characters, without splitting a character. @param {unknown} text @param {number} [most] */
export function cut(text, most = 300) {
  const all = text == null ? "" : String(text);
  if (all.length <= most) return all;
  const end = all.charCodeAt(most - 1) >> 10 === 0x36 ? most - 1 : most;
  return `${all.slice(0, end)}…`;
}

/** The first line that is not empty. @param {unknown} text */
export function firstLine(text) {
  const all = text == null ? "" : String(text);
  return cut(/[^\s].{0,400}/.exec(all)?.[0] ?? "", 300);
}

/** `12,431`. @param {number} n */
export function count(n) {
  return Math.trunc(n).toString().replace(/\B(?=(\d{3})+$)/g, ",");
}

/** `1 task`, `3 tasks`. @param {number} n @param {string} one @param {string} [many] */
export function counted(n, one, many = `${one}s`) {
  return `${count(n)} ${n === 1 ? one : many}`;
}

/** `$0.42`; unknown is `unknown`, which is not 0. @param {number | null | undefined} usd */
export function cost(usd) {
  if (usd === null || usd === undefined || Number.isNaN(usd)) return "unknown";
  if (usd !== 0 && Math.abs(usd) < 0.01) return `$${usd.toFixed(4)}`;
  return `$${usd.toFixed(2).replace(/\B(?=(\d{3})+\.)/g, ",")}`;
}

/** `3.2 MB`. @param {number} n */
export function bytes(n) {
  let value = n;
  for (const unit of ["bytes", "KB", "MB", "GB"]) {
    if (value < 1000 || unit === "GB") return unit === "bytes" ? counted(value, "byte") : `${value.toFixed(1)} ${unit}`;
    value /= 1000;
  }
  return "";
}

/** A text, or nothing if nothing of it can be seen. @param {string | null | undefined} text */
export function visible(text) {
  return text && /[^\p{C}\p{Z}\u115f\u1160\u2800\u3164\uffa0]/u.test(text) ? text : "";
}

/** The part of a task id that tells it from others. @param {string} id */
export function shortId(id) {
  return /-([0-9a-f]{6})$/.exec(id)?.[1] ?? cut(id, 24);
}

/** The words for the states of a task. */
const STATES = /** @type {Record<string, string>} */ ({
  queued: "Queued",
  scheduled: "Scheduled",
  blocked: "Blocked",
  claimed: "Running",
  input_required: "Asks",
  completed: "Done",
  failed: "Failed",
});

/** The words for why a task failed. */
const CLASSES = /** @type {Record<string, string>} */ ({
  error: "error",
  timeout: "timed out",
  lost: "worker lost",
  usage_limit: "usage limit",
  permanent: "permanent",
  upstream: "dependency failed",
  expired: "deadline passed",
  unverified: "not verified",
  budget: "over budget",
});

/**
 * What people call the state of a task, and the kind of state, which has an icon and a colour.
 * @param {{state: string, failure_class?: string | null}} task
 * @returns {{word: string, kind: string, detail: string}}
 */
export function stateOf(task) {
  const detail = task.failure_class ?? "";
  if (task.state === "failed") {
    if (detail === "cancelled") return { word: "Cancelled", kind: "cancelled", detail: "" };
    if (detail === "dead") return { word: "Dead", kind: "dead", detail: "" };
    return { word: "Failed", kind: "failed", detail: CLASSES[detail] ?? detail };
  }
  return { word: STATES[task.state] ?? task.state, kind: task.state in STATES ? task.state : "queued", detail: "" };
}

/** Whether nothing more happens to a task by itself. @param {{state: string}} task */
export function isEnded(task) {
  return task.state === "completed" || task.state === "failed";
}
