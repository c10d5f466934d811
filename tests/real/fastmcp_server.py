"""A FastMCP server, served in process.

python fastmcp_server.py PORT
"""

# It runs where fastmcp is installed, and is looked at where it isn't.
# mypy: disable-error-code="import-not-found, untyped-decorator"

import sys

import trio
from fastmcp import Context, FastMCP

from trioproxy import Config, ListenConfig, open_in_process, serve

server = FastMCP("calculator", version="1.2.3")


@server.tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool
async def count(to: int, context: Context) -> str:
    """Count, and say how far it got."""
    for number in range(1, to + 1):
        await context.report_progress(number, to)
    await context.info("counted")
    return f"counted to {to}"


@server.tool
async def ask(question: str, context: Context) -> str:
    """Ask the client's user."""
    answer = await context.elicit(question, response_type=str)
    return f"{answer.action}: {answer.data}"


@server.resource("note://today")
def note() -> str:
    """What there is to do."""
    return "nothing yet"


@server.prompt
def greet(name: str) -> str:
    """Greet somebody."""
    return f"Good day, {name}"


if __name__ == "__main__":
    config = Config(
        create_server=lambda request, principal: open_in_process(server), listen=ListenConfig(port=int(sys.argv[1]))
    )
    trio.run(serve, config)
