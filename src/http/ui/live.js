// One stream of the feed for all tabs of this browser: a server is asked once however many are open, and a browser's
// six connections stay free. The tab that holds a lock reads the stream and passes it on to the others.

import { auth, ApiError, eachLine, reads, request } from "./api.js";
import { eventReader, MOST_EVENTS } from "./fold.js";

/** @typedef {import("./fold.js").LiveEvent} LiveEvent */
/** @typedef {{type: "events", events: LiveEvent[]} | {type: "gap"} | Connection} LiveMessage */
/** Whether the feed is followed; if not, since when nothing was heard, and why in the server's words. @typedef {{type: "connection", state: "live" | "lost", since: number, reason: string}} Connection */

const FOLD_MS = 150;
/** The server sends a comment every 15 seconds, so that a longer silence is a dead connection. */
const SILENCE_MS = 40_000;
const MOST_DELAY_MS = 10_000;
/** After a failed reading everything is read again: soon at first, then less and less often. */
const REREAD_MS = 1000;
const MOST_REREAD_MS = 30_000;

/** @type {Set<(message: LiveMessage) => void>} */
const subscribers = new Set();
const channel = "BroadcastChannel" in self ? new BroadcastChannel("lanes-live") : null;

/** The id of the last event that any tab has seen. @type {string | null} */
let lastId = null;
/** @type {Connection | null} */
let connection = null;
/** When the server started whose feed this is. @type {string | null} */
let server = null;
let isStarted = false;
let isLeader = false;
/** Ends the wait before the next try. */
let wake = () => {};

/** The number of the last event that any tab has seen; null before the first. */
export function lastSeen() {
  return lastId === null ? null : Number(lastId);
}

/**
 * Calls `subscriber` with what happens from now on, and at once with the state of the connection.
 * @param {(message: LiveMessage) => void} subscriber
 * @returns {() => void} ends this
 */
export function subscribe(subscriber) {
  subscribers.add(subscriber);
  if (connection) subscriber(connection);
  return () => subscribers.delete(subscriber);
}

/**
 * Begins to follow the feed. Called once the server has let this tab in.
 * @param {number} [feed] the last event that is known: nothing after it is missed
 * @param {string} [startedAt] when its server started
 */
export function start(feed, startedAt) {
  if (isStarted) return;
  isStarted = true;
  server ??= startedAt ?? null;
  if (feed !== undefined) lastId ??= String(feed);
  // Locks exist only where the browser trusts the connection; elsewhere each tab has a stream of its own while it is seen.
  if (!isAlone()) {
    channel?.postMessage({ hello: true });
    navigator.locks.request("lanes-live", lead).catch(() => {}).finally(() => { isStarted = false; });
  } else {
    lead().finally(() => { isStarted = false; });
  }
}

/** Tries to connect at once instead of at the next turn. */
export function retry() {
  wake();
  channel?.postMessage({ wake: true });
}

/** Reads the stream again and again, until the server no longer lets this tab in. */
async function lead() {
  isLeader = true;
  let delay = 500;
  let heard = Date.now();
  try {
    for (;;) {
      if (isAlone()) await seen();
      const abort = new AbortController();
      const leave = () => { if (isAlone() && document.hidden) abort.abort(); };
      document.addEventListener("visibilitychange", leave);
      const began = Date.now();
      const watch = setInterval(() => { if (Date.now() - Math.max(heard, began) > SILENCE_MS) abort.abort(); }, 5000);
      let reason = "";
      try {
        if (connection !== null) await compareServers(abort.signal);
        /** @type {Record<string, string>} */
        const headers = lastId === null ? {} : { "Last-Event-ID": lastId };
        const response = await request("GET", "/events", { signal: abort.signal, headers });
        heard = Date.now();
        // Without an id nobody knows what happened meanwhile.
        if (lastId === null) pass({ gap: true });
        setConnection("live", heard);
        delay = 500;
        const read = eventReader(take);
        await eachLine(response, read, () => { heard = Date.now(); });
      } catch (error) {
        if (error instanceof ApiError && error.status === 401) return;
        if (error instanceof ApiError && error.status !== 0) reason = error.message;
      } finally {
        clearInterval(watch);
        document.removeEventListener("visibilitychange", leave);
      }
      if (isAlone() && document.hidden) continue;
      setConnection("lost", heard, reason);
      await pause(delay);
      delay = Math.min(delay * 2, MOST_DELAY_MS);
    }
  } finally {
    isLeader = false;
  }
}

