// One task: why it is where it is, what can be done about it, and everything that is known of it.

import { act, actionsFor, run } from "../actions.js";
import { get, query as queryOf, send, text as getText } from "../api.js";
import { form } from "../dialog.js";
import { h, svg } from "../dom.js";
import { cost, count, counted, cut, firstLine, isEnded, shortId, visible } from "../format.js";
import { subscribe } from "../live.js";
import { button, empty, problem, serverNow, stateBadge, timeTag, user } from "../parts.js";
import { endQuestion, isOpen, questionForm } from "../question.js";
import { reading, screenStyles } from "../sheet.js";
import { isReadOnly } from "../status.js";
import { textBlock } from "../textblock.js";
import { parse as parseTime, span } from "../time.js";
import { bars, fold } from "../timeline.js";

/**
 * @typedef {{n: number, owner: string | null, vendor: string | null, model: string | null, started_at: string | null,
 *   ended_at: string | null, outcome: string | null, failure_class: string | null, message: string | null,
 *   cost_usd: number | null, tokens: any, session_id: string | null, exit_code: number | null, verified: boolean | null,
 *   has_diff: boolean | null}} Attempt
 * @typedef {{task: any, events: import("../timeline.js").Event[], response: any, attempts: Attempt[]}} History
 * @typedef {{id: string, title: string, lane: string, state: string, failure_class: string | null}} Near
 * @typedef {{history: History, why: string, before: (Near & {on: string})[], after: Near[]}} Model
 * @typedef {{update: (model: Model) => void, unmount?: () => void}} Panel
 * @typedef {(root: HTMLElement, model: Model, id: string) => Panel} MakePanel
 */

await screenStyles();

export const title = "Task";

const EVENTS_SHOWN = 200;
/** How long events are gathered before the task is read again. */
const GATHER_MS = 300;

/** When a message is read, by the server's word for it. @type {Record<string, string>} */
const DELIVERIES = {
  claim: "with the next claim",
  holder: "when the holder next renews, reports or asks",
  run: "after the agent's next tool call, or once it has answered",
  prompt: "once the agent has answered",
};

/** @type {{name: string, label: string, make: MakePanel | (() => Promise<{make: MakePanel}>)}[]} */
const TABS = [
  { name: "timeline", label: "Timeline", make: timeline },
  { name: "output", label: "Output", make: () => import("./output.js") },
  { name: "answer", label: "Answer", make: answer },
  { name: "changes", label: "Changes", make: () => import("./changes.js") },
  { name: "prompt", label: "Prompt", make: prompt },
  { name: "json", label: "JSON", make: json },
];

