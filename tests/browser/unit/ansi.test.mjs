import assert from "node:assert/strict";
import { test } from "node:test";

import { MAX_LINE, parse, plain, withoutEscapes } from "../../../src/http/ui/ansi.js";

const pieces = (line, style = plain()) => parse(line, style).pieces.map(({ text, cls }) => [text, cls]);

test("colours and styles become classes and end where they are reset", () => {
  assert.deepEqual(pieces("a\x1b[31mb\x1b[1mc\x1b[0md"), [["a", ""], ["b", "fg-1"], ["c", "fg-1 t-bold"], ["d", ""]]);
  assert.deepEqual(pieces("\x1b[93;4mx\x1b[24;39my"), [["x", "fg-11 t-underline"], ["y", ""]]);
  assert.deepEqual(pieces("\x1b[1;2mx\x1b[22my\x1b[3;9mz\x1b[mw"), [["x", "t-bold t-dim"], ["y", ""], ["z", "t-italic t-strike"], ["w", ""]]);
});

test("a coloured background decides the colour of its text", () => {
  assert.deepEqual(pieces("\x1b[31;44mx"), [["x", "bg-4"]]);
  assert.deepEqual(pieces("\x1b[31;7mx\x1b[27my"), [["x", "bg-1"], ["y", "fg-1"]]);
  assert.deepEqual(pieces("\x1b[7mx"), [["x", "bg-none"]]);
  assert.deepEqual(pieces("\x1b[103mx\x1b[49my"), [["x", "bg-11"], ["y", ""]]);
});

test("256 and true colours become the nearest of sixteen", () => {
  assert.deepEqual(pieces("\x1b[38;5;9mx\x1b[38;5;196my\x1b[38;5;16mz"), [["xy", "fg-9"], ["z", "fg-0"]]);
  assert.deepEqual(pieces("\x1b[38;5;250mx"), [["x", "fg-7"]]);
  assert.deepEqual(pieces("\x1b[38;2;250;250;10mx\x1b[38:2::0:200:0my"), [["x", "fg-11"], ["y", "fg-2"]]);
  assert.deepEqual(pieces("\x1b[48;5;21;1mx"), [["x", "bg-4 t-bold"]]);
  assert.deepEqual(pieces("\x1b[38;5;999mx\x1b[38;5mx\x1b[38mx"), [["xxx", ""]]);
});

test("a style stays in effect on the next line", () => {
  const style = plain();
  parse("\x1b[32mone", style);
  assert.deepEqual(pieces("two", style), [["two", "fg-2"]]);
});

test("every other escape is dropped", () => {
  const rest = [
    "\x1b[2J", "\x1b[10;20H", "\x1b[?25l", "\x1b]0;title\x07", "\x1b]8;;https://example.org\x1b\\", "\x1bPq#0\x1b\\",
    "\x1b_x\x1b\\", "\x1b^x\x9c", "\x1b(B", "\x1b7", "\x1bc", "\x9b31;1H", "\x9d0;t\x07", "\x1b[>4;2m", "\x00", "\x08",
    "\x7f", "\x85",
  ];
  for (const escape of rest) assert.deepEqual(pieces(`a${escape}b`), [["ab", ""]], JSON.stringify(escape));
  for (const open of ["\x1b", "\x1b[", "\x1b[31", "\x1b]0;title", "\x1bPq", "\x9b1"]) {
    assert.deepEqual(pieces(`a${open}`), [["a", ""]], JSON.stringify(open));
  }
});

test("marks that reverse text are shown instead of followed", () => {
  assert.deepEqual(pieces("a\u202eb\u2066c"), [["a‹U+202E›b‹U+2066›c", ""]]);
});

test("a carriage return overwrites, and keeps the style", () => {
  assert.deepEqual(pieces("10%\r\x1b[32m50%\rdone\r\n"), [["done", "fg-2"]]);
  assert.deepEqual(pieces("same\r"), [["same", ""]]);
});

test("a long line is cut and says by how much", () => {
  const { pieces: shown, more } = parse("x".repeat(1 << 20), plain());
  assert.equal(shown[0].text.length, MAX_LINE);
  assert.equal(more, (1 << 20) - MAX_LINE);
  assert.deepEqual(parse("", plain()), { pieces: [], more: 0 });
});

test("hostile lines cost no more than their length", () => {
  const lines = [
    "\x9d".repeat(MAX_LINE - 1) + "\x1b", "\x1b]".repeat(MAX_LINE / 2), "\x1b[".repeat(MAX_LINE / 2),
    "\x1b[" + "1;".repeat(MAX_LINE / 2 - 2) + "m", "\r".repeat(1 << 20) + "x", "\x1b[31m\r".repeat(1 << 17),
  ];
  // The time of this process: the machine may be busy with something else.
  const start = process.cpuUsage().user;
  for (const line of lines) for (let i = 0; i < 20; i++) parse(line, plain());
  assert.ok(process.cpuUsage().user - start < 5_000_000);
});

test("lone surrogates and markup stay as they are", () => {
  assert.deepEqual(pieces("\ud800<script>alert(1)</script>"), [["\ud800<script>alert(1)</script>", ""]]);
});

test("a text keeps its lines and loses its escapes", () => {
  assert.equal(withoutEscapes("a\x1b[31mb\n\tc\x1b]0;open\nd\x1b[3\ne\u202ef\x07"), "ab\n\tc\nd\ne‹U+202E›f");
});
