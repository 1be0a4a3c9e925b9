#!/usr/bin/env bash
# Runs the real command-line programs of agents under `lanes dispatch`, against a scripted model on the loopback
# interface: no key, no cost, and a network namespace without a way out.
# Usage: tests/real_clis.sh LANES [WORDS]     only the checks whose name contains WORDS
set -euo pipefail

lanes=$(realpath "$1")
only=${2:-}
here=$(dirname "$(realpath "$0")")
cache=${LANES_CI_CACHE:-$here/../target/ci}/real-clis

# Exact versions: what these programs print changes within weeks, and on an old Node a plain install of
# claude silently gives one that is months older.
packages=(
  @anthropic-ai/claude-code@2.1.332
  @openai/codex@0.171.0
  @google/gemini-cli@0.61.0
  opencode-ai@1.18.33
  @modelcontextprotocol/inspector@0.15.0
)

skip() {
  echo "skipped: real CLIs: $*"
  exit 0
}

command -v npm >/dev/null || skip "npm is not installed"
command -v python3 >/dev/null || skip "python3 is not installed"
# Also a process namespace: when the checks end, however they end, everything that they started ends.
isolate=(unshare --net --pid --fork --mount-proc --kill-child)
"${isolate[@]}" true 2>/dev/null || isolate=(unshare --map-root-user --net --pid --fork --mount-proc --kill-child)
"${isolate[@]}" ip link set lo up 2>/dev/null || skip "no network namespace can be made here"

mkdir -p "$cache"
cache=$(realpath "$cache")
wanted="${packages[*]}"
if [ "$(cat "$cache/installed" 2>/dev/null)" != "$wanted" ]; then
  log=$cache/npm.log
  if ! npm install --prefix "$cache" --no-audit --no-fund --no-save "${packages[@]}" >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    skip "npm cannot install ${packages[*]}"
  fi
  echo "$wanted" >"$cache/installed"
fi

exec "${isolate[@]}" sh -c 'ip link set lo up && exec python3 -B "$@"' sh \
  "$here/real_clis/checks.py" --lanes "$lanes" --programs "$cache/node_modules/.bin" --only "$only"
