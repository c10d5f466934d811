"""One connection, as a hostile network uses it.  Every server here also has to go on serving everybody else."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from typing import Any

import h2.connection
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests import wire
from tests.serving import (
    OK,
    answer,
    ask,
    echo,
    is_json_rpc_error,
    next_answer,
    read_to_end,
    reset_on_close,
    serving,
    wait_until,
)
from trioproxy import connection as module
from trioproxy import worker

POST = b"POST / HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


async def greet(scope: Any, receive: Any, send: Any) -> None:
    """Answer without a look at the body (ASGI)."""
    await answer(send, 200, b"hello")


class Streamer:
    """An endless stream (ASGI), which remembers how it ended."""

    def __init__(self, piece: bytes = b"x" * 65536) -> None:
        self.piece = piece
        self.error: OSError | None = None
        self.ended = trio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                await send({"type": "http.response.body", "body": self.piece, "more_body": True})
        except OSError as error:
            self.error = error
            raise
        finally:
            self.ended.set()


class Waiter:
    """Waits for the client to leave (ASGI), and remembers what it was told."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.waits = trio.Event()
        self.left = trio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        self.waits.set()
        while not self.heard or self.heard[-1] != "http.disconnect":
            self.heard.append((await receive())["type"])
        self.left.set()


# What is known to kill others


def http2(path: bytes = b"/", early: bool = False) -> bytes:
    """Return what a client of HTTP/2 sends that assumes we speak it."""
    connection = h2.connection.H2Connection()
    connection.initiate_connection()
    headers: list[tuple[bytes | str, bytes | str]]
    headers = [(":method", "POST"), (":scheme", "http"), (":authority", "localhost"), (":path", path)]
    connection.send_headers(1, headers)
    if early:
        connection.send_data(1, b"more")
        connection.send_data(1, b"and more")
    data: bytes = connection.data_to_send()
    return data


UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
KILLERS = {
    "bytes after a WebSocket upgrade": UPGRADE + b"x",
    "a frame after a WebSocket upgrade": UPGRADE + b"\x81\x85abcdefghi",
    "HTTP/2 with data after the answer": http2(early=True),
    "HTTP/2 with a path that is not ASCII": http2(path=b"/\xff\xfe"),
    "a path that is not ASCII": b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "an illegal second chunk": POST + CHUNKED + b"1\r\na\r\nzz\r\nb\r\n",
    "a chunk of a negative size": POST + CHUNKED + b"-1\r\na\r\n",
    "a chunk size without end": POST + CHUNKED + b"0" * 200_000,
    "a Content-Length of 400 digits": POST + b"Content-Length: " + b"9" * 400 + b"\r\n\r\n",
    "NUL": b"\0" * 1000,
    "a TLS hello": bytes.fromhex("16030100f8010000f40303"),
}


@pytest.mark.parametrize("app", [greet, echo])
@pytest.mark.parametrize("killer", KILLERS.values(), ids=list(KILLERS))
async def test_what_kills_other_servers_leaves_everybody_else_served(killer: bytes, app: Any) -> None:
    async with serving(app) as listener:
        for _ in range(4):
            async with wire.connect(listener.url) as hostile:
                await hostile.stream.send_all(killer)
                with trio.move_on_after(0.02):
                    await read_to_end(hostile.stream)
            assert (await wire.request(listener.url + "/")).status == 200


async def test_illegal_chunks_to_an_application_that_answers_first_harm_nobody() -> None:
    """The race that ends hypercorn's server after some 35 such connections."""
    async with serving(greet) as listener, wire.connect(listener.url) as witness:

        async def attack() -> None:
            async with wire.connect(listener.url) as hostile:
                await hostile.stream.send_all(KILLERS["an illegal second chunk"])
                await read_to_end(hostile.stream)

        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(attack)
        assert (await ask(witness, OK)).status == 200


