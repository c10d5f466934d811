"""A server of one era behind a translator: what is sent when, and that nobody has to poll.

The server is a memory transport, and the clock jumps.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trioproxy.config import ChildConfig, Config
from trioproxy.multiplex import Multiplex
from trioproxy.protocol.errors import ChildExited
from trioproxy.protocol.legacy_to_modern import LegacyToModern
from trioproxy.protocol.lines import OversizedLine
from trioproxy.protocol.messages import parse_line
from trioproxy.protocol.meta_keys import SUBSCRIPTION_ID
from trioproxy.protocol.modern_to_legacy import ModernToLegacy
from trioproxy.protocol.translation import Related
from trioproxy.session import Session
from trioproxy.translate import Translated
from trioproxy.transport import Received

from .memory_transport import MemoryTransport
from .modern import ASKABLE, answer_all, listen, request, tool_call
from .puppet import log, notification, progress, response
from .puppet import request as legacy_request
from .test_multiplex import Talk, acknowledged, read, read_raw, stamped

SERVER_INFO = {"name": "old", "version": "1"}
CAPABILITIES = {"tools": {"listChanged": True}, "resources": {"subscribe": True}, "logging": {}}
INTRODUCTION = {"protocolVersion": "2025-11-25", "capabilities": CAPABILITIES, "serverInfo": SERVER_INFO}


def count_states() -> Any:
    numbers = itertools.count(1)
    return lambda: f"state {next(numbers)}"


@asynccontextmanager
async def open_legacy_server(*, handshake: bool = True, **times: float) -> AsyncIterator[Talk]:
    """Run a multiplex over a legacy server; `times` are those of the translator."""
    server = MemoryTransport()
    multiplex = Multiplex(Translated(server, ModernToLegacy(count_states(), **times)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(multiplex.run)
        talk = Talk(multiplex, server, Config(ChildConfig(("server",))))
        if handshake:
            with talk.call(request("server/discover")) as call:
                await talk.say(response((await server.hear())["id"], **INTRODUCTION))
                assert (await server.hear())["method"] == "notifications/initialized"
                assert (await read(call))[0]["result"]["supportedVersions"] == ["2026-07-28"]
        yield talk
        multiplex.close(ChildExited("the test is over"))


def complete(request_id: int | str, **result: Any) -> dict[str, Any]:
    """Return a result of a legacy server as a modern client gets it."""
    meta = {"io.modelcontextprotocol/serverInfo": SERVER_INFO}
    return response(request_id, **result, resultType="complete", _meta=meta)


# A modern client before a legacy server


async def test_a_modern_client_is_served_by_a_legacy_server(autojump_clock: MockClock) -> None:
    async with open_legacy_server(handshake=False) as talk:
        with talk.call(tool_call("add", "mine", {"a": 1}, token="t")) as call:
            initialize = await talk.server.hear()
            assert (initialize["method"], initialize["params"]["protocolVersion"]) == ("initialize", "2025-11-25")
            await talk.say(response(initialize["id"], **INTRODUCTION))
            assert await talk.server.hear() == {"jsonrpc": "2.0", "method": "notifications/initialized"}
            made = await talk.server.hear()
            token = made["params"].pop("_meta")["progressToken"]
            assert made["params"] == {"name": "add", "arguments": {"a": 1}}
            await talk.say(progress(token), response(made["id"], content=[]))
            assert await read(call) == [progress("t"), complete("mine", content=[])]


async def test_what_the_translator_answers_itself_wakes_who_waits_for_the_server(autojump_clock: MockClock) -> None:
    async with open_legacy_server() as talk:
        with talk.call(request("server/discover", "again")) as call:
            (answer,) = await read(call)
            assert answer["result"]["capabilities"]["tools"] == {"listChanged": True}
        with talk.call(request("ping")) as call:
            (answer,) = await read(call)
            assert answer["error"]["code"] == -32601
        assert talk.server.unheard == 0


async def test_bytes_pass_between_the_eras_as_they_are(autojump_clock: MockClock) -> None:
    arguments = b'{"n": 123456789012345678901234567890.10,"s":"\\ud83d\\/","z":1E400,"a":2}'
    message = json.dumps(tool_call("add", "mine")).encode().replace(b'"arguments": {}', b'"arguments": ' + arguments)
    async with open_legacy_server() as talk:
        with talk.call(message) as call:
            made = await talk.server.hear_line()
            assert arguments in made
            result = b'"structuredContent":{"z":1e999,"a":"\\uDE00", "b" : 1.50}'
            await talk.say(b'{"jsonrpc":"2.0","id":%d,"result":{%b}}' % (json.loads(made)["id"], result))
            (answer,) = await read_raw(call)
            assert result in answer


ELICITATION = {"message": "What is your name?", "requestedSchema": {"type": "object", "properties": {}}}


async def park(talk: Talk, message: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Make a call in whose course the server asks; return what the server got, and the result that asks."""
    with talk.call(message) as call:
        made = await talk.server.hear()
        await talk.say({"jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": ELICITATION})
        (answer,) = await read(call)
    return made, answer["result"]


