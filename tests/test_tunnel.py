"""The tunnel, before servers that refuse, forget, fall silent, come back, and lie; and a whole proxy behind one."""

from __future__ import annotations

import itertools
import json
import logging
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme
from trio.testing import MockClock, memory_stream_pair

from tests import wire
from tests.proxies import open_test_proxy
from tests.stub_http import Reply, Stub, always, open_raw_stub, open_stub
from trioproxy import AuthConfig, ConfigError, ListenConfig
from trioproxy import exchange as exchange_module
from trioproxy import tunnel as tunnel_module
from trioproxy.config import TimeConfig
from trioproxy.http_client import HttpClientError, Response
from trioproxy.server import Proxy
from trioproxy.tunnel import Tunnel, TunnelConfig, open_tunnel

HOUR = 3600.0
HOST = "https://tunnel.example"
NAMED = {"id": "plastic-cow-90", "port": 46403, "maxConnCount": 10, "url": "https://plastic-cow-90.tunnel.example"}


# Configuration


@pytest.mark.parametrize(
    "host", ["", "tunnel.gla.ma", "ftp://tunnel.gla.ma", "https://u:p@h", "https://h/?key=x", "https://h/#x"]
)
def test_a_tunnel_server_has_a_url(host: str) -> None:
    with pytest.raises(ConfigError, match="--tunnel-host"):
        TunnelConfig(host)


def test_what_may_be_secret_of_a_url_is_not_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        TunnelConfig("https://h/?key=secret")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("subdomain", ["", "abc", "My-Server", "a.b.c.d", "a b c d"])
def test_a_subdomain_is_one_label_in_lower_case(subdomain: str) -> None:
    with pytest.raises(ConfigError, match="--tunnel-subdomain"):
        TunnelConfig(subdomain=subdomain)


def test_nobody_opens_a_server_to_the_whole_internet_by_accident() -> None:
    with pytest.raises(ConfigError, match="--tunnel lets the whole internet use the server"):
        TunnelConfig().check_beside(AuthConfig(), ListenConfig())
    TunnelConfig().check_beside(AuthConfig(api_keys=("key",)), ListenConfig())
    TunnelConfig(is_open_to_all=True).check_beside(AuthConfig(), ListenConfig())


def test_a_certificate_that_clients_have_to_show_is_not_bypassed() -> None:
    listen = ListenConfig(ssl_cert=Path("c"), ssl_key=Path("k"), ssl_ca=Path("a"), ssl_verify_client=True)
    with pytest.raises(ConfigError, match="--ssl-verify-client"):
        TunnelConfig().check_beside(AuthConfig(api_keys=("key",)), listen)


# In memory, on a clock that jumps

Treat = Callable[[Any], Awaitable[object]]


async def refuse(stream: Any) -> None:
    """Refuse a socket; it is never called, since there is none."""


async def say_nothing(stream: Any) -> None:
    """Let a socket wait to be connected; it is never called either."""


async def hold(stream: Any) -> None:
    """Keep a socket until the other side closes it."""
    async for _ in stream:
        pass


async def close(stream: Any) -> None:
    """Close a socket at once, as pipenet does to those who are unknown."""


async def ask_and_close(stream: Any) -> None:
    """Ask something, and close."""
    await stream.send_all(b"request")


def close_after(seconds: float) -> Treat:
    async def treat(stream: Any) -> None:
        await trio.sleep(seconds)

    return treat


def number_of(most: int) -> Treat:
    """Hold some sockets at a time, and close the others at once."""
    held = 0

    async def treat(stream: Any) -> None:
        nonlocal held
        if held < most:
            held += 1
            await hold(stream)
            held -= 1

    return treat


