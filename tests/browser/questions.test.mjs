// Questions of workers: what a person reads is what was asked, and what a person types goes nowhere else.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";

import { context, cookieOf, faults, launch } from "./support/browser.mjs";
import { Queue } from "./support/queue.mjs";
import { until } from "./support/wait.mjs";

let browser, queue, server, made, page;

before(async () => {
  browser = await launch();
});

after(() => browser?.close());

beforeEach(async () => {
  queue = await Queue.make();
  server = await queue.serve("--open");
  made = await context(browser, server, { cookie: await cookieOf(server) });
  page = await made.newPage();
});

afterEach(async () => {
  await made?.close();
  await queue?.end();
});

/** Has a worker ask something about a task of its own. */
async function ask(prompt, question, ...choices) {
  const id = await queue.submit("work", prompt);
  const token = await queue.claim(id, "ada");
  await queue.lanes("ask", id, "--claim-token", token, "--question", question, ...choices.flatMap((choice) => ["--choice", choice]));
  return id;
}

test("a question reads as it is: marks that reverse text are named, and escape sequences dropped", { timeout: 120_000 }, async () => {
  const id = await ask("Be honest.", "May I run \u202eecho\u202c it? \u001b[31mred\u001b[0m", "allow", "deny");
  for (const hash of ["#/inbox", `#/task/${id}`]) {
    const tab = await made.newPage();
    await tab.goto(`/${hash}`);
    await tab.locator(".question-text").getByText("May I run ‹U+202E›echo‹U+202C› it? red", { exact: true }).waitFor();
  }
  assert.deepEqual(await faults(made), []);
});

test("long words of a question stay inside a narrow page", { timeout: 120_000 }, async () => {
  await ask("Be brief.", `See /${"a".repeat(900)} ?`, "b".repeat(200), "no");
  const narrow = await made.newPage();
  await narrow.setViewportSize({ width: 320, height: 700 });
  await narrow.goto("/#/inbox");
  await narrow.locator(".question-text").waitFor();
  await narrow.locator(".choice bdi").filter({ hasText: "b".repeat(200) }).waitFor();
  const widest = await narrow.evaluate(() => Math.max(...[...document.querySelectorAll(".question-text bdi, .choice bdi")].map((one) => one.getBoundingClientRect().right)));
  assert.ok(widest <= 320, `a text ends at ${widest}`);
  assert.deepEqual(await faults(made), []);
});

test("an answer that is being typed stays when the question ends, and its letters are not taken as keys", { timeout: 120_000 }, async () => {
  const id = await ask("Choose.", "Which colour?");
  for (const [hash, words] of [[`#/task/${id}`, "Answered meanwhile by eve: blue"], ["#/inbox", "This question has been answered meanwhile"]]) {
    if (hash === "#/inbox") {
      const token = await queue.claim(id, "ada");
      await queue.lanes("ask", id, "--claim-token", token, "--question", "Which size?");
    }
    await page.goto("/");
    await page.goto(`/${hash}`);
    const field = page.getByLabel("Answer", { exact: true });
    await field.focus();
    await page.keyboard.type("red, be");
    await queue.lanes("answer", id, "--body", "blue", "--by", "eve");
    await page.getByRole("alert").getByText(words).waitFor();
    await page.keyboard.type("cause of costs");
    await page.keyboard.press("Control+Enter");
    assert.equal(await field.inputValue(), "red, because of costs");
    assert.equal(await queue.state(id), "queued");
    assert.equal(await page.getByRole("dialog").count(), 0);
    await page.getByRole("button", { name: "Dismiss" }).first().click();
    await field.waitFor({ state: "detached" });
  }
  assert.deepEqual(await faults(made), []);
});

test("a form that nobody fills in goes with its question", { timeout: 120_000 }, async () => {
  const id = await ask("Choose.", "Which colour?");
  await page.goto("/#/inbox");
  await page.locator(".question-text").waitFor();
  await queue.lanes("answer", id, "--body", "blue");
  await page.locator(".question-text").waitFor({ state: "detached" });
  assert.deepEqual(await faults(made), []);
});

test("the focus stays on a dead letter when another one arrives", { timeout: 120_000 }, async () => {
  const die = async (prompt) => {
    const id = await queue.submit("work", prompt, "--max-attempts", "1");
    const token = await queue.claim(id, "ada");
    await queue.lanes("release", id, "--claim-token", token, "--spent", "--reason", "it crashed");
    return id;
  };
  await die("The first.");
  const second = await die("The second.");
  await page.goto("/#/dead");
  await page.getByRole("link", { name: "The second." }).focus();
  await die("The third.");
  await page.getByRole("link", { name: "The third." }).waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.dataset.task), second);
  assert.deepEqual(await faults(made), []);
});

test("a task whose prompt cannot be seen is told by the end of its id", { timeout: 120_000 }, async () => {
  const id = await queue.submit("work", "\u200b\u2028\u200b");
  await page.goto("/#/tasks");
  const row = page.getByRole("listbox", { name: "Tasks" }).getByRole("option");
  await until("the row", async () => (await row.locator(".what").innerText()).trim() === id.slice(-6));
  assert.deepEqual(await faults(made), []);
});