/** @param {HTMLElement} root @param {import("../app.js").Context} context */
export function mount(root, { params, query, go, notify, keys, setTitle }) {
  const { id } = params;
  const path = `/tasks/${encodeURIComponent(id)}`;
  const abort = new AbortController();
  const { signal } = abort;
  const head = h("header", { class: "task-head" }, h("h1", {}, "Task ", h("span", { class: "mono" }, user(shortId(id), 80))));
  const asks = h("div", { class: "task-asks" });
  const panel = h("div", { role: "tabpanel", class: "task-panel", id: "task-panel", tabindex: "-1" });
  const facts = h("aside", { class: "facts", "aria-label": "Facts" });
  const tablist = h("div", { role: "tablist", "aria-label": "Views of the task", class: "tabs", on: { keydown: moveTab } },
    TABS.map(({ name, label }) => h("button", {
      type: "button", role: "tab", id: `tab-${name}`, "aria-controls": "task-panel", text: label,
      on: { click: () => show(name) },
    })));
  const body = h("div", { class: "task-body", hidden: true }, h("div", { class: "task-main" }, tablist, panel), facts);
  const trouble = h("div", {}, reading());
  root.append(head, trouble, asks, body);

  /** @type {Model | null} */
  let model = null;
  /** @type {Panel | null} */
  let shown = null;
  let tab = "";
  let visit = 0;
  let gather = GATHER_MS;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;

  /** @param {string} name Shows a tab, and names it in the address. */
  function show(name) {
    go(`#/task/${encodeURIComponent(id)}?tab=${name}`, { replace: true });
    // A tab of the address that is shown already.
    open(name);
  }

  /** @param {string | null} wanted */
  async function open(wanted) {
    const { name, make } = TABS.find((one) => one.name === wanted) ?? TABS[0];
    if (name === tab || !model) return;
    tab = name;
    const here = ++visit;
    for (const one of tablist.children) {
      const isHere = one.id === `tab-${name}`;
      one.setAttribute("aria-selected", String(isHere));
      one.setAttribute("tabindex", isHere ? "0" : "-1");
      // On a narrow page the tabs scroll sideways.
      if (isHere) tablist.scrollLeft = /** @type {HTMLElement} */ (one).offsetLeft - tablist.clientWidth / 2;
    }
    panel.setAttribute("aria-labelledby", `tab-${name}`);
    shown?.unmount?.();
    shown = null;
    panel.replaceChildren();
    try {
      const made = make.length === 0 ? (await /** @type {() => Promise<{make: MakePanel}>} */ (make)()).make : make;
      if (here === visit) shown = /** @type {MakePanel} */ (made)(panel, model, id);
    } catch (error) {
      if (here === visit) panel.replaceChildren(problem(error));
    }
  }

  /** @param {KeyboardEvent} event */
  function moveTab(event) {
    const all = /** @type {HTMLElement[]} */ ([...tablist.children]);
    const at = all.findIndex((one) => one.id === `tab-${tab}`);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: all.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const next = all[(to + all.length) % all.length];
    next.focus();
    show(next.id.slice(4));
  }

  async function read() {
    timer = undefined;
    const began = performance.now();
    try {
      const [history, why, graph] = await Promise.all([
        get(`${path}/history`, { signal }),
        get(`${path}/why`, { signal }),
        // Only tasks with edges are in it; a server that cannot show it does not keep the task from being shown.
        get(`/graph${queryOf({ task: id })}`, { signal }).catch(() => ({ nodes: [], edges: [] })),
      ]);
      /** @type {Map<string, Near>} */
      const nodes = new Map(graph.nodes.map((/** @type {Near} */ node) => [node.id, node]));
      const near = (/** @type {string} */ of) => nodes.get(of) ?? { id: of, title: shortId(of), lane: "", state: "", failure_class: null };
      /** @type {{task: string, on: string}[]} */
      const after = history.task.after ?? [];
      model = {
        history: { ...history, attempts: history.attempts ?? [] },
        why: why.message ?? why.reason ?? "",
        before: after.map(({ task, on }) => ({ ...near(task), on })),
        after: graph.edges.filter((/** @type {any} */ edge) => edge.from === id).map((/** @type {any} */ edge) => near(edge.to)),
      };
      trouble.replaceChildren();
      draw(model);
      // A long history is read less often.
      gather = Math.max(GATHER_MS, 3 * (performance.now() - began));
    } catch (error) {
      if (signal.aborted) return;
      trouble.replaceChildren(problem(error), ...(model ? [] : [empty("A task that lanes gc has removed cannot be shown any more. These are left:", "lanes list")]));
    }
  }

  /** @param {Model} now */
  function draw(now) {
    const { task } = now.history;
    const name = titleOf(task);
    setTitle(name);
    const target = { id, title: name, lane: task.lane, state: task.state, failure_class: task.failure_class };
    const actions = actionsFor(target);
    const dependents = now.after.filter(({ failure_class: why }) => why === "upstream").length;
    const focused = document.activeElement instanceof HTMLElement && head.contains(document.activeElement) ? document.activeElement.textContent : null;
    head.replaceChildren(
      h("p", { class: "crumbs muted" },
        h("a", { href: `#/tasks${queryOf({ lane: task.lane })}` }, user(task.lane, 80)), " / ", h("span", { class: "mono", title: id, text: shortId(id) }), " ",
        button("Copy the id", () => copy(id), { icon: "link", bare: true, class: "quiet" })),
      h("h1", {}, user(name, 300)),
      h("p", { class: `why why-${task.state}` }, stateBadge(task), h("span", { class: "why-text" }, user(now.why, 1200))),
      h("div", { class: "task-actions", role: "group", "aria-label": "Actions" },
        actions.map(({ name: action, label, key, danger }) => button(label, () => act(action, target, notify), { title: `${label} (${key})`, class: danger ? "danger" : "" })),
        task.state === "failed" && dependents > 0 && !isReadOnly() && button(`Retry with ${counted(dependents, "dependent")}`, retryAll),
        !isEnded(task) && !isReadOnly() && button("Tell", tell, { title: "Send a message to the worker (t)" }),
        (now.before.length > 0 || now.after.length > 0) && h("a", { class: "button quiet", href: `#/graph${queryOf({ task: id })}`, text: "Graph" })));
    if (focused) [.../** @type {NodeListOf<HTMLElement>} */ (head.querySelectorAll("button, a"))].find((one) => one.textContent === focused)?.focus();
    drawQuestions(task.questions ?? []);
    keys([
      ...actions.map(({ name: action, label, key }) => ({ keys: action === "redrive" ? [key, "r"] : [key], label, run: () => act(action, target, notify) })),
      ...(isEnded(task) || isReadOnly() ? [] : [{ keys: ["t"], label: "Tell", run: tell }]),
      ...(asks.children.length ? [{ keys: ["a"], label: "Answer", run: () => /** @type {HTMLElement | null} */ (asks.querySelector("input, textarea"))?.focus() }] : []),
    ]);
    drawFacts(facts, now);
    body.hidden = false;
    if (tab) shown?.update(now);
    else open(query.get("tab") ?? (task.state === "claimed" && now.history.attempts.some(({ vendor }) => vendor) ? "output" : task.state === "completed" ? "answer" : "timeline"));
  }

  /** @param {import("../question.js").Question[]} questions Forms that are being filled in stay as they are. */
  function drawQuestions(questions) {
    const open = questions.filter((one) => isOpen(one, serverNow()));
    const wanted = new Set(open.map(({ n }) => String(n)));
    for (const child of /** @type {HTMLElement[]} */ ([...asks.children])) {
      const one = questions.find(({ n }) => String(n) === child.dataset.n);
      if (wanted.has(child.dataset.n ?? "") || endQuestion(child, endOf(one))) continue;
      child.remove();
    }
    for (const question of open) {
      if (asks.querySelector(`[data-n="${question.n}"]`)) continue;
      const element = questionForm(id, question, () => {
        element.remove();
        notify("Answered; the task continues.");
        soon();
      });
      element.setAttribute("data-n", String(question.n));
      asks.append(element);
    }
  }

  function retryAll() {
    return run(notify, async () => {
      const { count: n, results } = await send("POST", `${path}/retry-with-dependents`, { by: "board" });
      notify(`Submitted ${counted(n, "task")} again.`, { href: `#/task/${encodeURIComponent(results[0]?.task_id ?? id)}` });
    });
  }

  function tell() {
    form({
      title: "Tell the worker",
      draft: `message to ${id}`,
      text: "The message reaches the worker when it next looks, or with the next attempt.",
      action: "Tell",
      fields: [{ name: "message", label: "Message", type: "textarea", required: true }],
    }, async ({ message }) => {
      const told = await send("POST", `${path}/messages`, { message, by: "board" });
      notify(`Sent; it is read ${DELIVERIES[told.delivery] ?? "by the worker"}.`);
    });
  }

  /** @param {string} words */
  async function copy(words) {
    try {
      await navigator.clipboard.writeText(words);
      notify("Copied the id.");
    } catch {
      notify(`The browser does not allow copying. The id is ${words}`, { isError: true });
    }
  }

  function soon() {
    timer ??= setTimeout(read, gather);
  }

  const unsubscribe = subscribe((message) => {
    if (message.type === "gap" || (message.type === "connection" && message.state === "live" && model)) soon();
    if (message.type !== "events") return;
    const near = new Set([id, ...(model?.before ?? []).map((one) => one.id), ...(model?.after ?? []).map((one) => one.id)]);
    if (message.events.some(({ task_id: of }) => near.has(of))) soon();
  });
  read();
  return {
    update: (/** @type {URLSearchParams} */ changed) => {
      query = changed;
      open(changed.get("tab") ?? tab);
    },
    unmount: () => {
      abort.abort();
      clearTimeout(timer);
      unsubscribe();
      shown?.unmount?.();
    },
  };
}