class Fuzz:
    """Seeded nonsense, some of it nearly right."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.kinds = [self.noise, self.chunked, self.pipeline, self.mangled]

    def noise(self) -> bytes:
        return self.random.randbytes(self.random.randrange(1, 2000))

    def chunked(self) -> bytes:
        body = b""
        for _ in range(self.random.randrange(8)):
            size = self.random.choice([0, 1, 2, 5, 100, 5000])
            said = self.random.choice([b"%x" % size, b"%x;ext=1" % size, b"zz", b"", b"-1", b"f" * 30])
            body += said + self.random.choice([b"\r\n", b"\n", b""]) + b"x" * size
            body += self.random.choice([b"\r\n", b"\r\n", b"x"])
        body += self.random.choice([b"0\r\n\r\n", b"0\r\nA: b\r\n\r\n", b""])
        return POST + CHUNKED + body

    def pipeline(self) -> bytes:
        whole = [OK, UPGRADE, OK.replace(b"GET", b"HEAD"), b"\r\n", POST + b"Content-Length: 5\r\n\r\nhello"]
        return b"".join(self.random.choices([*whole, self.noise(), self.chunked()], [9, 1, 3, 1, 9, 1, 1], k=20))

    def mangled(self) -> bytes:
        data = bytearray(self.pipeline())
        for _ in range(self.random.randrange(1, 4)):
            at = self.random.randrange(len(data))
            data[at : at + self.random.randrange(3)] = self.random.randbytes(self.random.randrange(3))
        return bytes(data)

    def next(self) -> tuple[list[bytes], str]:
        """Return pieces to send, and how to leave."""
        data = self.random.choice(self.kinds)()
        cuts = sorted(self.random.randrange(len(data) + 1) for _ in range(self.random.randrange(4)))
        pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        return pieces, self.random.choice(["close", "reset", "half-close", "read"])


async def misbehave(stream: trio.SocketStream, pieces: list[bytes], ending: str) -> None:
    """Be one client of the fuzz."""
    try:
        for piece in pieces:
            await stream.send_all(piece)
        if ending == "half-close":
            await stream.send_eof()
        if ending in ("read", "half-close"):
            with trio.move_on_after(0.05):
                await read_to_end(stream)
        if ending == "reset":
            reset_on_close(stream)
    except trio.BrokenResourceError:
        pass


async def mixed(scope: Any, receive: Any, send: Any) -> None:
    """Answer early, late or in pieces (ASGI), as the method has it."""
    if scope["method"] == "POST":
        await echo(scope, receive, send)
    elif scope["method"] == "GET":
        await greet(scope, receive, send)
    else:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        await receive()
        await send({"type": "http.response.body", "body": b"late"})


@pytest.mark.parametrize("seed", range(3))
async def test_three_hundred_nonsensical_clients_are_survived(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    fuzz = Fuzz(seed)
    async with serving(mixed) as listener, wire.connect(listener.url) as witness:
        limit = trio.CapacityLimiter(25)

        async def misbehave_in_turn(pieces: list[bytes], ending: str) -> None:
            async with limit, wire.connect(listener.url) as hostile:
                assert isinstance(hostile.stream, trio.SocketStream)
                await misbehave(hostile.stream, pieces, ending)

        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(misbehave_in_turn, *fuzz.next())
        assert (await ask(witness, OK)).body == b"hello"
        # Whoever is left waits for a request to be finished, or lingers.
        await wait_until(lambda: listener.connections <= 5)
    assert not caplog.records, "a client can make us log tracebacks"


# Answers that come early


@pytest.mark.parametrize("size", [1000, 20_000_000])
@pytest.mark.parametrize("status", [401, 404, 405, 413])
async def test_an_answer_can_be_read_by_a_client_whose_body_nobody_reads(status: int, size: int) -> None:
    async def refuse(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, status, b"no")

    async with serving(refuse) as listener, wire.connect(listener.url) as client:
        response = await ask(client, POST + b"Content-Length: %d\r\n\r\n" % size + b"x" * size)
        assert (response.status, response.body) == (status, b"no")
        assert response.headers["connection"] == "close"
        assert await read_to_end(client.stream) == b""
        await client.stream.aclose()
        await wait_until(lambda: listener.connections == 0)


async def send_for_ever(stream: trio.abc.SendStream) -> None:
    await stream.send_all(POST + CHUNKED)
    while True:
        await stream.send_all(b"1\r\nx\r\n")
        await trio.sleep(0.001)


async def test_an_early_answer_holds_no_connection_to_a_client_that_never_stops_sending(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "LINGER_TIME", 0.1)
    async with serving(greet) as listener, wire.connect(listener.url) as client:
        with pytest.raises(trio.BrokenResourceError):
            await send_for_ever(client.stream)
        assert (await wire.request(listener.url + "/")).status == 200


async def test_a_client_that_expects_to_be_told_is_told_to_continue() -> None:
    async with serving(echo) as listener, wire.connect(listener.url) as client:
        await client.stream.send_all(POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert await client.stream.receive_some() == b"HTTP/1.1 100 \r\n\r\n"
        assert (await ask(client, b"hello")).body == b"hello"
        assert (await ask(client, OK)).status == 200


async def test_a_client_that_expects_to_be_told_is_not_told_to_continue_where_its_body_is_not_wanted() -> None:
    async with serving(greet) as listener, wire.connect(listener.url) as client:
        response = await ask(client, POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert (response.status, response.headers["connection"]) == (200, "close")


async def test_a_client_of_http_1_0_is_never_told_to_continue() -> None:
    async with serving(echo) as listener, wire.connect(listener.url) as client:
        await client.stream.send_all(b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello")
        assert (await read_to_end(client.stream)).startswith(b"HTTP/1.1 200 ")


# Clients that don't read


async def test_a_client_that_has_stopped_reading_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEND_TIME", 0.2)
    app = Streamer()
    async with serving(app) as listener, wire.connect(listener.url) as client:
        await client.stream.send_all(OK)
        await app.ended.wait()
        assert str(app.error) == "the client has read nothing for 0.2 s"
        await wait_until(lambda: listener.connections == 0)


async def test_a_client_that_reads_slowly_gets_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts is that something is read in the time, and not how much."""
    monkeypatch.setattr(module, "SEND_TIME", 0.3)
    body = random.Random(0).randbytes(5_000_000)

    async def big(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, 200, body)

    async with serving(big) as listener, wire.connect(listener.url) as client:
        await client.stream.send_all(OK)
        got = b""
        while len(got) < len(body):
            got += await client.stream.receive_some(500_000)
            await trio.sleep(0.02)
        assert got.endswith(body[-1000:])


@pytest.mark.parametrize("stopping", [True, False], ids=["stopped", "cancelled"])
async def test_the_server_ends_at_once_though_a_client_has_stopped_reading(stopping: bool) -> None:
    app = Streamer()
    async with AsyncExitStack() as client_outlives_server:
        async with serving(app) as listener:
            client = await client_outlives_server.enter_async_context(wire.connect(listener.url))
            await client.stream.send_all(OK)
            # The application has written as much as the two sockets take.
            await wait_all_tasks_blocked(0.1)
            began = trio.current_time()
            if stopping:
                await listener.stop_accepting()
        assert trio.current_time() - began < 0.5
        assert app.ended.is_set()


async def test_bytes_from_a_client_that_reads_slowly_are_not_taken_for_its_leaving() -> None:
    """A stream watches for the disconnect while it writes, and what it sees may be the next request."""
    body = b"x" * 8_000_000
    heard: list[str] = []

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        async def watch() -> None:
            await receive()
            heard.append((await receive())["type"])
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            await answer(send, 200, body)
            nursery.cancel_scope.cancel()

    async with serving(watched) as listener, wire.connect(listener.url) as client:
        await client.stream.send_all(OK)
        await wait_all_tasks_blocked(0.05)
        await client.stream.send_all(OK)
        await wait_all_tasks_blocked(0.05)
        assert [len((await next_answer(client)).body) for _ in range(2)] == [len(body)] * 2
        assert heard == []


# Clients that leave