async def test_a_question_is_asked_once_all_have_been_gathered(autojump_clock: MockClock) -> None:
    """Nothing more comes from the server: time alone moves it on."""
    async with open_legacy_server(gather_time=0.02) as talk:
        _, asked = await park(talk, tool_call("ask_name", capabilities=ASKABLE))
        assert trio.current_time() == pytest.approx(0.02)
        assert asked["resultType"] == "input_required"
        assert asked["inputRequests"] == {"input-1": {"method": "elicitation/create", "params": ELICITATION}}


async def test_a_parked_call_goes_on_with_the_retry_and_is_never_run_twice(autojump_clock: MockClock) -> None:
    async with open_legacy_server() as talk:
        first = tool_call("ask_name", "first", capabilities=ASKABLE, token="t")
        made, asked = await park(talk, first)
        accepted = {"action": "accept", "content": {"name": "Ada"}}
        with talk.call(answer_all(first, asked, "second", accepted)) as call:
            # What the server hears is the answer to its question, and no second call.
            assert await talk.server.hear() == response("q", **accepted)
            await talk.say(progress(made["params"]["_meta"]["progressToken"]), response(made["id"], content=[]))
            assert await read(call) == [progress("t"), complete("second", content=[])]
        assert talk.server.unheard == 0


async def test_a_parked_call_is_given_up_when_its_time_is_over(autojump_clock: MockClock) -> None:
    async with open_legacy_server(gather_time=0, park_time=600) as talk:
        first = tool_call("ask_name", "first", capabilities=ASKABLE)
        made, asked = await park(talk, first)
        await trio.sleep(599)
        assert talk.server.unheard == 0
        await trio.sleep(2)
        cancelled, error = await talk.server.hear(), await talk.server.hear()
        assert (cancelled["method"], cancelled["params"]["requestId"]) == ("notifications/cancelled", made["id"])
        assert (error["id"], "error" in error) == ("q", True)
        with talk.call(answer_all(first, asked, "second", {"action": "accept"})) as call:
            (answer,) = await read(call)
            assert (answer["id"], answer["error"]["code"]) == ("second", -32602)


async def test_a_handshake_that_takes_too_long_fails_the_requests_that_wait_for_it(autojump_clock: MockClock) -> None:
    async with open_legacy_server(handshake=False, handshake_time=60) as talk:
        with talk.call(request("tools/list", "mine")) as call:
            (answer,) = await read(call)
            assert (answer["id"], answer["error"]["code"]) == ("mine", -32603)
            assert trio.current_time() == 60


async def test_a_client_that_leaves_cancels_the_call_in_the_legacy_server(autojump_clock: MockClock) -> None:
    async with open_legacy_server() as talk:
        with talk.call(tool_call("sleep")):
            made = await talk.server.hear()
        assert (await talk.server.hear())["params"]["requestId"] == made["id"]
        await talk.say(response(made["id"]))
        with talk.call(tool_call("sleep")) as call:
            await talk.say(response((await talk.server.hear())["id"], content=[]))
            assert await read(call) == [complete(1, content=[])]


async def test_a_log_message_reaches_the_call_that_wants_it(autojump_clock: MockClock) -> None:
    async with open_legacy_server() as talk:
        with talk.call(tool_call("log", 1, log_level="info")) as curious, talk.call(tool_call("sleep", 2)) as quiet:
            level = await talk.server.hear()
            assert (level["method"], level["params"]) == ("logging/setLevel", {"level": "info"})
            made, other = await talk.server.hear(), await talk.server.hear()
            await talk.say(response(level["id"]), log("hello"), response(made["id"]), response(other["id"]))
            assert await read(curious) == [log("hello"), complete(1)]
            assert await read(quiet) == [complete(2)]


