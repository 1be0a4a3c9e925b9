import assert from "node:assert/strict";
import { test } from "node:test";

import { changedPlaces, columnOf, countIn, COLUMNS, placeOf } from "../../../src/http/ui/columns.js";
import { eventReader, isVisible, newest, summary } from "../../../src/http/ui/fold.js";

let seq = 0;
const event = (task_id, type, state, lane = "work") => ({ seq: ++seq, task_id, lane, type, message: "", created_at: "", state });

test("a burst of events becomes the newest of each task, in the order of their last change", () => {
  const folded = newest([event("a", "created", "queued"), event("b", "created", "queued"), event("a", "claimed", "claimed")]);
  assert.deepEqual(folded.map(({ task_id, type }) => [task_id, type]), [["b", "created"], ["a", "claimed"]]);
});

test("what changes nothing that a list shows is left out", () => {
  assert.equal(isVisible(event("a", "renewed", "claimed")), false);
  assert.equal(isVisible(event("a", "a type of tomorrow", "claimed")), true);
});

test("what ended and what asks is said once for each task", () => {
  assert.equal(summary([event("a", "response", "completed"), event("b", "response", "failed"), event("c", "response", "completed")]), "2 finished, 1 failed");
  assert.equal(summary([event("a", "asked", "input_required")]), "1 asks a question");
  assert.equal(summary([event("a", "asked", "input_required"), event("b", "asked", "input_required")]), "2 ask a question");
  assert.equal(summary([event("a", "claimed", "claimed"), event("b", "retried", "failed"), event("c", "note", "failed")]), "");
});

test("server-sent events are read line by line", () => {
  const events = [];
  const read = eventReader((one) => events.push(one));
  for (const line of ["retry: 1000", "", ": still here", "", "id: 7", "data: {\"a\":", "data:1}", "", "event: gap", "id: 9", "data: {}", "", "data: unfinished"]) read(line);
  assert.deepEqual(events, [{ id: "7", type: "message", data: "{\"a\":\n1}" }, { id: "9", type: "gap", data: "{}" }]);
});

test("every state has a column", () => {
  for (const state of ["queued", "scheduled", "blocked", "claimed", "input_required", "completed", "failed"]) assert.ok(columnOf(state), state);
  assert.equal(columnOf(null), undefined);
  assert.equal(countIn({ queued: 2, blocked: 1, failed: 4 }, COLUMNS[1]), 3);
});

test("an event changes the place where the task was and the one where it is", () => {
  const whereIs = (id) => (id === "a" ? placeOf("work", "waiting") : undefined);
  assert.deepEqual([...changedPlaces([event("a", "claimed", "claimed")], whereIs, true)], ["waiting work", "running work"]);
  assert.deepEqual([...changedPlaces([event("b", "response", "completed", "docs")], whereIs, false)], ["done "]);
  assert.equal(changedPlaces([event("b", "claimed", undefined)], whereIs, true).size, COLUMNS.length, "an unknown state may be anywhere");
  assert.equal(changedPlaces([event("a", "renewed", "claimed")], whereIs, true).size, 0);
});
