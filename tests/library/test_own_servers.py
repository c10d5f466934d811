"""The server of a session is made by a function of one's own: `Config(create_server=…)`."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
import trio
from mcp.server.mcpserver import Context, MCPServer
from pydantic import BaseModel

from tests.real.sdk_ways import sdk_warnings
from trioproxy import (
    AuthConfig,
    AuthRequest,
    ChildConfig,
    Config,
    HttpError,
    ListenConfig,
    Principal,
    Transport,
    api_key_auth,
    first_of,
    header_auth,
    open_child,
    open_in_process,
    open_proxy,
    open_remote,
)

from .clients import call, connect, initialize

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


FOLDER_SERVER = """
from pathlib import Path
from mcp.server.mcpserver import MCPServer

server = MCPServer("folder")

@server.tool()
def read(name: str) -> str:
    return Path(name).read_text()

server.run()
"""


async def test_each_user_has_a_process_in_a_folder_of_their_own(tmp_path: Path) -> None:
    for name in ("alice", "bob"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "diary.txt").write_text(f"{name}'s secrets")

    def create_server(request: AuthRequest | None, principal: Principal | None) -> AbstractAsyncContextManager[Transport]:
        assert principal is not None
        return open_child(ChildConfig((sys.executable, "-c", FOLDER_SERVER), cwd=tmp_path / principal.id))

    auth = AuthConfig(authenticate=first_of(header_auth("alice"), header_auth("bob")))
    async with open_proxy(Config(create_server=create_server, listen=ListenConfig(port=0), auth=auth)) as proxy:
        for name in ("alice", "bob"):
            async with connect(proxy.url, {"x-user-id": name}) as client:
                assert await call(client, "read", name="diary.txt") == f"{name}'s secrets"


async def test_a_gateway_knows_the_keys_and_the_servers_behind_it_know_the_users() -> None:
    async def whoami(request: AuthRequest) -> Principal | None:
        return Principal(name) if (name := request.header("x-user-id")) else None

    def greet(request: AuthRequest | None, principal: Principal | None) -> AbstractAsyncContextManager[Transport]:
        assert principal is not None
        server = MCPServer("behind")
        server.tool("whoami")(lambda: principal.id)
        return open_in_process(server)

    behind = Config(create_server=greet, listen=ListenConfig(port=0), auth=AuthConfig(authenticate=whoami))
    async with open_proxy(behind) as server:
        users = {"alices-key": "alice", "bobs-key": "bob"}
        is_known = api_key_auth(users)

        async def look_up(request: AuthRequest) -> Principal | None:
            return Principal(users[request.header("x-api-key") or ""]) if await is_known(request) else None

        def connect_to_it(request: AuthRequest | None, principal: Principal | None) -> Any:
            assert principal is not None
            return open_remote(server.url, user_id=principal.id)

        gateway = Config(create_server=connect_to_it, listen=ListenConfig(port=0), auth=AuthConfig(authenticate=look_up))
        async with open_proxy(gateway) as proxy:
            assert (await initialize(proxy.url)).status_code == 401
            for key, name in users.items():
                async with connect(proxy.url, {"x-api-key": key}, mode="legacy") as client:
                    assert await call(client, "whoami") == name


class Oracle:
    """A server of one's own, without SDK and process: all that a transport has to be able to do."""

    is_congested = False
    failure = None

    def __init__(self) -> None:
        self._say, self._said = trio.open_memory_channel[bytes](math.inf)

    def send_nowait(self, message: bytes) -> None:
        asked = json.loads(message)
        if "id" in asked:
            answer = {"jsonrpc": "2.0", "id": asked["id"], **self.answer(asked["method"], asked.get("params", {}))}
            self._say.send_nowait(json.dumps(answer).encode())

    async def wait_writable(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive(self) -> list[bytes]:
        return [await self._said.receive()]

    def answer(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        match method:
            case "initialize":
                result: Any = {
                    "protocolVersion": params["protocolVersion"],
                    "capabilities": {"tools": {}},
                    "serverInfo": {"name": "oracle", "version": "1"},
                }
            case "tools/list":
                result = {"tools": [{"name": "ask", "inputSchema": {"type": "object"}}]}
            case "tools/call":
                result = {"content": [{"type": "text", "text": "42"}]}
            case _:
                return {"error": {"code": -32601, "message": f"{method}: there is no such method"}}
        return {"result": result}


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_transport_of_ones_own_is_served_to_clients_of_either_era(mode: str) -> None:
    def create_server(request: AuthRequest | None, principal: Principal | None) -> AbstractAsyncContextManager[Transport]:
        return nullcontext(Oracle())

    async with (
        open_proxy(Config(create_server=create_server, listen=ListenConfig(port=0))) as proxy,
        connect(proxy.url, mode=mode) as client,
    ):
        assert await call(client, "ask", question="What is the answer?") == "42"


async def test_create_server_may_wait_and_may_refuse() -> None:
    async def create_server(
        request: AuthRequest | None, principal: Principal | None
    ) -> AbstractAsyncContextManager[Transport]:
        await trio.lowlevel.checkpoint()  # to look somebody up, say
        raise HttpError(402, [(b"content-type", b"text/plain")], b"the trial is over")

    async with open_proxy(Config(create_server=create_server, listen=ListenConfig(port=0))) as proxy:
        answer = await initialize(proxy.url)
        assert (answer.status_code, answer.text) == (402, "the trial is over")
