// What a person does on the board: by keyboard alone, and when the queue refuses.

import assert from "node:assert/strict";
import { after, before, beforeEach, afterEach, test } from "node:test";

import { card, context, cookieOf, faults, launch } from "./support/browser.mjs";
import { Queue } from "./support/queue.mjs";
import { until } from "./support/wait.mjs";

let browser, queue, server, made, page;

before(async () => {
  browser = await launch();
});

after(() => browser?.close());

beforeEach(async () => {
  queue = await Queue.make();
  server = await queue.serve("--open", "--enable-queue-management");
  made = await context(browser, server, { cookie: await cookieOf(server) });
  page = await made.newPage();
});

afterEach(async () => {
  // A request that is answered here may be on its way.
  await page?.unrouteAll({ behavior: "ignoreErrors" });
  await made?.close();
  await queue?.end();
});

/** Waits until what is typed goes to a field. */
const focused = (field) => until("the focus to be in the field", () => field.evaluate((element) => element === document.activeElement));

const only = async (where) => {
  const found = (await queue.json("list")).tasks.filter(where);
  assert.equal(found.length, 1, JSON.stringify(found.map(({ id, state }) => [id, state])));
  return found[0];
};

/** Moves the focus to a card of a column, as a person does who looks at the page. */
async function reach(column, id) {
  const columns = ["Needs you", "Waiting", "Running", "Done", "Failed"];
  let before = "";
  await until(`the focus to be on ${id}`, async () => {
    const at = await page.evaluate(() => {
      const card = document.activeElement?.closest("[role=option]");
      return card && { id: card.dataset.key, column: card.closest("[role=listbox]").getAttribute("aria-label").split(",")[0] };
    });
    if (at?.id === id) return true;
    if (at && at.column !== column) await page.keyboard.press(columns.indexOf(at.column) > columns.indexOf(column) ? "h" : "l");
    else await page.keyboard.press(at && at.id === before ? "Home" : "j");
    before = at?.id;
    return false;
  });
}

test("a whole day's work is done without a pointer", { timeout: 240_000 }, async () => {
  const dead = await queue.submit("work", "Crash now and then.", "--max-attempts", "1");
  const token = await queue.claim(dead, "ada");
  await queue.lanes("release", dead, "--claim-token", token, "--spent", "--reason", "it crashed");
  await page.goto("/");
  await card(page, "Failed", "Crash now and then.").waitFor();
  const { keyboard } = page;
  const dialog = page.getByRole("dialog");

  // Submit. Letters are letters in a field.
  await keyboard.press("n");
  await focused(dialog.getByLabel("Prompt"));
  await keyboard.type("can ? 1 press n and r");
  await keyboard.press("Shift+Tab");
  await keyboard.press("Control+A");
  await keyboard.type("work");
  await keyboard.press("Control+Enter");
  await dialog.waitFor({ state: "detached" });
  const task = await only(({ prompt }) => prompt === "can ? 1 press n and r");
  assert.equal(task.lane, "work");
  await card(page, "Waiting", "can ? 1 press n and r").waitFor();

  // Find, and open.
  await keyboard.press("/");
  await focused(page.getByRole("searchbox", { name: "Search tasks" }));
  await keyboard.type("press n");
  await keyboard.press("Enter");
  const rows = page.getByRole("listbox", { name: "Tasks" }).getByRole("option");
  await until("the one that is searched for", async () => (await rows.count()) === 1);
  assert.equal(await dialog.count(), 0, "letters in a field did something else");
  await keyboard.press("ArrowDown");
  await keyboard.press("Enter");
  await page.waitForURL(`**/#/task/${task.id}*`);
  await page.getByRole("heading", { name: "can ? 1 press n and r" }).waitFor();

  // Cancel, retry, move.
  await keyboard.press("c");
  await until("the task to be cancelled", async () => (await queue.json("why", task.id)).reason === "cancelled");
  await page.locator("main").getByText("cancelled by board").first().waitFor();
  await keyboard.press("r");
  const again = await until("the retry", async () => (await queue.json("list")).tasks.find(({ retry_of }) => retry_of === task.id));
  // The second key counts soon after the first, on a page that has not changed since.
  await until("the board", async () => {
    await keyboard.press("g");
    await keyboard.press("b");
    return new URL(page.url()).hash === "#/";
  });
  await card(page, "Waiting", "can ? 1 press n and r").waitFor();
  await reach("Waiting", again.id);
  await keyboard.press("m");
  await focused(dialog.getByLabel("Lane"));
  await keyboard.type("other");
  await keyboard.press("Enter");
  await dialog.waitFor({ state: "detached" });
  await until("the move", async () => (await queue.json("show", again.id)).task.lane === "other");

  // Pause and resume its lane.
  await page.getByRole("region", { name: "Lane other" }).getByRole("option").waitFor();
  await reach("Waiting", again.id);
  await keyboard.press("p");
  await focused(dialog.getByLabel("Reason"));
  await keyboard.type("tidying up");
  await keyboard.press("Enter");
  await dialog.waitFor({ state: "detached" });
  await until("the pause", async () => (await queue.json("why", again.id)).reason === "paused");
  await page.getByText("tidying up").first().waitFor();
  await reach("Waiting", again.id);
  await keyboard.press("p");
  await until("the lane to be open", async () => (await queue.json("why", again.id)).reason !== "paused");

  // Redrive the dead one.
  await keyboard.press("Escape");
  await page.goto(`/#/task/${dead}`);
  await page.getByRole("heading", { name: "Crash now and then." }).waitFor();
  await keyboard.press("R");
  await until("the dead task to be submitted again", async () => (await queue.json("list")).tasks.some(({ retry_of }) => retry_of === dead));
  assert.deepEqual(await faults(made), []);
});

