// Waiting for a condition, which is the only way in which tests wait.

/** Thrown by a look after which waiting is in vain. */
export class InVain extends Error {}

/**
 * Calls `look` until it returns something that counts as true, and returns that. Fails after `seconds` with what was
 * awaited and what the last look saw or threw.
 */
export async function until(what, look, seconds = 40) {
  const end = Date.now() + seconds * 1000;
  let last;
  for (;;) {
    try {
      const seen = await look();
      if (seen) return seen;
      last = seen;
    } catch (error) {
      if (error instanceof InVain) throw error;
      last = error;
    }
    if (Date.now() > end) throw new Error(`waited ${seconds} s for ${what}; the last look gave: ${last}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}
