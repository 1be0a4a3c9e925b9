import assert from "node:assert/strict";
import { test } from "node:test";

import { bars, fold } from "../../../src/http/ui/timeline.js";

const event = (type, message = "") => ({ created_at: "2026-11-30T12:00:00Z", type, message, data: {} });

test("renewals in a row are one, and other events only if they are equal", () => {
  const folds = fold([
    event("claimed"), event("renewed", "a"), event("renewed", "b"), event("note", "x"), event("renewed", "c"),
    event("note", "x"), event("note", "x"), event("note", "y"),
  ]);
  assert.deepEqual(folds.map(({ first, count }) => [first.type, count]), [
    ["claimed", 1], ["renewed", 2], ["note", 1], ["renewed", 1], ["note", 2], ["note", 1],
  ]);
  assert.equal(folds[1].last.message, "b");
});

test("attempts lie on the line where they were", () => {
  const at = (seconds) => new Date(seconds * 1000).toISOString();
  const attempt = (n, start, end) => ({ n, started_at: start === null ? null : at(start), ended_at: end === null ? null : at(end) });
  assert.deepEqual(bars([attempt(1, 10, 30), attempt(2, 50, null)], 0, 100_000), [
    { n: 1, x: 100, width: 200, running: false },
    { n: 2, x: 500, width: 500, running: true },
  ]);
  assert.deepEqual(bars([attempt(1, null, 5), attempt(2, 1, null), attempt(3, 99.9, 99.95)], 0, 100_000), [
    { n: 2, x: 10, width: 6, running: false },
    { n: 3, x: 994, width: 6, running: false },
  ]);
  assert.deepEqual(bars([attempt(1, 0, 0)], 0, 0), [{ n: 1, x: 0, width: 6, running: false }]);
});