test("every action of the page can be reached with Tab, and shows where the focus is", { timeout: 240_000 }, async () => {
  await queue.submit("work", "One task.");
  await queue.submit("other", "Another one.");
  await page.goto("/");
  await card(page, "Waiting", "One task.").waitFor();
  const reached = new Set();
  await page.getByRole("link", { name: "Skip to content" }).focus();
  for (let n = 0; n < 40; n++) {
    await page.keyboard.press("Tab");
    const at = await page.evaluate(() => {
      const element = document.activeElement;
      if (!element || element === document.body) return null;
      const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(element);
      const name = element.getAttribute("aria-label") ?? element.textContent.trim();
      return { name, isSeen: (outlineStyle !== "none" && outlineWidth !== "0px") || boxShadow !== "none" };
    });
    if (!at) break;
    assert.ok(at.isSeen, `nothing shows that ${at.name} has the focus`);
    reached.add(at.name);
  }
  for (const name of ["Board", "New task", "Settings", "Pause lane work"]) {
    assert.ok([...reached].some((text) => text.includes(name)), `${name} is not reached; but ${[...reached].join(", ")}`);
  }
});

test("a refusal is shown in the words of the server", { timeout: 240_000 }, async () => {
  const id = await queue.submit("work", "Be quick.");
  const token = await queue.claim(id, "ada");
  await page.goto("/");
  await card(page, "Running", "Be quick.").focus();
  // Work would be lost, so that the page asks.
  await page.keyboard.press("c");
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("button", { name: "Cancel task" }).waitFor();
  await queue.lanes("respond", id, "--claim-token", token, "--body", "Done.");
  await dialog.getByRole("button", { name: "Cancel task" }).click();
  const { status, body } = await server.fetch(`/tasks/${id}/cancel`, { method: "POST", body: {} });
  assert.equal(status, 409);
  await dialog.getByRole("alert").getByText(body.error).waitFor();
  assert.equal(await queue.state(id), "completed");
  assert.deepEqual(await faults(made, /status of 409/), []);
});

