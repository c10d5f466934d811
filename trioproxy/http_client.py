"""An HTTP client for what we ask ourselves: HTTP/1.1 over trio with h11, TLS checked, everything bounded (RFC 9112).

    async with open_http_client() as client:
        response = await client.request("GET", url, time_limit=10, max_size=65536)

A connection belongs to the block of one request, then to the client until the next request to the same origin, and none
outlives the client's block.  A connection that a server has closed meanwhile is noticed before it is used; where the close
and the request meet on the way, a GET is sent again on a new one, and nothing else is.

No proxies, no cookies, no compression; no redirects but those of a GET to the same origin, since what we ask often carries
a secret that is nobody else's.
"""

from __future__ import annotations

import select
import ssl
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final
from urllib.parse import urljoin, urlsplit

import h11
import trio

from . import __version__
from .protocol.urls import is_http_url, origin, shown_url

_READ_SIZE: Final = 64 * 1024
_MAX_HEAD: Final = 64 * 1024
_MAX_REDIRECTS: Final = 5
_MAX_IDLE: Final = 8
"""Connections that are kept for requests to come."""
_IDLE_TIME: Final = 15.0
"""Seconds for which they are."""
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

Origin = tuple[str, str, int]
Headers = Sequence[tuple[bytes, bytes]]


class HttpClientError(Exception):
    """A request got no answer that can be used; the message says which, without its query, and why."""


class _Disconnected(Exception):
    """The server has closed the connection before it said anything."""


@dataclass(frozen=True)
class Response:
    """A whole response; names of headers are in lower case."""

    status: int
    headers: Headers
    body: bytes


class _Connection:
    """One connection to one origin."""

    def __init__(self, stream: trio.abc.Stream, socket: trio.SocketStream, where: Origin) -> None:
        self.origin = where
        self.idle_since = 0.0
        self.http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)
        self._stream = stream
        self._socket = socket

    async def ask(self, request: h11.Request, body: bytes) -> h11.Response:
        """Send a request and return the head of its response.

        Raises:
          _Disconnected: there is none, not even its beginning.
        """
        data = self.http.send(request) or b""
        if body:
            data += self.http.send(h11.Data(data=body)) or b""
        data += self.http.send(h11.EndOfMessage()) or b""
        try:
            await self._stream.send_all(data)
        except trio.BrokenResourceError as error:
            raise _Disconnected from error
        has_heard = False
        while True:
            event = self.http.next_event()
            if event is h11.NEED_DATA:
                try:
                    data = bytes(await self._stream.receive_some(_READ_SIZE))
                except trio.BrokenResourceError as error:
                    raise error if has_heard else _Disconnected from error
                if not data and not has_heard:
                    raise _Disconnected
                has_heard = True
                self.http.receive_data(data)
            elif isinstance(event, h11.Response):
                return event
            else:
                assert isinstance(event, h11.InformationalResponse), event

    async def next_piece(self) -> bytes:
        """Return the next bytes of the body, none at its end."""
        while (event := self.http.next_event()) is h11.NEED_DATA:
            self.http.receive_data(bytes(await self._stream.receive_some(_READ_SIZE)))
        return bytes(event.data) if isinstance(event, h11.Data) else b""

    @property
    def is_reusable(self) -> bool:
        """Whether the exchange is over, and another may follow."""
        return self.http.our_state is h11.DONE and self.http.their_state is h11.DONE

    @property
    def is_quiet(self) -> bool:
        """Whether nothing has come since the last response: neither an end nor bytes that nobody asked for."""
        poll = select.poll()
        poll.register(self._socket.socket.fileno(), select.POLLIN)
        return not poll.poll(0) and self.http.trailing_data == (b"", False)

    async def close(self) -> None:
        await trio.aclose_forcefully(self._stream)


class ResponseStream:
    """A response whose body is still coming: iterate over it for the pieces.

    Attributes:
      status: the HTTP status.
      headers: all headers, names in lower case.
    """

    def __init__(self, head: h11.Response, connection: _Connection, subject: str) -> None:
        self.status: Final[int] = head.status_code
        self.headers: Final[Headers] = list(head.headers)
        self._connection = connection
        self._subject = subject

    def __aiter__(self) -> ResponseStream:
        return self

    async def __anext__(self) -> bytes:
        with _explained(self._subject):
            piece = await self._connection.next_piece()
        if not piece:
            raise StopAsyncIteration
        return piece

    async def read(self, max_size: int) -> bytes:
        """Return the whole body.

        Raises:
          HttpClientError: it is longer than `max_size` bytes, or ends too early.
        """
        body = bytearray()
        async for piece in self:
            body += piece
            if len(body) > max_size:
                raise HttpClientError(f"{self._subject}: a body of more than {max_size} bytes, which is the limit")
        return bytes(body)


