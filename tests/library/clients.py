"""The other side: a client of the `mcp` SDK, and a program that merely asks."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import mcp_types as types
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""To read the certificates of the world's authorities takes longer than most examples."""
_INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "example", "version": "1"}},
}


@asynccontextmanager
async def connect(url: str, headers: dict[str, str] | None = None, **options: Any) -> AsyncIterator[Client]:
    """Use the server at `url`; `options` are those of the SDK's client."""
    async with (
        httpx2.AsyncClient(headers=headers, timeout=30, verify=_NO_TLS) as http,
        Client(streamable_http_client(url, http_client=http), **options) as client,
    ):
        yield client


async def call(client: Client, tool: str, **arguments: Any) -> str:
    """Call a tool, and return what it says."""
    result = await client.call_tool(tool, arguments)
    assert isinstance(result, types.CallToolResult)
    (content,) = result.content
    assert isinstance(content, types.TextContent)
    return content.text


async def initialize(url: str, **headers: str) -> httpx2.Response:
    """Ask for a session, and return the answer of HTTP."""
    names = {"accept": "application/json, text/event-stream"}
    names |= {name.replace("_", "-"): value for name, value in headers.items()}
    async with httpx2.AsyncClient(timeout=30, verify=_NO_TLS) as http:
        return await http.post(url, json=_INITIALIZE, headers=names)


async def request(method: str, url: str, **headers: str) -> httpx2.Response:
    """Send a request without a body."""
    async with httpx2.AsyncClient(timeout=30, verify=_NO_TLS) as http:
        return await http.request(method, url, headers={name.replace("_", "-"): value for name, value in headers.items()})
