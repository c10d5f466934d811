"""Streamable HTTP as 2025-03-26, 2025-06-18 and 2025-11-25 have it: what a client sees on the wire.

Quotations are from Basic §Transports of 2025-11-25 where nothing else is said.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests import wire
from tests.proxies import descendants, open_test_proxy, python, wait_gone
from tests.puppet import PUPPET, log, notification, progress, request, response, saying
from tests.wire import Answer, Client
from trioproxy import deaths
from trioproxy.config import LimitConfig, TimeConfig
from trioproxy.endpoints import streamable_http
from trioproxy.server import Proxy

REVISIONS = ("2025-03-26", "2025-06-18", "2025-11-25")
LATEST = REVISIONS[-1]
MODERN = "2026-07-28"
MODERN_ERRORS = (-32020, -32021, -32022)
"""Errors by which a client of 2026-07-28 recognises a server of its own era, and never tries `initialize`."""
INITIALIZED = notification("notifications/initialized")
ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": {"name": "modern", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


IMPATIENT = TimeConfig(graceful_shutdown_timeout=0)


def open_puppet(times: TimeConfig = IMPATIENT, **concerns: Any) -> Any:
    """A proxy with the puppet behind it, no more children than sessions, and no regard for calls that still run."""
    times = replace(times, graceful_shutdown_timeout=0)
    return open_test_proxy(PUPPET, child={"spares": 0, **concerns.pop("child", {})}, times=times, **concerns)


@asynccontextmanager
async def open_session(revision: str = LATEST, **concerns: Any) -> AsyncIterator[Client]:
    """One session with a puppet."""
    async with open_puppet(**concerns) as proxy:
        yield await wire.initialize(proxy.url, revision)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an answer be taken for an immediate one however busy the machine is."""
    monkeypatch.setattr(streamable_http, "ANSWER_AT_ONCE", 20)


def initialize_request(revision: str = LATEST, **more: Any) -> dict[str, Any]:
    info = {"name": "wire", "version": "1"}
    return request("initialize", 0, protocolVersion=revision, capabilities={}, clientInfo=info, **more)


async def post(url: str, message: Any, **headers: str | None) -> Answer:
    """POST without a session; a header of None is left out."""
    dashed = {name.replace("_", "-"): value for name, value in headers.items()}
    chosen = {name: value for name, value in {**wire.JSON_HEADERS, **dashed}.items() if value is not None}
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    return await wire.request(url, "POST", chosen, body)


async def heard(client: Client) -> list[Any]:
    """Return the messages that the puppet has heard so far, this question not counted."""
    answer = await client.post(request("heard", "heard"))
    return [json.loads(line) for line in answer.messages[-1]["result"]["lines"]][:-1]


async def pid_of(client: Client) -> int:
    """Return the process id of the puppet."""
    answer = await client.post(request("heard", "pid"))
    pid: int = answer.messages[-1]["result"]["pid"]
    return pid


async def say_beside_calls(client: Client, *messages: Any) -> None:
    """Let the puppet say what belongs to no call: while two are in flight, neither can be meant."""
    async with client.open_post(request("wait", "one")) as one, client.open_post(request("wait", "two")) as two:
        await client.post(saying(*messages, response("one"), response("two")))
        await one.rest()
        await two.rest()


async def sessions(proxy: Proxy) -> int:
    """Return how many sessions there are once everything has settled."""
    await wait_all_tasks_blocked()
    answer = await wire.request(proxy.url.replace("/mcp", "/healthz"))
    count: int = answer.json["servers"]["default"]["sessions"]
    return count


def assert_refused(answer: Answer, status: int, code: int, request_id: int | str | None) -> None:
    """Check that an answer is a JSON-RPC error, and for whom."""
    assert (answer.status, answer.headers["content-type"]) == (status, "application/json"), answer
    assert (answer.json["jsonrpc"], answer.json["id"], answer.json["error"]["code"]) == ("2.0", request_id, code)
    assert answer.json["error"]["message"]


# A session, from the handshake to its end


@pytest.mark.parametrize("revision", REVISIONS)
async def test_a_session_lasts_from_initialize_to_delete(revision: str) -> None:
    async with open_puppet() as proxy:
        client = await wire.initialize(proxy.url, revision)
        assert client.initialize_result["protocolVersion"] == revision
        assert (await client.post(request("repeat", 7))).messages[0]["id"] == 7
        child = await pid_of(client)
        gone = await wire.request(client.url, "DELETE", client.headers)
        assert (gone.status, gone.body) == (204, b"")
        await wait_gone(child)
        assert await sessions(proxy) == 0
        # "after which it MUST respond to requests containing that session ID with HTTP 404 Not Found."
        assert_refused(await client.post(request("repeat", 8)), 404, -32001, 8)
        assert_refused(await client.post(INITIALIZED), 404, -32001, None)
        assert_refused(await wire.request(client.url, "GET", client.headers), 404, -32001, None)
        assert_refused(await wire.request(client.url, "DELETE", client.headers), 404, -32001, None)
        # "it MUST start a new session by sending a new InitializeRequest without a session ID attached."
        assert (await wire.initialize(proxy.url, revision)).session_id != client.session_id


async def test_session_ids_are_long_random_and_visible_ascii() -> None:
    async with open_puppet() as proxy:
        ids = [(await wire.initialize(proxy.url)).session_id for _ in range(4)]
    assert len(set(ids)) == 4
    for session_id in ids:
        assert len(session_id) >= 22, "fewer than 128 bits"
        assert all(0x21 <= ord(character) <= 0x7E for character in session_id)
    # Nothing of one tells anything of another.
    assert all(len(set(column)) > 1 for column in zip(*(i[:4] for i in ids), strict=True))


async def test_a_session_can_not_be_initialized_twice() -> None:
    async with open_session() as client:
        assert_refused(await client.post(initialize_request()), 400, -32600, 0)
        assert (await client.post(request("repeat"))).status == 200
        assert [m["method"] for m in await heard(client)] == ["initialize", "notifications/initialized", "repeat"]


@pytest.mark.parametrize("session_id", ["", "unknown", "../..", "x" * 4000])
async def test_a_session_id_that_we_did_not_give_out_is_not_found(session_id: str) -> None:
    async with open_session() as client:
        client.session_id = session_id
        assert_refused(await client.post(request("repeat", "x")), 404, -32001, "x")
        for method in ("GET", "DELETE"):
            assert_refused(await wire.request(client.url, method, client.headers), 404, -32001, None)


async def test_the_id_of_a_session_that_has_ended_is_unknown_to_a_handshake_too() -> None:
    """Session Management, 3: "MUST respond to requests containing that session ID with HTTP 404 Not Found"."""
    async with open_session() as client:
        await wire.request(client.url, "DELETE", client.headers)
        answer = await client.post(initialize_request())
        assert answer.status == 404
        assert answer.json["id"] == 0


@pytest.mark.parametrize(
    ("header", "status"), [(b"mcp-session-id", 404), (b"mcp-protocol-version", 400), (b"last-event-id", 400)]
)
async def test_a_header_that_is_no_ascii_is_refused_like_any_other_nonsense(header: bytes, status: int) -> None:
    """The text of another proxy's error went into a header, and took the process along."""
    async with open_session() as client, wire.connect(client.url) as connection:
        headers = {name.encode(): value.encode() for name, value in client.headers.items()} | {header: b"\xfc\xff"}
        lines = b"".join(b"%b: %b\r\n" % pair for pair in headers.items())
        await connection.stream.send_all(b"GET /mcp HTTP/1.1\r\nhost: localhost\r\n" + lines + b"\r\n")
        assert (await connection.stream.receive_some()).startswith(b"HTTP/1.1 %d " % status)
        assert (await client.post(request("repeat"))).status == 200


async def test_whatever_needs_a_session_is_refused_without_one() -> None:
    """ "Servers that require a session ID SHOULD respond to requests without … with HTTP 400 Bad Request." """
    async with open_puppet() as proxy:
        assert_refused(await post(proxy.url, request("tools/list", 3)), 400, -32000, 3)
        assert_refused(await post(proxy.url, INITIALIZED), 400, -32000, None)
        assert_refused(await post(proxy.url, response(1)), 400, -32000, None)
        assert_refused(await post(proxy.url, [request("repeat")]), 400, -32000, None)
        for method in ("GET", "DELETE"):
            assert_refused(await wire.request(proxy.url, method, wire.JSON_HEADERS), 400, -32000, None)
        assert await sessions(proxy) == 0


