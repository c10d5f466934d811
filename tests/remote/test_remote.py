"""A remote among real servers: ours, and that of the official SDK, in each era, over each transport."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests import modern, wire
from tests.proxies import DEMO, open_test_proxy
from trioproxy.config import ChildConfig, Config, ListenConfig
from trioproxy.protocol.legacy_to_modern import LegacyToModern
from trioproxy.remote import RemoteConfig, open_remote
from trioproxy.server import open_proxy
from trioproxy.translate import Translated

from .scripted import INITIALIZED, Client, notification, request, result

ASKABLE: dict[str, Any] = {"sampling": {}, "elicitation": {}, "roots": {}}
INITIALIZE = request(
    0,
    "initialize",
    protocolVersion="2025-11-25",
    capabilities=ASKABLE,
    clientInfo={"name": "test", "version": "1"},
)
PROJECT = Path(__file__).parents[2]


async def shake_hands(client: Client) -> Any:
    client.send(INITIALIZE)
    answer = await client.hear()
    assert answer["id"] == 0, answer
    client.send(INITIALIZED)
    return answer["result"]


def text_of(message: Any) -> str:
    """Return what a tool has answered."""
    text: str = message["result"]["content"][0]["text"]
    return text


async def answer_of(client: Client, request_id: Any) -> tuple[Any, list[Any]]:
    """Return the answer to a request, and what came before it."""
    before = []
    while (message := await client.hear()).get("id") != request_id or "method" in message:
        before.append(message)
    return message, before


@contextmanager
def run_sdk_server(port: int, kind: str) -> Iterator[str]:
    """Run the SDK's server in a process of its own; it need not listen yet."""
    command = [sys.executable, "-m", "tests.remote.sdk_http_server", str(port), kind]
    process = subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.kill()
        process.wait()


@asynccontextmanager
async def any_server(name: str, port: int) -> AsyncIterator[str]:
    """Run a server and yield its URL."""
    if name.startswith("sdk"):
        with run_sdk_server(port, name.removeprefix("sdk ")) as url:
            yield url
    else:
        async with open_test_proxy() as proxy:
            yield proxy.urls[0 if name == "mcp" else 1]


SERVERS = ["mcp", "sse", "sdk stateful"]


@pytest.mark.parametrize("server", SERVERS)
async def test_a_legacy_client_is_served(server: str, free_port: int) -> None:
    async with any_server(server, free_port) as url, open_remote(url) as remote:
        client = Client(remote)
        assert (await shake_hands(client))["protocolVersion"] == "2025-11-25"
        client.send(request(1, token="t", name="count", arguments={"to": 3}))
        answer, before = await answer_of(client, 1)
        progress = [message["params"]["progress"] for message in before]
        assert progress == [1, 2, 3]
        assert "3" in text_of(answer)
        # The server asks back, and gets its answer.
        asker = "sample" if server.startswith("sdk") else "ask_model"
        client.send(request(2, name=asker, arguments={"prompt": "?"}))
        question = await client.hear()
        assert question["method"] == "sampling/createMessage"
        said = {"role": "assistant", "model": "m", "content": {"type": "text", "text": "said"}}
        client.send(result(question["id"], said))
        assert "said" in text_of((await answer_of(client, 2))[0])


@pytest.mark.parametrize("server", ["mcp", "sse", "sdk stateful", "sdk stateless"])
async def test_a_modern_client_is_served(server: str, free_port: int) -> None:
    async with any_server(server, free_port) as url, open_remote(url) as remote:
        client = Client(remote)
        client.send(modern.request("server/discover", "d"))
        assert "2026-07-28" in (await client.hear())["result"]["supportedVersions"]
        client.send(modern.tool_call("count", 1, {"to": 3}, token="t"))
        answer, before = await answer_of(client, 1)
        assert [message["params"]["progress"] for message in before] == [1, 2, 3]
        assert "3" in text_of(answer)
        client.send(modern.listen("l", toolsListChanged=True))
        assert (await client.hear())["method"] == "notifications/subscriptions/acknowledged"
        grower = "reveal" if server.startswith("sdk") else "grow"
        client.send(modern.tool_call(grower, 2))
        messages = [await client.hear(), await client.hear()]
        assert {message.get("method") for message in messages} == {"notifications/tools/list_changed", None}


