"""One connection to the origin of a URL: dialled, through a proxy if there is one, then asked one thing after the other.

What is to become of a request is known from where it failed.  As long as nothing was sent (`CouldNotConnect`) it may be sent
again, whatever it asks; if the connection has ended before any byte of an answer came (`Disconnected`), nobody can tell.

HTTP/1.1 with h11 (RFC 9112), TLS checked.  A proxy is asked for a tunnel to an origin of https (RFC 9110 §9.3.6), and handed
requests for one of http (RFC 9112 §3.2.2).  The head of a response is bounded, its body is the reader's to bound.

Not here: which connection is used for what, and time (`http_client`).
"""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import h11
import trio

from .http_proxies import HttpProxy, netloc

Origin = tuple[str, str, int]
Headers = Sequence[tuple[bytes, bytes]]

_READ_SIZE: Final = 64 * 1024
_MAX_HEAD: Final = 64 * 1024
# A response may be silent for hours, and the way to the server may be lost meanwhile: then it ends after two minutes.
_PROBES: Final = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}
_PLAIN_HTTP: Final = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"})
"""What OpenSSL says of a server that answers without TLS."""


class HttpClientError(Exception):
    """A request got no answer that can be used; the message says which, without its query, and why."""


class CouldNotConnect(HttpClientError):
    """A request got no answer since there was no connection: of the request itself nothing was sent."""


class Disconnected(Exception):
    """The server has closed the connection before it said anything."""


class Route(NamedTuple):
    """Whom a connection leads to, and through which proxy."""

    origin: Origin
    proxy: HttpProxy | None


class Connection:
    """One connection to one origin; made by `dial`.

    Attributes:
      route: whom it leads to.
      idle_since: when it was last used, on trio's clock.
    """

    def __init__(self, stream: trio.abc.Stream, socket: trio.SocketStream, route: Route) -> None:
        self.route = route
        self.idle_since = 0.0
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)
        self._stream = stream
        self._socket = socket
        self._send_failed = False

    async def ask(self, request: h11.Request, body: bytes) -> h11.Response:
        """Send a request and return the head of its response.

        Raises:
          Disconnected: there is none, not even its beginning.
        """
        data = self._http.send(request) or b""
        if body:
            data += self._http.send(h11.Data(data=body)) or b""
        data += self._http.send(h11.EndOfMessage()) or b""
        try:
            await self._stream.send_all(data)
        except trio.BrokenResourceError:
            # Who refuses a large body may have said so before closing on the rest of it.
            self._send_failed = True
        has_heard = False
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                try:
                    data = bytes(await self._stream.receive_some(_READ_SIZE))
                except trio.BrokenResourceError as error:
                    raise error if has_heard else Disconnected from error
                if not data and not has_heard:
                    raise Disconnected
                has_heard = True
                self._http.receive_data(data)
            elif isinstance(event, h11.Response):
                return event
            else:
                assert isinstance(event, h11.InformationalResponse), event

    async def next_piece(self) -> bytes:
        """Return the next bytes of the body, none at its end."""
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(bytes(await self._stream.receive_some(_READ_SIZE)))
        return bytes(event.data) if isinstance(event, h11.Data) else b""

    def start_next(self) -> bool:
        """Make the connection ready for another request, and tell whether it is: its exchange has to be over."""
        if self._send_failed or self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

    @property
    def is_quiet(self) -> bool:
        """Whether nothing has come since the last response: neither an end nor bytes that nobody asked for."""
        poll = select.poll()
        poll.register(self._socket.socket.fileno(), select.POLLIN)
        return not poll.poll(0) and self._http.trailing_data == (b"", False)

    async def close(self) -> None:
        """Close it at once, in the middle of whatever it is doing."""
        await trio.aclose_forcefully(self._stream)


def make_tls(verify: bool, ca_file: Path | None) -> ssl.SSLContext:
    """Return how servers are checked; see `open_http_client`.

    Raises:
      HttpClientError: the file can't be used.
    """
    try:
        tls = ssl.create_default_context(cafile=ca_file)
    except (ssl.SSLError, OSError) as error:
        raise HttpClientError(f"can't use the CA certificates {ca_file}: {error}") from error
    if not verify:
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    tls.set_alpn_protocols(["http/1.1"])
    return tls


