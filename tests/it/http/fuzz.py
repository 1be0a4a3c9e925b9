"""Hooks for fuzz.sh: no request waits, so that none holds up the run."""

import schemathesis


def is_long(text):
    try:
        return float(text) > 0.1
    except (TypeError, ValueError):
        return False


@schemathesis.hook
def before_call(context, case, kwargs):
    name = case.operation.definition.raw.get("operationId")
    if name in ("nextTask", "waitForResponse", "waitForTasks", "watchStore"):
        query = case.query if isinstance(case.query, dict) else {}
        if "wait_seconds" not in query or is_long(query["wait_seconds"]):
            query["wait_seconds"] = 0
        case.query = query
    if name == "showLog" and isinstance(case.query, dict) and case.query.get("follow") in (True, "true", "1"):
        case.query["follow"] = False
    if name == "claimNext" and isinstance(case.body, dict) and is_long(case.body.get("wait_seconds")):
        case.body["wait_seconds"] = 0
