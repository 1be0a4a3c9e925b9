// What runs cost: today, in the last days, and by lane, vendor and model.

import { get } from "../api.js";
import { h, svg } from "../dom.js";
import { cost, count, counted } from "../format.js";
import { subscribe } from "../live.js";
import { empty, problem, timeTag, user } from "../parts.js";
import { reading, screenStyles } from "../sheet.js";
import { span } from "../time.js";

/**
 * @typedef {{runs: number, completed: number, failed?: number, cost_usd: number | null, at_least_cost_usd?: number | null,
 *   median_usd?: number | null, p90_usd?: number | null, median_seconds?: number | null, p90_seconds?: number | null,
 *   runs_without_cost?: number, outcomes?: Record<string, number>}} Totals
 * @typedef {{day: string, runs: number, completed: number, failed: number, cost_usd: number | null, runs_without_cost: number}} Day
 * @typedef {{scope: string, measure: string, limit: number, spent: number, running: number, until: string}} Budget
 */

await screenStyles();

export const title = "Spend";

const PERIODS = [1, 7, 30, 90];

/**
 * Returns the percentage of the runs that answered, of those that could have: a run that asks a question does not count.
 * @param {Totals} one
 */
function share(one) {
  const runs = one.runs - (one.outcomes?.asked ?? 0);
  return runs > 0 ? Math.floor((one.completed * 100) / runs) : 0;
}

/** @param {HTMLElement} root @param {import("../app.js").Context} context */
export function mount(root, { query, go }) {
  const abort = new AbortController();
  let days = PERIODS.includes(Number(query.get("days"))) ? Number(query.get("days")) : 7;
  const select = h("select", { id: "spend-days", on: { change: () => go(`#/spend?days=${select.value}`, { replace: true }) } },
    PERIODS.map((n) => h("option", { value: n, selected: n === days, text: period(n) })));
  const body = h("div", { class: "spend" }, reading());
  root.append(h("header", { class: "screen-head" }, h("h1", { text: "Spend" }), h("label", { class: "unseen", for: "spend-days", text: "Period" }), select), body);
  let isTableOpen = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;

  async function read() {
    timer = undefined;
    try {
      const wanted = days;
      const answer = await get(`/stats?days=${wanted}`, { signal: abort.signal });
      if (wanted === days) draw(answer);
    } catch (error) {
      if (!abort.signal.aborted) body.replaceChildren(problem(error));
    }
  }

  /** @param {any} answer */
  function draw({ stats, series = [], budgets = [] }) {
    /** @type {Totals} */
    const all = stats.all ?? { runs: 0, completed: 0, cost_usd: null };
    if (all.runs === 0 && budgets.length === 0) {
      body.replaceChildren(empty(`No run has ended in the ${period(days).toLowerCase()}. Dispatchers record theirs:`, "lanes dispatch --vendor claude"));
      return;
    }
    const unknown = withoutCost(all);
    const today = /** @type {Day | undefined} */ (series[series.length - 1]);
    const failed = all.failed ?? all.runs - all.completed;
    const details = h("details", { open: isTableOpen, on: { toggle: () => { isTableOpen = details.open; } } }, h("summary", { text: "The days as a table" }), dayTable(series));
    body.replaceChildren(
      h("dl", { class: "tiles" },
        // The days of the series are those of UTC.
        tile("Today (UTC)", today ? sum(today) : "unknown", today ? counted(today.runs, "run") : ""),
        tile(period(days), sum(all), `${counted(all.runs, "run")}, ${count(failed)} failed`),
        tile("Median of a run", cost(all.median_usd), lasted(all.median_seconds)),
        tile("90 % of runs cost up to", cost(all.p90_usd), lasted(all.p90_seconds))),
      ...(unknown > 0 ? [h("p", { class: "muted", text: `${count(unknown)} of ${counted(all.runs, "run")} reported no cost; sums are what the others reported.` })] : []),
      ...(series.length > 1 ? [h("section", { class: "panel", "aria-label": "Cost by day" }, h("header", { class: "panel-head" }, h("h2", { text: "By day" })), chart(series), details)] : []),
      ...budgetSection(budgets),
      ...(/** @type {[string, string, Record<string, Totals>][]} */ ([["Lane", "lane", stats.lanes], ["Vendor", "", stats.vendors], ["Model", "", stats.models]])).flatMap(([label, field, groups]) => groupTable(label, field, groups ?? {})));
  }

  const unsubscribe = subscribe((message) => {
    const isNew = message.type === "gap" || (message.type === "events" && message.events.some(({ state, type }) => state === "completed" || state === "failed" || type === "released"));
    if (isNew) timer ??= setTimeout(read, 2000);
  });
  read();
  return {
    update: (/** @type {URLSearchParams} */ changed) => {
      days = PERIODS.includes(Number(changed.get("days"))) ? Number(changed.get("days")) : 7;
      select.value = String(days);
      read();
    },
    unmount: () => {
      abort.abort();
      clearTimeout(timer);
      unsubscribe();
    },
  };
}

/** @param {number} days */
function period(days) {
  return days === 1 ? "Last 24 hours" : `Last ${days} days`;
}

/** @param {{runs_without_cost?: number, runs: number, runs_with_cost?: number}} totals */
function withoutCost(totals) {
  return totals.runs_without_cost ?? totals.runs - (totals.runs_with_cost ?? totals.runs);
}

/** The known cost; a lower bound where runs told only that. @param {{cost_usd: number | null, at_least_cost_usd?: number | null, runs: number}} totals */
function sum({ cost_usd: usd, at_least_cost_usd: least, runs }) {
  if (runs === 0) return cost(0);
  return least ? `at least ${cost((usd ?? 0) + least)}` : cost(usd);
}