@pytest.mark.parametrize("method", ["PUT", "PATCH", "HEAD"])
async def test_other_methods_are_told_which_ones_there_are(method: str) -> None:
    async with open_puppet() as proxy:
        answer = await wire.request(proxy.url, method)
        assert (answer.status, answer.headers["allow"]) == (405, "GET, POST, DELETE")


async def test_what_the_client_says_of_itself_reaches_the_server_as_it_is() -> None:
    capabilities = {"roots": {"listChanged": True}, "sampling": {"tools": {}}, "experimental": {"x": [1, {"y": None}]}}
    async with open_puppet() as proxy:
        client = await wire.initialize(proxy.url, capabilities=capabilities)
        hello = (await heard(client))[0]["params"]
        assert hello["capabilities"] == capabilities
        assert hello["clientInfo"] == {"name": "wire", "version": "1"}


async def test_two_clients_with_equal_ids_and_tokens_do_not_mix() -> None:
    async with open_puppet() as proxy:
        a, b = await wire.initialize(proxy.url), await wire.initialize(proxy.url)
        async with a.open_post(request("wait", 1, token="t")) as of_a, b.open_post(request("wait", 1, token="t")) as of_b:
            await b.post(saying(progress("t", 20), response(1, of="b")))
            await a.post(saying(progress("t", 10), response(1, of="a")))
            assert [m.get("result") or m["params"]["progress"] for m in await of_a.rest()] == [10, {"of": "a"}]
            assert [m.get("result") or m["params"]["progress"] for m in await of_b.rest()] == [20, {"of": "b"}]
        assert await pid_of(a) != await pid_of(b)


async def test_only_so_many_sessions_are_opened() -> None:
    async with open_puppet(limits=LimitConfig(max_sessions=2)) as proxy:
        first = await wire.initialize(proxy.url)
        await wire.initialize(proxy.url)
        refused = await post(proxy.url, initialize_request())
        assert_refused(refused, 503, -32000, 0)
        assert int(refused.headers["retry-after"]) > 0
        await wire.request(first.url, "DELETE", first.headers)
        # Its process counts until it is gone.
        while (await post(proxy.url, initialize_request())).status == 503:
            await wait_all_tasks_blocked()


async def test_sessions_opened_at_the_same_time_are_counted_too() -> None:
    answers: list[int] = []
    async with open_puppet(limits=LimitConfig(max_sessions=3)) as proxy:
        async with trio.open_nursery() as nursery:

            async def knock() -> None:
                answers.append((await post(proxy.url, initialize_request())).status)

            for _ in range(8):
                nursery.start_soon(knock)
        assert sorted(answers) == [200] * 3 + [503] * 5


# A handshake that does not come about


@pytest.mark.usefixtures("patient")
async def test_a_server_that_refuses_the_handshake_leaves_no_session_and_no_child() -> None:
    async with open_puppet() as proxy:
        answer = await post(proxy.url, initialize_request("refuse me"))
        assert answer.messages == [{"jsonrpc": "2.0", "id": 0, "error": {"code": -32602, "message": "no"}}]
        assert "mcp-session-id" not in answer.headers
        assert await sessions(proxy) == 0
        for child in descendants(os.getpid()):
            await wait_gone(child)


async def test_a_server_that_dies_of_the_handshake_is_explained_and_leaves_nothing() -> None:
    async with open_puppet() as proxy:
        answer = await post(proxy.url, initialize_request("die of me"))
        (message,) = answer.messages
        assert (message["id"], message["error"]["code"]) == (0, -32603)
        assert message["error"]["data"] == {"exitStatus": 1, "stderr": ["I could not bear it"], "restarts": 0}
        assert await sessions(proxy) == 0


@pytest.mark.usefixtures("patient")
async def test_a_session_that_died_at_birth_is_not_named() -> None:
    async with open_puppet() as proxy:
        answer = await post(proxy.url, initialize_request("die of me"))
        assert "mcp-session-id" not in answer.headers


async def test_a_handshake_that_is_not_answered_in_time_leaves_nothing() -> None:
    async with open_puppet(times=TimeConfig(connection_timeout=0.2)) as proxy:
        answer = await post(proxy.url, initialize_request("keep me waiting"))
        (message,) = answer.messages
        assert (message["id"], message["error"]["code"]) == (0, -32001)
        assert await sessions(proxy) == 0
        for child in descendants(os.getpid()):
            await wait_gone(child)


async def test_an_oversized_answer_to_the_handshake_leaves_nothing() -> None:
    child = python(
        "import json\n"
        "request = json.loads(input())\n"
        "print(json.dumps({'jsonrpc': '2.0', 'id': request['id'], 'result': {'x': 'x' * 5000}}))\n"
        "input()"
    )
    async with open_test_proxy(child, child={"spares": 0, "max_message_size": 4096}) as proxy:
        answer = await post(proxy.url, initialize_request())
        (message,) = answer.messages
        assert message["error"]["code"] == -32603
        assert "over the limit of --max-message-size" in message["error"]["message"]
        assert await sessions(proxy) == 0


@pytest.mark.parametrize("revision", REVISIONS)
async def test_a_slow_handshake_becomes_a_stream_that_names_the_session(revision: str, tmp_path: Path) -> None:
    child = python(
        "import json, sys\n"
        "request = json.loads(sys.stdin.readline())\n"
        "open(sys.argv[1]).read()\n"  # blocks until the test opens the other end
        "result = {'protocolVersion': request['params']['protocolVersion']}\n"
        "print(json.dumps({'jsonrpc': '2.0', 'id': 0, 'result': result}))\n"
        "sys.stdin.read()"
    )
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    async with open_test_proxy((*child, str(fifo)), child={"spares": 0}) as proxy:
        body = json.dumps(initialize_request(revision)).encode()
        async with wire.open_stream(proxy.url, "POST", wire.JSON_HEADERS, body) as stream:
            assert stream.headers["content-type"] == "text/event-stream"
            session_id = stream.headers["mcp-session-id"]
            os.close(os.open(fifo, os.O_WRONLY))
            (answer,) = await stream.rest()
            assert answer["result"]["protocolVersion"] == revision
        client = Client(proxy.url, revision)
        client.session_id = session_id
        assert (await client.post(INITIALIZED)).status == 202


async def test_a_client_that_says_nothing_after_the_handshake_does_not_keep_its_child() -> None:
    """Most clients that go away do not say so."""
    async with open_puppet(times=TimeConfig(connection_timeout=0.2)) as proxy:
        answer = await post(proxy.url, initialize_request())
        assert answer.status == 200
        for child in descendants(os.getpid()):
            await wait_gone(child)
        assert await sessions(proxy) == 0


# What a request has to look like


@pytest.mark.parametrize(
    "accept",
    [
        "application/json, text/event-stream",
        "text/event-stream,application/json",
        "application/json;q=0.1, TEXT/Event-Stream ; q=1",
        "*/*",
        "application/*, text/*",
        "text/html, */*;q=0.1",
        None,
    ],
)
async def test_a_post_accepts_json_and_event_streams_in_any_spelling(accept: str | None) -> None:
    async with open_puppet() as proxy:
        assert (await post(proxy.url, initialize_request(), accept=accept)).status == 200


@pytest.mark.parametrize(
    "accept", ["application/json", "text/event-stream", "text/*", "text/html", "application/jsonp, a/b"]
)
async def test_a_post_that_accepts_only_one_of_the_two_is_not_acceptable(accept: str) -> None:
    """ "The client MUST include an Accept header, listing both application/json and text/event-stream." """
    async with open_puppet() as proxy:
        assert_refused(await post(proxy.url, initialize_request(), accept=accept), 406, -32000, None)
        assert await sessions(proxy) == 0


async def test_a_get_that_does_not_accept_event_streams_is_not_acceptable() -> None:
    async with open_session() as client:
        answer = await wire.request(client.url, "GET", {**client.headers, "accept": "application/json"})
        assert_refused(answer, 406, -32000, None)


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", "APPLICATION/JSON"])
async def test_a_body_is_declared_to_be_json(content_type: str) -> None:
    async with open_puppet() as proxy:
        assert (await post(proxy.url, initialize_request(), content_type=content_type)).status == 200