class Server:
    """A tunnel server in memory; what it answers and how it treats sockets can be changed while it runs."""

    def __init__(self, answer: Any = NAMED, treat: Treat = hold) -> None:
        self.answer = answer
        self.treat = treat
        self.asked: list[tuple[float, str]] = []
        self.opened: list[tuple[float, tuple[str, int]]] = []
        self.served: list[str] = []  # the URLs of those who asked something
        self.open = 0
        self.tunnel: Tunnel

    @property
    def names(self) -> list[str]:
        """What was asked for, in order."""
        return [url.removeprefix(f"{HOST}/") for _, url in self.asked]

    async def ask(self, url: str) -> Response:
        self.asked.append((trio.current_time(), url))
        await trio.lowlevel.checkpoint()
        answer = self.answer(url) if callable(self.answer) else self.answer
        if isinstance(answer, Exception):
            raise answer
        status, body = answer if isinstance(answer, tuple) else (200, answer)
        return Response(status, (), body if isinstance(body, bytes) else json.dumps(body).encode())

    @asynccontextmanager
    async def tunnelled(self, config: TunnelConfig | None = None) -> AsyncIterator[Tunnel]:
        """Open a tunnel to this server."""
        async with trio.open_nursery() as nursery:

            async def treat(stream: Any) -> None:
                self.open += 1
                await self.treat(stream)
                await stream.aclose()
                self.open -= 1

            async def connect(host: str, port: int) -> trio.abc.Stream:
                self.opened.append((trio.current_time(), (host, port)))
                await trio.lowlevel.checkpoint()
                if self.treat is refuse:
                    raise OSError(f"all attempts to connect to {host}:{port} failed")
                if self.treat is say_nothing:
                    await trio.sleep_forever()
                ours, theirs = memory_stream_pair()
                nursery.start_soon(treat, theirs)
                return ours

            def app_at(url: str) -> Any:
                async def app(*exchange: Any) -> None:
                    self.served.append(url)

                return app

            async def serve(app: Any, stream: Any) -> None:
                async for _ in stream:
                    await app()

            config = config or TunnelConfig(HOST)
            async with open_tunnel(config, app_at, serve, ask=self.ask, connect=connect) as tunnel:
                yield tunnel
            nursery.cancel_scope.cancel()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was said at level warning, but for the standing one."""
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    return [text for text in said if "is not encrypted" not in text]


async def test_a_tunnel_is_up_when_a_socket_is_open(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    server = Server()
    async with server.tunnelled() as tunnel:
        assert tunnel.url is None
        assert await tunnel.wait_url() == "https://plastic-cow-90.tunnel.example"
        await trio.sleep(HOUR)
        assert (server.names, server.open, len(server.opened)) == (["?new"], 10, 10)
        assert {address for _, address in server.opened} == {("tunnel.example", 46403)}
    assert caplog.messages == [
        "the tunnel is not encrypted from tunnel.example to us: who is on the way reads keys and messages",
        "reachable at https://plastic-cow-90.tunnel.example",
    ]


async def test_where_clients_share_a_port_a_socket_begins_with_our_id(autojump_clock: MockClock) -> None:
    heard: list[bytes] = []

    async def listen(stream: Any) -> None:
        heard.append(bytes(await stream.receive_some()))
        await hold(stream)

    async with Server({**NAMED, "sharedTunnel": True, "maxConnCount": 2}, listen).tunnelled() as tunnel:
        await tunnel.wait_url()
        await trio.sleep(1)
    assert heard == [b"plastic-cow-90\n"] * 2


async def test_a_socket_that_was_asked_something_is_replaced_at_once(autojump_clock: MockClock) -> None:
    server = Server({**NAMED, "maxConnCount": 1}, ask_and_close)
    async with server.tunnelled():
        await trio.sleep(1)
    assert len(server.served) == pytest.approx(20, abs=1)
    assert set(server.served) == {"https://plastic-cow-90.tunnel.example"}
    assert server.names == ["?new"]


async def test_sockets_that_were_idle_for_long_are_replaced_at_once(autojump_clock: MockClock) -> None:
    server = Server(treat=close_after(60))
    async with server.tunnelled() as tunnel:
        await trio.sleep(59)
        for _ in range(100):
            await trio.sleep(2)
            assert (server.open, tunnel.url) == (10, "https://plastic-cow-90.tunnel.example")
            await trio.sleep(58)
    assert server.names == ["?new"]


async def test_sockets_for_which_there_is_no_room_do_not_end_the_others(autojump_clock: MockClock) -> None:
    server = Server(treat=number_of(3))
    async with server.tunnelled() as tunnel:
        await trio.sleep(HOUR)
        assert tunnel.url is not None
        assert server.names == ["?new"]
        assert server.open == 3
    # Seven that try again after half a minute.
    assert len(server.opened) < 7 * (HOUR / 20)


@pytest.mark.parametrize(
    "treat", [refuse, close, say_nothing, close_after(6)], ids=["refuse", "close", "nothing", "after 6 s"]
)
@pytest.mark.parametrize("count", [1, 10])
async def test_a_registration_that_comes_to_nothing_is_tried_again_and_never_in_a_hurry(
    autojump_clock: MockClock, treat: Treat, count: int
) -> None:
    server = Server({**NAMED, "maxConnCount": count}, treat)
    async with server.tunnelled():
        await trio.sleep(HOUR)
    # Once a minute, after the first few; and for each of them as many sockets as it takes to see that there is no use.
    assert 20 < len(server.asked) < 90
    assert len(server.opened) <= len(server.asked) * max(3, 2 * count)
    by_second = Counter(int(time) for time, _ in server.opened)
    assert max(by_second.values()) <= 2 * max(3, count)
    assert server.names[:2] == ["?new", "plastic-cow-90"]


async def test_a_server_that_is_started_again_gives_us_our_name_again(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    down = trio.Event()

    async def hold_until_down(stream: Any) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hold, stream)
            await down.wait()
            nursery.cancel_scope.cancel()

    def answer(url: str) -> Any:
        name = url.rpartition("/")[2]
        return {**NAMED, "id": name, "port": 2} if name != "?new" else NAMED

    server = Server(answer, hold_until_down)
    url = "https://plastic-cow-90.tunnel.example"
    async with server.tunnelled() as tunnel:
        await trio.sleep(HOUR)
        server.answer, server.treat = HttpClientError("GET https://tunnel.example/: Connection refused"), refuse
        down.set()
        await trio.sleep(600)
        assert (tunnel.url, server.open) == (None, 0)
        server.answer, server.treat = answer, hold
        came_back = trio.current_time()
        assert await tunnel.wait_url() == url
        assert trio.current_time() - came_back <= 75
        await trio.sleep(1)
        assert server.open == 10
        assert server.opened[-1][1] == ("tunnel.example", 2)
    assert set(server.names[1:]) == {"plastic-cow-90"}
    assert len(server.names) < 20
    assert warnings(caplog) == [
        f"no longer reachable at {url} (all attempts to connect to tunnel.example:46403 failed); registering again",
        "tunnel: GET https://tunnel.example/: Connection refused",
    ]


def by_turns(*ways: Treat) -> Treat:
    """Treat one socket in one way, and the next in the next."""
    turns = itertools.cycle(ways)

    async def treat(stream: Any) -> None:
        await next(turns)(stream)

    return treat


async def test_a_socket_that_fails_now_and_then_is_no_loss(autojump_clock: MockClock) -> None:
    server = Server({**NAMED, "maxConnCount": 1}, by_turns(close_after(30), close, close))
    async with server.tunnelled():
        await trio.sleep(HOUR)
    assert server.names == ["?new"]
    # The pauses did not grow, either.
    assert len(server.opened) > 3 * HOUR / 33


async def test_a_loss_after_a_good_time_is_not_held_against_the_server(autojump_clock: MockClock) -> None:
    server = Server(treat=close_after(30))
    async with server.tunnelled() as tunnel:
        for _ in range(10):
            await tunnel.wait_url()
            await trio.sleep(25)
            server.treat = refuse
            while tunnel.url is not None:  # noqa: ASYNC110
                await trio.sleep(0.1)
            server.treat = close_after(30)
            # Each time as soon as after the first loss.
            with trio.fail_after(3):
                await tunnel.wait_url()


async def test_our_name_is_asked_for_no_sooner_than_the_server_has_let_go_of_it(autojump_clock: MockClock) -> None:
    server = Server(treat=close)
    async with server.tunnelled():
        await trio.sleep(30)
    last = max(time for time, _ in server.opened if time < server.asked[1][0])
    assert server.asked[1][0] - last > 1


async def test_a_name_of_our_choice_is_asked_for_each_time(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server(treat=close_after(30))
    async with server.tunnelled(TunnelConfig(HOST, "my-server")) as tunnel:
        assert await tunnel.wait_url() == "https://plastic-cow-90.tunnel.example"
        server.treat = refuse
        await trio.sleep(60)
        server.treat, server.answer = hold, {**NAMED, "id": "my-server"}
        await trio.sleep(120)
        assert tunnel.url == "https://my-server.tunnel.example"
    assert set(server.names) == {"my-server"}
    assert warnings(caplog)[0] == (
        "tunnel server https://tunnel.example: the name my-server is taken, ours is plastic-cow-90"
    )


async def test_who_may_not_have_the_former_name_takes_another(autojump_clock: MockClock) -> None:
    server = Server(lambda url: NAMED if url.endswith("?new") else (403, {"message": "no"}), close_after(30))
    async with server.tunnelled() as tunnel:
        await tunnel.wait_url()
        server.treat = refuse
        await trio.sleep(40)
        server.treat = hold
        await trio.sleep(70)
        assert tunnel.url is not None
    assert "plastic-cow-90" in server.names
    assert server.names[-1] == "?new"


async def test_a_refusal_is_told_and_asked_again_once_a_minute(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server((403, {"message": "Come back tomorrow."}))
    async with server.tunnelled() as tunnel:
        await trio.sleep(HOUR)
        assert tunnel.url is None
        assert 40 < len(server.asked) < 90
        assert server.asked[1][0] > 40
        server.answer = NAMED
        await trio.sleep(80)
        assert tunnel.url is not None
    assert warnings(caplog) == ["tunnel server https://tunnel.example: it refuses, with status 403: Come back tomorrow."]


@pytest.mark.parametrize(
    "answer",
    [
        (500, b"oops"),
        (200, b"<html>"),
        (200, b"[" * 60_000),
        (200, {**NAMED, "id": "FLUSHALL"}),
        (200, {**NAMED, "port": 99_999}),
        (200, {**NAMED, "ip": "169.254.169.254"}),
        (200, {**NAMED, "maxConnCount": -1}),
        HttpClientError("no whole answer within 30 s"),
    ],
)
async def test_a_useless_answer_is_told_once_and_asked_again(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, answer: Any
) -> None:
    server = Server(answer)
    async with server.tunnelled() as tunnel:
        await trio.sleep(HOUR)
        assert (tunnel.url, server.opened) == (None, [])
        assert 40 < len(server.asked) < 90
        server.answer = NAMED
        await trio.sleep(80)
        assert tunnel.url is not None
    assert len(warnings(caplog)) == 1


async def test_a_server_that_takes_its_time_is_waited_for(autojump_clock: MockClock) -> None:
    server = Server()

    async def ask(url: str) -> Response:
        await trio.sleep(29)
        return await Server.ask(server, url)

    server.ask = ask  # type: ignore[method-assign]
    async with server.tunnelled() as tunnel:
        await tunnel.wait_url()
        assert trio.current_time() >= 29
    assert server.names == ["?new"]


async def test_who_is_about_to_stop_opens_no_more_sockets(autojump_clock: MockClock) -> None:
    server = Server(treat=close_after(30))
    async with server.tunnelled() as tunnel:
        await trio.sleep(15)
        tunnel.stop_connecting()
        await trio.sleep(HOUR)
        assert (server.open, len(server.opened), server.names) == (0, 10, ["?new"])


@pytest.mark.parametrize("treat", [refuse, close, say_nothing, hold, ask_and_close])
async def test_a_tunnel_can_be_closed_at_any_time_and_takes_its_sockets_along(
    autojump_clock: MockClock, treat: Treat
) -> None:
    for moment in (0, 0.01, 0.3, 1.1, 7, 25):
        server = Server(treat=treat)
        async with server.tunnelled():
            await trio.sleep(moment)
        opened = len(server.opened)
        await trio.sleep(HOUR)
        assert len(server.opened) == opened


# On real sockets


class RealServer:
    """A tunnel server on sockets of its own; the test is the internet behind it."""

    def __init__(self, stub: Stub, nursery: trio.Nursery, listener: trio.SocketListener) -> None:
        self.url = stub.url
        self.stub = stub
        self.port = listener.socket.getsockname()[1]
        self.streams, self._arrived = trio.open_memory_channel[trio.SocketStream](0)
        nursery.start_soon(partial(trio.serve_listeners, self._take, [listener]))

    async def _take(self, stream: trio.SocketStream) -> None:
        await self.streams.send(stream)
        await trio.sleep_forever()

    async def next_socket(self, host: str = "demo.tunnel.example") -> wire.Connection:
        """Return the next data socket that is opened to us, to send requests on."""
        return wire.Connection(await self._arrived.receive(), host)


@asynccontextmanager
async def open_server(answer: Any = None, **more: Any) -> AsyncIterator[RealServer]:
    """Run a tunnel server that answers `answer`, or else gives the name `demo` and one socket."""
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listener.socket.getsockname()[1]
        named = {"id": "demo", "url": "https://demo.tunnel.example", "port": port, "maxConnCount": 1, **more}
        async with open_stub(always(answer or Reply(named))) as stub:
            yield RealServer(stub, nursery, listener)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_tunnelled(server: RealServer, **concerns: Any) -> AsyncIterator[Proxy]:
    """Run a proxy in front of the demo, and behind `server`."""
    config = TunnelConfig(server.url, "demo", is_open_to_all=True)
    async with open_test_proxy(tunnel=config, **concerns) as proxy:
        yield proxy


def post(message: Any, **more: str) -> tuple[str, str, dict[str, str], bytes]:
    headers = {name.replace("_", "-"): value for name, value in more.items()}
    return "POST", "/mcp", {**wire.JSON_HEADERS, **headers}, json.dumps(message).encode()


INFO = {"name": "wire", "version": "1"}
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": INFO},
}


async def initialize(connection: wire.Connection) -> dict[str, str]:
    """Make a handshake, and return the headers of the session."""
    answer = await connection.request(*post(INITIALIZE))
    assert answer.status == 200, answer
    session = {"mcp_session_id": answer.headers["mcp-session-id"], "mcp_protocol_version": "2025-11-25"}
    answer = await connection.request(*post({"jsonrpc": "2.0", "method": "notifications/initialized"}, **session))
    assert answer.status == 202
    return session


async def test_a_whole_session_goes_through_one_socket() -> None:
    async with open_server() as server, open_tunnelled(server) as proxy:
        assert proxy.tunnel is not None
        assert await proxy.tunnel.wait_url() == "https://demo.tunnel.example"
        assert server.stub.targets == ["/demo"]
        connection = await server.next_socket()
        session = await initialize(connection)
        answer = await connection.request(*post(wire.tool_call("echo", text="hello"), **session))
        assert answer.messages[-1]["result"]["content"] == [{"type": "text", "text": "hello"}]
        count = wire.tool_call("count", 2, "token", to=3, delay_ms=30)
        answer = await connection.request(*post(count, **session))
        assert [message.get("method") for message in answer.messages] == ["notifications/progress"] * 3 + [None]
        headers = {name.replace("_", "-"): value for name, value in session.items()}
        assert (await connection.request("DELETE", "/mcp", headers)).status == 204
        assert (await connection.request(*post(wire.tool_call("echo", text="hello"), **session))).status == 404


async def test_a_silent_stream_says_something_often_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tunnel server, or what is before it, may cut a connection on which nothing has come for half a minute."""
    assert exchange_module.KEEP_ALIVE_TIME < 30
    monkeypatch.setattr(exchange_module, "KEEP_ALIVE_TIME", 0.05)
    async with open_server(maxConnCount=2) as server, open_tunnelled(server, times=TimeConfig(keep_alive_timeout=0.1)):
        connection = await server.next_socket()
        session = await initialize(connection)
        headers = {name.replace("_", "-"): value for name, value in session.items()}
        head = await connection.send("GET", "/mcp", {**headers, "accept": "text/event-stream"})
        stream: Any = wire.Stream(connection, head)
        assert (await stream.next_event()).data == ""  # the priming event
        for _ in range(5):
            assert (await stream.next_event()).comment is not None
        # One socket carries the stream, and another what is said meanwhile.
        other = await server.next_socket()
        answer = await other.request(*post(wire.tool_call("echo", text="hello"), **session))
        assert answer.status == 200


