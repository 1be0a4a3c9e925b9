// What happens in the queue is seen at once, in every tab, and after the server was gone.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";

import { card, cards, context, cookieOf, enterToken, faults, launch, whenGone } from "./support/browser.mjs";
import { Queue } from "./support/queue.mjs";
import { until } from "./support/wait.mjs";

let queue, browser;

before(async () => {
  browser = await launch();
});

after(() => browser?.close());

beforeEach(async () => {
  queue = await Queue.make();
});

afterEach(() => queue?.end());

/** The ids of the cards on the page are those of `lanes list`, each once and in the column of its state. */
async function showsTheQueue(page) {
  const columns = { queued: "Waiting", scheduled: "Waiting", blocked: "Waiting", claimed: "Running", completed: "Done", failed: "Failed" };
  await until("the page to show the queue as it is", async () => {
    const { tasks } = await queue.json("list");
    const wanted = tasks.map(({ id, state }) => `${columns[state]} ${id}`).sort();
    const shown = (await cards(page)).map(({ id, column }) => `${column} ${id}`).sort();
    assert.deepEqual(shown, wanted);
    return true;
  });
}

test("tasks appear and move without a reload, and a server that was gone is caught up with", { timeout: 240_000 }, async () => {
  let server = await queue.serve();
  const { port } = server;
  const made = await context(browser, server);
  const page = await made.newPage();
  await page.goto("/");
  await enterToken(page, server.token);
  await page.getByText("No tasks yet").waitFor();
  await page.evaluate(() => (window.mark = "not reloaded"));

  const first = await queue.submit("work", "Count the tests.");
  let began = Date.now();
  await card(page, "Waiting", "Count the tests.").waitFor();
  console.log(`a submitted task was seen after ${Date.now() - began} ms`);

  const token = await queue.claim(first, "ada");
  await card(page, "Running", "Count the tests.").waitFor();
  await queue.lanes("respond", first, "--claim-token", token, "--body", "There are 12.");
  began = Date.now();
  await card(page, "Done", "Count the tests.").waitFor();
  console.log(`an answer was seen after ${Date.now() - began} ms`);
  await showsTheQueue(page);

  // The server is killed. What happens meanwhile is not lost.
  const second = await queue.submit("work", "Fix the slow one.");
  await card(page, "Waiting", "Fix the slow one.").waitFor();
  await server.end("SIGKILL");
  await page.getByText(/^Connection lost; what you see is .* old/).waitFor();
  await queue.submit("work", "Describe the fix.");
  await queue.submit("other", "Tell the others.");
  await queue.lanes("cancel", second);
  server = await queue.serve("--port", String(port));
  await page.getByText("Connection lost; what you see").waitFor({ state: "detached" });
  await card(page, "Waiting", "Tell the others.").waitFor();
  await showsTheQueue(page);

  // A burst, larger than what is folded into the page event by event.
  await queue.run("submit --batch", ["submit", "--lane", "work", "--batch", "-"], {
    input: Array.from({ length: 30 }, (_, n) => JSON.stringify({ prompt: `Number ${n}.` })).join("\n"),
  });
  await page.getByRole("link", { name: "All 31: Waiting, lane work", exact: true }).waitFor();
  await card(page, "Waiting", /Number \d+\./).first().waitFor();

  assert.equal(await page.evaluate(() => window.mark), "not reloaded");
  assert.deepEqual(await faults(made, ...whenGone), []);
  await made.close();
  await server.end();
});

test("eight tabs are all live, and each of them can act", { timeout: 240_000 }, async () => {
  const server = await queue.serve("--no-token");
  const made = await context(browser, server);
  const pages = await Promise.all(Array.from({ length: 8 }, () => made.newPage()));
  for (const page of pages) {
    await page.goto("/#/?lane=tabs");
    // Afterwards each of them has what it shows from the stream.
    await page.getByText("No tasks yet").waitFor();
  }
  await queue.submit("tabs", "Be seen everywhere.");
  for (const page of pages) await card(page, "Waiting", "Be seen everywhere.").waitFor();

  const streams = made.requests.filter((request) => new URL(request.url()).pathname === "/events");
  assert.equal(streams.length, 1, "one stream for all tabs");

  const actor = pages[5];
  await card(actor, "Waiting", "Be seen everywhere.").focus();
  await actor.keyboard.press("c");
  for (const page of pages) await card(page, "Failed", "Be seen everywhere.").waitFor();

  // The tab that reads the stream for the others is closed: another one takes over.
  const reader = streams[0].frame().page();
  await reader.close();
  await queue.submit("tabs", "Be seen by seven.");
  for (const page of pages.filter((one) => one !== reader)) await card(page, "Waiting", "Be seen by seven.").waitFor();
  assert.deepEqual(await faults(made), []);
  await made.close();
  await server.end();
});