@pytest.mark.parametrize("more", [b"", b"\r\n", OK, b"x" * 1000], ids=["nothing", "line end", "request", "nonsense"])
@pytest.mark.parametrize("ending", ["close", "reset"])
async def test_a_client_is_seen_to_leave_whatever_it_has_sent_before(more: bytes, ending: str) -> None:
    app = Waiter()
    async with serving(app) as listener:
        async with wire.connect(listener.url) as client:
            await client.stream.send_all(OK + more)
            await app.waits.wait()
            if ending == "reset":
                assert isinstance(client.stream, trio.SocketStream)
                reset_on_close(client.stream)
        await app.left.wait()
        assert app.heard == ["http.request", "http.disconnect"]


async def test_who_answers_a_client_that_has_left_gets_an_oserror() -> None:
    """ASGI 2.4: "servers should raise an OSError"."""
    errors: list[Exception] = []
    waiter = Waiter()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await waiter(scope, receive, send)
        try:
            await send({"type": "http.response.body", "body": b"second"})
        except OSError as error:
            errors.append(error)
            raise

    async with serving(app) as listener:
        async with wire.connect(listener.url) as client:
            await client.stream.send_all(OK)
            await waiter.waits.wait()
        await wait_until(lambda: listener.connections == 0)
    assert [str(error) for error in errors] == ["the client has closed the connection"]


async def test_an_application_that_keeps_send_can_write_on_nobody_elses_connection() -> None:
    kept: list[Callable[[Any], Awaitable[None]]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        kept.append(send)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})

    async with serving(app) as listener:
        async with wire.connect(listener.url) as client:
            await client.stream.send_all(OK)
            assert (await read_to_end(client.stream)).endswith(b"5\r\nfirst\r\n")
        await wait_until(lambda: listener.connections == 0)
        async with wire.connect(listener.url) as other:
            with pytest.raises(OSError, match="the client has closed"):
                await kept[0]({"type": "http.response.body", "body": b"stray", "more_body": True})
            await other.stream.send_all(OK)
            assert b"stray" not in await read_to_end(other.stream)


