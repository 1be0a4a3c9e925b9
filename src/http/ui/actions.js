// What a person can do to a task or a lane. The server decides; its words are shown when it refuses.

import { ApiError, get, newKey, query, send } from "./api.js";
import { form } from "./dialog.js";
import { count, counted, cut, isEnded, shortId, stateOf, visible } from "./format.js";
import { isManaging, isReadOnly, laneNames, refreshSoon } from "./status.js";

/** @typedef {Pick<import("./columns.js").Summary, "id" | "title" | "lane" | "state" | "failure_class">} Target */
/** @typedef {"cancel" | "retry" | "redrive" | "move"} ActionName */
/** @typedef {{name: ActionName, label: string, key: string, danger?: boolean}} Action */
/** @typedef {import("./app.js").Context["notify"]} Notify */

/** @type {Action[]} */
export const ACTIONS = [
  { name: "cancel", label: "Cancel", key: "c", danger: true },
  { name: "retry", label: "Retry", key: "r" },
  { name: "redrive", label: "Redrive", key: "R" },
  { name: "move", label: "Move", key: "m" },
];

/** What a task is after an action. @type {Record<ActionName, string>} */
const PAST = { cancel: "cancelled", retry: "submitted again", redrive: "submitted again", move: "moved" };

/** The actions that make sense for a task, by what is known of it. @param {Target} task @returns {Action[]} */
export function actionsFor(task) {
  if (isReadOnly()) return [];
  const isDead = task.failure_class === "dead";
  return ACTIONS.filter(({ name }) => {
    if (name === "cancel") return !isEnded(task);
    if (name === "move") return !isEnded(task) && task.state !== "claimed";
    return task.state === "failed" && (name === "redrive") === isDead;
  });
}

/**
 * What an action is for a task: a dead one is redriven where another is retried. Null if it takes neither.
 * @param {ActionName} name @param {Target} task @returns {ActionName | null}
 */
export function actionFor(name, task) {
  const taken = actionsFor(task).map((action) => action.name);
  if (taken.includes(name)) return name;
  return name === "retry" && taken.includes("redrive") ? "redrive" : null;
}

/** Does what a key stands for to the task that has the focus, or says which keys it takes. @param {ActionName} name @param {Target} task @param {Notify} notify */
export function actByKey(name, task, notify) {
  const action = actionFor(name, task);
  if (action) return act(action, task, notify);
  if (isReadOnly()) return notify("This server is read-only.", { isError: true });
  const taken = actionsFor(task).map((one) => `${one.label.toLowerCase()} (${one.key})`);
  notify(`${stateOf(task).word}: this task cannot be ${PAST[name]}${taken.length ? `; it takes ${taken.join(" and ")}` : ""}.`, { isError: true });
}

/**
 * Does something to a task, after asking what is needed, and tells the result.
 * @param {ActionName} name @param {Target} task @param {Notify} notify
 */
export function act(name, task, notify) {
  if (isReadOnly()) return notify("This server is read-only.", { isError: true });
  const path = `/tasks/${encodeURIComponent(task.id)}/${name}`;
  const what = cut(visible(task.title) || shortId(task.id), 60);
  if (name === "cancel") {
    const cancel = async (/** @type {Record<string, string>} */ { reason }) => {
      const answer = await send("POST", path, { by: "board", ...(reason && { reason }) });
      notify(answer.changed === false ? `“${what}” was already cancelled.` : `Cancelled “${what}”.`);
    };
    // Only a run that has begun is lost; anything else is submitted again by a retry.
    if (task.state !== "claimed") run(notify, () => cancel({}));
    else {
      form({
        title: "Cancel a running task?",
        text: `“${what}” is running. Its run ends, and the task fails as cancelled.`,
        action: "Cancel task",
        danger: true,
        fields: [{ name: "reason", label: "Reason (optional)" }],
      }, cancel);
    }
  } else if (name === "move") {
    form({
      title: "Move to another lane",
      text: `“${what}” is in lane ${task.lane}.`,
      action: "Move",
      fields: [{ name: "lane", label: "Lane", required: true, options: laneNames().filter((lane) => lane !== task.lane) }],
    }, async ({ lane }) => {
      await send("POST", path, { lane });
      notify(`Moved “${what}” to ${lane}.`);
    });
  } else {
    run(notify, async () => {
      const answer = await send("POST", path, { by: "board" });
      notify(answer.existing ? `“${what}” had been submitted again before.` : `Submitted “${what}” again.`, { href: `#/task/${encodeURIComponent(answer.task_id)}` });
    });
  }
}

/** Why lanes cannot be paused and resumed here. */
function unmanaged() {
  if (isReadOnly()) return "This server is read-only.";
  return "This server does not change lanes: run lanes pause or lanes resume, or start it with --enable-queue-management.";
}

/** Pauses a lane, after asking why. @param {string} lane @param {Notify} notify */
export function pauseLane(lane, notify) {
  if (!isManaging()) return notify(unmanaged(), { isError: true });
  form({
    title: `Pause lane ${cut(lane, 60)}?`,
    text: "None of its tasks can be claimed until it is resumed. Runs that have started continue.",
    action: "Pause lane",
    fields: [{ name: "reason", label: "Reason (optional)" }],
  }, async ({ reason }) => {
    await send("POST", `/lanes/${encodeURIComponent(lane)}/pause`, reason ? { reason } : {});
    notify(`Paused lane ${lane}.`);
    refreshSoon();
  });
}

