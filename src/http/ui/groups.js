// Dead letters that failed for the same reason.

/**
 * @typedef {{task_id: string, lane: string, since: string, reason: string, failure_class?: string | null}} DeadLetter
 * @typedef {{key: string, reason: string, failureClass: string, letters: DeadLetter[], lanes: string[]}} Group
 */

/** The longest part of a reason that tells it from others. */
const TELLING = 400;

/**
 * Groups dead letters by the class and the text of their failure; numbers, ids and times in the text do not count. The
 * largest group is first, and within a group the newest letter.
 * @param {DeadLetter[]} letters
 * @returns {Group[]}
 */
export function groups(letters) {
  /** @type {Map<string, DeadLetter[]>} */
  const byKey = new Map();
  for (const letter of letters) {
    const key = `${letter.failure_class ?? ""}\n${essence(letter.reason)}`;
    const of = byKey.get(key);
    if (of) of.push(letter);
    else byKey.set(key, [letter]);
  }
  const all = [...byKey].map(([key, of]) => {
    of.sort((a, b) => (a.since < b.since ? 1 : a.since > b.since ? -1 : 0));
    const reason = of[0].reason.split("\n", 1)[0].slice(0, TELLING).trim() || "No reason was given";
    return { key, reason, failureClass: of[0].failure_class ?? "", letters: of, lanes: [...new Set(of.map(({ lane }) => lane))].sort() };
  });
  return all.sort((a, b) => b.letters.length - a.letters.length || (a.letters[0].since < b.letters[0].since ? 1 : -1));
}

/** What a reason says apart from its particulars. @param {string} reason */
function essence(reason) {
  return reason.slice(0, TELLING).replace(/\(after \d+ failed attempts?\)/g, "").replace(/\b[0-9a-f]{6,}\b|\d+/gi, "#").replace(/\s+/g, " ").trim();
}
