#!/usr/bin/env node
// The stand-in for an agent: speaks claude's stream, and does what AGENT_SCRIPTS says for the task that it gets.
//
// That file has a list of {when, steps}: the first item whose `when` occurs in the prompt counts. A step is one of
//   {say: TEXT}         a message of the agent
//   {out: TEXT, repeat} a line on standard output, as it is, once or more often
//   {err: TEXT}         a line on standard error, as it is
//   {write: PATH, text} a file below the working directory
//   {run: [PROGRAM, …]} a program
//   {follow: FILE}      the steps that the lines of FILE are, as they come, until {done: true}
//   {result: TEXT, cost, turns}   the answer
//   {exit: CODE}        the end

import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync, writeSync } from "node:fs";

const args = process.argv.slice(2);
if (args[0] === "--version") {
  console.log("2.1.332 (stand-in)");
  process.exit(0);
}
const session = args[args.findIndex((word) => word === "--session-id" || word === "--resume") + 1] ?? "none";
const model = args.includes("--model") ? args[args.indexOf("--model") + 1] : "sonnet";
const prompt = readFileSync(0, "utf8");
const scripts = JSON.parse(readFileSync(process.env.AGENT_SCRIPTS, "utf8"));
const script = scripts.find(({ when }) => prompt.includes(when)) ?? { steps: [{ result: "Done." }] };

print({ type: "system", subtype: "init", session_id: session, model, claude_code_version: "2.1.332" });
for (const step of script.steps) await take(step);

function print(message) {
  write(1, JSON.stringify(message));
}

function write(descriptor, line) {
  const bytes = Buffer.from(`${line}\n`);
  for (let at = 0; at < bytes.length; ) at += writeSync(descriptor, bytes, at);
}

async function take(step) {
  if ("say" in step) {
    print({ type: "assistant", message: { content: [{ type: "text", text: step.say }] }, session_id: session });
  } else if ("out" in step) {
    // In pieces of a thousand lines, which are as many system calls fewer.
    const lines = step.repeat ?? 1;
    const piece = Math.min(lines, 1000);
    for (let done = 0; done < lines; done += piece) write(1, Array(Math.min(piece, lines - done)).fill(step.out).join("\n"));
  } else if ("err" in step) {
    write(2, step.err);
  } else if ("write" in step) {
    writeFileSync(step.write, step.text);
  } else if ("run" in step) {
    const { status, stderr } = spawnSync(step.run[0], step.run.slice(1), { encoding: "utf8" });
    if (status !== 0) throw new Error(`${step.run.join(" ")}: ${stderr}`);
  } else if ("follow" in step) {
    await follow(step.follow);
  } else if ("result" in step) {
    print({
      type: "result",
      subtype: "success",
      is_error: false,
      result: step.result,
      session_id: session,
      num_turns: step.turns ?? 1,
      ...("cost" in step ? { total_cost_usd: step.cost } : {}),
      usage: { input_tokens: 5200, output_tokens: 610 },
    });
  } else if ("exit" in step) {
    process.exit(step.exit);
  } else {
    throw new Error(`no such step: ${JSON.stringify(step)}`);
  }
}

async function follow(file) {
  for (let done = 0; ; ) {
    const lines = existsSync(file) ? readFileSync(file, "utf8").split("\n").slice(0, -1) : [];
    for (const line of lines.slice(done)) {
      done += 1;
      const step = JSON.parse(line);
      if (step.done) return;
      await take(step);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
