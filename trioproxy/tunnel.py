"""A public URL for a proxy that nobody could reach: requests come in on sockets that we have opened ourselves.

    client ──▶ tunnel server ═══▶ data sockets ──▶ connection ──▶ application
                    ▲                  │
                    └── registration ──┘      ours: one HTTP request, and one task for each socket

A tunnel server of the kind of localtunnel or pipenet gives us a name and a port (`protocol.tunnel_registration`).  On each
TCP connection that we open to that port it writes requests to our name, one after the other, as on any HTTP connection.  So
such a socket is served as if it had been accepted (`listener.serve_stream`): there is no hop through our own port, and
neither TLS, nor a Unix socket, nor a busy port is in the way.  A socket carries one request at a time, and there are ten at
most: ten calls and open streams at a time are what a tunnel has room for.

A socket that ends is replaced; one that was of no use is replaced more and more slowly; when none is left, and all have
failed in turn, the registration is lost and we register again, under the same name if we can.  Nothing that a tunnel server
says or does ends more than the tunnel.

The data sockets are plain TCP, as the protocol has it: whoever is on the way reads what they carry.
"""

from __future__ import annotations

import logging
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

import trio

from .config import AuthConfig, ConfigError, ListenConfig
from .hooks import ASGIApp
from .http_client import HttpClient, HttpClientError, Response, open_http_client
from .protocol.tunnel_registration import (
    Registration,
    RegistrationError,
    RegistrationRefused,
    is_subdomain,
    read_registration,
    registration_pause,
    registration_url,
    socket_pause,
)
from .protocol.urls import is_http_url, is_protected_url, shown_url

logger = logging.getLogger("trioproxy.tunnel")

Ask = Callable[[str], Awaitable[Response]]
Connect = Callable[[str, int], Awaitable[trio.abc.Stream]]
Serve = Callable[[ASGIApp, Any], Awaitable[None]]

DEFAULT_HOST: Final = "https://tunnel.gla.ma"
ASK_TIME: Final = 30.0
"""Seconds for an answer to a registration."""
CONNECT_TIME: Final = 10.0
"""Seconds for a data socket to be connected, and its greeting to be taken."""
USEFUL_TIME: Final = 20.0
"""Seconds after which a socket was of use though nothing was asked on it.  A machine in front of a tunnel server that is
down may hold a connection for a while before it closes it."""
_MAX_ANSWER: Final = 64 * 1024
_TRIES: Final = 3
"""Sockets that have to fail in a row, however few we may open, before a registration is taken to be lost."""
_REFUSED: Final = 5
"""For how many failures a refusal counts: after so many, pauses are at their longest."""
_FASTEST: Final = 0.05
"""Seconds from the opening of a socket to that of the next in its place, however useful it was."""
# A network that has vanished says nothing: after a minute without an answer, a silent connection is given up.
_PROBES: Final = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}


@dataclass(frozen=True)
class TunnelConfig:
    """Which tunnel server, and what is wanted of it.

    Args:
      host: the URL of the tunnel server.
      subdomain: the name that is asked for; None for any.
      is_open_to_all: the whole internet may use the server without saying who it is.
    """

    host: str = DEFAULT_HOST
    subdomain: str | None = None
    is_open_to_all: bool = False

    def __post_init__(self) -> None:
        if not is_http_url(self.host) or "?" in self.host:
            raise ConfigError(f"--tunnel-host {shown_url(self.host)!r}: expected a URL of http or https, without query")
        if self.subdomain is not None and not is_subdomain(self.subdomain):
            expected = "4 to 63 lower case letters, digits and hyphens"
            raise ConfigError(f"--tunnel-subdomain {self.subdomain!r}: expected {expected}")

    def check_beside(self, auth: AuthConfig, listen: ListenConfig) -> None:
        """Check that nobody gets in by the tunnel who would be kept out at the door.

        Raises:
          ConfigError: somebody would.
        """
        if auth.is_open and not self.is_open_to_all:
            raise ConfigError(
                "--tunnel lets the whole internet use the server: say who may, with --api-key or the like, "
                "or that everybody may, with --tunnel-open"
            )
        if listen.ssl_verify_client:
            raise ConfigError("--tunnel and --ssl-verify-client exclude each other: nobody shows a certificate in a tunnel")