test("a double click submits one task, and so does a repeated request", { timeout: 240_000 }, async () => {
  await page.goto("/");
  await page.getByRole("button", { name: "New task" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Lane").fill("work");
  await dialog.getByLabel("Prompt").fill("Once.");
  // The first answer is lost on its way, after the double click: the person presses the button again.
  let requests = 0;
  let lose;
  const lost = new Promise((resolve) => { lose = resolve; });
  await page.route("**/tasks", async (route) => {
    if (route.request().method() !== "POST") return route.continue();
    requests += 1;
    if (requests > 1) return route.continue();
    const headers = { "Idempotency-Key": route.request().headers()["idempotency-key"] };
    await server.fetch("/tasks", { method: "POST", body: route.request().postDataJSON(), headers });
    await lost;
    return route.abort("connectionreset");
  });
  await dialog.getByRole("button", { name: "Submit" }).dblclick();
  lose();
  await dialog.getByRole("alert").waitFor();
  await dialog.getByRole("button", { name: "Submit" }).click();
  await dialog.waitFor({ state: "detached" });
  assert.equal(requests, 2);
  await only(() => true);
  await page.unroute("**/tasks");

  await page.getByRole("button", { name: "New task" }).click();
  await dialog.getByLabel("Lane").fill("work");
  await dialog.getByLabel("Prompt").fill("Twice is once.");
  await dialog.getByRole("button", { name: "Submit" }).dblclick();
  await dialog.waitFor({ state: "detached" });
  await card(page, "Waiting", "Twice is once.").waitFor();
  await only(({ prompt }) => prompt === "Twice is once.");
});

test("what is done to all tasks of a filter is done to those that were counted, or to none", { timeout: 240_000 }, async () => {
  const fail = async (prompt) => queue.respond(await queue.submit("work", prompt), "ada", "No.", { flags: ["--status", "failed"] });
  for (const n of [1, 2, 3]) await fail(`Fail ${n}.`);
  await page.goto("/#/tasks?state=failed");
  const rows = page.getByRole("listbox", { name: "Tasks" }).getByRole("option");
  await until("three rows", async () => (await rows.count()) === 3);
  const retried = async () => (await queue.json("list")).tasks.filter(({ retry_of }) => retry_of).length;
  const retryAll = async (n) => {
    await page.getByRole("checkbox", { name: "Select all that are loaded" }).check();
    await page.locator("main").getByRole("button", { name: "Retry" }).click();
    await page.getByRole("dialog").getByRole("button", { name: `Retry ${n}` }).waitFor();
  };
  // Asked for by the filter, as a page of more than one hundred is.
  const bulk = (expected) => server.fetch("/tasks/bulk", { method: "POST", body: { action: "retry", filter: { state: ["failed"] }, expect_count: expected, by: "test", key: `bulk-${expected}` } });

  await fail("Fail 4.");
  const refused = await bulk(3);
  assert.equal(refused.status, 409);
  assert.equal(refused.body.code, "count_differs");
  assert.equal(await retried(), 0, "nothing was done");

  await until("four rows", async () => (await rows.count()) === 4);
  await retryAll(4);
  await page.getByRole("dialog").getByRole("button", { name: "Retry 4" }).click();
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await until("four retries", async () => (await retried()) === 4);
  assert.deepEqual(await faults(made), []);
});

test("selected tasks are those of now: it asks before it ends runs that began after the selection", { timeout: 120_000 }, async () => {
  const ids = [await queue.submit("docs", "The first."), await queue.submit("docs", "The second.")];
  await page.goto("/#/tasks?lane=docs");
  const row = (title) => page.getByRole("option", { name: title });
  await row("The first.").waitFor();
  for (const key of ["j", "x", "j", "x"]) await page.keyboard.press(key);
  for (const id of ids) await queue.claim(id, "ada");
  await until("both rows to be running", async () => (await page.getByRole("option", { name: "Running" }).count()) === 2);
  await page.keyboard.press("c");
  await page.getByText("2 of them are running and will be ended.").waitFor();
  assert.deepEqual(await faults(made), []);
});

test("a key acts on the task whose row has the focus, wherever the row has moved", { timeout: 120_000 }, async () => {
  const looked = await queue.submit("docs", "The one that is looked at.");
  await page.goto("/#/tasks?lane=docs&state=queued");
  const row = (title) => page.getByRole("option", { name: title });
  await row("The one that is looked at.").waitFor();
  await page.keyboard.press("j");
  const arrived = await queue.submit("docs", "The one that arrives.");
  await row("The one that arrives.").waitFor();
  assert.equal(await row("The one that is looked at.").getAttribute("tabindex"), "0");
  assert.equal(await row("The one that arrives.").getAttribute("tabindex"), "-1");
  await page.keyboard.press("c");
  await until("the task to be cancelled", async () => (await queue.json("show", looked)).task.state === "failed");
  assert.equal((await queue.json("show", arrived)).task.state, "queued");
  assert.deepEqual(await faults(made), []);
});

test("what is done to one task after the other stops when the dialog is closed", { timeout: 120_000 }, async () => {
  for (const n of [1, 2, 3]) await queue.submit("docs", `Write ${n}.`);
  await page.goto("/#/tasks?lane=docs");
  const rows = page.getByRole("listbox", { name: "Tasks" }).getByRole("option");
  await until("three rows", async () => (await rows.count()) === 3);
  await page.getByRole("checkbox", { name: "Select all that are loaded" }).check();
  await page.keyboard.press("c");
  const dialog = page.getByRole("dialog");
  // The first request is on its way until the dialog is closed.
  let goOn;
  const closed = new Promise((resolve) => { goOn = resolve; });
  await page.route("**/tasks/*/cancel", async (route) => {
    await closed;
    await route.continue();
  });
  await dialog.getByRole("button", { name: "Cancel 3" }).click();
  await dialog.getByRole("button", { name: "Cancel: 0 of 3" }).waitFor();
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "detached" });
  goOn();
  await page.getByText("Stopped. Cancel: 1 of 3 changed.").first().waitFor();
  assert.equal((await queue.json("list")).tasks.filter(({ state }) => state === "queued").length, 2);
  assert.deepEqual(await faults(made), []);
});