async def test_a_legacy_client_of_a_modern_remote_needs_nothing_but_a_translator() -> None:
    command = (sys.executable, "-m", "tests.matrix.server", "modern")
    async with open_test_proxy(command, child={"cwd": PROJECT}) as proxy, open_remote(proxy.urls[0]) as remote:
        translated = Translated(remote, LegacyToModern("remote", secrets.token_urlsafe))
        translated.send_nowait(b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18"}}')
        (answer,) = await translated.receive()
        assert isinstance(answer, bytes)
        assert b'"protocolVersion":"2025-06-18"' in answer


async def test_changed_lists_are_heard_of() -> None:
    async with open_test_proxy() as proxy, open_remote(proxy.urls[0]) as remote:
        client = Client(remote)
        await shake_hands(client)
        client.send(request(1, name="grow"))
        messages = [await client.hear() for _ in range(3)]
        kinds = {message.get("method") for message in messages}
        assert kinds == {"notifications/tools/list_changed", "notifications/resources/list_changed", None}


async def test_a_cancelled_call_is_cancelled_in_the_server() -> None:
    async with open_test_proxy() as proxy, open_remote(proxy.urls[0]) as remote:
        client = Client(remote)
        await shake_hands(client)
        client.send(request(1, token=1, name="count", arguments={"to": 100, "delay_ms": 1000}))
        await client.hear()
        client.send(notification("notifications/cancelled", requestId=1))
        client.send(request(2, name="echo", arguments={"text": "still here"}))
        answer, _ = await answer_of(client, 2)
        assert text_of(answer) == "still here"


async def test_a_proxy_that_is_started_again_is_found_again(free_port: int) -> None:
    config = Config(ChildConfig(DEMO), listen=ListenConfig(port=free_port))
    async with open_remote(f"http://127.0.0.1:{free_port}/mcp") as remote:
        client = Client(remote)
        async with open_proxy(config):
            await shake_hands(client)
            client.send(request(1, name="echo", arguments={"text": "one"}))
            assert text_of(await client.hear()) == "one"
        async with open_proxy(config):
            client.send(request(2, name="echo", arguments={"text": "two"}))
            answer, before = await answer_of(client, 2)
            assert text_of(answer) == "two"
            assert {message["method"] for message in before} <= {
                f"notifications/{kind}/list_changed" for kind in ("tools", "prompts", "resources")
            }
            client.send(request(3, name="echo", arguments={"text": "three"}))
            assert text_of((await answer_of(client, 3))[0]) == "three"


async def test_the_goodbye_ends_the_session_of_the_proxy() -> None:
    async with open_test_proxy() as proxy:
        async with open_remote(proxy.urls[0]) as remote:
            await shake_hands(Client(remote))
            assert await sessions_of(proxy.url) == 1
        assert await sessions_of(proxy.url) == 0


async def sessions_of(url: str) -> int:
    health = await wire.request(url.replace("/mcp", "/healthz"))
    (server,) = health.json["servers"].values()
    count: int = server["sessions"]
    return count


async def test_two_hundred_calls_at_once_are_all_answered() -> None:
    async with open_test_proxy() as proxy, open_remote(proxy.urls[0]) as remote:
        client = Client(remote)
        await shake_hands(client)
        client.send(*(request(number, name="echo", arguments={"text": str(number)}) for number in range(1, 301)))
        texts = {text_of(await client.hear()) for _ in range(300)}
        assert texts == {str(number) for number in range(1, 301)}


async def test_nothing_is_asked_before_something_is_said(free_port: int) -> None:
    async with open_remote(RemoteConfig(f"http://127.0.0.1:{free_port}/mcp")):
        await trio.testing.wait_all_tasks_blocked()
