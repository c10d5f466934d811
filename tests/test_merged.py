"""Several servers as one transport: what is sent where and when.  Servers are of memory, and the clock jumps."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trioproxy.child import open_child
from trioproxy.config import ChildConfig
from trioproxy.merged import Merged, open_merged
from trioproxy.protocol.errors import ChildExited
from trioproxy.protocol.legacy_to_modern import LegacyToModern
from trioproxy.protocol.lines import OversizedLine
from trioproxy.protocol.translation import Related
from trioproxy.translate import Translated
from trioproxy.transport import Transport

from .memory_transport import MemoryTransport
from .proxies import DEMO
from .puppet import notification, request, response

CAPABILITIES: Mapping[str, Any] = {"tools": {"listChanged": True}}


def initialize(request_id: int = 0) -> dict[str, Any]:
    info = {"name": "test", "version": "1"}
    return request("initialize", request_id, protocolVersion="2025-11-25", capabilities={}, clientInfo=info)


class Talk:
    """Two servers, and what is made of them."""

    def __init__(self, merged: Merged, a: MemoryTransport, b: MemoryTransport) -> None:
        self.merged, self.a, self.b = merged, a, b

    def send(self, message: dict[str, Any]) -> None:
        self.merged.send_nowait(json.dumps(message).encode())

    async def receive(self) -> list[Any]:
        received = await self.merged.receive()
        assert received
        return [json.loads(line) for line in received if isinstance(line, bytes)]

    async def shake_hands(self) -> None:
        self.send(initialize())
        for server in (self.a, self.b):
            server.say(introduction((await server.hear())["id"]))
        (answer,) = await self.receive()
        assert answer["result"]["serverInfo"]["name"] == "trioproxy"
        self.send(notification("notifications/initialized"))
        for server in (self.a, self.b):
            assert (await server.hear())["method"] == "notifications/initialized"


def introduction(request_id: Any) -> dict[str, Any]:
    info = {"name": "server", "version": "1"}
    return response(request_id, protocolVersion="2025-11-25", capabilities=dict(CAPABILITIES), serverInfo=info)


@asynccontextmanager
async def open_talk(*, handshake: bool = True) -> AsyncIterator[Talk]:
    a, b = MemoryTransport(), MemoryTransport()
    async with open_merged({"a": a, "b": b}) as merged:
        talk = Talk(merged, a, b)
        if handshake:
            await talk.shake_hands()
        yield talk


async def test_a_client_sees_one_server(autojump_clock: MockClock) -> None:
    async with open_talk() as talk:
        talk.send(request("tools/list", 1))
        talk.a.say(response((await talk.a.hear())["id"], tools=[{"name": "x"}]))
        talk.b.say(response((await talk.b.hear())["id"], tools=[{"name": "x"}]))
        assert await talk.receive() == [response(1, tools=[{"name": "a__x"}, {"name": "b__x"}])]
        talk.send(request("tools/call", 2, name="b__x"))
        assert await talk.b.hear() == request("tools/call", 2, name="x")
        talk.b.say(response(2, content=[]))
        assert await talk.receive() == [response(2, content=[])]
        assert talk.a.unheard == talk.b.unheard == 0


async def test_nobody_has_to_poll_for_what_time_brings(autojump_clock: MockClock) -> None:
    async with open_talk(handshake=False) as talk:
        talk.send(initialize())
        talk.b.say(introduction((await talk.b.hear())["id"]))
        (answer,) = await talk.receive()
        assert (answer["id"], trio.current_time()) == (0, 5)


async def test_what_is_answered_here_wakes_who_waits(autojump_clock: MockClock) -> None:
    async with open_talk() as talk, trio.open_nursery() as nursery:

        async def receive() -> None:
            assert await talk.receive() == [response(1)]

        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        talk.send(request("ping", 1))


async def test_to_cancel_who_waits_loses_nothing(autojump_clock: MockClock) -> None:
    async with open_talk() as talk:
        for number in range(5):
            with trio.move_on_after(1):
                await talk.receive()
            talk.a.say(notification("notifications/message", number=number))
            await wait_all_tasks_blocked()
            assert await talk.receive() == [notification("notifications/message", number=number)]


async def test_a_client_that_does_not_read_holds_the_servers_back(autojump_clock: MockClock) -> None:
    async with open_talk() as talk:
        for _ in range(3):
            talk.a.say(notification("notifications/message"))
            await wait_all_tasks_blocked()
        assert talk.a.unreceived == 2
        for _ in range(2):
            assert await talk.receive()
            await wait_all_tasks_blocked()
        assert talk.a.unreceived == 0


async def test_a_server_that_reads_nothing_holds_the_others_up_for_a_moment_only(autojump_clock: MockClock) -> None:
    async with open_talk() as talk:
        talk.send(request("tools/list", 1))
        for server in (talk.a, talk.b):
            server.say(response((await server.hear())["id"], tools=[{"name": "slow" if server is talk.a else "quick"}]))
        await talk.receive()
        for number in range(2, 6):
            talk.send(request("tools/call", number, name="slow", arguments={"x": "x" * 300_000}))
        assert talk.merged.is_congested
        began = trio.current_time()
        await talk.merged.wait_writable()
        assert trio.current_time() - began == 5
        assert not talk.merged.is_congested
        talk.send(request("tools/call", 6, name="slow"))
        (answer,) = await talk.receive()
        assert (answer["id"], answer["error"]["message"]) == (6, "a reads nothing")
        talk.send(request("tools/call", 7, name="quick"))
        assert (await talk.b.hear())["id"] == 7
        # Once it has read, it is as good as any.
        while talk.a.unheard:
            await talk.a.hear_line()
        talk.send(request("tools/call", 8, name="slow"))
        assert (await talk.a.hear())["id"] == 8


async def test_a_server_that_ends_is_missing_and_nothing_else(autojump_clock: MockClock) -> None:
    async with open_talk() as talk:
        talk.a.end(ChildExited("the server exited with status 1"))
        assert await talk.receive() == [notification_without_params("notifications/tools/list_changed")]
        talk.send(request("tools/list", 1))
        talk.b.say(response((await talk.b.hear())["id"], tools=[]))
        assert await talk.receive() == [response(1, tools=[])]
        assert talk.merged.failure is None


def notification_without_params(method: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method}


async def test_when_all_have_ended_so_has_what_is_made_of_them(autojump_clock: MockClock) -> None:
    async with open_talk() as talk:
        talk.send(request("tools/call", 1, name="x"))
        for server in (talk.a, talk.b):
            server.end(ChildExited("gone"))
        (first, *_) = await talk.receive()
        assert first["method"] == "notifications/tools/list_changed" or first["id"] == 1
        while talk.merged.failure is None:
            await talk.receive()
        with pytest.raises(ChildExited, match="every server has ended"):
            await talk.receive()
        with pytest.raises(ChildExited):
            await talk.merged.wait_writable()


async def test_garbage_is_skipped_and_an_answer_over_the_limit_fails_its_call(autojump_clock: MockClock) -> None:
    async with open_talk() as talk:
        talk.send(request("tools/list", 1))
        talk.a.say(response((await talk.a.hear())["id"], tools=[{"name": "x"}]))
        talk.b.say(response((await talk.b.hear())["id"], tools=[]))
        await talk.receive()
        talk.send(request("tools/call", 2, name="x"))
        talk.a.say(b"garbage", b"{}", OversizedLine(b"{", b"}", 10**9))
        talk.a.say(OversizedLine(b'{"jsonrpc":"2.0","id":2,"result":{', b"}}", 10**9))
        (answer,) = await talk.receive()
        assert (answer["id"], answer["error"]["code"]) == (2, -32603)


async def test_a_question_keeps_the_call_that_it_belongs_to(autojump_clock: MockClock) -> None:
    async with open_talk() as talk:
        talk.send(request("tools/list", 1))
        talk.a.say(response((await talk.a.hear())["id"], tools=[{"name": "x"}]))
        talk.b.say(response((await talk.b.hear())["id"], tools=[]))
        await talk.receive()
        talk.send(request("tools/call", 2, name="x"))
        talk.a.say(Related(json.dumps(request("elicitation/create", "q", message="?")).encode(), 2))
        (question,) = await talk.merged.receive()
        assert isinstance(question, Related)
        assert question.request_id == 2


async def test_real_servers_of_both_eras_are_made_one() -> None:
    """The demo twice; the second is spoken to in the modern era."""
    async with AsyncExitStack() as stack:
        children = [
            await stack.enter_async_context(open_child(ChildConfig(DEMO), on_stderr=print, stop_rung=0.5)) for _ in range(2)
        ]
        servers: dict[str, Transport] = {
            "old": children[0],
            "new": Translated(children[1], LegacyToModern("new", lambda: "id")),
        }
        merged = await stack.enter_async_context(open_merged(servers))

        async def ask(message: dict[str, Any]) -> Any:
            merged.send_nowait(json.dumps(message).encode())
            while True:
                for line in await merged.receive():
                    assert isinstance(line, bytes)
                    answer = json.loads(line)
                    if answer.get("id") == message["id"]:
                        return answer

        assert (await ask(initialize()))["result"]["protocolVersion"] == "2025-11-25"
        merged.send_nowait(json.dumps(notification("notifications/initialized")).encode())
        names = [tool["name"] for tool in (await ask(request("tools/list", 1)))["result"]["tools"]]
        assert {"old__add", "new__add"} <= set(names)
        assert len(names) == len(set(names))
        for number, name in enumerate(("old__add", "new__add"), 2):
            answer = await ask(request("tools/call", number, name=name, arguments={"a": number, "b": 1}))
            assert answer["result"]["structuredContent"] == {"sum": number + 1}
        assert (await ask(request("resources/read", 4, uri="demo://square/7")))["result"]["contents"]
