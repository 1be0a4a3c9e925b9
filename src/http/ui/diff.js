// A patch as `git diff` prints it, as files, hunks and lines.

/**
 * @typedef {{kind: "+" | "-" | " " | "\\", before: number | null, after: number | null, text: string}} DiffLine
 * @typedef {{header: string, lines: DiffLine[]}} Hunk
 * @typedef {{path: string, from: string | null, change: "added" | "deleted" | "renamed" | "copied" | "modified",
 *   binary: boolean, mode: string | null, added: number, removed: number, hunks: Hunk[]}} DiffFile
 */

/**
 * Parses a patch. Lines that belong to no file, such as the message of a commit, are skipped.
 * @param {string} patch
 * @returns {DiffFile[]}
 */
export function parse(patch) {
  /** @type {DiffFile[]} */
  const files = [];
  /** @type {DiffFile | null} */
  let file = null;
  /** @type {Hunk | null} */
  let hunk = null;
  let [before, after, leftBefore, leftAfter] = [0, 0, 0, 0];
  const lines = patch.split("\n");
  if (lines[lines.length - 1] === "") lines.pop();
  for (const raw of lines) {
    // Inside a hunk its counts decide, so that a removed line `-- x` is not taken for the name of a file.
    if (file && hunk && (leftBefore > 0 || leftAfter > 0)) {
      const kind = raw[0] ?? " ";
      const text = raw.slice(1);
      if (kind === "+" && leftAfter > 0) {
        hunk.lines.push({ kind, before: null, after: after++, text });
        leftAfter--;
        file.added++;
        continue;
      }
      if (kind === "-" && leftBefore > 0) {
        hunk.lines.push({ kind, before: before++, after: null, text });
        leftBefore--;
        file.removed++;
        continue;
      }
      if (kind === " " || kind === "\r") {
        hunk.lines.push({ kind: " ", before: before++, after: after++, text });
        leftBefore--;
        leftAfter--;
        continue;
      }
      // Neither: the patch is cut here, unless it is the mark below.
      if (kind !== "\\") hunk = null;
    }
    if (raw.startsWith("\\ ") && hunk) {
      hunk.lines.push({ kind: "\\", before: null, after: null, text: raw.slice(2) });
    } else if (raw.startsWith("diff --git ")) {
      file = newFile(pathOfHeader(raw.slice(11)));
      files.push(file);
      hunk = null;
    } else if (!file) {
      continue;
    } else if (raw.startsWith("@@ ")) {
      const match = /^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@ ?(.*)$/.exec(raw);
      if (!match) continue;
      before = Number(match[1]);
      leftBefore = Number(match[2] ?? 1);
      after = Number(match[3]);
      leftAfter = Number(match[4] ?? 1);
      hunk = { header: match[5], lines: [] };
      file.hunks.push(hunk);
    } else if (!file.hunks.length) {
      readHeader(file, raw);
    }
  }
  return files;
}

/** @param {string} path @returns {DiffFile} */
function newFile(path) {
  return { path, from: null, change: "modified", binary: false, mode: null, added: 0, removed: 0, hunks: [] };
}

/** @param {DiffFile} file @param {string} line A line between `diff --git` and the first hunk. */
function readHeader(file, line) {
  const rest = (/** @type {string} */ prefix) => (line.startsWith(prefix) ? line.slice(prefix.length) : null);
  const source = rest("rename from ") ?? rest("copy from ");
  const target = rest("rename to ") ?? rest("copy to ");
  const mode = rest("new mode ");
  if (rest("new file mode ") !== null) file.change = "added";
  else if (rest("deleted file mode ") !== null) file.change = "deleted";
  else if (source !== null) {
    file.change = line.startsWith("rename") ? "renamed" : "copied";
    file.from = unquoted(source);
  } else if (target !== null) file.path = unquoted(target);
  else if (mode !== null) file.mode = mode;
  else if (line.startsWith("Binary files ") || line === "GIT binary patch") file.binary = true;
  else {
    const name = rest("+++ ") ?? rest("--- ");
    // The name after `+++` comes last and counts, except where the file is gone.
    if (name !== null && !name.startsWith("/dev/null")) file.path = withoutSide(unquoted(name.replace(/\t$/, "")));
  }
}

/** @param {string} header What follows `diff --git`. @returns {string} The path after the change. */
function pathOfHeader(header) {
  if (header.endsWith('"')) {
    const quoted = /"(?:[^"\\]|\\.)*"$/.exec(header);
    if (quoted) return withoutSide(unquoted(quoted[0]));
  }
  // Both names are the same unless lines that follow say otherwise, so the second one begins in the middle.
  const middle = header.length >> 1;
  const half = header[middle] === " " ? header.slice(middle + 1) : header.slice(header.lastIndexOf(" b/") + 1);
  return withoutSide(half);
}

/** @param {string} path @returns {string} */
function withoutSide(path) {
  return path.replace(/^[abciow]\//, "");
}

/** @param {string} path @returns {string} The path without the quotes and escapes that git uses for unusual ones. */
function unquoted(path) {
  if (!(path.length > 1 && path.startsWith('"') && path.endsWith('"'))) return path;
  /** @type {Record<string, string>} */
  const named = { a: "\x07", b: "\b", t: "\t", n: "\n", v: "\v", f: "\f", r: "\r" };
  const bytes = [];
  const encoder = new TextEncoder();
  for (const [part, octal, other] of path.slice(1, -1).matchAll(/\\([0-7]{3})|\\(.)|[^\\]+/gsu)) {
    if (octal) bytes.push(parseInt(octal, 8) & 255);
    else bytes.push(...encoder.encode(other ? (named[other] ?? other) : part));
  }
  return new TextDecoder().decode(new Uint8Array(bytes));
}
