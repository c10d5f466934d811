"""The client of the `mcp` SDK, on trio, and the ways in which it gets to a server."""

from dataclasses import dataclass
from typing import Any

import mcp_types as types
import pytest
from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from .proxy_process import RunningProxy

# For `pytestmark` in a module that uses the SDK's client.
sdk_warnings = [
    # Sampling, roots, logging and subscribing are deprecated as of 2026-07-28; here they are the point.
    pytest.mark.filterwarnings("ignore::mcp.MCPDeprecationWarning"),
    # The SDK leaves the generators of its HTTP library to the garbage collector, which trio is right to complain about.
    pytest.mark.filterwarnings(r"ignore:Async generator '(httpx2|httpcore2)\.:ResourceWarning"),
]


@dataclass(frozen=True)
class Way:
    """Over which transport, and in which mode.

    A mode is the client's own: "legacy" shakes hands at once, "auto" asks first whether the server is modern.
    """

    transport: str
    mode: str

    def __str__(self) -> str:
        return f"{self.transport}-{self.mode}"

    def connect(self, proxy: RunningProxy, **callbacks: Any) -> Client:
        """Return a client that is connected for as long as it is entered."""
        if self.transport == "sse":
            transport = sse_client(proxy.sse)
        else:
            # The SDK gives up on events of more than 1 MiB unless told not to.
            transport = streamable_http_client(proxy.mcp, max_sse_event_size=None)
        return Client(transport, mode=self.mode, log_level="debug", **callbacks)


WAYS = [Way("stream", "legacy"), Way("stream", "auto"), Way("sse", "legacy"), Way("sse", "auto")]

every_way = pytest.mark.parametrize("way", WAYS, ids=str)
with_a_handshake = pytest.mark.parametrize("way", [WAYS[0], WAYS[2]], ids=str)


async def call(client: Client, tool: str, /, **arguments: Any) -> str:
    """Call a tool that has one text to say, and return it."""
    return text_of(await client.call_tool(tool, arguments))


def text_of(result: types.CallToolResult) -> str:
    [content] = result.content
    assert isinstance(content, types.TextContent)
    assert not result.is_error, content.text
    return content.text
