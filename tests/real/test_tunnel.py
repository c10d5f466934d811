"""A tunnel server of npm's pipenet, and proxies behind it, as their clients on the internet see them."""

import os
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import h11
import pytest
import trio

from tests import wire
from tests.proxies import open_test_proxy
from trioproxy import exchange as exchange_module
from trioproxy.server import Proxy
from trioproxy.tunnel import TunnelConfig

from .installed import node_modules

pytestmark = pytest.mark.node

DOMAIN = "tunnel.localhost"
_START_TIME = 20.0

HASTY = """
import http from "node:http";
const request = http.request;
http.request = (options, ...rest) => request({...options, timeout: 600}, ...rest);
"""
"""Makes pipenet give up a response on which nothing has come for 0.6 s, instead of a minute."""


class EverythingHere(trio.abc.HostnameResolver):
    """The DNS of a world where every name is that of this machine."""

    async def getaddrinfo(self, host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> Any:  # noqa: A002
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", int(port)))]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> Any:
        raise NotImplementedError


class Pipenet:
    """A tunnel server: `start` it, `stop` it, and start it again at the same place."""

    def __init__(self, *options: str, preloaded: str = "") -> None:
        self.port, *others = _free_ports(2)
        self.url = f"http://{DOMAIN}:{self.port}"
        modules = node_modules()
        preload = ("--import", f"data:text/javascript,{preloaded}") if preloaded else ()
        where = ("--port", str(self.port), "--address", "127.0.0.1", "--domain", DOMAIN)
        shared = (str(others[0]) if option == "PORT" else option for option in options)
        self._command = ["node", *preload, str(modules / "pipenet" / "dist" / "cli.js"), "server", *where, *shared]
        self._process: subprocess.Popen[bytes] | None = None

    def _spawn(self) -> None:
        # It takes options from its environment, too.
        environment = {name: value for name, value in os.environ.items() if name not in ("PORT", "HOST", "DOMAIN")}
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, env=environment)

    async def start(self) -> None:
        self._spawn()
        with trio.fail_after(_START_TIME):
            while True:
                try:
                    await (await trio.open_tcp_stream("127.0.0.1", self.port)).aclose()
                except OSError:
                    await trio.sleep(0.05)
                else:
                    return

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in sockets]
    finally:
        for probe in sockets:
            probe.close()


@asynccontextmanager
async def open_pipenet(*options: str, preloaded: str = "") -> AsyncIterator[Pipenet]:
    trio.socket.set_custom_hostname_resolver(EverythingHere())
    pipenet = Pipenet(*options, preloaded=preloaded)
    try:
        await pipenet.start()
        yield pipenet
    finally:
        pipenet.stop()


@asynccontextmanager
async def open_tunnelled(pipenet: Pipenet, subdomain: str | None = None) -> AsyncIterator[tuple[Proxy, str]]:
    """Run a proxy in front of the demo, and return it with its public URL."""
    async with open_test_proxy(tunnel=TunnelConfig(pipenet.url, subdomain, is_open_to_all=True)) as proxy:
        assert proxy.tunnel is not None
        yield proxy, await proxy.tunnel.wait_url()


EITHER_WAY = pytest.mark.parametrize("options", [(), ("--tunnel-port", "PORT")], ids=["own-port", "shared-port"])


@EITHER_WAY
async def test_a_session_of_streamable_http(options: tuple[str, ...]) -> None:
    async with open_pipenet(*options) as pipenet, open_tunnelled(pipenet, "my-proxy") as (_, url):
        assert url == f"http://my-proxy.{DOMAIN}:{pipenet.port}"
        client = await wire.initialize(f"{url}/mcp")
        async with client.open_post(wire.tool_call("count", 1, "token", to=4, delay_ms=30)) as stream:
            messages = await stream.rest()
        assert [message["params"]["progress"] for message in messages[:-1]] == [1, 2, 3, 4]
        assert messages[-1]["result"]["content"][0]["text"] == "Counted to 4."
        text = "x" * 3_000_000 + "🦑"
        answer = await client.call("echo", text=text)
        assert answer.messages[-1]["result"]["content"][0]["text"] == text
        assert (await wire.request(client.url, "DELETE", client.headers)).status == 204
        assert (await client.call("echo", text="hello")).status == 404


