"""One session: what a client's requests meet with, whatever its server and its connections do.

The server is a memory transport, and the clock jumps: half an hour passes in no time, and its end can be exact.
"""

from __future__ import annotations

import json
import logging
import math
import string
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trioproxy.config import ChildConfig, Config, LimitConfig, LogConfig, TimeConfig
from trioproxy.protocol.errors import (
    ChildExited,
    CommandFailed,
    EventNotFound,
    InvalidRequest,
    SessionNotFound,
    Unavailable,
)
from trioproxy.protocol.event_log import Stream
from trioproxy.protocol.lines import OversizedLine
from trioproxy.protocol.messages import parse_body, parse_line
from trioproxy.session import Session
from trioproxy.tap import Tap, open_tap

from .memory_transport import MemoryTransport

INITIALIZE = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}


class Talk:
    """A session, its client and its server."""

    def __init__(self, session: Session, server: MemoryTransport) -> None:
        self.session = session
        self.server = server

    async def post(self, message: Any) -> Stream | None:
        """Send what one POST brings, and let the server hear it."""
        body = parse_body(message if isinstance(message, bytes) else json.dumps(message).encode())
        messages = body if isinstance(body, list) else [body]
        stream = await self.session.submit(messages)
        for _ in messages:
            await self.server.hear_line()
        return stream

    async def ask(self, request_id: int | str, method: str = "tools/call", **params: Any) -> Stream:
        """Send a request."""
        stream = await self.post({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params})
        assert stream is not None
        # The client knows an id of the stream's, and may come back for what it carries.
        stream.is_announced = True
        return stream

    async def tell(self, method: str, **params: Any) -> None:
        """Send a notification."""
        assert await self.post({"jsonrpc": "2.0", "method": method, "params": params}) is None

    async def hear_said(self, *messages: Any) -> None:
        """Let the server say messages, and wait until they have been dealt with."""
        self.server.say(*messages)
        await wait_all_tasks_blocked()

    async def answer(self, request_id: int | str, result: Any = "done") -> None:
        """Let the server answer a request."""
        await self.hear_said({"jsonrpc": "2.0", "id": request_id, "result": result})

    def carried(self, stream: Stream, position: int = 1) -> list[Any]:
        """Return what a connection would be sent by now that reads from `position` on."""
        with self.session.attach(stream, position):
            return [json.loads(message) for message in stream.read(position)]

    async def shake_hands(self, revision: str = "2025-11-25") -> None:
        """Do what a client does first."""
        stream = await self.ask(0, "initialize", **{**INITIALIZE, "protocolVersion": revision})
        await self.answer(0, {"protocolVersion": revision})
        self.session.log.forget(stream)
        await self.tell("notifications/initialized")


@asynccontextmanager
async def open_session(
    *,
    mixes: bool = True,
    single_stream: bool = False,
    declines: bool = False,
    debug: bool = False,
    tap: Tap | None = None,
    times: Mapping[str, Any] = {},
    **limits: Any,
) -> AsyncIterator[Talk]:
    """Run a session that ends with the block, if not before."""
    config = Config(
        ChildConfig(("server",)), times=TimeConfig(**times), limits=LimitConfig(**limits), log=LogConfig(debug=debug)
    )
    server = MemoryTransport()
    session = Session(server, config, mixes=mixes, single_stream=single_stream, declines=declines, tap=tap)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        yield Talk(session, server)
        session.close(Unavailable("the test is over"))


async def read_all(talk: Talk, stream: Stream) -> list[Any]:
    """Read a stream to its end, as a connection does."""
    messages: list[Any] = []
    with talk.session.attach(stream) as cursor:
        while not cursor.is_at_end:
            messages += map(json.loads, (await cursor.read())[1])
    return messages


def note(text: str = "x", size: int = 0) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": text + "." * size}}


# Which stream


async def test_an_answer_is_the_end_of_its_stream(autojump_clock: MockClock) -> None:
    """Transports §Sending Messages: "After the JSON-RPC response has been sent, the server SHOULD close the SSE stream"."""
    async with open_session() as talk:
        stream = await talk.ask(1)
        await talk.hear_said(note("working"))
        assert not stream.is_finished
        await talk.answer(1)
        assert stream.is_finished
        assert [m.get("result") for m in await read_all(talk, stream)] == [None, "done"]


async def test_what_the_server_says_during_a_lone_call_is_carried_by_its_stream(autojump_clock: MockClock) -> None:
    async with open_session() as talk:
        stream = await talk.ask(1)
        question = {"jsonrpc": "2.0", "id": 1, "method": "sampling/createMessage", "params": {}}
        await talk.hear_said(note(), question)
        assert talk.carried(stream) == [note(), question]
        assert talk.carried(talk.session.log.standalone) == []


async def test_what_the_server_says_during_several_calls_is_carried_by_the_standalone_stream(
    autojump_clock: MockClock,
) -> None:
    async with open_session() as talk:
        one, two = await talk.ask(1), await talk.ask(2)
        await talk.hear_said(note("unrelated"))
        await talk.answer(1)
        await talk.hear_said(note("after the first"))
        await talk.answer(2)
        await talk.hear_said(note("after both"))
        assert [m.get("params") for m in talk.carried(two)] == [note("after the first")["params"], None]
        assert len(talk.carried(one)) == 1
        assert talk.carried(talk.session.log.standalone) == [note("unrelated"), note("after both")]


