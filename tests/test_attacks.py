"""What a stranger can send, and what becomes of everybody else meanwhile.

Over real sockets, most of it to a proxy in a process of its own, whose memory, descriptors and children are then what they
were before.  Elsewhere already: most heads and bodies that HTTP forbids, fuzz of the raw bytes, deadlines of heads and
bodies that drip, clients that stop reading, a thousand requests at once (`test_connection`); the bound on connections,
nonsense to TLS (`test_listener`); foreign hosts and origins (`test_app`); floods of a server to a client that does not read
(`test_streamable_http`, `test_modern`).
"""

from __future__ import annotations

import json
import re
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from functools import partial
from http.client import HTTPConnection
from ipaddress import IPv4Network
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import modern, wire
from tests.proxies import ProxyProcess, open_test_proxy, python, run_proxy
from tests.puppet import PUPPET, notification, request, response, saying
from tests.serving import ask, serving, wait_until
from trioproxy import connection as connection_module
from trioproxy.config import CorsOptions, ListenConfig, TimeConfig

POST = b"POST /first HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"


# Two readings of one request


class Witness:
    """An application that notes which requests reach it, and what is in them (ASGI)."""

    def __init__(self) -> None:
        self.reached: list[tuple[str, bytes, dict[str, str]]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            more = message["more_body"]
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        self.reached.append((scope["path"], body, headers))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


AMBIGUOUS = {
    "Transfer-Encoding: identity": POST + b"Transfer-Encoding: identity\r\n\r\n",
    "Transfer-Encoding: chunked, identity": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: xchunked": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked with a parameter": POST + b"Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked in quotes": POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "Transfer-Encoding: chunked and a vertical tab": POST + b"Transfer-Encoding: chunked\x0b\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: NUL before chunked": POST + b"Transfer-Encoding: \0chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding folded beside a length": POST
    + b"Content-Length: 5\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "a tab before the colon": POST + b"Content-Length: 5\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
    "a carriage return within a value": POST + b"X: a\rTransfer-Encoding: chunked\r\n\r\n",
    "a length beside one behind a bare line feed": POST + b"Content-Length: 0\r\nX: a\nContent-Length: 44\r\n\r\n",
    "chunks behind a bare line feed": POST + b"Content-Length: 5\r\nX: a\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a name that is no token": POST + b"Content-Length\xff: 5\r\n\r\nhello",
    "a length in hexadecimal": POST + b"Content-Length: 0x5\r\n\r\nhello",
    "a length with an underscore": POST + b"Content-Length: 4_4\r\n\r\n",
    "a length in other digits": POST + "Content-Length: \u0665\r\n\r\nhello".encode(),
    "a length that is empty": POST + b"Content-Length:\r\n\r\n",
    "a length with a fraction": POST + b"Content-Length: 5.0\r\n\r\nhello",
    "two lengths in one": POST + b"Content-Length: 5 5\r\n\r\nhello",
    "a chunk size in C": POST + CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n",
    "a chunk size with an underscore": POST + CHUNKED + b"0_5\r\nhello\r\n0\r\n\r\n",
    "a chunk size with a sign": POST + CHUNKED + b"+5\r\nhello\r\n0\r\n\r\n",
    "a chunk size behind a space": POST + CHUNKED + b" 5\r\nhello\r\n0\r\n\r\n",
    "a chunk size that is empty": POST + CHUNKED + b"\r\nhello\r\n0\r\n\r\n",
    "a chunk size that ends with a line feed": POST + CHUNKED + b"5\nhello\r\n0\r\n\r\n",
    "a chunk extension that ends with a line feed": POST + CHUNKED + b"5;\nhello\r\n0\r\n\r\n",
    "a chunk that is longer than it says": POST + CHUNKED + b"5\r\nhello!\r\n0\r\n\r\n",
    "a chunk without an end": POST + CHUNKED + b"5\r\nhello0\r\n\r\n",
    "a trailer that is none": POST + CHUNKED + b"0\r\nno trailer\r\n\r\n",
    "chunks of HTTP/1.0": b"POST /first HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n" + CHUNKED + b"0\r\n\r\n",
}


@pytest.mark.parametrize("attack", AMBIGUOUS.values(), ids=list(AMBIGUOUS))
async def test_nothing_is_served_behind_a_request_whose_end_is_in_doubt(attack: bytes) -> None:
    """RFC 9112 §11.2: somebody before us may have seen another end, and taken what follows for part of the body."""
    app = Witness()
    async with serving(app) as listener, wire.connect(listener.url) as client:
        answer = await ask(client, attack + SMUGGLED)
        assert answer.status in (200, 400, 501)
        assert await client.stream.receive_some() == b""
        if answer.status != 200:
            assert app.reached == []
        assert "/smuggled" not in [path for path, _, _ in app.reached]


WHOLE = {
    "a continued header": (POST + b"X: a\r\n b\r\nContent-Length: 5\r\n\r\nhello", b"hello", {"x": "a b"}),
    "a request in the body": (POST + b"Content-Length: %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED, SMUGGLED, {}),
    "a request in a chunk": (POST + CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED), SMUGGLED, {}),
    "a chunk extension": (POST + CHUNKED + b'5;a="b\\"c"\r\nhello\r\n0\r\n\r\n', b"hello", {}),
    "leading zeros": (POST + CHUNKED + b"000005\r\nhello\r\n0\r\n\r\n", b"hello", {}),
    "a trailer": (POST + CHUNKED + b"5\r\nhello\r\n0\r\nX-Api-Key: k\r\nContent-Length: 9\r\n\r\n", b"hello", {}),
    "a GET with a body": (POST.replace(b"POST", b"GET") + b"Content-Length: 5\r\n\r\nhello", b"hello", {}),
    "names with underscores": (POST + b"Transfer_Encoding: chunked\r\nContent_Length: 9\r\n\r\n", b"", {}),
}


@pytest.mark.parametrize(("attack", "body", "headers"), WHOLE.values(), ids=list(WHOLE))
async def test_what_has_one_end_only_is_read_to_it(attack: bytes, body: bytes, headers: dict[str, str]) -> None:
    app = Witness()
    async with serving(app) as listener, wire.connect(listener.url) as client:
        assert (await ask(client, attack)).status == 200
        assert (await ask(client, SMUGGLED.replace(b"smuggled", b"second"))).status == 200
        (path, read, seen), second = app.reached
        assert (path, read, second[0]) == ("/first", body, "/second")
        assert headers.items() <= seen.items()
        # A trailer is none of the headers by which somebody is let in.
        assert "x-api-key" not in seen


# What comes back


HOSTILE = {
    "a line end in the path": ("GET", "/%0d%0aSet-Cookie:%20a=b%0d%0a%0d%0a<script>", {}),
    "a line end in the query": ("POST", "/messages?session_id=%0d%0aSet-Cookie:a=b", {"content-type": "application/json"}),
    "latin letters in a header that is echoed": (
        "OPTIONS",
        "/mcp",
        {"origin": "http://localhost", "access-control-request-headers": "x-a, \xe4\xff, set-cookie: a=b"},
    ),
    "an origin with more": ("GET", "/ping", {"origin": "http://localhost, set-cookie: a=b"}),
    "an origin in quotes": ("GET", "/ping", {"origin": 'http://localhost"><script>'}),
    "a host with more": ("GET", "/mcp", {"host": 'localhost", error="x'}),
    "a prefix with a line end": ("GET", "/sse", {"x-forwarded-prefix": "/a%0d%0aSet-Cookie:a"}),
    "a prefix that is a host": ("GET", "/sse", {"x-forwarded-prefix": "//evil.example"}),
    "a session": ("DELETE", "/mcp", {"mcp-session-id": '"><script>\xff'}),
    "an event": ("GET", "/mcp", {"mcp-session-id": "x", "last-event-id": '"\xff', "accept": "text/event-stream"}),
    "a revision": ("GET", "/mcp", {"mcp-session-id": "x", "mcp-protocol-version": '"\xff<script>'}),
    "a method": ("<SCRIPT>", "/mcp", {}),
}
KNOWN_HEADERS = re.compile(
    "content-(type|length)|date|connection|transfer-encoding|allow|vary|retry-after|cache-control|x-accel-buffering"
    "|access-control-[a-z-]+|www-authenticate"
)


@pytest.mark.parametrize(("method", "path", "headers"), HOSTILE.values(), ids=list(HOSTILE))
async def test_nothing_that_is_sent_becomes_a_header_or_a_page(method: str, path: str, headers: dict[str, str]) -> None:
    listen = ListenConfig(trusted_proxies=(IPv4Network("127.0.0.0/8"),))
    async with (
        open_test_proxy(PUPPET, listen=listen, cors=CorsOptions(origin="*")) as proxy,
        wire.connect(proxy.url) as client,
    ):
        lines = {"host": "localhost", **headers}
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        await client.stream.send_all((head + "Content-Length: 0\r\n\r\n").encode("latin-1"))
        data = await client.stream.receive_some()
        status, *received = data.partition(b"\r\n\r\n")[0].decode("ascii").split("\r\n")
        assert re.fullmatch(r"HTTP/1\.1 [2-4]\d\d ", status)
        assert [line for line in received if not KNOWN_HEADERS.fullmatch(line.partition(":")[0].lower())] == []
        kinds = [line.partition(": ")[2] for line in received if line.startswith("content-type")]
        assert set(kinds) <= {"application/json", "text/plain", "text/event-stream"}
        assert b"evil.example" not in data


async def test_nobody_can_write_lines_of_our_log() -> None:
    forged = "12:34:56.789 ERROR forged"
    quoted = forged.replace(" ", "%20")
    with run_proxy("--debug", *PUPPET) as proxy:
        url = proxy.urls[0]
        await wire.request(urljoin(url, f"/%0a{quoted}%0d%1b[2J%1b]0;title%07"))
        client = await wire.initialize(url)
        evil = f"x\n{forged}\r\x1b[2J\x9b2J\u2028\u202e"
        await client.post(notification(evil))
        await client.post(saying(b"garbage \x1b[2J\r" + forged.encode(), b"\xff\x1b"))
        await client.post(request("die", 2, status=3))
        proxy.process.terminate()
        proxy.wait()
    shape = re.compile(r"\d\d:\d\d:\d\d\.\d\d\d [A-Z]+ +\S.*")
    assert [line for line in proxy.said if not shape.fullmatch(line) or "\x1b" in line or not line.isprintable()] == []
    assert any(forged in line for line in proxy.said)
    assert not any(line.startswith(forged) for line in proxy.said)


# Depth and size


DEEP = 100_000
NESTS = {
    "arrays": b"[" * DEEP + b"]" * DEEP,
    "objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "arrays without end": b"[" * DEEP,
    "a number of many digits": b"9" * 100_000,
    "a number beyond any float": b"1e999999999",
    "a string of escapes": b'"' + rb"\ud800" * 300_000 + b'"',
    "the same member again and again": b'{"a":1' + b',"a":1' * 300_000 + b"}",
}


def wherever(nest: bytes) -> tuple[list[bytes], list[bytes]]:
    """Return what can be sent with `nest` in it, by a client of either era."""
    message = b'{"jsonrpc":"2.0","id":%b,"method":"repeat","params":%b}'
    envelope = json.dumps(modern.request("repeat")["params"]["_meta"]).encode()
    legacy = [
        nest,
        b"[%b]" % nest,
        message % (b"1", nest),
        message % (nest, b"{}"),
        message % (b"1", b'{"_meta":{"progressToken":%b}}' % nest),
        b'{"jsonrpc":"2.0","id":1,"result":%b}' % nest,
        b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%b}}' % nest,
    ]
    of_the_modern_era = [
        nest,
        message % (b"1", b'{"_meta":%b,"x":%b}' % (envelope, nest)),
        message % (b"1", b'{"_meta":%b}' % nest),
        message % (nest, b'{"_meta":%b}' % envelope),
    ]
    return legacy, of_the_modern_era


