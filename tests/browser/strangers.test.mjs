// Texts of strangers are text, and strangers read nothing.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { card, context, cookieOf, enterToken, faults, launch } from "./support/browser.mjs";
import { hostile } from "./support/example.mjs";
import { agent, Queue } from "./support/queue.mjs";
import { until } from "./support/wait.mjs";

let browser;

before(async () => {
  browser = await launch();
});

after(() => browser?.close());

/** Fails when a text has become something else than text in any page. */
async function isHarmless(page) {
  const found = await page.evaluate(() => ({
    canary: window.canary,
    title: document.title,
    // The page has one script, its own; svg and bdi are what it draws with.
    foreign: [...document.querySelectorAll("script, img, iframe, object, embed, base, form[action], b, style")]
      .filter((element) => !element.matches('head > script[type="module"]'))
      .map((element) => element.outerHTML.slice(0, 100)),
    links: [...document.querySelectorAll("a[href], area[href]")]
      .map((link) => link.href)
      .filter((href) => !/^https?:/.test(href)),
    inline: [...document.querySelectorAll("*")].flatMap(({ attributes }) => [...attributes].map(({ name }) => name).filter((name) => name.startsWith("on"))),
  }));
  assert.equal(found.canary, undefined, "a text has run");
  assert.deepEqual(found.foreign, []);
  assert.deepEqual(found.links, []);
  assert.deepEqual(found.inline, []);
}

test("whatever tasks, answers, questions and logs contain is shown as text", { timeout: 240_000 }, async () => {
  const queue = await Queue.make();
  const texts = Object.entries(hostile);
  queue.configure({ vendors: { claude: { command: agent } }, routes: { work: { vendor: "claude", worktree: { keep: "always" } } } }, [
    {
      when: "Say what strangers say",
      steps: [
        ...texts.flatMap(([, text]) => [{ say: text }, { out: text }, { err: text }]),
        { write: "page.html", text: `${hostile.script}\n${hostile.image}\n${hostile.colours}\n` },
        { run: ["git", "add", "page.html"] },
        { run: ["git", "commit", "--quiet", "-m", hostile.script] },
        { result: `${texts.filter(([name]) => name !== "long").map(([, text]) => text).join("\n")}\n\nSTATUS: done` },
      ],
    },
  ]);
  await queue.git("init", "--quiet", "--initial-branch", "main");
  await queue.git("commit", "--quiet", "--allow-empty", "-m", "Begin");
  try {
    const named = await queue.submit(hostile.image, `${hostile.script}\n${hostile.mixed}`, "--name", hostile.script, "--label", hostile.image, "--group", hostile.script);
    await queue.submit("work", hostile.long, "--group", hostile.script, "--after", named);
    const asked = await queue.submit("work", hostile.mixed);
    const token = await queue.claim(asked, hostile.script);
    await queue.lanes("ask", asked, "--claim-token", token, "--question", hostile.image, "--choice", hostile.script, "--choice", hostile.link);
    const failed = await queue.submit("failures", hostile.template);
    await queue.respond(failed, hostile.image, hostile.image, { flags: ["--status", "failed"] });
    await queue.lanes("pause", hostile.image, "--reason", hostile.script);
    const run = await queue.submit("work", `Say what strangers say. ${hostile.entity}`);
    await queue.dispatch("--owner", hostile.script);
    await until("the run to end", async () => (await queue.state(run)) === "completed");

    const server = await queue.serve("--open", "--enable-queue-management");
    const made = await context(browser, server, { cookie: await cookieOf(server) });
    const page = await made.newPage();
    const visit = async (hash, text) => {
      // From nowhere, so that the text is not found on another screen.
      await page.goto("about:blank");
      await page.goto(`/${hash}`);
      await page.locator("main").getByText(text).first().waitFor();
      await isHarmless(page);
    };
    await visit("#/", hostile.script);
    await visit("#/tasks", hostile.script);
    await visit(`#/tasks?lane=${encodeURIComponent(hostile.image)}`, hostile.script);
    await visit("#/inbox", hostile.image);
    await visit("#/workers", hostile.script);
    await visit("#/spend", "claude");
    await visit("#/dead", "No dead letters.");
    await visit(`#/graph?group=${encodeURIComponent(hostile.script)}`, hostile.script);
    await visit(`#/task/${named}`, hostile.script);
    await visit(`#/task/${asked}`, hostile.image);
    await visit(`#/task/${failed}?tab=answer`, hostile.image);
    await visit(`#/task/${run}?tab=timeline`, hostile.script);
    await visit(`#/task/${run}?tab=output`, hostile.entity);
    await visit(`#/task/${run}?tab=answer`, hostile.template);
    await visit(`#/task/${run}?tab=changes`, hostile.script);
    await visit(`#/task/${run}?tab=prompt`, hostile.entity);
    await visit(`#/task/${run}?tab=json`, run);
    // An address is made by strangers, too.
    await visit(`#/task/${encodeURIComponent(hostile.image)}`, "cannot be shown any more");
    await visit(`#/graph?group=${encodeURIComponent(hostile.image)}`, "there is no task in group");
    await visit(`#/tasks?q=${encodeURIComponent(hostile.image)}&state=${encodeURIComponent(hostile.script)}`, "'state' must be some of");
    await visit(`#/${hostile.script}`, "No such page");
    assert.deepEqual(await faults(made, /status of 40[04]/), []);
    await made.close();
  } finally {
    await queue.end();
  }
});