async def test_an_application_that_keeps_receive_reads_from_nobody_elses_connection() -> None:
    kept: list[Callable[[], Awaitable[dict[str, Any]]]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        kept.append(receive)
        await echo(scope, receive, send)

    async with serving(app) as listener:
        async with wire.connect(listener.url) as client:
            await client.stream.send_all(POST + b"Content-Length: 5\r\n\r\nhel")
            await wait_until(lambda: bool(kept))
            (connection,) = listener._worker.connections
            # As if its time were up for another reason than the client's slowness.
            connection._scope_of_life.cancel()
            await read_to_end(client.stream)
        await wait_until(lambda: listener.connections == 0)
        async with wire.connect(listener.url) as other:
            # The number of the socket that is gone may be this one's now.
            assert (await ask(other, HELLO)).body == b"hello"
            with trio.move_on_after(1) as waiting:
                assert (await kept[0]())["type"] == "http.disconnect"
            assert not waiting.cancelled_caught
            assert (await ask(other, HELLO)).body == b"hello"


async def test_a_client_that_only_stops_sending_is_still_answered() -> None:
    async with serving(echo) as listener, wire.connect(listener.url) as client:
        await client.stream.send_all(POST + b"Content-Length: 5\r\n\r\nhello")
        assert isinstance(client.stream, trio.SocketStream)
        await client.stream.send_eof()
        assert (await next_answer(client)).body == b"hello"
        assert await client.stream.receive_some() == b""


async def test_half_a_body_is_answered_with_400() -> None:
    async with serving(echo) as listener, wire.connect(listener.url) as client:
        await client.stream.send_all(POST + b"Content-Length: 5\r\n\r\nhel")
        assert isinstance(client.stream, trio.SocketStream)
        await client.stream.send_eof()
        response = await next_answer(client)
        assert (response.status, is_json_rpc_error(response)) == (400, True)
        assert "the body ended 2 bytes before it was announced to" in response.json["error"]["message"]


@pytest.mark.parametrize("first", [1, 1000])
async def test_whoever_answers_half_a_body_is_not_asked_again(first: int) -> None:
    async def content(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        await answer(send, 200, b"hello")

    async with serving(content) as listener, wire.connect(listener.url) as client:
        data = POST + b"Content-Length: 5\r\n\r\nhel"
        assert isinstance(client.stream, trio.SocketStream)
        await client.stream.send_all(data[:first])
        await wait_all_tasks_blocked()
        await client.stream.send_all(data[first:])
        await client.stream.send_eof()
        response = await next_answer(client)
        assert (response.body, response.headers["connection"]) == (b"hello", "close")
        assert await client.stream.receive_some() == b""


# One request after the other


async def test_pipelined_requests_are_answered_in_their_order() -> None:
    async def name_path(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, 200, scope["path"].encode())

    async with serving(name_path) as listener, wire.connect(listener.url) as client:
        paths = [b"/%d" % number for number in range(50)]
        await client.stream.send_all(b"".join(OK.replace(b"/", path, 1) for path in paths))
        assert [(await next_answer(client)).body for _ in paths] == paths


async def test_requests_that_came_with_a_stream_are_answered_after_it() -> None:
    async def wait_a_little(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["path"].encode(), "more_body": True})
        with trio.move_on_after(0.05):
            while (await receive())["type"] != "http.disconnect":
                pass
        await send({"type": "http.response.body", "body": b""})

    async with serving(wait_a_little) as listener, wire.connect(listener.url) as client:
        await client.stream.send_all(b"".join(OK.replace(b"/", b"/%d" % number, 1) for number in range(3)))
        assert [(await next_answer(client)).body for _ in range(3)] == [b"/0", b"/1", b"/2"]


async def test_who_sends_a_thousand_requests_at_once_is_not_the_only_one_served() -> None:
    served: list[str] = []

    async def note(scope: Any, receive: Any, send: Any) -> None:
        served.append(scope["path"])
        await answer(send, 200, b"")

    async with serving(note) as listener, wire.connect(listener.url) as greedy, wire.connect(listener.url) as modest:
        assert (await ask(modest, OK)).status == 200
        await greedy.stream.send_all(OK.replace(b"/", b"/greedy", 1) * 1000)
        assert (await ask(modest, OK.replace(b"/", b"/modest", 1))).status == 200
        assert "/greedy" in served
        assert served.count("/greedy") < 900


@pytest.mark.parametrize("app", [greet, echo])
@pytest.mark.parametrize(
    ("method", "rest"),
    [
        ("GET", b""),
        ("HEAD", b""),
        ("DELETE", b""),
        ("POST", b"Content-Length: 0\r\n"),
        ("POST", b"Content-Length: 000\r\n"),
        ("PUT", b"Content-Length: 000\r\n"),
    ],
)
async def test_a_request_without_a_body_leaves_the_connection_open(method: str, rest: bytes, app: Any) -> None:
    async with serving(app) as listener, wire.connect(listener.url) as client:
        for _ in range(3):
            response = await ask(client, method.encode() + b" / HTTP/1.1\r\nHost: localhost\r\n" + rest + b"\r\n", method)
            assert response.status == 200
            assert "connection" not in response.headers


async def test_a_body_that_was_read_leaves_the_connection_open() -> None:
    async with serving(echo) as listener, wire.connect(listener.url) as client:
        for size in (1, 100_000, 5):
            assert (await ask(client, POST + b"Content-Length: %d\r\n\r\n" % size + b"x" * size)).body == b"x" * size
        chunked = POST + CHUNKED + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: 1\r\n\r\n"
        assert (await ask(client, chunked)).body == b"abcde"


HELLO = POST + b"Content-Length: 5\r\n\r\nhello"
CONVERSATION = [
    HELLO,
    HELLO,
    OK,
    HELLO,
    POST + b"Content-Length: 0\r\n\r\n",
    POST + CHUNKED + b"5\r\nhello\r\n0\r\n\r\n",
    POST + b"Content-Length: 300000\r\n\r\n" + b"x" * 300_000,
    b"PUT / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    HELLO + HELLO + OK,
    HELLO,
]


@pytest.mark.parametrize("first", [1, len(POST), len(POST) + 10, len(HELLO) - 3, 1_000_000])
async def test_a_conversation_is_the_same_however_its_requests_are_cut(first: int) -> None:
    async with serving(mixed) as listener, wire.connect(listener.url) as client:
        heard = []
        for data in CONVERSATION:
            await client.stream.send_all(data[:first])
            await wait_all_tasks_blocked()
            if data[first:]:
                await client.stream.send_all(data[first:])
            for _ in range(data.count(b" HTTP/1.1")):
                response = await next_answer(client)
                heard.append((response.status, response.body, "connection" in response.headers))
    bodies = [b"hello"] * 4 + [b"", b"hello", b"x" * 300_000, b"late"] + [b"hello"] * 4
    assert heard == [(200, body, False) for body in bodies]


class Conversations:
    """Seeded POSTs, most of them plain, some nearly so, each for an application that answers in its own way."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def next(self) -> list[list[bytes]]:
        """Return requests, each in the pieces that it is sent in."""
        return [self.request() for _ in range(self.random.randrange(1, 5))]

    def request(self) -> list[bytes]:
        choice = self.random.choice
        body = b"x" * choice([0, 0, 1, 5, 5, 1000])
        length = choice([b"%d"] * 12 + [b"+%d", b"-%d", b"0%d", b"000%d", b"1_%d", b"%d, %d", b"%d\xb2", b"%d ", b"\t%d"])
        path = choice([b"/echo", b"/echo", b"/early", b"/stream", b"/mid", b"/gone", b"/fail", b"/status"])
        lines = [
            b"Host: localhost",
            b"%b: %b" % (choice([b"Content-Length", b"CONTENT-LENGTH"]), length.replace(b"%d", b"%d" % len(body))),
            *self.random.sample(EXTRAS, choice([0, 0, 0, 1, 1, 2])),
        ]
        self.random.shuffle(lines)
        target = choice([path] * 6 + [path + b"?a=%20b", b"http://other.example" + path, b"/%7e/.." + path])
        version = choice([b"HTTP/1.1"] * 12 + [b"HTTP/1.0", b"HTTP/1.2"])
        end = choice([b"\r\n"] * 12 + [b"\n", b"\r\r\n"])
        head = b"\r\n".join([b"POST %b %b" % (target, version), *lines]) + end + b"\r\n"
        data = head + body + choice([b""] * 12 + [OK, b"P", b"\r\n"])
        if self.random.random() < 0.1:
            at = self.random.randrange(1, len(head))
            data = data[:at] + choice([b"", b"\0", b"\r", b"\n", b" ", b"\x0b", b"\x85", b":", b"5"]) + data[at + 1 :]
        cut = min(len(data), len(head) + self.random.randrange(len(body) + 1))
        return [data] if choice([True, True, False]) else [data[:cut], data[cut:]]


EXTRAS = [
    b"Connection: keep-alive",
    b"Connection: Close",
    b"Connection: keep-alive, close",
    b"Expect: 100-continue",
    b"Upgrade: h2c",
    b"Transfer-Encoding: chunked",
    b"Content-Length: 5",
    b"Host: other",
    b"X-Twice: 1",
    b"x-tWICE: 2",
    b"X-Folded: a\r\n b",
    b"X-Text: \xff\x01 ",
    b"X-Empty:",
    b"X-Space : a",
    b" X-Indented: a",
]


class Moody:
    """Answers as the path has it (ASGI), and remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.told.append({key: value for key, value in scope.items() if key not in ("client", "server", "extensions")})
        mood = scope["path"].rpartition("/")[2]
        body, more = b"", mood != "early"
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False) and mood != "mid"
        self.told.append(body)
        if mood == "gone":
            with trio.move_on_after(0):
                await receive()
        if mood == "fail":
            raise ValueError("a defect")
        if mood in ("stream", "mid"):
            await send({"type": "http.response.start", "status": 200, "headers": [(b"X-Mood", b"1")]})
            await send({"type": "http.response.body", "body": b"said ", "more_body": True})
            await send({"type": "http.response.body", "body": body})
        elif mood == "status":
            await send({"type": "http.response.start", "status": 204, "headers": [(b"X-Mood", b"1")]})
            await send({"type": "http.response.body"})
        else:
            await answer(send, 200, body, (b"X-Mood", b"1"))


