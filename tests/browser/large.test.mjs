// A board over 100,000 tasks. Needs a store of so many, which benches/make_store.rs makes.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { context, faults, launch } from "./support/browser.mjs";
import { Process } from "./support/processes.mjs";
import { Queue } from "./support/queue.mjs";
import { until } from "./support/wait.mjs";

const store = process.env.LANES_TEST_LARGE_STORE;
const skip = store ? false : "no store is given (LANES_TEST_LARGE_STORE)";
if (skip) console.log(`skipped: a board over 100,000 tasks: ${skip}`);

let queue, browser, server;

before(async () => {
  if (skip) return;
  queue = await Queue.make("large");
  queue.store = store;
  server = await queue.serve("--store", store, "--no-token");
  const began = Date.now();
  // The server reads all tasks once, when somebody first asks for a list of them.
  await until("the list to be known", async () => (await server.fetch("/tasks?fields=summary&order=newest&limit=1")).body.total !== null, 180);
  console.log(`100,000 tasks: known after ${Date.now() - began} ms`);
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await queue?.end();
});

const rowsOf = (page) => page.evaluate(() => document.querySelectorAll('[role="option"], [role="row"], tr, li').length);

test("the board and the list of 100,000 tasks stay small", { skip, timeout: 900_000 }, async () => {
  const made = await context(browser, server);
  const page = await made.newPage();
  const session = await made.newCDPSession(page);
  await session.send("Network.enable");
  let bytes = 0;
  let ended = 0;
  session.on("Network.loadingFinished", ({ encodedDataLength }) => {
    bytes += encodedDataLength;
    ended += 1;
  });
  let began = Date.now();
  await page.goto("/");
  await page.getByRole("listbox", { name: /^Done/ }).first().getByRole("option").first().waitFor({ timeout: 180_000 });
  // The feed alone does not end.
  await until("all that was asked for to be there", () => ended === made.requests.length - 1);
  console.log(`100,000 tasks: the board after ${Date.now() - began} ms, ${bytes} bytes, ${await rowsOf(page)} rows`);
  assert.ok(bytes <= 220_000, `${bytes} bytes`);
  assert.ok((await rowsOf(page)) <= 400);

  began = Date.now();
  await page.evaluate(() => (location.hash = "#/tasks"));
  const list = page.getByRole("listbox", { name: "Tasks" });
  await list.getByRole("option").first().waitFor({ timeout: 180_000 });
  console.log(`100,000 tasks: the list after ${Date.now() - began} ms`);
  await page.getByText("100,000 tasks").first().waitFor();

  // Down to the thousandth row, and far beyond what is kept.
  let most = 0;
  const seen = async () => Number(await list.getByRole("option").last().getAttribute("aria-posinset"));
  await list.getByRole("option").first().focus();
  for (let last = 0; last < 6000; ) {
    await page.keyboard.press("End");
    last = await until("more rows", async () => {
      const now = await seen();
      return now > last && now;
    });
    most = Math.max(most, await rowsOf(page));
  }
  assert.ok(most <= 400, `${most} rows`);
  const heap = await session.send("HeapProfiler.collectGarbage").then(() => session.send("Runtime.getHeapUsage"));
  console.log(`100,000 tasks: after 6,000 rows ${most} rows at most, ${Math.round(heap.usedSize / 1e6)} MB of heap`);
  await page.keyboard.press("Home");
  await until("the first row", async () => (await list.getByRole("option").first().getAttribute("aria-posinset")) === "1");
  assert.deepEqual(await faults(made), []);
  await made.close();
});

const strace = spawnSync("strace", ["-V"]).status === 0;
if (!strace) console.log("skipped: files that a page of failed tasks reads: strace is not installed");

test("a page of failed tasks reads few files", { skip: skip || !strace, timeout: 240_000 }, async () => {
  const trace = join(queue.temporary, "trace");
  const watcher = new Process("strace", ["-f", "-e", "trace=openat,open,openat2", "-o", trace, "-p", String(server.child.pid)]);
  await until("strace to be attached", () => watcher.stderr.includes("attached"));
  const { body } = await server.fetch("/tasks?state=failed&fields=summary&order=newest&limit=100");
  await watcher.end("SIGINT");
  assert.equal(body.tasks.length, 100);
  const opened = readFileSync(trace, "utf8").split("\n").filter((line) => /open/.test(line)).length;
  rmSync(trace);
  console.log(`a page of 100 failed tasks of 100,000: ${opened} files opened`);
  assert.ok(opened <= 1000, `${opened} files`);
});
