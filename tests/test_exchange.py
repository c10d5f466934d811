"""One HTTP exchange: bodies within their limit, answers, and streams of events to clients of all kinds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import trio
import trio.testing

from tests import wire
from tests.proxies import open_test_proxy
from tests.puppet import PUPPET, log, request, saying
from tests.serving import wait_until
from trioproxy import connection as connection_module
from trioproxy import exchange as module
from trioproxy.exchange import ClientLeft, Exchange
from trioproxy.protocol.errors import BodyTooLarge, SessionNotFound


class Client:
    """The other side of one exchange, as ASGI has it: what it sends is written down, and what it gets."""

    def __init__(self, *pieces: bytes, stays: bool = True, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        self.pieces = list(pieces)
        self.stays = stays
        self.got: list[dict[str, Any]] = []
        scope = {"method": "POST", "path": "/", "query_string": b"a=1&a=2&b=%26", "headers": list(headers)}
        self.exchange = Exchange(scope, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        if not self.pieces:
            return {"type": "http.disconnect"}
        piece = self.pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(self.pieces) or not self.stays}

    async def _send(self, message: dict[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        self.got.append(message)


# In


@pytest.mark.parametrize("pieces", [[b"hello"], [b"he", b"llo"], [b"", b"hello", b""], [b"h", b"e", b"l", b"l", b"o"]])
@pytest.mark.parametrize("limit", [5, 6, None])
async def test_a_body_within_the_limit_is_returned_whole(pieces: list[bytes], limit: int | None) -> None:
    assert await Client(*pieces).exchange.read_body(limit) == b"hello"


@pytest.mark.parametrize("pieces", [[b"hello"], [b"he", b"llo"], [b"hell", b"o", b"more"]])
async def test_a_body_over_the_limit_is_refused_wherever_it_was_cut(pieces: list[bytes]) -> None:
    with pytest.raises(BodyTooLarge, match="a body of more than 4 bytes, which is the limit"):
        await Client(*pieces).exchange.read_body(4)


async def test_a_body_that_says_it_is_over_the_limit_is_not_read() -> None:
    client = Client(b"hello", headers=[(b"content-length", b"5")])
    with pytest.raises(BodyTooLarge, match="a body of 5 bytes, over the limit of 4"):
        await client.exchange.read_body(4)
    assert client.pieces == [b"hello"]


@pytest.mark.parametrize("pieces", [[], [b"he"], [b"he", b"l"]])
async def test_a_client_that_leaves_within_its_body_is_nobody_to_answer(pieces: list[bytes]) -> None:
    with pytest.raises(ClientLeft):
        await Client(*pieces, stays=False).exchange.read_body(None)


def test_a_header_that_comes_twice_has_both_values() -> None:
    """RFC 9110 §5.3: a recipient may combine them, "separated by a comma"; a list such as Accept may come in parts."""
    headers = [(b"accept", b"application/json"), (b"host", b"x"), (b"accept", b"text/event-stream")]
    exchange = Client(headers=headers).exchange
    assert exchange.header(b"accept") == b"application/json, text/event-stream"
    assert exchange.header(b"host") == b"x"
    assert exchange.header(b"origin") is None


def test_the_query_is_taken_apart() -> None:
    assert Client().exchange.query == {"a": ["1", "2"], "b": ["&"]}


# Out


@pytest.mark.parametrize(("status", "lengths"), [(200, [b"2"]), (202, [b"2"]), (204, [])])
async def test_an_answer_says_how_long_it_is_unless_http_forbids_it(status: int, lengths: list[bytes]) -> None:
    client = Client()
    await client.exchange.respond(status, b"" if status == 204 else b"ok", [(b"x-name", b"value")])
    start, body = client.got
    assert start["status"] == status
    assert start["headers"][0] == (b"x-name", b"value")
    assert [value for name, value in start["headers"] if name == b"content-length"] == lengths
    assert not body.get("more_body", False)


async def test_a_refusal_is_a_json_rpc_error_with_the_status_and_headers_of_its_error() -> None:
    client = Client()
    await client.exchange.refuse(SessionNotFound("gone", headers=((b"retry-after", b"5"),)), "abc")
    start, body = client.got
    assert start["status"] == 404
    assert {(b"content-type", b"application/json"), (b"retry-after", b"5")} <= set(start["headers"])
    assert body["body"] == b'{"jsonrpc":"2.0","id":"abc","error":{"code":-32001,"message":"gone"}}'


# Streams of a session


async def test_a_silent_stream_says_something_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEEP_ALIVE_TIME", 0.02)
    async with open_test_proxy(PUPPET) as proxy:
        client = await wire.initialize(proxy.url)
        async with client.listen() as stream:
            priming = await stream.next_event()
            assert priming.id is not None
            for _ in range(3):
                assert (await stream.next_event()).comment == "keep-alive"
            await client.post(saying(log("hello")))
            assert (await stream.next_message()) == log("hello")


async def fill(client: wire.Client) -> str:
    """Make the server say far more than a socket takes at once, and return the event id to resume from."""
    async with client.listen() as stream:
        start: str = (await stream.next_event()).id
        for number in range(6):
            await client.post(saying(log(f"{number:04}" + "x" * 1_500_000)))
            await stream.next_message()
    return start


async def test_a_client_that_reads_slowly_gets_all_that_has_waited_for_it() -> None:
    """What is sent first is more than any socket takes at once, and the client has not left because of that."""
    async with open_test_proxy(PUPPET) as proxy:
        client = await wire.initialize(proxy.url)
        start = await fill(client)
        async with client.listen(last_event_id=start) as stream:
            await trio.testing.wait_all_tasks_blocked(0.1)
            for number in range(6):
                message = await stream.next_message()
                assert message["params"]["data"][:4] == f"{number:04}"
                assert len(message["params"]["data"]) == 1_500_004


async def test_a_client_that_has_stopped_reading_is_let_go_and_its_session_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "SEND_TIME", 0.2)
    async with open_test_proxy(PUPPET) as proxy:
        client = await wire.initialize(proxy.url)
        start = await fill(client)
        listener = proxy._listener
        async with client.listen(last_event_id=start):
            await wait_until(lambda: listener.connections == 1)
            await wait_until(lambda: listener.connections == 0)
            assert (await client.post(request("heard", 2))).status == 200


async def test_the_proxy_ends_at_once_though_a_client_has_stopped_reading() -> None:
    with trio.CancelScope() as stuck_client:
        async with trio.open_nursery() as nursery:
            async with open_test_proxy(PUPPET) as proxy:
                client = await wire.initialize(proxy.url)
                start = await fill(client)

                async def stop_reading() -> None:
                    async with client.listen(last_event_id=start):
                        await trio.sleep_forever()

                nursery.start_soon(stop_reading)
                await wait_until(lambda: proxy._listener.connections == 1)
                await trio.testing.wait_all_tasks_blocked(0.1)
                began = trio.current_time()
            # The second that clients have for the last events, and the child's own end.
            assert trio.current_time() - began < 2.5
            stuck_client.cancel()


@pytest.mark.parametrize("more", [b"", b"\r\n", b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n"])
async def test_a_listener_is_seen_to_leave_whatever_it_has_sent_before(more: bytes) -> None:
    async with open_test_proxy(PUPPET) as proxy:
        client = await wire.initialize(proxy.url)
        async with wire.connect(proxy.url) as connection:
            headers = {**client.headers, "accept": "text/event-stream"}
            assert (await connection.send("GET", "/mcp", headers)).status_code == 200
            await connection.stream.send_all(more)
        await wait_until(lambda: proxy._listener.connections == 0)
