// A browser that can reach nothing but the server, and pages that report what a page of ours must never do.

import { mkdirSync } from "node:fs";
import { join } from "node:path";

import { axe, chromium, playwright, repository } from "./programs.mjs";

/** Where pictures of the screens go: an artifact for people to look at. */
export const artifacts = join(repository, "target", "ci", "board");

export function launch() {
  // Every other name is one that does not exist, whatever the network of the machine is like.
  const rules = "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE *.localhost, EXCLUDE localhost";
  return playwright.launch({
    executablePath: chromium,
    args: ["--no-sandbox", "--disable-gpu", `--host-resolver-rules=${rules}`],
  });
}

/**
 * A context of its own, as a new profile of the browser is: nothing of it is left for the next one. `cookie` lets it in
 * as `serve --open` does.
 */
export async function context(browser, server, { cookie, scheme = "light", width = 1400, height = 900, ...more } = {}) {
  const made = await browser.newContext({
    baseURL: server.url,
    colorScheme: scheme,
    viewport: { width, height },
    reducedMotion: "reduce",
    locale: "en-GB",
    timezoneId: "UTC",
    ...more,
  });
  made.setDefaultTimeout(30_000);
  if (cookie) await made.addCookies([cookie]);
  await made.addInitScript(() => {
    window.violations = [];
    document.addEventListener("securitypolicyviolation", (event) => {
      window.violations.push(`${event.violatedDirective}: ${event.blockedURI} ${event.sample}`);
    });
  });
  made.faults = [];
  made.requests = [];
  made.on("request", (request) => {
    const url = new URL(request.url());
    made.requests.push(request);
    if (!["data:", "blob:"].includes(url.protocol) && url.origin !== server.url) {
      made.faults.push(`a request to ${request.url()}`);
    }
  });
  made.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) made.faults.push(`${message.type()}: ${message.text()}`);
  });
  made.on("weberror", (error) => made.faults.push(`uncaught: ${error.error().stack ?? error.error()}`));
  return made;
}

/** The cookie that `/open` gives for the code in the announced address. It can be fetched once. */
export async function cookieOf(server) {
  const url = new URL(server.announced);
  const answer = await fetch(`http://127.0.0.1:${url.port}${url.pathname}${url.search}`, {
    redirect: "manual",
    headers: { Host: url.host },
  });
  const set = answer.headers.get("set-cookie");
  if (!set) throw new Error(`${server.announced} gave no cookie but ${answer.status}`);
  const [name, value] = set.split(";")[0].split("=");
  return { name, value, domain: url.hostname, path: "/", httpOnly: true, sameSite: "Strict" };
}

/** Everything that the pages of a context did and must not do; `except` names what this test brings about. */
export async function faults(made, ...except) {
  const violations = [];
  for (const page of made.pages()) {
    if (!page.isClosed()) violations.push(...(await page.evaluate(() => window.violations)));
  }
  return [...made.faults, ...violations].filter((fault) => !except.some((pattern) => pattern.test(fault)));
}

/** What a browser reports by itself while a server is gone, and when it is back and asks for the token. */
export const whenGone = [/Failed to load resource: net::ERR_/, /Failed to load resource: the server responded with a status of 401/];

/** The serious and critical findings of axe. */
export async function barriers(page) {
  // The content security policy of the page allows no script of ours, and evaluation is not subject to it.
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  return violations
    .filter(({ impact }) => ["serious", "critical"].includes(impact))
    .map(({ id, impact, nodes }) => `${id} (${impact}): ${nodes.map(({ target, failureSummary }) => `${target} ${failureSummary}`).join("; ")}`);
}

export async function picture(page, name) {
  mkdirSync(artifacts, { recursive: true });
  await page.screenshot({ path: join(artifacts, `${name}.png`) });
}

/** A card of the board: in a column of any lane, by its title. */
export function card(page, column, title) {
  return page.getByRole("listbox", { name: new RegExp(`^${column}(, lane |$)`) }).getByRole("option", { name: title });
}

/** All cards of the board, with the columns in which they are. */
export function cards(page) {
  return page.evaluate(() =>
    [...document.querySelectorAll('[role="option"][data-key]')].map((option) => ({
      id: option.dataset.key,
      column: option.closest('[role="listbox"]').getAttribute("aria-label").split(",")[0],
    })),
  );
}

/** Fills in the form that a page shows which has not been let in. */
export async function enterToken(page, token) {
  await page.getByLabel("Token", { exact: true }).fill(token);
  await page.getByRole("button", { name: "Show the queue" }).click();
}
