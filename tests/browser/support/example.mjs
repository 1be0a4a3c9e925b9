// A queue in which everything that a board shows occurs: every state, groups, a paused lane, a vendor in cooldown, a lane
// that nobody serves, one whose program is gone, and a run that goes on until the test ends it.

import { chmodSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { agent, Queue } from "./queue.mjs";
import { until } from "./wait.mjs";

const notFound = `export function product(catalogue, id) {
  const found = catalogue.get(id);
  if (!found) return { status: 404, body: { error: "no such product" } };
  return { status: 200, body: found };
}
`;

const scripts = (queue) => [
  {
    when: "Answer 404 for unknown products",
    steps: [
      { say: "The handler answers 500 when the catalogue has no such product." },
      { write: "product.js", text: notFound },
      { run: ["git", "add", "product.js"] },
      { run: ["git", "commit", "--quiet", "-m", "Answer 404 for unknown products"] },
      { err: "12 tests passed" },
      { result: "Unknown products are answered with 404.\n\nSTATUS: done", cost: 0.41, turns: 9 },
    ],
  },
  {
    when: "Review the change to the product handler",
    steps: [
      { say: "I read product.js and its tests." },
      {
        result: "The change is right. A test for an empty catalogue is missing.\n\nVERDICT: accept-with-follow-ups\nSTATUS: done",
        cost: 0.12,
        turns: 4,
      },
    ],
  },
  {
    when: "Review the rounding of prices",
    steps: [{ result: "Prices of 0.5 cents are rounded down.\n\nVERDICT: needs-revision\nSTATUS: done", cost: 0.09 }],
  },
  {
    when: "Keep the price list for ten minutes",
    steps: [
      { say: "The price list is read from disk for every request." },
      { say: "I add a cache with a lifetime of ten minutes, and measure." },
      { err: "warning: 3 requests were slower than 200 ms" },
      { follow: queue.orders("prices") },
      { result: "The price list is kept for ten minutes.\n\nSTATUS: done", cost: 0.2 },
    ],
  },
  {
    when: "Parse dates with a time zone",
    steps: [{ say: "The tests need tzdata." }, { err: "error: no time zone database" }, { exit: 3 }],
  },
  {
    when: "Show prices in other currencies",
    steps: [{ result: "Which currencies does the price list have to show?\n\nSTATUS: needs_input", cost: 0.05 }],
  },
  { when: "Name three ideas", steps: [{ result: "Search, filters, a wish list.\n\nSTATUS: done" }] },
];

const settings = (queue) => ({
  max_concurrent: 4,
  grace: "1s",
  vendors: { claude: { command: agent }, codex: { command: join(queue.root, "bin", "codex") } },
  budget: { lanes: { ideas: { runs_per_day: 1 } } },
  routes: {
    build: { vendor: "claude", worktree: { keep: "always" }, max_retries: 2, retry_delay: 0, retry_delay_max: 0 },
    review: { vendor: "claude" },
    ideas: { vendor: "claude" },
    audit: { vendor: "codex" },
    profile: { command: join(queue.root, "bin", "profile") },
  },
});

/**
 * Makes the queue. Takes some seconds, because real dispatchers run real processes. Without `hasUnready` the program of
 * one lane does not go away: what is said of it names a directory of this machine.
 */
export async function example({ hasUnready = true } = {}) {
  const queue = await Queue.make();
  queue.configure(settings(queue), scripts(queue));
  const task = (queue.tasks = {});

  mkdirSync(join(queue.root, "bin"));
  for (const program of ["codex", "profile"]) {
    writeFileSync(join(queue.root, "bin", program), "#!/bin/sh\nexit 0\n");
    chmodSync(join(queue.root, "bin", program), 0o755);
  }
  writeFileSync(join(queue.root, "product.js"), "export function product(catalogue, id) {\n  return catalogue.get(id);\n}\n");
  writeFileSync(join(queue.root, ".gitignore"), "handoff/\nbin/\n");
  await queue.git("init", "--quiet", "--initial-branch", "main");
  await queue.git("add", ".");
  await queue.git("commit", "--quiet", "-m", "Begin");

  // What people did in the last days.
  const day = 86_400;
  task.old = await queue.lanesAgo(3 * day, "submit", "--lane", "docs", "--prompt", "Describe the checkout for new colleagues.");
  await queue.respond(task.old, "ada", "docs/checkout.md describes it.", { ago: 3 * day - 1800 });
  task.failed = await queue.lanesAgo(day, "submit", "--lane", "docs", "--prompt", "Translate the terms of delivery.");
  await queue.respond(task.failed, "eve", "The lawyers have to do this.", { ago: day - 600, flags: ["--status", "failed"] });
  task.cancelled = await queue.lanesAgo(7200, "submit", "--lane", "docs", "--prompt", "Draw the architecture by hand.");
  await queue.lanesAgo(7000, "cancel", task.cancelled, "--reason", "Generated now.");

  // What dispatchers did today.
  task.done = await queue.submit("build", "Answer 404 for unknown products.", "--group", "release-2.4", "--label", "api");
  task.reviewed = await queue.submit("review", "Review the change to the product handler.", "--after", task.done, "--group", "release-2.4");
  task.revise = await queue.submit("review", "Review the rounding of prices.");
  task.dead = await queue.submit("build", "Parse dates with a time zone.", "--label", "api", "--max-attempts", "2");
  task.permanent = await queue.submit("review", "Publish the package.", "--worktree-path", join(queue.root, "gone"));
  task.asked = await queue.submit("review", "Show prices in other currencies.");
  task.idea = await queue.submit("ideas", "Name three ideas for the start page.");
  queue.dispatcher = await queue.dispatch("--owner", "night-shift");
  const ends = { done: "completed", reviewed: "completed", revise: "completed", idea: "completed", dead: "failed", permanent: "failed", asked: "input_required" };
  for (const [name, state] of Object.entries(ends)) {
    await until(`${name} to be ${state}`, async () => (await queue.state(task[name])) === state);
  }

  // What goes on now, and what waits.
  task.running = await queue.submit("build", "Keep the price list for ten minutes.", "--group", "release-2.4", "--priority", "5");
  await until("a run", async () => (await queue.state(task.running)) === "claimed");
  await queue.lanes("pause", "--vendor", "codex", "--for", "2h", "--reason", "weekly limit");
  task.parked = await queue.submit("audit", "Look for secrets in the history.");
  if (hasUnready) {
    rmSync(join(queue.root, "bin", "profile"));
    task.unready = await queue.submit("profile", "Profile the start page.");
  }
  task.over = await queue.submit("ideas", "Name three more ideas.");
  task.held = await queue.lanesAgo(900, "submit", "--lane", "docs", "--prompt", "Check the links in the handbook.", "--name", "Links of the handbook");
  task.heldToken = await queue.claim(task.held, "ada", 600);
  task.notes = await queue.submit("docs", "Write the release notes.", "--after-group", "release-2.4", "--group", "release-2.4");
  task.deploy = await queue.submit("deploy", "Deploy release 2.4.", "--after", task.notes, "--group", "release-2.4");
  task.paused = await queue.submit("deploy", "Rotate the certificates.");
  await queue.lanes("pause", "deploy", "--reason", "release freeze until Monday");
  task.scheduled = await queue.submit("docs", "Update the dependencies.", "--delay", "6h");
  task.keyHolder = await queue.lanesAgo(300, "submit", "--lane", "migrate", "--prompt", "Migrate the orders.", "--exclusive", "database");
  await queue.claim(task.keyHolder, "bob", 240);
  task.keyWaiter = await queue.submit("migrate", "Migrate the customers.", "--exclusive", "database");
  task.unserved = [];
  for (const word of ["French", "Polish", "Spanish"]) {
    task.unserved.push(await queue.submit("translate", `Translate the start page into ${word}.`));
  }
  if (hasUnready) await until("the unready program to be noticed", async () => (await queue.json("why", task.unready)).reason === "lane_unready");
  await until("the spent budget to be noticed", async () => /budget/.test((await queue.json("why", task.over)).message));
  return queue;
}

/** Texts of strangers that a page must show as they are, and never do. */
export const hostile = {
  script: "<script>window.canary = 1</script>",
  image: '<img src=x onerror="window.canary = 1">',
  link: "javascript:window.canary=1",
  mixed: "\u202Egnidaer morf thgir\u202C \u2066isolated\u2069 \u200B",
  colours: "\u001b[31mred\u001b[0m \u001b]0;title\u0007\u001b[2J\u001b[999999999m after",
  template: "{{constructor.constructor('window.canary=1')()}} ${window.canary=1}",
  entity: "&lt;b&gt; &amp;amp; &#x3c;script&#x3e;",
  surrogate: '{"type":"assistant","message":{"content":[{"type":"text","text":"\\ud800 alone"}]}}',
  long: "a".repeat(1 << 20),
};
