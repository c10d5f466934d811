"""Where connections come in: sockets, TLS, and the bound on how many there are at a time.

    async with open_listener(config, ...) as listener:      listens from here on, serves nobody yet
        await listener.serve(app, ...)                      until told to stop

The socket is bound first of all, before any child is started: an address in use is the most common error, and should be
the cheapest.  What hypercorn needs to be told is told here; what it gets wrong is mended in `connection`.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import socket
import ssl
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config as HypercornConfig
from hypercorn.typing import ConnectionState

from .config import ListenConfig
from .connection import Connection
from .metrics import Metrics
from .protocol.errors import ListenError, Unavailable, error_response
from .worker import Worker

logger = logging.getLogger("trioproxy.listener")

ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]

_BACKLOG: Final = 2048
"""Connections that may wait to be accepted; with hypercorn's 100, six hundred at once waited for seconds."""
_MAX_HEAD: Final = 32 * 1024
_HANDSHAKE_TIME: Final = 10.0
_REFUSAL_TIME: Final = 1.0
"""Seconds in which a client over the limit may read that it is."""
_MAX_REFUSALS: Final = 100
"""Clients over the limit that are told so at a time; more are just cut off."""
_BUSY_BODY: Final = error_response(Unavailable("too many connections are open"), None)
_BUSY: Final = (
    b"HTTP/1.1 503 \r\nretry-after: 5\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
    % (len(_BUSY_BODY), _BUSY_BODY)
)
_UNAVAILABLE: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


class Listener:
    """A bound socket, and what is served on it.

    Attributes:
      url: where clients find us, without a path; for a Unix socket `http+unix://` and the quoted path.
      connections: how many are open.
    """

    def __init__(
        self,
        listen: ListenConfig,
        sockets: list[socket.socket],
        settings: HypercornConfig,
        tls: ssl.SSLContext | None,
        metrics: Metrics,
    ) -> None:
        self.connections = 0
        self._refusals = 0
        self.url = _url(listen, sockets[0])
        self._listen = listen
        self._settings = settings
        self._metrics = metrics
        self._worker = Worker(metrics)
        self._accepting = trio.CancelScope()
        self._tls = tls
        self._file = None if listen.uds is None else _identity(listen.uds)
        self._listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(bound)) for bound in sockets]
        metrics.gauge("trioproxy_connections", "Connections of clients that are open.", lambda: self.connections)

    async def serve(self, app: ASGIApp, max_connections: int | None) -> None:
        """Serve connections until `stop_accepting`, and then those that are open until they end.

        Cancelling it cuts off whoever is still connected.
        """
        wrapped = ASGIWrapper(app)
        limit = math.inf if max_connections is None else max_connections
        async with trio.open_nursery() as sweeping:
            sweeping.start_soon(self._worker.sweep)
            # With a nursery of their own, connections can outlive the accepting.
            async with trio.open_nursery() as connections:
                with self._accepting:
                    handler = partial(self._serve_connection, wrapped, limit)
                    await trio.serve_listeners(handler, self._listeners, handler_nursery=connections)
            sweeping.cancel_scope.cancel()

    async def serve_stream(self, app: ASGIApp, stream: trio.SocketStream) -> None:
        """Serve a connection that we have opened ourselves, until either side closes it.

        It is plain text, whatever we listen with, and may be idle for as long as the other side likes.
        """
        settings = copy(self._settings)
        settings.keep_alive_timeout = math.inf
        self.connections += 1
        try:
            await Connection(ASGIWrapper(app), settings, self._worker, ConnectionState({}), stream).run()
        finally:
            self.connections -= 1

    async def stop_accepting(self) -> None:
        """Refuse new connections, and end those that have no request."""
        self._accepting.cancel()
        self.remove_file()
        for listener in self._listeners:
            await listener.aclose()
        await self._worker.terminate_idle()

    def reload_certificate(self) -> None:
        """Read certificate and key again, for the handshakes to come.

        Raises:
          ListenError: they can't be read; the old ones stay in use.
        """
        # A context of its own: one that has failed to take a pair may have lost the pair it had.
        self._tls = _load_tls(self._listen, self._settings)

    def remove_file(self) -> None:
        """Remove the Unix socket's file, before the socket is closed.

        Afterwards the file may be that of a successor, which has found nobody answering at it.
        """
        if self._file is not None and self._listen.uds is not None:
            with suppress(FileNotFoundError):
                if _identity(self._listen.uds) == self._file:
                    self._listen.uds.unlink()
            self._file = None

    async def _serve_connection(self, app: ASGIWrapper, limit: float, stream: trio.SocketStream) -> None:
        if self.connections >= limit:
            await self._turn_away(stream)
            return
        self.connections += 1
        secured: Any = stream
        if self._tls is not None:
            secured = trio.SSLStream(stream, self._tls, server_side=True)
        try:
            await Connection(app, self._settings, self._worker, ConnectionState({}), secured).run()
        finally:
            self.connections -= 1

    async def _turn_away(self, stream: trio.SocketStream) -> None:
        """Say that there are too many connections already; `stream` is closed by whoever accepted it."""
        self._metrics.refusals.add("503", "Unavailable")
        if self._tls is not None or self._refusals >= _MAX_REFUSALS:
            return
        self._refusals += 1
        try:
            with trio.move_on_after(_REFUSAL_TIME), suppress(trio.BrokenResourceError):
                await stream.send_all(_BUSY)
                await stream.send_eof()
                # A request that arrives at a closed socket would reset the connection, and the answer be lost.
                while await stream.receive_some():
                    pass
        finally:
            self._refusals -= 1