@cache
def default_tls() -> ssl.SSLContext:
    """Return how servers are checked by those whom the system trusts; it takes a while, once."""
    return make_tls(True, None)


async def dial(route: Route, tls: Callable[[], ssl.SSLContext], subject: str) -> Connection:
    """Open a connection, and return it when a request can be sent.

    Args:
      tls: makes what is needed for https, to the origin or to the proxy.
      subject: for whose sake.

    Raises:
      CouldNotConnect: there is none; nothing is left open.
    """
    subject += "" if route.proxy is None else f", through {route.proxy}"
    with explained(subject, CouldNotConnect):
        return await _dial(route, tls, subject)


async def _dial(route: Route, tls: Callable[[], ssl.SSLContext], subject: str) -> Connection:
    (scheme, host, port), proxy = route
    to = (host, port) if proxy is None else (proxy.host, proxy.port)
    socket_stream = await trio.open_tcp_stream(*to)
    stream: trio.abc.Stream = socket_stream
    try:
        _keep_probing(socket_stream)
        if proxy is not None and proxy.scheme == "https":
            stream = await _secure(stream, proxy.host, tls())
        if scheme == "https":
            if proxy is not None:
                await _open_tunnel(stream, netloc(host, port), proxy, subject)
            stream = await _secure(stream, host, tls())
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return Connection(stream, socket_stream, route)


def _keep_probing(stream: trio.SocketStream) -> None:
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _PROBES.items():
        if (option := getattr(socket, name, None)) is not None:
            stream.setsockopt(socket.IPPROTO_TCP, option, value)


async def _secure(stream: trio.abc.Stream, host: str, tls: ssl.SSLContext) -> trio.abc.Stream:
    # Many servers close without the closing alert of TLS; that a body is whole, its framing says.
    secured = trio.SSLStream(stream, tls, server_hostname=host, https_compatible=True)
    await secured.do_handshake()
    return secured


async def _open_tunnel(stream: trio.abc.Stream, to: str, proxy: HttpProxy, subject: str) -> None:
    """Have a proxy connect us to an origin.

    Raises:
      CouldNotConnect: it does not.
    """
    headers = [(b"host", to.encode())]
    if proxy.authorization is not None:
        headers.append((b"proxy-authorization", proxy.authorization))
    http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)
    data = http.send(h11.Request(method=b"CONNECT", target=to.encode(), headers=headers)) or b""
    await stream.send_all(data + (http.send(h11.EndOfMessage()) or b""))
    while not isinstance(event := http.next_event(), h11.Response):
        if event is h11.NEED_DATA:
            http.receive_data(bytes(await stream.receive_some(_READ_SIZE)))
    if not 200 <= event.status_code < 300:
        raise CouldNotConnect(f"{subject}: {refusal_of_proxy(event.status_code, bytes(event.reason), proxy)}")
    if http.trailing_data[0]:
        # It would be read as what the origin says.
        raise CouldNotConnect(f"{subject}: the proxy says more than that there is a tunnel")


def refusal_of_proxy(status: int, reason: bytes, proxy: HttpProxy) -> str:
    """Return what is to be said of a proxy that does not let us through."""
    hint = (
        "" if status != 407 else "; it wants a user and a password" if proxy.authorization is None else "; wrong password?"
    )
    return f"the proxy refuses: {status} {reason.decode('latin-1')[:80]}".rstrip() + hint


@contextmanager
def explained(subject: str, kind: type[HttpClientError] = HttpClientError) -> Iterator[None]:
    """Turn what can go wrong with a connection into one error of the given kind."""
    try:
        yield
    except h11.ProtocolError as error:
        raise kind(f"{subject}: the answer is not HTTP: {error}") from error
    except (OSError, UnicodeError, trio.BrokenResourceError) as error:
        raise kind(f"{subject}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """Return what was really wrong: trio tells it as the cause of something more general."""
    cause = error.__cause__
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    root = cause or error
    if isinstance(root, ssl.SSLCertVerificationError):
        return f"its certificate is not good: {root.verify_message}"
    if isinstance(root, ssl.SSLError):
        hint = " (it seems to speak plain HTTP)" if root.reason in _PLAIN_HTTP else ""
        return f"no TLS: {root.reason or root}{hint}"
    return getattr(root, "strerror", None) or str(root) or "the connection broke"
