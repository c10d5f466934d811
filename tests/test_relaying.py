"""Everything both ways between two transports: both are of memory, and the test speaks for client and server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trioproxy.child import open_child
from trioproxy.config import ChildConfig
from trioproxy.protocol.errors import ChildExited
from trioproxy.protocol.host_era import HostEra
from trioproxy.protocol.lines import OversizedLine
from trioproxy.protocol.translation import Related
from trioproxy.relaying import relay
from trioproxy.translate import Translated

from .memory_transport import MemoryTransport
from .proxies import DEMO
from .puppet import log, notification, request, response


class Talk:
    """A client and a server, and the relay between them.

    Attributes:
      has_ended: the relay has returned.
    """

    def __init__(self) -> None:
        self.client = MemoryTransport()
        self.server = MemoryTransport()
        self.has_ended = trio.Event()

    async def run(self, drain_time: float) -> None:
        await relay(self.client, self.server, drain_time=drain_time)
        self.has_ended.set()

    async def shake_hands(self, revision: str = "2025-11-25") -> None:
        self.client.say(request("initialize", 0, protocolVersion=revision))
        assert (await self.server.hear())["method"] == "initialize"
        self.server.say(response(0, protocolVersion=revision))
        assert await self.client.hear() == response(0, protocolVersion=revision)


@asynccontextmanager
async def open_talk(drain_time: float = 0.0) -> AsyncIterator[Talk]:
    talk = Talk()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(talk.run, drain_time)
        yield talk
        nursery.cancel_scope.cancel()


def error(message: Any) -> tuple[Any, int]:
    return message["id"], message["error"]["code"]


async def test_messages_pass_both_ways_as_they_are(autojump_clock: MockClock) -> None:
    async with open_talk() as talk:
        line = b'{"jsonrpc": "2.0" ,"id":1,"method":"x","params":{"n":1E400}}'
        talk.client.say(line)
        assert await talk.server.hear_line() == line
        answer = b'{"id":1,"result":{"s":"\\ud800"},"jsonrpc":"2.0"}'
        talk.server.say(answer)
        assert await talk.client.hear_line() == answer
        talk.server.say(request("roots/list", 1))
        assert await talk.client.hear() == request("roots/list", 1)
        talk.client.say(response(1, roots=[]))
        assert await talk.server.hear() == response(1, roots=[])
        talk.server.say(Related(json.dumps(log("hello")).encode(), 1))
        assert await talk.client.hear() == log("hello")


async def test_what_is_no_message_is_answered_and_goes_no_further(autojump_clock: MockClock) -> None:
    async with open_talk() as talk:
        for garbage, code in (
            (b"Hello", -32700),
            (b'{"a":1}', -32600),
            (b"[]", -32600),
            (b"7", -32600),
            (b'"\xff"', -32700),
        ):
            talk.client.say(garbage)
            assert error(await talk.client.hear()) == (None, code)
        talk.client.say(OversizedLine(b"{", b"}", 10**9))
        assert error(await talk.client.hear()) == (None, -32603)
        talk.client.say(request("ping", 1))
        assert await talk.server.hear() == request("ping", 1)


async def test_garbage_of_the_server_does_not_reach_the_client(autojump_clock: MockClock) -> None:
    """ "The server MUST NOT write anything to its stdout that is not a valid MCP message."."""
    async with open_talk() as talk:
        talk.server.say(b"Server ready!", b'{"jsonrpc":"2.0"}', log("hello"))
        assert await talk.client.hear() == log("hello")
        assert talk.client.unheard == 0


async def test_a_batch_is_cut_into_its_messages_in_the_revision_that_has_batches(autojump_clock: MockClock) -> None:
    """2025-03-26, Basic §Batching: implementations "MUST support receiving JSON-RPC batches"."""
    async with open_talk() as talk:
        await talk.shake_hands("2025-03-26")
        messages = [request("a", 1), notification("n"), request("b", 2)]
        talk.client.say(json.dumps(messages).encode())
        assert [await talk.server.hear() for _ in messages] == messages
        talk.server.say(response(2))
        assert await talk.client.hear() == response(2)


async def test_before_the_handshake_there_are_none(autojump_clock: MockClock) -> None:
    """2025-03-26, Lifecycle §Initialization: `initialize` "MUST NOT be part of a JSON-RPC batch"."""
    async with open_talk() as talk:
        talk.client.say(json.dumps([request("initialize", 1, protocolVersion="2025-03-26")]).encode())
        assert error(await talk.client.hear()) == (None, -32600)


@pytest.mark.parametrize("revision", ["2024-11-05", "2025-06-18", "2025-11-25"])
async def test_any_other_revision_has_none(revision: str, autojump_clock: MockClock) -> None:
    async with open_talk() as talk:
        await talk.shake_hands(revision)
        talk.client.say(json.dumps([request("a", 1)]).encode())
        assert error(await talk.client.hear()) == (None, -32600)
        assert talk.server.unheard == 0


async def test_a_response_that_nobody_waits_for_is_dropped(autojump_clock: MockClock) -> None:
    async with open_talk() as talk:
        talk.client.say(request("slow", 1))
        talk.client.say(notification("notifications/cancelled", requestId=1))
        await talk.server.hear()
        assert (await talk.server.hear())["method"] == "notifications/cancelled"
        talk.server.say(response(1), response("other"), log("next"))
        assert await talk.client.hear() == log("next")


async def test_a_request_with_the_id_of_one_in_flight_is_refused(autojump_clock: MockClock) -> None:
    async with open_talk() as talk:
        talk.client.say(request("slow", 1), request("other", 1))
        assert error(await talk.client.hear()) == (1, -32600)
        assert await talk.server.hear() == request("slow", 1)
        assert talk.server.unheard == 0


async def test_an_answer_over_the_limit_fails_its_request(autojump_clock: MockClock) -> None:
    async with open_talk() as talk:
        talk.client.say(request("big", 1))
        await talk.server.hear()
        talk.server.say(OversizedLine(b'{"jsonrpc":"2.0","id":1,"result":{', b"}}", 10**9))
        assert error(await talk.client.hear()) == (1, -32603)


async def test_when_the_server_has_ended_all_that_waits_for_it_is_answered(autojump_clock: MockClock) -> None:
    async with open_talk() as talk:
        talk.client.say(request("a", "one"), request("b", "two"))
        await wait_all_tasks_blocked()
        talk.server.say(response("two"))
        talk.server.end(ChildExited("the server was killed by SIGKILL"))
        assert await talk.client.hear() == response("two")
        assert error(await talk.client.hear()) == ("one", -32603)
        await talk.has_ended.wait()
        assert talk.client.failure is None


async def test_when_the_client_has_ended_so_has_the_relay(autojump_clock: MockClock) -> None:
    async with open_talk() as talk:
        talk.client.say(request("a", 1))
        talk.client.end(ChildExited("the host has closed our stdin"))
        await talk.has_ended.wait()
        assert trio.current_time() == 0
        assert await talk.server.hear() == request("a", 1)


async def test_a_client_that_has_ended_may_be_given_what_it_still_waits_for(autojump_clock: MockClock) -> None:
    async with open_talk(drain_time=2) as talk:
        # A memory transport that has ended takes nothing any more; what counts here is when the relay ends.
        talk.client.say(request("a", 1), request("b", 2))
        talk.client.end(ChildExited("the host has closed our stdin"))
        await trio.sleep(1)
        talk.server.say(response(1))
        await wait_all_tasks_blocked()
        assert not talk.has_ended.is_set()
        talk.server.say(response(2))
        await talk.has_ended.wait()
        assert trio.current_time() == 1


async def test_a_subscription_is_nothing_that_a_client_which_has_ended_waits_for(autojump_clock: MockClock) -> None:
    async with open_talk(drain_time=2) as talk:
        talk.client.say(request("subscriptions/listen", 1))
        talk.client.end(ChildExited("the host has closed our stdin"))
        await talk.has_ended.wait()
        assert trio.current_time() == 0


async def test_a_client_that_has_ended_is_not_waited_for_long(autojump_clock: MockClock) -> None:
    async with open_talk(drain_time=2) as talk:
        talk.client.say(request("a", 1))
        talk.client.end(ChildExited("the host has closed our stdin"))
        await talk.has_ended.wait()
        assert trio.current_time() == 2


async def test_each_side_is_held_back_while_the_other_does_not_read(autojump_clock: MockClock) -> None:
    filling = "x" * 400_000
    async with open_talk() as talk:
        for number in range(6):
            talk.client.say(request("a", number, x=filling))
            await wait_all_tasks_blocked()
        assert talk.server.unheard == 3
        assert talk.client.unreceived == 3
        for number in range(6):
            assert (await talk.server.hear())["id"] == number
        for _ in range(6):
            talk.server.say(notification("n", x=filling))
            await wait_all_tasks_blocked()
        assert talk.client.unheard == 3
        assert talk.server.unreceived == 3


async def test_a_server_that_ends_while_its_client_is_held_back_is_noticed(autojump_clock: MockClock) -> None:
    async with open_talk() as talk:
        for number in range(4):
            talk.client.say(request("a", number, x="x" * 400_000))
            await wait_all_tasks_blocked()
        talk.server.end(ChildExited("gone"))
        await talk.has_ended.wait()
        assert sorted([error(await talk.client.hear())[0] for _ in range(3)]) == [0, 1, 2]


async def test_a_request_that_a_translator_refuses_is_answered(autojump_clock: MockClock) -> None:
    """Nested as deeply as can just be read, and not changed."""
    client, server = MemoryTransport(), MemoryTransport()
    era = HostEra("modern", "server", lambda: "id")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(relay, client, Translated(server, era))
        client.say(request("initialize", 0, protocolVersion="2025-11-25"))
        discover = await server.hear()
        server.say(response(discover["id"], supportedVersions=["2026-07-28"], capabilities={}))
        await client.hear()
        for depth in range(800, 1100):
            client.say(b'{"jsonrpc":"2.0","id":%d,"method":"x","params":{"x":%b}}' % (depth, b"[" * depth + b"]" * depth))
        await wait_all_tasks_blocked()
        assert client.unheard + server.unheard == 300
        nursery.cancel_scope.cancel()


async def test_a_client_is_served_by_a_real_process() -> None:
    client = MemoryTransport()
    async with open_child(ChildConfig(DEMO), on_stderr=print) as child, trio.open_nursery() as nursery:
        nursery.start_soon(relay, client, child)
        client.say(request("ping", 1))
        assert await client.hear() == response(1)
        child.kill()
        client.say(request("tools/list", 2))
        assert error(await client.hear()) == (2, -32603)