test("more tasks than one request may change are not offered as one, and dead letters are redriven one by one", { timeout: 120_000 }, async () => {
  await queue.submit("docs", "The only one.");
  const tooMany = 1001;
  const enlarged = async (route) => {
    const response = await route.fetch({ url: route.request().url().replace(server.url, `http://127.0.0.1:${server.port}`), headers: { ...route.request().headers(), authorization: `Bearer ${server.token}`, host: `127.0.0.1:${server.port}` } });
    await route.fulfill({ response, json: { ...(await response.json()), total: tooMany } });
  };
  await page.route(/\/tasks\?/, enlarged);
  await page.goto("/#/tasks?lane=docs");
  await page.getByRole("option", { name: "The only one." }).waitFor();
  await page.getByRole("checkbox", { name: "Select all that are loaded" }).check();
  await page.getByText("of 1,001; up to 1,000 can be changed at once").waitFor();
  assert.equal(await page.getByRole("button", { name: /^Select all/ }).count(), 0);

  const letter = (n) => ({ kind: "dead", task_id: `20261130T000000000000Z-docs-${String(n).padStart(12, "0")}-${String(n).padStart(6, "0")}`, lane: "docs", reason: "it crashed", since: "2026-11-30T00:00:00Z" });
  await page.route(/\/inbox/, (route) => route.fulfill({ json: { status: "ok", items: Array.from({ length: tooMany }, (_, n) => letter(n)) } }));
  await page.goto("/#/dead");
  await page.getByRole("button", { name: "Redrive all 1,001" }).click();
  await page.getByRole("dialog").getByText("one after the other").waitFor();
  assert.deepEqual(await faults(made), []);
});