async def test_an_idle_socket_is_the_servers_to_close() -> None:
    async with open_server() as server, open_tunnelled(server, times=TimeConfig(keep_alive_timeout=0.1)):
        connection = await server.next_socket()
        # Longer than the sweep takes to see it.
        await trio.sleep(1.3)
        assert (await connection.request("GET", "/ping")).body == b"pong"


async def test_a_socket_that_the_server_closes_is_replaced() -> None:
    async with open_server() as server, open_tunnelled(server):
        for _ in range(3):
            connection = await server.next_socket()
            assert (await connection.request("GET", "/ping")).body == b"pong"
            await connection.stream.aclose()


async def test_a_client_that_leaves_is_told_by_the_closing_of_its_socket() -> None:
    async with open_server() as server, open_tunnelled(server) as proxy:
        connection = await server.next_socket()
        await connection.send("GET", "/sse", {"accept": "text/event-stream"})
        assert proxy.sessions == 1
        await connection.stream.aclose()
        await server.next_socket()
        while proxy.sessions:  # noqa: ASYNC110
            await trio.sleep(0.01)


# Who comes through


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "demo.tunnel.example:443"}, 200),
        ({"host": "named.example"}, 200),
        ({"host": "evil.example"}, 403),
        ({"origin": "https://demo.tunnel.example"}, 200),
        ({"origin": "https://evil.example"}, 403),
        # A page on the machine of whoever it is, and not on ours.
        ({"origin": "http://localhost:3000"}, 403),
        ({"x-forwarded-host": "evil.example"}, 200),
        ({"x-forwarded-host": "demo.tunnel.example", "host": "evil.example"}, 403),
    ],
)
async def test_who_comes_through_the_tunnel_is_a_stranger_who_knows_our_public_name(
    headers: dict[str, str], status: int
) -> None:
    listen = ListenConfig(trusted_proxies=(ip_network("127.0.0.0/8"),), allowed_hosts=("named.example",))
    async with open_server() as server, open_tunnelled(server, listen=listen):
        connection = await server.next_socket()
        assert (await connection.request("GET", "/healthz", headers)).status == status


