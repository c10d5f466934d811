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
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config as HypercornConfig
from hypercorn.typing import ConnectionState

from .config import ListenConfig
from .connection import Connection, Worker
from .protocol.errors import ListenError

logger = logging.getLogger("trioproxy.listener")

ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]

_BACKLOG: Final = 2048
"""Connections that may wait to be accepted; with hypercorn's 100, six hundred at once waited for seconds."""
_MAX_HEAD: Final = 32 * 1024
_HANDSHAKE_TIME: Final = 10.0
_BUSY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\ncontent-length: 22\r\n"
    b"content-type: text/plain\r\nconnection: close\r\n\r\nToo many connections.\r\n"
)


class Listener:
    """A bound socket, and what is served on it.

    Attributes:
      url: where clients find us, without a path; for a Unix socket `http+unix://` and the quoted path.
      connections: how many are open.
    """

    def __init__(self, listen: ListenConfig, sockets: list[socket.socket], settings: HypercornConfig) -> None:
        self.connections = 0
        self.url = _url(listen, sockets[0])
        self._listen = listen
        self._settings = settings
        self._worker = Worker()
        self._accepting = trio.CancelScope()
        self._tls = settings.create_ssl_context()
        self._listeners: list[trio.SocketListener] = []
        for bound in sockets:
            bound.listen(_BACKLOG)
            bound.setblocking(False)
            self._listeners.append(trio.SocketListener(trio.socket.from_stdlib_socket(bound)))

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

    async def stop_accepting(self) -> None:
        """Refuse new connections, and end those that have no request."""
        self._accepting.cancel()
        for listener in self._listeners:
            await listener.aclose()
        await self._worker.terminate_idle()

    def reload_certificate(self) -> None:
        """Read certificate and key again, for the handshakes to come.

        Raises:
          ListenError: they can't be read; the old ones stay in use.
        """
        if self._tls is not None:
            _load_certificate(self._tls, self._listen)

    async def _serve_connection(self, app: ASGIWrapper, limit: float, stream: trio.SocketStream) -> None:
        if self.connections >= limit:
            with trio.move_on_after(1):
                if self._tls is None:
                    with suppress(trio.BrokenResourceError):
                        await stream.send_all(_BUSY)
                await stream.aclose()
            return
        self.connections += 1
        secured: Any = stream
        if self._tls is not None:
            secured = trio.SSLStream(stream, self._tls, server_side=True, https_compatible=True)
        try:
            await Connection(app, self._settings, self._worker, ConnectionState({}), secured).run()
        finally:
            self.connections -= 1


@asynccontextmanager
async def open_listener(listen: ListenConfig, keep_alive_timeout: float | None) -> AsyncIterator[Listener]:
    """Bind, and listen for as long as the block runs.

    Raises:
      ListenError: the address can't be had, or the certificate can't be read; the message says which and why.
    """
    settings = _settings(listen, keep_alive_timeout)
    sockets = _bind(listen)
    try:
        listener = Listener(listen, sockets, settings)
        if listener._tls is not None:
            _load_certificate(listener._tls, listen)
        yield listener
    finally:
        for bound in sockets:
            bound.close()
        if listen.uds is not None:
            listen.uds.unlink(missing_ok=True)


def _settings(listen: ListenConfig, keep_alive_timeout: float | None) -> HypercornConfig:
    settings = HypercornConfig()
    settings.accesslog = None
    settings.keep_alive_timeout = math.inf if keep_alive_timeout is None else keep_alive_timeout
    settings.h11_max_incomplete_size = _MAX_HEAD
    settings.ssl_handshake_timeout = _HANDSHAKE_TIME
    settings.alpn_protocols = ["http/1.1"]
    if listen.ssl_cert is not None:
        for path in filter(None, (listen.ssl_cert, listen.ssl_key, listen.ssl_ca)):
            _check_readable(path)
        settings.certfile = str(listen.ssl_cert)
        settings.keyfile = str(listen.ssl_key)
        settings.ca_certs = str(listen.ssl_ca) if listen.ssl_ca else None
        if listen.ssl_verify_client:
            settings.verify_mode = ssl.CERT_REQUIRED
        try:
            settings.create_ssl_context()
        except (ssl.SSLError, OSError) as error:
            raise ListenError(
                f"can't use the certificate {listen.ssl_cert} with its key {listen.ssl_key}: {error}"
            ) from error
    return settings


def _load_certificate(context: ssl.SSLContext, listen: ListenConfig) -> None:
    assert listen.ssl_cert is not None
    try:
        context.load_cert_chain(listen.ssl_cert, listen.ssl_key)
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
    except OSError as error:
        raise ListenError(f"can't listen on {where}: {error.strerror}") from error
    # A name such as localhost has an address in either family; a port that the system picks must be the same for both.
    sockets: list[socket.socket] = []
    port = listen.port
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            bound = socket.socket(family, kind, protocol)
            sockets.append(bound)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            bound.bind((address[0], port, *address[2:]))
            port = bound.getsockname()[1]
    except OSError as error:
        for bound in sockets:
            bound.close()
        hint = "; another program listens there, --port chooses another" if error.errno == errno.EADDRINUSE else ""
        raise ListenError(f"can't listen on {where}: {error.strerror}{hint}") from error
    return sockets


def _bind_unix(path: Path) -> socket.socket:
    """Bind a Unix socket that only its owner may use, and take over the file that a dead process left behind."""
    bound = socket.socket(socket.AF_UNIX)
    try:
        with suppress(FileNotFoundError):
            if not stat.S_ISSOCK(path.stat().st_mode):
                raise ListenError(f"can't listen on {path}: it exists and is not a socket")
            with socket.socket(socket.AF_UNIX) as probe:
                # Who steals the socket of a living process leaves it running and unreachable.
                if probe.connect_ex(str(path)) == 0:
                    raise ListenError(f"can't listen on {path}: another program listens there")
            path.unlink()
        old_mask = os.umask(0o177)
        try:
            bound.bind(str(path))
        finally:
            os.umask(old_mask)
    except OSError as error:
        bound.close()
        raise ListenError(f"can't listen on {path}: {error.strerror}") from error
    except ListenError:
        bound.close()
        raise
    return bound


def _url(listen: ListenConfig, bound: socket.socket) -> str:
    scheme = "http" if listen.ssl_cert is None else "https"
    if listen.uds is not None:
        return f"{scheme}+unix://{str(listen.uds.absolute()).replace('/', '%2F')}"
    # The name under which we were asked to listen; a wildcard is nowhere to connect to.
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(listen.host, listen.host)  # noqa: S104
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return f"{scheme}://{host}:{bound.getsockname()[1]}"
