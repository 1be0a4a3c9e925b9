// The processes that a test has started. Whatever becomes of the test, they end before its process does.

import { spawn } from "node:child_process";

const alive = new Set();

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.once(signal, () => process.exit(1));
process.once("exit", () => {
  for (const child of alive) child.kill("SIGKILL");
});

/** A child process whose output is kept, and with which the test can wait for a line of it. */
export class Process {
  constructor(program, args, options) {
    this.stdout = "";
    this.stderr = "";
    this.child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"], ...options });
    alive.add(this.child);
    this.child.stdout.setEncoding("utf8").on("data", (text) => (this.stdout += text));
    this.child.stderr.setEncoding("utf8").on("data", (text) => (this.stderr += text));
    this.ended = new Promise((resolve) => {
      this.child.once("error", (error) => (this.stderr += error.message));
      this.child.once("close", (code, signal) => {
        alive.delete(this.child);
        resolve({ code, signal });
      });
    });
  }

  get pid() {
    return this.child.pid;
  }

  get running() {
    return alive.has(this.child);
  }

  /** Sends `signal`, or each of several in turn, and returns when the process has ended. */
  async end(...signals) {
    for (const signal of signals.length ? signals : ["SIGTERM"]) this.child.kill(signal);
    const impatient = setTimeout(() => this.child.kill("SIGKILL"), 15_000);
    const end = await this.ended;
    clearTimeout(impatient);
    return end;
  }
}
