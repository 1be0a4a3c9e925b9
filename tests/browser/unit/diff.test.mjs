import assert from "node:assert/strict";
import { test } from "node:test";

import { parse } from "../../../src/http/ui/diff.js";

const PATCH = `diff --git a/src/lib.rs b/src/lib.rs
index 1111111..2222222 100644
--- a/src/lib.rs
+++ b/src/lib.rs
@@ -1,3 +1,4 @@ fn main() {
 one
--- two
+++ two
+three
 four
@@ -10 +11 @@
-old
\\ No newline at end of file
+new
\\ No newline at end of file
diff --git a/new file.txt b/new file.txt
new file mode 100644
index 0000000..3333333
--- /dev/null
+++ b/new file.txt\t
@@ -0,0 +1 @@
+hello
diff --git a/gone b/gone
deleted file mode 100644
index 3333333..0000000
--- a/gone
+++ /dev/null
@@ -1 +0,0 @@
-bye
diff --git a/old.md b/new.md
similarity index 100%
rename from old.md
rename to new.md
diff --git a/pic.png b/pic.png
index 4444444..5555555 100644
Binary files a/pic.png and b/pic.png differ
diff --git a/run.sh b/run.sh
old mode 100644
new mode 100755
`;

test("files, hunks and line numbers are read", () => {
  const files = parse(PATCH);
  assert.deepEqual(files.map((file) => [file.path, file.change, file.added, file.removed]), [
    ["src/lib.rs", "modified", 3, 2],
    ["new file.txt", "added", 1, 0],
    ["gone", "deleted", 0, 1],
    ["new.md", "renamed", 0, 0],
    ["pic.png", "modified", 0, 0],
    ["run.sh", "modified", 0, 0],
  ]);
  assert.deepEqual(files[0].hunks.map((hunk) => hunk.header), ["fn main() {", ""]);
  assert.deepEqual(files[0].hunks[0].lines, [
    { kind: " ", before: 1, after: 1, text: "one" },
    { kind: "-", before: 2, after: null, text: "-- two" },
    { kind: "+", before: null, after: 2, text: "++ two" },
    { kind: "+", before: null, after: 3, text: "three" },
    { kind: " ", before: 3, after: 4, text: "four" },
  ]);
  assert.deepEqual(files[0].hunks[1].lines.map(({ kind, text }) => kind + text), [
    "-old", "\\No newline at end of file", "+new", "\\No newline at end of file",
  ]);
  assert.equal(files[3].from, "old.md");
  assert.equal(files[4].binary, true);
  assert.equal(files[5].mode, "100755");
});

test("names that git quotes are read", () => {
  const [file] = parse('diff --git "a/b\\303\\244r \\"x\\"\\t.txt" "b/b\\303\\244r \\"x\\"\\t.txt"\nold mode 1\nnew mode 2\n');
  assert.equal(file.path, 'bär "x"\t.txt');
});

test("a name with b/ in it is read from the header", () => {
  const [file] = parse("diff --git a/a b/c b/a b/c\nold mode 100644\nnew mode 100755\n");
  assert.equal(file.path, "a b/c");
});

test("what is not a patch has no files, and a cut patch keeps what is there", () => {
  assert.deepEqual(parse(""), []);
  assert.deepEqual(parse(" src/lib.rs | 3 ++-\n 1 file changed\n"), []);
  const cut = parse("diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1,9 +1,9 @@\n a\n-b");
  assert.deepEqual([cut[0].hunks[0].lines.length, cut[0].removed], [2, 1]);
});

test("a file after a hunk that is too short is not lost", () => {
  const files = parse("diff --git a/x b/x\n@@ -1,9 +1,9 @@\n a\ndiff --git a/y b/y\n@@ -1 +1 @@\n-a\n+b\n");
  assert.deepEqual(files.map((file) => file.path), ["x", "y"]);
});

test("a large patch is read in time", () => {
  const lines = Array.from({ length: 50_000 }, (_, n) => `+line ${n}`).join("\n");
  // The time of this process: the machine may be busy with something else.
  const start = process.cpuUsage().user;
  const [file] = parse(`diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -0,0 +1,50000 @@\n${lines}\n`);
  assert.equal(file.added, 50_000);
  assert.ok(process.cpuUsage().user - start < 5_000_000);
});