async def test_json_of_any_shape_is_passed_on_or_refused_wherever_it_stands() -> None:
    with run_proxy(*PUPPET) as proxy:
        url = proxy.urls[0]
        other = await wire.initialize(url)
        for number, nest in enumerate(NESTS.values()):
            # Its puppet need not survive what reaches it: it is nobody else's.
            client = await wire.initialize(url)
            legacy, of_the_modern_era = wherever(nest)
            for body in legacy:
                async with client.open_post(body) as stream:
                    assert stream.status in (200, 202, 400)
            for body in of_the_modern_era:
                async with wire.open_stream(url, "POST", modern.headers(modern.request("repeat")), body) as stream:
                    assert stream.status in (200, 400)
            assert (await other.post(request("repeat", number))).messages[-1]["id"] == number
            assert (await modern.post(url, modern.request("repeat", number))).messages[-1]["id"] == number
        proxy.process.terminate()
        assert proxy.wait() == 0
    assert tracebacks(proxy) == []


def tracebacks(proxy: ProxyProcess) -> list[str]:
    """Return the tracebacks in a proxy's log; those of its children are in lines with a time."""
    return [line for line in proxy.said if line.lstrip().startswith("Traceback")]


# Crowds


PING = b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n"


def address(proxy: ProxyProcess) -> tuple[str, int]:
    """Return where a proxy listens."""
    parts = urlsplit(proxy.urls[0])
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