async def test_subscriptions_are_carried_by_each_that_wants_them(autojump_clock: MockClock) -> None:
    async with open_legacy_server() as talk:
        with (
            talk.call(listen("a", toolsListChanged=True)) as one,
            talk.call(listen("a", resourceSubscriptions=["x:y"])) as two,
        ):
            subscribe = await talk.server.hear()
            assert (subscribe["method"], subscribe["params"]) == ("resources/subscribe", {"uri": "x:y"})
            changed, updated = "notifications/tools/list_changed", "notifications/resources/updated"
            await talk.say(response(subscribe["id"]), notification(changed), notification(updated, uri="x:y"))
            assert [json.loads(m) for m in (await one.read())[1]] == [
                acknowledged("a", toolsListChanged=True),
                stamped(changed, "a"),
            ]
            assert [json.loads(m) for m in (await two.read())[1]] == [
                acknowledged("a", resourceSubscriptions=["x:y"]),
                stamped(updated, "a", uri="x:y"),
            ]
        assert (await talk.server.hear())["method"] == "resources/unsubscribe"
        assert talk.server.unheard == 0


async def test_garbage_between_the_eras_is_skipped(autojump_clock: MockClock) -> None:
    async with open_legacy_server() as talk:
        with talk.call(tool_call("add")) as call:
            made = await talk.server.hear()
            await talk.say(b"Server ready!", b"{", b'{"jsonrpc":"2.0","id":%d,"res' % made["id"], response(made["id"]))
            assert await read(call) == [complete(1)]
        assert talk.multiplex.skipped == {"garbage": 3}


async def test_what_is_nested_as_deeply_as_can_just_be_read_harms_nobody(autojump_clock: MockClock) -> None:
    """To read a message takes less of the stack than to change it; where that is exceeded depends on who calls."""
    changed = b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"x":%b}}'
    async with open_legacy_server() as talk:
        with talk.call(listen(toolsListChanged=True)), talk.call(tool_call("add")) as call:
            await talk.say(*(changed % (b"[" * depth + b"]" * depth) for depth in range(800, 1100)))
            await talk.say(response((await talk.server.hear())["id"]))
            assert await read(call) == [complete(1)]


async def test_an_answer_over_the_limit_fails_its_call_and_leaves_no_doubt_about_later_questions(
    autojump_clock: MockClock,
) -> None:
    """A question belongs to the only call that can ask; the lost one must not count any more."""
    async with open_legacy_server() as talk:
        with talk.call(tool_call("big", capabilities=ASKABLE)) as call:
            made = await talk.server.hear()
            await talk.say(OversizedLine(b'{"jsonrpc":"2.0","id":%d,"result":{' % made["id"], b"}}", 10**9))
            (answer,) = await read(call)
            assert answer["error"]["code"] == -32603
        assert (await talk.server.hear())["method"] == "notifications/cancelled"
        _, asked = await park(talk, tool_call("ask_name", capabilities=ASKABLE))
        assert list(asked["inputRequests"]) == ["input-1"]


async def test_when_a_legacy_server_dies_calls_fail_and_subscriptions_end(autojump_clock: MockClock) -> None:
    async with open_legacy_server() as talk:
        with talk.call(tool_call("die", "a")) as call, talk.call(listen("b", toolsListChanged=True)) as subscription:
            await talk.server.hear()
            await wait_all_tasks_blocked()
            talk.server.end(ChildExited("the server was killed by SIGKILL"))
            (answer,) = await read(call)
            assert (answer["id"], answer["error"]["code"]) == ("a", -32603)
            result = {"resultType": "complete", "_meta": {SUBSCRIPTION_ID: "b"}}
            assert await read(subscription) == [acknowledged("b", toolsListChanged=True), response("b", **result)]


# A legacy client before a modern server


def discovered(request_id: int | str) -> dict[str, Any]:
    meta = {"io.modelcontextprotocol/serverInfo": {"name": "new", "version": "2"}}
    result = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, "_meta": meta}
    return response(request_id, resultType="complete", ttlMs=0, cacheScope="public", **result)