/** @param {number | null | undefined} seconds */
function lasted(seconds) {
  return seconds == null ? "" : span(seconds);
}

/** @param {string} label @param {string} value @param {string} more */
function tile(label, value, more) {
  return h("div", { class: "tile" }, h("dt", { text: label }), h("dd", {}, h("span", { class: "tile-value", text: value }), h("span", { class: "muted", text: more })));
}

/** @param {Day[]} series */
function chart(series) {
  const most = Math.max(...series.map(({ cost_usd: usd }) => usd ?? 0));
  const top = most > 0 ? most : 1;
  const step = 100 / series.length;
  const every = Math.ceil(series.length / 8);
  const label = `Cost by day, from ${series[0].day} to ${series[series.length - 1].day}; at most ${cost(most)} on a day`;
  return h("figure", { class: "chart" },
    svg("svg", { viewBox: "0 0 100 40", preserveAspectRatio: "none", role: "img", "aria-label": label, class: "chart-bars" },
      svg("line", { class: "chart-base", x1: 0, x2: 100, y1: 40, y2: 40 }),
      series.map(({ day, cost_usd: usd, runs, runs_without_cost: unknown }, n) => {
        const height = ((usd ?? 0) / top) * 38;
        const words = `${day}: ${runs === 0 ? "no runs" : `${cost(usd)}, ${counted(runs, "run")}${unknown ? `, ${unknown} without cost` : ""}`}`;
        return svg("g", {}, svg("title", { text: words }),
          svg("rect", { class: "chart-hit", x: n * step, y: 0, width: step, height: 40 }),
          svg("rect", { class: "chart-bar", x: n * step + step * 0.12, y: 40 - height, width: step * 0.76, height }));
      })),
    h("figcaption", { class: "chart-days", "aria-hidden": "true" }, series.map(({ day }, n) => h("span", { text: n % every === 0 ? day.slice(5) : "" }))));
}

/** @param {Day[]} series */
function dayTable(series) {
  return table("Days", ["Day", "Runs", "Answered", "Failed", "Cost", "Without cost"], [...series].reverse().map((day) => [
    day.day, count(day.runs), count(day.completed), count(day.failed), sum(day), count(day.runs_without_cost),
  ]));
}

/** @param {string} label @param {string} field @param {Record<string, Totals>} groups */
function groupTable(label, field, groups) {
  const rows = Object.entries(groups).sort(([, a], [, b]) => (b.cost_usd ?? 0) - (a.cost_usd ?? 0) || b.runs - a.runs);
  if (rows.length === 0) return [];
  return [h("section", { class: "panel", "aria-label": `By ${label.toLowerCase()}` }, h("header", { class: "panel-head" }, h("h2", { text: `By ${label.toLowerCase()}` })),
    table(`Runs by ${label.toLowerCase()}`, [label, "Runs", "Answered", "Cost", "Median", "90 %", "Median time", "90 % time", "Without cost"], rows.slice(0, 200).map(([name, one]) => [
      field ? h("a", { href: `#/tasks?${field}=${encodeURIComponent(name)}` }, user(name, 80)) : user(name, 80),
      count(one.runs), `${share(one)} %`, sum(one), cost(one.median_usd), cost(one.p90_usd),
      lasted(one.median_seconds) || "unknown", lasted(one.p90_seconds) || "unknown", count(withoutCost(one)),
    ])))];
}

/** @param {string} label @param {string[]} heads @param {import("../dom.js").Child[][]} rows */
function table(label, heads, rows) {
  return h("div", { class: "table-scroll", tabindex: "0", role: "region", "aria-label": label },
    h("table", {}, h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col", text: head })))),
      h("tbody", {}, rows.map(([first, ...rest]) => h("tr", {}, h("th", { scope: "row" }, first), rest.map((cell) => h("td", {}, cell)))))));
}

/** @param {Budget[]} budgets */
function budgetSection(budgets) {
  if (budgets.length === 0) return [];
  return [h("section", { class: "panel", "aria-label": "Budgets" }, h("header", { class: "panel-head" }, h("h2", { text: "Budgets" })),
    h("ul", {}, budgets.map(({ scope, measure, limit, spent, running, until }) => {
      const isMoney = measure.startsWith("usd");
      const amount = (/** @type {number} */ n) => (isMoney ? cost(n) : count(n));
      const part = (/** @type {number} */ n) => (limit > 0 ? Math.min(100, (n / limit) * 100) : 100);
      return h("li", { class: "budget" },
        h("strong", {}, user(scope, 80)), h("span", { class: "muted", text: measure.replace(/_/g, " ").replace("usd", "USD") }),
        h("span", { class: spent >= limit ? "budget-sum over" : "budget-sum" }, `${amount(spent)} of ${amount(limit)}`, running > 0 && `, ${amount(running)} running`, spent >= limit && ", spent"),
        h("span", { class: "muted" }, "resets ", timeTag(until)),
        svg("svg", { class: "meter", viewBox: "0 0 100 4", preserveAspectRatio: "none", "aria-hidden": "true" },
          svg("rect", { class: "attempt-track", x: 0, y: 0, width: 100, height: 4 }),
          svg("rect", { class: "meter-running", x: 0, y: 0, width: part(spent + running), height: 4 }),
          svg("rect", { class: spent >= limit ? "meter-over" : "meter-spent", x: 0, y: 0, width: part(spent), height: 4 })));
    })))];
}
