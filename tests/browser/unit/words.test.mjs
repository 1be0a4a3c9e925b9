import assert from "node:assert/strict";
import { test } from "node:test";

import { bytes, cost, count, counted, cut, firstLine, isEnded, shortId, stateOf } from "../../../src/http/ui/format.js";
import { coarse, parse, relative, span } from "../../../src/http/ui/time.js";

test("lengths of time have two units at most", () => {
  const cases = { 0: "0s", 8.9: "8s", 65: "1m 05s", 3599: "59m 59s", 3780: "1h 03m", 187_200: "2d 4h" };
  for (const [seconds, text] of Object.entries(cases)) assert.equal(span(Number(seconds)), text);
  assert.equal(span(-5), "0s");
  assert.equal(coarse(7300), "2h");
});

test("times are told from now", () => {
  const now = parse("2026-11-30T12:00:00Z");
  const ago = (seconds) => relative(now - seconds * 1000, now);
  assert.deepEqual([ago(2), ago(59), ago(3600), ago(90_000), ago(-2), ago(-600)], ["just now", "59s ago", "1h ago", "1d ago", "in a moment", "in 10m"]);
  assert.ok(Number.isNaN(parse(null)));
});

test("an unknown cost is not nothing", () => {
  assert.deepEqual([cost(null), cost(undefined), cost(0), cost(0.0012), cost(1234.5)], ["unknown", "unknown", "$0.00", "$0.0012", "$1,234.50"]);
});

test("numbers are grouped and counted", () => {
  assert.deepEqual([count(12_431), count(999), counted(1, "task"), counted(2000, "task")], ["12,431", "999", "1 task", "2,000 tasks"]);
  assert.deepEqual([bytes(1), bytes(3_200_000), bytes(5e12)], ["1 byte", "3.2 MB", "5000.0 GB"]);
});

test("a text is cut without splitting a character", () => {
  assert.equal(cut("abcdef", 3), "abc…");
  assert.equal(cut("ab😀cd", 3), "ab…");
  assert.equal(cut(null), "");
  assert.equal(firstLine("\n  \n  first line\nsecond"), "first line");
  assert.equal(firstLine("x".repeat(1 << 20)).length, 301);
});

test("the states have words, and a cancelled or dead task is not just failed", () => {
  const word = (state, failure_class) => stateOf({ state, failure_class }).word;
  assert.deepEqual([word("claimed"), word("failed", "cancelled"), word("failed", "dead"), word("failed", "timeout"), word("tomorrow")], ["Running", "Cancelled", "Dead", "Failed", "tomorrow"]);
  assert.equal(stateOf({ state: "failed", failure_class: "timeout" }).detail, "timed out");
  assert.deepEqual([isEnded({ state: "failed" }), isEnded({ state: "claimed" })], [true, false]);
});

test("an id is told by its end", () => {
  assert.equal(shortId("20261130T031751803504Z-work-8524c17e9203-97578f"), "97578f");
  assert.equal(shortId("short"), "short");
});