async def test_the_public_name_is_none_of_ours_at_our_own_door() -> None:
    async with open_server() as server, open_tunnelled(server) as proxy:
        await server.next_socket()
        answer = await wire.request(proxy.url.replace("/mcp", "/healthz"), headers={"host": "demo.tunnel.example"})
        assert answer.status == 403


async def test_keys_are_asked_for_and_metadata_has_the_public_url() -> None:
    auth = AuthConfig(oauth_issuer="https://issuer.example", oauth_audiences=("somebody",))
    listen = ListenConfig(root_path="/stripped")
    async with open_server() as server, open_tunnelled(server, auth=auth, listen=listen):
        connection = await server.next_socket()
        answer = await connection.request(*post(INITIALIZE))
        assert answer.status == 401
        where = "https://demo.tunnel.example/.well-known/oauth-protected-resource/mcp"
        assert f'resource_metadata="{where}"' in answer.headers["www-authenticate"]
        # Whose body has not been read is answered and let go.
        await connection.stream.aclose()
        connection = await server.next_socket()
        answer = await connection.request("GET", "/.well-known/oauth-protected-resource/mcp")
        assert answer.json["resource"] == "https://demo.tunnel.example/mcp"


async def test_metrics_are_for_those_who_are_known_and_health_for_all() -> None:
    async with open_server() as server, open_tunnelled(server, auth=AuthConfig(api_keys=("key",))) as proxy:
        connection = await server.next_socket()
        assert (await connection.request("GET", "/metrics")).status == 401
        assert (await connection.request("GET", "/metrics", {"x-api-key": "key"})).status == 200
        assert (await connection.request("GET", "/healthz")).status == 200
        # At our own door there is Prometheus.
        assert (await wire.request(proxy.url.replace("/mcp", "/metrics"))).status == 200