class HttpClient:
    """Sends requests; made by `open_http_client`."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self._tls = tls
        self._idle: deque[_Connection] = deque()

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Headers = (),
        body: bytes = b"",
        time_limit: float,
        max_size: int,
    ) -> Response:
        """Send a request and return its whole response, whatever its status.

        Args:
          time_limit: seconds for all of it.
          max_size: the longest body accepted, in bytes.

        Raises:
          HttpClientError: there is none.
        """
        with trio.move_on_after(time_limit):
            async with self.open_request(method, url, headers=headers, body=body) as response:
                return Response(response.status, response.headers, await response.read(max_size))
        raise HttpClientError(f"{method} {shown_url(url)}: no whole answer within {time_limit:g} s")

    @asynccontextmanager
    async def open_request(
        self, method: str, url: str, *, headers: Headers = (), body: bytes = b""
    ) -> AsyncIterator[ResponseStream]:
        """Send a request; the block gets its response as soon as the head of it is there.

        A body that has not been read to its end when the block is left costs the connection, and nothing else.  There is no
        limit in time; the caller's scope is one.

        Raises:
          HttpClientError: there is no response.
        """
        connection, head = await self._ask(method, url, headers, body)
        redirects = 0
        try:
            while method == "GET" and (target := _redirect(head, url)) is not None:
                redirects += 1
                if redirects > _MAX_REDIRECTS:
                    raise HttpClientError(f"GET {shown_url(url)}: redirected more than {_MAX_REDIRECTS} times")
                await connection.close()
                connection, head = await self._ask(method, target, headers, body)
                url = target
            yield ResponseStream(head, connection, f"{method} {shown_url(url)}")
        finally:
            await self._put_back(connection)

    async def _ask(self, method: str, url: str, headers: Headers, body: bytes) -> tuple[_Connection, h11.Response]:
        if not is_http_url(url):
            raise HttpClientError(f"{method} {shown_url(url)}: no URL of http or https")
        subject = f"{method} {shown_url(url)}"
        request = _compose(method, url, headers, body)
        where = origin(urlsplit(url))
        while True:
            with _explained(subject):
                kept = await self._take(where)
                connection = kept or await self._connect(where)
                try:
                    return connection, await connection.ask(request, body)
                except _Disconnected as error:
                    await connection.close()
                    if kept is None or method != "GET":
                        raise HttpClientError(f"{subject}: the server has closed the connection") from error
                except BaseException:
                    await connection.close()
                    raise

    async def _connect(self, where: Origin) -> _Connection:
        scheme, host, port = where
        socket = await trio.open_tcp_stream(host, port)
        if scheme == "http":
            return _Connection(socket, socket, where)
        # Many servers close without the closing alert of TLS; that a body is whole, its framing says.
        stream = trio.SSLStream(socket, self._tls or _default_tls(), server_hostname=host, https_compatible=True)
        try:
            await stream.do_handshake()
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return _Connection(stream, socket, where)

    async def _take(self, where: Origin) -> _Connection | None:
        """Return a connection that can be used again, and close those that no longer can."""
        oldest = trio.current_time() - _IDLE_TIME
        for connection in list(self._idle):
            if connection in self._idle and not (connection.idle_since > oldest and connection.is_quiet):
                self._idle.remove(connection)
                await connection.close()
        found = next((connection for connection in self._idle if connection.origin == where), None)
        if found is not None:
            self._idle.remove(found)
        return found

    async def _put_back(self, connection: _Connection) -> None:
        if not connection.is_reusable or len(self._idle) >= _MAX_IDLE:
            await connection.close()
            return
        connection.http.start_next_cycle()
        connection.idle_since = trio.current_time()
        self._idle.append(connection)

    async def close(self) -> None:
        """Close the connections that nobody uses."""
        while self._idle:
            await self._idle.pop().close()


@asynccontextmanager
async def open_http_client(*, verify: bool = True, ca_file: Path | None = None) -> AsyncIterator[HttpClient]:
    """Open a client; requests are to end within the block.

    Args:
      verify: whether a server's certificate has to be good, and to have the server's name.
      ca_file: who signs certificates, instead of those whom the system trusts (PEM).

    Raises:
      HttpClientError: the file can't be used.
    """
    # The system's is loaded when it is first needed: it takes a while, and many ask plain HTTP only.
    client = HttpClient(None if verify and ca_file is None else _make_tls(verify, ca_file))
    try:
        yield client
    finally:
        await client.close()


def _make_tls(verify: bool, ca_file: Path | None) -> ssl.SSLContext:
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
def _default_tls() -> ssl.SSLContext:
    return _make_tls(True, None)


def _compose(method: str, url: str, headers: Headers, body: bytes) -> h11.Request:
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    all_headers: list[tuple[bytes, bytes]] = [
        (b"host", parts.netloc.encode()),
        (b"user-agent", f"trioproxy/{__version__}".encode()),
        *headers,
    ]
    if body or method not in ("GET", "HEAD", "DELETE"):
        all_headers.append((b"content-length", b"%d" % len(body)))
    try:
        return h11.Request(method=method, target=target, headers=all_headers)
    except h11.LocalProtocolError as error:
        raise HttpClientError(f"{method} {shown_url(url)}: can't be sent: {error}") from error


def _redirect(head: h11.Response, url: str) -> str | None:
    """Return where a response leads, None if it is an answer itself.

    Raises:
      HttpClientError: it leads to another origin.
    """
    location: bytes | None = next((value for name, value in head.headers if name == b"location"), None)
    if head.status_code not in _REDIRECTS or location is None:
        return None
    try:
        target = urljoin(url, location.decode("latin-1")).partition("#")[0]
    except ValueError:
        target = location.decode("latin-1")
    if not is_http_url(target) or origin(urlsplit(target)) != origin(urlsplit(url)):
        raise HttpClientError(f"GET {shown_url(url)}: redirected elsewhere, to {shown_url(target)[:200]!r}")
    return target


@contextmanager
def _explained(subject: str) -> Iterator[None]:
    """Turn what can go wrong with a connection into one error."""
    try:
        yield
    except h11.ProtocolError as error:
        raise HttpClientError(f"{subject}: the answer is not HTTP: {error}") from error
    except (OSError, UnicodeError, trio.BrokenResourceError) as error:
        raise HttpClientError(f"{subject}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """Return what was really wrong: trio tells it as the cause of something more general."""
    cause = error.__cause__
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    root = cause or error
    if isinstance(root, ssl.SSLCertVerificationError):
        return f"its certificate is not good: {root.verify_message}"
    if isinstance(root, ssl.SSLError):
        return f"no TLS: {root.reason or root}"
    return getattr(root, "strerror", None) or str(root) or "the connection broke"