def initialize(request_id: int = 0) -> dict[str, Any]:
    info = {"name": "test", "version": "1"}
    capabilities: dict[str, Any] = {"elicitation": {}}
    return legacy_request("initialize", request_id, protocolVersion="2025-11-25", capabilities=capabilities, clientInfo=info)


@asynccontextmanager
async def open_session(*, tries_handshake: bool) -> AsyncIterator[tuple[Session, MemoryTransport]]:
    """Run a session over a server whose era is known to be the modern one, or unknown."""
    server = MemoryTransport()
    translator = LegacyToModern("server", count_states(), tries_handshake=tries_handshake)
    session = Session(Translated(server, translator), Config(ChildConfig(("server",))))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        yield session, server
        session.close(ChildExited("the test is over"))


async def say_raw(session: Session, message: Any) -> Any:
    """Send a message of the client, given as a value or as bytes; return the stream of a request."""
    raw = message if isinstance(message, bytes) else json.dumps(message).encode()
    return await session.submit([parse_line(raw)])


async def carried(session: Session, stream: Any) -> list[Any]:
    """Return what a stream carries until it ends."""
    messages: list[Any] = []
    with session.attach(stream) as cursor:
        while not cursor.is_at_end:
            messages += map(json.loads, (await cursor.read())[1])
    return messages


async def test_a_legacy_client_is_served_by_a_modern_server(autojump_clock: MockClock) -> None:
    async with open_session(tries_handshake=False) as (session, server):
        stream = await say_raw(session, initialize())
        discover = await server.hear()
        assert discover["method"] == "server/discover"
        server.say(discovered(discover["id"]))
        (answer,) = await carried(session, stream)
        assert answer["result"]["protocolVersion"] == "2025-11-25"
        assert answer["result"]["serverInfo"] == {"name": "new", "version": "2"}
        stream = await say_raw(session, legacy_request("tools/list", 1))
        made = await server.hear()
        assert made["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] == {"elicitation": {}}
        server.say(response(made["id"], resultType="complete", tools=[], ttlMs=0, cacheScope="public"))
        assert await carried(session, stream) == [response(1, tools=[])]


async def test_what_the_server_asks_of_a_legacy_client_belongs_to_the_stream_of_its_call(autojump_clock: MockClock) -> None:
    """While two calls run nothing in the question would say so; the translator does."""
    async with open_session(tries_handshake=False) as (session, server):
        await say_raw(session, initialize())
        server.say(discovered((await server.hear())["id"]))
        await wait_all_tasks_blocked()
        one = await say_raw(session, legacy_request("tools/call", 1, name="ask", arguments={}))
        await say_raw(session, legacy_request("tools/call", 2, name="sleep", arguments={}))
        made = await server.hear()
        await server.hear()
        asked = {"q": {"method": "elicitation/create", "params": ELICITATION}}
        server.say(response(made["id"], resultType="input_required", inputRequests=asked, requestState="s"))
        with session.attach(one) as cursor:
            _, (line,) = await cursor.read()
        question = json.loads(line)
        assert (question["method"], question["params"]["message"]) == ("elicitation/create", ELICITATION["message"])
        await say_raw(session, response(question["id"], action="decline"))
        retry = await server.hear()
        assert retry["id"] != made["id"]
        assert (retry["params"]["inputResponses"], retry["params"]["requestState"]) == ({"q": {"action": "decline"}}, "s")


async def test_once_a_server_has_taken_part_in_the_handshake_everything_passes_as_it_is(autojump_clock: MockClock) -> None:
    """Not even parsed: an invalid message is the server's to judge, and every batch of lines arrives as one."""
    server = MemoryTransport()
    transport = Translated(server, LegacyToModern("server", count_states(), tries_handshake=True))
    opening = b'{"jsonrpc": "2.0", "id":0,  "method":"initialize","params":{"protocolVersion":"2025-11-25"}}'
    transport.send_nowait(opening)
    assert await server.hear_line() == opening
    server.say(b'{"id":0 ,"jsonrpc":"2.0","result":{ "protocolVersion":"2025-11-25"}}')
    assert list(await transport.receive()) == [b'{"id":0 ,"jsonrpc":"2.0","result":{ "protocolVersion":"2025-11-25"}}']
    assert transport.translator.is_transparent
    transport.send_nowait(b'{"jsonrpc": "2.0" , "id":1, "method":"x"}')
    assert await server.hear_line() == b'{"jsonrpc": "2.0" , "id":1, "method":"x"}'
    lines = [b"garbage", b'{"jsonrpc":"2.0","id":1,"result":{"n":1E400}}', OversizedLine(b"{", b"}", 10**9)]
    server.say(*lines)
    assert list(await transport.receive()) == lines


async def test_lines_that_came_together_with_the_answer_to_the_handshake_are_not_lost(autojump_clock: MockClock) -> None:
    server = MemoryTransport()
    transport = Translated(server, LegacyToModern("server", count_states(), tries_handshake=True))
    transport.send_nowait(json.dumps(initialize()).encode())
    lines = [log("before"), response(0, protocolVersion="2025-11-25"), log("after"), log("and after")]
    server.say(*lines)
    received = await transport.receive()
    assert [json.loads(line) for line in received if isinstance(line, bytes)] == lines


# The transport


async def test_to_cancel_who_waits_loses_nothing(autojump_clock: MockClock) -> None:
    server = MemoryTransport()
    transport = Translated(server, ModernToLegacy(count_states()))
    transport.send_nowait(json.dumps(request("tools/list", "a")).encode())
    with trio.move_on_after(1):
        await transport.receive()
    server.say(response((await server.hear())["id"], **INTRODUCTION))
    with trio.move_on_after(1) as patience:
        await transport.receive()
    assert patience.cancelled_caught
    await server.hear()
    server.say(response((await server.hear())["id"], tools=[]))
    (line,) = await transport.receive()
    assert isinstance(line, bytes)
    assert json.loads(line)["id"] == "a"


async def test_congestion_and_the_end_are_those_of_the_server(autojump_clock: MockClock) -> None:
    server = MemoryTransport()
    transport = Translated(server, ModernToLegacy(count_states()))
    assert transport.failure is None
    while not server.is_congested:
        server.send_nowait(b" " * 100_000)
    assert transport.is_congested
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transport.wait_writable)
        while server.unheard:
            await server.hear_line()
    gone = ChildExited("gone")
    server.end(gone)
    assert transport.failure is gone
    with pytest.raises(ChildExited):
        await transport.receive()
    with pytest.raises(ChildExited):
        await transport.wait_writable()


