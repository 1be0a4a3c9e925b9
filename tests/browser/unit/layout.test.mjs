import assert from "node:assert/strict";
import { test } from "node:test";

import { BOX, layout } from "../../../src/http/ui/layout.js";

const edge = (text) => ({ from: text[0], to: text[1] });
const layers = (result) => Object.fromEntries(result.nodes.map(({ id, layer }) => [id, layer]));

/** Asserts that no two boxes overlap. */
function apart(result) {
  const columns = new Map();
  for (const node of result.nodes) columns.set(node.x, [...(columns.get(node.x) ?? []), node.y]);
  for (const ys of columns.values()) {
    ys.sort((a, b) => a - b);
    for (let i = 1; i < ys.length; i++) assert.ok(ys[i] - ys[i - 1] >= BOX.height, `${ys[i - 1]} and ${ys[i]}`);
  }
}

test("a dependent lies behind the last of its dependencies", () => {
  const result = layout(["a", "b", "c", "d"], ["ab", "bc", "ad", "cd"].map(edge));
  assert.deepEqual(layers(result), { a: 0, b: 1, c: 2, d: 3 });
  const long = result.lines.find((line) => line.from === "a" && line.to === "d");
  assert.equal(long.points.length, 6, "it passes two layers");
  apart(result);
});

test("lines begin at the right of a box and end at the left of another", () => {
  const result = layout(["a", "b"], [edge("ab")]);
  const [a, b] = result.nodes;
  assert.deepEqual(result.lines[0].points, [[a.x + BOX.width, a.y + BOX.height / 2], [b.x, b.y + BOX.height / 2]]);
  assert.deepEqual([result.width, result.height], [b.x + BOX.width, BOX.height]);
});

test("the join of three lies between them", () => {
  const result = layout(["a", "b", "c", "z"], ["az", "bz", "cz"].map(edge));
  const y = Object.fromEntries(result.nodes.map((node) => [node.id, node.y]));
  assert.equal(y.z, y.b);
  assert.equal(y.a, 0);
});

test("two chains do not cross, whatever the order of their tasks", () => {
  const result = layout(["a", "b", "y", "x"], ["ax", "by"].map(edge));
  const y = Object.fromEntries(result.nodes.map((node) => [node.id, node.y]));
  assert.deepEqual([y.a, y.b], [y.x, y.y]);
});

test("circles, loops, doubles and unknown tasks do no harm", () => {
  const result = layout(["a", "b", "c"], ["ab", "bc", "ca", "aa", "ab", "a?"].map(edge));
  assert.equal(result.lines.length, 3);
  assert.equal(new Set(result.nodes.map((node) => node.layer)).size, 3);
  assert.deepEqual(layout([], []), { nodes: [], lines: [], width: 0, height: 0 });
});

test("tasks without edges fill rows below the graph", () => {
  const ids = ["a", "b", ..."cdefghijk"];
  const result = layout(ids, [edge("ab")]);
  const rest = result.nodes.slice(2);
  assert.ok(rest.every((node) => node.y > result.nodes[0].y));
  assert.equal(new Set(rest.map((node) => node.y)).size, 3);
  apart(result);
});

test("the same graph has the same picture, and 500 tasks take little time", () => {
  let seed = 7;
  const random = (below) => (seed = (seed * 48271) % 2147483647) % below;
  const ids = Array.from({ length: 500 }, (_, n) => `t${n}`);
  const edges = Array.from({ length: 900 }, () => {
    const to = 1 + random(499);
    return { from: `t${Math.max(0, to - 1 - random(40))}`, to: `t${to}` };
  });
  const first = layout(ids, edges);
  apart(first);
  assert.deepEqual(layout(ids, edges), first);
  const times = Array.from({ length: 5 }, () => {
    const start = process.cpuUsage().user;
    layout(ids, edges);
    return (process.cpuUsage().user - start) / 1000;
  });
  // Time of this process, and the least of them, which is below 50 ms on an idle machine: this one may be busy.
  assert.ok(Math.min(...times) < 100, `${times}`);
});

test("a graph with very many edges is still drawn", () => {
  const ids = Array.from({ length: 300 }, (_, n) => `t${n}`);
  const edges = ids.flatMap((to, n) => ids.slice(0, n).map((from) => ({ from, to })));
  const result = layout(ids, edges);
  assert.equal(result.lines.length, 300 * 299 / 2);
  apart(result);
});