async def test_nothing_but_the_tunnel_server_comes_through_unix_sockets_and_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    for listen in (
        ListenConfig(uds=tmp_path / "socket"),
        ListenConfig(ssl_cert=tmp_path / "cert.pem", ssl_key=tmp_path / "key.pem"),
    ):
        async with open_server() as server, open_tunnelled(server, listen=listen):
            connection = await server.next_socket()
            session = await initialize(connection)
            answer = await connection.request(*post(wire.tool_call("echo", text="hello"), **session))
            assert answer.messages[-1]["result"]["content"] == [{"type": "text", "text": "hello"}]


# Endings


async def test_a_call_that_runs_when_we_stop_is_finished_and_no_socket_is_opened_after_it() -> None:
    async with open_server() as server:
        stop = trio.Event()
        async with trio.open_nursery() as nursery:

            async def serve() -> None:
                async with open_tunnelled(server):
                    await stop.wait()

            nursery.start_soon(serve)
            connection = await server.next_socket()
            session = await initialize(connection)
            call = wire.tool_call("count", 2, "token", to=5, delay_ms=50)
            method, path, headers, body = post(call, **session)
            head = await connection.send(method, path, headers, body)
            stop.set()
            messages = await wire.Stream(connection, head).rest()
            assert "result" in messages[-1]
        with trio.move_on_after(0.5) as more:
            await server.next_socket()
        assert more.cancelled_caught


