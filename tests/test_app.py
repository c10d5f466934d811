"""The whole proxy as a hostile network sees it: who may ask, what for, and what is said to the others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trio

from tests import wire
from tests.proxies import open_test_proxy, python
from tests.puppet import PUPPET, request
from tests.serving import ask, is_json_rpc_error, next_answer
from trioproxy import AuthConfig, AuthRequest, Principal, worker
from trioproxy import connection as connection_module
from trioproxy import directory as directory_module
from trioproxy.config import EndpointConfig, LimitConfig, ListenConfig
from trioproxy.server import Proxy

# Any of these is refused before a session is looked for.
EVERYWHERE = [("POST", "/mcp"), ("GET", "/mcp"), ("GET", "/sse"), ("POST", "/messages"), ("GET", "/healthz"), ("GET", "/x")]


def address(proxy: Proxy, path: str) -> str:
    """Return the URL of `path` at the proxy, as somebody sees it who does not go through a front."""
    parts = urlsplit(proxy.url)
    return f"{parts.scheme}://{parts.netloc}{path}"


async def get(
    proxy: Proxy, path: str, headers: Mapping[str, str] = {}, method: str = "GET", body: bytes = b""
) -> wire.Answer:
    """Send one request to the proxy."""
    return await wire.request(address(proxy, path), method, headers, body)


# Host and Origin

OUR_HOSTS = ["localhost", "LOCALHOST:1", "localhost.", "127.0.0.1", "127.0.0.1:9999", "[::1]", "[::1]:80", "localhost:"]
FOREIGN_HOSTS = [
    "evil.example",
    "evil.example:8080",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "localhost@evil.example",
    "evil.example/localhost",
    "[::1]evil.example",
    "evil.example[::1]",
    "localhost:80:80",
    "localhost:port",
    "localhost:99999",
    "local\thost",
    "2130706433",
    "[::2]",
    "::1",
    "",
]
OUR_ORIGINS = ["http://localhost", "https://localhost:3000", "HTTP://LOCALHOST", "http://127.0.0.1:6274", "http://[::1]:1"]
FOREIGN_ORIGINS = [
    "null",
    "http://evil.example",
    "http://localhost.evil.example",
    "http://localhost@evil.example",
    "http://localhost/",
    "http://evil.example#http://localhost",
    "localhost",
    "http://",
    "://localhost",
    "http://localhost, http://evil.example",
    "http://evil.example http://localhost",
    "",
]


@pytest.mark.parametrize(
    ("name", "ours", "foreign"), [("host", OUR_HOSTS, FOREIGN_HOSTS), ("origin", OUR_ORIGINS, FOREIGN_ORIGINS)]
)
async def test_only_this_machine_is_answered(name: str, ours: list[str], foreign: list[str]) -> None:
    """A page of another site, or one whose name was made to point at us, is none of ours (MCP, Security Warning)."""
    async with open_test_proxy(PUPPET) as proxy:
        await proxy.wait_proven()
        answers = {value: await get(proxy, "/healthz", {name: value}) for value in (*ours, *foreign)}
        assert [value for value, answer in answers.items() if answer.status == 200] == ours
        for value in foreign:
            assert answers[value].status == 403
            assert is_json_rpc_error(answers[value])


async def test_two_origins_are_not_one_of_ours() -> None:
    async with open_test_proxy(PUPPET) as proxy, wire.connect(proxy.url) as client:
        origins = b"Origin: http://evil.example\r\nOrigin: http://localhost\r\n"
        response = await ask(client, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + origins + b"\r\n")
        assert response.status == 403


async def test_a_whole_url_as_target_is_checked_like_a_host() -> None:
    async with open_test_proxy(PUPPET) as proxy, wire.connect(proxy.url) as client:
        head = b"GET http://%b/ping HTTP/1.1\r\nHost: localhost\r\n\r\n"
        assert (await ask(client, head % b"localhost")).body == b"pong"
        evil = (head % b"evil.example").replace(b"/ping", b"/healthz")
        assert (await ask(client, evil)).status == 403


@pytest.mark.parametrize("headers", [{"host": "evil.example"}, {"origin": "http://evil.example"}, {"origin": "null"}])
async def test_a_stranger_is_refused_everywhere_but_at_ping(headers: dict[str, str]) -> None:
    async with open_test_proxy(PUPPET) as proxy:
        client = await wire.initialize(proxy.url)
        for method, path in EVERYWHERE:
            answer = await get(proxy, path, {**client.headers, **headers}, method)
            assert (answer.status, is_json_rpc_error(answer)) == (403, True)
        assert (await get(proxy, "/ping", headers)).body == b"pong"


async def test_what_a_stranger_sends_reaches_no_server() -> None:
    async with open_test_proxy(PUPPET) as proxy:
        client = await wire.initialize(proxy.url)
        await client.post(request("repeat", "from a stranger"), origin="http://evil.example")
        heard = (await client.post(request("heard"))).json["result"]["lines"]
        assert not any("stranger" in line for line in heard)


async def test_other_names_have_to_be_allowed_and_are_then_as_host_and_as_origin() -> None:
    listen = ListenConfig(allowed_hosts=("Proxy.Example", "2001:DB8::1"))
    async with open_test_proxy(PUPPET, listen=listen) as proxy:
        await proxy.wait_proven()
        for name in ("proxy.example", "PROXY.example:443", "[2001:db8::1]:8080", "localhost"):
            assert (await get(proxy, "/healthz", {"host": name})).status == 200
            assert (await get(proxy, "/healthz", {"origin": f"https://{name}"})).status == 200
        for name in ("other.example", "sub.proxy.example", "example"):
            assert (await get(proxy, "/healthz", {"host": name})).status == 403


async def test_a_refusal_names_what_came_and_what_would_let_it_in() -> None:
    async with open_test_proxy(PUPPET) as proxy:
        message = (await get(proxy, "/mcp", {"host": "evil.example"})).json["error"]["message"]
        assert message == "Host 'evil.example' is not a name of this server; --allowed-host makes it one"
        long = (await get(proxy, "/mcp", {"origin": "http://" + "x" * 5000})).json["error"]["message"]
        assert len(long) < 200


# Paths and methods


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/mcp", "GET, POST, DELETE"),
        ("HEAD", "/mcp", "GET, POST, DELETE"),
        ("get", "/mcp", "GET, POST, DELETE"),
        ("POST", "/sse", "GET"),
        ("GET", "/messages", "POST"),
        ("POST", "/ping", "GET, HEAD"),
        ("DELETE", "/healthz", "GET, HEAD"),
    ],
)
async def test_a_method_that_a_path_does_not_know_is_told_those_it_does(method: str, path: str, allow: str) -> None:
    async with open_test_proxy(PUPPET) as proxy, wire.connect(proxy.url) as client:
        answer = await ask(client, f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(), method)
        assert (answer.status, answer.headers["allow"]) == (405, allow)
        assert method == "HEAD" or is_json_rpc_error(answer)
        assert (await ask(client, b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n")).body == b"pong"


async def test_head_is_answered_where_get_is_without_a_stream() -> None:
    async with open_test_proxy(PUPPET) as proxy:
        await proxy.wait_proven()
        for path in ("/ping", "/healthz"):
            got, head = await get(proxy, path), await get(proxy, path, method="HEAD")
            assert (head.status, head.body) == (200, b"")
            assert {**head.headers, "date": ""} == {**got.headers, "date": ""}


@pytest.mark.parametrize("path", ["/", "/mcp/", "/MCP", "//mcp", "/mcp%2F", "/x" * 1000, "/%00", "/%0d%0aX:%20y", "/../mcp"])
async def test_any_other_path_is_not_found(path: str) -> None:
    async with open_test_proxy(PUPPET) as proxy:
        answer = await get(proxy, path)
        assert (answer.status, is_json_rpc_error(answer)) == (404, True)
        assert len(answer.body) < 1000


async def test_paths_are_compared_once_their_escapes_are_undone() -> None:
    async with open_test_proxy(PUPPET) as proxy:
        assert (await get(proxy, "/%70ing?x#y".partition("#")[0])).body == b"pong"


# Bodies


@pytest.mark.parametrize("path", ["/mcp", "/messages"])
@pytest.mark.parametrize("framing", ["content-length", "chunked"])
async def test_a_body_over_the_limit_is_refused_and_its_client_reads_why(path: str, framing: str) -> None:
    limits = LimitConfig(max_body_size=100_000)
    async with open_test_proxy(PUPPET, limits=limits) as proxy:
        target = path
        async with wire.open_stream(proxy.urls[1]) as stream, wire.connect(proxy.url) as client:
            if path == "/messages":
                event = await stream.next_event()
                assert event is not None
                target = str(event.data)
            head = f"POST {target} HTTP/1.1\r\nHost: localhost\r\n".encode()
            head += b"".join(f"{name}: {value}\r\n".encode() for name, value in wire.JSON_HEADERS.items())
            if framing == "chunked":
                body = b"Transfer-Encoding: chunked\r\n\r\n" + b"10000\r\n%b\r\n" % (b"x" * 0x10000) * 160 + b"0\r\n\r\n"
            else:
                body = b"Content-Length: 10000000\r\n\r\n" + b"x" * 10_000_000
            answer = await ask(client, head + body, "POST")
            assert (answer.status, is_json_rpc_error(answer)) == (413, True)
            assert "100000" in answer.json["error"]["message"]


async def test_a_body_that_does_not_come_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "BODY_TIME", 0.1)
    monkeypatch.setattr(worker, "_SWEEP_TIME", 0.02)
    async with open_test_proxy(PUPPET) as proxy, wire.connect(proxy.url) as client:
        head = b"".join(f"{name}: {value}\r\n".encode() for name, value in wire.JSON_HEADERS.items())
        await client.stream.send_all(b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n" + head + b"\r\n{")
        answer = await next_answer(client)
        assert (answer.status, is_json_rpc_error(answer)) == (408, True)


async def test_a_client_that_leaves_within_its_body_leaves_nothing_behind() -> None:
    async with open_test_proxy(PUPPET) as proxy:
        client = await wire.initialize(proxy.url)
        for _ in range(5):
            async with wire.connect(proxy.url) as connection:
                head = b"".join(f"{name}: {value}\r\n".encode() for name, value in client.headers.items())
                start = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n" + head + b"\r\n"
                await connection.stream.send_all(start + b'{"jsonrpc":')
        heard = (await client.post(request("heard"))).json["result"]["lines"]
        assert len(heard) == 3


BAD_REQUESTS: dict[str, tuple[int, str, str, dict[str, str], bytes]] = {
    "nothing": (400, "POST", "/mcp", wire.JSON_HEADERS, b""),
    "no JSON": (400, "POST", "/mcp", wire.JSON_HEADERS, b"{"),
    "not UTF-8": (400, "POST", "/mcp", wire.JSON_HEADERS, b'"\xff"'),
    "no message": (400, "POST", "/mcp", wire.JSON_HEADERS, b"{}"),
    "an empty batch": (400, "POST", "/mcp", wire.JSON_HEADERS, b"[]"),
    "a tower of brackets": (400, "POST", "/mcp", wire.JSON_HEADERS, b"[" * 100_000),
    "no session": (400, "GET", "/mcp", {"accept": "text/event-stream"}, b""),
    "an unknown session": (404, "GET", "/mcp", {"accept": "text/event-stream", "mcp-session-id": "x"}, b""),
    "an unknown session to end": (404, "DELETE", "/mcp", {"mcp-session-id": "x" * 2000}, b""),
    "a message to no session": (400, "POST", "/messages", wire.JSON_HEADERS, b"{}"),
    "a message to an unknown session": (404, "POST", "/messages?session_id=x", wire.JSON_HEADERS, b"{}"),
    "an unacceptable answer": (406, "POST", "/mcp", {**wire.JSON_HEADERS, "accept": "text/html"}, b"{}"),
    "an unacceptable stream": (406, "GET", "/mcp", {"accept": "application/json"}, b""),
    "no content type": (415, "POST", "/mcp", {"accept": "*/*"}, b"{}"),
    "a form": (415, "POST", "/mcp", {**wire.JSON_HEADERS, "content-type": "text/plain"}, b"{}"),
}


@pytest.mark.parametrize(("status", "method", "path", "headers", "body"), BAD_REQUESTS.values(), ids=list(BAD_REQUESTS))
async def test_whatever_is_wrong_the_answer_is_a_json_rpc_error(
    status: int, method: str, path: str, headers: dict[str, str], body: bytes
) -> None:
    async with open_test_proxy(PUPPET) as proxy:
        answer = await get(proxy, path, headers, method, body)
        assert (answer.status, is_json_rpc_error(answer)) == (status, True)
        assert (await get(proxy, "/ping")).status == 200


async def test_the_media_types_that_a_client_accepts_may_come_in_two_headers() -> None:
    """RFC 9110 §5.3."""
    async with open_test_proxy(PUPPET) as proxy, wire.connect(proxy.url) as client:
        head = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
        accept = b"Accept: application/json\r\nAccept: text/event-stream\r\n\r\n{}"
        assert (await ask(client, head + accept)).status == 400


# What a front says

TRUSTED = ListenConfig(trusted_proxies=(ip_network("127.0.0.0/8"), ip_network("::1/128")))
STRANGER = ListenConfig(trusted_proxies=(ip_network("10.0.0.0/8"),))


async def endpoint_event(proxy: Proxy, headers: Mapping[str, str] = {}) -> str:
    """Return where the SSE endpoint tells its client to POST, without the session."""
    async with wire.open_stream(address(proxy, "/sse"), "GET", headers) as stream:
        event = await stream.next_event()
        assert event is not None
        assert event.name == "endpoint"
        assert event.data is not None
        return event.data.partition("?")[0]


ONLY_SSE = EndpointConfig(servers=frozenset({"sse"}))


async def test_the_prefix_that_a_front_strips_is_put_before_what_is_handed_out() -> None:
    listen = ListenConfig(root_path="/tools/time/")
    async with open_test_proxy(PUPPET, listen=listen, endpoints=ONLY_SSE) as proxy:
        assert proxy.url.endswith("/tools/time/sse")
        assert await endpoint_event(proxy) == "/tools/time/messages"


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ("/front", "/front/messages"),
        ("/front/", "/front/messages"),
        ("/theirs, /front", "/front/messages"),
        ("", "/messages"),
        ("/", "/messages"),
        ("front", "/messages"),
        ("//evil.example", "/messages"),
        ("http://evil.example/", "/messages"),
        ("/a b", "/messages"),
        ("/a?b=c", "/messages"),
    ],
)
async def test_a_trusted_front_names_the_prefix_and_no_other_host(said: str, path: str) -> None:
    async with open_test_proxy(PUPPET, listen=TRUSTED, endpoints=ONLY_SSE) as proxy:
        assert await endpoint_event(proxy, {"x-forwarded-prefix": said}) == path


@pytest.mark.parametrize(
    ("said", "believed"),
    [
        ({}, "http 127.0.0.1"),
        ({"x-forwarded-proto": "https", "x-forwarded-for": "192.0.2.1"}, "https 192.0.2.1"),
        ({"x-forwarded-proto": "http, https", "x-forwarded-for": "10.0.0.1, [2001:db8::1]"}, "https 2001:db8::1"),
        ({"x-forwarded-proto": "gopher", "x-forwarded-for": "unknown"}, "http 127.0.0.1"),
    ],
)
async def test_a_trusted_front_names_scheme_and_address_of_its_client(said: dict[str, str], believed: str) -> None:
    seen: list[str] = []

    async def look(request: AuthRequest) -> Principal:
        seen.append(f"{request.base_url.partition(':')[0]} {request.client}")
        return Principal("somebody")

    async with open_test_proxy(PUPPET, listen=TRUSTED, auth=AuthConfig(authenticate=look)) as proxy:
        await get(proxy, "/nothing", said)
    assert seen == [believed]


@pytest.mark.parametrize("listen", [ListenConfig(), STRANGER], ids=["nobody trusted", "others trusted"])
async def test_what_anybody_else_says_of_a_front_is_not_believed(listen: ListenConfig) -> None:
    forwarded = {
        "x-forwarded-prefix": "/front",
        "x-forwarded-host": "evil.example",
        "x-forwarded-proto": "https",
        "x-forwarded-for": "192.0.2.1",
    }
    async with open_test_proxy(PUPPET, listen=listen, endpoints=ONLY_SSE) as proxy:
        assert await endpoint_event(proxy, forwarded) == "/messages"
        outside = {**forwarded, "host": "evil.example", "x-forwarded-host": "localhost"}
        assert (await get(proxy, "/healthz", outside)).status == 403


async def test_a_trusted_front_says_which_host_was_asked() -> None:
    listen = ListenConfig(trusted_proxies=TRUSTED.trusted_proxies, allowed_hosts=("public.example",))
    async with open_test_proxy(PUPPET, listen=listen) as proxy:
        await proxy.wait_proven()
        inside = {"host": "backend.internal:8080"}
        assert (await get(proxy, "/healthz", {**inside, "x-forwarded-host": "public.example"})).status == 200
        assert (await get(proxy, "/healthz", {**inside, "x-forwarded-host": "evil.example, public.example"})).status == 200
        assert (await get(proxy, "/healthz", {**inside, "x-forwarded-host": "public.example, evil.example"})).status == 403
        assert (await get(proxy, "/healthz", {"host": "localhost", "x-forwarded-host": "evil.example"})).status == 403
        assert (await get(proxy, "/healthz", inside)).status == 403


async def test_nonsense_from_a_trusted_front_is_survived() -> None:
    async with open_test_proxy(PUPPET, listen=TRUSTED) as proxy:
        await proxy.wait_proven()
        for value in ("", ",", "\xff", "x" * 5000, "unknown, [::1]:80", "192.0.2.1:80"):
            lines = "".join(f"x-forwarded-{name}: {value}\r\n" for name in ("for", "proto", "prefix")).encode("latin-1")
            async with wire.connect(proxy.url) as client:
                assert (await ask(client, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + lines + b"\r\n")).status == 200


# Health


async def health(proxy: Proxy) -> tuple[int, dict[str, Any]]:
    """Return the status, and what is said of the only server."""
    answer = await get(proxy, "/healthz")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json["status"] == ("ok" if answer.status == 200 else "unavailable")
    return answer.status, answer.json["servers"]["default"]


async def wait_health(proxy: Proxy, state: str, **more: Any) -> tuple[int, dict[str, Any]]:
    """Return `health` once the state, and whatever else is named, is as said; the test's own time limit bounds it."""
    wanted = {"state": state, **more}
    while not wanted.items() <= (found := await health(proxy))[1].items():  # noqa: ASYNC110  it has no event
        await trio.sleep(0.01)
    return found