async def converse(url: str, requests: list[list[bytes]], *, begins_slowly: bool) -> bytes:
    """Return all that is heard, but for the time of day."""
    async with wire.connect(url) as client:
        assert isinstance(client.stream, trio.SocketStream)
        heard = bytearray()

        async def listen() -> None:
            heard.extend(await read_to_end(client.stream))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            with suppress(trio.BrokenResourceError):
                for first, *rest in requests:
                    for piece in ([first[:1], first[1:]] if begins_slowly else [first]) + rest:
                        await client.stream.send_all(piece)
                        await wait_all_tasks_blocked()
                await client.stream.send_eof()
    return re.sub(rb"date: [^\r]*", b"date:", heard)


@pytest.mark.parametrize("seed", range(4))
async def test_what_passes_without_h11_is_told_and_answered_as_what_does_not(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request whose first byte comes alone is h11's, whatever it is."""
    monkeypatch.setattr(module, "LINGER_TIME", 0.05)
    quick, slow = Moody(), Moody()
    conversations = Conversations(seed)
    async with serving(quick) as one, serving(slow) as other:
        for _ in range(60):
            requests = conversations.next()
            at_once = await converse(one.url, requests, begins_slowly=False)
            assert (at_once, quick.told) == (await converse(other.url, requests, begins_slowly=True), slow.told), requests
            quick.told.clear()
            slow.told.clear()
        assert len(one._worker.heads) > 20 > len(other._worker.heads)


async def test_an_application_that_answers_twice_is_heard_once(caplog: pytest.LogCaptureFixture) -> None:
    async def twice(scope: Any, receive: Any, send: Any) -> None:
        await echo(scope, receive, send)
        await answer(send, 200, b"again")

    async with serving(twice) as listener, wire.connect(listener.url) as client:
        assert (await ask(client, HELLO)).body == b"hello"
        assert (await ask(client, HELLO)).body == b"hello"
    assert [record.message for record in caplog.records] == ["POST / failed"] * 2


async def test_who_has_answered_has_nothing_to_wait_for() -> None:
    heard: list[str] = []

    async def curious(scope: Any, receive: Any, send: Any) -> None:
        await echo(scope, receive, send)
        heard.append((await receive())["type"])

    async with serving(curious) as listener, wire.connect(listener.url) as client:
        assert (await ask(client, HELLO)).body == b"hello"
        assert (await ask(client, HELLO)).body == b"hello"
    assert heard == ["http.disconnect"] * 2


async def test_a_stream_may_answer_half_a_body() -> None:
    async def impatient(scope: Any, receive: Any, send: Any) -> None:
        first = await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": first["body"], "more_body": True})
        rest = await receive()
        await send({"type": "http.response.body", "body": rest["body"]})

    async with serving(impatient) as listener, wire.connect(listener.url) as client:
        await client.stream.send_all(HELLO[:-2])
        await wait_all_tasks_blocked()
        await client.stream.send_all(HELLO[-2:])
        response = await next_answer(client)
        # When it began, nobody knew that the rest would be read.
        assert (response.body, response.headers["connection"]) == (b"hello", "close")


@pytest.mark.parametrize("ending", ["complete", "cut off"])
async def test_a_stream_may_begin_while_another_task_waits_for_the_body(ending: str) -> None:
    async def duplex(scope: Any, receive: Any, send: Any) -> None:
        async def begin() -> None:
            await wait_all_tasks_blocked()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"you say ", "more_body": True})

        assert (await receive())["body"] == b"hel"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(begin)
            while True:
                message = await receive()
                heard.append(message)
                if not message.get("more_body"):
                    break
        await send({"type": "http.response.body", "body": b"".join(message.get("body", b"nothing") for message in heard)})

    heard: list[dict[str, Any]] = []
    async with serving(duplex) as listener, wire.connect(listener.url) as client:
        await client.stream.send_all(HELLO[:-2])
        begun = bytes(await client.stream.receive_some())
        assert begun.endswith(b"8\r\nyou say \r\n")
        if ending == "complete":
            await client.stream.send_all(HELLO[-2:-1])
            await wait_all_tasks_blocked()
            await client.stream.send_all(HELLO[-1:] + OK)
        else:
            assert isinstance(client.stream, trio.SocketStream)
            await client.stream.send_eof()
        rest = await read_to_end(client.stream)
    if ending == "complete":
        assert [(message["body"], message["more_body"]) for message in heard] == [(b"l", True), (b"o", False)]
        assert rest == b"2\r\nlo\r\n0\r\n\r\n"
    else:
        assert heard == [{"type": "http.disconnect"}]
        assert rest == b"7\r\nnothing\r\n0\r\n\r\n"


@pytest.mark.parametrize("first", [1, len(HELLO)])
@pytest.mark.parametrize("at_once", [False, True])
async def test_who_is_answered_while_the_server_ends_is_told_that_it_is_the_last_answer(first: int, at_once: bool) -> None:
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        started.set()
        await go_on.wait()
        if at_once:
            scope["extensions"][module.AT_ONCE]["answer"](200, [(b"content-length", b"5")], b"hello")
        else:
            await answer(send, 200, b"hello")

    started, go_on = trio.Event(), trio.Event()
    async with serving(slow) as listener, wire.connect(listener.url) as client:
        await client.stream.send_all(HELLO[:first])
        await wait_all_tasks_blocked()
        await client.stream.send_all(HELLO[first:])
        await started.wait()
        await listener.stop_accepting()
        go_on.set()
        response = await next_answer(client)
        assert (response.body, response.headers["connection"]) == (b"hello", "close")
        assert await client.stream.receive_some() == b""


