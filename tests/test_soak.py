"""Whether memory is flat, however many calls and sessions there have been.

A tenth of it all warms the proxy up, another tenth shows whether anything grows; with TRIOPROXY_SOAK=1 the other nine do,
and it all is 20,000 calls and 2,000 sessions, in half a minute, and without sessions 10,000 requests, each of which has a
child of its own.  The server is a loop of the shell, since to start two thousand Pythons takes several.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any
from urllib.parse import urljoin

import trio

from tests import modern, wire
from tests.proxies import ProxyProcess, run_proxy
from tests.puppet import notification, request
from tests.wire import Connection

IS_WHOLE = os.environ.get("TRIOPROXY_SOAK") == "1"
CALLS, SESSIONS = 2_000, 200
ALONE = 1_000 if IS_WHOLE else 100
"""A tenth of it all."""
ROUNDS = 9 if IS_WHOLE else 1
TOLERANCE = 4.0
"""MB by which memory may differ."""

SHELL = (
    "/bin/sh",
    "-c",
    r"""
while IFS= read -r line; do
    case $line in *'"id":'*) ;; *) continue ;; esac
    id=${line#*'"id":'} id=${id%%[,\}]*}
    case $line in
        *'"initialize"'*)
            result='{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"sh","version":"1"}}' ;;
        *'"tools/call"'*)
            printf '{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"well"}}\n'
            result='{"content":[]}' ;;
        *)
            printf '{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"no"}}\n' "$id"
            continue ;;
    esac
    printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$result"