test("a filter that is refused shows why, and no tasks", { timeout: 120_000 }, async () => {
  await queue.submit("docs", "Seen without a filter.");
  await page.goto("/#/tasks");
  const row = page.getByRole("option", { name: "Seen without a filter." });
  await row.waitFor();
  const search = page.getByRole("searchbox", { name: "Search tasks" });
  await search.fill("state:foo");
  await search.press("Enter");
  await page.getByRole("alert").getByText("'state' must be some of").waitFor();
  assert.equal(await row.count(), 0);
  assert.equal(await page.getByText("1 task", { exact: true }).count(), 0);
  await page.getByRole("button", { name: "Remove state foo" }).click();
  await row.waitFor();
  assert.equal(await page.getByRole("alert").count(), 0);
  assert.deepEqual(await faults(made, /status of 400/), []);
});

test("a new task: a draft outlives Escape, and a field that is wrong is brought into sight", { timeout: 120_000 }, async () => {
  await page.goto("/");
  await page.getByRole("button", { name: "New task" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Lane").fill("work");
  await dialog.getByLabel("Prompt").fill("A long prompt.");
  await dialog.getByText("More", { exact: true }).click();
  await dialog.getByLabel("Priority").fill("99999");
  await dialog.getByText("More", { exact: true }).click();
  await page.keyboard.press("Control+Enter");
  await dialog.getByRole("button", { name: "Submit" }).click();
  await dialog.getByLabel("Priority").waitFor();
  await dialog.getByLabel("Priority").fill("7");
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "detached" });

  await page.keyboard.press("n");
  await dialog.waitFor();
  assert.equal(await dialog.getByLabel("Prompt").inputValue(), "A long prompt.");
  assert.equal(await dialog.getByLabel("Priority").inputValue(), "7");
  await dialog.getByRole("button", { name: "Submit" }).click();
  await dialog.waitFor({ state: "detached" });
  assert.equal((await only(({ prompt }) => prompt === "A long prompt.")).priority, 7);
  await page.keyboard.press("n");
  await dialog.waitFor();
  assert.equal(await dialog.getByLabel("Prompt").inputValue(), "");
  assert.deepEqual(await faults(made), []);
});

test("a key that a task does not take names those that it takes, and r submits a dead one again", { timeout: 120_000 }, async () => {
  const dead = await queue.submit("work", "Crash.", "--max-attempts", "1");
  const token = await queue.claim(dead, "ada");
  await queue.lanes("release", dead, "--claim-token", token, "--spent", "--reason", "it crashed");
  await page.goto("/#/tasks");
  await page.getByRole("option", { name: "Crash." }).waitFor();
  await page.keyboard.press("j");
  await page.keyboard.press("m");
  await page.getByText("Dead: this task cannot be moved; it takes redrive (R).").first().waitFor();
  await page.keyboard.press("r");
  await until("the dead task to be submitted again", async () => (await queue.json("list")).tasks.some(({ retry_of }) => retry_of === dead));
  assert.deepEqual(await faults(made), []);
});

