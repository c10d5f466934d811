"""Streamable HTTP as 2026-07-28 has it: what a client sees on the wire.

Quotations are from Transports §Streamable HTTP of 2026-07-28 where nothing else is said.
"""

from __future__ import annotations

import base64
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import trio

from tests import modern, wire
from tests.modern import (
    ASKABLE,
    RESERVED,
    REVISION,
    SUBSCRIPTION_ID,
    answer_all,
    assert_refused,
    listen,
    open_post,
    post,
    post_bytes,
    request,
    tool_call,
)
from tests.proxies import descendants, open_test_proxy, wait_gone
from tests.puppet import MODERN_PUPPET, PUPPET, log, notification, progress, response
from tests.serving import ask, wait_until
from tests.wire import Answer
from trioproxy import exchange as exchange_module
from trioproxy.config import LimitConfig, TimeConfig
from trioproxy.endpoints import modern as modern_module

PATIENT = TimeConfig()


@asynccontextmanager
async def open_puppet(times: TimeConfig = PATIENT, **concerns: Any) -> AsyncIterator[str]:
    """A proxy with a puppet of the modern era behind it, and no regard for calls that still run when it ends."""
    async with open_puppet_proxy(times, **concerns) as proxy:
        yield proxy.url


def open_puppet_proxy(times: TimeConfig = PATIENT, **concerns: Any) -> Any:
    times = replace(times, graceful_shutdown_timeout=0)
    concerns = {"upstream_protocol": "modern", **concerns}
    return open_test_proxy(MODERN_PUPPET, child={"spares": 0, **concerns.pop("child", {})}, times=times, **concerns)


@asynccontextmanager
async def open_demo(upstream: str, **concerns: Any) -> AsyncIterator[str]:
    """A proxy with the demo behind it, which is of both eras, and is taken for one of them."""
    async with open_test_proxy(upstream_protocol=upstream, **concerns) as proxy:
        yield proxy.url


async def say(url: str, *messages: Any) -> None:
    """Let the puppet say messages, given as values or as bytes, the last of which answers this very request."""
    lines = [m.decode("latin-1") if isinstance(m, bytes) else json.dumps(m) for m in (*messages, response("@me@"))]
    # Ids are numbers to the puppet.
    lines = [line.replace('"@', "@").replace('@"', "@") for line in lines]
    answer = await post(url, request("say", "say", lines=lines))
    assert answer.json == response("say")


async def heard(url: str) -> list[Any]:
    """Return the messages that the puppet has heard so far, this question not counted."""
    answer = await post(url, request("heard", "heard"))
    return [json.loads(line) for line in answer.json["result"]["lines"]][:-1]


async def pid_of(url: str) -> int:
    """Return the process id of the puppet."""
    pid: int = (await post(url, request("heard", "pid"))).json["result"]["pid"]
    return pid


def stamped(method: str, subscription: int | str, **params: Any) -> dict[str, Any]:
    return notification(method, _meta={SUBSCRIPTION_ID: subscription}, **params)


# The checks, in the order in which the first that fails is the answer


def changed(message: dict[str, Any], **meta: Any) -> dict[str, Any]:
    """Return a request with other members in its envelope; one that is None is missing."""
    envelope = {**message["params"]["_meta"], **{RESERVED + name: value for name, value in meta.items()}}
    params = {**message["params"], "_meta": {name: value for name, value in envelope.items() if value is not None}}
    return {**message, "params": params}


LIST = request("tools/list", "me")
CALL = tool_call("add", "me")
UNKNOWN = "2099-01-01"


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("stateless", [False, True])
async def test_there_is_no_method_but_post(method: str, stateless: bool) -> None:
    """§Earlier Streamable HTTP Revisions: "respond with `405 Method Not Allowed`"."""
    async with open_puppet(stateless=stateless) as url:
        headers = {"mcp-protocol-version": REVISION, "accept": "text/event-stream"}
        answer = await wire.request(url, method, headers)
        assert_refused(answer, 405, -32000, None)
        assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream", "text/html", None])
async def test_both_kinds_of_answer_have_to_be_acceptable(accept: str | None) -> None:
    """§Sending Messages, 2: "MUST include an `Accept` header listing both"."""
    async with open_puppet() as url:
        answer = await post(url, LIST, accept=accept)
        assert (answer.status, answer.headers["content-type"]) == (406, "application/json")
        assert answer.json["error"]["code"] == -32000
        assert await heard(url) == []


@pytest.mark.parametrize("accept", ["*/*", "text/*, application/*;q=0.1", "Text/Event-Stream,application/json"])
async def test_wildcards_are_acceptable(accept: str) -> None:
    async with open_puppet() as url:
        assert (await post(url, LIST, accept=accept)).status == 200


async def test_a_body_has_to_be_declared_as_json_and_to_be_small_enough() -> None:
    async with open_puppet(limits=LimitConfig(max_body_size=1000)) as url:
        answer = await post(url, LIST, content_type="text/plain")
        assert (answer.status, answer.json["error"]["code"]) == (415, -32000)
        assert (await post(url, LIST, content_type="application/json; charset=utf-8")).status == 200
        answer = await post(url, request("tools/list", padding="x" * 1000))
        assert (answer.status, answer.json["error"]["code"]) == (413, -32000)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", -32700),
        (b"", -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"n":NaN}}', -32700),
        (b"[" + json.dumps(LIST).encode() + b"]", -32600),
        (b"[]", -32600),
        (b'{"jsonrpc":"2.0","id":1,"result":{}}', -32600),
        (b'{"jsonrpc":"2.0","id":null,"method":"tools/list"}', -32600),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"tools/list"}', -32600),
        (b'{"jsonrpc":"1.0","id":1,"method":"tools/list"}', -32600),
    ],
)
async def test_what_is_no_single_request_or_notification_is_refused(body: bytes, code: int) -> None:
    """§Sending Messages, 4: "MUST be a single JSON-RPC request or notification … MUST NOT send JSON-RPC responses"."""
    async with open_puppet() as url:
        assert_refused(await post_bytes(url, body, **modern.headers(LIST)), 400, code, None)
        assert await heard(url) == []