@asynccontextmanager
async def open_listener(
    listen: ListenConfig, keep_alive_timeout: float | None, metrics: Metrics | None = None
) -> AsyncIterator[Listener]:
    """Bind, and listen for as long as the block runs.

    Raises:
      ListenError: the address can't be had, or the certificate can't be read; the message says which and why.
    """
    settings = _settings(listen, keep_alive_timeout)
    # Before the port is taken, for the sake of a clear error.
    tls = _load_tls(listen, settings)
    sockets = _bind(listen)
    listener = Listener(listen, sockets, settings, tls, metrics or Metrics())
    try:
        yield listener
    finally:
        listener.remove_file()
        for bound in sockets:
            bound.close()


def _settings(listen: ListenConfig, keep_alive_timeout: float | None) -> HypercornConfig:
    settings = HypercornConfig()
    settings.accesslog = None
    settings.keep_alive_timeout = math.inf if keep_alive_timeout is None else keep_alive_timeout
    settings.h11_max_incomplete_size = _MAX_HEAD
    settings.ssl_handshake_timeout = _HANDSHAKE_TIME
    settings.alpn_protocols = ["http/1.1"]
    if listen.ssl_cert is not None:
        settings.certfile = str(listen.ssl_cert)
        settings.keyfile = str(listen.ssl_key)
        # OpenSSL would ask the terminal for a passphrase, and the start would hang there.
        settings.keyfile_password = ""
        settings.ca_certs = str(listen.ssl_ca) if listen.ssl_ca else None
        if listen.ssl_verify_client:
            settings.verify_mode = ssl.CERT_REQUIRED
    return settings


def _load_tls(listen: ListenConfig, settings: HypercornConfig) -> ssl.SSLContext | None:
    """Read certificate, key and CA.

    Raises:
      ListenError: one of them can't be used; the message says which.
    """
    for path in filter(None, (listen.ssl_cert, listen.ssl_key, listen.ssl_ca)):
        _check_readable(path)
    try:
        if listen.ssl_ca is not None:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(listen.ssl_ca)
    except (ssl.SSLError, OSError) as error:
        raise ListenError(f"can't use the CA certificates {listen.ssl_ca}: {error}") from error
    try:
        return settings.create_ssl_context()
    except (ssl.SSLError, OSError) as error:
        raise ListenError(f"can't use the certificate {listen.ssl_cert} with its key {listen.ssl_key}: {error}") from error


def _check_readable(path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        raise ListenError(f"can't read {path}: {error.strerror}") from error


def _bind(listen: ListenConfig) -> list[socket.socket]:
    if listen.uds is not None:
        return [_bind_unix(listen.uds)]
    where = f"{listen.host}:{listen.port}"
    try:
        found = socket.getaddrinfo(listen.host or None, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        # A name that can't be one, such as "a..b", fails as text.
        raise ListenError(f"can't listen on {where}: {_reason(error)}") from error
    # A name such as localhost has an address in either family; a port that the system picks must be the same for both.
    sockets: list[socket.socket] = []
    port = listen.port
    last: OSError | None = None
    for family, _, _, _, address in dict.fromkeys(found):
        try:
            sockets.append(_bind_tcp(family, (address[0], port, *address[2:])))
            port = sockets[-1].getsockname()[1]
        except OSError as error:
            last = error
            if error.errno not in _UNAVAILABLE:
                break
            # In many a container localhost has an address of IPv6, and the system has none.
    else:
        if sockets:
            return sockets
    for bound in sockets:
        bound.close()
    assert last is not None
    hint = "; another program listens there, --port chooses another" if last.errno == errno.EADDRINUSE else ""
    raise ListenError(f"can't listen on {where}: {_reason(last)}{hint}") from last


def _bind_tcp(family: int, address: tuple[Any, ...]) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(address)
        _listen(bound)
    except OSError:
        bound.close()
        raise
    return bound


def _bind_unix(path: Path) -> socket.socket:
    """Bind a Unix socket that only its owner may use, and take over the file that a dead process left behind."""
    bound = socket.socket(socket.AF_UNIX)
    try:
        with suppress(FileNotFoundError):
            _check_left_behind(path)
            path.unlink()
        old_mask = os.umask(0o177)
        try:
            bound.bind(str(path))
        finally:
            os.umask(old_mask)
        _listen(bound)
    except OSError as error:
        bound.close()
        raise ListenError(f"can't listen on {path}: {_reason(error)}") from error
    except ListenError:
        bound.close()
        raise
    return bound


def _check_left_behind(path: Path) -> None:
    if not stat.S_ISSOCK(path.stat().st_mode):
        raise ListenError(f"can't listen on {path}: it exists and is not a socket")
    with socket.socket(socket.AF_UNIX) as probe:
        # To a program that is too busy to accept, connecting would wait.
        probe.setblocking(False)
        # Who steals the socket of a living process leaves it running and unreachable.
        if probe.connect_ex(str(path)) != errno.ECONNREFUSED:
            raise ListenError(f"can't listen on {path}: another program listens there")


def _listen(bound: socket.socket) -> None:
    bound.listen(_BACKLOG)
    bound.setblocking(False)


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _url(listen: ListenConfig, bound: socket.socket) -> str:
    scheme = "http" if listen.ssl_cert is None else "https"
    if listen.uds is not None:
        return f"{scheme}+unix://{str(listen.uds.absolute()).replace('/', '%2F')}"
    # The name under which we were asked to listen; a wildcard is nowhere to connect to.
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(listen.host, listen.host)  # noqa: S104
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return f"{scheme}://{host}:{bound.getsockname()[1]}"
