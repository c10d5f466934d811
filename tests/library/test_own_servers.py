"""The server of a session is made by a function of one's own: `Config(create_server=…)`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import mcp_types as types
import pytest
from mcp.server.mcpserver import Context, MCPServer
from pydantic import BaseModel

from tests.real.sdk_ways import sdk_warnings
from trioproxy import (
    AuthConfig,
    AuthRequest,
    Config,
    ListenConfig,
    Principal,
    Transport,
    first_of,
    header_auth,
    open_in_process,
    open_proxy,
)

from .clients import call, connect

pytestmark = sdk_warnings


class Name(BaseModel):
    name: str


@asynccontextmanager
async def lifespan(server: MCPServer) -> AsyncIterator[list[str]]:
    """Each client has a server of its own, and what it keeps is its own."""
    yield []


notebook = MCPServer("notebook", lifespan=lifespan)


@notebook.tool()
async def note(text: str, context: Context[list[str]]) -> str:
    """Write something down, and return all that there is."""
    notes = context.request_context.lifespan_context
    notes.append(text)
    return ", ".join(notes)


@notebook.tool()
async def greet(context: Context[list[str]]) -> str:
    """Ask for a name."""
    answer = await context.elicit("What is your name?", Name)
    return f"Hello, {answer.data.name}!" if answer.action == "accept" else "Hello!"


@notebook.tool()
async def count(to: int, context: Context[list[str]]) -> str:
    """Count, and tell how far it is."""
    for number in range(1, to + 1):
        await context.report_progress(number, to)
    return "done"


def create_notebook(request: AuthRequest | None, principal: Principal | None) -> AbstractAsyncContextManager[Transport]:
    return open_in_process(notebook)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_server_of_the_sdk_is_served_without_a_process(mode: str) -> None:
    async with open_proxy(Config(create_server=create_notebook, listen=ListenConfig(port=0))) as proxy:
        steps: list[float] = []

        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            steps.append(progress)

        async with connect(proxy.url, mode=mode) as client:
            assert [tool.name for tool in (await client.list_tools()).tools] == ["note", "greet", "count"]
            await client.call_tool("count", {"to": 3}, progress_callback=on_progress)
            assert steps == [1, 2, 3]


async def test_each_session_has_a_server_of_its_own_and_is_asked_its_own_questions() -> None:
    def called(name: str) -> Any:
        async def answer(context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
            return types.ElicitResult(action="accept", content={"name": name})

        return answer

    async with (
        open_proxy(Config(create_server=create_notebook, listen=ListenConfig(port=0))) as proxy,
        connect(proxy.url, mode="legacy", elicitation_callback=called("Ada")) as ada,
        connect(proxy.url, mode="legacy", elicitation_callback=called("Bob")) as bob,
    ):
        assert await call(ada, "note", text="one") == "one"
        assert await call(bob, "note", text="two") == "two"
        assert (await call(bob, "greet"), await call(ada, "greet")) == ("Hello, Bob!", "Hello, Ada!")


async def test_a_server_is_made_for_whom_it_is_for() -> None:
    def create_server(request: AuthRequest | None, principal: Principal | None) -> AbstractAsyncContextManager[Transport]:
        assert principal is not None
        server = MCPServer(f"{principal.id}'s server")

        @server.tool()
        def whoami() -> str:
            return principal.id

        return open_in_process(server)

    auth = AuthConfig(authenticate=first_of(header_auth("alice"), header_auth("bob")))
    async with open_proxy(Config(create_server=create_server, listen=ListenConfig(port=0), auth=auth)) as proxy:
        for name in ("alice", "bob"):
            async with connect(proxy.url, {"x-user-id": name}, mode="legacy") as client:
                assert await call(client, "whoami") == name