async def test_a_notification_is_accepted_and_goes_nowhere() -> None:
    """§Sending Messages: "This revision of the core protocol defines no client-to-server notifications"."""
    async with open_puppet() as url:
        cancelled = notification("notifications/cancelled", requestId=1)
        answer = await post(url, cancelled)
        assert (answer.status, answer.body) == (202, b"")
        assert "content-type" not in answer.headers
        assert await heard(url) == []
        assert_refused(await post(url, cancelled, mcp_protocol_version=UNKNOWN), 400, -32022, None)


async def test_a_notification_without_a_header_is_a_legacy_one() -> None:
    async with open_puppet() as url:
        answer = await post(url, notification("notifications/cancelled", requestId=1), mcp_protocol_version=None)
        assert_refused(answer, 400, -32000, None)


@pytest.mark.parametrize("name", ["MCP-Protocol-Version", "Mcp-Method", "Mcp-Name"])
async def test_a_header_that_comes_twice_is_refused(name: str) -> None:
    """Different readers would take different ones for true."""
    body = json.dumps(CALL).encode()
    async with open_puppet() as url, wire.connect(url) as connection:
        chosen = [*modern.headers(CALL).items(), ("host", connection.host), ("content-length", str(len(body)))]
        twice = [(key, value) for key, value in chosen if key == name.lower()]
        head = "".join(f"{key}: {value}\r\n" for key, value in chosen + twice)
        answer = await ask(connection, f"POST /mcp HTTP/1.1\r\n{head}\r\n".encode() + body, "POST")
        assert_refused(answer, 400, -32020, "me")
        assert name in answer.json["error"]["message"]


@pytest.mark.parametrize(
    ("message", "named"),
    [
        ({**LIST, "params": {}}, "_meta"),
        ({"jsonrpc": "2.0", "id": "me", "method": "tools/list"}, "_meta"),
        ({**LIST, "params": {"_meta": []}}, "_meta"),
        (changed(LIST, protocolVersion=None), "protocolVersion"),
        (changed(LIST, clientCapabilities=None), "clientCapabilities"),
        (changed(LIST, protocolVersion=None, clientCapabilities=None), "protocolVersion"),
        (changed(LIST, protocolVersion=5), "protocolVersion"),
        (changed(LIST, clientCapabilities=[]), "clientCapabilities"),
        (changed(LIST, clientInfo="me"), "clientInfo"),
    ],
)
async def test_a_request_without_a_whole_envelope_is_refused(message: dict[str, Any], named: str) -> None:
    """Basic §`_meta`: "the server MUST reject the request with -32602 … the response status MUST be 400"."""
    async with open_puppet() as url:
        answer = await post(url, message)
        assert_refused(answer, 400, -32602, "me")
        assert named in answer.json["error"]["message"]
        assert await heard(url) == []


async def test_a_client_need_not_say_what_it_is_called() -> None:
    async with open_puppet() as url:
        assert (await post(url, changed(LIST, clientInfo=None))).status == 200


@pytest.mark.parametrize(
    ("message", "headers"),
    [
        (LIST, {"mcp_protocol_version": None}),
        (LIST, {"mcp_protocol_version": "2025-11-25"}),
        (LIST, {"mcp_method": None}),
        (LIST, {"mcp_method": "tools/call"}),
        (LIST, {"mcp_method": "Tools/List"}),
        (CALL, {"mcp_name": None}),
        (CALL, {"mcp_name": "subtract"}),
        (CALL, {"mcp_name": "=?base64?!!!!?="}),
        (CALL, {"mcp_name": "=?base64?c3VidHJhY3Q=?="}),
        (request("resources/read", "me", uri="a:b"), {"mcp_name": "a:c"}),
        (request("prompts/get", "me", name="greet"), {"mcp_name": None}),
        # A client that contradicts itself is told so before it is told that its revision is not served.
        (changed(LIST, protocolVersion=UNKNOWN), {}),
    ],
)
async def test_headers_that_do_not_say_what_the_body_says_are_refused(
    message: dict[str, Any], headers: dict[str, str | None]
) -> None:
    """§Server Validation: 400 and -32020; the specification's example echoes the id."""
    async with open_puppet() as url:
        assert_refused(await post(url, message, **headers), 400, -32020, "me")
        assert await heard(url) == []


async def test_a_name_may_be_encoded() -> None:
    """§Value Encoding: "servers MUST decode an encoded `Mcp-Name`"."""
    name = "Grüße, 世界"
    async with open_puppet() as url:
        encoded = f"=?base64?{base64.b64encode(name.encode()).decode()}?="
        answer = await post(url, tool_call(name, 3, {"result": {"x": 1}}), mcp_name=encoded)
        assert answer.json == response(3, resultType="complete", x=1)


