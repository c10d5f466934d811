"""A server to talk to, one message at a time: whatever it is, it is opened by `async with`, and is a transport."""

from __future__ import annotations

import json
from typing import Any

from mcp.server.mcpserver import MCPServer

from tests.proxies import DEMO
from trioproxy import ChildConfig, Transport, open_child, open_in_process


async def ask(server: Transport, method: str, **params: Any) -> Any:
    """Send a request, and return its result."""
    server.send_nowait(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode())
    (answer,) = await server.receive()
    assert isinstance(answer, bytes)
    return json.loads(answer)["result"]


async def introduce(server: Transport) -> Any:
    """Shake hands, and return what the server is called."""
    client = {"name": "example", "version": "1"}
    result = await ask(server, "initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo=client)
    server.send_nowait(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')
    return result["serverInfo"]["name"]


async def test_open_child_runs_a_command() -> None:
    async with open_child(ChildConfig(DEMO), on_stderr=print) as server:
        assert await introduce(server) == "trioproxy-demo"
        added = await ask(server, "tools/call", name="add", arguments={"a": 2, "b": 3})
        assert added["structuredContent"] == {"sum": 5}


async def test_open_in_process_runs_a_server_without_a_process() -> None:
    calculator = MCPServer("calculator")

    @calculator.tool()
    def multiply(a: int, b: int) -> int:
        """Multiply two numbers."""
        return a * b

    async with open_in_process(calculator) as server:
        assert await introduce(server) == "calculator"
        product = await ask(server, "tools/call", name="multiply", arguments={"a": 6, "b": 7})
        assert product["content"][0]["text"] == "42"
