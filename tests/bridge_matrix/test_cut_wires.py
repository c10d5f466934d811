"""Connections are cut, refused, or slow, between a bridge and its remote: nothing is lost, and nothing comes twice."""

from __future__ import annotations

import sys
from urllib.parse import urlsplit

import pytest
import trio

from tests.matrix.cells import Cell
from tests.matrix.client import Outcome
from tests.matrix.feature import text
from tests.proxies import open_test_proxy
from tests.real.sdk_ways import sdk_warnings
from tests.serving import wait_until

from .hosts import Host, open_host
from .remotes import Remotes
from .stories import path
from .wire import open_wire

pytestmark = sdk_warnings

COUNTED = 3
LOGGED = 2
CUTS = [(2, 0), (2, 7), (3, -1)]
"""After how many events, and how many bytes; the first of each connection brings nothing but a place to resume from."""


async def count_and_log(host: Host) -> None:
    """Have a stream for one call, and what belongs to none of two calls on the standalone one."""
    counted: list[Outcome] = []

    async def count() -> None:
        counted.append(await host.call("count", {"to": COUNTED, "delay_ms": 100}, token="t"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        await wait_until(lambda: bool(host.unheard))
        for number in range(LOGGED):
            assert (await host.call("log", {"text": f"line {number}"})).result["content"]
    assert counted[0].result == text(f"Counted to {COUNTED}.")
    await wait_until(lambda: len(host.unheard) >= COUNTED + LOGGED)
    # What comes twice comes at once.
    await host.request("ping")
    heard: dict[str, list[object]] = {"notifications/progress": [], "notifications/message": []}
    for notification in host.unheard:
        heard[notification["method"]].append(notification["params"].get("progress") or notification["params"]["data"])
    assert heard["notifications/progress"] == list(range(1, COUNTED + 1))
    assert heard["notifications/message"] == [f"line {number}" for number in range(LOGGED)]


async def test_every_connection_is_cut_at_an_event() -> None:
    """After it, in the middle of the next, and just before its end; each carries one message."""

    async def cut(events: int, beyond: int) -> None:
        async with open_wire(urlsplit(proxy.url).port or 0) as wire:
            url = f"http://127.0.0.1:{wire.port}/mcp"
            async with open_host(Cell("legacy", "stream", "legacy"), sys.stderr, "--protocol", "legacy", url) as host:
                await host.set_level("info")
                wire.events, wire.beyond = events, beyond
                await count_and_log(host)
                assert wire.cuts >= COUNTED + LOGGED - 1
                wire.events = None

    async with open_test_proxy() as proxy, trio.open_nursery() as nursery:
        for events, beyond in CUTS:
            nursery.start_soon(cut, events, beyond)


@pytest.mark.parametrize("transport", ["stream", "json", "sse"])
async def test_a_modern_host_hears_the_logs_it_asks_for_however_slow_it_is_to_set_the_level(
    transport: str, remotes: Remotes
) -> None:
    """The level that is set on a legacy server for the sake of a call is set before that call is made."""
    cell = Cell("modern", transport, "legacy")  # type: ignore[arg-type]
    remote = await remotes.start_async()
    async with (
        open_wire(remote.port) as wire,
        open_host(cell, sys.stderr, f"http://127.0.0.1:{wire.port}{path(cell)}") as host,
    ):
        await host.call("listening", {})
        wire.slow = b'"logging/setLevel"'
        await host.set_level("info")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(host.call, "log", {"messages": [["info", "heard"]], "until": "heard"})
            assert (await host.hear("notifications/message"))["data"] == "heard"
            await host.call("mark", {"mark": "heard"})


@pytest.mark.parametrize("transport", ["stream", "sse"])
async def test_a_call_that_could_not_even_be_sent_waits_until_it_can(transport: str, remotes: Remotes) -> None:
    """As while a front is started again, which lets its connections be."""
    cell = Cell("legacy", transport, "legacy")  # type: ignore[arg-type]
    remote = await remotes.start_async()
    async with (
        open_wire(remote.port) as wire,
        open_host(cell, sys.stderr, f"http://127.0.0.1:{wire.port}{path(cell)}") as host,
    ):
        await host.call("listening", {})
        await wire.refuse()
        outcomes: list[Outcome] = []

        async def call() -> None:
            outcomes.append(await host.call("echo", {"text": "patience"}))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            # Long enough for the call to find nobody there.
            await trio.sleep(0.5)
            assert outcomes == []
            await wire.listen()
        assert outcomes[0].result["structuredContent"] == {"text": "patience"}
