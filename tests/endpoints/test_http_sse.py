"""HTTP with SSE (2024-11-05, Transports §HTTP with SSE): a session is a GET, and what is POSTed beside it."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import pytest
from trio.testing import wait_all_tasks_blocked

from tests import wire
from tests.proxies import descendants, open_test_proxy, wait_gone
from tests.puppet import PUPPET, log, notification, progress, request, response, saying
from tests.wire import Answer
from trioproxy.config import EndpointConfig, LimitConfig, ListenConfig, TimeConfig
from trioproxy.server import Proxy

FIRST = "2024-11-05"
INITIALIZED = notification("notifications/initialized")


class SSEClient:
    """A client of HTTP with SSE: the stream, and where to POST."""

    def __init__(self, stream: wire.Stream, endpoint: str) -> None:
        self.stream: Any = stream
        self.endpoint = endpoint

    async def post(self, message: Any, **headers: str) -> Answer:
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        dashed = {name.replace("_", "-"): value for name, value in headers.items()}
        return await wire.request(self.endpoint, "POST", {"content-type": "application/json", **dashed}, body)

    async def ask(self, message: dict[str, Any]) -> Any:
        """POST a request, and return the next message of the stream."""
        answer = await self.post(message)
        assert answer.status == 202, answer
        return await self.stream.next_message()

    async def initialize(self, revision: str = FIRST, capabilities: Any = None) -> Any:
        info = {"name": "wire", "version": "1"}
        hello = request("initialize", 0, protocolVersion=revision, capabilities=capabilities or {}, clientInfo=info)
        answer = await self.ask(hello)
        assert (await self.post(INITIALIZED)).status == 202
        return answer["result"]


@asynccontextmanager
async def open_client(url: str) -> AsyncIterator[SSEClient]:
    async with wire.open_stream(url, "GET", {"accept": "text/event-stream"}) as stream:
        assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream")
        event = await stream.next_event()
        assert event is not None
        assert event.name == "endpoint"
        assert event.data is not None
        yield SSEClient(stream, urljoin(url, event.data))


def open_puppet(**concerns: Any) -> Any:
    """A proxy with the puppet behind it, no more children than sessions, and no regard for calls that still run."""
    times = concerns.pop("times", TimeConfig(graceful_shutdown_timeout=0))
    return open_test_proxy(PUPPET, child={"spares": 0, **concerns.pop("child", {})}, times=times, **concerns)


def sse_url(proxy: Proxy) -> str:
    return next(url for url in proxy.urls if not url.endswith("/mcp"))


@asynccontextmanager
async def open_session(**concerns: Any) -> AsyncIterator[SSEClient]:
    """One session with a puppet, handshake done."""
    async with open_puppet(**concerns) as proxy, open_client(sse_url(proxy)) as client:
        await client.initialize()
        yield client


async def sessions(proxy: Proxy) -> int:
    await wait_all_tasks_blocked()
    answer = await wire.request(urljoin(proxy.url, "/healthz"))
    count: int = answer.json["servers"]["default"]["sessions"]
    return count


def assert_refused(answer: Answer, status: int, code: int, request_id: int | str | None) -> None:
    assert (answer.status, answer.headers["content-type"]) == (status, "application/json"), answer
    assert (answer.json["jsonrpc"], answer.json["id"], answer.json["error"]["code"]) == ("2.0", request_id, code)


async def test_the_first_event_says_where_to_post() -> None:
    """ "the server MUST send an endpoint event containing a URI for the client to use for sending messages." """
    async with open_puppet() as proxy, open_client(sse_url(proxy)) as client:
        parts = urlsplit(client.endpoint)
        assert (parts.netloc, parts.path) == (urlsplit(proxy.url).netloc, "/messages")
        (session_id,) = parse_qs(parts.query)["session_id"]
        assert len(session_id) >= 22, "fewer than 128 bits"


async def test_the_endpoint_has_the_prefix_that_a_front_strips() -> None:
    endpoints = EndpointConfig(sse_endpoint="/events", message_endpoint="/post")
    listen = ListenConfig(root_path="/tools/demo")
    async with open_puppet(listen=listen, endpoints=endpoints) as proxy:
        assert urlsplit(sse_url(proxy)).path == "/tools/demo/events"
        async with open_client(urljoin(proxy.url, "/events")) as client:
            assert urlsplit(client.endpoint).path == "/tools/demo/post"
            client.endpoint = client.endpoint.replace("/tools/demo", "")
            assert (await client.initialize())["serverInfo"]["name"] == "puppet"


@pytest.mark.parametrize("revision", [FIRST, "2025-03-26", "2025-06-18", "2025-11-25"])
async def test_answers_are_events_and_posts_are_merely_accepted(revision: str) -> None:
    """Clients of any revision come this way; there is no version header to mind."""
    async with open_puppet() as proxy, open_client(sse_url(proxy)) as client:
        assert (await client.initialize(revision))["protocolVersion"] == revision
        answer = await client.post(request("repeat", "x"), mcp_protocol_version="nonsense")
        assert (answer.status, answer.body) == (202, b"Accepted")
        event = await client.stream.next_event()
        assert (event.name, event.id, event.retry, event.message["id"]) == ("message", None, None, "x")


@pytest.mark.parametrize("accept", ["*/*", "text/html", None])
async def test_who_asks_for_the_stream_gets_it_whatever_is_accepted(accept: str | None) -> None:
    async with open_puppet() as proxy:
        headers = {} if accept is None else {"accept": accept}
        async with wire.open_stream(sse_url(proxy), "GET", headers) as stream:
            event = await stream.next_event()
            assert event is not None
            assert event.name == "endpoint"


async def test_everything_the_server_says_is_on_the_one_stream_in_order() -> None:
    said = [progress("t"), log("hi"), request("sampling/createMessage", 5), notification("notifications/tools/list_changed")]
    async with open_session() as client:
        await client.post(request("wait", 1, token="t"))
        await client.post(request("wait", 2))
        await client.post(saying(*said, response(2), response(1), log("after")))
        everything = [*said, response(2), response(1), log("after")]
        assert [await client.stream.next_message() for _ in everything] == everything


async def test_the_server_can_ask_and_is_answered() -> None:
    async with open_test_proxy() as proxy, open_client(sse_url(proxy)) as client:
        await client.initialize(FIRST, {"sampling": {}, "roots": {}})
        question = await client.ask(wire.tool_call("ask_model", 1, prompt="Hi"))
        assert question["method"] == "sampling/createMessage"
        said = response(question["id"], role="assistant", model="m", content={"type": "text", "text": "Ho"})
        assert (await client.ask(said))["result"]["content"][0]["text"] == "The model says: Ho"


async def test_a_call_that_is_cancelled_is_answered_no_more() -> None:
    """There is no stream that would have to end."""
    async with open_session() as client:
        await client.post(request("wait", 1))
        await client.post(notification("notifications/cancelled", requestId=1))
        lines = (await client.ask(request("heard", 2)))["result"]["lines"]
        assert json.loads(lines[-2])["method"] == "notifications/cancelled"
        assert (await client.ask(request("repeat", 3)))["id"] == 3


async def test_two_sessions_with_equal_ids_do_not_mix() -> None:
    """Another proxy sends every line of one child to every client."""
    async with open_puppet() as proxy, open_client(sse_url(proxy)) as a, open_client(sse_url(proxy)) as b:
        await a.initialize()
        await b.initialize()
        for client in (a, b):
            await client.post(request("wait", 1))
        await b.post(saying(log("of b"), response(1, of="b")))
        await a.post(saying(log("of a"), response(1, of="a")))
        for name, client in (("a", a), ("b", b)):
            assert [await client.stream.next_message() for _ in range(2)] == [log(f"of {name}"), response(1, of=name)]


async def test_the_session_ends_with_its_stream_and_so_does_its_child() -> None:
    async with open_puppet() as proxy:
        async with open_client(sse_url(proxy)) as client:
            await client.initialize()
            child = (await client.ask(request("heard")))["result"]["pid"]
        await wait_gone(child)
        assert await sessions(proxy) == 0
        assert_refused(await client.post(request("repeat", 1)), 404, -32001, None)


async def test_the_stream_says_why_the_server_has_ended_and_goes_on_with_another() -> None:
    async with open_puppet() as proxy, open_client(sse_url(proxy)) as client:
        await client.initialize()
        await client.post(request("wait", 1))
        await client.post(request("die", 2, signal=9))
        errors = [await client.stream.next_message() for _ in range(2)]
        assert [e["id"] for e in errors] == [1, 2]
        for error in errors:
            assert error["error"]["data"] == {"signal": "SIGKILL", "stderr": ["these are my last words"], "restarts": 0}
        assert (await client.ask(request("repeat", 3)))["id"] == 3


async def test_a_stream_whose_server_has_ended_before_the_handshake_ends_and_says_why() -> None:
    async with open_puppet() as proxy, open_client(sse_url(proxy)) as client:
        await client.post(request("die", 2, signal=9))
        (error,) = await client.stream.rest()
        assert error["error"]["data"]["signal"] == "SIGKILL"
        assert await sessions(proxy) == 0
        assert_refused(await client.post(request("repeat", 3)), 404, -32001, None)


async def test_sessions_count_and_there_are_only_so_many() -> None:
    async with open_puppet(limits=LimitConfig(max_sessions=1)) as proxy:
        async with open_client(sse_url(proxy)):
            answer = await wire.request(sse_url(proxy))
            assert_refused(answer, 503, -32000, None)
            assert int(answer.headers["retry-after"]) > 0
        # Its process counts until it is gone.
        while (await wire.request(urljoin(proxy.url, "/healthz"))).json["servers"]["default"]["state"] == "full":
            await wait_all_tasks_blocked()
        async with open_client(sse_url(proxy)) as client:
            await client.initialize()


async def test_a_client_that_leaves_before_it_says_anything_leaves_nothing() -> None:
    async with open_puppet() as proxy:
        for _ in range(5):
            async with wire.open_stream(sse_url(proxy)):
                pass
        await wait_all_tasks_blocked()
        for child in descendants(os.getpid()):
            await wait_gone(child)
        assert await sessions(proxy) == 0


@pytest.mark.parametrize("query", ["", "?", "?session_id=", "?other=1"])
async def test_a_post_that_names_no_session_is_a_bad_request(query: str) -> None:
    async with open_puppet() as proxy:
        url = urljoin(proxy.url, "/messages") + query
        answer = await wire.request(url, "POST", {"content-type": "application/json"}, b"{}")
        assert_refused(answer, 400, -32000, None)


async def test_a_session_that_is_unknown_or_of_the_other_transport_is_not_found() -> None:
    async with open_puppet() as proxy:
        streamable = await wire.initialize(proxy.url)
        for session_id in ("unknown", streamable.session_id, "%FC"):
            url = urljoin(proxy.url, f"/messages?session_id={session_id}")
            answer = await wire.request(url, "POST", {"content-type": "application/json"}, json.dumps(INITIALIZED).encode())
            assert_refused(answer, 404, -32001, None)
        assert (await streamable.post(request("repeat"))).status == 200


@pytest.mark.parametrize(
    ("body", "code"), [(b"", -32700), (b"{", -32700), (b"[]", -32600), (b"7", -32600), (b'{"jsonrpc":"2.0"}', -32600)]
)
async def test_a_body_that_is_no_message_is_refused_and_the_session_goes_on(body: bytes, code: int) -> None:
    async with open_session() as client:
        assert_refused(await client.post(body), 400, code, None)
        assert (await client.ask(request("repeat", 1)))["id"] == 1


async def test_a_body_of_the_wrong_type_or_size_is_refused_and_the_session_goes_on() -> None:
    """In other proxies one large POST ends the whole session."""
    async with open_session(limits=LimitConfig(max_body_size=1000)) as client:
        assert_refused(await client.post(request("repeat", 1), content_type="text/plain"), 415, -32000, None)
        assert_refused(await client.post(request("repeat", 1, text="x" * 5_000_000)), 413, -32000, None)
        assert (await client.ask(request("repeat", 1)))["id"] == 1


async def test_an_id_that_is_in_use_is_refused() -> None:
    async with open_session() as client:
        await client.post(request("wait", 1))
        assert_refused(await client.post(request("repeat", 1)), 400, -32600, 1)
        assert await client.ask(saying(response(1, mine=True))) == response(1, mine=True)


async def test_an_array_is_taken_as_one_message_each() -> None:
    async with open_session() as client:
        assert (await client.post([request("repeat", 1), INITIALIZED, request("repeat", 2)])).status == 202
        assert [(await client.stream.next_message())["id"] for _ in range(2)] == [1, 2]


@pytest.mark.parametrize(
    ("path", "method", "allowed"), [("/sse", "POST", "GET"), ("/sse", "DELETE", "GET"), ("/messages", "GET", "POST")]
)
async def test_other_methods_are_told_which_one_there_is(path: str, method: str, allowed: str) -> None:
    async with open_puppet() as proxy:
        answer = await wire.request(urljoin(proxy.url, path), method, wire.JSON_HEADERS)
        assert_refused(answer, 405, -32000, None)
        assert answer.headers["allow"] == allowed


async def test_messages_pass_as_they_are_both_ways() -> None:
    sent = rb'{"zz":1e999,"id":1,"method":"repeat","params":{"s":"\ud83d"},"jsonrpc":"2.0"}'
    said = b'{"result":{"n":' + b"9" * 400 + b',"s":"\xe2\x80\xa8\\ud83d"},"id":2,"jsonrpc":"2.0"}'
    async with open_session() as client:
        await client.post(sent)
        assert (await client.stream.next_message())["result"]["line"].encode("latin-1") == sent
        await client.post(request("recite", 2, line=said.decode("latin-1")))
        event = await client.stream.next_event()
        assert event.data.encode() == said


@pytest.mark.parametrize("size", [100_000, 1_000_000, 5_000_000])
async def test_large_messages_pass_both_ways(size: int) -> None:
    async with open_session() as client:
        answer = await client.ask(request("repeat", 1, text="x" * size))
        assert len(answer["result"]["line"]) > size
        assert len((await client.ask(request("blob", 2, size=size)))["result"]["text"]) == size


async def test_silence_is_broken_by_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trioproxy.exchange.KEEP_ALIVE_TIME", 0.05)
    async with open_session() as client:
        assert [(await client.stream.next_event()).comment for _ in range(3)] == ["keep-alive"] * 3


async def test_a_server_that_refuses_the_handshake_is_heard() -> None:
    async with open_puppet() as proxy, open_client(sse_url(proxy)) as client:
        hello = request("initialize", 0, protocolVersion="refuse me", capabilities={}, clientInfo={})
        assert (await client.ask(hello))["error"] == {"code": -32602, "message": "no"}


async def test_a_transport_that_is_not_served_is_not_found() -> None:
    async with open_puppet(endpoints=EndpointConfig(servers=frozenset({"stream"}))) as proxy:
        for path in ("/sse", "/messages?session_id=x"):
            assert (await wire.request(urljoin(proxy.url, path))).status == 404
    async with open_puppet(endpoints=EndpointConfig(servers=frozenset({"sse"}))) as proxy:
        assert proxy.urls == (urljoin(proxy.url, "/sse"),)
        assert (await wire.request(urljoin(proxy.url, "/mcp"))).status == 404
        async with open_client(proxy.url) as client:
            await client.initialize()