/** @param {any} task */
function titleOf(task) {
  return visible(task.name) || visible(cut(firstLine(task.prompt), 80)) || shortId(task.id);
}

/** Why a question is open no more. @param {import("../question.js").Question | undefined} question */
function endOf(question) {
  if (question?.answer != null) return `Answered meanwhile${question.answered_by ? ` by ${cut(question.answered_by, 80)}` : ""}: ${cut(question.answer, 300)}`;
  if (question?.default !== undefined) return `Nobody has answered in time; this counts now: ${cut(question.default, 300)}`;
  return "This question is no longer open.";
}

/** @param {string} id @param {string} [words] */
function taskLink(id, words) {
  return h("a", { href: `#/task/${encodeURIComponent(id)}`, title: id }, user(words ?? shortId(id), 80));
}

// ---- Facts

/** @param {HTMLElement} root @param {Model} model */
function drawFacts(root, { history: { task, response, attempts }, before, after }) {
  const last = attempts[attempts.length - 1];
  const known = attempts.filter(({ cost_usd: usd }) => usd != null);
  const spent = known.length ? cost(known.reduce((sum, { cost_usd: usd }) => sum + (usd ?? 0), 0)) : attempts.length ? "unknown" : null;
  /** @type {(label: string, ...value: import("../dom.js").Child[]) => HTMLElement[]} */
  const fact = (label, ...value) => (value.some((one) => one != null && one !== "" && one !== false) ? [h("div", {}, h("dt", { text: label }), h("dd", {}, value))] : []);
  root.replaceChildren(
    h("dl", {},
      fact("Attempt", `${task.attempt}${task.max_attempts ? ` of ${task.max_attempts}` : ""}`),
      fact("Worker", task.claim_owner && user(task.claim_owner, 80)),
      fact("Agent", last?.vendor && user([last.vendor, last.model].filter(Boolean).join(" / "), 80)),
      fact("Lease ends", task.state === "claimed" && timeTag(task.lease_expires_at)),
      fact("Not before", task.state === "scheduled" && timeTag(task.not_before)),
      fact("Deadline", task.deadline && timeTag(task.deadline)),
      fact("Cost", spent, known.length > 0 && known.length < attempts.length && h("span", { class: "muted", text: ` (${attempts.length - known.length} of ${counted(attempts.length, "attempt")} reported none)` })),
      fact("Verdict", response?.verdict && user(response.verdict, 80)),
      fact("Created", timeTag(task.created_at)),
      fact("Changed", timeTag(task.updated_at)),
      fact("Priority", task.priority ? String(task.priority) : null),
      fact("Labels", ...(task.labels ?? []).slice(0, 20).map((/** @type {string} */ label) => h("a", { class: "chip", href: `#/tasks${queryOf({ label })}` }, user(label, 40)))),
      fact("Group", task.group && h("a", { href: `#/graph${queryOf({ group: task.group })}` }, user(task.group, 80))),
      fact("Key", task.idempotency_key && user(task.idempotency_key, 120)),
      fact("From", task.source_agent && user(task.source_agent, 80)),
      fact("Exclusive", (task.exclusive ?? []).length > 0 && user(task.exclusive.join(", "), 200)),
      fact("Retry of", task.retry_of && taskLink(task.retry_of)),
      fact("Retried as", task.retried_as && taskLink(task.retried_as)),
      fact("Branch", response?.metadata?.worktree?.branch && h("span", { class: "mono" }, user(response.metadata.worktree.branch, 200))),
      fact("Worktree", task.worktree_path && h("span", { class: "mono" }, user(task.worktree_path, 300)))),
    ...nearList("Waits for", before),
    ...nearList("Tasks that wait for this one", after));
}

