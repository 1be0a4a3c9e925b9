// The dialog that submits a task.

import { newKey, send } from "../api.js";
import { form } from "../dialog.js";
import { cut } from "../format.js";
import { laneNames, refreshSoon } from "../status.js";

/** The lane that was submitted to last, for as long as the page is open. */
let lastLane = "";

/**
 * Opens the dialog. Its Idempotency-Key is made here, once, so that what is sent twice makes one task.
 * @param {{lane: string, notify: import("../app.js").Context["notify"]}} options
 */
export function open({ lane, notify }) {
  const key = newKey("submit");
  const lanes = laneNames();
  form({
    title: "New task",
    draft: "task",
    action: "Submit",
    fields: [
      { name: "lane", label: "Lane", required: true, value: lane || lastLane || (lanes.length === 1 ? lanes[0] : ""), options: lanes },
      { name: "prompt", label: "Prompt", type: "textarea", attributes: { placeholder: "What the worker should do" }, help: "Ctrl+Enter submits." },
    ],
    more: [
      { name: "name", label: "Title", help: "Shown in listings; without it the first line of the prompt." },
      { name: "priority", label: "Priority", type: "number", attributes: { min: -1000, max: 1000, step: 1 }, help: "Higher goes first." },
      { name: "max_attempts", label: "Attempts", type: "number", attributes: { min: 1, step: 1 } },
      { name: "delay", label: "Delay", attributes: { placeholder: "90s, 15m, 2h, 1d" } },
      { name: "labels", label: "Labels", help: "Several with commas." },
      { name: "group", label: "Group" },
      { name: "after", label: "After", help: "Ids of tasks that must complete first; several with commas." },
      { name: "request_from", label: "Request file", help: "A path in the workspace of the server." },
      { name: "supporting_paths", label: "Supporting files", type: "textarea", attributes: { rows: 2 }, help: "Paths, one a line." },
    ],
  }, async (values) => {
    if (!values.prompt.trim() && !values.request_from?.trim()) throw new Error("Write a prompt, or name a request file under More.");
    const answer = await send("POST", "/tasks", requestOf(values), { key });
    lastLane = values.lane;
    const title = cut(values.name || values.prompt.trim().split("\n")[0] || values.request_from, 60);
    notify(answer.existing ? `“${title}” had been submitted before.` : `Submitted “${title}”.`, { href: `#/task/${encodeURIComponent(answer.task_id)}` });
    for (const warning of answer.warnings ?? []) notify(warning, { isError: true });
    refreshSoon();
  });
}

/**
 * The body of the request; what was left empty is left out.
 * @param {Record<string, string>} values
 * @returns {Record<string, unknown>}
 */
export function requestOf(values) {
  const { lane, prompt, name, priority, max_attempts: attempts, delay, labels, group, after, request_from: file, supporting_paths: paths } = values;
  const list = (/** @type {string | undefined} */ text, /** @type {string | RegExp} */ by) => (text ?? "").split(by).map((one) => one.trim()).filter(Boolean);
  const all = {
    lane: lane.trim(),
    prompt: prompt.trim() ? prompt : "",
    name: name?.trim(),
    priority: priority ? Number(priority) : "",
    max_attempts: attempts ? Number(attempts) : "",
    delay_seconds: delay?.trim() ? seconds(delay.trim()) : "",
    labels: list(labels, ","),
    group: group?.trim(),
    after: list(after, ","),
    request_from: file?.trim(),
    supporting_paths: list(paths, "\n"),
  };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== "" && value !== undefined && !(Array.isArray(value) && value.length === 0)));
}

/** The seconds of a span as the command line takes it. @param {string} text */
function seconds(text) {
  const parts = /^(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?$/.exec(text);
  if (!parts || text === "") throw new Error(`${text} is not a length of time; write 90s, 15m, 2h or 1d.`);
  const [d = 0, h = 0, m = 0, s = 0] = parts.slice(1).map((part) => Number(part ?? 0));
  return d * 86_400 + h * 3600 + m * 60 + s;
}