async def test_progress_is_carried_by_the_stream_of_its_call(autojump_clock: MockClock) -> None:
    """Utilities §Progress; "MUST send each of its JSON-RPC messages on only one of the connected streams"."""
    async with open_session() as talk:
        one = await talk.ask(1, _meta={"progressToken": "a"})
        two = await talk.ask(2, _meta={"progressToken": "b"})
        progress = [
            {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": t, "progress": n}}
            for n, t in enumerate("abba")
        ]
        await talk.hear_said(*progress)
        assert talk.carried(one) == [progress[0], progress[3]]
        assert talk.carried(two) == [progress[1], progress[2]]


def burst(count: int, token: int | str = "a") -> list[Any]:
    return [
        {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": n}}
        for n in range(count)
    ]


async def test_in_a_burst_of_progress_everything_keeps_its_stream_and_its_place(autojump_clock: MockClock) -> None:
    async with open_session() as talk:
        one = await talk.ask(1, _meta={"progressToken": "a"})
        two = await talk.ask(2, _meta={"progressToken": "b"})
        answer = {"jsonrpc": "2.0", "id": 1, "result": "done"}
        await talk.hear_said(*burst(200), *burst(150, "b"), note(), *burst(200), *burst(1, "b"), answer, *burst(150))
        assert talk.carried(one) == [*burst(200), *burst(200), answer]
        assert talk.carried(two) == [*burst(150, "b"), *burst(1, "b"), *burst(150)], "the only call now"
        assert talk.carried(talk.session.log.standalone) == [note()]
        assert one.is_finished


async def test_a_burst_for_a_reader_that_is_behind_is_evicted_no_more_than_its_messages_one_by_one(
    autojump_clock: MockClock,
) -> None:
    async with open_session(event_store_max_events=100) as talk:
        stream = await talk.ask(1, _meta={"progressToken": "a"})
        with talk.session.attach(stream) as cursor:
            talk.server.say(*burst(1000))
            first, messages = await cursor.read()
            assert (first, [json.loads(message) for message in messages]) == (1, burst(1000))
        await wait_all_tasks_blocked()
        await talk.answer(1)
        assert talk.session.log.events <= 100
        assert talk.session.log.evicted >= 901


async def test_a_server_that_says_much_at_once_lets_others_have_their_turn(autojump_clock: MockClock) -> None:
    async with open_session(event_store_max_events=None) as talk:
        standalone = talk.session.log.standalone
        seen = set()
        talk.server.say(*(note(str(n)) for n in range(2000)))
        with trio.fail_after(10):
            while standalone.end <= 2000:
                seen.add(standalone.end)
                await trio.lowlevel.checkpoint()
        assert seen & {501, 1001, 1501}, "it was all said before anybody else had a turn"
        assert [message["params"]["data"] for message in talk.carried(standalone)[:1000]] == [str(n) for n in range(1000)]


async def test_a_server_in_a_hurry_lets_others_have_their_turn_too(autojump_clock: MockClock) -> None:
    async with open_session(event_store_max_events=None) as talk:
        stream = await talk.ask(1, _meta={"progressToken": "a"})
        seen = set()
        talk.server.say(*burst(12_000))
        with trio.fail_after(10):
            while stream.end <= 12_000:
                seen.add(stream.end)
                await trio.lowlevel.checkpoint()
        assert len(seen) > 1
        assert stream.end == 12_001


async def test_each_message_of_a_burst_is_shown(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "trioproxy.session")
    async with open_session(debug=True) as talk:
        await talk.ask(1, _meta={"progressToken": "a"})
        await talk.hear_said(*burst(300))
    assert sum("notifications/progress" in message for message in caplog.messages) == 300


async def test_each_message_of_a_burst_is_recorded(tmp_path: Path) -> None:
    async with open_tap(tmp_path / "tap") as tap, open_session(tap=tap) as talk:
        await talk.ask(1, _meta={"progressToken": "a"})
        await talk.hear_said(*burst(300))
    assert (tmp_path / "tap").read_text().count("notifications/progress") == 300


async def test_an_answer_to_a_question_of_the_server_is_passed_on(autojump_clock: MockClock) -> None:
    async with open_session() as talk:
        answer = {"jsonrpc": "2.0", "id": 1, "result": {"roots": []}}
        assert await talk.session.submit([parse_line(json.dumps(answer).encode())]) is None
        assert await talk.server.hear() == answer


async def test_a_batch_is_answered_on_one_stream(autojump_clock: MockClock) -> None:
    """2025-03-26, Transports §Sending Messages: the stream "SHOULD eventually include one JSON-RPC response per each"."""
    async with open_session() as talk:
        requests = [{"jsonrpc": "2.0", "id": i, "method": "ping"} for i in (1, "1", 2)]
        stream = await talk.post([*requests, {"jsonrpc": "2.0", "method": "notifications/x"}])
        assert stream is not None
        await talk.answer("1", "b")
        await talk.answer(2, "c")
        assert not stream.is_finished
        await talk.answer(1, "a")
        assert [m["result"] for m in await read_all(talk, stream)] == ["b", "c", "a"]


async def test_over_one_stream_everything_is_carried_by_it(autojump_clock: MockClock) -> None:
    """2024-11-05, Transports §HTTP with SSE."""
    async with open_session(single_stream=True) as talk:
        streams = [await talk.ask(1), await talk.ask(2)]
        await talk.hear_said(note())
        await talk.answer(2)
        await talk.answer(1)
        assert streams == [talk.session.log.standalone] * 2
        assert [m.get("id") for m in talk.carried(streams[0])] == [None, 2, 1]
        assert not streams[0].is_finished


async def test_where_a_response_is_one_body_its_stream_carries_one_answer(autojump_clock: MockClock) -> None:
    async with open_session(mixes=False) as talk:
        stream = await talk.ask(1, _meta={"progressToken": 1})
        await talk.hear_said(note())
        await talk.answer(1)
        assert len(talk.carried(stream)) == 1
        assert talk.carried(talk.session.log.standalone) == [note()]


async def test_questions_are_declined_where_no_answer_would_find_the_way_back(autojump_clock: MockClock) -> None:
    async with open_session(declines=True) as talk:
        stream = await talk.ask(1)
        await talk.hear_said({"jsonrpc": "2.0", "id": "q", "method": "sampling/createMessage"}, note())
        refused = await talk.server.hear()
        assert (refused["id"], refused["error"]["code"]) == ("q", -32601)
        assert talk.carried(stream) == [note()]


async def test_a_server_that_only_asks_and_never_reads_is_told_no_more_than_it_may_be_behind(
    autojump_clock: MockClock,
) -> None:
    async with open_session(declines=True) as talk:
        await talk.session.submit([parse_line(json.dumps(note(size=2_000_000)).encode())])
        await talk.hear_said(*({"jsonrpc": "2.0", "id": n, "method": "ping"} for n in range(10)))
        assert talk.server.unheard == 1


# What passes


@pytest.mark.parametrize(
    "raw",
    [
        b'{"jsonrpc":"2.0","id":123456789012345678901234567890,"method":"x","unknown":{"b":1,"a":[1.50,1E400,-0]}}',
        b'{"id":"\\ud800","jsonrpc":"2.0","method":"x","params":{"s":"\\udfff\\u0000\xe2\x80\xa8"}}',
        b'{ "method":"x" , "jsonrpc":"2.0" , "id":7 , "params":{"i":%b} }' % (b"8" * 5000),
    ],
)
async def test_a_request_reaches_the_server_byte_for_byte(raw: bytes, autojump_clock: MockClock) -> None:
    async with open_session() as talk:
        await talk.session.submit([parse_line(raw)])
        assert await talk.server.hear_line() == raw


@pytest.mark.parametrize("size", [0, 20_000])
@pytest.mark.parametrize(
    "raw",
    [
        b'{"jsonrpc":"2.0","id":1,"result":{"n":[1.50,1E400,-0,9999999999999999999999],"fill":"%b"},"unknown":null}',
        b'{"result":{"s":"\\udfff\\u0000\xe2\x80\xa8","fill":"%b"},"jsonrpc":"2.0","id":1}',
        b'{"id":1, "error":{"code":0,"message":"\xc3\xbc","data":{"fill":"%b"}}, "jsonrpc":"2.0"}\r',
    ],
)
async def test_an_answer_reaches_the_client_byte_for_byte(raw: bytes, size: int, autojump_clock: MockClock) -> None:
    async with open_session() as talk:
        stream = await talk.ask(1)
        line = raw % (b"." * size)
        await talk.hear_said(line)
        assert stream.read(1) == [line]
        assert stream.is_finished


async def test_what_is_no_message_is_counted_and_logged_and_harms_nobody(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Transports §stdio: "The server MUST NOT write anything to its stdout that is not a valid MCP message"; many do."""
    async with open_session() as talk:
        stream = await talk.ask(1)
        junk = [
            b"Server listening\xff",
            b"[]",
            b'{"jsonrpc":"2.0"}',
            b"{" * 100_000,
            b"x" * 100_000,
            b'{"a":%b,}' % (b"9" * 5000),
        ]
        with caplog.at_level(logging.WARNING):
            await talk.hear_said(*junk, {"jsonrpc": "2.0", "id": 99, "result": {}})
        assert talk.session.skipped == {"garbage": 6, "unexpected": 1}
        assert len(caplog.records) == 7
        assert "Server listening" in caplog.text
        assert max(len(record.getMessage()) for record in caplog.records) < 500
        await talk.answer(1)
        assert [m["result"] for m in await read_all(talk, stream)] == ["done"]


async def test_a_line_over_the_limit_fails_the_call_that_it_answers_and_no_other(autojump_clock: MockClock) -> None:
    async with open_session() as talk:
        one, two = await talk.ask(1), await talk.ask("2")
        await talk.hear_said(OversizedLine(b'{"jsonrpc":"2.0","id":1,"result":{"a":"', b'"}}', 70_000_000))
        await talk.hear_said(OversizedLine(b'{"result":{"a":"', b'"},"jsonrpc":"2.0","id":"2"}', 80_000_000))
        for stream, request_id, length in ((one, 1, 70_000_000), (two, "2", 80_000_000)):
            (answer,) = await read_all(talk, stream)
            assert answer["id"] == request_id
            assert answer["error"]["code"] == -32603
            assert f"{length} bytes" in answer["error"]["message"]
            assert "--max-message-size" in answer["error"]["message"]
        assert not talk.session.has_ended


async def test_a_line_over_the_limit_that_is_nobodys_answer_ends_the_session(autojump_clock: MockClock) -> None:
    """It was a message for somebody, and the session can't be said to be whole without it."""
    async with open_session() as talk:
        stream = await talk.ask(1)
        await talk.hear_said(OversizedLine(b'{"jsonrpc":"2.0","method":"x","params":{"a":"', b'"}}', 70_000_000))
        assert talk.session.has_ended
        (answer,) = await read_all(talk, stream)
        assert "70000000 bytes" in answer["error"]["message"]


async def test_an_oversized_answer_to_initialize_ends_the_session(autojump_clock: MockClock) -> None:
    async with open_session() as talk:
        stream = await talk.ask(0, "initialize", **INITIALIZE)
        await talk.hear_said(OversizedLine(b'{"jsonrpc":"2.0","id":0,"result":{"a":"', b'"}}', 70_000_000))
        assert talk.session.has_ended
        assert [m["id"] for m in await read_all(talk, stream)] == [0]


# Handshake


async def test_the_revision_is_the_one_that_the_server_has_chosen(autojump_clock: MockClock) -> None:
    """Lifecycle §Version Negotiation: the server answers with the version that it wants to use."""
    async with open_session() as talk:
        await talk.ask(0, "initialize", **{**INITIALIZE, "protocolVersion": "2026-01-01"})
        assert talk.session.revision == "2026-01-01"
        await talk.answer(0, {"protocolVersion": "2025-06-18"})
        assert talk.session.revision == "2025-06-18"
        assert not talk.session.is_refused


@pytest.mark.parametrize("result", [{}, None, [], "2025-06-18", {"protocolVersion": 7}])
async def test_a_server_that_chooses_no_revision_gets_the_one_asked_for(result: Any, autojump_clock: MockClock) -> None:
    async with open_session() as talk:
        await talk.ask(0, "initialize", **INITIALIZE)
        await talk.answer(0, result)
        assert talk.session.revision == "2025-11-25"


async def test_a_handshake_that_the_server_refuses_is_known_to_be_refused(autojump_clock: MockClock) -> None:
    async with open_session() as talk:
        await talk.ask(0, "initialize", **INITIALIZE)
        await talk.hear_said({"jsonrpc": "2.0", "id": 0, "error": {"code": -32602, "message": "Unsupported"}})
        assert talk.session.is_refused


async def test_a_long_answer_to_initialize_that_is_broken_inside_is_garbage(autojump_clock: MockClock) -> None:
    """A long response is recognised by its ends; this one has to be read as well."""
    async with open_session() as talk:
        stream = await talk.ask(0, "initialize", **INITIALIZE)
        broken = b'{"jsonrpc":"2.0","id":0,"result":{"instructions":"%b","n":%b' % (b"x" * 20_000, b"9" * 5000)
        await talk.hear_said(broken + b",}}")
        assert talk.session.skipped == {"garbage": 1}
        await talk.hear_said(broken + b',"protocolVersion":"2025-06-18"}}')
        assert talk.session.revision == "2025-06-18"
        assert stream.is_finished


async def test_a_client_that_has_no_handshake_is_given_one(autojump_clock: MockClock) -> None:
    async with open_session() as talk:

        async def serve() -> None:
            initialize = await talk.server.hear()
            assert initialize["params"]["protocolVersion"] == "2025-06-18"
            talk.server.say({"jsonrpc": "2.0", "id": initialize["id"], "result": {"protocolVersion": "2025-06-18"}})
            assert (await talk.server.hear())["method"] == "notifications/initialized"

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            await talk.session.shake_hands("2025-06-18")
        assert talk.session.calls == 0


@pytest.mark.parametrize("ending", ["refuses", "ends"])
async def test_a_handshake_that_fails_is_a_failure_of_the_command(ending: str, autojump_clock: MockClock) -> None:
    async with open_session() as talk:

        async def serve() -> None:
            initialize = await talk.server.hear()
            if ending == "ends":
                talk.server.end(ChildExited("the server exited with status 3"))
            else:
                talk.server.say({"jsonrpc": "2.0", "id": initialize["id"], "error": {"code": 1, "message": "no"}})

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            with pytest.raises(CommandFailed):
                await talk.session.shake_hands("2025-06-18")


# What a client may not do


async def test_an_id_in_flight_is_refused_and_nothing_is_passed_on(autojump_clock: MockClock) -> None:
    """Basic §Requests: an id "MUST NOT have been previously used"; its answer would be lost."""
    async with open_session() as talk:
        stream = await talk.ask(1)
        for body in (
            {"jsonrpc": "2.0", "id": 1, "method": "b"},
            [{"jsonrpc": "2.0", "id": i, "method": "b"} for i in (2, 1)],
        ):
            with pytest.raises(InvalidRequest, match="request id 1 is that of another request in flight"):
                await talk.post(body)
        assert talk.server.unheard == 0
        assert talk.session.calls == 1
        await talk.answer(1)
        assert stream.is_finished
        assert await talk.ask(1) is not stream


async def test_a_batch_with_an_id_twice_is_refused_whole(autojump_clock: MockClock) -> None:
    async with open_session() as talk:
        with pytest.raises(InvalidRequest):
            await talk.post([{"jsonrpc": "2.0", "id": 1, "method": "b"}] * 2)
        assert (talk.server.unheard, talk.session.calls) == (0, 0)


async def test_a_session_has_so_many_calls_in_flight_and_no_more(autojump_clock: MockClock) -> None:
    async with open_session() as talk:
        await talk.post([{"jsonrpc": "2.0", "id": i, "method": "b"} for i in range(10_000)])
        with pytest.raises(Unavailable, match="limit of 10000"):
            await talk.ask("one more")
        await talk.answer(77)
        await talk.ask("one more")
        assert talk.session.calls == 10_000


async def test_a_session_that_has_ended_takes_nothing_more(autojump_clock: MockClock) -> None:
    """Transports §Session Management: "it MUST respond to requests containing that session ID with HTTP 404"."""
    async with open_session() as talk:
        talk.session.close(Unavailable("the client has ended the session"))
        with pytest.raises(SessionNotFound, match="the client has ended the session"):
            await talk.ask(1)
        assert talk.server.unheard == 0


async def test_ids_of_sessions_are_long_random_and_visible(autojump_clock: MockClock) -> None:
    """Transports §Session Management: "globally unique and cryptographically secure … visible ASCII characters"."""
    async with open_session() as one, open_session() as two:
        for session_id in (one.session.id, two.session.id):
            assert len(session_id) == 32
            assert set(session_id) <= set(string.ascii_letters + string.digits + "-_")
        assert one.session.id != two.session.id
        assert one.session.short_id not in (two.session.id, one.session.id)


# Time


async def test_a_request_has_its_time_and_then_the_server_is_told(autojump_clock: MockClock) -> None:
    """Lifecycle §Timeouts: "the sender SHOULD issue a cancellation notification for that request and stop waiting"."""
    async with open_session(times={"request_timeout": 300}) as talk:
        stream = await talk.ask("r")
        (answer,) = await read_all(talk, stream)
        assert trio.current_time() == 300
        assert answer["id"] == "r"
        assert answer["error"]["code"] == -32001
        assert "within 300 s" in answer["error"]["message"]
        cancelled = await talk.server.hear()
        assert cancelled["method"] == "notifications/cancelled"
        assert cancelled["params"]["requestId"] == "r"


async def test_a_late_answer_is_swallowed(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    async with open_session(times={"request_timeout": 300}) as talk:
        one, two = await talk.ask(1), await talk.ask(2)
        await read_all(talk, two)
        await talk.answer(1)
        await talk.hear_said(OversizedLine(b'{"jsonrpc":"2.0","id":2,"result":{"a":"', b'"}}', 70_000_000))
        assert len(talk.carried(one)) == len(talk.carried(two)) == 1
        assert talk.carried(talk.session.log.standalone) == []
        assert talk.session.skipped == {}
        assert not talk.session.has_ended


async def test_progress_gives_a_request_its_whole_time_again(autojump_clock: MockClock) -> None:
    """Lifecycle §Timeouts: "MAY choose to reset the timeout clock when receiving a progress notification"."""
    async with open_session(times={"request_timeout": 300}) as talk:
        await talk.ask(2)
        stream = await talk.ask(1, _meta={"progressToken": "p"})
        for _ in range(10):
            await trio.sleep(299)
            await talk.hear_said(
                {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": "p", "progress": 1}}
            )
        assert talk.session.calls == 1
        answer = (await read_all(talk, stream))[-1]
        assert trio.current_time() == 2990 + 300
        assert answer["error"]["code"] == -32001


async def test_requests_without_a_limit_wait_for_ever(autojump_clock: MockClock) -> None:
    async with open_session(times={"request_timeout": None, "session_idle_timeout": 60}) as talk:
        stream = await talk.ask(1)
        await trio.sleep(80_000)
        assert not stream.is_finished
        await talk.answer(1)
        assert stream.is_finished


async def test_a_cancelled_request_ends_its_stream_whether_or_not_the_server_answers(autojump_clock: MockClock) -> None:
    """Utilities §Cancellation: receivers "SHOULD … Not send a response"; the client's stream has to end all the same."""
    async with open_session() as talk:
        one, two, three = await talk.ask(1), await talk.ask(2), await talk.ask(3)
        await talk.tell("notifications/cancelled", requestId=1)
        await talk.tell("notifications/cancelled", requestId=2)
        await talk.answer(2, "too late to stop")
        assert [m["result"] for m in await read_all(talk, two)] == ["too late to stop"]
        assert await read_all(talk, one) == [
            {"jsonrpc": "2.0", "id": 1, "error": {"code": -32800, "message": "Request cancelled"}}
        ]
        assert trio.current_time() == 1
        await talk.answer(1, "later still")
        assert talk.session.skipped == {}
        assert not three.is_finished
        assert talk.server.unheard == 0


async def test_a_session_that_ends_leaves_its_cancelled_requests_without_an_answer(autojump_clock: MockClock) -> None:
    """Some clients can't bear one any more."""
    async with open_session() as talk:
        one, two = await talk.ask(1), await talk.ask(2)
        await talk.tell("notifications/cancelled", requestId=1)
        talk.session.close(ChildExited("enough"))
        assert await read_all(talk, one) == []
        assert [m["id"] for m in await read_all(talk, two)] == [2]


async def test_a_cancelled_request_over_one_stream_is_just_forgotten(autojump_clock: MockClock) -> None:
    """2024-11-05, Utilities §Cancellation: there is no stream of its own that would have to end."""
    async with open_session(single_stream=True) as talk:
        stream = await talk.ask(1)
        await talk.tell("notifications/cancelled", requestId=1)
        await trio.sleep(5)
        assert talk.carried(stream) == []
        assert talk.session.calls == 0


async def test_a_cancellation_and_its_request_may_come_in_one_batch(autojump_clock: MockClock) -> None:
    async with open_session() as talk:
        cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
        stream = await talk.post([{"jsonrpc": "2.0", "id": 1, "method": "a"}, cancelled])
        assert stream is not None
        assert [m["error"]["code"] for m in await read_all(talk, stream)] == [-32800]


async def test_initialize_can_not_be_cancelled(autojump_clock: MockClock) -> None:
    """Utilities §Cancellation: "The initialize request MUST NOT be cancelled by clients"."""
    async with open_session() as talk:
        stream = await talk.ask(0, "initialize", **INITIALIZE)
        await talk.tell("notifications/cancelled", requestId=0)
        await trio.sleep(30)
        assert not stream.is_finished


async def test_a_cancellation_of_nothing_is_passed_on(autojump_clock: MockClock) -> None:
    """Utilities §Cancellation: it may refer to a request that is answered by now."""
    async with open_session() as talk:
        for request_id in (7, "x", None, True):
            await talk.tell("notifications/cancelled", requestId=request_id)


async def test_a_server_that_does_not_answer_initialize_in_time_has_no_session(autojump_clock: MockClock) -> None:
    async with open_session(times={"connection_timeout": 60, "request_timeout": 300}) as talk:
        stream = await talk.ask(0, "initialize", **INITIALIZE)
        await talk.ask(1)
        (answer,) = await read_all(talk, stream)
        assert trio.current_time() == 60
        assert answer["error"]["code"] == -32001
        assert talk.session.has_ended


async def test_requests_that_expire_together_with_initialize_are_answered_once(autojump_clock: MockClock) -> None:
    async with open_session(times={"connection_timeout": 60, "request_timeout": 60}) as talk:
        streams = [await talk.ask(0, "initialize", **INITIALIZE), await talk.ask(1), await talk.ask(2)]
        for stream in streams:
            assert len(await read_all(talk, stream)) == 1
        assert trio.current_time() == 60


@pytest.mark.parametrize("stream", ["sleeping", "gone"])
async def test_a_session_is_idle_once_nothing_was_heard_of_the_client_for_the_whole_time(
    stream: str, autojump_clock: MockClock
) -> None:
    async with open_session(times={"session_idle_timeout": 1800}) as talk:
        await talk.shake_hands()
        await trio.sleep(1799)
        await talk.tell("notifications/x")
        await trio.sleep(1799)
        with talk.session.attach(talk.session.log.standalone):
            # Who listens is there.
            await trio.sleep(5000)
        await trio.sleep(1799)
        request = await talk.ask(1)
        if stream == "sleeping":
            with talk.session.attach(request):
                await trio.sleep(200)
                await talk.answer(1)
        else:
            await trio.sleep(200)
            await talk.answer(1)
        assert not talk.session.has_ended
        await talk.session.wait_ended()
        assert trio.current_time() == 1799 + 1799 + 5000 + 1799 + 200 + 1800


async def test_a_client_that_says_nothing_after_initialize_has_most_likely_gone(autojump_clock: MockClock) -> None:
    async with open_session(times={"session_idle_timeout": 1800, "connection_timeout": 60}) as talk:
        stream = await talk.ask(0, "initialize", **INITIALIZE)
        with talk.session.attach(stream):
            await talk.answer(0, {})
        await talk.session.wait_ended()
        assert trio.current_time() == 60


async def test_a_client_that_is_initialized_has_its_whole_time(autojump_clock: MockClock) -> None:
    async with open_session(times={"session_idle_timeout": 1800, "connection_timeout": 60}) as talk:
        await talk.shake_hands()
        await talk.session.wait_ended()
        assert trio.current_time() == 1800


@pytest.mark.parametrize(
    ("idle", "connection", "settles", "ends_at"),
    [
        (None, None, True, math.inf),
        (None, 60, True, math.inf),
        (None, 60, False, 60),
        (100, None, False, 100),
        (30, 60, False, 30),
    ],
)
async def test_a_time_without_limit_is_none(
    idle: float | None, connection: float | None, settles: bool, ends_at: float, autojump_clock: MockClock
) -> None:
    async with open_session(times={"session_idle_timeout": idle, "connection_timeout": connection}) as talk:
        await talk.ask(0, "initialize", **INITIALIZE)
        await talk.answer(0, {})
        if settles:
            await talk.tell("notifications/initialized")
        with trio.move_on_after(100_000):
            await talk.session.wait_ended()
        assert trio.current_time() == min(ends_at, 100_000)


async def test_a_session_is_idle_after_an_answer_that_nobody_could_take(autojump_clock: MockClock) -> None:
    times = {"session_idle_timeout": 1800, "request_timeout": None}
    async with open_session(times=times, event_store=False) as talk:
        await talk.shake_hands()
        stream = await talk.ask(1)
        with talk.session.attach(stream):
            pass
        await trio.sleep(5000)
        await talk.answer(1)
        with trio.fail_after(10_000):
            await talk.session.wait_ended()
        assert trio.current_time() == 5000 + 1800


# The end


@pytest.mark.parametrize("how", [{"exitStatus": 3}, {"signal": "SIGKILL"}])
async def test_the_end_of_the_server_answers_every_pending_call(how: dict[str, Any], autojump_clock: MockClock) -> None:
    async with open_session() as talk:
        one = await talk.ask(1)
        two = await talk.post([{"jsonrpc": "2.0", "id": i, "method": "x"} for i in ("2", 3)])
        assert two is not None
        evidence = {**how, "stderr": ["last", "words"], "restarts": 0}
        talk.server.say({"jsonrpc": "2.0", "id": 3, "result": "just in time"})
        talk.server.end(ChildExited("the server is no more", data=evidence))
        error = {"code": -32603, "message": "the server is no more", "data": evidence}
        assert await read_all(talk, one) == [{"jsonrpc": "2.0", "id": 1, "error": error}]
        assert await read_all(talk, two) == [
            {"jsonrpc": "2.0", "id": 3, "result": "just in time"},
            {"jsonrpc": "2.0", "id": "2", "error": error},
        ]
        assert await read_all(talk, talk.session.log.standalone) == []
        with pytest.raises(SessionNotFound, match="the server is no more"):
            await talk.ask(4)


async def test_a_session_that_is_closed_answers_what_is_in_flight_with_the_reason(autojump_clock: MockClock) -> None:
    async with open_session() as talk:
        stream = await talk.ask(1)
        talk.session.close(Unavailable("the proxy is shutting down"))
        (answer,) = await read_all(talk, stream)
        assert answer["error"] == {"code": -32000, "message": "the proxy is shutting down"}
        await talk.session.wait_ended()


async def test_a_session_that_is_cancelled_ends_every_stream(autojump_clock: MockClock) -> None:
    server = MemoryTransport()
    session = Session(server, Config(ChildConfig(("server",))))
    talk = Talk(session, server)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        stream = await talk.ask(1)
        nursery.cancel_scope.cancel()
    assert session.has_ended
    (answer,) = await read_all(talk, stream)
    assert answer["error"]["code"] == -32603


async def test_a_session_that_is_closed_before_it_runs_does_not_run(autojump_clock: MockClock) -> None:
    session = Session(MemoryTransport(), Config(ChildConfig(("server",))))
    session.close(Unavailable("nobody has learnt of it"))
    await session.run()
    await session.wait_ended()


# Readers


async def test_a_reader_is_woken_by_what_comes(autojump_clock: MockClock) -> None:
    async with open_session() as talk:

        async def speak() -> None:
            for n in range(3):
                await trio.sleep(10)
                talk.server.say(note(str(n)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(speak)
            with talk.session.attach(talk.session.log.standalone) as cursor:
                for n in range(3):
                    number, (message,) = await cursor.read()
                    assert (number, json.loads(message)) == (n + 1, note(str(n)))
                    assert trio.current_time() == 10 * (n + 1)


async def test_a_read_that_is_cancelled_loses_nothing(autojump_clock: MockClock) -> None:
    async with open_session() as talk:
        with talk.session.attach(talk.session.log.standalone) as cursor:
            with trio.move_on_after(15):
                await cursor.read()
            await talk.hear_said(note("a"))
            with trio.CancelScope() as scope:
                scope.cancel()
                await trio.lowlevel.checkpoint()
            number, (message,) = await cursor.read()
            assert (number, json.loads(message)) == (1, note("a"))


async def test_the_newest_reader_of_a_stream_wins(autojump_clock: MockClock) -> None:
    """A connection that was cut off without anybody noticing must not lock its client out."""
    async with open_session() as talk:
        stream = talk.session.log.standalone
        with talk.session.attach(stream) as older, talk.session.attach(stream) as newer:
            with trio.fail_after(1):
                assert await older.read() == (1, [])
            assert older.is_at_end
            await talk.hear_said(note())
            assert [json.loads(m) for m in (await newer.read())[1]] == [note()]
            assert await older.read() == (1, [])
            older.__exit__(None, None, None)
            await talk.hear_said(note("b"))
            assert [json.loads(m) for m in (await newer.read())[1]] == [note("b")]


async def test_a_reader_that_is_superseded_stops_waiting_for_its_answer(autojump_clock: MockClock) -> None:
    async with open_session() as talk:
        stream = await talk.ask(1)
        with talk.session.attach(stream) as older:

            async def take_over() -> None:
                await trio.sleep(1)
                with talk.session.attach(stream):
                    await trio.sleep(1)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(take_over)
                assert not await older.wait_answer(1000)
                assert trio.current_time() == 1


@pytest.mark.parametrize(
    ("said", "is_lone"), [(["answer"], True), (["note", "answer"], False), (["note"], False), ([], False)]
)
async def test_a_lone_answer_is_known_within_its_time(said: list[str], is_lone: bool, autojump_clock: MockClock) -> None:
    async with open_session() as talk:
        stream = await talk.ask(1)

        async def speak() -> None:
            await trio.sleep(0.01)
            words = {"answer": {"jsonrpc": "2.0", "id": 1, "result": {}}, "note": note()}
            talk.server.say(*(words[word] for word in said))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(speak)
            with talk.session.attach(stream) as cursor:
                assert await cursor.wait_answer(0.05) is is_lone
                assert trio.current_time() == (0.01 if said else 0.05)


async def test_everybody_is_out_of_patience_in_their_own_time(autojump_clock: MockClock) -> None:
    async with open_session() as talk:
        times: dict[int, float] = {}

        async def wait(request_id: int) -> None:
            await trio.sleep(request_id * 0.02)
            stream = await talk.ask(request_id)
            with talk.session.attach(stream) as cursor:
                if await cursor.wait_answer(0.05):
                    return
                times[request_id] = round(trio.current_time(), 3)
                if request_id == 2:
                    await talk.answer(3)

        async with trio.open_nursery() as nursery:
            for request_id in range(1, 6):
                nursery.start_soon(wait, request_id)
        assert times == {1: 0.07, 2: 0.09, 4: 0.13, 5: 0.15}


async def test_a_stream_that_was_read_starts_for_the_next_reader_where_it_was_left(autojump_clock: MockClock) -> None:
    async with open_session() as talk:
        stream = talk.session.log.standalone
        await talk.hear_said(note("a"), note("b"))
        with talk.session.attach(stream) as cursor:
            assert (await cursor.read())[0] == 1
        await talk.hear_said(note("c"))
        with talk.session.attach(stream) as cursor:
            number, (message,) = await cursor.read()
            assert (number, json.loads(message)) == (3, note("c"))


async def test_a_resumed_reader_gets_what_it_has_missed_and_then_what_comes(autojump_clock: MockClock) -> None:
    """Transports §Resumability and Redelivery."""
    async with open_session() as talk:
        stream = await talk.ask(1)
        await talk.hear_said(note("a"), note("b"), note("c"))
        with talk.session.attach(stream) as cursor:
            await cursor.read()
        found, position = talk.session.log.find(f"{stream.id_prefix.decode()}1")
        with talk.session.attach(found, position) as cursor:
            number, messages = await cursor.read()
            assert (number, [json.loads(m) for m in messages]) == (2, [note("b"), note("c")])
            await talk.answer(1)
            number, messages = await cursor.read()
            assert (number, len(messages), cursor.is_at_end) == (4, 1, True)


async def test_a_resumed_reader_misses_nothing_of_what_comes_before_it_reads(autojump_clock: MockClock) -> None:
    async with open_session(event_store_max_events=16) as talk:
        stream = talk.session.log.standalone
        await talk.hear_said(*(note(str(n)) for n in range(10)))
        with talk.session.attach(stream) as cursor:
            await cursor.read()
        with talk.session.attach(stream, 4) as cursor:
            await talk.hear_said(*(note(str(n)) for n in range(10, 30)))
            number, messages = await cursor.read()
            assert (number, [json.loads(m) for m in messages]) == (4, [note(str(n)) for n in range(3, 30)])


async def test_event_ids_of_another_session_are_unknown(autojump_clock: MockClock) -> None:
    async with open_session() as one, open_session() as two:
        await one.hear_said(note())
        await two.hear_said(note())
        event_id = f"{one.session.log.standalone.id_prefix.decode()}0"
        assert one.session.log.find(event_id) == (one.session.log.standalone, 1)
        with pytest.raises(EventNotFound):
            two.session.log.find(event_id)


async def test_what_nobody_reads_waits_within_bounds(autojump_clock: MockClock) -> None:
    async with open_session(event_store_max_events=10) as talk:
        for n in range(100):
            await talk.hear_said(note(str(n)))
        assert talk.server.unreceived == 0
        assert talk.session.log.events <= 10
        with talk.session.attach(talk.session.log.standalone) as cursor:
            _, messages = await cursor.read()
        assert json.loads(messages[-1]) == note("99")


async def test_a_slow_reader_slows_the_server_down_and_loses_nothing(autojump_clock: MockClock) -> None:
    async with open_session(event_store_max_bytes=1000) as talk:
        with talk.session.attach(talk.session.log.standalone) as cursor:
            for n in range(40):
                await talk.hear_said(note(str(n), size=100))
            assert talk.session.log.bytes < 1500
            assert talk.server.unreceived > 30
            got: list[Any] = []
            while len(got) < 40:
                await trio.sleep(29)
                got += (await cursor.read())[1]
                await wait_all_tasks_blocked()
            assert [json.loads(m) for m in got] == [note(str(n), size=100) for n in range(40)]
            assert not cursor.is_superseded


async def test_a_reader_that_stands_still_is_let_go(autojump_clock: MockClock) -> None:
    async with open_session(event_store_max_bytes=1000) as talk:
        stream = await talk.ask(1)
        with talk.session.attach(talk.session.log.standalone) as stalled, talk.session.attach(stream) as lively:
            await talk.ask(2)
            await talk.hear_said(*(note(str(n), size=100) for n in range(20)))
            talk.server.say(note("more"), {"jsonrpc": "2.0", "id": 1, "result": {}})
            assert (await lively.read())[0] == 1
            assert trio.current_time() == 30
            assert await stalled.read() == (1, [])
            assert stalled.is_superseded
            assert talk.server.unreceived == 0
            assert talk.session.log.bytes <= 1000


async def test_readers_that_come_and_go_do_not_prolong_the_time_of_one_that_stands_still(autojump_clock: MockClock) -> None:
    async with open_session(event_store_max_bytes=1000) as talk:
        stream = await talk.ask(1)
        with talk.session.attach(talk.session.log.standalone) as stalled:
            await talk.ask(2)
            await talk.hear_said(*(note(str(n), size=100) for n in range(20)))
            while not stalled.is_superseded and trio.current_time() < 300:
                with talk.session.attach(stream), trio.move_on_after(7):
                    await trio.sleep_forever()
            assert trio.current_time() == 35


async def test_a_session_whose_last_reader_was_let_go_is_idle_from_then_on(autojump_clock: MockClock) -> None:
    async with open_session(event_store_max_bytes=1000, times={"session_idle_timeout": 600}) as talk:
        await talk.shake_hands()
        with talk.session.attach(talk.session.log.standalone):
            await trio.sleep(1000)
            await talk.hear_said(*(note(str(n), size=100) for n in range(20)))
            with trio.fail_after(100_000):
                await talk.session.wait_ended()
            assert trio.current_time() == 1000 + 30 + 600


async def test_without_an_event_store_an_answer_is_kept_for_nobody(autojump_clock: MockClock) -> None:
    async with open_session(event_store=False) as talk:
        read = await talk.ask(1)
        with talk.session.attach(read) as cursor:
            await talk.answer(1)
            assert len((await cursor.read())[1]) == 1
        left = await talk.ask(2)
        with talk.session.attach(left):
            pass
        await talk.answer(2)
        assert (talk.session.log.events, talk.session.log.bytes) == (0, 0)
        for stream in (read, left):
            with pytest.raises(EventNotFound):
                talk.session.log.find(f"{stream.id_prefix.decode()}0")


# A server that reads nothing


async def test_a_client_waits_for_a_server_that_is_behind(autojump_clock: MockClock) -> None:
    async with open_session() as talk:
        large = note(size=2_000_000)
        await talk.session.submit([parse_line(json.dumps(large).encode())])
        assert talk.server.is_congested

        async def catch_up() -> None:
            await trio.sleep(9)
            await talk.server.hear()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(catch_up)
            await talk.session.submit([parse_line(json.dumps(note()).encode())])
            assert trio.current_time() == 9
        assert await talk.server.hear() == note()


async def test_a_client_of_a_server_that_stays_behind_is_told_to_come_back(autojump_clock: MockClock) -> None:
    async with open_session() as talk:
        await talk.session.submit([parse_line(json.dumps(note(size=2_000_000)).encode())])
        with pytest.raises(Unavailable) as raised:
            await talk.session.submit([parse_line(b'{"jsonrpc":"2.0","id":1,"method":"x"}')])
        assert trio.current_time() == 10
        assert dict(raised.value.headers)[b"retry-after"]
        assert (talk.server.unheard, talk.session.calls) == (1, 0)


async def test_clients_that_waited_for_a_server_together_do_not_overwhelm_it(autojump_clock: MockClock) -> None:
    async with open_session() as talk:
        line = json.dumps(note(size=2_000_000)).encode()
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(talk.session.submit, [parse_line(line)])
            for _ in range(5):
                await wait_all_tasks_blocked()
                assert talk.server.unheard == 1
                await talk.server.hear_line()


async def test_a_client_that_waits_for_a_server_that_ends_has_no_session(autojump_clock: MockClock) -> None:
    async with open_session() as talk:
        await talk.session.submit([parse_line(json.dumps(note(size=2_000_000)).encode())])
        async with trio.open_nursery() as nursery:

            async def end() -> None:
                await trio.sleep(1)
                talk.server.end(ChildExited("the server exited with status 0"))

            nursery.start_soon(end)
            with pytest.raises(SessionNotFound, match="exited with status 0"):
                await talk.ask(1)


async def test_a_client_that_leaves_while_it_waits_has_sent_nothing(autojump_clock: MockClock) -> None:
    async with open_session() as talk:
        await talk.session.submit([parse_line(json.dumps(note(size=2_000_000)).encode())])
        with trio.move_on_after(1):
            await talk.session.submit([parse_line(b'{"jsonrpc":"2.0","id":1,"method":"x"}')])
        assert (talk.server.unheard, talk.session.calls) == (1, 0)


async def test_a_slow_reader_that_goes_on_taking_something_is_not_let_go(autojump_clock: MockClock) -> None:
    async with open_session(event_store_max_bytes=1000) as talk:
        await talk.ask(1)
        with talk.session.attach(talk.session.log.standalone) as slow:
            await talk.ask(2)
            await talk.hear_said(*(note(str(n), size=100) for n in range(20)))
            await slow.read()
            await talk.hear_said(*(note(str(n), size=100) for n in range(20)))
            assert talk.session.log.is_full
            for _ in range(10):
                await trio.sleep(20)
                slow.note_sent(with_ids=False)
            assert not slow.is_superseded
            await trio.sleep(31)
            assert slow.is_superseded