done
""",
)


def hello() -> dict[str, Any]:
    return request("initialize", 0, protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "x", "version": "1"})


async def call_often(client: wire.Client | None, url: str, count: int) -> None:
    """Call a tool so often, one call after the other, in a session, or without one as in 2026-07-28."""
    async with wire.connect(url) as connection:
        for number in range(count):
            message = modern.tool_call("x", number) if client is None else wire.tool_call("x", number)
            headers = modern.headers(message) if client is None else client.headers
            answer = await connection.request("POST", "/mcp", headers, json.dumps(message).encode())
            assert answer.messages[-1]["id"] == number
            assert "result" in answer.messages[-1]


async def open_and_delete(url: str, connection: Connection) -> None:
    """Be a client of Streamable HTTP, from beginning to end."""
    answer = await connection.request("POST", "/mcp", wire.JSON_HEADERS, json.dumps(hello()).encode())
    client = wire.Client(url, "2025-11-25")
    client.session_id = answer.headers["mcp-session-id"]
    for message in (notification("notifications/initialized"), wire.tool_call("x", 1)):
        answer = await connection.request("POST", "/mcp", client.headers, json.dumps(message).encode())
    assert answer.messages[-1]["id"] == 1
    assert (await connection.request("DELETE", "/mcp", client.headers)).status == 204


async def open_and_leave(url: str, connection: Connection) -> None:
    """Be a client of HTTP with SSE, from beginning to end."""
    async with wire.open_stream(urljoin(url, "/sse")) as stream:
        event = await stream.next_event()
        assert event is not None
        assert event.data is not None
        for message in (hello(), wire.tool_call("x", 1)):
            body = json.dumps(message).encode()
            posted = await connection.request("POST", event.data, {"content-type": "application/json"}, body)
            assert posted.status == 202
            while (await stream.next_message()).get("id") != message["id"]:
                pass


async def one_tenth(url: str, clients: list[wire.Client]) -> None:
    """Make a tenth of the calls, and open and end a tenth of the sessions, several at once."""
    kinds = iter([open_and_delete, open_and_delete, open_and_delete, open_and_leave] * (SESSIONS // 4))

    async def come_and_go() -> None:
        async with wire.connect(url) as connection:
            for kind in kinds:
                await kind(url, connection)

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(come_and_go)
    async with trio.open_nursery() as nursery:
        for client in (*clients, None):
            nursery.start_soon(call_often, client, url, CALLS // (len(clients) + 1))


def settled(proxy: ProxyProcess, children: int) -> tuple[float, int]:
    """Return how much memory and how many descriptors a proxy holds once the children of ended sessions are gone.

    New spares may still be on their way: the number of descriptors has to be the same for a while.
    """
    since = time.monotonic()
    deadline, descriptors = since + 20, proxy.descriptors
    while len(proxy.children()) > children or time.monotonic() < since + 0.5:
        assert time.monotonic() < deadline, f"{len(proxy.children())} children, and not {children}"
        time.sleep(0.02)
        if proxy.descriptors != descriptors:
            since, descriptors = time.monotonic(), proxy.descriptors
    return proxy.resident, descriptors


async def ask_alone(url: str, count: int) -> None:
    """Make so many requests without a handshake, several at once, every other one as in 2026-07-28, some without a key."""
    numbers = iter(range(count))

    async def ask() -> None:
        async with wire.connect(url) as connection:
            for number in numbers:
                is_modern = number % 2 == 0
                message = modern.tool_call("x", number) if is_modern else wire.tool_call("x", number)
                headers = (
                    modern.headers(message) if is_modern else {**wire.JSON_HEADERS, "mcp-protocol-version": "2025-11-25"}
                )
                body = json.dumps(message).encode()
                if number % 10 == 9:
                    assert (await wire.request(url, "POST", headers, body)).status == 401
                    continue
                headers["x-api-key"] = f"key{number % 3}"
                answer = await connection.request("POST", "/mcp", headers, body)
                assert "mcp-session-id" not in answer.headers
                assert answer.messages[-1]["id"] == number
                assert "result" in answer.messages[-1]

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(ask)


async def open_sessions(url: str) -> list[wire.Client]:
    return [await wire.initialize(url) for _ in range(3)]


def test_memory_is_flat_however_many_calls_and_sessions_there_have_been() -> None:
    # The events that a session keeps are memory, too, and shall be as many in the first tenth as ever.
    with run_proxy("--event-store-max-events", "100", "--spares", "4", *SHELL) as proxy:
        url = proxy.urls[0]
        clients = trio.run(open_sessions, url)
        trio.run(one_tenth, url, clients)
        children = 4 + len(clients) + 1
        before, descriptors = settled(proxy, children)
        for _ in range(ROUNDS):
            trio.run(one_tenth, url, clients)
        after, descriptors_after = settled(proxy, children)
        told = (
            f"{before:.1f} MB after {CALLS} calls and {SESSIONS} sessions, "
            f"{after:.1f} MB after {CALLS * (ROUNDS + 1)} and {SESSIONS * (ROUNDS + 1)}"
        )
        print(told)
        assert after - before < TOLERANCE, told
        assert descriptors_after <= descriptors + 2
        proxy.process.terminate()
        assert proxy.wait() == 0
    assert [line for line in proxy.said if "Traceback" in line or " ERROR " in line] == []


def test_without_sessions_nothing_is_left_however_many_requests_there_have_been() -> None:
    keys = [word for number in range(3) for word in ("--api-key", f"key{number}")]
    with run_proxy("--stateless", "--spares", "4", *keys, *SHELL) as proxy:
        url = proxy.urls[0]
        trio.run(ask_alone, url, ALONE)
        before, descriptors = settled(proxy, 4)
        for _ in range(ROUNDS):
            trio.run(ask_alone, url, ALONE)
        after, descriptors_after = settled(proxy, 4)
        told = (
            f"{before:.1f} MB after {ALONE} requests, {after:.1f} MB after {ALONE * (ROUNDS + 1)}; "
            f"descriptors {descriptors} and {descriptors_after}, children {len(proxy.children())}"
        )
        print(told)
        assert after - before < TOLERANCE, told
        assert descriptors_after <= descriptors + 2, told
        proxy.process.terminate()
        assert proxy.wait() == 0
    assert [line for line in proxy.said if "Traceback" in line or " ERROR " in line] == []
