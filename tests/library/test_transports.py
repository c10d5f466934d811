"""A server to talk to, one message at a time: whatever it is, it is opened by `async with`, and is a transport."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import trio
from mcp.server.mcpserver import MCPServer

from tests.auth.issuing import AUDIENCE, open_issuer
from tests.proxies import DEMO, python
from tests.stub_http import Reply
from trioproxy import (
    AuthConfig,
    ChildConfig,
    Config,
    ListenConfig,
    RemoteConfig,
    SignInConfig,
    Tapped,
    Transport,
    header_auth,
    open_child,
    open_in_process,
    open_proxy,
    open_remote,
    relay,
    tapped,
)

CLIENT = {"name": "example", "version": "1"}
INITIALIZE = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": CLIENT}


async def exchange(server: Transport, method: str, **params: Any) -> Any:
    """Send a request, and return the response."""
    server.send_nowait(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode())
    (response,) = await server.receive()
    assert isinstance(response, bytes)
    return json.loads(response)


async def ask(server: Transport, method: str, **params: Any) -> Any:
    """Send a request, and return its result."""
    return (await exchange(server, method, **params))["result"]


async def introduce(server: Transport) -> Any:
    """Shake hands, and return what the server is called."""
    result = await ask(server, "initialize", **INITIALIZE)
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


async def test_open_remote_is_a_client_of_a_server_at_a_url() -> None:
    auth = AuthConfig(authenticate=header_auth("alice"))
    async with open_proxy(Config(child=ChildConfig(DEMO), listen=ListenConfig(port=0), auth=auth)) as elsewhere:
        async with open_remote(elsewhere.url, user_id="alice") as server:
            assert await introduce(server) == "trioproxy-demo"
            assert elsewhere.sessions == 1
        # Its session there has ended with the block.
        assert elsewhere.sessions == 0


async def test_a_remote_that_wants_a_token_is_signed_in_to(tmp_path: Path) -> None:
    async with open_issuer() as issuer:
        issuer.documents["/.well-known/oauth-authorization-server"] = Reply(
            {
                "issuer": issuer.url,
                "jwks_uri": f"{issuer.url}/jwks",
                "authorization_endpoint": f"{issuer.url}/authorize",
                "token_endpoint": f"{issuer.url}/token",
                "response_types_supported": ["code"],
            }
        )
        issuer.documents["/token"] = Reply({"access_token": issuer.token(), "token_type": "Bearer", "expires_in": 300})
        auth = AuthConfig(oauth_issuer=issuer.url, oauth_audiences=(AUDIENCE,))
        async with open_proxy(Config(child=ChildConfig(DEMO), listen=ListenConfig(port=0), auth=auth)) as elsewhere:
            # With `browser=True`, in place of the secret, the user would be asked.
            sign_in = SignInConfig(client_id="us", client_secret="s3cret", token_file=tmp_path / "tokens.json")
            async with open_remote(RemoteConfig(elsewhere.url, sign_in=sign_in)) as server:
                assert await introduce(server) == "trioproxy-demo"


async def test_tapped_shows_what_passes() -> None:
    shown: list[str] = []

    def show(message: Tapped) -> None:
        assert isinstance(message.message, bytes)
        shown.append(f"{message.direction}: {json.loads(message.message).get('method', 'a response')}")

    async with open_child(DEMO) as child:
        server = tapped(child, show)
        await introduce(server)
    assert shown == [
        "client-to-server: initialize",
        "server-to-client: a response",
        "client-to-server: notifications/initialized",
    ]


class End:
    """One of the two ends of a line: what one sends is what the other receives.  A transport, written by hand."""

    failure = None

    def __init__(self, to_other: trio.MemorySendChannel[bytes], from_other: trio.MemoryReceiveChannel[bytes]) -> None:
        self.send_nowait = to_other.send_nowait
        self._from_other = from_other

    @property
    def is_congested(self) -> bool:
        """Never: what is not yet received is kept, however much it is."""
        return False

    async def wait_writable(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive(self) -> list[bytes]:
        return [await self._from_other.receive()]


def make_line() -> tuple[End, End]:
    to_right, from_left = trio.open_memory_channel[bytes](math.inf)
    to_left, from_right = trio.open_memory_channel[bytes](math.inf)
    return End(to_left, from_left), End(to_right, from_right)


async def test_relay_passes_everything_on_between_any_two_transports() -> None:
    ours, theirs = make_line()
    async with open_child(DEMO) as child, trio.open_nursery() as nursery:
        nursery.start_soon(relay, theirs, child)
        assert await introduce(ours) == "trioproxy-demo"
        nursery.cancel_scope.cancel()


async def test_relay_answers_for_a_server_that_has_ended() -> None:
    ours, theirs = make_line()
    async with open_child(python("import sys; input(); sys.exit('out of memory')")) as child:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(relay, theirs, child)
            response = await exchange(ours, "initialize", **INITIALIZE)
        assert "exited with status 1" in response["error"]["message"] == str(child.failure)
        assert response["error"]["data"]["stderr"] == ["out of memory"]
