// What a page says, and does not go on showing, when its server or the queue behind it is another one, silent or gone.

import assert from "node:assert/strict";
import { renameSync } from "node:fs";
import { after, before, test } from "node:test";

import { card, context, enterToken, launch } from "./support/browser.mjs";
import { Queue } from "./support/queue.mjs";
import { until } from "./support/wait.mjs";

let browser;

before(async () => {
  browser = await launch();
});

after(() => browser?.close());

/** Opens pages on a server of a queue of its own, and ends everything. */
async function withQueues(names, play) {
  const queues = [];
  try {
    for (const name of names) queues.push(await Queue.make(name));
    await play(...queues);
  } finally {
    for (const queue of queues) await queue.end();
  }
}

test("another queue behind the same address is shown as it is", { timeout: 120_000 }, () => withQueues(["first", "second"], async (first, second) => {
  for (const n of [1, 2]) {
    await first.submit("work", `Old ${n}.`);
    await second.submit("work", `New ${n}.`);
  }
  const server = await first.serve("--no-token");
  const made = await context(browser, server);
  const [board, list] = [await made.newPage(), await made.newPage()];
  await board.goto("/");
  await list.goto("/#/tasks");
  await card(board, "Waiting", "Old 1.").waitFor();
  await list.getByRole("option", { name: "Old 1." }).waitFor();
  await server.end();
  await second.serve("--no-token", "--port", String(server.port));
  await card(board, "Waiting", "New 1.").waitFor();
  await list.getByRole("option", { name: "New 1." }).waitFor();
  for (const page of [board, list]) await until("nothing of the first queue to be left", async () => (await page.getByText("Old 1.").count()) === 0);
  await made.close();
}));

test("a queue that was removed and made again is read anew, also when it has as many tasks", { timeout: 120_000 }, () => withQueues(["shop"], async (queue) => {
  await queue.submit("work", "Before.");
  const server = await queue.serve("--no-token");
  const made = await context(browser, server);
  const page = await made.newPage();
  await page.goto("/");
  await card(page, "Waiting", "Before.").waitFor();
  renameSync(queue.store, `${queue.store}.old`);
  await page.getByText("The server says: the state directory was removed or moved").waitFor();
  await queue.submit("work", "After.");
  await server.end();
  await queue.serve("--no-token", "--port", String(server.port));
  await card(page, "Waiting", "After.").waitFor();
  await card(page, "Waiting", "Before.").waitFor({ state: "detached" });
  await made.close();
}));

test("a server that is silent is lost since it was last heard", { timeout: 180_000 }, () => withQueues(["shop"], async (queue) => {
  await queue.submit("work", "Seen.");
  const server = await queue.serve("--no-token");
  const made = await context(browser, server);
  const page = await made.newPage();
  await page.goto("/");
  await card(page, "Waiting", "Seen.").waitFor();
  process.kill(server.child.pid, "SIGSTOP");
  const bar = page.getByText(/Connection lost; what you see is/);
  await bar.waitFor({ timeout: 90_000 });
  // It is silent for 40 seconds before it counts as lost.
  assert.match(await bar.textContent(), /is ([345]\ds|\d+m) old/);
  process.kill(server.child.pid, "SIGCONT");
  await bar.waitFor({ state: "detached" });
  await made.close();
}));

test("without its server the page says so when a dialog is asked for", { timeout: 120_000 }, () => withQueues(["shop"], async (queue) => {
  const server = await queue.serve("--no-token");
  const made = await context(browser, server);
  const pages = { n: await made.newPage(), "?": await made.newPage() };
  for (const page of Object.values(pages)) {
    await page.goto("/");
    await page.getByText("No tasks yet").waitFor();
  }
  await server.end("SIGKILL");
  for (const [key, page] of Object.entries(pages)) {
    await page.keyboard.press(key);
    await page.getByText("This dialog cannot be loaded").first().waitFor();
  }
  assert.deepEqual(made.faults.filter((fault) => /uncaught/i.test(fault)), []);
  await made.close();
}));

test("an address of --open is right after a restart, and asks for the token", { timeout: 120_000 }, () => withQueues(["shop"], async (queue) => {
  await queue.submit("work", "Still here.");
  let server = await queue.serve("--open");
  const made = await context(browser, server);
  const page = await made.newPage();
  await page.goto(server.announced);
  await card(page, "Waiting", "Still here.").waitFor();
  await server.end();
  server = await queue.serve("--open", "--port", String(server.port));
  await enterToken(page, server.token);
  await card(page, "Waiting", "Still here.").waitFor();
  await until("the bar to be gone", async () => (await page.getByText("Connection lost").count()) === 0);
  await made.close();
}));

test("what cannot be a token does not lock the page", { timeout: 120_000 }, () => withQueues(["shop"], async (queue) => {
  const server = await queue.serve();
  const made = await context(browser, server);
  const page = await made.newPage();
  await page.goto("/");
  for (const text of ["“tokentokentoken”", "übertokentokentoken", "x".repeat(100_000), "not the right token"]) {
    await enterToken(page, text);
    await page.getByText("That is not a token").waitFor();
    await page.reload();
  }
  await enterToken(page, "t".repeat(64));
  await page.getByText("That is not the token of this server.").waitFor();
  await enterToken(page, server.token);
  await page.getByText("No tasks yet").waitFor();
  await made.close();
}));