async def test_a_message_that_belongs_to_a_request_says_so(autojump_clock: MockClock) -> None:
    server = MemoryTransport()
    transport = Translated(server, ModernToLegacy(count_states()))
    transport.send_nowait(json.dumps(tool_call("log", 5, log_level="debug")).encode())
    server.say(response((await server.hear())["id"], **INTRODUCTION))
    with trio.move_on_after(1):
        await transport.receive()
    server.say(log("hello"))
    (line,) = await transport.receive()
    assert line == Related(json.dumps(log("hello")).encode(), 5)


async def test_what_a_translator_has_said_itself_is_heard_before_the_end_of_its_server(autojump_clock: MockClock) -> None:
    server = MemoryTransport()
    transport = Translated(server, LegacyToModern("new", lambda: "id"))
    heard: list[Received] = []
    async with trio.open_nursery() as nursery:

        async def receive() -> None:
            heard.extend(await transport.receive())
            with pytest.raises(ChildExited):
                await transport.receive()

        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        server.end(ChildExited("gone"))
        transport.send_nowait(b'{"jsonrpc":"2.0","id":1,"method":"ping"}')
    assert [json.loads(line) for line in heard if isinstance(line, bytes)] == [{"jsonrpc": "2.0", "id": 1, "result": {}}]


async def test_a_question_that_comes_on_the_stream_of_a_call_parks_that_call(autojump_clock: MockClock) -> None:
    """Two calls run; the transport knows which of them the server asks about, and says so."""
    server = MemoryTransport()
    transport = Translated(server, ModernToLegacy(count_states()))
    for number in (1, 2):
        transport.send_nowait(json.dumps(tool_call("ask_name", number, capabilities=ASKABLE)).encode())
    server.say(response((await server.hear())["id"], **INTRODUCTION))
    with trio.move_on_after(1):
        await transport.receive()
    question = legacy_request("elicitation/create", "q", **ELICITATION)
    server.say(Related(json.dumps(question).encode(), 2))
    (line,) = await transport.receive()
    assert isinstance(line, bytes)
    asked = json.loads(line)
    assert (asked["id"], asked["result"]["resultType"]) == (2, "input_required")
