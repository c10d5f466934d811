"""HTTP and server-sent events, as the checks see them."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from conformance.events import Event, EventParser, WireError
from conformance.wire import Address, Wire, parse_address

STREAM = (
    b"\xef\xbb\xbf: open\r\n\r\nid: 1\nretry: 250\ndata:\n\n"
    b'event: message\rdata: one\rdata: two\r\rid: 2\r\ndata: {"a": "\xe4\xb8\x96"}\r\n\r\nnothing\n\nid: 3\n'
)
EVENTS = [
    Event(comment="open"),
    Event(id="1", retry="250", data=""),
    Event(name="message", data="one\ntwo"),
    Event(id="2", data='{"a": "世"}'),
    Event(),
]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
def test_events_come_out_whole_however_the_bytes_were_cut(size: int) -> None:
    parser = EventParser()

    events = [event for start in range(0, len(STREAM), size) for event in parser.feed(STREAM[start : start + size])]

    assert events == EVENTS


def test_an_event_that_is_not_utf_8_is_an_error() -> None:
    with pytest.raises(WireError, match="UTF-8"):
        EventParser().feed(b"data: \xff\n\n")


@pytest.mark.parametrize(
    ("url", "address", "authority"),
    [
        ("http://127.0.0.1:8080/mcp?a=b", Address("http", "127.0.0.1", 8080, "/mcp?a=b"), "127.0.0.1:8080"),
        ("https://example.com", Address("https", "example.com", 443, "/"), "example.com"),
        ("http://[::1]:9/x", Address("http", "::1", 9, "/x"), "[::1]:9"),
    ],
)
def test_a_url_is_taken_apart(url: str, address: Address, authority: str) -> None:
    assert parse_address(url) == address
    assert address.authority == authority


@pytest.mark.parametrize("url", ["ftp://example.com/", "/mcp", "http://"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="not an http"):
        parse_address(url)


def test_headers_of_a_request_replace_those_of_all_and_may_come_twice() -> None:
    wire = Wire(parse_address("http://h/mcp"), {"authorization": "Bearer a"})

    request = wire.encode_request("POST", [("Authorization", "Bearer b"), ("X", "1"), ("X", "2")], b"{}")

    head, _, body = request.partition(b"\r\n\r\n")
    assert body == b"{}"
    assert head.split(b"\r\n")[0] == b"POST /mcp HTTP/1.1"
    assert sorted(head.split(b"\r\n")[1:]) == sorted(
        [b"host: h", b"user-agent: mcp-conformance", b"content-length: 2", b"Authorization: Bearer b", b"X: 1", b"X: 2"]
    )


def answering(answer: bytes) -> Wire:
    """A peer that says `answer` to whatever it hears, and closes."""

    async def dial(address: Address) -> trio.abc.Stream:
        ours, theirs = memory_stream_pair()
        await theirs.send_all(answer)
        await theirs.send_eof()
        return ours

    return Wire(parse_address("http://h/mcp"), dial=dial)


async def test_a_response_is_read_to_its_end_and_written_down() -> None:
    wire = answering(b'HTTP/1.1 200 OK\r\ncontent-type: Application/JSON; a=b\r\ncontent-length: 7\r\n\r\n{"a":1}')

    async with wire.open("POST", {}, b"{}") as reply:
        assert (reply.status, reply.content_type, reply.is_stream) == (200, "application/json", False)
        assert await reply.json() == {"a": 1}

    assert wire.transcript == ["> POST /mcp HTTP/1.1", "> {}", "< 200 Application/JSON; a=b", '< {"a":1}']


@pytest.mark.parametrize(
    "answer",
    [b"", b"hello\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n{", b"HTTP/1.1 200 OK\r\nconte"],
    ids=["nothing", "not HTTP", "half a body", "half a head"],
)
async def test_what_is_no_whole_response_is_an_error(answer: bytes) -> None:
    with pytest.raises(WireError):
        async with answering(answer).open("GET") as reply:
            await reply.body()


async def test_a_stream_that_ends_gives_no_more_events() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"

    async with answering(head + b"data: x\n\ndata: half").open("GET") as reply:
        assert await reply.next_event() == Event(data="x")
        assert await reply.next_event() is None
        assert await reply.next_event() is None


async def test_leaving_the_block_cuts_the_connection(autojump_clock: MockClock) -> None:
    ours, theirs = memory_stream_pair()

    async def dial(address: Address) -> trio.abc.Stream:
        return ours

    wire = Wire(parse_address("http://h/mcp"), dial=dial)
    await theirs.send_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
    async with wire.open("GET"):
        pass

    assert (await theirs.receive_some(1000)).startswith(b"GET /mcp")
    assert await theirs.receive_some(1000) == b""
