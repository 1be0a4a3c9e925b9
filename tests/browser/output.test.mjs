// The output of a run: what was there before the page, both streams, and nothing twice.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { context, enterToken, faults, launch, whenGone } from "./support/browser.mjs";
import { agent, Queue } from "./support/queue.mjs";
import { until } from "./support/wait.mjs";

let queue, browser;

before(async () => {
  browser = await launch();
  queue = await Queue.make();
  queue.configure({ vendors: { claude: { command: agent } }, grace: "1s", routes: { work: { vendor: "claude" } } }, [
    { when: "Follow me", steps: [{ follow: queue.orders("run") }, { result: "Followed.\n\nSTATUS: done" }] },
    { when: "Write much", steps: [{ repeat: 2_000_000, out: "x".repeat(99) }, { follow: queue.orders("much") }, { result: "Much.\n\nSTATUS: done" }] },
  ]);
  await queue.dispatch();
});

after(async () => {
  await browser?.close();
  await queue?.end();
});

const claimed = (id) => until("the run to begin", async () => (await queue.state(id)) === "claimed");

test("a page that is opened in the middle of a run shows what came before, and each line once", { timeout: 240_000 }, async () => {
  const id = await queue.submit("work", "Follow me.");
  await claimed(id);
  for (let n = 0; n < 20; n++) queue.order("run", { out: `early out ${n};` }, { err: `early err ${n};` });
  let server = await queue.serve();
  const { port } = server;
  const made = await context(browser, server);
  const page = await made.newPage();
  await page.goto(`/#/task/${id}?tab=output`);
  await enterToken(page, server.token);
  const main = page.locator("main");
  await main.getByText("early out 19;").first().waitFor();
  await main.getByText("early err 19;").first().waitFor();

  for (let n = 0; n < 20; n++) queue.order("run", { out: `late out ${n};` }, { err: `late err ${n};` });
  await main.getByText("late err 19;").first().waitFor();

  // The server is gone for a while, in which the agent goes on.
  await server.end("SIGKILL");
  await page.getByText("Connection lost; what you see").waitFor();
  queue.order("run", { out: "while it was gone;" });
  server = await queue.serve("--port", String(port));
  await main.getByText("while it was gone;").first().waitFor();
  queue.order("run", { out: "the last line;" }, { done: true });
  await main.getByText("the last line;").first().waitFor();

  const text = await main.innerText();
  const wanted = ["early", "late"].flatMap((when) => ["out", "err"].flatMap((stream) => Array.from({ length: 20 }, (_, n) => `${when} ${stream} ${n};`)));
  for (const line of [...wanted, "while it was gone;", "the last line;"]) {
    assert.equal(text.split(line).length - 1, 1, `${line} is shown ${text.split(line).length - 1} times`);
  }
  await until("the answer", async () => (await queue.state(id)) === "completed");
  assert.deepEqual(await faults(made, ...whenGone), []);
  await made.close();
  await server.end();
});

test("a log of 200 MB costs the page little", { timeout: 600_000 }, async () => {
  const id = await queue.submit("work", "Write much.");
  await claimed(id);
  const server = await queue.serve("--no-token");
  const made = await context(browser, server);
  const page = await made.newPage();
  await page.goto(`/#/task/${id}?tab=output`);
  const last = page.getByRole("log", { name: "Output" }).locator(".log-line").last();
  // Neither output waits for the other: a line is the last one only once the page has caught up with the flood.
  const isLast = (line) => until(`the page to end with ${line}`, async () => {
    queue.order("much", { err: line });
    return last.filter({ hasText: line }).waitFor({ timeout: 3000 }).then(() => true, () => false);
  }, 240);
  queue.order("much", { write: "flooded", text: "" });
  await until("the flood to be over", () => existsSync(join(queue.root, "flooded")), 240);
  await isLast("this is the end of the flood;");
  queue.order("much", { repeat: 20_000, out: "y".repeat(99) });
  await isLast("still followed;");
  const session = await made.newCDPSession(page);
  await session.send("HeapProfiler.collectGarbage");
  const { usedSize } = await session.send("Runtime.getHeapUsage");
  const nodes = await page.evaluate(() => document.querySelectorAll("*").length);
  console.log(`a log of 200 MB: ${Math.round(usedSize / 1e6)} MB of heap, ${nodes} elements`);
  assert.ok(usedSize <= 50_000_000, `${usedSize} bytes`);
  queue.order("much", { done: true });
  assert.deepEqual(await faults(made), []);
  await made.close();
  await server.end();
});
