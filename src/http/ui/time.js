// Says times and lengths of time in few letters.

/** Seconds as `8s`, `4m 05s`, `1h 03m`, `2d 4h`. @param {number} seconds */
export function span(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${pad(whole % 60)}s`;
  if (whole < 86_400) return `${Math.floor(whole / 3600)}h ${pad(Math.floor((whole % 3600) / 60))}m`;
  return `${Math.floor(whole / 86_400)}d ${Math.floor((whole % 86_400) / 3600)}h`;
}

/** A time as seen from another: `just now`, `5m ago`, `in 2h`. Both in milliseconds. @param {number} then @param {number} now */
export function relative(then, now) {
  const seconds = Math.round((now - then) / 1000);
  const size = Math.abs(seconds);
  if (size < 5) return seconds < 0 ? "in a moment" : "just now";
  const text = coarse(size);
  return seconds < 0 ? `in ${text}` : `${text} ago`;
}

/** Seconds in their largest unit. @param {number} seconds */
export function coarse(seconds) {
  for (const [unit, length] of /** @type {[string, number][]} */ ([["d", 86_400], ["h", 3600], ["m", 60]])) {
    if (seconds >= length) return `${Math.floor(seconds / length)}${unit}`;
  }
  return `${Math.floor(seconds)}s`;
}

/** The milliseconds of a time in RFC 3339; NaN when it is none. @param {string | null | undefined} text */
export function parse(text) {
  return text ? Date.parse(text) : NaN;
}

/** A time with its zone, for people who want to know exactly. @param {string} text */
export function exact(text) {
  const time = new Date(text);
  if (Number.isNaN(time.getTime())) return text;
  return time.toLocaleString(undefined, {
    year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short",
  });
}

/** @param {number} n */
function pad(n) {
  return String(n).padStart(2, "0");
}
