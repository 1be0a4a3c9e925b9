// Every screen, in both schemes and at three widths: nothing foreign is asked for, nothing goes wrong, and everybody can
// read it. The pictures are for people to look at.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { barriers, context, cookieOf, faults, launch, picture } from "./support/browser.mjs";
import { example } from "./support/example.mjs";
import { until } from "./support/wait.mjs";

const WIDTHS = [320, 800, 1400];
const RUNNING = "Keep the price list for ten minutes.";

let queue, server, browser, cookie, made, page;

before(async () => {
  queue = await example();
  server = await queue.serve("--open", "--enable-queue-management");
  cookie = await cookieOf(server);
  browser = await launch();
  made = await context(browser, server, { cookie });
  page = await made.newPage();
});

after(async () => {
  await browser?.close();
  await queue?.end();
});

/** The screens: where they are, what shows that they are there, and what is opened on them. */
const screens = {
  board: { hash: () => "#/", shows: RUNNING },
  tasks: { hash: () => "#/tasks", shows: "Describe the checkout for new colleagues." },
  workers: { hash: () => "#/workers", shows: "night-shift" },
  spend: { hash: () => "#/spend", shows: "claude" },
  dead: { hash: () => "#/dead", shows: "no time zone database" },
  inbox: { hash: () => "#/inbox", shows: "Which currencies does the price list have to show?" },
  graph: { hash: () => "#/graph?group=release-2.4", shows: "Write the release notes." },
  ...Object.fromEntries(
    ["timeline", "output", "answer", "changes", "prompt", "json"].map((tab) => [
      `task-${tab}`,
      { hash: ({ done }) => `#/task/${done}?tab=${tab}`, shows: "Answer 404 for unknown products." },
    ]),
  ),
  "task-asks": { hash: ({ asked }) => `#/task/${asked}`, shows: "Which currencies does the price list have to show?" },
  "task-dead": { hash: ({ dead }) => `#/task/${dead}`, shows: "no time zone database" },
  "task-runs": { hash: ({ running }) => `#/task/${running}?tab=output`, shows: "I add a cache with a lifetime of ten minutes" },
  "task-unknown": { hash: () => "#/task/20260101T000000000000Z-none-000000000000-000000", shows: "unknown task" },
  "dialog-new": { hash: () => "#/", shows: RUNNING, press: "n", opens: "New task" },
  "dialog-keys": { hash: () => "#/", shows: RUNNING, press: "?", opens: /Keys/i },
  "dialog-settings": { hash: () => "#/", shows: RUNNING, click: "Settings", opens: "Settings" },
};

for (const [name, { hash, shows, press, click, opens }] of Object.entries(screens)) {
  test(`${name}: nothing goes wrong, and everybody can read it`, { timeout: 240_000 }, async () => {
    made.faults.length = 0;
    await page.setViewportSize({ width: 1400, height: 900 });
    // From nowhere, so that the text is not found on another screen.
    await page.goto("about:blank");
    await page.goto(`/${hash(queue.tasks)}`);
    await page.locator("main").getByText(shows).first().waitFor();
    if (press) await page.keyboard.press(press);
    if (click) await page.getByRole("button", { name: click }).click();
    if (opens) await page.getByRole("dialog", { name: opens }).waitFor();
    const found = [];
    for (const width of WIDTHS) {
      await page.setViewportSize({ width, height: 900 });
      for (const colorScheme of ["light", "dark"]) {
        await page.emulateMedia({ colorScheme });
        await picture(page, `${name}-${colorScheme}-${width}`);
        // In between, nothing is laid out in a way of its own.
        if (width !== 800) found.push(...(await barriers(page)).map((text) => `${colorScheme}, ${width} px: ${text}`));
      }
      const { inner, content } = await page.evaluate(() => ({ inner: innerWidth, content: document.documentElement.scrollWidth }));
      if (content > inner) found.push(`${width} px: the page is ${content} px wide`);
    }
    // A task that does not exist is asked for, and refused.
    found.push(...(await faults(made, ...(name === "task-unknown" ? [/status of 404/] : []))));
    assert.deepEqual(found, []);
  });
}

test("the first load is small, and every file of it can be kept", async () => {
  const made = await context(browser, server, { cookie });
  const page = await made.newPage();
  const session = await made.newCDPSession(page);
  await session.send("Network.enable");
  let bytes = 0;
  let ended = 0;
  session.on("Network.loadingFinished", ({ encodedDataLength }) => {
    bytes += encodedDataLength;
    ended += 1;
  });
  await page.goto("/");
  await page.locator("main").getByText("Keep the price list for ten minutes.").first().waitFor();
  // The feed alone does not end.
  await until("all that was asked for to be there", () => ended === made.requests.length - 1);
  console.log(`first load of the board: ${bytes} bytes in ${made.requests.length} requests`);
  assert.ok(bytes <= 150_000, `${bytes} bytes`);
  for (const request of made.requests) {
    const { pathname } = new URL(request.url());
    const cache = (await (await request.response())?.headerValue("cache-control")) ?? "";
    if (pathname.startsWith("/ui/")) assert.match(cache, /immutable/, pathname);
    else if (pathname === "/") assert.match(cache, /no-store/);
  }
  await made.close();
});

test("what needs a person is told in the words of `lanes why`", async () => {
  const { tasks } = queue;
  const made = await context(browser, server, { cookie });
  const page = await made.newPage();
  await page.goto("/");
  const strip = page.getByRole("region", { name: "Attention" });
  await strip.getByText("release freeze until Monday").first().waitFor();
  await strip.getByRole("button", { name: /^Show \d+ more/ }).click();
  const kinds = {
    question: tasks.asked,
    dead_letter: tasks.dead,
    cooldown: tasks.parked,
    paused_lane: tasks.paused,
    unserved_lane: tasks.unserved[0],
    unready_program: tasks.unready,
    budget: tasks.over,
  };
  // Both are of their moment: some words tell how long something has lasted.
  await until("the page to show what /status and why tell", async () => {
    const shown = (await strip.innerText()).replace(/\s+/g, " ");
    const { attention } = (await server.fetch("/status")).body;
    for (const [kind, id] of Object.entries(kinds)) {
      const { message } = await queue.json("why", id);
      const entry = attention.find((one) => one.kind === kind);
      assert.ok(entry, `${kind} is not in /status`);
      assert.ok(message.includes(entry.text) || entry.text.includes(message), `${kind}: ${entry.text}\nbut why says: ${message}`);
      assert.ok(shown.includes(entry.text.replace(/\s+/g, " ")), `${kind} is not shown: ${entry.text}\nbut: ${shown}`);
    }
    assert.match(await page.title(), new RegExp(`^\\(${attention.length}\\) `));
    return true;
  });
  assert.deepEqual(await faults(made), []);
  await made.close();
});