@pytest.mark.parametrize("content_type", [None, "", "text/plain", "application/jsonp", "text/json", "multipart/form-data"])
async def test_a_body_of_another_type_is_refused(content_type: str | None) -> None:
    async with open_puppet() as proxy:
        answer = await post(proxy.url, initialize_request(), content_type=content_type)
        assert_refused(answer, 415, -32000, None)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", -32700),
        (b"{", -32700),
        (b"hello", -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping"} {}', -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":NaN}}', -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"p\xff"}', -32700),
        (b"[" * 100_000, -32700),
        (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}', -32700),
        (b'"hello"', -32600),
        (b"null", -32600),
        (b"17", -32600),
        (b"{}", -32600),
        (b"[]", -32600),
        (b"[ \n ]", -32600),
        (b"[1]", -32600),
        (b'{"id":1,"method":"ping"}', -32600),
        (b'{"jsonrpc":"1.0","id":1,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":7}', -32600),
        (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":{},"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}', -32600),
        (b'{"jsonrpc":"2.0","id":1}', -32600),
        (b'{"jsonrpc":"2.0","result":{}}', -32600),
        (b'{"jsonrpc":"2.0","method":"ping","id":1.5}', -32600),
    ],
)
async def test_a_body_that_is_no_message_is_refused_and_nobody_else_notices(body: bytes, code: int) -> None:
    async with open_session("2025-03-26") as client:
        assert_refused(await client.post(body), 400, code, None)
        assert (await client.post(request("repeat"))).status == 200
        assert len(await heard(client)) == 3


async def test_a_body_over_the_limit_is_too_large_whether_announced_or_not() -> None:
    async with open_session(limits=LimitConfig(max_body_size=1000)) as client:
        assert_refused(await client.post(request("repeat", text="x" * 1000)), 413, -32000, None)
        async with wire.connect(client.url) as connection:
            head = "".join(f"{name}: {value}\r\n" for name, value in client.headers.items())
            chunk = "1f4\r\n" + "x" * 500 + "\r\n"
            request_head = f"POST /mcp HTTP/1.1\r\nhost: {connection.host}\r\n{head}transfer-encoding: chunked\r\n\r\n"
            await connection.stream.send_all((request_head + 3 * chunk).encode())
            answer = bytes(await connection.stream.receive_some())
            assert answer.startswith(b"HTTP/1.1 413 ")
        assert (await client.post(request("repeat"))).status == 200


# Revisions


@pytest.mark.parametrize("version", ["2024-11-05", *REVISIONS, None])
async def test_any_revision_with_sessions_may_stand_in_the_version_header(version: str | None) -> None:
    """It SHOULD be the negotiated one; without it, the session tells which that is."""
    async with open_session() as client:
        headers = {k: v for k, v in client.headers.items() if k != "mcp-protocol-version"}
        if version is not None:
            headers["mcp-protocol-version"] = version
        answer = await wire.request(client.url, "POST", headers, json.dumps(request("repeat")).encode())
        assert answer.status == 200


@pytest.mark.parametrize("version", ["2026-07-28", "2027-01-01", "1.0", "", "nonsense", "2025-11-25, 2025-11-25"])
async def test_a_version_that_has_no_sessions_is_refused_whatever_is_asked(version: str) -> None:
    """ "an invalid or unsupported MCP-Protocol-Version, it MUST respond with 400 Bad Request." """
    async with open_session() as client:
        client.revision = version
        assert_refused(await client.post(request("repeat", 5)), 400, -32000, 5)
        assert_refused(await client.post(INITIALIZED), 400, -32000, None)
        for method in ("GET", "DELETE"):
            # "HTTP GET or DELETE to the MCP endpoint: respond with 405" (2026-07-28, Earlier Streamable HTTP Revisions).
            status = 405 if version == MODERN else 400
            assert_refused(await wire.request(client.url, method, client.headers), status, -32000, None)
        client.revision = LATEST
        assert len(await heard(client)) == 2


async def test_the_version_header_of_an_initialize_does_not_count() -> None:
    async with open_puppet() as proxy:
        answer = await post(proxy.url, initialize_request(), mcp_protocol_version=MODERN)
        assert answer.messages[0]["result"]["protocolVersion"] == LATEST


async def test_a_server_may_agree_on_an_older_revision_than_was_asked_for() -> None:
    """What the revision allows follows what was agreed on."""
    child = python(
        "import json, sys\n"
        "for line in sys.stdin:\n"
        "    message = json.loads(line)\n"
        "    if message.get('method') == 'initialize': result = {'protocolVersion': '2025-03-26'}\n"
        "    else: result = {}\n"
        "    if 'id' in message: print(json.dumps({'jsonrpc': '2.0', 'id': message['id'], 'result': result}))\n"
    )
    async with open_test_proxy(child, child={"spares": 0}) as proxy:
        client = await wire.initialize(proxy.url, LATEST)
        answer = await client.post([request("ping", 1), request("ping", 2)])
        assert sorted(m["id"] for m in answer.messages) == [1, 2]
        assert all(event.retry is None for event in answer.events), "a priming event, for a client of 2025-03-26"


@pytest.mark.parametrize("header", [MODERN, "2027-01-01", None])
@pytest.mark.parametrize("method", ["server/discover", "tools/list", "initialize", "subscriptions/listen"])
async def test_where_2026_07_28_is_not_served_its_requests_are_refused_so_that_clients_fall_back(
    method: str, header: str | None
) -> None:
    """Versioning §Backward Compatibility of 2026-07-28: a 4xx whose body is no recognised modern error."""
    async with open_puppet(modern=False) as proxy:
        message = request(method, "probe", _meta=ENVELOPE)
        answer = await post(proxy.url, message, mcp_protocol_version=header, mcp_method=method)
        assert 400 <= answer.status < 500
        assert answer.json["id"] == "probe"
        assert answer.json["error"]["code"] not in MODERN_ERRORS
        assert "mcp-session-id" not in answer.headers
        assert await sessions(proxy) == 0
        assert (await wire.initialize(proxy.url)).initialize_result["protocolVersion"] == LATEST


async def test_where_it_is_not_served_a_modern_request_without_its_envelope_is_refused_too() -> None:
    async with open_puppet(modern=False) as proxy:
        answer = await post(proxy.url, request("tools/list", 4), mcp_protocol_version=MODERN)
        assert_refused(answer, 400, -32000, 4)


# Batches (2025-03-26, Basic §Batching: "implementations … MUST support receiving JSON-RPC batches")


async def test_a_batch_is_answered_in_one_stream_that_ends_with_the_last_answer() -> None:
    async with open_session("2025-03-26") as client:
        batch = [request("repeat", 1), INITIALIZED, request("wait", "two"), request("repeat", 3)]
        async with client.open_post(batch) as stream:
            assert stream.headers["content-type"] == "text/event-stream"
            assert [(await stream.next_message())["id"] for _ in range(2)] == [1, 3]
            await client.post(saying(response("two")))
            assert [m["id"] for m in await stream.rest()] == ["two"]


async def test_every_message_of_a_batch_reaches_the_server_on_a_line_of_its_own() -> None:
    """No SDK's stdio server knows arrays."""
    async with open_session("2025-03-26") as client:
        batch = b'[ {"jsonrpc":"2.0", "id":1, "method":"repeat"} ,\n{"method":"notifications/x","jsonrpc":"2.0"}\r\n]'
        (answer,) = (await client.post(batch)).messages
        assert answer["result"]["line"] == '{"jsonrpc":"2.0", "id":1, "method":"repeat"}'
        assert (await heard(client))[3] == {"method": "notifications/x", "jsonrpc": "2.0"}


@pytest.mark.parametrize(
    "batch",
    [[notification("notifications/a"), notification("notifications/b")], [response(1), response(2)], [INITIALIZED]],
    ids=["notifications", "responses", "one"],
)
async def test_a_batch_without_requests_is_accepted_with_an_empty_body(batch: list[Any]) -> None:
    async with open_session("2025-03-26") as client:
        answer = await client.post(batch)
        assert (answer.status, answer.body) == (202, b"")
        assert (await heard(client))[2:] == batch


@pytest.mark.parametrize(
    "batch",
    [
        [request("repeat", 1), request("repeat", 1)],
        [request("repeat", 1), response(2)],
        [notification("notifications/a"), response(2)],
        [request("repeat", 1), initialize_request()],
        [initialize_request()],
        [request("repeat", n) for n in range(1001)],
        [request("repeat", 1), [request("repeat", 2)]],
        [request("repeat", 1), 7],
    ],
    ids=["equal ids", "request and response", "mixed", "initialize", "initialize alone", "1001", "nested", "a number"],
)
async def test_a_batch_against_the_rules_is_refused_as_a_whole(batch: list[Any]) -> None:
    async with open_session("2025-03-26") as client:
        assert_refused(await client.post(batch), 400, -32600, None)
        assert len(await heard(client)) == 2, "some of it was passed on"