READY = {"state": "ready", "restarts": 0, "last_exit": None, "sessions": 0, "saturation": 0.0}


async def test_health_is_bad_until_the_command_is_known_to_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory_module, "PROVE_TIME", 60)
    async with open_test_proxy(PUPPET) as proxy:
        assert await health(proxy) == (503, {**READY, "state": "starting"})
        await wire.initialize(proxy.url)
        assert await health(proxy) == (200, {**READY, "sessions": 1, "saturation": 0.001})


async def test_health_is_bad_while_there_is_no_room_for_another_session() -> None:
    async with open_test_proxy(PUPPET, limits=LimitConfig(max_sessions=2)) as proxy:
        client = await wire.initialize(proxy.url)
        assert await health(proxy) == (200, {**READY, "sessions": 1, "saturation": 0.5})
        await wire.initialize(proxy.url)
        assert await health(proxy) == (503, {**READY, "state": "full", "sessions": 2, "saturation": 1.0})
        refused = await get(proxy, "/mcp", wire.JSON_HEADERS, "POST", json.dumps(INITIALIZE).encode())
        assert (refused.status, refused.headers["retry-after"]) == (503, "5")
        assert (refused.json["id"], "error" in refused.json) == (7, True)
        await wire.request(proxy.url, "DELETE", client.headers)
        await wait_health(proxy, "ready")


INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 7,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}},
}


async def test_health_is_bad_while_the_servers_die_and_recovers_by_itself(tmp_path: Path) -> None:
    plague = tmp_path / "plague"
    mortal = python(f"import os, sys\nif os.path.exists({str(plague)!r}): sys.exit(3)\n" + PUPPET[-1])
    async with open_test_proxy(mortal) as proxy:
        first = await wire.initialize(proxy.url)
        await wire.request(proxy.url, "DELETE", first.headers)
        await wait_health(proxy, "ready", sessions=0)
        plague.touch()
        # Whatever waits now has been started before; the one that takes its place will not live.
        client = await wire.initialize(proxy.url)
        status, server = await wait_health(proxy, "failing")
        assert status == 503
        assert server["restarts"] >= 1
        assert "3" in server["last_exit"]
        assert (await client.post(request("heard"))).status == 200, "who has a session keeps it"
        plague.unlink()
        assert (await wait_health(proxy, "ready"))[0] == 200