async def test_a_revision_that_is_not_served_is_refused_with_those_that_are() -> None:
    """§Protocol Version Header: "400 Bad Request and an UnsupportedProtocolVersionError"."""
    async with open_puppet() as url:
        answer = await post(url, changed(LIST, protocolVersion=UNKNOWN), mcp_protocol_version=UNKNOWN)
        assert_refused(answer, 400, -32022, "me")
        assert answer.json["error"]["data"] == {"supported": [REVISION], "requested": UNKNOWN}


@pytest.mark.parametrize(
    "method", ["initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe", "notifications/x"]
)
async def test_a_method_that_the_revision_does_not_have_is_not_found(method: str) -> None:
    """§Protocol Version Header: "it MUST respond with `404 Not Found` and … `-32601`"."""
    async with open_puppet() as url:
        assert_refused(await post(url, request(method, 0)), 404, -32601, 0)
        assert await heard(url) == []


async def test_a_log_level_has_to_be_one() -> None:
    """Logging §Error Handling: "Invalid log level: -32602"."""
    async with open_puppet() as url:
        assert_refused(await post(url, changed(LIST, logLevel="loud")), 400, -32602, "me")


@pytest.mark.parametrize(
    ("code", "status"),
    [(-32601, 404), (-32602, 400), (-32021, 400), (-32022, 400), (-32603, 200), (-32000, 200), (0, 200), (-32042, 200)],
)
@pytest.mark.parametrize("method", ["begin_not", "subscriptions/listen"])
async def test_an_error_of_the_server_has_the_status_that_its_code_asks_for(code: int, status: int, method: str) -> None:
    """Basic §`_meta`, §Protocol Version Header; subscriptions are no exception."""
    error = {"jsonrpc": "2.0", "id": 1, "error": {"code": code, "message": "no", "data": {"n": 1}}}
    program = (
        "import json, sys\n"
        "for line in sys.stdin:\n"
        "    message = json.loads(line)\n"
        f"    print(json.dumps({{**{error!r}, 'id': message['id']}}), flush=True)\n"
    )
    async with open_test_proxy(modern_python(program), upstream_protocol="modern") as proxy:
        answer = await post(proxy.url, request(method, "me", notifications={}))
        assert_refused(answer, status, code, "me")
        assert answer.json == {**error, "id": "me"}


def modern_python(program: str) -> tuple[str, ...]:
    return (*MODERN_PUPPET[:-1], program)


async def test_what_belongs_to_other_eras_is_ignored_and_nothing_of_it_comes_back() -> None:
    """§Earlier Streamable HTTP Revisions: ignore Mcp-Session-Id, "do not mint or echo session IDs"; ignore Last-Event-ID."""
    async with open_puppet() as url:
        answer = await post(url, request("repeat", 1), mcp_session_id="nobody's", last_event_id="s1-1")
        assert answer.status == 200
        assert "mcp-session-id" not in answer.headers
        async with open_post(url, request("begin", token="t"), mcp_session_id="x", last_event_id="s1-1") as stream:
            assert "mcp-session-id" not in stream.headers
            event = await stream.next_event()
            assert (event.id, event.retry, event.message) == (None, None, progress("t"))


# One body or a stream


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an answer be the first thing however busy the machine is."""
    monkeypatch.setattr(modern_module, "STREAM_AFTER", 25)


async def test_an_answer_that_comes_first_is_one_body() -> None:
    async with open_puppet() as url:
        answer = await post(url, request("blob", "me", size=3))
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        assert answer.json == response("me", resultType="complete", text="xxx")


async def test_what_comes_before_the_answer_makes_it_a_stream_that_ends_with_the_answer() -> None:
    """§Receiving Messages: "The final JSON-RPC response SHOULD terminate the stream"."""
    async with open_puppet() as url, open_post(url, request("begin", "me", token="t", alias="one")) as stream:
        assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream")
        assert stream.headers["x-accel-buffering"] == "no"
        assert await stream.next_message() == progress("t")
        await say(url, progress("@one@", 2), response("@one@"))
        assert await stream.rest() == [progress("t", 2), response("me")]


async def test_a_stream_begins_when_nothing_comes_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in between would cut off what seems dead; the client gets the head at once, and not with the first event."""
    monkeypatch.setattr(modern_module, "STREAM_AFTER", 0.2)
    async with open_puppet() as url:
        with trio.fail_after(exchange_module.KEEP_ALIVE_TIME - 1):
            async with open_post(url, request("wait", "me", alias="one")) as stream:
                assert stream.headers["content-type"] == "text/event-stream"
                await say(url, response("@one@"))
                assert await stream.rest() == [response("me")]


async def test_a_silent_stream_is_kept_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """§Receiving Messages: "servers are encouraged to periodically emit an SSE comment line"."""
    monkeypatch.setattr(exchange_module, "KEEP_ALIVE_TIME", 0.05)
    async with open_puppet() as url, open_post(url, listen()) as stream:
        assert (await stream.next_event()).message["method"] == "notifications/subscriptions/acknowledged"
        for _ in range(2):
            assert (await stream.next_event()).comment is not None