async def test_a_handshake_in_a_batch_is_refused() -> None:
    """2025-03-26, Lifecycle: "The initialize request MUST NOT be part of a JSON-RPC batch"."""
    async with open_puppet() as proxy:
        for batch in ([initialize_request()], [initialize_request(), INITIALIZED]):
            assert (await post(proxy.url, batch)).status == 400
        assert await sessions(proxy) == 0


@pytest.mark.parametrize("revision", ["2025-06-18", "2025-11-25"])
async def test_later_revisions_have_no_batches(revision: str) -> None:
    async with open_session(revision) as client:
        for batch in ([request("repeat")], [INITIALIZED]):
            assert_refused(await client.post(batch), 400, -32600, None)


# One body or a stream


async def test_a_burst_of_progress_arrives_whole_in_order_and_as_it_was_said() -> None:
    async with open_session() as client:
        ask = request("wait", 1, _meta={"progressToken": "t"})
        said = [progress("t", n) if n % 1000 else log(f"after {n}") for n in range(1, 10_001)]
        async with client.open_post(ask) as stream:
            await client.post(saying(*said, response(1, done=True)))
            events = [event for event in [await stream.next_event() for _ in range(10_002)] if event.data]
            assert [event.data for event in events] == [json.dumps(message) for message in [*said, response(1, done=True)]]
            assert [int(event.id.rpartition("-")[2]) for event in events] == list(range(1, 10_002))
            assert await stream.next_event() is None


@pytest.mark.usefixtures("patient")
async def test_an_answer_that_comes_alone_and_at_once_is_one_body() -> None:
    async with open_session() as client:
        answer = await client.post(request("repeat", 1))
        assert answer.headers["content-type"] == "application/json"
        assert answer.json["id"] == 1
        async with client.listen() as stream:
            # There is nothing to resume, and it is on no other stream.
            assert (await stream.next_event()).id.endswith("-0-0")
            await client.post(saying(log("next")))
            assert (await stream.next_message())["params"]["data"] == "next"


@pytest.mark.usefixtures("patient")
async def test_an_error_that_comes_at_once_is_one_body_with_status_200() -> None:
    async with open_test_proxy() as proxy:
        client = await wire.initialize(proxy.url)
        answer = await client.post(request("no/such/method", 1))
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        assert answer.json["error"]["code"] == -32601


@pytest.mark.parametrize("revision", REVISIONS)
async def test_an_answer_that_takes_its_time_is_the_end_of_a_stream(revision: str) -> None:
    async with open_session(revision) as client, client.open_post(request("wait", 1)) as stream:
        assert stream.headers["content-type"] == "text/event-stream"
        assert stream.headers["cache-control"] == "no-cache, no-transform"
        await client.post(saying(response(1, done=True)))
        event = await stream.next_event()
        if revision == LATEST:
            # "immediately send an SSE event consisting of an event ID and an empty data field"
            assert (event.data, event.retry, event.id[-4:]) == ("", 1000, "-2-0")
            event = await stream.next_event()
        while event.comment is not None:
            event = await stream.next_event()
        assert (event.name, event.message["result"], event.id[-4:]) == ("message", {"done": True}, "-2-1")
        assert await stream.next_event() is None


@pytest.mark.parametrize("revision", REVISIONS)
async def test_a_client_sees_that_its_call_is_running_before_the_server_says_anything(revision: str) -> None:
    async with open_session(revision) as client:
        # Less than the silence after which a stream gets a comment.
        with trio.fail_after(10):
            async with client.open_post(request("wait", 1)) as stream:
                assert stream.status == 200


@pytest.mark.usefixtures("patient")
async def test_what_comes_before_an_answer_makes_a_stream_of_it() -> None:
    async with open_test_proxy() as proxy:
        client = await wire.initialize(proxy.url)
        answer = await client.call("log", text="hello")
        assert answer.headers["content-type"] == "text/event-stream"
        assert [m.get("method", m.get("id")) for m in answer.messages] == ["notifications/message", 1]


async def test_silence_is_broken_by_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trioproxy.exchange.KEEP_ALIVE_TIME", 0.05)
    async with open_session() as client, client.open_post(request("wait", 1)) as call, client.listen() as standalone:
        for stream in (call, standalone):
            assert (await stream.next_event()).data == ""
            for _ in range(3):
                assert (await stream.next_event()).comment == "keep-alive"
        await client.post(saying(response(1)))
        assert [m["id"] for m in await call.rest()] == [1]


async def test_notifications_and_responses_are_accepted_with_an_empty_body() -> None:
    """ "If the server accepts the input, the server MUST return HTTP status code 202 Accepted with no body." """
    async with open_session() as client:
        for message in (notification("notifications/roots/list_changed"), response(9), response("s", x=1)):
            answer = await client.post(message)
            assert (answer.status, answer.body) == (202, b"")
        assert (await heard(client))[2:] == [
            notification("notifications/roots/list_changed"),
            response(9),
            response("s", x=1),
        ]


async def test_an_id_that_is_in_use_is_refused_and_its_owner_still_gets_the_answer() -> None:
    """Another proxy gave the first answer to whoever asked last."""
    async with open_session() as client, client.open_post(request("wait", 1)) as stream:
        assert_refused(await client.post(request("repeat", 1)), 400, -32600, 1)
        assert (await client.post(request("repeat", "1"))).messages[-1]["id"] == "1"
        await client.post(saying(response(1, mine=True)))
        assert [m["result"] for m in await stream.rest()] == [{"mine": True}]


# Which stream carries what


async def test_progress_goes_with_the_request_whose_token_it_carries() -> None:
    async with open_session() as client, AsyncExitStack() as stack:
        tokens = ["a", 7, "7"]
        calls = [
            await stack.enter_async_context(client.open_post(request("wait", n, token))) for n, token in enumerate(tokens)
        ]
        standalone = await stack.enter_async_context(client.listen())
        await client.post(saying(*(progress(token, n) for token in tokens for n in (1, 2)), progress("unknown")))
        await client.post(saying(*(response(n) for n in range(3))))
        for n, call in enumerate(calls):
            *reports, answer = await call.rest()
            assert [(m["params"]["progressToken"], m["params"]["progress"]) for m in reports] == [
                (tokens[n], 1),
                (tokens[n], 2),
            ]
            assert answer["id"] == n
        assert (await standalone.next_message())["params"]["progressToken"] == "unknown"


async def test_what_the_server_says_during_the_only_call_goes_with_it() -> None:
    """Many clients open no standalone stream, and would never be asked."""
    questions = [request("elicitation/create", 1), request("sampling/createMessage", 2), request("roots/list", 3)]
    said = [log("hi"), *questions, notification("notifications/tools/list_changed"), progress("nobody's")]
    async with open_session() as client, client.listen() as standalone:
        async with client.open_post(request("wait", 1)) as call:
            await client.post(saying(*said, response(1)))
            assert await call.rest() == [*said, response(1)]
        await client.post(saying(log("after")))
        assert await standalone.next_message() == log("after")


async def test_what_the_server_says_during_two_calls_goes_to_the_standalone_stream() -> None:
    said = [log("hi"), request("elicitation/create", 1), notification("notifications/resources/updated", uri="x:y")]
    async with (
        open_session() as client,
        client.listen() as standalone,
        client.open_post(request("wait", 1)) as one,
        client.open_post(request("wait", 2)) as two,
    ):
        await client.post(saying(*said, response(2), response(1)))
        assert [await standalone.next_message() for _ in said] == said
        assert (await one.rest(), await two.rest()) == ([response(1)], [response(2)])


@pytest.mark.parametrize("revision", ["2025-06-18", "2025-11-25"])
async def test_every_question_of_the_server_is_asked_and_its_answer_comes_back(revision: str) -> None:
    answers: dict[str, Any] = {
        "elicitation/create": {"action": "accept", "content": {"name": "Ada"}},
        "sampling/createMessage": {"role": "assistant", "model": "m", "content": {"type": "text", "text": "Hi Ada"}},
        "roots/list": {"roots": [{"uri": "file:///home"}]},
    }
    async with open_test_proxy() as proxy:
        client = await wire.initialize(proxy.url, revision, {"elicitation": {}, "sampling": {}, "roots": {}})
        texts = {"introduce": "The model says to Ada: Hi Ada", "list_roots": "file:///home", "ask_name": "Hello, Ada!"}
        for number, (tool, text) in enumerate(texts.items()):
            async with client.open_post(wire.tool_call(tool, number)) as stream:
                while "method" in (message := await stream.next_message()):
                    answer = response(message["id"], **answers[message["method"]])
                    assert (await client.post(answer)).status == 202
                assert message["id"] == number
                assert message["result"]["content"][0]["text"] == text
                assert await stream.next_event() is None


