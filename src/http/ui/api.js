// Speaks to the server that served this page, over its public routes only.

const TOKEN = "lanes-token";

/** A request that was refused, or that did not arrive (`status` 0). `message` is in the server's words. */
export class ApiError extends Error {
  /** @param {number} status @param {string} code @param {string} message */
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** Tells `needed` when the server asks for a token, and `given` when there is a new one. */
export const auth = new EventTarget();

/** Tells `failed` when something could not be read for now, so that what is shown may be old. */
export const reads = new EventTarget();

/** The token, kept for this tab alone: in no address, cookie or lasting storage. @type {string | null} */
let token = read();

function read() {
  try {
    const kept = sessionStorage.getItem(TOKEN);
    return kept !== null && isToken(kept) ? kept : null;
  } catch {
    return null;
  }
}

/** Whether a text can be a token: a browser sends no other one. @param {string} text */
export function isToken(text) {
  return /^[\x21-\x7e]{1,4096}$/.test(text);
}

/** Whether a token was entered. */
export function hasToken() {
  return token !== null;
}

/** Presents `text` from now on; null forgets it. @param {string | null} text */
export function setToken(text) {
  token = text;
  try {
    if (text === null) sessionStorage.removeItem(TOKEN);
    else sessionStorage.setItem(TOKEN, text);
  } catch {
    // Without storage it lasts until the page is reloaded.
  }
  if (text !== null) auth.dispatchEvent(new Event("given"));
}

/**
 * Sends a request and returns the response, whose body has not been read.
 * @param {string} method
 * @param {string} path
 * @param {{body?: unknown, key?: string, signal?: AbortSignal, headers?: Record<string, string>}} [options]
 * @returns {Promise<Response>}
 */
export async function request(method, path, { body, key, signal, headers = {} } = {}) {
  /** @type {Record<string, string>} */
  const all = { ...headers };
  if (token !== null) all["Authorization"] = `Bearer ${token}`;
  if (body !== undefined) all["Content-Type"] = "application/json";
  if (key !== undefined) all["Idempotency-Key"] = key;
  let response;
  try {
    response = await fetch(path, {
      method,
      headers: all,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
      cache: "no-store",
      credentials: "same-origin",
      redirect: "error",
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, "unreachable", "The server cannot be reached.");
  }
  if (response.ok) return response;
  const text = await response.text().catch(() => "");
  let code = "";
  let message = text.slice(0, 500) || `The server answered ${response.status}.`;
  try {
    const refusal = JSON.parse(text);
    if (typeof refusal.error === "string") message = refusal.error;
    if (typeof refusal.code === "string") code = refusal.code;
  } catch {
    // Not one of the server's own refusals: its text is shown as it is.
  }
  if (response.status === 401) auth.dispatchEvent(new Event("needed"));
  throw new ApiError(response.status, code, message);
}

/** Reads JSON. @param {string} path @param {{signal?: AbortSignal}} [options] @returns {Promise<any>} */
export function get(path, options) {
  return reading(async () => body(await request("GET", path, options)));
}

/** Reads text. @param {string} path @param {{signal?: AbortSignal}} [options] @returns {Promise<string>} */
export function text(path, options) {
  return reading(async () => (await request("GET", path, options)).text());
}

/** Tells what fails for now only. @template T @param {() => Promise<T>} read @returns {Promise<T>} */
async function reading(read) {
  try {
    return await read();
  } catch (error) {
    if (error instanceof ApiError && isTransient(error)) reads.dispatchEvent(new Event("failed"));
    throw error;
  }
}

/** Whether the same request may succeed later. @param {ApiError} error */
export function isTransient({ status }) {
  return status === 0 || status === 408 || status === 429 || status >= 500;
}

/**
 * Changes something. `key` is the Idempotency-Key: the same request with the same key changes nothing twice.
 * @param {string} method @param {string} path @param {unknown} [content] @param {{key?: string}} [options]
 * @returns {Promise<any>}
 */
export async function send(method, path, content = {}, { key } = {}) {
  return body(await request(method, path, { body: content, key }));
}

/** @param {Response} response */
async function body(response) {
  if (response.status === 204) return null;
  try {
    return await response.json();
  } catch {
    throw new ApiError(0, "unreachable", "The answer of the server broke off.");
  }
}

/**
 * Reads a stream of JSON lines until its end; a line that is not JSON is left out.
 * @param {string} path @param {(line: any) => void} onLine @param {{signal?: AbortSignal}} [options]
 */
export async function lines(path, onLine, options) {
  const response = await request("GET", path, options);
  await eachLine(response, (line) => {
    let value;
    try {
      value = JSON.parse(line);
    } catch {
      return;
    }
    onLine(value);
  });
}

/**
 * Calls `onLine` with every line of a body as it arrives, without its end.
 * @param {Response} response @param {(line: string) => void} onLine @param {() => void} [onPiece]
 */
export async function eachLine(response, onLine, onPiece) {
  if (!response.body) return;
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  // The parts of a line that has not ended: joined once, so that a line of many pieces is not copied for each.
  /** @type {string[]} */
  let parts = [];
  let rested = performance.now();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    // A stream that always has more would keep the page from doing anything else.
    if (performance.now() - rested > 50) {
      await new Promise((go) => setTimeout(go));
      rested = performance.now();
    }
    onPiece?.();
    const pieces = decoder.decode(value, { stream: true }).split("\n");
    for (let i = 0; i < pieces.length - 1; i++) {
      parts.push(pieces[i]);
      onLine(parts.join("").replace(/\r$/, ""));
      parts = [];
    }
    parts.push(pieces[pieces.length - 1]);
  }
  const rest = parts.join("") + decoder.decode();
  if (rest) onLine(rest);
}

/** Makes a key of its own for one intent of the person. @param {string} what */
export function newKey(what) {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return `board-${what}-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

/** Makes a query from what is neither null nor empty. @param {Record<string, unknown>} fields */
export function query(fields) {
  const all = new URLSearchParams();
  for (const [name, value] of Object.entries(fields)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && one !== "") all.append(name, String(one));
    }
  }
  const text = all.toString();
  return text && `?${text}`;
}