/** @param {string} label @param {(Near & {on?: string})[]} tasks */
function nearList(label, tasks) {
  if (tasks.length === 0) return [];
  return [h("h2", { text: label }), h("ul", { class: "near", "aria-label": label }, tasks.slice(0, 50).map((one) => h("li", {},
    one.state ? stateBadge(one) : null, taskLink(one.id, one.title),
    one.on && one.on !== "success" && one.on !== "completed" && h("span", { class: "muted", text: `(${one.on})` })))),
  ...(tasks.length > 50 ? [h("p", { class: "muted", text: `and ${count(tasks.length - 50)} more` })] : [])];
}

// ---- Timeline

/** @param {HTMLElement} root @param {Model} model @param {string} id @returns {Panel} */
function timeline(root, model, id) {
  let isAllShown = false;
  /** @param {Model} now */
  function update(now) {
    const { task, attempts, events } = now.history;
    const from = parseTime(task.created_at);
    const ended = parseTime(task.completed_at ?? task.failed_at);
    const places = new Map(bars(attempts, from, Number.isNaN(ended) ? serverNow() : ended).map((bar) => [bar.n, bar]));
    const folds = fold(events);
    const left = isAllShown ? 0 : Math.max(0, folds.length - EVENTS_SHOWN);
    root.replaceChildren(
      attempts.length === 0 ? h("p", { class: "muted", text: "No attempt yet." }) : h("ol", { class: "attempts", "aria-label": "Attempts" }, attempts.map((attempt) => attemptRow(attempt, places.get(attempt.n), id))),
      h("h2", { text: "Events" }),
      ...(left > 0 ? [button(`Show ${count(left)} earlier events`, () => {
        isAllShown = true;
        update(now);
        root.querySelector("ol.events")?.scrollIntoView();
      }, { class: "quiet" })] : []),
      h("ol", { class: "events", "aria-label": "Events" }, folds.slice(left).map(({ first, last, count: n }) => h("li", {},
        timeTag(last.created_at),
        h("span", { class: "event-type mono" }, user(first.type, 40)),
        h("span", { class: "event-text" }, user(last.message, 2000), n > 1 && h("span", { class: "muted", text: ` ${n} times since ` }), n > 1 && timeTag(first.created_at))))));
  }
  update(model);
  return { update };
}

