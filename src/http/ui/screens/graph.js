// Which task waits for which, drawn from left to right, and as a list.

import { get, query as queryOf } from "../api.js";
import { h, svg } from "../dom.js";
import { counted, cut, shortId, stateOf, visible } from "../format.js";
import { icon } from "../icons.js";
import { BOX, layout } from "../layout.js";
import { subscribe } from "../live.js";
import { empty, problem, stateBadge, user } from "../parts.js";
import { reading, screenStyles } from "../sheet.js";

/** @typedef {{id: string, title: string, lane: string, state: string, group: string | null, failure_class: string | null}} Node */
/** @typedef {{from: string, to: string, on: string}} Edge */

await screenStyles();

export const title = "Graph";

/** More tasks than this are not drawn: nobody could read them. */
const MOST = 2000;
const MARGIN = 8;

/** @param {HTMLElement} root @param {import("../app.js").Context} context */
export function mount(root, { query, go, keys }) {
  const abort = new AbortController();
  const input = h("input", { id: "graph-of", type: "search", autocomplete: "off", spellcheck: "false", placeholder: "Group, or id of a task" });
  const sum = h("span", { class: "muted" });
  const view = h("select", { id: "graph-view", on: { change: () => draw() } }, [["picture", "Picture"], ["list", "List"]].map(([value, text]) => h("option", { value, text })));
  const place = h("div", { class: "graph-place" }, reading());
  root.append(h("header", { class: "screen-head" }, h("h1", { text: "Graph" }),
    h("form", {
      class: "graph-of", role: "search",
      on: {
        /** @param {SubmitEvent} event */
        submit: (event) => {
          event.preventDefault();
          const of = input.value.trim();
          go(`#/graph${queryOf(/^\d{8}T\d+Z-/.test(of) ? { task: of } : { group: of })}`);
        },
      },
    }, h("label", { class: "unseen", for: "graph-of", text: "Group, or id of a task" }), input, h("button", { type: "submit", class: "button", text: "Show" })),
    h("label", { class: "unseen", for: "graph-view", text: "View" }), view, sum), place);

  /** @type {{nodes: Node[], edges: Edge[]} | null} */
  let graph = null;
  /** The task with the focus, or that would get it. */
  let current = "";
  let mark = "";
  let visit = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;

  async function read() {
    timer = undefined;
    const here = ++visit;
    try {
      const next = await get(`/graph${queryOf({ task: query.get("task"), group: query.get("group") })}`, { signal: abort.signal });
      if (here !== visit) return;
      graph = next;
      draw();
    } catch (error) {
      if (abort.signal.aborted || here !== visit) return;
      sum.textContent = "";
      place.replaceChildren(problem(error));
      mark = "";
    }
  }

  function draw() {
    if (!graph) return;
    const { nodes, edges } = graph;
    const next = JSON.stringify([graph, view.value]);
    if (next === mark) return;
    mark = next;
    sum.textContent = nodes.length ? `${counted(nodes.length, "task")} · ${counted(edges.length, "dependency", "dependencies")}` : "";
    if (nodes.length === 0) {
      place.replaceChildren(query.get("group") ? empty("No task of this group is left.") : empty("No task waits for another one. One that does is submitted with:", "lanes submit --after ID …"));
      return;
    }
    const hadFocus = place.contains(document.activeElement);
    const scroll = place.querySelector(".graph-scroll");
    const [left, top] = [scroll?.scrollLeft ?? 0, scroll?.scrollTop ?? 0];
    if (!nodes.some(({ id }) => id === current)) current = query.get("task") ?? nodes[0].id;
    const isMany = nodes.length > MOST;
    place.replaceChildren(...(isMany ? [h("p", { class: "muted", text: "These are too many for a picture." })] : []), view.value === "list" || isMany ? list(nodes, edges) : picture(nodes, edges));
    const shown = place.querySelector(".graph-scroll");
    if (shown && (left || top)) shown.scrollTo(left, top);
    if (hadFocus) focus(current);
  }

  /** @param {Node[]} nodes @param {Edge[]} edges */
  function picture(nodes, edges) {
    const placed = layout(nodes.map(({ id }) => id), edges);
    const at = new Map(placed.nodes.map((one) => [one.id, one]));
    const width = placed.width + 2 * MARGIN;
    const height = placed.height + 2 * MARGIN;
    const ends = new Map(nodes.map(({ id, state }) => [id, state]));
    /** @type {Map<string, number>} */
    const waits = new Map();
    for (const { to } of edges) waits.set(to, (waits.get(to) ?? 0) + 1);
    /** @param {KeyboardEvent} event */
    const move = (event) => {
      const to = neighbour(current, event.key, placed.nodes, edges);
      if (event.key === "Enter" && current) {
        event.preventDefault();
        go(`#/task/${encodeURIComponent(current)}`);
      } else if (to !== null) {
        event.preventDefault();
        focus(to);
      }
    };
    return h("div", { class: "graph-scroll" },
      svg("svg", { class: "graph", width, height, viewBox: `${-MARGIN} ${-MARGIN} ${width} ${height}`, role: "group", "aria-label": "Tasks and what they wait for; the arrow keys move along the lines", on: { keydown: move } },
        svg("g", { "aria-hidden": "true" }, placed.lines.map(({ from, points }) => svg("path", { class: ends.get(from) === "completed" ? "edge met" : "edge", d: curve(points) }))),
        nodes.map((node) => box(node, at.get(node.id) ?? { x: 0, y: 0 }, waits.get(node.id) ?? 0))));
  }

  /** @param {Node} node @param {{x: number, y: number}} at @param {number} waits */
  function box(node, { x, y }, waits) {
    const { word, kind } = stateOf(node);
    const mark = icon(kind);
    for (const [name, value] of Object.entries({ x: 10, y: 28, width: 14, height: 14 })) mark.setAttribute(name, String(value));
    return svg("g", {
      class: `node node-${kind}`, transform: `translate(${x} ${y})`, role: "link", tabindex: node.id === current ? "0" : "-1", "aria-description": waits ? `waits for ${counted(waits, "task")}` : null, "data-id": node.id,
      on: { click: () => go(`#/task/${encodeURIComponent(node.id)}`), focus: () => setCurrent(node.id) },
    },
    svg("rect", { class: "node-box", width: BOX.width, height: BOX.height, rx: 6 }),
    svg("foreignObject", { x: 10, y: 5, width: BOX.width - 20, height: 20 }, h("div", { class: "node-title clip", title: cut(node.title, 300) }, user(visible(node.title) || shortId(node.id), 120))),
    mark,
    svg("text", { class: "node-meta", x: 28, y: 40, text: `${word} · ${cut(node.lane, 18)}` }));
  }

  /** @param {Node[]} nodes @param {Edge[]} edges */
  function list(nodes, edges) {
    const byId = new Map(nodes.map((node) => [node.id, node]));
    const layers = nodes.length > MOST ? null : new Map(layout(nodes.map(({ id }) => id), edges).nodes.map(({ id, layer }) => [id, layer]));
    const sorted = layers ? [...nodes].sort((a, b) => (layers.get(a.id) ?? 0) - (layers.get(b.id) ?? 0)) : nodes.slice(0, MOST);
    /** @type {Map<string, Edge[]>} */
    const before = new Map();
    for (const edge of edges) before.set(edge.to, [...(before.get(edge.to) ?? []), edge]);
    return h("ul", { class: "panel graph-list", "aria-label": "Tasks and what they wait for" }, sorted.map((node) => {
      const waits = before.get(node.id) ?? [];
      return h("li", { class: "fact-row" }, stateBadge(node), h("a", { href: `#/task/${encodeURIComponent(node.id)}`, title: node.id }, user(visible(node.title) || shortId(node.id), 120)), h("span", { class: "muted" }, user(node.lane, 60)),
        waits.length > 0 && h("span", { class: "grow muted" }, "waits for ", waits.slice(0, 20).flatMap(({ from }, n) => [n > 0 && ", ", user(byId.get(from)?.title ?? shortId(from), 60)]), waits.length > 20 && `, and ${waits.length - 20} more`));
    }));
  }

  /** @param {string} id */
  function setCurrent(id) {
    for (const one of place.querySelectorAll(".node[tabindex='0']")) one.setAttribute("tabindex", "-1");
    current = id;
    nodeOf(id)?.setAttribute("tabindex", "0");
  }

  /** @param {string} id @returns {SVGGElement | undefined} */
  function nodeOf(id) {
    return [.../** @type {NodeListOf<SVGGElement>} */ (place.querySelectorAll(".node"))].find((one) => one.dataset.id === id);
  }

  /** @param {string} id */
  function focus(id) {
    setCurrent(id);
    const node = nodeOf(id);
    node?.focus({ preventScroll: true });
    node?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  const show = () => { input.value = query.get("group") ?? query.get("task") ?? ""; };
  const unsubscribe = subscribe((message) => {
    if (message.type === "connection") return;
    const isOurs = message.type === "gap" || message.events.some(({ task_id: id, type }) => type === "created" || graph?.nodes.some((node) => node.id === id));
    if (isOurs) timer ??= setTimeout(read, 1000);
  });
  keys([
    { keys: ["ArrowRight"], label: "Move along a line", run: () => focus(current) },
    { keys: ["v"], label: "Picture or list", run: () => { view.value = view.value === "list" ? "picture" : "list"; draw(); } },
  ]);
  show();
  read();
  return {
    update: (/** @type {URLSearchParams} */ changed) => {
      query = changed;
      current = "";
      graph = null;
      show();
      read();
    },
    unmount: () => {
      abort.abort();
      clearTimeout(timer);
      unsubscribe();
    },
  };
}

/** @param {[number, number][]} points A line with soft bends. */
function curve(points) {
  return points.map(([x, y], n) => {
    if (n === 0) return `M${x} ${y}`;
    const [before, above] = points[n - 1];
    const middle = (before + x) / 2;
    return above === y ? `L${x} ${y}` : `C${middle} ${above} ${middle} ${y} ${x} ${y}`;
  }).join("");
}

/**
 * The task to which an arrow key leads: along a line, or up and down within a layer.
 * @param {string} id @param {string} key @param {import("../layout.js").Placed[]} nodes @param {Edge[]} edges
 */
function neighbour(id, key, nodes, edges) {
  const here = nodes.find((one) => one.id === id);
  if (!here) return null;
  const nearest = (/** @type {import("../layout.js").Placed[]} */ all) => [...all].sort((a, b) => Math.abs(a.y - here.y) - Math.abs(b.y - here.y))[0]?.id ?? null;
  const linked = (/** @type {string[]} */ ids) => nodes.filter((one) => ids.includes(one.id));
  if (key === "ArrowRight") return nearest(linked(edges.filter(({ from }) => from === id).map(({ to }) => to))) ?? nearest(nodes.filter(({ layer }) => layer === here.layer + 1));
  if (key === "ArrowLeft") return nearest(linked(edges.filter(({ to }) => to === id).map(({ from }) => from))) ?? nearest(nodes.filter(({ layer }) => layer === here.layer - 1));
  if (key === "ArrowDown") return nearest(nodes.filter(({ layer, y }) => layer === here.layer && y > here.y));
  if (key === "ArrowUp") return nearest(nodes.filter(({ layer, y }) => layer === here.layer && y < here.y));
  return null;
}