/** Whether this tab cannot know which one reads for all. */
function isAlone() {
  return !navigator.locks || !channel;
}

/** Waits until the tab is seen: the streams of hidden ones would use up the browser's connections. @returns {Promise<void>} */
function seen() {
  return new Promise((done) => {
    const look = () => {
      if (document.hidden) return;
      document.removeEventListener("visibilitychange", look);
      done();
    };
    document.addEventListener("visibilitychange", look);
    look();
  });
}

/**
 * After a break another server may be there, with another queue: its feed does not go on where this one ended.
 * @param {AbortSignal} signal
 */
async function compareServers(signal) {
  const { started_at: startedAt, feed } = await (await request("GET", "/status", { signal })).json();
  if (startedAt !== server) pass({ gap: true, id: String(feed), server: startedAt });
}

/** @param {number} delay @returns {Promise<void>} */
function pause(delay) {
  return new Promise((done) => {
    const timer = setTimeout(done, delay);
    wake = () => { clearTimeout(timer); done(); };
  });
}

/** Takes an event of the stream. @param {{id: string | null, type: string, data: string}} event */
function take({ id, type, data }) {
  if (id !== null) lastId = id;
  if (type === "gap") {
    pass({ gap: true, id: lastId });
    return;
  }
  try {
    pass({ event: JSON.parse(data), id: lastId });
  } catch {
    // An event that cannot be read is one that was missed.
    pass({ gap: true, id: lastId });
  }
}

/** @param {"live" | "lost"} state @param {number} since @param {string} [reason] */
function setConnection(state, since, reason = "") {
  if (connection?.state === state && connection.reason === reason) return;
  pass({ connection: { type: "connection", state, since, reason }, id: lastId });
}

/** Gives a message to this tab and to the others: at once, because the timers of a hidden tab are slow. @param {any} message */
function pass(message) {
  channel?.postMessage(message);
  receive(message);
}

if (channel) {
  channel.onmessage = ({ data }) => {
    if (data.hello) {
      if (isLeader && connection) channel.postMessage({ connection, id: lastId });
    } else if (data.wake) wake();
    else if (isStarted) receive(data);
  };
}
auth.addEventListener("given", () => wake());

// What could not be read is like a missed event: it is read again, at the latest when the server is back.
let isUnread = false;
let rereadDelay = REREAD_MS;
let failedAt = 0;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let reread;
reads.addEventListener("failed", () => {
  if (Date.now() - failedAt > 2 * MOST_REREAD_MS) rereadDelay = REREAD_MS;
  failedAt = Date.now();
  isUnread = true;
  reread ??= setTimeout(() => {
    reread = undefined;
    if (connection?.state === "live") readAgain();
  }, rereadDelay);
});

function readAgain() {
  if (!isUnread) return;
  isUnread = false;
  rereadDelay = Math.min(rereadDelay * 2, MOST_REREAD_MS);
  tell({ type: "gap" });
}

/** @type {LiveEvent[]} */
let pending = [];
let isGap = false;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;

/** @param {any} message */
function receive(message) {
  // The tab that follows the feed for all may have begun behind what this one knows.
  const isBehind = message.connection && typeof message.id === "string" && Number(message.id) > Number(lastId);
  if (typeof message.id === "string") lastId = message.id;
  if (message.server) server = message.server;
  if (message.connection) {
    connection = message.connection;
    tell(message.connection);
    if (message.connection.state === "live" && !reread) readAgain();
    if (!isBehind) return;
    message = { gap: true };
  }
  if (message.gap || pending.length >= MOST_EVENTS) {
    isGap = true;
    pending = [];
  } else if (message.event && !isGap) pending.push(message.event);
  timer ??= setTimeout(flush, FOLD_MS);
}

function flush() {
  timer = undefined;
  const events = pending;
  const gap = isGap;
  pending = [];
  isGap = false;
  if (gap) tell({ type: "gap" });
  else if (events.length) tell({ type: "events", events });
}

/** @param {LiveMessage} message */
function tell(message) {
  for (const subscriber of [...subscribers]) subscriber(message);
}