/** How attempts end that are neither good nor bad: their task went back. */
const UNSPENT = new Set(["withheld", "released", "usage_limit", "overloaded", "account", "cancelled"]);

/** @param {Attempt} attempt @param {import("../timeline.js").Bar | undefined} bar @param {string} id */
function attemptRow(attempt, bar, id) {
  const { n, vendor, model, owner, started_at: start, ended_at: end, outcome, failure_class: why, message } = attempt;
  const isGood = outcome === "completed";
  const isAsked = outcome === "asked" || outcome === "input_required";
  const kind = bar?.running ? "claimed" : isGood ? "completed" : isAsked ? "input_required" : !outcome || UNSPENT.has(outcome) ? "released" : "failed";
  const words = bar?.running ? "running" : [outcome, why !== outcome && why].filter(Boolean).join(": ") || "not reported";
  const seconds = (parseTime(end) - parseTime(start)) / 1000;
  const lasted = bar?.running ? timeTag(start, "span") : Number.isNaN(seconds) ? null : h("span", { text: span(seconds) });
  const tokens = typeof attempt.tokens === "number" ? attempt.tokens : attempt.tokens && typeof attempt.tokens === "object" ? Object.values(attempt.tokens).reduce((sum, one) => sum + (Number(one) || 0), 0) : null;
  return h("li", { class: `attempt state-${kind}` },
    h("div", { class: "attempt-line" },
      vendor ? h("a", { href: `#/task/${encodeURIComponent(id)}?tab=output&attempt=${n}`, text: `Attempt ${n}` }) : h("strong", { text: `Attempt ${n}` }),
      h("span", { class: "attempt-outcome" }, user(words, 120)),
      h("span", { class: "muted" }, user([vendor, model].filter(Boolean).join(" / ") || owner || "", 80)),
      h("span", { class: "attempt-end muted" },
        lasted,
        h("span", { text: attempt.cost_usd == null ? (bar?.running ? "" : "cost unknown") : cost(attempt.cost_usd) }),
        tokens !== null && h("span", { text: `${count(tokens)} tokens` }),
        attempt.verified !== null && attempt.verified !== undefined && h("span", { text: attempt.verified ? "verified" : "not verified" }),
        attempt.exit_code ? h("span", { text: `exit ${attempt.exit_code}` }) : null,
        attempt.has_diff && h("a", { href: `#/task/${encodeURIComponent(id)}?tab=changes&attempt=${n}`, text: "changes" }))),
    svg("svg", { class: "attempt-bar", viewBox: "0 0 1000 6", preserveAspectRatio: "none", "aria-hidden": "true" },
      svg("rect", { class: "attempt-track", x: 0, y: 2, width: 1000, height: 2 }),
      bar && svg("rect", { class: "attempt-run", x: bar.x, y: 0, width: bar.width, height: 6 })),
    message && !isGood && h("p", { class: "attempt-text" }, user(message, 1000)));
}