@pytest.mark.parametrize("size", [10, 3_000_000])
async def test_bytes_pass_through_in_both_directions(size: int) -> None:
    arguments = b'{"n": 123456789012345678901234567890.10, "s":"\\u00e9\\ud83d\\/", "z":1E400, "a":["%b"]}' % (b"x" * size)
    body = json.dumps(request("repeat", "me")).encode()
    body = body.replace(b'"params": {', b'"params": {"unknown":' + arguments + b", ")
    async with open_puppet() as url:
        answer = await post_bytes(url, body, **modern.headers(request("repeat")))
        assert arguments.decode() in answer.json["result"]["line"]
        result = b'{"content":[],"structuredContent":{"z":1e999,"a":"\\uDE00", "b" : 1.50}}'
        async with trio.open_nursery() as nursery:
            answers = []

            async def call() -> None:
                answers.append(await post(url, request("wait", "me", alias="one")))

            nursery.start_soon(call)
            await wait_heard(url, "wait")
            await say(url, b'{"jsonrpc":"2.0","id":@one@,"result":' + result + b"}")
        assert answers[0].body == b'{"jsonrpc":"2.0","id":"me","result":' + result + b"}"


async def wait_heard(url: str, method: str) -> None:
    """Return once a request has reached the puppet."""
    while not any(message["method"] == method for message in await heard(url)):  # noqa: ASYNC110
        await trio.sleep(0.005)


async def test_an_id_that_comes_twice_does_not_reach_the_server_as_it_is() -> None:
    body = json.dumps(request("repeat", "me")).encode().replace(b'"id": "me"', b'"id": 99, "id": "me"')
    async with open_puppet() as url:
        answer = await post_bytes(url, body, **modern.headers(request("repeat")))
        assert answer.json["id"] == "me"
        ids = [value for name, value in json.loads(answer.json["result"]["line"], object_pairs_hook=list) if name == "id"]
        assert len(ids) == 2
        assert len(set(ids) - {99}) == 1


# Several clients


async def test_two_clients_may_use_the_same_ids_and_tokens_at_the_same_time() -> None:
    async with (
        open_puppet() as url,
        open_post(url, request("begin", 1, token="t", alias="one")) as one,
        open_post(url, request("begin", 1, token="t", alias="two")) as two,
    ):
        await say(
            url, progress("@two@", 22), response("@two@", of="two"), progress("@one@", 11), response("@one@", of="one")
        )
        assert await one.rest() == [progress("t"), progress("t", 11), response(1, of="one")]
        assert await two.rest() == [progress("t"), progress("t", 22), response(1, of="two")]


@pytest.mark.parametrize("request_id", [1, "1", -7, 10**30, "\ud83d"])
async def test_an_id_comes_back_as_it_was(request_id: int | str) -> None:
    async with open_puppet() as url:
        answer = await post(url, request("blob", request_id, size=1))
        assert answer.json["id"] == request_id
        assert type(answer.json["id"]) is type(request_id)


async def test_a_log_message_reaches_the_only_call_that_wants_any() -> None:
    async with (
        open_puppet() as url,
        open_post(url, request("begin", 1, token="t", alias="quiet")) as quiet,
        open_post(url, request("begin", 2, token="t", log_level="info", alias="curious")) as curious,
    ):
        await say(url, log("hello"), response("@curious@"), log("nobody's"), response("@quiet@"))
        assert await curious.rest() == [progress("t"), log("hello"), response(2)]
        assert await quiet.rest() == [progress("t"), response(1)]


# Leaving


async def test_a_client_that_closes_its_response_cancels_that_request_and_gets_nothing_more() -> None:
    """§Cancellation: "Closing the SSE response stream MUST be treated by the server as cancellation of that request"."""
    async with open_puppet() as url, open_post(url, request("begin", 1, token="t", alias="stays")) as stays:
        async with open_post(url, request("begin", 1, token="t", alias="leaves")) as leaves:
            await leaves.next_message()
        await wait_heard(url, "notifications/cancelled")
        begun = [message for message in await heard(url) if message["method"] == "begin"]
        (cancelled,) = [m for m in await heard(url) if m["method"] == "notifications/cancelled"]
        assert cancelled["params"]["requestId"] == next(m["id"] for m in begun if m["params"]["alias"] == "leaves")
        await say(url, progress("@leaves@"), response("@leaves@"), response("@stays@"))
        assert await stays.rest() == [progress("t"), response(1)]


@pytest.mark.parametrize(("puppet", "upstream"), [(MODERN_PUPPET, "modern"), (PUPPET, "legacy")])
async def test_a_client_that_leaves_before_anything_was_said_cancels_too(puppet: tuple[str, ...], upstream: Any) -> None:
    times = TimeConfig(graceful_shutdown_timeout=0)
    async with open_test_proxy(puppet, child={"spares": 0}, upstream_protocol=upstream, times=times) as proxy:
        async with wire.connect(proxy.url) as connection:
            body = json.dumps(request("wait", "me")).encode()
            chosen = {**modern.headers(request("wait")), "host": connection.host, "content-length": str(len(body))}
            head = "".join(f"{key}: {value}\r\n" for key, value in chosen.items())
            await connection.stream.send_all(f"POST /mcp HTTP/1.1\r\n{head}\r\n".encode() + body)
            await wait_heard(proxy.url, "wait")
        await wait_heard(proxy.url, "notifications/cancelled")
        said = {message["method"]: message for message in await heard(proxy.url)}
        assert said["notifications/cancelled"]["params"]["requestId"] == said["wait"]["id"]


async def test_a_request_that_takes_too_long_is_cancelled_and_its_late_answer_swallowed() -> None:
    async with open_puppet(TimeConfig(request_timeout=0.1)) as url:
        answer = await post(url, request("wait", "me", alias="one"))
        assert_refused(answer, 200, -32001, "me")
        await say(url, response("@one@"))
        (wait, cancelled) = [m for m in await heard(url) if m["method"] in ("wait", "notifications/cancelled")]
        assert cancelled["params"]["requestId"] == wait["id"]


