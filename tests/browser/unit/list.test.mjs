import assert from "node:assert/strict";
import { test } from "node:test";

import { fromQuery, inWords, isPreset, parseSearch, PRESETS, toBody, toHash, without, withSearch } from "../../../src/http/ui/filter.js";
import { Pages, slice } from "../../../src/http/ui/pages.js";

const read = (text) => fromQuery(new URLSearchParams(text));

test("a filter survives the address", () => {
  const filter = read("lane=a&lane=b&state=failed&q=two+words&order=updated&owner=x&owner=y&limit=9");
  assert.deepEqual(filter, { lane: ["a", "b"], state: ["failed"], owner: ["x"], q: ["two words"], order: ["updated"] });
  assert.deepEqual(read(toHash(filter).split("?")[1]), filter);
  assert.equal(toHash(read("order=newest")), "#/tasks");
});

test("what bulk actions get has no order", () => {
  assert.deepEqual(toBody(read("lane=a&q=x&order=oldest")), { lane: ["a"], q: "x" });
});

test("names with a colon in the search field are filters, others are text", () => {
  assert.deepEqual(parseSearch('fix label:urgent https://x owner:"a b" lane:'), { text: "fix https://x lane:", values: [["label", "urgent"], ["owner", "a b"]] });
  assert.deepEqual(withSearch({ lane: ["a"], q: ["old"] }, "lane:b lane:a owner:x"), { lane: ["a", "b"], owner: ["x"] });
  assert.deepEqual(without({ lane: ["a", "b"] }, "lane", "a"), { lane: ["b"] });
  assert.deepEqual(without({ lane: ["a"] }, "lane", "a"), {});
});

test("a preset is recognised in any order of its states", () => {
  const waiting = PRESETS.find(({ label }) => label === "Waiting");
  assert.ok(isPreset(read("state=blocked&state=queued&state=scheduled&lane=a"), waiting));
  assert.ok(!isPreset(read("state=queued"), waiting));
  assert.ok(isPreset(read(""), PRESETS[0]));
});

test("the words of a filter name everything in it", () => {
  assert.equal(inWords(read("lane=a&state=failed&failure_class=dead&q=x")), "lane a, state failed, failure class dead, text “x”");
  assert.equal(inWords({}), "all tasks of this store");
});

const page = (from, size) => Array.from({ length: size }, (_, i) => ({ id: `t${from + i}` }));

test("a long list keeps few rows and reads dropped ones again by their cursor", () => {
  const pages = new Pages(300);
  for (let i = 0; i < 10; i++) {
    pages.add(page(i * 100, 100), i < 9 ? `c${i + 1}` : null);
    pages.trim(i * 100 + 50);
  }
  assert.equal(pages.length, 1000);
  assert.ok(pages.rows().length <= 300 && !pages.hasMore);
  assert.equal(pages.row(950).id, "t950");
  assert.equal(pages.row(50), null);
  assert.deepEqual(pages.missing(90, 210), [0, 1, 2]);
  assert.deepEqual([pages.pages[0].cursor, pages.pages[2].cursor], [null, "c2"]);
  pages.fill(2, page(200, 100));
  assert.equal(pages.row(250).id, "t250");
  pages.trim(250);
  assert.equal(pages.row(250).id, "t250", "what is looked at stays");
});

test("pages with changed rows are read again, except where somebody looks", () => {
  const pages = new Pages();
  for (let i = 0; i < 4; i++) pages.add(page(i * 100, 100), i < 3 ? `c${i + 1}` : null);
  const changed = new Set(["t5", "t150", "t350"]);
  pages.forget((id) => changed.has(id), 120, 220);
  assert.deepEqual([pages.row(5), pages.row(150)?.id, pages.row(250)?.id, pages.row(350)], [null, "t150", "t250", null]);
  assert.deepEqual(pages.missing(0, 400), [0, 3]);
});

test("a row is replaced where it is", () => {
  const pages = new Pages();
  pages.add(page(0, 3), null);
  assert.ok(pages.replace({ id: "t1", title: "new" }) && pages.has("t2"));
  assert.deepEqual(pages.row(1), { id: "t1", title: "new" });
  assert.ok(!pages.replace({ id: "t9" }));
});

test("a short list is drawn as a whole, a long one around what is in sight", () => {
  assert.deepEqual(slice(200, 0, 20), [0, 200]);
  assert.deepEqual(slice(5000, 1000.5, 20), [920, 1101]);
  assert.deepEqual(slice(5000, 4990, 200), [4940, 5000]);
  const [from, to] = slice(100_000, 5000, 60);
  assert.ok(to - from <= 300);
});
