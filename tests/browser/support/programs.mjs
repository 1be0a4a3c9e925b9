// Finds the programs that the tests run. `.ci/run tools` installs them, and `npm ci` in this directory the packages.

import { accessSync, constants, existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
export const repository = join(here, "..", "..", "..");

/** The binary under test: LANES_TEST_BINARY, else the release build, else the debug build. */
export const lanes = (() => {
  const builds = ["release", "debug"].map((profile) => join(repository, "target", profile, "lanes"));
  const found = [process.env.LANES_TEST_BINARY, ...builds].find((path) => path && existsSync(path));
  if (!found) throw new Error("there is no lanes to test: run `cargo build`, or set LANES_TEST_BINARY");
  return found;
})();

const modules = process.env.LANES_TEST_NODE_MODULES ?? join(here, "..", "node_modules");
const require = createRequire(join(modules, "of-the-tests.cjs"));

export const { chromium: playwright } = require("playwright-core");
export const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

/** The browser itself rather than Debian's start script, which looks for settings of a desktop. */
export const chromium = (() => {
  const named = process.env.LANES_TEST_CHROMIUM;
  const onPath = (process.env.PATH ?? "").split(delimiter).map((dir) => join(dir, "chromium"));
  const found = [named, "/usr/lib/chromium/chromium", ...onPath].find((path) => path && canRun(path));
  if (!found) throw new Error("chromium is not installed: run '.ci/run tools', or set LANES_TEST_CHROMIUM");
  return found;
})();

function canRun(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