@pytest.mark.parametrize("size", [5, 3_000_000])
async def test_what_was_answered_at_once_is_sent_though_nobody_asks_for_the_rest(size: int) -> None:
    async def hurried(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        scope["extensions"][module.AT_ONCE]["answer"](200, [(b"content-length", b"%d" % size)], b"x" * size)

    async with serving(hurried) as listener, wire.connect(listener.url) as client:
        for _ in range(2):
            assert (await ask(client, HELLO)).body == b"x" * size


async def test_a_stream_may_begin_before_a_body_is_read() -> None:
    async def hasty(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"you say ", "more_body": True})
        await send({"type": "http.response.body", "body": (await receive())["body"]})

    async with serving(hasty) as listener, wire.connect(listener.url) as client:
        assert (await ask(client, HELLO)).body == b"you say hello"


async def test_a_client_may_close_with_its_last_request() -> None:
    async with serving(greet) as listener, wire.connect(listener.url) as client:
        # Some send a line end too many, which nobody will read.
        response = await ask(client, b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n\r\n" + OK)
        assert (response.body, response.headers["connection"]) == (b"hello", "close")
        assert await client.stream.receive_some() == b""


async def test_a_receive_that_was_given_up_loses_nothing() -> None:
    async def impatient(scope: Any, receive: Any, send: Any) -> None:
        with trio.move_on_after(0.05):
            await receive()
            raise AssertionError("the body can't have come yet")
        started.set()
        await echo(scope, receive, send)

    started = trio.Event()
    async with serving(impatient) as listener, wire.connect(listener.url) as client:
        await client.stream.send_all(POST + b"Content-Length: 5\r\n\r\n")
        await started.wait()
        assert (await ask(client, b"hello")).body == b"hello"


async def test_who_sends_faster_than_it_is_served_has_to_wait() -> None:
    """What is read to see the client leave is kept until its turn comes, and there is a bound to that."""
    looked = trio.Event()

    async def look_often(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(400):
            with trio.move_on_after(0.001):
                await receive()
                await receive()
        looked.set()
        await trio.sleep_forever()

    async with serving(look_often) as listener, wire.connect(listener.url) as greedy, trio.open_nursery() as nursery:
        nursery.start_soon(greedy.stream.send_all, OK * 500_000)
        await looked.wait()
        await wait_all_tasks_blocked()
        assert nursery.child_tasks, "20 MB of requests were taken"
        nursery.cancel_scope.cancel()


# Time


@pytest.fixture
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the server look at its connections often, and give them little time."""
    monkeypatch.setattr(worker, "_SWEEP_TIME", 0.02)
    for name in ("HEAD_TIME", "BODY_TIME"):
        monkeypatch.setattr(module, name, 0.2)


async def drip(stream: trio.abc.SendStream, data: bytes) -> None:
    """Send a byte at a time, as long as anybody takes it."""
    try:
        for at in range(len(data)):
            await stream.send_all(data[at : at + 1])
            await trio.sleep(0.01)
    except trio.BrokenResourceError:
        pass


@pytest.mark.usefixtures("impatience")
@pytest.mark.parametrize("requests", [0, 1])
async def test_a_connection_without_requests_is_closed_without_a_word(requests: int) -> None:
    async with serving(greet, keep_alive_timeout=0.1) as listener, wire.connect(listener.url) as client:
        for _ in range(requests):
            await ask(client, OK)
        assert await client.stream.receive_some() == b""


@pytest.mark.usefixtures("impatience")
async def test_a_head_has_one_deadline_however_slowly_it_drips() -> None:
    async with serving(greet) as listener, wire.connect(listener.url) as client, trio.open_nursery() as nursery:
        nursery.start_soon(drip, client.stream, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 1000)
        response = await next_answer(client)
        assert (response.status, is_json_rpc_error(response)) == (408, True)
        nursery.cancel_scope.cancel()


@pytest.mark.usefixtures("impatience")
@pytest.mark.parametrize("dripping", [b"", b"x" * 1000], ids=["nothing", "drip by drip"])
async def test_a_body_has_one_deadline_however_slowly_it_drips(dripping: bytes) -> None:
    async with serving(echo) as listener, wire.connect(listener.url) as client, trio.open_nursery() as nursery:
        nursery.start_soon(drip, client.stream, POST + b"Content-Length: 5000\r\n\r\n" + dripping)
        response = await next_answer(client)
        assert (response.status, is_json_rpc_error(response)) == (408, True)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("lingers", [True, False])
async def test_a_body_that_comes_in_the_last_moment_is_answered_once(lingers: bool) -> None:
    """The time may be up in the very round of the scheduler in which the rest arrives."""

    async def late(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await receive()
        (connection,) = workers
        connection.expire()
        await answer(send, 200, b"hello")
        if lingers:
            await trio.sleep_forever()

    async with serving(late) as listener, wire.connect(listener.url) as client:
        workers = listener._worker.connections
        await client.stream.send_all(HELLO[:-2])
        await wait_all_tasks_blocked()
        await client.stream.send_all(HELLO[-2:])
        heard = await read_to_end(client.stream)
    assert heard.count(b"HTTP/1.1") == 1
    assert heard.endswith(b"hello")


@pytest.mark.usefixtures("impatience")
async def test_the_application_has_all_the_time_it_wants() -> None:
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await trio.sleep(0.5)
        await answer(send, 200, b"done")

    async with serving(slow, keep_alive_timeout=0.2) as listener, wire.connect(listener.url) as client:
        assert (await ask(client, POST + b"Content-Length: 5\r\n\r\nhello")).body == b"done"


@pytest.mark.parametrize("keep_alive_timeout", [75, None])
async def test_connections_without_a_request_end_when_no_more_are_accepted(keep_alive_timeout: float | None) -> None:
    app = Waiter()
    async with serving(app, keep_alive_timeout) as listener:
        async with wire.connect(listener.url) as idle, wire.connect(listener.url) as busy:
            await busy.stream.send_all(OK)
            await app.waits.wait()
            await wait_until(lambda: listener.connections == 2)
            await listener.stop_accepting()
            assert await idle.stream.receive_some() == b""
            await wait_until(lambda: listener.connections == 1)
        await app.left.wait()


# What HTTP asks for


async def test_head_is_answered_like_get_but_without_the_body() -> None:
    async with serving(greet) as listener, wire.connect(listener.url) as client:
        response = await ask(client, OK.replace(b"GET", b"HEAD"), "HEAD")
        assert (response.headers["content-length"], response.body) == ("5", b"")
        assert (await ask(client, OK)).body == b"hello"


async def test_what_follows_a_head_request_is_refused_with_a_body() -> None:
    async with serving(greet) as listener, wire.connect(listener.url) as client:
        await ask(client, OK.replace(b"GET", b"HEAD"), "HEAD")
        response = await ask(client, b"nonsense\r\n\r\n")
        assert (response.status, is_json_rpc_error(response)) == (400, True)


async def test_a_head_request_is_refused_without_a_body() -> None:
    ambiguous = b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with serving(greet) as listener, wire.connect(listener.url) as client:
        await client.stream.send_all(b"HEAD / HTTP/1.1\r\nHost: localhost\r\n" + ambiguous)
        head, _, body = (await read_to_end(client.stream)).partition(b"\r\n\r\n")
        assert (head[:13], body) == (b"HTTP/1.1 400 ", b"")


async def test_a_client_of_http_1_0_gets_no_chunks_and_a_closed_connection() -> None:
    async def two_pieces(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await send({"type": "http.response.body", "body": b"two"})

    async with serving(two_pieces) as listener, wire.connect(listener.url) as client:
        await client.stream.send_all(b"GET / HTTP/1.0\r\n\r\n")
        head, _, body = (await read_to_end(client.stream)).partition(b"\r\n\r\n")
        assert body == b"onetwo"
        assert b"transfer-encoding" not in head


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket", b"TLS/1.0"])
async def test_an_offer_to_upgrade_is_ignored(protocol: bytes) -> None:
    async with serving(echo) as listener, wire.connect(listener.url) as client:
        upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: " + protocol + b"\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"
        assert (await ask(client, OK[:-2] + upgrade)).status == 200
        assert (await ask(client, POST + b"Content-Length: 2\r\n" + upgrade + b"hi")).body == b"hi"
        assert (await ask(client, OK)).status == 200


HEADS = {
    "Content-Length and Transfer-Encoding": (400, POST + b"Content-Length: 5\r\n" + CHUNKED + b"0\r\n\r\n"),
    "the two the other way round": (400, POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
    "two Content-Lengths": (400, POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
    "a list of Content-Lengths": (400, POST + b"Content-Length: 5, 6\r\n\r\nhello!"),
    "a Content-Length with a sign": (400, POST + b"Content-Length: +5\r\n\r\nhello"),
    "two Transfer-Encodings": (501, POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "an unknown Transfer-Encoding": (501, POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "no Host": (400, b"GET / HTTP/1.1\r\n\r\n"),
    "two Hosts": (400, b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n"),
    "no Host in a later version": (400, b"GET / HTTP/1.2\r\n\r\n"),
    "a space before the colon": (400, b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n"),
    "a NUL in a header": (400, b"GET / HTTP/1.1\r\nHost: local\0host\r\n\r\n"),
    "a continued first header": (400, b"GET / HTTP/1.1\r\n Host: localhost\r\n\r\n"),
    "no version": (400, b"GET /\r\n\r\n"),
    "a space in the target": (400, b"GET /a b HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "no request at all": (400, b"\r\n\r\n"),
    "HTTP/2 by prior knowledge": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "HTTP/3": (505, b"GET / HTTP/3.0\r\n\r\n"),
    "HTTP/0.9 by name": (505, b"GET / HTTP/0.9\r\nHost: localhost\r\n\r\n"),
    "a header over the limit": (431, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 200_000),
    "headers over the limit": (431, b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: x\r\n" * 40_000),
}


@pytest.mark.parametrize(("status", "head"), HEADS.values(), ids=list(HEADS))
async def test_a_request_that_http_forbids_is_refused_and_nothing_after_it_served(status: int, head: bytes) -> None:
    reached: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope["path"])
        await echo(scope, receive, send)

    async with serving(app) as listener, wire.connect(listener.url) as client:
        response = await ask(client, head + OK)
        assert (response.status, is_json_rpc_error(response)) == (status, True)
        assert response.headers["connection"] == "close"
        assert len(response.body) < 500
        assert await client.stream.receive_some() == b""
        assert reached == []


async def test_the_same_content_length_twice_is_one() -> None:
    async with serving(echo) as listener, wire.connect(listener.url) as client:
        assert (await ask(client, POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello" + OK)).body == b"hello"
        assert (await next_answer(client)).body == b""


async def test_a_malformed_body_is_answered_with_400() -> None:
    async with serving(echo) as listener, wire.connect(listener.url) as client:
        response = await ask(client, POST + CHUNKED + b"5\r\nhello\r\nzz\r\n")
        assert (response.status, is_json_rpc_error(response)) == (400, True)
        assert await client.stream.receive_some() == b""


async def describe(scope: Any, receive: Any, send: Any) -> None:
    """Answer with what the scope says of the request (ASGI)."""
    said = {name: scope[name] for name in ("method", "path", "http_version", "scheme", "root_path", "client", "type")}
    said["raw_path"], said["query"] = scope["raw_path"].decode(), scope["query_string"].decode()
    said["headers"] = [[name.decode(), value.decode()] for name, value in scope["headers"]]
    await answer(send, 200, json.dumps(said).encode())


async def test_the_application_is_told_what_was_asked() -> None:
    async with serving(describe) as listener, wire.connect(listener.url) as client:
        said = (await ask(client, b"GET /a%20%C3%A9?b=%20c HTTP/1.1\r\nHost: x\r\nX-Twice: 1\r\nx-tWICE: 2\r\n\r\n")).json
        assert isinstance(client.stream, trio.SocketStream)
        assert said == {
            "type": "http",
            "method": "GET",
            "path": "/a é",
            "raw_path": "/a%20%C3%A9",
            "query": "b=%20c",
            "http_version": "1.1",
            "scheme": "http",
            "root_path": "",
            "client": list(client.stream.socket.getsockname()),
            "headers": [["host", "x"], ["x-twice", "1"], ["x-twice", "2"]],
        }


async def test_methods_differ_by_their_case() -> None:
    """RFC 9110 §9.1: "The method token is case-sensitive"; `head` would get a body that HEAD must not have."""
    async with serving(describe) as listener, wire.connect(listener.url) as client:
        assert (await ask(client, OK.replace(b"GET", b"head"))).json["method"] == "head"


@pytest.mark.parametrize(
    ("target", "path", "query", "host"),
    [
        (b"http://example.com/mcp?a=b", "/mcp", "a=b", "example.com"),
        (b"HTTP://example.com:81", "/", "", "example.com:81"),
        (b"https://example.com?a", "/", "a", "example.com"),
    ],
)
async def test_a_target_that_is_a_whole_url_names_host_and_path(target: bytes, path: str, query: str, host: str) -> None:
    """RFC 9112 §3.2.2: "a server MUST accept the absolute-form in requests", and ignore the Host header then."""
    async with serving(describe) as listener, wire.connect(listener.url) as client:
        said = (await ask(client, b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\nX: y\r\n\r\n")).json
        assert (said["path"], said["query"], said["headers"]) == (path, query, [["host", host], ["x", "y"]])


@pytest.mark.parametrize("target", [b"*", b"example.com:443", b"ftp://example.com/x", b"mcp"])
async def test_a_target_that_is_no_path_reaches_the_application_as_it_is(target: bytes) -> None:
    async with serving(describe) as listener, wire.connect(listener.url) as client:
        said = (await ask(client, b"OPTIONS " + target + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")).json
        assert said["path"] == target.decode()


# Applications that fail


async def raises(scope: Any, receive: Any, send: Any) -> None:
    raise ValueError("a defect")


async def raises_in_a_group(scope: Any, receive: Any, send: Any) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(raises, scope, receive, send)
        await trio.sleep_forever()


async def says_nothing(scope: Any, receive: Any, send: Any) -> None:
    pass


def injects(name: bytes, value: bytes) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, 200, b"", (name, value))

    return app


OTHER_ANSWER = b"HTTP/1.1 200 \r\nx-injected: 1\r\n\r\n"


def frames(status: int, body: bytes, *lengths: bytes) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        headers = [(b"content-length", length) for length in lengths]
        headers.insert(len(lengths) - 1, (b"x-name", b"0"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


@pytest.mark.parametrize(("status", "lengths"), [(200, [b"0", b"32"]), (200, [b"0"]), (204, [b"32"]), (304, [b"32"])])
@pytest.mark.parametrize("first", [1, 1000])
async def test_no_body_is_sent_that_could_be_taken_for_another_answer(status: int, lengths: list[bytes], first: int) -> None:
    """An application that contradicts itself is defective, and yet no client shall be misled."""
    async with serving(frames(status, OTHER_ANSWER, *lengths)) as listener, wire.connect(listener.url) as client:
        await client.stream.send_all(HELLO[:first])
        await wait_all_tasks_blocked()
        await client.stream.send_all(HELLO[first:])
        assert b"x-injected" not in await read_to_end(client.stream)


FAILING = {
    "raises": raises,
    "raises in a group": raises_in_a_group,
    "says nothing": says_nothing,
    "a header with two lines": injects(b"x-name", b"value\r\nx-injected: 1"),
    "a header with a bare line feed": injects(b"x-name", b"value\nx-injected: 1"),
    "a header's name with two lines": injects(b"x-name: a\r\nx-injected", b"1"),
    "a header with a NUL": injects(b"x-name", b"a\0x-injected"),
}


@pytest.mark.parametrize("app", FAILING.values(), ids=list(FAILING))
async def test_an_application_that_fails_to_answer_is_answered_for(app: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(app) as listener, wire.connect(listener.url) as client:
        response = await ask(client, OK)
        assert (response.status, is_json_rpc_error(response)) == (500, True)
        assert not re.search("defect|injected|Error", str(response)), "internals reach the wire"
        assert await client.stream.receive_some() == b""
    assert [record.message for record in caplog.records] == ([] if app is says_nothing else ["GET / failed"])


async def fails_half_way(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"half", "more_body": True})
    raise ValueError("a defect")


async def stops_half_way(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"half", "more_body": True})


async def promises_more(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"8")]})
    await send({"type": "http.response.body", "body": b"half", "more_body": True})
    await send({"type": "http.response.body", "body": b""})


@pytest.mark.parametrize("app", [fails_half_way, stops_half_way, promises_more])
async def test_half_an_answer_does_not_look_like_a_whole_one(app: Any) -> None:
    async with serving(app) as listener, wire.connect(listener.url) as client:
        with pytest.raises(Exception, match="peer closed connection without sending complete message body"):
            await ask(client, OK)


async def test_headers_may_be_lists() -> None:
    """ASGI has them as "an iterable of [name, value] two-item iterables"."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [[b"x-name", b"value"]]})
        await send({"type": "http.response.body", "body": b"hello"})

    async with serving(app) as listener, wire.connect(listener.url) as client:
        response = await ask(client, OK)
        assert (response.headers["x-name"], response.body) == ("value", b"hello")


async def test_one_connection_failing_leaves_the_others_alone(caplog: pytest.LogCaptureFixture) -> None:
    async def by_path(scope: Any, receive: Any, send: Any) -> None:
        await (raises if scope["path"] == "/raise" else greet)(scope, receive, send)

    async with serving(by_path) as listener, wire.connect(listener.url) as witness:
        for _ in range(20):
            async with wire.connect(listener.url) as client:
                assert (await ask(client, OK.replace(b"/", b"/raise", 1))).status == 500
        assert (await ask(witness, OK)).status == 200
    assert len(caplog.records) == 20