test("before the token there is nothing to see, and the token stays in its tab", { timeout: 240_000 }, async () => {
  const queue = await Queue.make();
  const token = "correct-horse-battery-staple";
  const file = join(queue.temporary, "token");
  writeFileSync(file, `${token}\n`, { mode: 0o600 });
  try {
    await queue.submit("work", "Known to those with the token.");
    const server = await queue.serve("--token-file", file, "--log");
    const made = await context(browser, server);
    const page = await made.newPage();
    await page.goto("/");
    await page.getByLabel("Token", { exact: true }).waitFor();
    for (const request of made.requests) {
      const { pathname } = new URL(request.url());
      const status = (await request.response()).status();
      assert.ok(status === 401 || pathname === "/" || pathname.startsWith("/ui/"), `${pathname} was answered with ${status}`);
    }
    await enterToken(page, "not-the-token-at-all");
    await page.getByRole("alert").filter({ hasText: "not the token" }).waitFor();
    assert.equal(await page.getByText("Known to those").count(), 0);

    await enterToken(page, token);
    await card(page, "Waiting", "Known to those with the token.").waitFor();
    await page.reload();
    await card(page, "Waiting", "Known to those with the token.").waitFor();
    assert.ok(!made.requests.some((request) => request.url().includes(token)), "the token is in an address");
    const kept = await page.evaluate(() => ({
      local: JSON.stringify(localStorage),
      cookies: document.cookie,
      address: location.href + JSON.stringify(history.state),
      session: JSON.stringify(sessionStorage),
    }));
    assert.ok(kept.session.includes(token));
    for (const place of ["local", "cookies", "address"]) assert.ok(!kept[place].includes(token), `the token is in ${place}`);
    assert.equal((await made.cookies()).length, 0);
    assert.deepEqual(await page.evaluate(() => indexedDB.databases().then((all) => all.length)), 0);
    await until("the server to write a log", () => server.child.stderr.includes('"/tasks'));
    assert.ok(!(server.child.stderr + server.child.stdout).includes(token), "the token is in the log");

    // Another tab has to ask, too.
    const other = await made.newPage();
    await other.goto("/");
    await other.getByLabel("Token", { exact: true }).waitFor();
    assert.deepEqual(await faults(made, /status of 401/), []);
    await made.close();
  } finally {
    await queue.end();
  }
});

test("a page of another port can neither read nor act, nor show the board in itself", { timeout: 240_000 }, async () => {
  const queue = await Queue.make();
  const other = createServer((request, response) => response.end("<!doctype html><title>other</title>"));
  await new Promise((listening) => other.listen(0, "127.0.0.1", listening));
  try {
    await queue.submit("work", "Not for other pages.");
    const server = await queue.serve("--open", "--enable-queue-management");
    const cookie = await cookieOf(server);
    const made = await context(browser, server, { cookie });
    const ours = await made.newPage();
    await ours.goto("/");
    await card(ours, "Waiting", "Not for other pages.").waitFor();

    const name = new URL(server.url).hostname;
    for (const origin of [`http://127.0.0.1:${other.address().port}`, `http://${name}:${other.address().port}`]) {
      const page = await made.newPage();
      await page.goto(origin);
      const outcomes = await page.evaluate(async (url) => {
        const attempt = (path, init) =>
          fetch(url + path, { credentials: "include", ...init }).then(
            async (answer) => `${answer.type} ${answer.status} ${await answer.text()}`,
            () => "refused",
          );
        const body = JSON.stringify({ lane: "work", prompt: "forged" });
        const plain = { "Content-Type": "text/plain" };
        const json = { "Content-Type": "application/json" };
        return Promise.all([
          attempt("/tasks", {}),
          attempt("/tasks", { method: "POST", headers: json, body }),
          attempt("/tasks", { method: "POST", headers: plain, body }),
          attempt("/tasks", { method: "POST", mode: "no-cors", headers: plain, body }),
          attempt("/lanes/work/pause", { method: "POST", mode: "no-cors", headers: plain, body: "{}" }),
        ]);
      }, server.url);
      for (const outcome of outcomes) assert.match(outcome, /^(refused|opaque 0 )$/, origin);
      await page.evaluate(async (url) => {
        const frame = document.createElement("iframe");
        frame.src = url;
        const loaded = new Promise((done) => (frame.onload = done));
        document.body.append(frame);
        await loaded;
      }, server.url);
      const framed = page.frames().find((frame) => frame !== page.mainFrame());
      await framed.getByText("requests from web pages of other origins are not served").waitFor();
      await page.close();
    }
    const { tasks } = await queue.json("list");
    assert.equal(tasks.length, 1, "a page of another port has submitted a task");
    const { lanes } = (await server.fetch("/status")).body;
    assert.equal(lanes.find((lane) => lane.name === "work").paused, false);
    await made.close();
  } finally {
    other.close();
    await queue.end();
  }
});
