"""What every transport keeps to: the real child, and the memory transport that stands in for it in other tests.

Behind each is the same obedient server.  It answers every message with itself, except for three:

    {"sleep": S}      it reads nothing for S seconds
    {"say": [...]}    it says those lines
    {"end": [...]}    it says those lines, and ends
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import trio

from trioproxy.child import open_child
from trioproxy.config import ChildConfig
from trioproxy.protocol.errors import ChildError, ChildExited
from trioproxy.transport import Received, Transport

from .memory_transport import MemoryTransport
from .proxies import python

OBEDIENT = """
import json, sys, time
for line in sys.stdin:
    order = json.loads(line)
    if "sleep" in order:
        time.sleep(order["sleep"])
    elif "say" in order or "end" in order:
        for said in order.get("say", order.get("end")):
            print(said)
        if "end" in order:
            sys.exit(0)
    else:
        print(line, end="")
"""


@asynccontextmanager
async def open_obedient_child() -> AsyncIterator[Transport]:
    """Run the server in a process."""
    async with open_child(ChildConfig(python(OBEDIENT)), on_stderr=print, stop_rung=0.5) as child:
        yield child


@asynccontextmanager
async def open_obedient_memory() -> AsyncIterator[Transport]:
    """Run the server in a task."""
    transport = MemoryTransport()

    async def obey() -> None:
        while True:
            line = await transport.hear_line()
            order = json.loads(line)
            if "sleep" in order:
                await trio.sleep(order["sleep"])
            elif "say" in order:
                transport.say(*(said.encode() for said in order["say"]))
            elif "end" in order:
                transport.say(*(said.encode() for said in order["end"]))
                transport.end(ChildExited("the server exited with status 0"))
                return
            else:
                transport.say(line)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(obey)
        yield transport
        nursery.cancel_scope.cancel()


Opened = Callable[[], AbstractAsyncContextManager[Transport]]
every_transport = pytest.mark.parametrize("opened", [open_obedient_child, open_obedient_memory], ids=["child", "memory"])


def order(**what: Any) -> bytes:
    return json.dumps(what).encode()


async def receive(transport: Transport, count: int) -> list[Received]:
    lines: list[Received] = []
    while len(lines) < count:
        came = await transport.receive()
        assert came, "at least one line"
        lines += came
    return lines


@every_transport
async def test_messages_arrive_whole_and_in_order(opened: Opened) -> None:
    messages = [order(number=n, filling="x" * (n * n)) for n in range(300)]
    async with opened() as transport:
        for message in messages:
            transport.send_nowait(message)
        assert await receive(transport, 300) == messages
        assert transport.failure is None


@every_transport
async def test_a_receive_that_is_cancelled_loses_nothing(opened: Opened) -> None:
    async with opened() as transport:
        for n in range(30):
            transport.send_nowait(order(number=n))
            lines: Sequence[Received] = []
            while not lines:
                with trio.move_on_after(0.0005):
                    lines = await transport.receive()
            assert lines == [order(number=n)]


@every_transport
async def test_senders_wait_while_the_server_is_behind(opened: Opened) -> None:
    async with opened() as transport:
        await transport.wait_writable()
        transport.send_nowait(order(sleep=0.3))
        for n in range(4):
            assert not transport.is_congested
            transport.send_nowait(order(number=n, filling="x" * (300_000 if n < 3 else 500_000)))
        assert transport.is_congested
        with trio.move_on_after(0.05) as impatient:
            await transport.wait_writable()
        assert impatient.cancelled_caught
        async with trio.open_nursery() as nursery:
            nursery.start_soon(transport.wait_writable)
            assert len(await receive(transport, 4)) == 4
        assert not transport.is_congested


@every_transport
async def test_the_last_words_of_a_server_are_received_before_its_end(opened: Opened) -> None:
    async with opened() as transport:
        transport.send_nowait(order(say=["1", "2"]))
        transport.send_nowait(order(end=["3", "4"]))
        assert await receive(transport, 4) == [b"1", b"2", b"3", b"4"]
        for _ in range(2):
            with pytest.raises(ChildError, match="exited with status 0") as raised:
                await transport.receive()
            assert raised.value is transport.failure


@every_transport
async def test_who_sends_to_a_server_that_has_ended_is_told_by_waiting(opened: Opened) -> None:
    async with opened() as transport:
        transport.send_nowait(order(end=[]))
        with pytest.raises(ChildError):
            await transport.receive()
        for _ in range(3):
            transport.send_nowait(order(filling="x" * 1_000_000))
        assert not transport.is_congested
        with pytest.raises(ChildError, match="exited with status 0"):
            await transport.wait_writable()


@every_transport
async def test_who_waits_for_a_server_that_ends_is_told(opened: Opened) -> None:
    async with opened() as transport:
        transport.send_nowait(order(sleep=0.2))
        transport.send_nowait(order(end=[]))
        transport.send_nowait(order(filling="x" * 2_000_000))
        assert transport.is_congested
        with pytest.raises(ChildError, match="exited with status 0"):
            await transport.wait_writable()