# The end of the server


async def test_when_the_server_is_killed_calls_in_flight_fail_and_the_next_meets_its_successor() -> None:
    async with open_puppet() as url:
        pid = await pid_of(url)
        async with (
            open_post(url, request("begin", "call", token="t")) as call,
            open_post(url, listen("sub", toolsListChanged=True)) as subscription,
        ):
            await subscription.next_message()
            os.kill(pid, signal.SIGKILL)
            _, error = await call.rest()
            assert (error["id"], error["error"]["code"]) == ("call", -32603)
            assert "SIGKILL" in error["error"]["message"]
            # Subscriptions §Graceful Closure: it is for the client to listen again.
            result = {"resultType": "complete", "_meta": {SUBSCRIPTION_ID: "sub"}}
            assert await subscription.rest() == [response("sub", **result)]
        assert await pid_of(url) != pid
        async with open_post(url, listen("again")) as subscription:
            assert (await subscription.next_message())["params"]["_meta"][SUBSCRIPTION_ID] == "again"


async def test_half_a_line_of_a_dying_server_reaches_nobody() -> None:
    async with open_puppet() as url, open_post(url, request("begin", "call", token="t", alias="one")) as call:
        text = json.dumps(response("@one@", content=[])).replace('"@one@"', "@one@")
        answer = await post(url, request("stammer", "me", text=text[:-1]))
        assert_refused(answer, 200, -32603, "me")
        _, error = await call.rest()
        assert (error["id"], error["error"]["code"]) == ("call", -32603)


async def test_when_a_legacy_server_is_killed_its_call_fails_and_the_next_meets_its_successor() -> None:
    async with open_demo("legacy", child={"spares": 0}) as url:
        message = tool_call("count", "me", {"to": 1000, "delay_ms": 20}, token="t")
        async with open_post(url, message) as call, open_post(url, listen("sub", toolsListChanged=True)) as subscription:
            await call.next_message()
            await subscription.next_message()
            (child,) = descendants(os.getpid())
            os.kill(child, signal.SIGKILL)
            error = (await call.rest())[-1]
            assert (error["id"], error["error"]["code"]) == ("me", -32603)
            result = {"resultType": "complete", "_meta": {SUBSCRIPTION_ID: "sub"}}
            assert (await subscription.rest())[-1] == response("sub", **result)
        answer = await post(url, tool_call("add", 1, {"a": 1, "b": 2}))
        assert answer.json["result"]["structuredContent"] == {"sum": 3}


@pytest.mark.parametrize("upstream", ["auto", "legacy", "modern"])
async def test_where_every_place_is_taken_a_client_is_told_when_to_come_back(upstream: str) -> None:
    limits = LimitConfig(max_sessions=1)
    async with open_demo(upstream, limits=limits, times=TimeConfig(connection_timeout=0.2)) as url:
        await wire.initialize(url)
        answer = await post(url, request("tools/list", "me"))
        assert_refused(answer, 503, -32000, "me")
        assert int(answer.headers["retry-after"]) > 0


async def test_a_server_that_can_not_be_started_is_an_error_of_the_request() -> None:
    program = "import sys\nfor line in sys.stdin:\n    sys.exit(7)\n"
    async with open_test_proxy(modern_python(program), upstream_protocol="modern") as proxy:
        for _ in range(2):
            answer = await post(proxy.url, request("tools/list", "me"))
            assert (answer.json["id"], answer.json["error"]["code"]) == ("me", -32603)


async def test_a_message_over_the_limit_fails_its_call_only() -> None:
    begin = request("begin", "other", token="t", alias="other")
    async with open_puppet(child={"max_message_size": 10_000}) as url, open_post(url, begin) as other:
        answer = await post(url, request("blob", "me", size=20_000))
        assert_refused(answer, 200, -32603, "me")
        assert "--max-message-size" in answer.json["error"]["message"]
        await say(url, response("@other@"))
        assert (await other.rest())[-1] == response("other")


async def test_a_client_that_stops_reading_is_let_go_and_the_others_go_on() -> None:
    async with open_puppet(limits=LimitConfig(event_store_max_bytes=100_000)) as url:
        pid = await pid_of(url)
        async with open_post(url, request("flood", 1, token="t", count=600, size=100_000)):
            assert await pid_of(url) == pid
            await wait_heard(url, "notifications/cancelled")


# Shutdown


async def test_at_shutdown_subscriptions_end_gracefully_and_calls_with_an_error() -> None:
    """Subscriptions §Cancellation: "it SHOULD send a successful `subscriptions/listen` response"."""
    async with (
        open_puppet_proxy() as proxy,
        open_post(proxy.url, request("begin", "call", token="t")) as call,
        open_post(proxy.url, listen("sub")) as subscription,
    ):
        await subscription.next_message()
        await proxy.stop()
        result = {"resultType": "complete", "_meta": {SUBSCRIPTION_ID: "sub"}}
        assert await subscription.rest() == [response("sub", **result)]
        _, error = await call.rest()
        assert (error["id"], error["error"]["code"]) == ("call", -32000)


