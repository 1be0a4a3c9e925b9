// A queue of its own for each test: a temporary workspace, the commands of `lanes` on it, and its servers and dispatchers.

import { execFile } from "node:child_process";
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { Process } from "./processes.mjs";
import { lanes } from "./programs.mjs";
import { InVain, until } from "./wait.mjs";

/** The program of vendors whose agents do what a test says. */
export const agent = join(dirname(fileURLToPath(import.meta.url)), "agent.mjs");

const temporaries = new Set();
process.once("exit", () => {
  for (const directory of temporaries) rmSync(directory, { recursive: true, force: true });
});

export class Queue {
  /** Makes a workspace. Without `configure` its dispatchers have no routes. */
  static async make(name = "shop") {
    const queue = new Queue();
    queue.name = name;
    queue.temporary = mkdtempSync(join(tmpdir(), "lanes-board-"));
    temporaries.add(queue.temporary);
    queue.root = join(queue.temporary, name);
    queue.store = join(queue.root, "handoff", "state");
    queue.processes = [];
    queue.scripts = join(queue.temporary, "scripts.json");
    mkdirSync(queue.root);
    queue.env = {
      PATH: process.env.PATH,
      HOME: queue.temporary,
      LANG: "C.UTF-8",
      LANES_CONFIG: join(queue.root, "handoff", "handoff.yaml"),
      AGENT_SCRIPTS: queue.scripts,
      GIT_AUTHOR_NAME: "Ada",
      GIT_AUTHOR_EMAIL: "ada@example.org",
      GIT_COMMITTER_NAME: "Ada",
      GIT_COMMITTER_EMAIL: "ada@example.org",
    };
    await queue.run("init", ["init", "-q", queue.root], { env: { LANES_CONFIG: "" } });
    queue.configure({}, []);
    return queue;
  }

  /** Writes the settings of dispatchers, and what agents do (see agent.mjs). */
  configure(dispatch, scripts) {
    const { name } = this;
    const config = { workspace_id: name, workspace_root: "..", queue_root: "state", dispatch };
    // JSON is YAML, too.
    writeFileSync(this.env.LANES_CONFIG, JSON.stringify(config));
    writeFileSync(this.scripts, JSON.stringify(scripts));
  }

  /** The file whose lines an agent with the step `{follow: …}` does. */
  orders(name) {
    return join(this.temporary, `${name}.orders`);
  }

  order(name, ...steps) {
    appendFileSync(this.orders(name), steps.map((step) => `${JSON.stringify(step)}\n`).join(""));
  }

  /** Runs a command in the workspace and returns its standard output; fails with its standard error. */
  lanes(...args) {
    return this.run(args.join(" "), args);
  }

  /** The same at a fixed time: `ago` seconds before now. */
  lanesAgo(ago, ...args) {
    const now = new Date(Date.now() - ago * 1000).toISOString();
    return this.run(args.join(" "), args, { env: { LANES_TEST_NOW: now } });
  }

  async json(...args) {
    return JSON.parse(await this.lanes(...args, "--json"));
  }

  run(what, args, { env = {}, input, cwd = this.root } = {}) {
    return new Promise((resolve, reject) => {
      const options = { cwd, env: { ...this.env, ...env }, maxBuffer: 1 << 30 };
      const child = execFile(lanes, args, options, (error, stdout, stderr) => {
        if (error) reject(new Error(`lanes ${what}: ${stderr.trim() || error.message}`));
        else resolve(stdout.trimEnd());
      });
      // A command that reads nothing may have ended.
      child.stdin.on("error", () => {});
      child.stdin.end(input ?? "");
    });
  }

  git(...args) {
    return new Promise((resolve, reject) => {
      execFile("git", ["-C", this.root, ...args], { env: this.env }, (error, stdout, stderr) => {
        if (error) reject(new Error(`git ${args.join(" ")}: ${stderr}`));
        else resolve(stdout.trimEnd());
      });
    });
  }

  submit(lane, prompt, ...flags) {
    return this.run("submit", ["submit", "--lane", lane, "--prompt", "-", ...flags], { input: prompt });
  }

  /** Claims a task, and returns the token. */
  async claim(id, owner, ago = 0) {
    const text = await this.lanesAgo(ago, "claim", id, "--owner", owner);
    return text.match(/^claim_token=(.*)$/m)[1];
  }

  /** Has a person claim and answer a task. */
  async respond(id, owner, body, { ago = 0, flags = [] } = {}) {
    const token = await this.claim(id, owner, ago + 60);
    return this.lanesAgo(ago, "respond", id, "--claim-token", token, "--body", body, ...flags);
  }

  state(id) {
    return this.json("why", id).then((why) => why.state);
  }

  /** Starts a dispatcher, and returns when it serves its lanes. */
  async dispatch(...args) {
    const child = this.start(["dispatch", "--quiet", ...args]);
    await until("a dispatcher", async () => {
      if (!child.running) throw new InVain(`the dispatcher has ended: ${child.stderr}`);
      const { workers } = await this.json("workers");
      return workers.some(({ pid, data }) => pid === child.pid && data.serves?.length);
    });
    return child;
  }

  /** Starts a server on a free port, and returns when clients can connect. */
  async serve(...args) {
    const child = this.start(["serve", "--quiet", ...(args.includes("--port") ? [] : ["--port", "0"]), ...args]);
    const wanted = args.includes("--open") ? /http:\/\/\S+\/open\?\S+/ : /http:\/\/\S+/;
    const url = await until("the address of the server", () => {
      if (!child.running) throw new InVain(`the server has ended: ${child.stderr}`);
      return `${child.stdout}${child.stderr}`.match(wanted)?.[0];
    });
    return new Server(this, child, url);
  }

  start(args) {
    const child = new Process(lanes, args, { cwd: this.root, env: this.env });
    this.processes.push(child);
    return child;
  }

  /** Ends everything that was started, and removes the workspace. */
  async end() {
    // The first signal lets agents finish, the second ends them.
    await Promise.all(this.processes.filter(({ running }) => running).map((child) => child.end("SIGTERM", "SIGTERM")));
    rmSync(this.temporary, { recursive: true, force: true, maxRetries: 5 });
    temporaries.delete(this.temporary);
  }
}

export class Server {
  constructor(queue, child, announced) {
    this.queue = queue;
    this.child = child;
    this.announced = announced;
    this.url = new URL(announced).origin;
  }

  get port() {
    return Number(new URL(this.url).port);
  }

  /** The token of the store, which a server that asks for none does not make. */
  get token() {
    const file = join(this.queue.store, "serve.token");
    return existsSync(file) ? readFileSync(file, "utf8").trim() : "";
  }

  /** Asks the server as a program does. */
  async fetch(path, { method = "GET", body, headers = {} } = {}) {
    const response = await fetch(`http://127.0.0.1:${this.port}${path}`, {
      method,
      headers: { Authorization: `Bearer ${this.token}`, "Content-Type": "application/json", ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    return { status: response.status, headers: response.headers, body: await response.json() };
  }

  /** Microseconds that the server's process has spent on processors. */
  get cpu() {
    const fields = readFileSync(`/proc/${this.child.pid}/stat`, "utf8").split(") ")[1].split(" ");
    return (Number(fields[11]) + Number(fields[12])) * 10_000;
  }

  end(...signals) {
    return this.child.end(...signals);
  }
}