@contextmanager
def many_files(wanted: int) -> Iterator[int]:
    """Allow this process as many open files as it may have, and yield how many of `wanted` that leaves for a test."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted + 500 if hard == resource.RLIM_INFINITY else min(hard, wanted + 500)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    try:
        yield min(wanted, max(soft, most) - 500)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_ten_thousand_connections_are_held_and_answered_and_one_more_is_told_that_it_is_too_many() -> None:
    with many_files(10_000) as count, run_proxy("--max-connections", str(count), *PUPPET) as proxy, ExitStack() as stack:
        assert count >= 1000, f"this system allows for {count} connections only"
        descriptors, resident = proxy.descriptors, proxy.resident
        crowd = [stack.enter_context(socket.create_connection(address(proxy))) for _ in range(count)]
        for member in crowd:
            member.sendall(PING)
        assert sum(member.recv(1000).startswith(b"HTTP/1.1 200") for member in crowd) == count
        with socket.create_connection(address(proxy)) as late:
            late.sendall(PING)
            assert late.recv(1000).startswith(b"HTTP/1.1 503")
        each = (proxy.resident - resident) * 1000 / count
        assert each < 20, f"{count} connections take {each:.1f} kB each"
        stack.close()
        wait_until_so(lambda: proxy.descriptors <= descriptors)
        with socket.create_connection(address(proxy)) as next_one:
            next_one.sendall(PING)
            assert next_one.recv(1000).startswith(b"HTTP/1.1 200")


def wait_until_so(is_so: Any) -> None:
    """Return once `is_so` returns true, which has to be soon."""
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def test_who_asks_without_end_and_reads_nothing_takes_no_memory() -> None:
    """Its requests are read no faster than it takes the answers."""
    with run_proxy(*PUPPET) as proxy:
        async with wire.connect(proxy.urls[0]) as greedy:
            await greedy.stream.send_all(PING)
            before = proxy.resident
            with trio.move_on_after(1) as patience:
                while True:
                    await greedy.stream.send_all(PING * 1000)
            assert patience.cancelled_caught
            assert proxy.resident - before < 10
            assert (await wire.request(urljoin(proxy.urls[0], "/ping"))).status == 200


async def test_a_crowd_that_is_slow_in_every_way_keeps_nobody_else_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads and bodies that don't go on, streams that are not read, and clients that have gone without a word."""
    monkeypatch.setattr(connection_module, "HEAD_TIME", 1.0)
    monkeypatch.setattr(connection_module, "BODY_TIME", 1.0)
    times = TimeConfig(graceful_shutdown_timeout=0, keep_alive_timeout=1)
    async with open_test_proxy(PUPPET, times=times, child={"spares": 0}) as proxy, AsyncExitStack() as stack:
        client = await wire.initialize(proxy.url)
        tasks = trio.lowlevel.current_statistics().tasks_living
        head = f"POST /mcp HTTP/1.1\r\nhost: localhost\r\nmcp-session-id: {client.session_id}\r\n".encode()
        listen = head.replace(b"POST", b"GET") + b"accept: text/event-stream\r\n\r\n"
        body = head + b"content-type: application/json\r\ncontent-length: 100\r\n\r\n{"
        for sent in (b"", b"GET", head, body, listen):
            for _ in range(100):
                connection = await stack.enter_async_context(wire.connect(proxy.url))
                await connection.stream.send_all(sent)
        started = trio.current_time()
        for number in range(20):
            assert (await client.post(request("repeat", number))).status == 200
        took = trio.current_time() - started
        assert took < 5, f"20 calls took {took:.1f} s"
        # Of the readers one is left, the newest.
        await wait_until(lambda: proxy._listener.connections == 1)
        await stack.aclose()
        await wait_until(lambda: trio.lowlevel.current_statistics().tasks_living <= tasks)