async def test_at_shutdown_a_call_may_finish_within_its_time() -> None:
    async with open_test_proxy(times=TimeConfig(graceful_shutdown_timeout=20)) as proxy:
        message = tool_call("count", "me", {"to": 2, "delay_ms": 200}, token="t")
        async with open_post(proxy.url, message) as stream:
            await stream.next_message()
            await proxy.stop()
            assert (await stream.rest())[-1]["result"]["content"] == [{"type": "text", "text": "Counted to 2."}]


# Subscriptions


@pytest.mark.parametrize("request_id", [5, "5"])
async def test_a_subscription_is_a_stream_that_begins_with_its_acknowledgment(request_id: int | str) -> None:
    async with open_puppet() as url, open_post(url, listen(request_id, toolsListChanged=True)) as stream:
        assert stream.headers["content-type"] == "text/event-stream"
        acknowledged = stamped(
            "notifications/subscriptions/acknowledged", request_id, notifications={"toolsListChanged": True}
        )
        (listened,) = await heard(url)
        number = listened["id"]
        await say(url, stamped("notifications/tools/list_changed", number), notification("notifications/tools/list_changed"))
        await say(url, response(number, resultType="complete", _meta={SUBSCRIPTION_ID: number}))
        messages = await stream.rest()
        assert messages == [
            acknowledged,
            stamped("notifications/tools/list_changed", request_id),
            response(request_id, resultType="complete", _meta={SUBSCRIPTION_ID: request_id}),
        ]
        assert {type(m["params"]["_meta"][SUBSCRIPTION_ID]) for m in messages[:2]} == {type(request_id)}


@pytest.mark.parametrize("upstream", ["modern", "legacy"])
async def test_a_subscription_hears_of_changes_that_other_requests_cause(upstream: str) -> None:
    wanted: dict[str, Any] = {
        "toolsListChanged": True,
        "promptsListChanged": True,
        "resourceSubscriptions": ["demo://counter"],
    }
    async with open_demo(upstream) as url, open_post(url, listen("sub", **wanted)) as stream:
        acknowledged = await stream.next_message()
        # Prompts never change in the demo.
        assert acknowledged["params"]["notifications"] == {name: wanted[name] for name in wanted if name[0] != "p"}
        touched = await post(url, tool_call("touch", 1))
        assert touched.json["result"]["content"][0]["text"] == "Touched 1 times."
        updated = stamped("notifications/resources/updated", "sub", uri="demo://counter")
        assert await stream.next_message() == updated
        await post(url, tool_call("grow", 2))
        assert await stream.next_message() == stamped("notifications/tools/list_changed", "sub")


# Questions


@pytest.mark.parametrize("upstream", ["modern", "legacy"])
async def test_what_a_client_can_not_be_asked_is_an_error_of_its_call(upstream: str) -> None:
    """Basic §`_meta`: "On HTTP, the response status MUST be `400 Bad Request`"; whether or not the server checks."""
    async with open_demo(upstream) as url:
        answer = await post(url, tool_call("ask_name", "me", capabilities={"sampling": {}}))
        if upstream == "modern":
            assert_refused(answer, 400, -32021, "me")
            assert "elicitation" in answer.json["error"]["data"]["requiredCapabilities"]
        else:
            # The demo asks nobody who has not declared it in the handshake.
            assert answer.json["result"]["isError"]


async def test_a_server_that_asks_all_the_same_is_not_heeded() -> None:
    questions = {"q": {"method": "elicitation/create", "params": {"message": "?", "requestedSchema": {}}}}
    asking = {"resultType": "input_required", "inputRequests": questions, "requestState": "s"}
    async with open_puppet() as url:
        answer = await post(url, tool_call("ask", "me", {"result": asking}, capabilities={"roots": {}}))
        assert_refused(answer, 400, -32021, "me")
        assert answer.json["error"]["data"] == {"requiredCapabilities": {"elicitation": {"form": {}}}}
        answer = await post(url, tool_call("ask", "me", {"result": asking}, capabilities=ASKABLE))
        assert answer.json == response("me", **asking)


ADA = {"action": "accept", "content": {"name": "Ada"}}


@pytest.mark.parametrize("upstream", ["modern", "legacy"])
async def test_a_call_that_asks_goes_on_with_the_retry(upstream: str) -> None:
    async with open_demo(upstream) as url:
        first = tool_call("ask_name", 1, capabilities=ASKABLE)
        asked = (await post(url, first)).json["result"]
        assert asked["resultType"] == "input_required"
        ((_, question),) = asked["inputRequests"].items()
        assert (question["method"], question["params"]["message"]) == ("elicitation/create", "What is your name?")
        answer = await post(url, answer_all(first, asked, 2, ADA))
        assert answer.json["id"] == 2
        assert answer.json["result"]["content"] == [{"type": "text", "text": "Hello, Ada!"}]
        assert answer.json["result"]["resultType"] == "complete"


async def test_a_call_may_ask_more_than_once() -> None:
    async with open_demo("legacy") as url:
        first = tool_call("introduce", 1, capabilities=ASKABLE)
        one = (await post(url, first)).json["result"]
        two = (await post(url, answer_all(first, one, 2, ADA))).json["result"]
        assert one["requestState"] != two["requestState"]
        assert [q["method"] for q in two["inputRequests"].values()] == ["sampling/createMessage"]
        said = {"role": "assistant", "model": "m", "content": {"type": "text", "text": "Hi!"}}
        answer = await post(url, answer_all(first, two, 3, said))
        assert answer.json["result"]["content"] == [{"type": "text", "text": "The model says to Ada: Hi!"}]


