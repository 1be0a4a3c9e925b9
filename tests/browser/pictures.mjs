// Makes the pictures of README.md: `node pictures.mjs`. What they show is the example, with names that say nothing else.

import { mkdirSync, statSync } from "node:fs";
import { join } from "node:path";

import { context, cookieOf, launch } from "./support/browser.mjs";
import { example } from "./support/example.mjs";
import { repository } from "./support/programs.mjs";

const directory = join(repository, "docs", "pictures");
const MOST_BYTES = 150_000;

const queue = await example({ hasUnready: false });
const browser = await launch();
try {
  const server = await queue.serve("--open", "--enable-queue-management");
  const cookie = await cookieOf(server);
  mkdirSync(directory, { recursive: true });
  await take("board-light", "light", "#/", "Rotate the certificates.", "Links of the handbook");
  await take("task-dark", "dark", `#/task/${queue.tasks.done}?tab=changes`, "no such product");

  async function take(name, scheme, hash, ...shows) {
    const made = await context(browser, server, { cookie, scheme, width: 1200, height: 800 });
    const page = await made.newPage();
    await page.goto(`/${hash}`);
    for (const text of shows) await page.locator("main").getByText(text).first().waitFor();
    const path = join(directory, `${name}.png`);
    await page.screenshot({ path });
    const { size } = statSync(path);
    if (size > MOST_BYTES) throw new Error(`${path} has ${size} bytes; make it smaller`);
    console.log(`${path}: ${size} bytes`);
    await made.close();
  }
} finally {
  await browser.close();
  await queue.end();
}
