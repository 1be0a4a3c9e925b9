// The pages of a long list. Each is kept with the cursor it was read from, so that one which was dropped to save
// memory can be read again.

/**
 * @template {{id: string}} T
 */
export class Pages {
  /** @param {number} [most] the most rows that are kept */
  constructor(most = 5000) {
    this.most = most;
    /** @type {{cursor: string | null, length: number, rows: T[] | null}[]} */
    this.pages = [];
    /** @type {string | null} */
    this.next = null;
    this.isBegun = false;
  }

  /** The number of rows that have been read, also of those that were dropped since. */
  get length() {
    return this.pages.reduce((sum, { length }) => sum + length, 0);
  }

  /** Whether there are rows after those. */
  get hasMore() {
    return !this.isBegun || this.next !== null;
  }

  /** Adds the page that follows. @param {T[]} rows @param {string | null} next */
  add(rows, next) {
    this.pages.push({ cursor: this.isBegun ? this.next : null, length: rows.length, rows });
    this.isBegun = true;
    this.next = next;
  }

  /** The row at a place; null when it was dropped or not read yet. @param {number} index @returns {T | null} */
  row(index) {
    let at = index;
    for (const { length, rows } of this.pages) {
      if (at < length) return rows?.[at] ?? null;
      at -= length;
    }
    return null;
  }

  /** The pages between two places that were dropped. @param {number} from @param {number} to */
  missing(from, to) {
    /** @type {number[]} */
    const found = [];
    let start = 0;
    this.pages.forEach(({ length, rows }, page) => {
      if (!rows && start < to && start + length > from) found.push(page);
      start += length;
    });
    return found;
  }

  /** Sets the rows of a page that was read again. @param {number} page @param {T[]} rows */
  fill(page, rows) {
    const entry = this.pages[page];
    if (entry) Object.assign(entry, { rows, length: rows.length });
  }

  /** Drops the pages farthest from a place until few enough rows are kept. @param {number} index */
  trim(index) {
    let start = 0;
    const kept = this.pages.map((entry) => {
      const middle = start + entry.length / 2;
      start += entry.length;
      return { entry, distance: Math.abs(middle - index) };
    }).filter(({ entry }) => entry.rows).sort((a, b) => b.distance - a.distance);
    let rows = kept.reduce((sum, { entry }) => sum + entry.length, 0);
    for (const { entry } of kept) {
      if (rows <= this.most) break;
      rows -= entry.length;
      entry.rows = null;
    }
  }

  /** Replaces the row of the same id. @param {T} row @returns {boolean} whether there is one */
  replace(row) {
    for (const { rows } of this.pages) {
      const at = rows?.findIndex(({ id }) => id === row.id) ?? -1;
      if (rows && at >= 0) {
        rows[at] = row;
        return true;
      }
    }
    return false;
  }

  /**
   * Drops the pages with rows that have changed, except those between two places.
   * @param {(id: string) => boolean} isChanged @param {number} from @param {number} to
   */
  forget(isChanged, from, to) {
    let start = 0;
    for (const page of this.pages) {
      const isNear = start < to && start + page.length > from;
      if (!isNear && page.rows?.some(({ id }) => isChanged(id))) page.rows = null;
      start += page.length;
    }
  }

  /** Whether the row with this id is kept. @param {string} id */
  has(id) {
    return this.pages.some(({ rows }) => rows?.some((row) => row.id === id));
  }

  /** The rows that are kept. */
  rows() {
    return this.pages.flatMap(({ rows }) => rows ?? []);
  }
}

/**
 * The places that are drawn of a list: all of a short one, else those in sight and some around them.
 * @param {number} length @param {number} top the first place in sight @param {number} seen how many are in sight
 * @returns {[number, number]} from the first to before the last
 */
export function slice(length, top, seen) {
  if (length <= 200) return [0, length];
  const spare = Math.max(10, Math.min(80, Math.floor((300 - seen) / 2)));
  return [Math.max(0, Math.floor(top) - spare), Math.min(length, Math.ceil(top + seen) + spare)];
}
