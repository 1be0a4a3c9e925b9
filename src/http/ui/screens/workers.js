// Who works: dispatchers with their slots and runs, other workers, and what keeps either from working.

import { resumeLane, run } from "../actions.js";
import { send } from "../api.js";
import { h } from "../dom.js";
import { counted, shortId } from "../format.js";
import { icon } from "../icons.js";
import { button, empty, problem, timeTag, user } from "../parts.js";
import { screenStyles } from "../sheet.js";
import { commandFor, isManaging, onStatus, refresh } from "../status.js";

/**
 * @typedef {{task_id: string, lane: string, attempt?: number | null, since?: string | null}} Run
 * @typedef {{name: string, pid: number, host?: string | null, lanes: string[], slots: number | null, running: Run[],
 *   serves?: unknown, unready?: {vendor?: string, lane?: string, text: string}[], draining?: boolean}} Dispatcher
 * @typedef {{vendor: string, model: string | null, until: string | null, reason: string | null, kind?: string}} Parked
 * @typedef {{kind: string, owner: string, pid: number, lanes: string[], since: string, match?: string}} Worker
 */

await screenStyles();

export const title = "Workers";

/** @param {HTMLElement} root @param {import("../app.js").Context} context */
export function mount(root, { notify }) {
  const trouble = h("div", {});
  const body = h("div", { class: "workers" });
  root.append(h("h1", { text: "Workers" }), trouble, body);
  let mark = "";

  const stopStatus = onStatus((status) => {
    // Until a server reports them one by one, this is only their number.
    const dispatchers = /** @type {Dispatcher[] | null} */ (Array.isArray(status.dispatchers) ? status.dispatchers : null);
    const workers = /** @type {Worker[]} */ (status.workers ?? []).filter(({ kind }) => kind !== "dispatcher" || !dispatchers);
    const parked = /** @type {Parked[]} */ (Object.values(status.parked ?? {}));
    const paused = status.lanes.filter((lane) => lane.paused);
    const unserved = (status.attention ?? []).filter(({ kind }) => kind === "unserved_lane" || kind === "unready_program");
    const next = JSON.stringify([dispatchers, workers, parked, paused, unserved, isManaging()]);
    if (next === mark) return;
    mark = next;
    const focused = document.activeElement instanceof HTMLElement && body.contains(document.activeElement) ? document.activeElement.textContent : null;
    const all = dispatchers ?? [];
    const isNobody = all.length + workers.length === 0;
    body.replaceChildren(
      ...section("Not working", [
        ...unserved.map((one) => h("li", { class: "fact-row" }, icon("warning"), h("span", { class: "grow" }, user(one.text, 400)), one.command && !one.text.includes(one.command) && h("code", { text: one.command }))),
        ...parked.map(parkedRow),
        ...paused.map(pausedRow),
      ]),
      ...(isNobody ? [empty("No worker is running. An agent works on the tasks of a lane once a dispatcher runs:", "lanes dispatch --vendor claude")] : []),
      ...all.map(dispatcherBlock),
      ...section("Other workers", workers.map(({ kind, owner, pid, lanes, since, match }) => h("li", { class: "fact-row" },
        h("strong", {}, user(owner, 80)), h("span", { class: "muted", text: `${kind} · process ${pid}` }),
        h("span", { class: "grow" }, user(lanes.join(", "), 200), match && [" where ", user(match, 200)]), timeTag(since)))));
    if (focused) [...body.querySelectorAll("button")].find((one) => one.textContent === focused)?.focus();
  });

  /**
   * How a pause is ended in a shell, where this server does not do it.
   * @param {"paused_lane" | "cooldown"} kind @param {string} of @param {string | null} [model]
   */
  function endOf(kind, of, model) {
    if (isManaging()) return null;
    const command = commandFor(kind, of, model);
    return command ? h("code", { text: command }) : "";
  }

  /** @param {Parked} parked */
  function parkedRow({ vendor, model, until, reason }) {
    // A pause without an end is one of thousands of years.
    const isOpen = !until || new Date(until).getFullYear() > 2200;
    return h("li", { class: "fact-row" }, icon("scheduled"),
      h("strong", {}, user(vendor, 80), model && [" / ", user(model, 80)]),
      h("span", { class: "grow" }, reason ? user(reason, 400) : "not used"),
      isOpen ? h("span", { class: "muted", text: "until it is resumed" }) : h("span", { class: "muted" }, "back ", timeTag(until)),
      endOf("cooldown", vendor, model) ?? button(`Resume ${model ? `${vendor} / ${model}` : vendor}`, () => run(notify, async () => {
        await send("POST", `/vendors/${encodeURIComponent(vendor)}/resume`, model ? { model } : {});
        notify(`Resumed ${vendor}.`);
        await refresh();
      })));
  }

  /** @param {import("../status.js").Lane} lane */
  function pausedRow({ name, pause }) {
    return h("li", { class: "fact-row" }, icon("pause"),
      h("strong", {}, "Lane ", user(name, 80)),
      h("span", { class: "grow" }, pause?.reason ? user(pause.reason, 400) : "paused"),
      pause && h("span", { class: "muted" }, timeTag(pause.since)),
      endOf("paused_lane", name) ?? button(`Resume lane ${name}`, () => resumeLane(name, notify)));
  }

  /** @param {Dispatcher} dispatcher */
  function dispatcherBlock({ name, pid, host, lanes, slots, running, unready = [], draining }) {
    return h("section", { class: "panel", "aria-label": `Dispatcher ${name}` },
      h("header", { class: "panel-head" },
        h("h2", {}, user(name, 80)),
        h("span", { class: "muted" }, `process ${pid}`, host && [" on ", user(host, 80)]),
        draining && h("span", { class: "chip warn", text: "Draining: takes nothing new" }),
        h("span", { class: "panel-end" }, slots !== null && slots <= 64 && h("span", { class: "slots", "aria-hidden": "true" }, Array.from({ length: slots }, (_, n) => h("span", { class: n < running.length ? "slot used" : "slot" }))),
          slots === null ? counted(running.length, "run") : `${running.length} of ${counted(slots, "slot")} used`)),
      h("p", { class: "lane-links" }, h("span", { class: "muted", text: "Lanes " }), lanes.slice(0, 40).flatMap((lane) => [h("a", { class: "chip", href: `#/tasks?lane=${encodeURIComponent(lane)}` }, user(lane, 60)), " "]), lanes.length > 40 && `and ${lanes.length - 40} more`),
      unready.length > 0 && h("ul", {}, unready.map((one) => h("li", { class: "fact-row" }, icon("warning"), h("strong", {}, user(one.lane ?? one.vendor, 80)), h("span", { class: "grow" }, user(one.text, 400))))),
      running.length === 0 ? h("p", { class: "muted", text: "Runs nothing now." })
        : h("ul", { "aria-label": `Runs of ${name}` }, running.map((one) => h("li", { class: "fact-row" },
          h("span", { class: "state state-claimed" }, icon("claimed"), h("span", { class: "unseen", text: "Running" })),
          h("a", { class: "mono", href: `#/task/${encodeURIComponent(one.task_id)}?tab=output`, title: one.task_id, text: shortId(one.task_id) }),
          h("span", { class: "grow" }, user(one.lane, 80), one.attempt != null && h("span", { class: "muted", text: ` attempt ${one.attempt}` })),
          h("span", { class: "muted" }, one.since && ["for ", timeTag(one.since, "span")])))));
  }

  // Registrations of workers are not in the feed.
  const timer = setInterval(() => { if (!document.hidden) refresh().catch(() => {}); }, 5000);
  refresh().catch((error) => trouble.replaceChildren(problem(error)));
  return () => {
    clearInterval(timer);
    stopStatus();
  };
}

/** @param {string} label @param {HTMLElement[]} rows */
function section(label, rows) {
  return rows.length ? [h("section", { class: "panel", "aria-label": label }, h("header", { class: "panel-head" }, h("h2", { text: label })), h("ul", {}, rows))] : [];
}
