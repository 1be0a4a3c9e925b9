// What the server says of the whole queue, read once for all parts of the page.

import { get } from "./api.js";
import { setClock } from "./parts.js";

/** @typedef {{name: string, paused: boolean, pause: {since: string, reason: string | null} | null, description: string, task_count: number, tasks_by_state: Record<string, number>}} Lane */
/** @typedef {{kind: string, text: string, command?: string | null, task_id?: string | null, lane?: string | null, vendor?: string | null, group?: string | null, count?: number | null, since?: string | null, until?: string | null}} Attention */
/** @typedef {{version: string, started_at?: string, now?: string, feed?: number, workspace_id?: string, lanes: Lane[], attention?: Attention[], read_only?: boolean, queue_management?: boolean, capacity: number, active_agents: number, [more: string]: any}} Status */

/** At most one request in this time follows the events; a hidden page needs only the number in its title. */
const PAUSE_MS = 1000;
const HIDDEN_PAUSE_MS = 10_000;

/** @type {Status | null} */
let current = null;
/** @type {Set<(status: Status) => void>} */
const subscribers = new Set();
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;
let readAt = 0;
/** How often it was asked for, and which of those answers is shown. */
let asks = 0;
let shown = 0;

/** What was read last; null before the first answer. */
export function status() {
  return current;
}

/** Whether the server refuses every change. */
export function isReadOnly() {
  return current?.read_only === true;
}

/** Whether the server lets lanes and vendors be paused and resumed. */
export function isManaging() {
  return !isReadOnly() && current?.queue_management === true;
}

/**
 * The command that ends a pause, for people whose server does not do it.
 * @param {"paused_lane" | "cooldown"} kind @param {string} name of the lane or the vendor @param {string | null} [model]
 */
export function commandFor(kind, name, model) {
  const of = (current?.attention ?? []).filter((one) => one.kind === kind && (kind === "cooldown" ? one.vendor : one.lane) === name);
  return of.find(({ command }) => (model ? command?.includes(model) : !command?.includes(" --model ")))?.command ?? null;
}

/** The names of all lanes. */
export function laneNames() {
  return (current?.lanes ?? []).map(({ name }) => name);
}

/** Calls `subscriber` now, if there is something, and after every reading. @param {(status: Status) => void} subscriber */
export function onStatus(subscriber) {
  subscribers.add(subscriber);
  if (current) subscriber(current);
  return () => { subscribers.delete(subscriber); };
}

/** Reads it now. @returns {Promise<Status>} */
export async function refresh() {
  clearTimeout(timer);
  timer = undefined;
  readAt = Date.now();
  const asked = ++asks;
  /** @type {Status} */
  const next = await get("/status");
  // An answer that was overtaken by a later one is old.
  if (asked < shown && current) return current;
  shown = asked;
  setClock(next.now);
  current = next;
  for (const subscriber of [...subscribers]) subscriber(next);
  return next;
}

/** Reads it soon, however often this is called. */
export function refreshSoon() {
  if (timer) return;
  // What fails here is told by the connection, and read again with the next event.
  const pause = document.hidden ? HIDDEN_PAUSE_MS : PAUSE_MS;
  timer = setTimeout(() => refresh().catch(() => {}), Math.max(50, readAt + pause - Date.now()));
}