# Nonsense


SEEDED = settings(
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=False,
    max_examples=100,
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
ids: st.SearchStrategy[Any] = st.sampled_from(
    [0, 1, 2, 3, "1", "held", -1, 1.0, 1.5, None, True, [], {}, 2**70, "\ud800", "ME"]
)
methods = st.sampled_from(
    [
        "initialize",
        "notifications/initialized",
        "notifications/progress",
        "notifications/message",
        "notifications/cancelled",
        "notifications/tools/list_changed",
        "notifications/resources/updated",
        "notifications/subscriptions/acknowledged",
        "subscriptions/listen",
        "server/discover",
        "sampling/createMessage",
        "elicitation/create",
        "roots/list",
        "ping",
        "tools/list",
        "logging/setLevel",
        "",
    ]
)
metas = st.fixed_dictionaries(
    {},
    optional={
        "progressToken": ids | json_values,
        modern.SUBSCRIPTION_ID: ids | json_values,
        modern.RESERVED + "protocolVersion": st.sampled_from([modern.REVISION, "2025-11-25", 1]),
        modern.RESERVED + "clientInfo": json_values,
        modern.RESERVED + "clientCapabilities": st.just({}) | json_values,
        modern.RESERVED + "logLevel": st.sampled_from(["info", "loud", 1]),
    },
)
params = json_values | st.fixed_dictionaries(
    {},
    optional={
        "_meta": metas | json_values,
        "progressToken": ids,
        "progress": json_values,
        "requestId": ids,
        "level": st.sampled_from(["info", "loud"]) | json_values,
        "data": json_values,
        "uri": json_values,
        "protocolVersion": st.sampled_from(["2025-11-25", "2024-11-05", 1, ""]),
        "capabilities": json_values,
        "requestState": json_values,
        "notifications": json_values,
    },
)
results = json_values | st.fixed_dictionaries(
    {},
    optional={
        "resultType": st.sampled_from(["complete", "?", 1]),
        "tools": st.lists(json_values, max_size=2),
        "content": json_values,
        "supportedVersions": json_values,
        "_meta": metas | json_values,
        "ttlMs": json_values,
    },
)
errors = json_values | st.fixed_dictionaries(
    {},
    optional={"code": st.sampled_from([-32601, -32021, -32022, 1, "1", None]), "message": json_values, "data": json_values},
)
messages = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0") | json_values,
        "id": ids,
        "method": methods,
        "params": params,
        "result": results,
        "error": errors,
    },
)


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    """Something that is nearly a message, or several, or none."""
    value = draw(messages | messages | st.lists(messages, max_size=3) | json_values)
    text = bytearray(json.dumps(value, ensure_ascii=draw(st.booleans())).encode(errors="surrogatepass"))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 3]))):
        at = draw(st.integers(0, len(text)))
        text[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(text)


NAMES = (
    *(b"Accept", b"Content-Type", b"MCP-Protocol-Version", b"Mcp-Method", b"Mcp-Name", b"Mcp-Session-Id", b"Last-Event-ID"),
    *(b"Origin", b"Authorization", b"Expect", b"Connection", b"Upgrade", b"Mcp-Param-X", b"Cookie", b"X-Forwarded-Host"),
    *(b"Access-Control-Request-Headers", b"Content-Encoding"),
)
VALUES = (
    *(b"*/*", b"application/json", b"text/event-stream", b"application/json, text/event-stream", b"2025-11-25"),
    *(b"2026-07-28", b"SESSION", b"SESSION", b"0-0-0", b"null", b"100-continue", b"close", b"h2c", b"=?base64?eA==?="),
    *(b"tools/list", b"http://localhost", b"Bearer x", b"gzip", b""),
)
SOUND = [
    b"Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\nMcp-Session-Id: SESSION\r\n",
    b"Content-Type: application/json\r\nAccept: */*\r\nMCP-Protocol-Version: 2026-07-28\r\nMcp-Method: repeat\r\n",
    b"Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n",
]
SOUND_BODIES = [
    request("repeat", 1),
    notification("x"),
    response(1),
    modern.request("repeat", 1),
    {**request("x"), "id": []},
]
BLANKS = bytes([*range(33), 127])
header_lines = st.builds(
    b"%b: %b\r\n".__mod__,
    st.tuples(
        st.sampled_from(NAMES), st.sampled_from(VALUES) | st.binary(max_size=8).map(lambda b: b.translate(None, BLANKS))
    ),
)


@st.composite
def requests_of_any_kind(draw: st.DrawFn) -> bytes:
    """Something that is nearly an HTTP request, and may be one."""
    body = draw(texts() | st.sampled_from([json.dumps(message).encode() for message in SOUND_BODIES]))
    lines = draw(st.sampled_from([b"Host: localhost\r\n"] * 19 + [b"Host: evil.example\r\n"]))
    lines += draw(st.sampled_from([*SOUND, *SOUND, b""])) + b"".join(draw(st.lists(header_lines, max_size=2)))
    method = draw(st.sampled_from([b"POST"] * 5 + [b"GET", b"GET", b"DELETE", b"OPTIONS", b"HEAD", b"PUT"]))
    messages = b"/messages?session_id=SESSION"
    path = draw(st.sampled_from([b"/mcp"] * 6 + [b"/sse", messages, b"/messages", b"/metrics", b"/healthz", b"/%ff", b"*"]))
    if draw(st.sampled_from([True, True, True, False])):
        lines += b"Content-Length: %d\r\n" % len(body)
    else:
        lines += b"Transfer-Encoding: chunked\r\n"
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    return b"%b %b HTTP/1.1\r\n%b\r\n%b" % (method, path, lines, body)


def exchange(proxy: ProxyProcess, data: bytes) -> bytes:
    """Send all of `data`, say that there is no more, and return what comes back until the proxy closes, too."""
    with socket.create_connection(address(proxy), timeout=20) as client:
        try:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        received = b""
        try:
            while piece := client.recv(65536):
                received += piece
        except ConnectionResetError:
            pass
        return received


def test_whatever_is_sent_over_http_is_refused_or_answered_and_leaves_nothing() -> None:
    """Whether the next one is served, and from what memory, is asked at the end."""
    statuses: set[bytes] = set()
    # Each client that says something else of itself gets a child, which is kept for it for a while; and so is one that has
    # not answered yet.
    soon = ("--connection-timeout", "2s", "--session-idle-timeout", "2s", "--request-timeout", "2s")
    with run_proxy(*soon, *PUPPET) as proxy:
        url = proxy.urls[0]
        client = trio.run(wire.initialize, url)
        children, descriptors = len(proxy.children()), proxy.descriptors

        @settings(SEEDED, max_examples=150)
        @given(st.lists(requests_of_any_kind(), min_size=1, max_size=3))
        def attack(parts: list[bytes]) -> None:
            nonlocal client
            received = exchange(proxy, b"".join(parts).replace(b"SESSION", client.session_id.encode()))
            if b"HTTP/1.1 204" in received:
                client = trio.run(wire.initialize, url)
            statuses.update(re.findall(rb"HTTP/1.1 (\d\d\d)", received))
            assert b"HTTP/1.1 500" not in received
            for opened in re.findall(rb"mcp-session-id: (\S+)", received):
                end(url, opened.decode())

        attack()
        resident = proxy.resident
        attack()
        assert proxy.resident - resident < 10
        wait_until_so(lambda: proxy.descriptors <= descriptors + 2 and len(proxy.children()) <= children)
        assert statuses >= {b"200", b"202", b"400", b"403", b"404", b"405"}
        trio.run(serves_everybody, url)
        proxy.process.terminate()
        assert proxy.wait() == 0
    assert tracebacks(proxy) == []


def end(url: str, session_id: str) -> None:
    """End a session."""
    client = wire.Client(url, "2025-11-25")
    client.session_id = session_id
    trio.run(wire.request, url, "DELETE", client.headers)


async def serves_everybody(url: str) -> None:
    """Check that a client of each transport is served."""
    client = await wire.initialize(url)
    assert (await client.post(request("repeat", 1))).messages[-1]["id"] == 1
    assert (await modern.post(url, modern.request("repeat", 2))).messages[-1]["id"] == 2
    async with wire.open_stream(urljoin(url, "/sse")) as stream:
        event = await stream.next_event()
        assert event is not None
        assert event.name == "endpoint"


BABBLER = r"""
import json, sys
era = sys.argv[1]
def write(data):
    sys.stdout.buffer.write(data + b"\n")
    sys.stdout.buffer.flush()
def answer(number, **result):
    write(json.dumps({"jsonrpc": "2.0", "id": number, "result": {"resultType": "complete", **result}}).encode())
for line in sys.stdin.buffer:
    message = json.loads(line)
    method, number, params = message.get("method"), message.get("id"), message.get("params", {})
    if method is None or number is None:
        continue
    if method == "initialize" and era == "legacy":
        answer(number, protocolVersion=params["protocolVersion"], capabilities={"tools": {}, "logging": {}},
               serverInfo={"name": "babbler", "version": "1"})
    elif method == "server/discover" and era == "modern":
        answer(number, supportedVersions=["2026-07-28"], capabilities={}, ttlMs=0, cacheScope="public")
    elif method == "tools/list":
        answer(number, tools=[], ttlMs=0, cacheScope="public")
    elif method != "tools/call":
        write(json.dumps({"jsonrpc": "2.0", "id": number, "error": {"code": -32601, "message": "no"}}).encode())
    elif params["name"] == "babble":
        for text in params["arguments"]["lines"]:
            write(text.encode("latin-1").replace(b'"ME"', json.dumps(number).encode()))
        answer(number, content=[])
    else:
        answer(number, content=[{"type": "text", "text": params["arguments"]["text"]}])
"""
"""A server of the era that it is told, which says what it is given before it answers."""


def call_modern(connection: HTTPConnection, tool: str, number: int, **arguments: Any) -> list[Any]:
    message = modern.tool_call(tool, number, arguments, capabilities=modern.ASKABLE)
    return post(connection, message, modern.headers(message))


def call_legacy(connection: HTTPConnection, tool: str, number: int, session: wire.Client, **arguments: Any) -> list[Any]:
    return post(connection, wire.tool_call(tool, number, **arguments), session.headers)


def post(connection: HTTPConnection, message: Any, headers: dict[str, str]) -> list[Any]:
    """Return the messages of a response."""
    connection.request("POST", "/mcp", json.dumps(message), headers)
    answer = connection.getresponse()
    return wire.Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()).messages