async def test_changes_that_no_call_has_to_do_with_reach_the_standalone_stream() -> None:
    async with open_test_proxy(times=IMPATIENT) as proxy:
        client = await wire.initialize(proxy.url)
        await client.post(request("resources/subscribe", 1, uri="demo://counter"))
        async with client.listen() as standalone, client.open_post(wire.tool_call("count", 2, to=1, delay_ms=60_000)):
            # With two calls in flight, neither can be meant.
            for tool, methods in (
                ("touch", ["notifications/resources/updated"]),
                ("grow", ["notifications/tools/list_changed", "notifications/resources/list_changed"]),
            ):
                assert [m["id"] for m in (await client.call(tool, 3)).messages] == [3]
                assert [(await standalone.next_message())["method"] for _ in methods] == methods


async def test_a_call_that_is_cancelled_ends_its_stream_and_nobody_elses() -> None:
    async with (
        open_session() as client,
        client.open_post(request("wait", 1)) as cancelled,
        client.open_post(request("wait", 2)) as other,
    ):
        await client.post(notification("notifications/cancelled", requestId=1))
        (end,) = await cancelled.rest()
        assert (end["id"], end["error"]["code"]) == (1, -32800)
        await client.post(saying(response(1), response(2)))
        assert await other.rest() == [response(2)]
        assert notification("notifications/cancelled", requestId=1) in await heard(client)


# The standalone stream


async def test_what_is_said_while_nobody_listens_waits_for_the_next_standalone_stream() -> None:
    async with open_session() as client:
        await say_beside_calls(client, log("one"), log("two"))
        async with client.listen() as stream:
            assert [await stream.next_message() for _ in range(2)] == [log("one"), log("two")]
        await say_beside_calls(client, log("three"))
        async with client.listen() as stream:
            assert await stream.next_message() == log("three"), "sent twice, or lost"


async def test_the_newest_standalone_stream_wins() -> None:
    """A client whose connection has died without a word would otherwise be locked out until somebody notices."""
    async with open_session() as client, client.listen() as older, client.listen() as newer:
        assert await older.rest() == []
        await client.post(saying(log("one")))
        assert await newer.next_message() == log("one")


async def test_a_standalone_stream_says_at_once_that_it_is_open() -> None:
    for revision in REVISIONS:
        async with open_session(revision) as client, client.listen() as stream:
            event = await stream.next_event()
            if revision == LATEST:
                assert (event.data, event.retry) == ("", 1000)
            else:
                assert event.comment is not None


async def test_the_end_of_the_session_ends_its_streams_and_answers_its_calls() -> None:
    async with open_session() as client, client.listen() as standalone, client.open_post(request("wait", 1)) as call:
        await wire.request(client.url, "DELETE", client.headers)
        assert await standalone.rest() == []
        (error,) = await call.rest()
        assert (error["id"], error["error"]["code"]) == (1, -32000)
        assert "the client has ended the session" in error["error"]["message"]


# Resumption


async def read_ids(stream: wire.Stream, count: int) -> str:
    """Read `count` events and return the id of the last."""
    last = None
    for _ in range(count):
        last = await stream.next_event()
    assert last is not None
    assert last.id is not None
    return last.id


@pytest.mark.parametrize("said_while_away", [False, True])
async def test_a_call_cut_off_at_any_event_is_resumed_without_loss_or_repetition(said_while_away: bool) -> None:
    whole = [*(progress("t", n) for n in range(5)), response(1)]
    async with open_session() as client:
        for cut in range(1 if said_while_away else len(whole) + 1):
            async with client.open_post(request("wait", 1, token="t")) as stream:
                if not said_while_away:
                    await client.post(saying(*whole))
                last = await read_ids(stream, 1 + cut)
            if said_while_away:
                await client.post(saying(*whole))
            async with client.listen(last_event_id=last) as resumed:
                assert await resumed.rest() == whole[cut:], f"cut off after {cut} messages"


async def test_a_resumed_call_goes_on_live() -> None:
    async with open_session() as client:
        async with client.open_post(request("wait", 1, token="t")) as stream:
            await client.post(saying(progress("t", 1)))
            last = await read_ids(stream, 2)
        async with client.listen(last_event_id=last) as resumed:
            assert (await resumed.next_event()).id == last, "a priming event that would skip something"
            await client.post(saying(progress("t", 2)))
            assert await resumed.next_message() == progress("t", 2)
            await client.post(saying(progress("t", 3), response(1)))
            assert await resumed.rest() == [progress("t", 3), response(1)]


async def test_a_call_can_be_resumed_again_and_again() -> None:
    async with open_session() as client:
        async with client.open_post(request("wait", 1, token="t")) as stream:
            last = await read_ids(stream, 1)
        for number in range(4):
            await client.post(saying(progress("t", number)))
            async with client.listen(last_event_id=last) as resumed:
                last = await read_ids(resumed, 2)
        await client.post(saying(response(1)))
        async with client.listen(last_event_id=last) as resumed:
            assert await resumed.rest() == [response(1)]


async def test_only_the_events_of_the_stream_itself_are_replayed() -> None:
    """ "The server MUST NOT replay messages that would have been delivered on a different stream." """
    async with open_session() as client:
        async with (
            client.open_post(request("wait", 1, token="a")) as one,
            client.open_post(request("wait", 2, token="b")) as two,
            client.listen() as standalone,
        ):
            first_of_one, first_of_two, first_of_standalone = [await read_ids(s, 1) for s in (one, two, standalone)]
        await client.post(saying(progress("a"), log("hi"), progress("b"), response(2), response(1), log("ho")))
        async with client.listen(last_event_id=first_of_two) as resumed:
            assert await resumed.rest() == [progress("b"), response(2)]
        async with client.listen(last_event_id=first_of_one) as resumed:
            assert await resumed.rest() == [progress("a"), response(1)]
        async with client.listen(last_event_id=first_of_standalone) as resumed:
            assert [await resumed.next_message() for _ in range(2)] == [log("hi"), log("ho")]


async def test_the_standalone_stream_cut_off_at_any_event_is_resumed_without_loss_or_repetition() -> None:
    said = [log(str(n)) for n in range(4)]
    async with open_session() as client:
        async with client.listen() as stream:
            await client.post(saying(*said))
            ids = [await read_ids(stream, 1) for _ in range(5)]
        for cut, last in enumerate(ids):
            said.append(log(f"live {cut}"))
            async with client.listen(last_event_id=last) as resumed:
                await client.post(saying(said[-1]))
                assert [await resumed.next_message() for _ in said[cut:]] == said[cut:]


async def test_a_finished_call_can_be_replayed_as_long_as_it_is_kept() -> None:
    async with open_session() as client:
        async with client.open_post(request("wait", 1, token="t")) as stream:
            await client.post(saying(progress("t"), response(1)))
            first, second = await read_ids(stream, 1), await read_ids(stream, 1)
            assert await stream.rest() == [response(1)]
        for _ in range(2):
            async with client.listen(last_event_id=first) as replayed:
                assert await replayed.rest() == [progress("t"), response(1)]
        async with client.listen(last_event_id=second) as replayed:
            assert await replayed.rest() == [response(1)]


async def test_who_resumes_takes_the_stream_over_from_a_connection_that_is_still_there() -> None:
    async with open_session() as client, client.open_post(request("wait", 1, token="t")) as older:
        first = await read_ids(older, 1)
        async with client.listen(last_event_id=first) as newer:
            assert await older.rest() == []
            await client.post(saying(progress("t"), response(1)))
            assert await newer.rest() == [progress("t"), response(1)]


async def test_what_is_no_longer_kept_can_not_be_resumed() -> None:
    async with open_session(limits=LimitConfig(event_store_max_events=8)) as client:
        async with client.open_post(request("wait", 1, token="t")) as stream:
            first = await read_ids(stream, 1)
        await client.post(saying(*(progress("t", n) for n in range(20))))
        await heard(client)
        answer = await wire.request(client.url, "GET", {**client.headers, "last-event-id": first})
        assert_refused(answer, 400, -32000, None)
        assert "no longer kept" in answer.json["error"]["message"]