test("when the number of tasks has changed, it asks again with the one of now", { timeout: 120_000 }, async () => {
  await queue.submit("docs", "The first.");
  await queue.submit("docs", "The second.");
  await page.goto("/#/tasks?lane=docs");
  const rows = page.getByRole("listbox", { name: "Tasks" }).getByRole("option");
  await until("two rows", async () => (await rows.count()) === 2);
  // As a list of more than one page has, of which all are selected.
  let isFirst = true;
  await page.route("**/tasks/bulk", async (route) => {
    if (isFirst) await queue.submit("docs", "The third.");
    isFirst = false;
    await route.continue();
  });
  await page.route(/\/tasks\?.*limit=100\b/, async (route) => {
    const headers = { ...route.request().headers(), authorization: `Bearer ${server.token}`, host: `127.0.0.1:${server.port}` };
    const response = await route.fetch({ url: route.request().url().replace(server.url, `http://127.0.0.1:${server.port}`), headers });
    const { tasks, ...more } = await response.json();
    await route.fulfill({ response, json: { ...more, tasks: tasks.slice(0, 1) } });
  });
  await page.reload();
  await until("one row of two", async () => (await rows.count()) === 1);
  await page.getByRole("checkbox", { name: "Select all that are loaded" }).check();
  await page.getByRole("button", { name: "Select all 2 of this filter" }).click();
  await page.locator("main").getByRole("button", { name: "Move" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Lane").fill("other");
  await dialog.getByRole("button", { name: "Move 2" }).click();
  await dialog.getByText("These are 3 now, no longer 2; nothing was done.").waitFor();
  assert.equal((await queue.json("list", "--lane", "docs")).tasks.length, 3);
  await dialog.getByRole("button", { name: "Move 3" }).click();
  await dialog.waitFor({ state: "detached" });
  assert.equal((await queue.json("list", "--lane", "other")).tasks.length, 3);
  assert.deepEqual(await faults(made, /status of 409/), []);
});

test("a server that does not change lanes names the command instead", { timeout: 120_000 }, async () => {
  const plain = await queue.serve("--open");
  const other = await context(browser, plain, { cookie: await cookieOf(plain) });
  const tab = await other.newPage();
  await queue.submit("deploy", "Wait.");
  await queue.lanes("pause", "deploy", "--reason", "lunch");
  for (const hash of ["#/", "#/workers"]) {
    // From nowhere, so that the text is not found on another screen.
    await tab.goto("about:blank");
    await tab.goto(`/${hash}`);
    await tab.getByText("lanes resume deploy").first().waitFor();
    assert.equal(await tab.getByRole("button", { name: /^(Resume|Pause)/ }).count(), 0);
  }
  await tab.goto("/");
  await tab.getByRole("option", { name: "Wait." }).waitFor();
  await tab.keyboard.press("j");
  await tab.keyboard.press("p");
  await tab.getByText("This server does not change lanes").first().waitFor();
  assert.deepEqual(await faults(other), []);
  await other.close();

  const reader = await queue.serve("--open", "--read-only");
  const watcher = await context(browser, reader, { cookie: await cookieOf(reader) });
  const wall = await watcher.newPage();
  await wall.goto("/");
  await wall.getByRole("option", { name: "Wait." }).waitFor();
  assert.ok(!(await wall.getByRole("list", { name: "Keys" }).innerText()).includes("Cancel"));
  await wall.keyboard.press("j");
  await wall.keyboard.press("c");
  await wall.getByText("This server is read-only.").first().waitFor();
  assert.deepEqual(await faults(watcher), []);
  await watcher.close();
});

test("the keyboard leaves a card that has left its column under a pointer at rest", { timeout: 120_000 }, async () => {
  const ids = [await queue.submit("work", "The older."), await queue.submit("work", "The newer.")];
  await page.goto("/");
  await card(page, "Waiting", "The newer.").waitFor();
  await reach("Waiting", ids[1]);
  const { x, y } = await card(page, "Waiting", "The newer.").boundingBox();
  await page.mouse.move(x + 9, y + 9);
  await queue.lanes("cancel", ids[1]);
  // A pointer that rests for long holds the column no more: it comes to rest only now.
  let n = 0;
  await until("the newer card to be marked", async () => {
    await page.mouse.move(x + 9 + (n++ % 2), y + 9);
    return (await page.locator(".card.left").count()) === 1;
  });
  await page.keyboard.press("m");
  await page.getByText("This task has left the column.").first().waitFor();
  await page.keyboard.press("j");
  await until("the focus to be on the card that is left", () => page.evaluate((id) => document.activeElement.dataset.key === id, ids[0]));
  assert.equal(await page.locator(".card.left").count(), 0);
  assert.deepEqual(await faults(made), []);
});