@pytest.mark.parametrize("upstream", ["legacy", "modern"])
@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_whatever_a_server_says_its_calls_are_answered_and_it_is_served_on(era: str, upstream: str) -> None:
    command = (*python(BABBLER), upstream)
    with run_proxy("--request-timeout", "5s", *command) as proxy:
        connection = HTTPConnection(*address(proxy), timeout=20)
        numbers = iter(range(1000, 1_000_000))
        call: Any = call_modern
        if era == "legacy":
            client = trio.run(wire.initialize, proxy.urls[0])
            call = partial(call_legacy, session=client)
        children = len(proxy.children())

        @SEEDED
        @given(st.lists(texts(), min_size=1, max_size=6))
        def babble(lines: list[bytes]) -> None:
            number = next(numbers)
            said = call(connection, "babble", number, lines=[line.decode("latin-1") for line in lines])
            assert said[-1]["id"] == number
            echoed = call(connection, "echo", number + 500_000, text="hello")
            assert echoed[-1]["id"] == number + 500_000
            assert echoed[-1]["result"]["content"] == [{"type": "text", "text": "hello"}]

        babble()
        resident = proxy.resident
        babble()
        connection.close()
        assert proxy.resident - resident < 10
        assert len(proxy.children()) <= children + 1
        proxy.process.terminate()
        assert proxy.wait() == 0
    assert tracebacks(proxy) == []