async def test_an_event_id_that_is_not_of_the_session_can_not_be_resumed() -> None:
    """Another proxy replayed one session's answers to another."""
    async with open_puppet() as proxy:
        mine, other = await wire.initialize(proxy.url), await wire.initialize(proxy.url)
        async with other.open_post(request("wait", 1)) as stream:
            foreign = await read_ids(stream, 1)
            await other.post(saying(response(1, secret=True)))
            await stream.rest()
        async with mine.open_post(request("wait", 1)) as stream:
            own = await read_ids(stream, 1)
            assert own != foreign
            await mine.post(saying(response(1)))
        tag, stream_number, _ = own.split("-")
        never = (
            f"{tag}-{stream_number}-9",
            f"{tag}-99-0",
            f"{tag}-{stream_number}-",
            f"{tag}-{stream_number}--1",
            f"{own}-0",
        )
        for event_id in (foreign, "nonsense", *never, f"{tag}-1e1-0", f"{tag}-{'9' * 30}-0", f"x{own}"):
            answer = await wire.request(mine.url, "GET", {**mine.headers, "last-event-id": event_id})
            assert_refused(answer, 400, -32000, None)


async def test_without_an_event_store_there_are_no_ids_and_nothing_is_resumed() -> None:
    async with open_session(limits=LimitConfig(event_store=False)) as client:
        async with client.open_post(request("wait", 1, token="t")) as call, client.listen() as standalone:
            await client.post(saying(progress("t"), response(1)))
            events = []
            while (event := await call.next_event()) is not None:
                events.append(event)
            assert [e.message for e in events if e.data] == [progress("t"), response(1)]
            await client.post(saying(log("hi")))
            while (event := await standalone.next_event()).data is None:
                events.append(event)
            events.append(event)
            assert all(event.id is None and event.retry is None for event in events)
        answer = await wire.request(client.url, "GET", {**client.headers, "last-event-id": "1-1-1"})
        assert_refused(answer, 400, -32000, None)


async def test_without_an_event_store_what_waits_for_the_standalone_stream_still_waits() -> None:
    async with open_session(limits=LimitConfig(event_store=False)) as client:
        await say_beside_calls(client, log("one"))
        async with client.listen() as stream:
            assert await stream.next_message() == log("one")


async def test_a_client_that_reads_slowly_loses_nothing_and_holds_up_nobody_else() -> None:
    flood = python(
        "import json, sys\n"
        "for line in sys.stdin:\n"
        "    message = json.loads(line)\n"
        "    if 'id' not in message: continue\n"
        "    if message['method'] == 'flood':\n"
        "        for n in range(40):\n"
        "            params = {'progressToken': 't', 'progress': n, 'message': 'x' * 500_000}\n"
        "            print(json.dumps({'jsonrpc': '2.0', 'method': 'notifications/progress', 'params': params}))\n"
        "    print(json.dumps({'jsonrpc': '2.0', 'id': message['id'], 'result': {'protocolVersion': '2025-11-25'}}))\n"
    )
    limits = LimitConfig(event_store_max_bytes=1_000_000)
    async with open_test_proxy(flood, child={"spares": 0}, limits=limits) as proxy:
        slow, other = await wire.initialize(proxy.url), await wire.initialize(proxy.url)
        async with slow.open_post(request("flood", 1, token="t")) as stream:
            await wait_all_tasks_blocked()
            assert (await other.post(request("ping"))).status == 200
            messages = await stream.rest()
        assert [m["params"]["progress"] for m in messages[:-1]] == list(range(40))
        assert messages[-1]["id"] == 1


async def test_a_session_of_the_other_transport_is_none_of_this_one() -> None:
    async with open_puppet() as proxy:
        sse, streamable = proxy.urls[1], proxy.urls[0]
        async with wire.open_stream(sse) as stream:
            endpoint: Any = await stream.next_event()
            client = Client(streamable, LATEST)
            client.session_id = endpoint.data.partition("session_id=")[2]
            for method in ("GET", "DELETE"):
                assert_refused(await wire.request(client.url, method, client.headers), 404, -32001, None)
            assert_refused(await client.post(request("repeat", 1)), 404, -32001, 1)
            assert await sessions(proxy) == 1


# --json-response


def open_json_session(revision: str = LATEST, **concerns: Any) -> Any:
    return open_session(revision, json_response=True, **concerns)


async def test_with_json_responses_every_answer_is_json_however_late() -> None:
    async with open_json_session() as client, trio.open_nursery() as nursery:
        answers: list[Answer] = []

        async def call() -> None:
            answers.append(await client.post(request("wait", 1, token="t")))

        nursery.start_soon(call)
        while request("wait", 1, token="t") not in await heard(client):
            pass
        async with client.listen() as standalone:
            await client.post(saying(progress("t"), log("hi"), request("roots/list", 9), response(1, x=1)))
            # What can't go with the answer goes where the client can still hear it.
            said = [await standalone.next_message() for _ in range(3)]
            assert said == [progress("t"), log("hi"), request("roots/list", 9)]
    assert answers[0].headers["content-type"] == "application/json"
    assert answers[0].json == response(1, x=1)


async def test_with_json_responses_a_batch_is_answered_by_an_array() -> None:
    async with open_json_session("2025-03-26") as client:
        answer = await client.post([request("repeat", 1), INITIALIZED, request("repeat", 2)])
        assert answer.headers["content-type"] == "application/json"
        assert [m["id"] for m in answer.json] == [1, 2]
        assert [m["id"] for m in (await client.post([request("repeat", 3)])).json] == [3]


async def test_with_json_responses_a_client_need_not_accept_event_streams() -> None:
    async with open_puppet(json_response=True) as proxy:
        answer = await post(proxy.url, initialize_request(), accept="application/json")
        assert answer.status == 200
        assert (await post(proxy.url, initialize_request(), accept="text/event-stream")).status == 406


async def test_with_json_responses_a_refused_handshake_leaves_nothing() -> None:
    async with open_puppet(json_response=True) as proxy:
        for revision in ("refuse me", "die of me"):
            answer = await post(proxy.url, initialize_request(revision))
            assert "error" in answer.json
            assert "mcp-session-id" not in answer.headers
            assert await sessions(proxy) == 0


async def test_with_json_responses_who_takes_over_the_stream_of_a_call_does_not_stop_the_proxy() -> None:
    """The id of an event that was never sent can be guessed by whoever knows one of the same session."""
    async with open_json_session() as client, trio.open_nursery() as nursery:
        answers: list[Answer] = []

        async def call() -> None:
            answers.append(await client.post(request("wait", 1)))

        async with client.listen() as standalone:
            tag = (await read_ids(standalone, 1)).partition("-")[0]
        nursery.start_soon(call)
        while request("wait", 1) not in await heard(client):
            pass
        # Two streams were there for `heard`, at least.
        for number in range(1, 9):
            refused = await wire.request(client.url, "GET", {**client.headers, "last-event-id": f"{tag}-{number}-0"})
            assert refused.status == 400
        await client.post(saying(response(1)))
    assert answers[0].json == response(1)


async def test_with_json_responses_a_client_that_leaves_frees_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamable_http, "ANSWER_AT_ONCE", 0)
    async with open_json_session(limits=LimitConfig(max_connections=3)) as client:
        for number in range(1, 4):
            async with wire.connect(client.url) as connection:
                body = json.dumps(request("wait", number))
                head = "".join(f"{name}: {value}\r\n" for name, value in client.headers.items())
                head = f"POST /mcp HTTP/1.1\r\nhost: {connection.host}\r\n{head}content-length: {len(body)}\r\n\r\n"
                await connection.stream.send_all((head + body).encode())
                await wait_all_tasks_blocked()
        await wait_all_tasks_blocked()
        # Its request goes on: "Disconnection … SHOULD NOT be interpreted as the client cancelling its request."
        assert_refused(await client.post(request("repeat", 1)), 400, -32600, 1)
        await client.post(saying(response(1)))
        assert (await client.post(request("repeat", 2))).json["id"] == 2


# --stateless


