"""A remote of the first transport: how it is found out, and what becomes of a client whose stream breaks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.modern import listen
from tests.modern import request as modern_request
from trioproxy.remote import RemoteConfig, open_remote

from .scripted import INITIALIZE, INITIALIZE_RESULT, INITIALIZED, Client, Exchange, Scripted, open_scripted, request, result


@asynccontextmanager
async def talking(*, listens: bool = True, **config: Any) -> AsyncIterator[tuple[Scripted, Client]]:
    with trio.fail_after(900):
        async with open_scripted(listens=listens) as server, open_remote(RemoteConfig(server.url, **config)) as remote:
            yield server, Client(remote)


async def open_events(exchange: Exchange, endpoint: str = "/messages?s=1") -> None:
    """Answer a GET with a stream and its first event."""
    assert exchange.method == "GET"
    await exchange.open_stream()
    await exchange.say(endpoint, name="endpoint")


async def accept(server: Scripted, target: str = "/messages?s=1") -> Any:
    """Take a POST, and return its message."""
    exchange = await server.next("POST")
    assert exchange.target == target
    await exchange.reply(202, b"Accepted", "text/plain")
    return exchange.message


async def shake_hands(server: Scripted, client: Client, endpoint: str = "/messages?s=1") -> Exchange:
    """Make a handshake on both sides, and return the stream."""
    client.send(INITIALIZE)
    stream = await server.next("GET")
    await open_events(stream, endpoint)
    assert await accept(server) == INITIALIZE
    await stream.say(result("i", INITIALIZE_RESULT))
    assert await client.hear() == result("i", INITIALIZE_RESULT)
    client.send(INITIALIZED)
    assert await accept(server) == INITIALIZED
    return stream


@pytest.mark.parametrize("status", [400, 404, 405])
async def test_a_remote_that_takes_no_post_is_asked_for_a_stream(status: int) -> None:
    """2025-11-25, Transports §Backwards Compatibility."""
    async with talking() as (server, client):
        client.send(INITIALIZE)
        await (await server.next("POST")).reply(status)
        stream = await server.next("GET")
        assert stream.headers["accept"] == "text/event-stream"
        await open_events(stream)
        assert await accept(server) == INITIALIZE
        await stream.say(result("i", INITIALIZE_RESULT))
        assert await client.hear() == result("i", INITIALIZE_RESULT)
        client.send(request(1))
        assert await accept(server) == request(1)


@pytest.mark.parametrize("status", [401, 500])
async def test_other_refusals_are_answers(status: int) -> None:
    async with talking() as (server, client):
        client.send(INITIALIZE)
        await (await server.next("POST")).reply(status)
        assert str(status) in await client.hear_error("i")
        assert server.is_quiet


async def test_a_remote_that_has_neither_is_told_so_and_may_be_asked_again() -> None:
    async with talking() as (server, client):
        client.send(INITIALIZE)
        await (await server.next("POST")).refuse(400, -32000, "not here")
        await (await server.next("GET")).reply(404)
        assert await client.hear_error("i") == "not here"
        client.send(INITIALIZE)
        await (await server.next("POST")).result(INITIALIZE_RESULT)
        assert await client.hear() == result("i", INITIALIZE_RESULT)


async def test_requests_that_come_while_the_transport_is_found_out_wait_for_it() -> None:
    async with talking() as (server, client):
        client.send(request(1, "ping"), request(2, "ping"))
        first = await server.next("POST")
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert server.is_quiet
        await first.reply(405)
        await open_events(await server.next("GET"))
        ids = {(await accept(server))["id"], (await accept(server))["id"]}
        assert ids == {1, 2}


async def test_a_stream_can_be_tried_first_and_need_not_be_there() -> None:
    async with talking(transport="sse-first") as (server, client):
        client.send(INITIALIZE)
        await (await server.next("GET")).reply(405)
        await (await server.next("POST")).result(INITIALIZE_RESULT)
        assert await client.hear() == result("i", INITIALIZE_RESULT)


async def test_a_stream_that_says_no_endpoint_is_none(autojump_clock: MockClock) -> None:
    async with talking(transport="sse-first") as (server, client):
        client.send(INITIALIZE)
        stream = await server.next("GET")
        await stream.open_stream()
        await stream.write(b": hello\n\n")
        exchange = await server.next("POST")
        await exchange.result(INITIALIZE_RESULT)
        assert await client.hear() == result("i", INITIALIZE_RESULT)
        await stream.wait_left()


@pytest.mark.parametrize("transport", ["http-only", "sse-only"])
async def test_one_transport_can_be_insisted_on(transport: str) -> None:
    async with talking(transport=transport) as (server, client):
        client.send(INITIALIZE)
        await (await server.next("POST" if transport == "http-only" else "GET")).reply(405)
        assert "405" in await client.hear_error("i")
        assert server.is_quiet


async def test_everything_comes_on_the_stream() -> None:
    async with talking(transport="sse-only") as (server, client):
        stream = await shake_hands(server, client)
        client.send(request(1), request(2))
        assert {(await accept(server))["id"], (await accept(server))["id"]} == {1, 2}
        for message in (request("q", "roots/list"), result(2), result(1, "x")):
            await stream.say(message)
            assert await client.hear() == message


async def test_an_endpoint_may_be_relative_and_must_be_of_the_same_origin() -> None:
    async with talking(transport="sse-only") as (server, client):
        client.send(INITIALIZE)
        await open_events(await server.next("GET"), "there?s=2")
        assert await accept(server, "/there?s=2") == INITIALIZE
    async with talking(transport="sse-only") as (server, client):
        client.send(INITIALIZE)
        await open_events(await server.next("GET"), "http://evil.example/messages?secret")
        error = await client.hear_error("i")
        assert "leads elsewhere, to 'http://evil.example/messages'" in error


async def test_a_modern_request_goes_as_it_is() -> None:
    message = modern_request("tools/call", 1, name="n")
    async with talking(transport="sse-only") as (server, client):
        client.send(message)
        stream = await server.next("GET")
        await open_events(stream)
        assert await accept(server) == message
        client.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}})
        assert (await accept(server))["method"] == "notifications/cancelled"
        await stream.say(result(1))
        assert await client.hear() == result(1)


async def test_a_post_that_is_refused_fails_its_request() -> None:
    async with talking(transport="sse-only") as (server, client):
        await shake_hands(server, client)
        client.send(request(1))
        await (await server.next("POST")).refuse(400, -32600, "bad")
        assert await client.hear_error(1) == "bad"


async def test_a_stream_that_breaks_fails_what_was_in_flight_and_the_session_is_begun_anew() -> None:
    async with talking(transport="sse-only") as (server, client):
        stream = await shake_hands(server, client)
        client.send(request(1), listen(2, toolsListChanged=True))
        await accept(server)
        await accept(server)
        await stream.cut()
        heard = {message["id"]: message for message in (await client.hear(), await client.hear())}
        assert "no answer to tools/call" in heard[1]["error"]["message"]
        assert heard[2]["result"]["resultType"] == "complete"
        client.send(request(3))
        await (await server.next("GET")).reply(503)
        stream = await server.next("GET")
        await open_events(stream, "/messages?s=2")
        assert await accept(server, "/messages?s=2") == INITIALIZE
        await stream.say(result("i", INITIALIZE_RESULT))
        assert await accept(server, "/messages?s=2") == INITIALIZED
        assert (await client.hear())["method"] == "notifications/tools/list_changed"
        assert await accept(server, "/messages?s=2") == request(3)
        await stream.say(result(3))
        assert await client.hear() == result(3)


async def test_a_session_that_is_not_known_any_more_is_begun_anew_and_the_request_sent_again() -> None:
    async with talking(transport="sse-only") as (server, client):
        stream = await shake_hands(server, client)
        client.send(request(1))
        await (await server.next("POST")).reply(404)
        await stream.wait_left()
        stream = await server.next("GET")
        await open_events(stream)
        assert await accept(server) == INITIALIZE
        await stream.say(result("i", INITIALIZE_RESULT))
        assert await accept(server) == INITIALIZED
        await client.hear()
        assert await accept(server) == request(1)


async def test_a_request_does_not_wait_for_ever_for_a_stream_that_is_gone(autojump_clock: MockClock) -> None:
    async with talking(transport="sse-only") as (server, client):
        await shake_hands(server, client)
        await server.stop()
        await trio.sleep(5)
        client.send(request(1))
        assert "the stream is broken" in await client.hear_error(1)


async def test_a_remote_that_is_not_there_yet_is_waited_for(autojump_clock: MockClock) -> None:
    async with talking(listens=False, transport="sse-first") as (server, client):
        client.send(INITIALIZE)
        await trio.sleep(10)
        await server.start()
        await open_events(await server.next("GET"))
        assert await accept(server) == INITIALIZE


async def test_leaving_ends_the_stream() -> None:
    async with open_scripted() as server:
        async with open_remote(RemoteConfig(server.url, transport="sse-only")) as remote:
            stream = await shake_hands(server, Client(remote))
        await stream.wait_left()


async def test_a_session_that_is_not_known_any_more_is_begun_anew_once_for_all_who_hear_of_it() -> None:
    async with talking(transport="sse-only") as (server, client):
        stream = await shake_hands(server, client)
        client.send(request(1), request(2))
        first, second = await server.next("POST"), await server.next("POST")
        await first.reply(404)
        await stream.wait_left()
        await second.reply(404)
        stream = await server.next("GET")
        await open_events(stream)
        assert await accept(server) == INITIALIZE
        await stream.say(result("i", INITIALIZE_RESULT))
        assert await accept(server) == INITIALIZED
        assert (await client.hear())["method"] == "notifications/tools/list_changed"
        assert {(await accept(server))["id"], (await accept(server))["id"]} == {1, 2}


async def test_a_pause_that_has_grown_while_a_remote_was_away_is_cut_short_by_whoever_asks(
    autojump_clock: MockClock,
) -> None:
    async with talking(transport="sse-only") as (server, client):
        await shake_hands(server, client)
        await server.stop()
        await trio.sleep(300)
        await server.start()
        since = trio.current_time()
        client.send(request(1))
        await open_events(await server.next("GET"))
        # It is of fifteen to thirty seconds by now.
        assert trio.current_time() - since < 5


SETTLING = ["logging/setLevel", "resources/subscribe", "resources/unsubscribe"]


@pytest.mark.parametrize("method", SETTLING)
async def test_what_the_server_is_to_say_is_settled_before_anything_else_is_asked(method: str) -> None:
    """On stdio a message can't overtake another; a POST could."""
    async with talking(transport="sse-only") as (server, client):
        stream = await shake_hands(server, client)
        client.send(request(1, method), request(2))
        assert await accept(server) == request(1, method)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert server.is_quiet
        await stream.say(result(1))
        assert await accept(server) == request(2)