@EITHER_WAY
async def test_a_session_of_http_with_sse(options: tuple[str, ...]) -> None:
    async with open_pipenet(*options) as pipenet, open_tunnelled(pipenet) as (proxy, url):
        async with wire.open_stream(f"{url}/sse", "GET", {"accept": "text/event-stream"}) as stream:
            event = await stream.next_event()
            assert event is not None
            endpoint = f"{url}{event.data}"
            ping = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
            answer = await wire.request(endpoint, "POST", {"content-type": "application/json"}, ping)
            assert answer.status == 202
            assert await stream.next_message() == {"jsonrpc": "2.0", "id": 1, "result": {}}
        # The client has left, and pipenet says so by closing the socket.
        while proxy.sessions:  # noqa: ASYNC110
            await trio.sleep(0.01)


@EITHER_WAY
async def test_more_clients_than_sockets_take_turns(options: tuple[str, ...]) -> None:
    async with open_pipenet(*options) as pipenet, open_tunnelled(pipenet) as (_, url):
        client = await wire.initialize(f"{url}/mcp")
        texts: list[str] = []

        async def call(number: int) -> None:
            answer = await client.call("echo", number, text=str(number))
            texts.append(answer.messages[-1]["result"]["content"][0]["text"])

        async with trio.open_nursery() as nursery:
            for number in range(1, 101):
                nursery.start_soon(call, number)
        assert sorted(map(int, texts)) == list(range(1, 101))


@EITHER_WAY
async def test_a_server_that_has_been_started_again_knows_us_by_the_same_name(options: tuple[str, ...]) -> None:
    async with open_pipenet(*options) as pipenet, open_tunnelled(pipenet) as (proxy, url):
        client = await wire.initialize(f"{url}/mcp")
        pipenet.stop()
        assert proxy.tunnel is not None
        while proxy.tunnel.url is not None:  # noqa: ASYNC110
            await trio.sleep(0.05)
        await pipenet.start()
        assert await proxy.tunnel.wait_url() == url
        # The session has not noticed.
        assert (await client.call("echo", text="hello")).status == 200


async def test_who_comes_second_has_another_name() -> None:
    async with (
        open_pipenet() as pipenet,
        open_tunnelled(pipenet, "my-proxy") as (_, first),
        open_tunnelled(pipenet, "my-proxy") as (_, second),
    ):
        assert first != second
        clients = [await wire.initialize(f"{url}/mcp") for url in (first, second)]
        assert clients[0].session_id != clients[1].session_id
        # Each serves its own session, and knows nothing of the other's.
        for client, other in (clients, clients[::-1]):
            assert (await client.call("echo", text="hello")).status == 200
            stranger = wire.Client(client.url, client.revision)
            stranger.session_id = other.session_id
            assert (await stranger.call("echo", text="hello")).status == 404


@pytest.mark.parametrize(("keep_alive", "survives"), [(0.15, True), (10, False)])
async def test_a_silent_stream_lives_as_long_as_it_is_heard_of(
    keep_alive: float, survives: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange_module, "KEEP_ALIVE_TIME", keep_alive)
    async with open_pipenet(preloaded=HASTY) as pipenet, open_tunnelled(pipenet) as (_, url):
        client = await wire.initialize(f"{url}/mcp")
        call = wire.tool_call("count", 1, to=1, delay_ms=2000)
        async with client.open_post(call) as stream:
            if survives:
                assert (await stream.rest())[-1]["result"]["content"][0]["text"] == "Counted to 1."
            else:
                with pytest.raises(h11.RemoteProtocolError, match="peer closed connection"):
                    await stream.rest()