@pytest.mark.parametrize("json_response", [False, True])
@pytest.mark.parametrize("version", [*REVISIONS, None])
async def test_without_sessions_any_request_is_answered_without_a_handshake(
    version: str | None, json_response: bool
) -> None:
    async with open_test_proxy(stateless=True, json_response=json_response) as proxy:
        answer = await post(proxy.url, wire.tool_call("add", 5, a=2, b=3), mcp_protocol_version=version)
        assert answer.messages[-1]["id"] == 5
        assert answer.messages[-1]["result"]["structuredContent"] == {"sum": 5}
        assert "mcp-session-id" not in answer.headers
        assert all(event.id is None and event.retry is None for event in (answer.events if b"data:" in answer.body else []))


async def test_without_sessions_a_client_that_shakes_hands_is_served_too() -> None:
    async with open_puppet(stateless=True) as proxy:
        hello = await post(proxy.url, initialize_request())
        assert hello.messages[0]["result"]["protocolVersion"] == LATEST
        assert "mcp-session-id" not in hello.headers
        assert (await post(proxy.url, INITIALIZED)).status == 202
        assert (await post(proxy.url, request("repeat", 1), mcp_protocol_version=LATEST)).messages[0]["id"] == 1


async def test_without_sessions_there_is_nothing_to_get_and_nothing_to_delete() -> None:
    async with open_puppet(stateless=True) as proxy:
        for method in ("GET", "DELETE", "PUT"):
            answer = await wire.request(proxy.url, method, wire.JSON_HEADERS)
            assert (answer.status, answer.headers["allow"]) == (405, "POST")


async def test_without_sessions_nothing_is_left_of_a_hundred_requests() -> None:
    """Another proxy kept a server, a sink and an event store of each for ever."""
    async with open_puppet(stateless=True, limits=LimitConfig(max_sessions=50)) as proxy:
        limit = trio.CapacityLimiter(6)

        async def ask(number: int) -> None:
            async with limit:
                answer = await post(proxy.url, request("repeat", number))
                assert answer.messages[-1]["id"] == number

        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(ask, number)
        for child in descendants(os.getpid()):
            await wait_gone(child)
        assert await sessions(proxy) == 0


async def test_without_sessions_a_client_that_leaves_takes_its_child_along() -> None:
    async with open_puppet(stateless=True) as proxy:
        body = json.dumps(request("wait", 1)).encode()
        headers = {**wire.JSON_HEADERS, "mcp-protocol-version": LATEST}
        async with wire.open_stream(proxy.url, "POST", headers, body) as stream:
            event: Any = await stream.next_event()
            assert (event.id, event.retry) == (None, None), "a promise that it can be resumed"
            (child,) = descendants(os.getpid())
        await wait_gone(child)
        assert await sessions(proxy) == 0


async def test_without_sessions_a_question_of_the_server_is_declined_at_once() -> None:
    """The answer would come in another exchange, and reach another child."""
    asker = python(
        "import json, sys\n"
        "for line in sys.stdin:\n"
        "    message = json.loads(line)\n"
        "    if message.get('method') == 'ask':\n"
        "        print(json.dumps({'jsonrpc': '2.0', 'id': 'q', 'method': 'roots/list'}))\n"
        "        answer = json.loads(sys.stdin.readline())\n"
        "        print(json.dumps({'jsonrpc': '2.0', 'id': 1, 'result': answer}))\n"
        "    elif 'id' in message:\n"
        "        print(json.dumps({'jsonrpc': '2.0', 'id': message['id'], 'result': {}}))\n"
    )
    async with open_test_proxy(asker, child={"spares": 0}, stateless=True) as proxy:
        answer = await post(proxy.url, request("ask", 1))
        (message,) = answer.messages
        assert message["result"]["id"] == "q"
        assert message["result"]["error"]["code"] == -32601


async def test_without_sessions_a_batch_obeys_the_rules_of_its_revision() -> None:
    async with open_puppet(stateless=True) as proxy:
        batch = [request("repeat", 1), INITIALIZED, request("repeat", 2)]
        answer = await post(proxy.url, batch, mcp_protocol_version="2025-03-26")
        assert [m["id"] for m in answer.messages] == [1, 2]
        assert [m["id"] for m in (await post(proxy.url, batch)).messages] == [1, 2]
        for version, wrong in (
            (LATEST, batch),
            ("2025-03-26", [request("repeat", 1), response(2)]),
            ("2025-03-26", [initialize_request(), request("repeat", 2)]),
            ("2025-03-26", [request("repeat", 1), request("repeat", 1)]),
        ):
            assert_refused(await post(proxy.url, wrong, mcp_protocol_version=version), 400, -32600, None)


@pytest.mark.parametrize("header", [MODERN, None])
async def test_where_it_is_not_served_a_modern_request_is_refused_without_sessions_as_well(header: str | None) -> None:
    async with open_puppet(stateless=True, modern=False) as proxy:
        answer = await post(proxy.url, request("server/discover", 1, _meta=ENVELOPE), mcp_protocol_version=header)
        assert 400 <= answer.status < 500
        assert (answer.json["id"], answer.json["error"]["code"] in MODERN_ERRORS) == (1, False)


async def test_without_sessions_a_server_that_fails_is_an_error_at_once() -> None:
    dies = python("import sys; input(); sys.exit('no handshake with me')")
    async with open_test_proxy(dies, child={"spares": 0}, stateless=True) as proxy:
        assert_refused(await post(proxy.url, request("repeat", 1)), 502, -32603, 1)
        assert await sessions(proxy) == 0


# Bytes