async def test_a_parked_call_is_good_for_its_own_retry_once() -> None:
    """Multi Round-Trip Requests §Server Requirements: "MUST reject state that fails verification"."""
    async with open_demo("legacy") as url:
        first = tool_call("ask_name", 1, capabilities=ASKABLE)
        asked = (await post(url, first)).json["result"]
        right = answer_all(first, asked, 2, ADA)
        # Another state, another tool, other arguments, another method: none of them disturbs what is parked.
        wrong_state = {**right, "params": {**right["params"], "requestState": "guessed"}}
        no_state = {**right, "params": {**right["params"], "requestState": 5}}
        wrong_tool = {**right, "params": {**right["params"], "name": "list_roots"}}
        wrong_arguments = {**right, "params": {**right["params"], "arguments": {"x": 1}}}
        wrong_method = {**right, "method": "tools/list"}
        for wrong in (wrong_state, no_state, wrong_tool, wrong_arguments, wrong_method):
            assert_refused(await post(url, wrong), 400, -32602, 2)
        assert (await post(url, right)).json["result"]["content"] == [{"type": "text", "text": "Hello, Ada!"}]
        assert_refused(await post(url, right), 400, -32602, 2)


async def test_a_retry_without_an_answer_is_asked_again() -> None:
    """Multi Round-Trip Requests §Error Handling: "respond with a new InputRequiredResult"."""
    async with open_demo("legacy") as url:
        first = tool_call("ask_name", 1, capabilities=ASKABLE)
        asked = (await post(url, first)).json["result"]
        again = (await post(url, modern.retry(first, asked, 2, unknown={}))).json["result"]
        assert again["inputRequests"] == asked["inputRequests"]
        answer = await post(url, answer_all(first, again, 3, ADA))
        assert answer.json["result"]["content"] == [{"type": "text", "text": "Hello, Ada!"}]


# Headers that repeat a tool's arguments


def offered(header: str) -> dict[str, Any]:
    region = {"type": "string", "x-mcp-header": header}
    return {"name": "execute_sql", "inputSchema": {"type": "object", "properties": {"region": region}}}


async def test_arguments_that_a_tool_wants_in_headers_have_to_be_there() -> None:
    """§Server Behavior for Custom Headers."""
    call = tool_call("execute_sql", "me", {"region": "us-west1", "result": {"rows": 0}})
    async with open_puppet() as url:
        await post(url, request("offer", tools=[offered("Region")]))
        assert (await post(url, call, mcp_param_region="us-west1")).json == response("me", resultType="complete", rows=0)
        assert_refused(await post(url, call, mcp_param_region="eu-north1"), 400, -32020, "me")
        assert_refused(await post(url, call), 400, -32020, "me")
        assert [m["method"] for m in await heard(url)].count("tools/call") == 1
        # It changes, and the server says so on our own subscription.
        await post(url, request("offer", tools=[offered("Zone")]))
        subscription = next(m["id"] for m in await heard(url) if m["method"] == "subscriptions/listen")
        await say(url, stamped("notifications/tools/list_changed", subscription))
        assert_refused(await post(url, call, mcp_param_region="us-west1"), 400, -32020, "me")
        assert (await post(url, call, mcp_param_zone="us-west1")).status == 200


# Beside the other era


async def test_a_legacy_session_and_modern_requests_are_served_at_the_same_url_at_the_same_time() -> None:
    """Versioning §Backward Compatibility: "A dual-era server selects its behavior from how the client opens"."""
    async with open_demo("auto") as url:
        client = await wire.initialize(url)
        async with client.open_post(wire.tool_call("count", 1, "t", to=2, delay_ms=100)) as legacy:
            answer = await post(url, tool_call("add", 1, {"a": 1, "b": 2}))
            assert answer.json["result"]["structuredContent"] == {"sum": 3}
            assert (await legacy.rest())[-1]["result"]["content"] == [{"type": "text", "text": "Counted to 2."}]
        legacy_answer = await client.call("add", 2, a=3, b=4)
        assert legacy_answer.messages[0]["result"]["structuredContent"] == {"sum": 7}
        assert "resultType" not in legacy_answer.messages[0]["result"]
        # A claim in the body counts more than a session in the headers.
        answer = await post(url, request("tools/list", 3), mcp_session_id=client.session_id)
        assert answer.json["result"]["resultType"] == "complete"
        # `initialize` without one is of the legacy era, whatever the header.
        info = {"name": "x", "version": "1"}
        params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": info}
        opening = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
        answer = await post(url, opening)
        assert (answer.status, "mcp-session-id" in answer.headers) == (200, True)


async def test_with_a_session_a_request_without_a_claim_is_of_its_session() -> None:
    async with open_demo("auto") as url:
        client = await wire.initialize(url)
        client.revision = REVISION
        assert_refused(await client.post(wire.tool_call("add", 1, a=1, b=2)), 400, -32000, 1)