async def test_the_proxy_serves_on_whatever_the_tunnel_server_says(caplog: pytest.LogCaptureFixture) -> None:
    async def talk(stub: Stub, stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1_000_000)

    async with open_raw_stub(talk) as stub:
        config = TunnelConfig(stub.url, is_open_to_all=True)
        async with open_test_proxy(tunnel=config) as proxy:
            client = await wire.initialize(proxy.url)
            assert (await client.call("echo", text="hello")).status == 200
            while not warnings(caplog):  # noqa: ASYNC110
                await trio.sleep(0.01)
            assert proxy.tunnel is not None
            assert proxy.tunnel.url is None
    assert warnings(caplog) == [f"tunnel: GET {stub.url}/: a body of more than 65536 bytes, which is the limit"]


async def test_a_tunnel_server_that_is_down_or_silent_does_no_harm(
    free_port: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tunnel_module, "ASK_TIME", 0.1)

    async def talk(stub: Stub, stream: trio.abc.Stream) -> None:
        await trio.sleep_forever()

    async with open_raw_stub(talk) as stub:
        for url, reason in ((f"http://127.0.0.1:{free_port}", "Connection refused"), (stub.url, "no whole answer")):
            caplog.clear()
            async with open_test_proxy(tunnel=TunnelConfig(url, is_open_to_all=True)) as proxy:
                client = await wire.initialize(proxy.url)
                assert (await client.call("echo", text="hello")).status == 200
                while not any(reason in text for text in warnings(caplog)):  # noqa: ASYNC110
                    await trio.sleep(0.01)


async def test_a_redirect_leads_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    """As pipenet answers to those who ask for its landing page."""
    async with (
        open_server(Reply(b"", 302, {"location": "https://pipenet.example/"})) as server,
        open_tunnelled(server) as proxy,
    ):
        while not warnings(caplog):  # noqa: ASYNC110
            await trio.sleep(0.01)
        assert proxy.tunnel is not None
        assert proxy.tunnel.url is None
    assert "redirected elsewhere" in warnings(caplog)[0]


async def test_a_connection_that_dies_in_silence_is_noticed() -> None:
    """The kernel asks; here it is only seen that it was told to."""
    async with open_server() as server:
        stream = await tunnel_module._connect("127.0.0.1", server.port)
        assert stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        await stream.aclose()