async def test_a_server_that_settles_nothing_is_not_waited_for_for_ever(autojump_clock: MockClock) -> None:
    async with talking(transport="sse-only") as (server, client):
        await shake_hands(server, client)
        since = trio.current_time()
        client.send(request(1, SETTLING[0]), request(2))
        assert await accept(server) == request(1, SETTLING[0])
        assert await accept(server) == request(2)
        assert 5 <= trio.current_time() - since < 6


@pytest.mark.parametrize("ticks", range(8))
async def test_a_request_that_comes_as_the_stream_breaks_is_sent_on_the_next(ticks: int) -> None:
    """Unless it has been sent on that one already."""
    async with talking(transport="sse-only") as (server, client):
        stream = await shake_hands(server, client)
        client.send(request(1))
        for _ in range(ticks):
            await trio.lowlevel.checkpoint()
        await stream.cut()
        stream = await server.next("GET")
        await open_events(stream, "/messages?s=2")
        exchange = await server.next("POST")
        if exchange.message == request(1):
            await exchange.reply(202)
            assert "no answer to tools/call" in await client.hear_error(1)
            return
        assert exchange.message == INITIALIZE
        await exchange.reply(202)
        await stream.say(result("i", INITIALIZE_RESULT))
        assert await accept(server, "/messages?s=2") == INITIALIZED
        assert await accept(server, "/messages?s=2") == request(1)
