import assert from "node:assert/strict";
import { test } from "node:test";

import { groups } from "../../../src/http/ui/groups.js";

const letter = (task_id, reason, since = "2026-11-30T12:00:00Z", more = {}) => ({ task_id, reason, since, lane: "work", ...more });

test("numbers, ids and the count of attempts do not tell reasons apart", () => {
  const all = groups([
    letter("a", "exited with code 3: no crate d64cf2aa (after 2 failed attempts)"),
    letter("b", "exited with code 4: no crate 0badcafe (after 1 failed attempt)", "2026-11-30T13:00:00Z", { lane: "review" }),
    letter("c", "the agent ran 30 minutes without an answer"),
  ]);
  assert.deepEqual(all.map(({ letters }) => letters.map(({ task_id: id }) => id)), [["b", "a"], ["c"]]);
  assert.deepEqual([all[0].reason, all[0].lanes], ["exited with code 4: no crate 0badcafe (after 1 failed attempt)", ["review", "work"]]);
});

test("the class of a failure tells groups apart, and an empty reason has words", () => {
  const all = groups([letter("a", "x", undefined, { failure_class: "error" }), letter("b", "x", undefined, { failure_class: "timeout" }), letter("c", " ")]);
  assert.equal(all.length, 3);
  assert.deepEqual(all.map(({ reason }) => reason).sort(), ["No reason was given", "x", "x"]);
  assert.deepEqual(groups([]), []);
});