@pytest.mark.parametrize("version", [REVISION, UNKNOWN, "garbage"])
async def test_without_a_session_a_modern_header_alone_makes_a_request_a_modern_one(version: str) -> None:
    async with open_puppet() as url:
        answer = await post(url, {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, mcp_protocol_version=version)
        assert_refused(answer, 400, -32602, 1)


@pytest.mark.parametrize("version", [None, "2025-11-25"])
async def test_a_request_with_neither_is_a_legacy_one(version: str | None) -> None:
    async with open_puppet() as url:
        answer = await post(url, {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, mcp_protocol_version=version)
        assert_refused(answer, 400, -32000, 1)


async def test_where_it_is_not_served_nothing_of_it_is() -> None:
    async with open_puppet(modern=False) as url:
        answer = await post(url, request("server/discover", "me"))
        assert_refused(answer, 400, -32000, "me")
        assert (await wire.request(url, "GET", {"mcp-protocol-version": REVISION})).status == 400


@pytest.mark.parametrize("upstream", ["modern", "legacy"])
async def test_without_sessions_modern_requests_are_served_as_ever(upstream: str) -> None:
    async with open_demo(upstream, stateless=True) as url:
        answer = await post(url, tool_call("add", 1, {"a": 1, "b": 2}))
        assert answer.json["result"]["structuredContent"] == {"sum": 3}
        first = tool_call("ask_name", 1, capabilities=ASKABLE)
        asked = (await post(url, first)).json["result"]
        answer = await post(url, answer_all(first, asked, 2, ADA))
        assert answer.json["result"]["content"] == [{"type": "text", "text": "Hello, Ada!"}]


async def test_without_sessions_a_child_of_the_handshake_era_serves_one_request_and_no_other() -> None:
    """What it keeps from one is not there for the next, be it the same client; what is parked in it waits for its retry."""
    async with open_demo("legacy", stateless=True) as url:
        begun: list[int] = []
        for number in range(3):
            assert "result" in (await post(url, request("tools/list", number))).json
            for child in begun:
                await wait_gone(child)
            begun = descendants(os.getpid())
        # One that listens is left alone by the calls beside it.
        async with open_post(url, listen("me", toolsListChanged=True)) as stream:
            assert (await stream.next_message())["method"].endswith("acknowledged")
            for number in range(2):
                assert "result" in (await post(url, tool_call("add", number, {"a": 1, "b": 2}))).json
            with trio.move_on_after(0.2):
                raise AssertionError(await stream.next_message())


async def test_without_sessions_no_two_requests_share_a_child_of_the_handshake_era() -> None:
    async with open_demo("legacy", stateless=True, child={"spares": 0}) as url, trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(post, url, tool_call("count", number, {"to": 1, "delay_ms": 2000}))
        with trio.fail_after(10):
            await wait_until(lambda: len(descendants(os.getpid())) == 3)
        nursery.cancel_scope.cancel()


# Answers in JSON only


async def test_with_json_responses_only_the_answer_is_sent() -> None:
    async with open_puppet(json_response=True) as url:
        answers: list[Answer] = []

        async def call() -> None:
            answers.append(await post(url, request("begin", "me", token="t", alias="one"), accept="application/json"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            await wait_heard(url, "begin")
            await say(url, progress("@one@"), response("@one@"))
        assert answers[0].headers["content-type"] == "application/json"
        assert answers[0].json == response("me")


async def test_with_json_responses_a_subscription_is_a_stream_all_the_same() -> None:
    """Subscriptions: there is no other way to be told of changes."""
    async with open_puppet(json_response=True) as url:
        assert (await post(url, listen("me"), accept="application/json")).status == 406
        async with open_post(url, listen("me")) as stream:
            assert stream.headers["content-type"] == "text/event-stream"
            assert (await stream.next_message())["method"] == "notifications/subscriptions/acknowledged"


# Before the demo, as a user meets it


@pytest.mark.parametrize("upstream", ["auto", "modern", "legacy"])
async def test_the_demo_is_served(upstream: str) -> None:
    async with open_demo(upstream) as url:
        discovered = (await post(url, request("server/discover"))).json["result"]
        assert REVISION in discovered["supportedVersions"]
        assert discovered["_meta"][RESERVED + "serverInfo"]["name"] == "trioproxy-demo"
        listed = (await post(url, request("tools/list", 2))).json["result"]
        # Caching: "Servers MUST include caching hints".
        assert (listed["resultType"], listed["ttlMs"], listed["cacheScope"]) == ("complete", 0, "private")
        assert "add" in [tool["name"] for tool in listed["tools"]]
        read = (await post(url, request("resources/read", 3, uri="demo://greeting"))).json["result"]
        assert read["contents"][0]["text"].startswith("Hello")
        missing = await post(url, request("resources/read", 4, uri="demo://nothing"))
        assert_refused(missing, 400, -32602, 4)
        assert missing.json["error"]["data"] == {"uri": "demo://nothing"}
        assert_refused(await post(url, request("no/such/method", 5)), 404, -32601, 5)


@pytest.mark.parametrize("upstream", ["modern", "legacy"])
async def test_the_demo_counts_logs_and_can_be_stopped(upstream: str) -> None:
    async with open_demo(upstream) as url:
        message = tool_call("count", 1, {"to": 3, "delay_ms": 20}, token="t")
        async with open_post(url, message) as stream:
            messages = await stream.rest()
        assert [m["params"]["progress"] for m in messages[:-1]] == [1, 2, 3]
        assert {m["params"]["progressToken"] for m in messages[:-1]} == {"t"}
        assert messages[-1]["result"]["content"] == [{"type": "text", "text": "Counted to 3."}]
        async with open_post(url, tool_call("log", 2, {"text": "hello", "level": "info"}, log_level="info")) as stream:
            logged, _ = await stream.rest()
        assert (logged["method"], logged["params"]["data"]) == ("notifications/message", "hello")
        answer = await post(url, tool_call("log", 3, {"text": "hello", "level": "info"}))
        assert len(answer.messages) == 1
