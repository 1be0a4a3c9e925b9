"""The official Python client, at one `lanes mcp`: makes the calls that stand on standard input and prints what they return.

A call is [tool, arguments]. An argument "$N.KEY" stands for that key of what call N returned.
"""

import asyncio
import json
import os
import sys

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client


def resolved(value, returned):
    if not (isinstance(value, str) and value.startswith("$")):
        return value
    number, key = value[1:].split(".")
    return json.loads(returned[int(number)]["text"])[key]


async def main():
    calls = json.load(sys.stdin)
    server = StdioServerParameters(command=sys.argv[1], args=sys.argv[2:], env=dict(os.environ))
    async with stdio_client(server) as pipes, ClientSession(*pipes) as session:
        await session.initialize()
        tools = await session.list_tools()
        returned = []
        for tool, arguments in calls:
            arguments = {name: resolved(value, returned) for name, value in arguments.items()}
            result = await session.call_tool(tool, arguments)
            [block] = result.content
            returned.append(
                {"text": block.text, "is_error": result.isError, "structured": result.structuredContent}
            )
        print(json.dumps({"tools": [tool.name for tool in tools.tools], "returned": returned}))


asyncio.run(main())