/** Resumes a lane. @param {string} lane @param {Notify} notify */
export function resumeLane(lane, notify) {
  if (!isManaging()) return notify(unmanaged(), { isError: true });
  return run(notify, async () => {
    await send("POST", `/lanes/${encodeURIComponent(lane)}/resume`);
    notify(`Resumed lane ${lane}.`);
    refreshSoon();
  });
}

/** The most tasks that the server changes in one request. */
export const BULK_MOST = 1000;

/**
 * Does something to all tasks of a filter, after asking. When there are not `expected` of them, nothing is done, and it asks
 * again with their number of now.
 * @param {ActionName} name @param {Record<string, unknown>} filter the query of the list @param {number} expected
 * @param {string} words what the filter shows @param {Notify} notify @param {() => void} done
 * @param {{before: number, to?: string}} [again] what was agreed to before
 */
export function actOnAll(name, filter, expected, words, notify, done, again) {
  const { label, danger } = /** @type {Action} */ (ACTIONS.find((action) => action.name === name));
  if (expected > BULK_MOST) return notify(`These are ${count(expected)} tasks, and the server changes up to ${count(BULK_MOST)} at once: narrow the filter.`, { isError: true });
  const key = newKey("bulk");
  form({
    title: `${label} ${counted(expected, "task")}?`,
    text: `${again ? `These are ${count(expected)} now, no longer ${count(again.before)}; nothing was done. ` : ""}${label} all ${count(expected)} tasks: ${words}.${name === "cancel" ? " Runs that have begun end." : ""} Nothing is done if their number has changed by then.`,
    action: `${label} ${count(expected)}`,
    danger,
    fields: name === "move" ? [{ name: "lane", label: "Lane", required: true, options: laneNames(), value: again?.to }] : [],
  }, async ({ lane }) => {
    let answer;
    try {
      answer = await send("POST", "/tasks/bulk", { action: name, filter, expect_count: expected, by: "board", key, ...(lane && { lane }) });
    } catch (error) {
      if (!(error instanceof ApiError) || error.code !== "count_differs") throw error;
      const { total } = await get(`/tasks${query({ ...filter, fields: "summary", limit: 1 })}`);
      return actOnAll(name, filter, total, words, notify, done, { before: expected, to: lane });
    }
    const refused = answer.refused?.length ?? 0;
    const left = answer.remaining ?? 0;
    const rest = `${refused ? `, ${refused} refused: ${answer.refused[0].error}` : ""}${left ? `, ${left} left: the server stopped after its time for one request` : ""}`;
    notify(`${label}: ${count(answer.changed)} of ${count(answer.matched)} changed${rest}.`, { isError: refused + left > 0 });
    done();
  });
}

/**
 * Does something to the tasks that were selected, one after the other, until all are done or the dialog is closed.
 * @param {ActionName} name @param {Target[]} tasks @param {Notify} notify @param {() => void} done
 */
export function actOnEach(name, tasks, notify, done) {
  const { label, danger } = /** @type {Action} */ (ACTIONS.find((action) => action.name === name));
  const running = name === "cancel" ? tasks.filter(({ state }) => state === "claimed").length : 0;
  form({
    title: `${label} ${counted(tasks.length, "task")}?`,
    text: running ? `${running} of them ${running === 1 ? "is" : "are"} running and will be ended.` : "They are changed one after the other; what the server refuses stays as it is.",
    action: `${label} ${count(tasks.length)}`,
    danger,
    fields: name === "move" ? [{ name: "lane", label: "Lane", required: true, options: laneNames() }] : [],
  }, async ({ lane }, { signal, tell }) => {
    let changed = 0;
    let before = 0;
    /** @type {string[]} */
    const refused = [];
    for (const [n, task] of tasks.entries()) {
      if (signal.aborted) break;
      tell(`${label}: ${count(n)} of ${count(tasks.length)}`);
      try {
        const answer = await send("POST", `/tasks/${encodeURIComponent(task.id)}/${actionFor(name, task) ?? name}`, lane ? { lane } : { by: "board" });
        if (answer.changed === false || answer.existing) before += 1;
        else changed += 1;
      } catch (error) {
        refused.push(error instanceof Error ? error.message : String(error));
      }
    }
    const isStopped = changed + before + refused.length < tasks.length;
    const rest = `${before ? `, ${count(before)} had been ${PAST[name]} before` : ""}${refused.length ? `, ${count(refused.length)} refused: ${refused[0]}` : ""}`;
    notify(`${isStopped ? "Stopped. " : ""}${label}: ${count(changed)} of ${count(tasks.length)} changed${rest}.`, { isError: isStopped || refused.length > 0 });
    done();
  });
}

/** Runs an action and shows why it failed, if it did. @param {Notify} notify @param {() => Promise<void>} action */
export async function run(notify, action) {
  try {
    await action();
  } catch (error) {
    notify(error instanceof Error ? error.message : String(error), { isError: true });
  }
}