// ---- Answer, prompt, JSON

/** @param {HTMLElement} root @param {Model} model @returns {Panel} */
function answer(root, model) {
  let mark = "";
  /** @param {Model} now */
  function update({ history: { task, response } }) {
    const next = JSON.stringify([response, task.state]);
    if (next === mark) return;
    mark = next;
    if (!response) {
      root.replaceChildren(h("p", { class: "muted", text: isEnded(task) ? "The task ended without an answer." : "No answer yet." }));
      return;
    }
    const number = (/** @type {number | null} */ n, /** @type {string} */ words) => n != null && h("span", { class: "chip", text: `${count(n)} ${words}` });
    root.replaceChildren(
      h("p", { class: "answer-head" },
        h("span", { class: `state state-${response.status}` }, response.status === "completed" ? "Completed" : "Failed"),
        response.verdict && h("span", { class: "chip strong" }, user(response.verdict, 80)),
        number(response.blocking_count, "blocking"), number(response.nonblocking_count, "non-blocking"),
        response.follow_up_required && h("span", { class: "chip warn", text: "Follow-up required" }),
        response.request_changed_before_response && h("span", { class: "chip warn", text: "The request had changed" }),
        h("span", { class: "muted" }, "by ", user(response.reviewer, 80), " ", timeTag(response.created_at))),
      response.body ? textBlock(response.body, "Answer") : h("p", { class: "muted", text: "The answer has no text." }));
  }
  update(model);
  return { update };
}

/** @param {HTMLElement} root @param {Model} model @param {string} id @returns {Panel} */
function prompt(root, model, id) {
  const { task, attempts } = model.history;
  const abort = new AbortController();
  const sent = h("div", {});
  root.replaceChildren(
    h("h2", { text: "Request" }),
    task.prompt ? textBlock(task.prompt, "Request") : h("p", { class: "muted" }, "The request is the file ", h("code", {}, user(task.request_path, 400))),
    ...((task.supporting_paths ?? []).length ? [h("h2", { text: "Files" }), h("ul", {}, task.supporting_paths.slice(0, 100).map((/** @type {{path: string}} */ file) => h("li", { class: "mono" }, user(file.path, 400))))] : []),
    sent);
  if (attempts.some(({ vendor }) => vendor)) {
    const show = async () => {
      const words = await getText(`/tasks/${encodeURIComponent(id)}/log?stream=prompt`, { signal: abort.signal }).catch((error) => error);
      if (abort.signal.aborted) return;
      sent.replaceChildren(h("h2", { text: "What the agent was given" }), typeof words === "string" ? textBlock(words, "What the agent was given") : problem(words));
    };
    sent.append(button("Show what the agent was given", show));
  }
  return { update: () => {}, unmount: () => abort.abort() };
}

/** @param {HTMLElement} root @param {Model} model @returns {Panel} */
function json(root, model) {
  let mark = "";
  /** @param {Model} now */
  function update({ history }) {
    const words = JSON.stringify(history, null, 2);
    if (words === mark) return;
    mark = words;
    root.replaceChildren(textBlock(words, "JSON"));
  }
  update(model);
  return { update };
}