test("an open board costs a server little", { timeout: 240_000 }, async () => {
  const server = await queue.serve("--no-token");
  const made = await context(browser, server);
  const page = await made.newPage();
  await page.goto("/");
  await queue.submit("paced", "The first event.");
  await card(page, "Waiting", "The first event.").waitFor();
  const before = { cpu: server.cpu, requests: made.requests.length, at: Date.now() };
  for (let n = 0; n < 8; n++) {
    const next = Date.now() + 1000;
    await queue.submit("paced", `Event ${n}.`);
    await page.waitForTimeout(Math.max(0, next - Date.now()));
  }
  await card(page, "Waiting", "Event 7.").waitFor();
  const seconds = (Date.now() - before.at) / 1000;
  const spent = Math.round((server.cpu - before.cpu) / 1000 / seconds);
  const requests = made.requests.length - before.requests;
  console.log(`an open board at one event a second: ${spent} ms of CPU of the server a second, and ${(requests / seconds).toFixed(1)} requests a second`);
  // One for the status, and up to two for the column that changes.
  assert.ok(requests <= 3 * seconds + 5, `${requests} requests in ${seconds} s`);
  await made.close();
  await server.end();
});

test("a tab that begins in the middle of things misses nothing", { timeout: 120_000 }, async () => {
  const server = await queue.serve("--no-token");
  const made = await context(browser, server);
  const first = await made.newPage();
  await first.goto("/#/?lane=first");
  await queue.submit("first", "Before the second tab.");
  await card(first, "Waiting", "Before the second tab.").waitFor();
  await first.goto("/#/?lane=begun");

  // The second tab learns what the queue was before the next task, and follows it only after.
  const second = await made.newPage();
  await second.route("**/status", async (route) => {
    const answer = await route.fetch();
    await queue.submit("begun", "Meanwhile.");
    await card(first, "Waiting", "Meanwhile.").waitFor();
    await route.fulfill({ response: answer });
  }, { times: 1 });
  await second.goto("/#/?lane=begun");
  await card(second, "Waiting", "Meanwhile.").waitFor();
  assert.deepEqual(await faults(made), []);
  await made.close();
  await server.end();
});

test("what could not be read is read again without another event", { timeout: 120_000 }, async () => {
  const server = await queue.serve("--no-token");
  const made = await context(browser, server);
  const page = await made.newPage();
  await page.goto("/#/?lane=again");
  await queue.submit("again", "The first.");
  await card(page, "Waiting", "The first.").waitFor();

  const busy = { status: 503, contentType: "application/json", body: '{"error": "too many requests are in progress", "code": "busy"}' };
  let refused = 0;
  const refuse = (route) => {
    refused += 1;
    return route.fulfill(busy);
  };
  await page.route("**/status", refuse, { times: 1 });
  await page.route("**/tasks?*", refuse, { times: 1 });
  await queue.submit("again", "The second.");
  await until("both readings to be refused", () => refused === 2);
  await card(page, "Waiting", "The second.").waitFor();
  await page.getByRole("region", { name: "Lane again" }).getByText("2 tasks").waitFor();
  assert.deepEqual(await faults(made, /503/), []);
  await made.close();
  await server.end();
});

test("a count of before an event is asked for again", { timeout: 120_000 }, async () => {
  const server = await queue.serve("--no-token");
  const made = await context(browser, server);
  const page = await made.newPage();
  await page.goto("/#/?lane=counted");
  await page.getByText("No tasks yet").waitFor();
  // The server has counted before the task, and shows that for a while, as it does when counting takes long.
  const old = (await server.fetch("/status")).body;
  let answers = 0;
  await page.route("**/status", (route) => {
    answers += 1;
    return answers <= 2 ? route.fulfill({ json: { ...old, now: new Date().toISOString() } }) : route.continue();
  });
  await queue.submit("counted", "The only one.");
  await card(page, "Waiting", "The only one.").waitFor();
  assert.deepEqual(await faults(made), []);
  await made.close();
  await server.end();
});

test("where tabs cannot share a connection, those that nobody sees hold none", { timeout: 120_000 }, async () => {
  const server = await queue.serve("--open");
  const made = await context(browser, server, { cookie: await cookieOf(server) });
  // As over plain HTTP from another machine, with all tabs but the last in the background.
  await made.addInitScript(() => {
    Object.defineProperty(navigator, "locks", { value: undefined });
    let isHidden = true;
    Object.defineProperty(document, "hidden", { get: () => isHidden });
    window.show = (isShown) => {
      isHidden = !isShown;
      document.dispatchEvent(new Event("visibilitychange"));
    };
  });
  const before = await queue.submit("tabs", "Seen from each tab.");
  const tabs = [];
  for (let n = 0; n < 8; n++) {
    const tab = await made.newPage();
    tabs.push(tab);
    await tab.goto("/#/tasks?lane=tabs");
    await tab.getByRole("option", { name: "Seen from each tab." }).waitFor();
    if (n < 7) continue;
    await tab.evaluate(() => window.show(true));
  }
  const last = tabs[7];
  await queue.submit("tabs", "While one is seen.");
  await last.getByRole("option", { name: "While one is seen." }).waitFor();
  await last.evaluate(() => window.show(false));
  await queue.lanes("cancel", before);
  // What happened while nobody looked is caught up with.
  await tabs[0].evaluate(() => window.show(true));
  await tabs[0].getByRole("option", { name: /^Cancelled Seen from each tab/ }).waitFor();
  assert.equal(await tabs[0].getByText("Connection lost").count(), 0);
  assert.deepEqual(await faults(made, /net::ERR_ABORTED/), []);
  await made.close();
  await server.end("SIGTERM");
});