class Tunnel:
    """A tunnel, up or down; made by `open_tunnel`.

    Attributes:
      url: where clients find us, without a path; None while they don't.
    """

    def __init__(
        self,
        config: TunnelConfig,
        app_at: Callable[[str], ASGIApp],
        serve: Serve,
        paths: Callable[[], Sequence[str]],
        ask: Ask,
        connect: Connect,
    ) -> None:
        self.url: str | None = None
        self._config = config
        self._app_at = app_at
        self._serve = serve
        self._paths = paths
        self._ask = ask
        self._connect = connect
        self._is_up = trio.Event()
        self._is_stopping = False
        self._last_id: str | None = None
        self._open = 0  # sockets that are connected
        self._fruitless = 0  # sockets in a row that were of no use
        self._failures = 0  # registrations in a row that failed, or came to nothing
        self._trouble = ""
        self._told = ""

    async def wait_url(self) -> str:
        """Return the URL once there is one."""
        while self.url is None:
            await self._is_up.wait()
        return self.url

    def stop_connecting(self) -> None:
        """Open no further sockets; those that are open end with their requests, when the listener says so."""
        self._is_stopping = True

    async def run(self) -> None:
        """Be reachable, whatever it takes, until cancelled or stopped."""
        self._warn()
        while not self._is_stopping:
            registration = await self._register()
            await self._hold(registration)
            if not self._is_stopping:
                self._lose()
                await self._pause()

    async def _register(self) -> Registration:
        """Return a registration, however often it has to be asked for."""
        host = self._config.host
        while True:
            wanted = self._config.subdomain or self._last_id
            try:
                response = await self._ask(registration_url(host, wanted))
                registration = read_registration(response.status, response.body, host, wanted)
            except HttpClientError as error:
                self._complain(f"tunnel: {error}")
            except RegistrationError as error:
                self._complain(f"tunnel server {host}: {error}")
                if isinstance(error, RegistrationRefused):
                    if wanted == self._config.subdomain:
                        self._failures = max(self._failures, _REFUSED)
                    # Else it may be the name that we had before: we take any.
                    self._last_id = None
            else:
                self._last_id = registration.id
                if self._config.subdomain not in (None, registration.id):
                    self._complain(f"tunnel server {host}: the name {wanted} is taken, ours is {registration.id}")
                return registration
            await self._pause()

    async def _hold(self, registration: Registration) -> None:
        """Keep data sockets open until the registration is lost."""
        app = self._app_at(registration.url)
        self._fruitless = 0
        async with trio.open_nursery() as nursery:
            for _ in range(registration.max_sockets):
                nursery.start_soon(self._keep_socket, registration, app, nursery.cancel_scope)

    async def _keep_socket(self, registration: Registration, app: ASGIApp, holding: trio.CancelScope) -> None:
        """Keep one data socket open; end the holding if this was the last that could be."""
        failures = 0
        while not self._is_stopping:
            began = trio.current_time()
            if await self._use_socket(registration, app):
                self._failures = self._fruitless = failures = 0
                pause = _FASTEST - (trio.current_time() - began)
            else:
                self._fruitless += 1
                if self._open == 0 and self._fruitless >= max(_TRIES, registration.max_sockets):
                    holding.cancel()
                failures += 1
                pause = socket_pause(failures, random.random())
            await trio.sleep(max(0, pause))

    async def _use_socket(self, registration: Registration, app: ASGIApp) -> bool:
        """Open a data socket, serve it to its end, and return whether it was of any use."""
        was_asked = False

        async def noting_app(*exchange: Any) -> None:
            nonlocal was_asked
            was_asked = True
            await app(*exchange)

        try:
            stream = await self._open_socket(registration)
        except (OSError, trio.BrokenResourceError, trio.TooSlowError) as error:
            host, port = registration.address
            self._trouble = str(error) or f"no connection to {host}:{port} within {CONNECT_TIME:g} s"
            return False
        opened = trio.current_time()
        async with stream:
            self._open += 1
            self._announce(registration.url)
            try:
                await self._serve(noting_app, stream)
            finally:
                self._open -= 1
        self._trouble = "it closes our connections at once"
        return was_asked or trio.current_time() - opened >= USEFUL_TIME

    async def _open_socket(self, registration: Registration) -> trio.abc.Stream:
        with trio.fail_after(CONNECT_TIME):
            stream = await self._connect(*registration.address)
            try:
                await stream.send_all(registration.greeting)
            except BaseException:
                await trio.aclose_forcefully(stream)
                raise
        return stream

    def _announce(self, url: str) -> None:
        if self.url is None:
            self.url = url
            self._told = ""
            self._is_up.set()
            for path in self._paths():
                logger.info("reachable at %s%s", url, path)

    def _lose(self) -> None:
        if self.url is None:
            self._complain(f"tunnel server {self._config.host}: {self._trouble}")
        else:
            logger.warning("no longer reachable at %s (%s); registering again", self.url, self._trouble)
        self.url = None
        self._is_up = trio.Event()

    async def _pause(self) -> None:
        pause = registration_pause(self._failures, random.random())
        self._failures += 1
        await trio.sleep(pause)

    def _complain(self, text: str) -> None:
        # Once, and not at every try.
        logger.log(logging.DEBUG if text == self._told else logging.WARNING, "%s", text)
        self._told = text

    def _warn(self) -> None:
        host = urlsplit(self._config.host).hostname or ""
        # The way to a server on this machine is as good as an encrypted one.
        if not is_protected_url(f"http://[{host}]" if ":" in host else f"http://{host}"):
            logger.warning("the tunnel is not encrypted from %s to us: who is on the way reads keys and messages", host)


@asynccontextmanager
async def open_tunnel(
    config: TunnelConfig,
    app_at: Callable[[str], ASGIApp],
    serve: Serve,
    paths: Callable[[], Sequence[str]] = lambda: ("",),
    *,
    after: Callable[[], Awaitable[object]] = trio.lowlevel.checkpoint,
    ask: Ask | None = None,
    connect: Connect | None = None,
) -> AsyncIterator[Tunnel]:
    """Be reachable through a tunnel server for as long as the block runs, from when it first answers.

    Args:
      app_at: makes the application for those who come by a URL.
      serve: serves an application on a stream until either side closes it; it lets no error out.
      paths: tells where clients find what we serve, for the log.
      after: what is waited for before the tunnel server is asked.
      ask: gets the answer to a registration, or raises HttpClientError.
      connect: opens a data socket.
    """
    async with open_http_client() as client, trio.open_nursery() as nursery:
        tunnel = Tunnel(config, app_at, serve, paths, ask or partial(_ask_server, client), connect or _connect)

        async def run() -> None:
            await after()
            await tunnel.run()

        nursery.start_soon(run)
        yield tunnel
        nursery.cancel_scope.cancel()


async def _ask_server(client: HttpClient, url: str) -> Response:
    accept = [(b"accept", b"application/json")]
    return await client.request("GET", url, headers=accept, time_limit=ASK_TIME, max_size=_MAX_ANSWER)


async def _connect(host: str, port: int) -> trio.SocketStream:
    stream = await trio.open_tcp_stream(host, port)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _PROBES.items():
        if hasattr(socket, name):
            stream.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return stream
