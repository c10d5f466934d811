"""Heads that are remembered say what h11 says of them, and what is written from memory is what h11 would write."""

from __future__ import annotations

import h11
import pytest

from trioproxy.heads import Head, Headers, Heads, pretend_plain, write_plain

PLAIN = b"POST /mcp?a=%20 HTTP/1.1\r\nHost: localhost\r\nX-Key: \xff k\r\nContent-Length: 5\r\n\r\n"
HEAD = Head(
    "POST",
    "/mcp",
    b"/mcp",
    b"a=%20",
    "1.1",
    [(b"host", b"localhost"), (b"x-key", b"\xff k"), (b"content-length", b"5")],
)
DATE = (b"date", b"Sat, 21 Nov 2026 15:00:00 GMT")


def with_lines(*lines: bytes, start: bytes = b"POST / HTTP/1.1") -> bytes:
    return b"\r\n".join((start, b"Host: localhost", *lines, b"", b""))


# Reading


def test_a_plain_head_is_found_with_as_much_of_its_body_as_there_is() -> None:
    heads = Heads()
    for _ in range(2):
        for body in (b"", b"hel", b"hello"):
            assert heads.find(PLAIN + body) == (HEAD, 5, body)


def test_what_is_not_all_there_and_what_has_more_behind_it_is_left_to_h11() -> None:
    heads = Heads()
    heads.find(PLAIN)
    for cut in range(len(PLAIN)):
        assert heads.find(PLAIN[:cut]) is None
    assert heads.find(PLAIN + b"hello" + b"P") is None


@pytest.mark.parametrize("value", [b"keep-alive", b"Keep-Alive"])
def test_who_says_that_the_connection_goes_on_says_nothing_new(value: bytes) -> None:
    assert Heads().find(with_lines(b"Connection: " + value, b"Content-Length: 0")) is not None


