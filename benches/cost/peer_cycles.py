"""Prints how many seconds agent-lanes' library takes for cycles of submit, claim and respond.

Usage: peer_cycles.py DIRECTORY COUNT
"""

import sys
import time
from pathlib import Path

from agent_lanes.store import HandoffStore

root, count = Path(sys.argv[1]), int(sys.argv[2])
request = root / "request.md"
request.write_text("do it")
store = HandoffStore(root / "peer-state")
begin = time.monotonic()
for number in range(count):
    task = store.create_task(
        workspace_id="bench",
        correlation_id=f"bench-{number}",
        source_agent="bench",
        lane="lane-00",
        workspace_root=root,
        worktree_path=None,
        expected_branch=None,
        request_path=request,
        response_path=root / "response.md",
        prompt="do it",
    )
    claimed = store.claim_task(task["id"], owner="bench")
    store.submit_response(task["id"], reviewer="bench", body="done", claim_token=claimed["claim_token"])
print(time.monotonic() - begin)
