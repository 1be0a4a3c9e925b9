import assert from "node:assert/strict";
import { test } from "node:test";

import { isCharacter, isControl, resolve, step, takesText } from "../../../src/http/ui/keys.js";

const bindings = [
  { keys: ["/"], label: "global search", run() {} },
  { keys: ["g t"], label: "tasks", run() {} },
  { keys: ["j", "ArrowDown"], label: "next", run() {} },
  { keys: ["/"], label: "search here", run() {} },
];
const press = (key, before = null, now = 0) => resolve(bindings, before, key, now);

test("the binding of the screen takes precedence", () => {
  assert.equal(press("/").binding.label, "search here");
  assert.equal(press("ArrowDown").binding.label, "next");
  assert.equal(press("q").binding, null);
});

test("two keys in a row count only soon after each other", () => {
  const { binding, before } = press("g");
  assert.equal(binding, null);
  assert.equal(press("t", before, 1000).binding.label, "tasks");
  assert.equal(press("t", before, 5000).binding, null);
  assert.equal(press("j", before, 10).binding.label, "next", "a key that is no second one counts for itself");
});

test("letters stay letters in a field", () => {
  assert.ok(takesText({ tagName: "INPUT", type: "search" }) && takesText({ tagName: "TEXTAREA" }) && takesText({ tagName: "DIV", isContentEditable: true }));
  assert.ok(!takesText({ tagName: "INPUT", type: "checkbox" }) && !takesText({ tagName: "DIV" }) && !takesText(null));
  assert.ok(isControl({ tagName: "BUTTON" }) && !isControl({ tagName: "DIV" }));
});

test("only single characters can be switched off", () => {
  assert.deepEqual(["j", "?", "😀", "Enter", "ArrowUp", " "].map(isCharacter), [true, true, true, false, false, false]);
});

test("a movement stays within the list", () => {
  assert.deepEqual([step(-1, "next", 3), step(2, "next", 3), step(0, "previous", 3), step(-1, "previous", 3), step(1, "last", 3), step(0, "next", 0)], [0, 2, 0, 2, 2, -1]);
});