@pytest.mark.parametrize(
    "raw",
    [
        with_lines(),
        with_lines(b"Content-Length: 5", b"Content-Length: 6"),
        with_lines(b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        with_lines(b"Transfer-Encoding: chunked"),
        with_lines(b"Content-Length: -5"),
        with_lines(b"Content-Length: +5"),
        with_lines(b"Content-Length : 5"),
        with_lines(b"Content-Length: 5", b"Connection: close"),
        with_lines(b"Content-Length: 5", b"Connection: keep-alive, close"),
        with_lines(b"Content-Length: 5", b"Connection: upgrade", b"Upgrade: h2c"),
        with_lines(b"Content-Length: 5", b"Expect: 100-continue"),
        with_lines(b"Content-Length: 5", start=b"PUT / HTTP/1.1"),
        with_lines(b"Content-Length: 5", start=b"POST / HTTP/1.0"),
        with_lines(b"Content-Length: 5", start=b"POST  / HTTP/1.1"),
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n",
        # Where h11 sees an end that others don't, the body would begin elsewhere.
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\n\nhello\r\n\r\n",
        b"POST / HTTP/1.1\nHost: localhost\r\nContent-Length: 5\r\n\r\n",
        b"\r\n\r\n",
        b"\r\n" + PLAIN,
        b"\n" + PLAIN,
        with_lines(b"X: " + b"x" * 5000, b"Content-Length: 5"),
    ],
)
def test_what_is_not_plain_is_left_to_h11(raw: bytes) -> None:
    heads = Heads()
    assert heads.find(raw) is None
    assert heads.find(raw) is None


def test_a_head_may_come_with_a_whole_url() -> None:
    found = Heads().find(with_lines(b"Content-Length: 0", start=b"POST http://other.example/mcp HTTP/1.1"))
    assert found is not None
    head, _, _ = found
    assert (head.path, head.headers[0]) == ("/mcp", (b"host", b"other.example"))


def test_so_many_heads_are_remembered_and_no_more() -> None:
    heads = Heads()
    for number in range(2000):
        assert heads.find(with_lines(b"X: %d" % number, b"Content-Length: 0")) is not None
    assert len(heads) == 512


def test_a_head_of_countless_lines_is_not_remembered() -> None:
    """Each of its lines would take thirty times its own length."""
    heads = Heads()
    assert heads.find(with_lines(*[b"X:"] * 60, b"Content-Length: 0")) is not None
    assert heads.find(with_lines(*[b"X:"] * 64, b"Content-Length: 0")) is None
    assert len(heads) == 1


# Writing


@pytest.mark.parametrize("status", [200, 202, 404, 503])
@pytest.mark.parametrize("headers", [[], [(b"content-type", b"application/json"), (b"X-Twice", b"1"), (b"X-Twice", b"2")]])
@pytest.mark.parametrize("body", [b"", b"{}", b"x" * 100_000])
def test_an_answer_is_what_h11_would_write(status: int, headers: Headers, body: bytes) -> None:
    length = (b"content-length", b"%d" % len(body))
    http = h11.Connection(h11.SERVER)
    http.receive_data(PLAIN + b"hello")
    while type(http.next_event()) is not h11.EndOfMessage:
        pass
    response = h11.Response(status_code=status, headers=[*headers, length, DATE])
    written = http.send(response) + (http.send(h11.Data(data=body)) or b"") + (http.send(h11.EndOfMessage()) or b"")

    for _ in range(2):
        assert write_plain(status, [*headers, length], DATE, body) == written


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"content-length", b"3")],
        [(b"content-length", b"2"), (b"x", b"y")],
        [(b"connection", b"close"), (b"content-length", b"2")],
        [(b"Connection", b"close"), (b"content-length", b"2")],
        [(b"transfer-encoding", b"chunked"), (b"content-length", b"2")],
        # Two lengths, of which one would be taken for the other.
        [(b"content-length", b"0"), (b"x", b"y"), (b"content-length", b"2")],
        [(b"Content-Length", b"0"), (b"x", b"0"), (b"content-length", b"2")],
        [(b"content-length", b"2"), (b"content-length", b"2")],
    ],
)
def test_an_answer_that_is_framed_otherwise_is_left_to_h11(headers: Headers) -> None:
    for _ in range(2):
        assert write_plain(200, headers, DATE, b"{}") is None


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("body", [b"", b"{}"])
def test_an_answer_whose_status_allows_no_body_is_left_to_h11(status: int, body: bytes) -> None:
    """RFC 9112 §6.3: such a response "is always terminated by the first empty line", whatever its headers say."""
    assert write_plain(status, [(b"content-length", b"%d" % len(body))], DATE, body) is None


@pytest.mark.parametrize("header", [(b"x", b"a\r\nSet-Cookie: b"), (b"x y", b"a"), (b"", b"a")])
def test_what_is_no_header_is_not_written(header: tuple[bytes, bytes]) -> None:
    for _ in range(2):
        with pytest.raises(h11.LocalProtocolError):
            write_plain(200, [header, (b"content-length", b"2")], DATE, b"{}")


# Letting h11 go on


@pytest.mark.parametrize("received", [0, 2, 5])
def test_h11_goes_on_as_if_it_had_seen_the_request(received: int) -> None:
    seen, pretended = h11.Connection(h11.SERVER), h11.Connection(h11.SERVER)
    seen.receive_data(PLAIN + b"hello"[:received])
    while seen.next_event() is not h11.NEED_DATA and seen.their_state is not h11.DONE:
        pass
    pretend_plain(pretended, 5 - received)

    assert pretended.states == seen.states
    for http in (seen, pretended):
        http.receive_data(b"hello"[received:] + b"GET / HTTP/1.1\r\n")
    if received < 5:
        assert bytes(pretended.next_event().data) == bytes(seen.next_event().data) == b"hello"[received:]  # type: ignore[union-attr]
        assert type(pretended.next_event()) is type(seen.next_event()) is h11.EndOfMessage
    response = h11.Response(status_code=200, headers=[])
    assert pretended.send(response) == seen.send(response)
    assert pretended.send(h11.EndOfMessage()) == seen.send(h11.EndOfMessage())
    assert pretended.states == seen.states
    assert pretended.trailing_data == seen.trailing_data == (b"GET / HTTP/1.1\r\n", False)
