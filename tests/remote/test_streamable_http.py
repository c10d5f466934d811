"""A remote of the handshake era over Streamable HTTP: what it gets to see, and what its client hears of it."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trioproxy.http_client import Headers
from trioproxy.protocol.translation import Related
from trioproxy.remote import RemoteConfig, open_remote
from trioproxy.remote.credentials import Credentials

from .scripted import (
    INITIALIZE,
    INITIALIZE_RESULT,
    INITIALIZED,
    Client,
    Exchange,
    Scripted,
    notification,
    open_scripted,
    request,
    result,
    shake_hands,
)

LISTS_CHANGED = notification("notifications/tools/list_changed")


@asynccontextmanager
async def talking(
    *, credentials: Credentials | None = None, listens: bool = True, **config: Any
) -> AsyncIterator[tuple[Scripted, Client]]:
    """Open a scripted server and a client of it, between whom nothing was said yet."""
    # On a clock that runs fast, nobody else limits a test that hangs.
    with trio.fail_after(900):
        async with (
            open_scripted(listens=listens) as server,
            open_remote(RemoteConfig(server.url, **config), credentials=credentials) as remote,
        ):
            yield server, Client(remote)


@asynccontextmanager
async def in_session(session_id: str | None = None, **config: Any) -> AsyncIterator[tuple[Scripted, Client]]:
    """Open them with the handshake done, and no standalone stream; without an id nothing is said at the end."""
    async with talking(**config) as (server, client):
        await (await shake_hands(server, client, session_id)).reply(405)
        yield server, client


# The session


async def test_what_the_handshake_has_settled_goes_with_everything_after_it() -> None:
    async with open_scripted() as server, trio.open_nursery() as nursery, open_remote(f"{server.url}?key=k") as remote:
        client = Client(remote)
        client.send(INITIALIZE)
        first = await server.next("POST")
        assert first.message == INITIALIZE
        assert first.target == "/mcp?key=k"
        assert first.headers["accept"] == "application/json, text/event-stream"
        assert first.headers["content-type"] == "application/json"
        assert not {"mcp-session-id", "mcp-protocol-version"} & first.headers.keys()
        await first.result(INITIALIZE_RESULT, mcp_session_id="s1")
        assert await client.hear() == result("i", INITIALIZE_RESULT)
        client.send(INITIALIZED)
        second = await server.next("POST")
        await second.reply(202)
        stream = await server.next("GET")
        assert stream.headers["accept"] == "text/event-stream"
        await stream.open_stream()
        client.send(request(1))
        third = await server.next("POST")
        for exchange in (second, stream, third):
            assert exchange.headers["mcp-session-id"] == "s1"
            # The one that was agreed on, not the one that the client asked for.
            assert exchange.headers["mcp-protocol-version"] == "2025-06-18"

        async def take_leave() -> None:
            exchange = await server.next("DELETE")
            assert exchange.headers["mcp-session-id"] == "s1"
            await exchange.reply(200)

        nursery.start_soon(take_leave)


async def test_a_remote_that_does_not_take_the_goodbye_is_left_all_the_same(autojump_clock: MockClock) -> None:
    async with open_scripted() as server:
        async with open_remote(server.url) as remote:
            await (await shake_hands(server, Client(remote))).reply(405)
            since = trio.current_time()
        assert 2 <= trio.current_time() - since < 10
        assert (await server.next()).method == "DELETE"


async def test_the_bytes_of_an_answer_pass_as_they_are() -> None:
    raw = rb'{"jsonrpc": "2.0", "id":1,"result":{"n": 1e400, "s":"\ud800", "n": 12345678901234567890123}}'
    async with in_session() as (server, client):
        client.send(request(1))
        await (await server.next("POST")).reply(200, raw)
        assert await client.hear_line() == raw
        client.send(request(1))
        await (await server.next("POST")).reply(200, raw.replace(b", ", b",\n  "))
        assert await client.hear_line() == raw.replace(b", ", b",   ")


async def test_what_comes_on_the_stream_of_a_request_is_heard_as_it_comes_and_the_answer_ends_it() -> None:
    async with in_session() as (server, client):
        client.send(request(1, token="t"))
        exchange = await server.next("POST")
        await exchange.open_stream()
        for message in (
            notification("notifications/progress", progressToken="t", progress=1),
            request("q", "sampling/createMessage"),
            notification("notifications/message", level="info", data="x"),
        ):
            await exchange.say(message)
            assert await client.hear() == message
        client.send(result("q", {"role": "assistant"}))
        answer = await server.next("POST")
        assert answer.message == result("q", {"role": "assistant"})
        await answer.reply(202)
        await exchange.say(result(1, "done"))
        assert await client.hear() == result(1, "done")
        await exchange.end()


async def test_a_message_that_belongs_to_a_request_says_so_if_it_is_asked_to() -> None:
    async with open_scripted() as server, open_remote(server.url, relates=True) as remote:
        remote.send_nowait(b'{"jsonrpc":"2.0","id":1,"method":"tools/call"}')
        exchange = await server.next()
        await exchange.open_stream()
        await exchange.say(request("q", "roots/list"))
        (message,) = await remote.receive()
        assert isinstance(message, Related)
        assert message.request_id == 1
        await exchange.say(result(1))
        (answer,) = await remote.receive()
        assert isinstance(answer, bytes)


async def test_requests_run_side_by_side() -> None:
    async with in_session() as (server, client):
        client.send(*(request(number) for number in range(20)))
        exchanges = [await server.next("POST") for _ in range(20)]
        for exchange in sorted(exchanges, key=lambda exchange: -int(exchange.id)):
            await exchange.result()
            assert (await client.hear())["id"] == exchange.id


async def test_what_follows_a_notification_waits_until_it_has_arrived() -> None:
    async with talking() as (server, client):
        client.send(INITIALIZE)
        await (await server.next()).result(INITIALIZE_RESULT)
        await client.hear()
        client.send(INITIALIZED, request(1))
        initialized = await server.next("POST")
        assert initialized.message == INITIALIZED
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert server.is_quiet
        await initialized.reply(202)
        await (await server.next("GET")).reply(405)
        assert (await server.next("POST")).message == request(1)


async def test_a_cancellation_follows_its_request() -> None:
    async with in_session() as (server, client):
        client.send(request(1), notification("notifications/cancelled", requestId=1))
        exchange = await server.next("POST")
        assert exchange.message == request(1)
        await exchange.open_stream()
        cancelled = await server.next("POST")
        assert cancelled.message["method"] == "notifications/cancelled"
        await cancelled.reply(202)
        await exchange.say(result(1))
        assert await client.hear() == result(1)


# Answers that are none


@pytest.mark.parametrize("error_id", [None, 1, "other"])
async def test_an_error_in_the_body_of_a_refusal_is_the_answer(error_id: Any) -> None:
    async with in_session() as (server, client):
        client.send(request(1))
        await (await server.next()).refuse(400, -32602, "bad", error_id)
        assert await client.hear() == {"jsonrpc": "2.0", "id": 1, "error": {"code": -32602, "message": "bad"}}


async def test_a_refusal_without_an_error_tells_its_status_and_its_body_but_no_query() -> None:
    async with open_scripted() as server, open_remote(f"{server.url}?key=secret") as remote:
        client = Client(remote)
        client.send(request(1))
        await (await server.next()).reply(500, b"<h1>oops</h1>" + b"x" * 10_000, "text/html")
        error = await client.hear_error(1)
    assert f"{server.url} answered with HTTP status 500: <h1>oops</h1>xxx" in error
    assert "secret" not in error
    assert len(error) < 500


async def test_a_challenge_is_told() -> None:
    async with in_session() as (server, client):
        client.send(request(1))
        challenge = 'Bearer error="insufficient_scope", scope="a b", resource_metadata="https://x.example/meta"'
        await (await server.next()).reply(403, b"", www_authenticate=challenge)
        error = await client.hear_error(1)
    assert "403" in error
    assert "scope a b" in error
    assert "resource_metadata https://x.example/meta" in error


class Key:
    """Credentials that get better when they are refused."""

    def __init__(self, *keys: str) -> None:
        self.keys = list(keys)
        self.refused: list[int] = []

    async def headers(self) -> Headers:
        return [(b"authorization", self.keys[0].encode())]

    async def renew(self, status: int, headers: Headers) -> bool:
        self.refused.append(status)
        if len(self.keys) > 1:
            self.keys.pop(0)
            return True
        return False


async def test_new_credentials_are_tried_once() -> None:
    key = Key("old", "new")
    async with talking(credentials=key) as (server, client):
        client.send(request(1))
        await (await server.next()).reply(401)
        exchange = await server.next()
        assert exchange.headers["authorization"] == "new"
        await exchange.reply(401)
        assert "401" in await client.hear_error(1)
    assert key.refused == [401]


async def test_our_own_headers_go_with_every_request() -> None:
    headers = (("X-Thing", "1"), ("Authorization", "weak"))
    async with talking(headers=headers, api_key="k", user_id="u", credentials=Key("strong")) as (server, client):
        client.send(request(1))
        exchange = await server.next()
        assert exchange.headers["x-thing"] == "1"
        assert exchange.headers["x-api-key"] == "k"
        assert exchange.headers["x-user-id"] == "u"
        assert exchange.headers["authorization"] == "strong"


@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        (200, b"<html>", "text/html", "'text/html'"),
        (200, b"not json", "application/json", "no answer to tools/call: the response ended"),
        (200, b'{"jsonrpc":"2.0","id":2,"result":{}}', "application/json", "no answer"),
        (200, b"data: {}\n\n", "text/event-stream", "no answer"),
        (200, b"", "application/json", "HTTP status 200 and no message"),
        (202, b"", "application/json", "HTTP status 202 and no message"),
        (204, b"", "application/json", "HTTP status 204 and no message"),
    ],
)
async def test_what_is_no_answer_fails_its_request_and_no_other(status: int, body: bytes, kind: str, said: str) -> None:
    async with in_session() as (server, client):
        client.send(request(0))
        other = await server.next()
        client.send(request(1))
        await (await server.next()).reply(status, body, kind)
        assert said in await client.hear_error(1)
        await other.result("well")
        assert await client.hear() == result(0, "well")


async def test_an_answer_on_the_standalone_stream_is_one() -> None:
    async with talking() as (server, client):
        stream = await shake_hands(server, client, None)
        await stream.open_stream()
        client.send(request(1))
        await (await server.next("POST")).reply(202)
        await stream.say(result(1, "late"))
        assert await client.hear() == result(1, "late")


@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
async def test_an_answer_over_the_limit_fails_its_request_and_no_other(kind: str) -> None:
    async with in_session(max_message_size=1000) as (server, client):
        client.send(request(0))
        other = await server.next()
        client.send(request(1))
        exchange = await server.next()
        body = b'{"jsonrpc":"2.0","id":1,"result":"%b"}' % (b"x" * 5000)
        await exchange.reply(200, body if kind == "application/json" else b"data: %b\n\n" % body, kind)
        assert "limit" in await client.hear_error(1)
        await other.result("x" * 900)
        assert (await client.hear())["id"] == 0


async def test_a_notification_over_the_limit_is_dropped_and_its_request_goes_on() -> None:
    async with in_session(max_message_size=1000) as (server, client):
        client.send(request(1))
        exchange = await server.next()
        await exchange.open_stream()
        await exchange.say(notification("notifications/message", data="x" * 5000))
        await exchange.say(result(1))
        assert await client.hear() == result(1)


async def test_an_id_that_is_in_use_is_refused() -> None:
    async with in_session() as (server, client):
        client.send(request(1), request(1, "tools/list"))
        assert "in flight" in await client.hear_error(1)
        await (await server.next()).result()
        assert await client.hear() == result(1)


# Streams that break


async def test_a_stream_that_breaks_without_ids_fails_its_request_and_no_other() -> None:
    async with in_session() as (server, client):
        client.send(request(1), request(2))
        broken, whole = await server.next(), await server.next()
        await broken.open_stream()
        await broken.say(notification("notifications/message", data=1))
        await client.hear()
        await broken.cut()
        assert "no answer to tools/call" in await client.hear_error(broken.id)
        await whole.result("well")
        assert await client.hear() == result(whole.id, "well")


@pytest.mark.parametrize("ends", ["cut", "end"])
async def test_a_stream_with_ids_is_resumed_where_it_broke(ends: str, autojump_clock: MockClock) -> None:
    """2025-11-25, Transports §Sending Messages to the Server, 6."""
    async with in_session() as (server, client):
        client.send(request(1))
        exchange = await server.next("POST")
        await exchange.open_stream()
        await exchange.write(b"id: a-0\nretry: 5000\ndata: \n\n")
        await exchange.say(notification("notifications/message", data=1), "a-1")
        await client.hear()
        since = trio.current_time()
        await getattr(exchange, ends)()
        resumed = await server.next("GET")
        assert trio.current_time() - since >= 5
        assert resumed.headers["last-event-id"] == "a-1"
        await resumed.open_stream()
        await resumed.say(notification("notifications/message", data=2), "a-2")
        assert (await client.hear())["params"]["data"] == 2
        await resumed.cut()
        again = await server.next("GET")
        assert again.headers["last-event-id"] == "a-2"
        await again.reply(503)
        last = await server.next("GET")
        assert last.headers["last-event-id"] == "a-2"
        await last.open_stream()
        await last.say(result(1), "a-3")
        assert await client.hear() == result(1)


async def test_a_stream_that_can_not_be_resumed_fails_its_request() -> None:
    async with in_session() as (server, client):
        client.send(request(1))
        exchange = await server.next("POST")
        await exchange.open_stream()
        await exchange.write(b"id: a-0\ndata: \n\n")
        await exchange.cut()
        await (await server.next("GET")).refuse(400, -32000, "gone")
        error = await client.hear_error(1)
    assert "can't be resumed" in error
    assert "gone" in error


# Sessions that expire


async def renewed(server: Scripted, session_id: str) -> Exchange:
    """Take part in the handshake of a new session, and return the request for its standalone stream."""
    exchange = await server.next("POST")
    assert exchange.message == INITIALIZE
    assert "mcp-session-id" not in exchange.headers
    await exchange.result(INITIALIZE_RESULT, mcp_session_id=session_id)
    exchange = await server.next("POST")
    assert exchange.message == INITIALIZED
    assert exchange.headers["mcp-session-id"] == session_id
    await exchange.reply(202)
    return await server.next("GET")


EXPIRED = [(404, -32001, "Session not found"), (400, -32000, "Bad Request: No valid session ID provided")]


@pytest.mark.parametrize("refusal", EXPIRED)
async def test_a_session_that_has_expired_is_begun_anew_once_for_all_who_hear_of_it(refusal: Any) -> None:
    async with talking() as (server, client):
        await (await shake_hands(server, client)).reply(405)
        client.send(request(1), request(2))
        for exchange in [await server.next("POST"), await server.next("POST")]:
            await exchange.refuse(*refusal)
        await (await renewed(server, "s2")).reply(405)
        assert await client.hear() == {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
        again = [await server.next("POST"), await server.next("POST")]
        assert sorted(exchange.id for exchange in again) == [1, 2]
        for exchange in again:
            assert exchange.headers["mcp-session-id"] == "s2"
            await exchange.result()
            assert await client.hear() == result(exchange.id)
        await server.stop()


async def test_the_log_level_and_the_subscriptions_are_set_again() -> None:
    level = request(5, "logging/setLevel", level="debug")
    subscription = request(6, "resources/subscribe", uri="a://b")
    async with talking() as (server, client):
        await (await shake_hands(server, client)).reply(405)
        client.send(level, subscription)
        for _ in range(2):
            await (await server.next("POST")).result()
            await client.hear()
        client.send(request(1))
        await (await server.next("POST")).reply(404)
        await (await server.next("POST")).result(INITIALIZE_RESULT, mcp_session_id="s2")
        await (await server.next("POST")).reply(202)
        for said in (level, subscription):
            exchange = await server.next("POST")
            assert exchange.headers["mcp-session-id"] == "s2"
            assert {**exchange.message, "id": said["id"]} == said
            await exchange.result()
        await (await server.next("GET")).reply(405)
        await (await server.next("POST")).result()
        assert (await client.hear())["method"] == "notifications/tools/list_changed"
        assert await client.hear() == result(1)
        await server.stop()


async def test_a_session_that_expires_again_at_once_is_not_begun_a_third_time() -> None:
    async with talking() as (server, client):
        await (await shake_hands(server, client)).reply(405)
        client.send(request(1))
        await (await server.next("POST")).refuse(404, -32001, "first")
        await (await renewed(server, "s2")).reply(405)
        await (await server.next("POST")).refuse(404, -32001, "second")
        await client.hear()
        assert await client.hear_error(1) == "second"
        await server.stop()


async def test_a_new_session_that_is_refused_fails_the_request() -> None:
    async with talking() as (server, client):
        await (await shake_hands(server, client)).reply(405)
        client.send(request(1))
        await (await server.next("POST")).reply(404)
        await (await server.next("POST")).reply(503, b"full", "text/plain")
        assert "503: full" in await client.hear_error(1)
        await server.stop()


async def test_a_404_without_a_session_is_an_answer_like_any_other() -> None:
    async with in_session() as (server, client):
        client.send(request(1))
        await (await server.next("POST")).refuse(404, -32601, "no such method")
        assert await client.hear_error(1) == "no such method"


# The standalone stream


async def test_what_belongs_to_no_request_comes_on_the_standalone_stream_which_is_opened_again() -> None:
    async with talking() as (server, client):
        stream = await shake_hands(server, client, None)
        assert "last-event-id" not in stream.headers
        await stream.open_stream()
        await stream.say(LISTS_CHANGED, "e-1")
        assert await client.hear() == LISTS_CHANGED
        await stream.cut()
        stream = await server.next("GET")
        assert stream.headers["last-event-id"] == "e-1"
        await stream.reply(500)
        stream = await server.next("GET")
        await stream.open_stream()
        await stream.say(request("q", "ping"))
        assert await client.hear() == request("q", "ping")


async def test_nothing_is_asked_before_the_standalone_stream_is_open_where_an_early_question_would_be_lost() -> None:
    async with talking() as (server, client):
        stream = await shake_hands(server, client, None)
        client.send(request(1))
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert server.is_quiet
        await stream.open_stream()
        exchange = await server.next("POST")
        await stream.say(request("q", "elicitation/create"))
        assert await client.hear() == request("q", "elicitation/create")
        await exchange.result()
        assert await client.hear() == result(1)


async def test_a_remote_that_keeps_silent_about_the_standalone_stream_is_asked_all_the_same(
    autojump_clock: MockClock,
) -> None:
    async with talking() as (server, client):
        # The stream is asked for as the handshake ends.
        since = trio.current_time()
        await shake_hands(server, client, None)
        client.send(request(1))
        await (await server.next("POST")).result()
        assert await client.hear() == result(1)
        assert 1 <= trio.current_time() - since < 3


async def test_a_remote_that_breaks_off_the_standalone_stream_is_asked_at_once(autojump_clock: MockClock) -> None:
    async with talking() as (server, client):
        stream = await shake_hands(server, client, None)
        since = trio.current_time()
        await stream.cut()
        client.send(request(1))
        await (await server.next("POST")).result()
        assert await client.hear() == result(1)
        assert trio.current_time() - since < 1


async def test_what_was_refused_waits_for_the_standalone_stream_of_the_new_session() -> None:
    async with talking() as (server, client):
        await (await shake_hands(server, client)).reply(405)
        client.send(request(1))
        await (await server.next("POST")).refuse(404, -32001, "Session not found")
        stream = await renewed(server, "s2")
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert server.is_quiet
        await stream.open_stream()
        assert (await server.next("POST")).message == request(1)
        await server.stop()


async def test_a_session_that_has_expired_is_found_out_by_the_standalone_stream() -> None:
    async with talking() as (server, client):
        stream = await shake_hands(server, client)
        await stream.open_stream()
        await stream.cut()
        await (await server.next("GET")).reply(404)
        stream = await renewed(server, "s2")
        assert stream.headers["mcp-session-id"] == "s2"
        assert "last-event-id" not in stream.headers
        await stream.open_stream()
        await stream.say(LISTS_CHANGED)
        assert await client.hear() == {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
        assert await client.hear() == LISTS_CHANGED
        await server.stop()


# Time


async def test_a_request_has_its_time_which_progress_extends(autojump_clock: MockClock) -> None:
    async with in_session(request_timeout=20.0) as (server, client):
        since = trio.current_time()
        client.send(request(1, token="t"))
        exchange = await server.next()
        await exchange.open_stream()
        await trio.sleep(15)
        await exchange.say(notification("notifications/progress", progressToken="t", progress=1))
        await client.hear()
        assert "did not answer within 20 s" in await client.hear_error(1)
        assert 35 <= trio.current_time() - since < 55
        cancelled = await server.next("POST")
        assert cancelled.message["params"]["requestId"] == 1


async def test_a_cancelled_request_that_is_never_answered_is_forgotten(autojump_clock: MockClock) -> None:
    async with in_session(request_timeout=20.0) as (server, client):
        client.send(request(1))
        exchange = await server.next()
        await exchange.open_stream()
        client.send(notification("notifications/cancelled", requestId=1))
        await (await server.next()).reply(202)
        await exchange.wait_left()
        client.send(request(1))
        await (await server.next()).result()
        assert await client.hear() == result(1)


# The remote is away


async def test_a_remote_that_is_not_there_yet_is_waited_for_with_the_handshake(autojump_clock: MockClock) -> None:
    async with talking(listens=False, connection_timeout=300.0) as (server, client):
        client.send(INITIALIZE)
        await trio.sleep(20)
        await server.start()
        await (await server.next()).result(INITIALIZE_RESULT)
        assert await client.hear() == result("i", INITIALIZE_RESULT)


async def test_a_remote_that_never_comes_is_an_error_that_names_it() -> None:
    async with talking(listens=False, connection_timeout=1.0) as (server, client):
        client.send(INITIALIZE)
        error = await client.hear_error("i")
        assert server.url in error
        assert "refused" in error


class OnceUnknown(trio.abc.HostnameResolver):
    """Knows no host when it is asked for the first time, and never comes back when asked again."""

    asked = 0

    async def getaddrinfo(self, *_: Any) -> Any:
        self.asked += 1
        if self.asked == 1:
            raise socket.gaierror("nobody of that name")
        await trio.sleep_forever()

    async def getnameinfo(self, *_: Any) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize("transport", ["http-first", "sse-first", "sse-only"])
async def test_a_time_that_is_over_during_an_attempt_says_what_the_one_before_met(
    transport: str, autojump_clock: MockClock
) -> None:
    """The code is that of a remote that was not reached, whether the time ends in an attempt or between two."""
    trio.socket.set_custom_hostname_resolver(OnceUnknown())
    config: Any = {"transport": transport, "connection_timeout": 3.0}
    async with open_remote(RemoteConfig("http://remote.example/mcp", **config)) as remote:
        client = Client(remote)
        client.send(INITIALIZE)
        error = (await client.hear())["error"]
        assert error["code"] == -32603
        assert "was not reached within 3 s" in error["message"]
        assert "nobody of that name" in error["message"]


async def test_a_remote_that_has_the_request_was_reached_whatever_was_before(autojump_clock: MockClock) -> None:
    """Else its client might think that nothing was done."""
    async with in_session(request_timeout=20.0) as (server, client):
        await server.stop()
        client.send(request(1))
        await trio.sleep(1)
        await server.start()
        await server.next("POST")
        error = (await client.hear())["error"]
        assert (error["code"], "did not answer within 20 s" in error["message"]) == (-32001, True)


async def test_a_request_outlives_a_restart_if_it_was_not_sent(autojump_clock: MockClock) -> None:
    async with in_session() as (server, client):
        await server.stop()
        client.send(request(1))
        await trio.sleep(1)
        await server.start()
        await (await server.next("POST")).result()
        assert await client.hear() == result(1)


async def test_a_request_does_not_wait_long_for_a_remote_that_is_gone(autojump_clock: MockClock) -> None:
    async with in_session() as (server, client):
        await server.stop()
        since = trio.current_time()
        client.send(request(1))
        assert "refused" in await client.hear_error(1)
        assert trio.current_time() - since < 20


@pytest.mark.parametrize("point", ["before the head", "after the head", "in an event", "after an event with an id"])
async def test_a_remote_that_is_killed_and_started_again_costs_the_calls_that_it_had_begun(
    point: str, autojump_clock: MockClock
) -> None:
    async with talking() as (server, client):
        stream = await shake_hands(server, client)
        await stream.open_stream()
        client.send(request(1))
        exchange = await server.next("POST")
        if point != "before the head":
            await exchange.open_stream()
        if point == "in an event":
            await exchange.write(b'id: a-1\ndata: {"jsonrpc":"2.0","id":1,')
        elif point == "after an event with an id":
            await exchange.say(notification("notifications/message"), "a-1")
            await client.hear()
        await server.stop()
        await server.start()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(forget_everything, server)
            heard = [await client.hear(), await client.hear()]
            assert {message.get("id") for message in heard} == {None, 1}
            assert any("error" in message for message in heard)
            client.send(request(2))
            assert await client.hear() == result(2, "s2")
            nursery.cancel_scope.cancel()
        await server.stop()


async def forget_everything(server: Scripted) -> None:
    """Be a server that has been started again: it knows no session but the one that is begun now."""
    while True:
        exchange = await server.next()
        session_id = exchange.headers.get("mcp-session-id")
        if session_id == "s1":
            await exchange.reply(404)
        elif exchange.method == "GET":
            await exchange.reply(405)
        elif session_id is None:
            await exchange.result(INITIALIZE_RESULT, mcp_session_id="s2")
        elif "id" in exchange.message:
            await exchange.result(session_id)
        else:
            await exchange.reply(202)


# A transport like any other


async def test_what_is_received_too_slowly_holds_the_remote_back() -> None:
    async with in_session() as (server, client):
        client.send(request(1))
        exchange = await server.next()
        await exchange.open_stream()
        big = notification("notifications/message", data="x" * 500_000)
        sent = 0
        with trio.move_on_after(0.5):
            while True:
                await exchange.say(big)
                sent += 1
        assert sent < 40
        heard: Sequence[Any] = await client.remote.receive()
        assert len(heard) <= 4


async def test_receiving_can_be_cancelled_and_loses_nothing() -> None:
    async with in_session() as (server, client):
        client.send(request(1))
        with trio.move_on_after(0.01):
            await client.remote.receive()
        await (await server.next()).result()
        assert await client.hear() == result(1)


async def test_what_can_not_be_sent_yet_makes_it_congested() -> None:
    async with talking() as (server, client):
        assert not client.remote.is_congested
        client.send(request(1, text="x" * 2_000_000))
        assert client.remote.is_congested
        await client.remote.wait_writable()
        assert not client.remote.is_congested
        await (await server.next()).result()
        assert await client.hear() == result(1)


async def test_leaving_in_the_middle_of_everything_leaves_nothing_behind() -> None:
    async with talking() as (server, client):
        await (await shake_hands(server, client)).open_stream()
        client.send(request(1), request(2), notification("notifications/roots/list_changed"), request(3))
        await (await server.next("POST")).open_stream()
        await server.next("POST")
        await server.stop()