BODIES = {
    "unknown members and any order": b'{"zz":1,"params":{"b":1,"a":{"":0}},"id":1,"x":0,"method":"repeat","jsonrpc":"2.0"}',
    "equal keys": b'{"jsonrpc":"2.0","id":1,"method":"repeat","params":{"a":1,"a":2}}',
    "numbers beyond a float": b'{"jsonrpc":"2.0","id":1,"method":"repeat","params":{"n":[1e999,-0.0,1.10,%b]}}'
    % (b"9" * 5000),
    "escaped surrogates": rb'{"jsonrpc":"2.0","id":1,"method":"repeat","params":{"s":"\ud83d \uDE00 \u0000 \/"}}',
    "line separators": '{"jsonrpc":"2.0","id":1,"method":"repeat","params":{"s":"\u2028\u2029\x85\x0b"}}'.encode().replace(
        b"\x0b", b"\\u000b"
    ),
    "white space": b' {\t"jsonrpc" : "2.0" , "id":1,\r"method":"repeat"\r\n,\n\n"params" : { } }\n ',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_a_message_reaches_the_server_as_it_was_sent_but_for_line_ends(body: bytes) -> None:
    async with open_session() as client:
        answer = await client.post(body)
        line = answer.messages[-1]["result"]["line"].encode("latin-1")
        assert line == body.replace(b"\r", b" ").replace(b"\n", b" ").strip()


LINES = {
    "unknown members and any order": b'{"result":{"zz":1,"a":{"":null}},"x":0,"id":1,"jsonrpc":"2.0"}',
    "white space": b' { "jsonrpc" : "2.0",\t"id":1, "result":{ } }  ',
    "equal keys": b'{"jsonrpc":"2.0","id":1,"result":{"a":1,"a":2}}',
    "numbers beyond a float": b'{"jsonrpc":"2.0","id":1,"result":{"n":[1e999,-0.0,1.10,%b]}}' % (b"9" * 5000),
    "escaped surrogates": rb'{"jsonrpc":"2.0","id":1,"result":{"s":"\ud83d \uDE00 \u0000 \/"}}',
    "line separators": '{"jsonrpc":"2.0","id":1,"result":{"s":"\u2028\u2029\x85"}}'.encode(),
}


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
async def test_an_answer_is_the_body_as_the_server_wrote_it(line: bytes) -> None:
    async with open_session() as client:
        answer = await client.post(request("recite", 1, line=line.decode("latin-1")))
        assert answer.headers["content-type"] == "application/json"
        assert answer.body == line


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
async def test_an_answer_is_the_data_of_an_event_as_the_server_wrote_it(line: bytes) -> None:
    async with open_session() as client, client.open_post(request("wait", 1)) as stream:
        await client.post(saying(line))
        await stream.next_event()
        event = await stream.next_event()
        assert event.data.encode() == line


async def test_a_carriage_return_between_the_tokens_of_an_event_does_not_break_it_up() -> None:
    """In an event stream a CR ends a line as well; in JSON it is white space."""
    line = b'{"jsonrpc":"2.0",\r"id":1,\r\r"result":{"s":"\\r"}}\r'
    async with open_session() as client, client.open_post(request("wait", 1)) as stream:
        await client.post(saying(line))
        assert await stream.rest() == [response(1, s="\r")]


@pytest.mark.parametrize("size", [100, 70_000, 1_000_000, 9_000_000])
async def test_arguments_and_results_of_any_size_arrive_whole(size: int) -> None:
    """Other proxies stop at 100 KB, or lose their server over 10 MiB for all."""
    async with open_session() as client:
        text = "".join(map(str, range(size // 5)))[:size]
        answer = await client.post(request("repeat", 1, text=text))
        assert json.loads(answer.messages[-1]["result"]["line"])["params"]["text"] == text
        blob = await client.post(request("blob", 2, size=2 * size))
        assert len(blob.messages[-1]["result"]["text"]) == 2 * size


# A server that fails


async def test_a_server_that_is_killed_during_a_call_is_an_error_at_once() -> None:
    async with open_session() as client, client.open_post(request("wait", 1)) as waiting:
        answer = await client.post(request("die", 2, signal=9))
        for message in (answer.messages[-1], *(await waiting.rest())):
            assert message["error"]["code"] == -32603
            assert "was killed by SIGKILL" in message["error"]["message"]
            assert message["error"]["data"] == {"signal": "SIGKILL", "stderr": ["these are my last words"], "restarts": 0}


async def test_a_session_goes_on_with_another_server_which_is_told_what_the_first_one_knew() -> None:
    lists = {"tools": {"listChanged": True}, "prompts": {"listChanged": False}, "resources": {"listChanged": True}}
    async with open_puppet() as proxy:
        client = await wire.initialize(proxy.url, capabilities={"experimental": lists})
        level, other, uri = {"level": "error"}, {"uri": "x:1"}, {"uri": "x:2"}
        for message in (
            request("logging/setLevel", 1, **level),
            request("resources/subscribe", 2, **other),
            request("resources/subscribe", 3, **uri),
            request("resources/unsubscribe", 4, **other),
        ):
            async with client.open_post(message):
                pass
        first = await pid_of(client)
        async with client.listen() as standalone:
            (death,) = (await client.post(request("die", 5, signal=9))).messages
            assert death["error"]["data"]["restarts"] == 0
            changed = [await standalone.next_message() for _ in range(2)]
            assert [m["method"] for m in changed] == [
                "notifications/tools/list_changed",
                "notifications/resources/list_changed",
            ]
            assert await pid_of(client) != first
            told = [(m["method"], m.get("params")) for m in await heard(client)]
            assert told[0][0] == "initialize"
            assert told[1:4] == [
                ("notifications/initialized", None),
                ("logging/setLevel", level),
                ("resources/subscribe", uri),
            ]
            # What the new server says goes on the stream that was there before.
            await say_beside_calls(client, log("still here"))
            assert (await standalone.next_message())["params"]["data"] == "still here"
            (death,) = (await client.post(request("die", 6, status=3))).messages
            assert death["error"]["data"]["restarts"] == 1


async def test_a_server_that_keeps_dying_ends_its_session_and_is_held_to_be_broken_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deaths, "_FIRST_PAUSE", 0.001)
    async with open_session() as client:
        for number in range(6):
            (death,) = (await client.post(request("die", number, status=3))).messages
            assert death["error"]["data"]["restarts"] == number
        assert_refused(await client.post(request("repeat", 7)), 404, -32001, 7)
        health = await wire.request(urljoin(client.url, "/healthz"))
        assert (health.status, health.json["servers"]["default"]["state"]) == (503, "failing")
        assert health.json["servers"]["default"]["last_exit"] == "the server exited with status 3"


async def test_a_server_that_exits_during_a_call_leaves_its_status_and_its_last_words() -> None:
    async with open_session() as client:
        (message,) = (await client.post(request("die", 2, status=3))).messages
        assert "exited with status 3" in message["error"]["message"]
        assert message["error"]["data"] == {"exitStatus": 3, "stderr": ["these are my last words"], "restarts": 0}


async def test_what_is_no_message_of_the_server_is_skipped() -> None:
    garbage = [b"Starting server...", b"{", b"[]", b"\xff\xfe", b'{"jsonrpc":"2.0","id":77,"result":{}}', b"", b"null"]
    async with open_session() as client, client.open_post(request("wait", 1)) as stream:
        await client.post(saying(*garbage, response(1)))
        assert await stream.rest() == [response(1)]


async def test_an_oversized_answer_fails_its_call_alone() -> None:
    async with open_session(child={"max_message_size": 100_000}) as client, client.open_post(request("wait", 1)) as other:
        (message,) = (await client.post(request("blob", 2, size=200_000))).messages
        assert (message["id"], message["error"]["code"]) == (2, -32603)
        assert "--max-message-size" in message["error"]["message"]
        await client.post(saying(response(1)))
        assert await other.rest() == [response(1)]
        assert len((await client.post(request("blob", 3, size=50_000))).messages[-1]["result"]["text"]) == 50_000


async def test_a_call_that_takes_too_long_is_an_error_and_cancelled() -> None:
    async with open_session(times=TimeConfig(request_timeout=0.2)) as client:
        (message,) = (await client.post(request("wait", 1))).messages
        assert (message["id"], message["error"]["code"]) == (1, -32001)
        assert [m["params"]["requestId"] for m in await heard(client) if m["method"] == "notifications/cancelled"] == [1]
        await client.post(saying(response(1)))
        assert (await client.post(request("repeat", 2))).status == 200


async def test_without_sessions_a_client_that_leaves_during_the_handshake_takes_its_child_along() -> None:
    async def wait_children(count: int) -> None:
        while len(descendants(os.getpid())) != count:  # noqa: ASYNC110  processes are not announced
            await trio.sleep(0.01)

    deaf = python("import sys; sys.stdin.read()")
    async with open_test_proxy(deaf, stateless=True) as proxy:
        await wait_children(1)
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).encode()
        async with wire.connect(proxy.url) as connection:
            head = (
                f"POST /mcp HTTP/1.1\r\nhost: {connection.host}\r\ncontent-type: application/json\r\n"
                f"accept: application/json, text/event-stream\r\ncontent-length: {len(body)}\r\n\r\n"
            )
            await connection.stream.send_all(head.encode() + body)
            await wait_children(2)
        await wait_children(1)


BABBLER = """
import json, sys
request = json.loads(sys.stdin.readline())
result = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "b", "version": "1"}}
print(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}), flush=True)
sys.stdin.readline()
for n in range(120):
    note = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x" * 100_000}}
    print(json.dumps(note), flush=True)
sys.stdin.read()
"""


async def test_clients_that_resume_and_read_nothing_hold_one_connection_and_no_memory_each() -> None:
    """The log is 12 MB; what each of them is sent is not kept for each of them."""
    async with open_test_proxy(python(BABBLER)) as proxy, AsyncExitStack() as stack:
        client = await wire.initialize(proxy.url)
        async with client.listen() as stream:
            first = await stream.next_event()
            assert first is not None
            assert first.id is not None
            for _ in range(120):
                assert await stream.next_message() is not None
        before = resident()
        for _ in range(20):
            await stack.enter_async_context(client.listen(last_event_id=first.id))
            # What was there before is cut off, though it reads nothing.
            while proxy._listener.connections > 2:  # noqa: ASYNC110  it is the listener's to know
                await trio.sleep(0.01)
        assert resident() - before < 16_000_000


def resident() -> int:
    """Return how much memory this process holds, in bytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("revision", ["2025-06-18", LATEST])
async def test_a_question_finds_the_client_that_has_dropped_its_call_but_listens(revision: str) -> None:
    async with open_session(revision) as client:
        async with client.open_post(request("wait")) as call:
            await call.next_event()
        async with client.listen() as standalone:
            await standalone.next_event()
            await wait_all_tasks_blocked()
            await client.post(saying(log("are you there?")))
            assert await standalone.next_message() == log("are you there?")


async def test_a_question_waits_for_a_client_that_has_dropped_its_call_and_knows_no_id_of_it() -> None:
    """Before 2025-11-25 a stream that has carried nothing has no event, and can't be resumed."""
    async with open_session("2025-06-18") as client:
        async with client.open_post(request("wait")) as call:
            await call.next_event()
        await wait_all_tasks_blocked()
        assert (await client.post(saying(log("are you there?")))).status == 202
        async with client.listen() as standalone:
            assert await standalone.next_message() == log("are you there?")
