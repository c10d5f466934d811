"""An HTTP client for what we ask ourselves: HTTP/1.1 over trio with h11, TLS checked, everything bounded (RFC 9112).

    async with open_http_client() as client:
        response = await client.request("GET", url, time_limit=10, max_size=65536)

A connection belongs to the block of one request, then to the client until the next request to the same origin, and none
outlives the client's block; so any number of responses may be open at a time.  A connection that a server has closed
meanwhile is noticed before it is used; where the close and the request meet on the way, a GET is sent again on a new one,
and nothing else is, unless the caller says that it may.

Proxies are those that are handed in; the environment is not asked here.  No cookies, no compression; no redirects but those
to the same origin that leave the method as it is, since what we ask often carries a secret that is nobody else's.
"""

from __future__ import annotations

import ssl
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Final
from urllib.parse import urljoin, urlsplit

import h11
import trio

from . import __version__
from .http_connection import (
    Connection,
    CouldNotConnect,
    Disconnected,
    Headers,
    HttpClientError,
    Route,
    default_tls,
    dial,
    explained,
    make_tls,
    refusal_of_proxy,
)
from .http_proxies import Proxies, UnusableProxy
from .protocol.urls import is_http_url, origin, shown_url

__all__ = [
    "CouldNotConnect",
    "Headers",
    "HttpClient",
    "HttpClientError",
    "Response",
    "ResponseStream",
    "find_header",
    "open_http_client",
]

CONNECT_TIME: Final = 30.0
"""Seconds for a connection, its proxy and its TLS included."""
_MAX_REDIRECTS: Final = 5
_MAX_IDLE: Final = 8
"""Connections to one origin that are kept for requests to come."""
_IDLE_TIME: Final = 15.0
"""Seconds for which they are."""
_REDIRECTS: Final = {"GET": frozenset({301, 302, 303, 307, 308})}
_SAME_METHOD: Final = frozenset({307, 308})
"""Redirects after which a request of any other method is still itself (RFC 9110 §15.4)."""


def find_header(headers: Headers, name: bytes) -> str | None:
    """Return the first value of a header, None if there is none.

    Args:
      headers: as a response has them, names in lower case.
    """
    return next((value.decode("latin-1") for key, value in headers if key == name), None)


@dataclass(frozen=True)
class Response:
    """A whole response; names of headers are in lower case."""

    status: int
    headers: Headers
    body: bytes


class ResponseStream:
    """A response whose body is still coming: iterate over it for the pieces.

    Attributes:
      status: the HTTP status.
      headers: all headers, names in lower case.
    """

    def __init__(self, head: h11.Response, connection: Connection, subject: str) -> None:
        self.status: Final[int] = head.status_code
        self.headers: Final[Headers] = list(head.headers)
        self._connection = connection
        self._subject = subject

    def __aiter__(self) -> ResponseStream:
        return self

    async def __anext__(self) -> bytes:
        with explained(self._subject):
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


@dataclass(frozen=True)
class _Ask:
    """A request, and how it may be sent; its URL aside, which changes with redirects."""

    method: str
    headers: Headers
    body: bytes
    is_safe: bool
    on_connected: Callable[[], None]

    def compose(self, url: str, route: Route, subject: str) -> h11.Request:
        """Return the head of the request.

        Raises:
          HttpClientError: a method or a header is none.
        """
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        all_headers: list[tuple[bytes, bytes]] = [
            (b"host", parts.netloc.encode()),
            (b"user-agent", f"trioproxy/{__version__}".encode()),
            *self.headers,
        ]
        if self.body or self.method not in ("GET", "HEAD", "DELETE"):
            all_headers.append((b"content-length", b"%d" % len(self.body)))
        if route.proxy is not None and parts.scheme == "http":
            # To a proxy the whole URL is the target; one of https is told in a tunnel, which the proxy does not look into.
            target = f"http://{parts.netloc}{target}"
            if route.proxy.authorization is not None:
                all_headers.append((b"proxy-authorization", route.proxy.authorization))
        try:
            return h11.Request(method=self.method, target=target, headers=all_headers)
        except h11.LocalProtocolError as error:
            raise HttpClientError(f"{subject}: can't be sent: {error}") from error


class HttpClient:
    """Sends requests; made by `open_http_client`."""

    def __init__(self, tls: Callable[[], ssl.SSLContext], proxies: Proxies, connect_timeout: float) -> None:
        self._tls = tls
        self._proxies = proxies
        self._connect_timeout = connect_timeout
        self._idle: deque[Connection] = deque()

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Headers = (),
        body: bytes = b"",
        time_limit: float,
        max_size: int,
        is_safe: bool = False,
        follows_redirects: bool = True,
    ) -> Response:
        """Send a request and return its whole response, whatever its status.

        Args:
          time_limit: seconds for all of it.
          max_size: the longest body accepted, in bytes.

        Raises:
          HttpClientError: there is none.
        """
        with trio.move_on_after(time_limit):
            async with self.open_request(
                method,
                url,
                headers=headers,
                body=body,
                is_safe=is_safe,
                follows_redirects=follows_redirects,
            ) as response:
                return Response(response.status, response.headers, await response.read(max_size))
        raise HttpClientError(f"{method} {shown_url(url)}: no whole answer within {time_limit:g} s")

    @asynccontextmanager
    async def open_request(
        self,
        method: str,
        url: str,
        *,
        headers: Headers = (),
        body: bytes = b"",
        is_safe: bool = False,
        follows_redirects: bool = True,
        on_connected: Callable[[], None] = lambda: None,
    ) -> AsyncIterator[ResponseStream]:
        """Send a request; the block gets its response as soon as the head of it is there.

        A body that has not been read to its end when the block is left costs the connection, and nothing else.  Only the
        connecting has a limit in time; for the rest the caller's scope is one.

        Args:
          is_safe: the request may be sent twice, as a GET always may (RFC 9110 §9.2.2): it is sent again if a connection
            that was kept turns out to be closed.
          follows_redirects: a redirect within the origin is followed, and one that leads elsewhere is an error; otherwise
            it is an answer like any other.
          on_connected: called before anything is sent: from then on nobody can tell whether the server has acted on it.

        Raises:
          CouldNotConnect: nothing was sent.
          HttpClientError: there is no response.
        """
        ask = _Ask(method, headers, body, is_safe or method == "GET", on_connected)
        connection, head = await self._ask(url, ask)
        redirects = 0
        try:
            while follows_redirects and (target := _redirect(head, method, url)) is not None:
                redirects += 1
                if redirects > _MAX_REDIRECTS:
                    raise HttpClientError(f"{method} {shown_url(url)}: redirected more than {_MAX_REDIRECTS} times")
                await connection.close()
                connection, head = await self._ask(target, ask)
                url = target
            yield ResponseStream(head, connection, f"{method} {shown_url(url)}")
        finally:
            await self._put_back(connection)

    async def _ask(self, url: str, ask: _Ask) -> tuple[Connection, h11.Response]:
        subject = f"{ask.method} {shown_url(url)}"
        if not is_http_url(url):
            raise HttpClientError(f"{subject}: no URL of http or https")
        route = self._route(url, subject)
        request = ask.compose(url, route, subject)
        while True:
            kept = await self._take(route)
            connection = kept or await self._connect(route, subject)
            ask.on_connected()
            try:
                with explained(subject):
                    head = await connection.ask(request, ask.body)
                if head.status_code == 407 and route.proxy is not None:
                    raise HttpClientError(f"{subject}: {refusal_of_proxy(407, bytes(head.reason), route.proxy)}")
            except Disconnected as error:
                await connection.close()
                if kept is None or not ask.is_safe:
                    raise HttpClientError(f"{subject}: the server has closed the connection") from error
            except BaseException:
                await connection.close()
                raise
            else:
                return connection, head

    def _route(self, url: str, subject: str) -> Route:
        where = origin(urlsplit(url))
        try:
            return Route(where, self._proxies.find(*where))
        except UnusableProxy as error:
            raise CouldNotConnect(f"{subject}: {error}") from error

    async def _connect(self, route: Route, subject: str) -> Connection:
        with trio.move_on_after(self._connect_timeout):
            return await dial(route, self._tls, subject)
        raise CouldNotConnect(f"{subject}: no connection within {self._connect_timeout:g} s")

    async def _take(self, route: Route) -> Connection | None:
        """Return a connection that can be used again, and close those that no longer can."""
        oldest = trio.current_time() - _IDLE_TIME
        for connection in list(self._idle):
            if connection in self._idle and not (connection.idle_since > oldest and connection.is_quiet):
                self._idle.remove(connection)
                await connection.close()
        # The one that was used last is the one that the server will keep for longest.
        found = next((connection for connection in reversed(self._idle) if connection.route == route), None)
        if found is not None:
            self._idle.remove(found)
        return found

    async def _put_back(self, connection: Connection) -> None:
        is_one_more = Counter(kept.route for kept in self._idle)[connection.route] < _MAX_IDLE
        if not (is_one_more and connection.start_next()):
            await connection.close()
            return
        connection.idle_since = trio.current_time()
        self._idle.append(connection)

    async def close(self) -> None:
        """Close the connections that nobody uses."""
        # None of them takes any time; but the first one would hear of a cancellation, and the others be left open.
        with trio.CancelScope(shield=True):
            while self._idle:
                await self._idle.pop().close()


@asynccontextmanager
async def open_http_client(
    *,
    verify: bool = True,
    ca_file: Path | None = None,
    proxies: Proxies | None = None,
    connect_timeout: float = CONNECT_TIME,
) -> AsyncIterator[HttpClient]:
    """Open a client; requests are to end within the block.

    Args:
      verify: whether a server's certificate has to be good, and to have the server's name.
      ca_file: who signs certificates, instead of those whom the system trusts (PEM).
      proxies: through whom whom is asked; None for everybody directly.
      connect_timeout: seconds for a connection.

    Raises:
      HttpClientError: the file can't be used.
    """
    # The system's is loaded when it is first needed: it takes a while, and many ask plain HTTP only.
    tls: Callable[[], ssl.SSLContext] = default_tls
    if not verify or ca_file is not None:
        tls = cache(partial(make_tls, verify, ca_file))
        tls()  # a file that can't be used is told at once
    client = HttpClient(tls, proxies or Proxies(), connect_timeout)
    try:
        yield client
    finally:
        await client.close()


def _redirect(head: h11.Response, method: str, url: str) -> str | None:
    """Return where a response leads, None if it is an answer itself.

    Raises:
      HttpClientError: it leads to another origin.
    """
    location = find_header(list(head.headers), b"location")
    if head.status_code not in _REDIRECTS.get(method, _SAME_METHOD) or location is None:
        return None
    try:
        target = urljoin(url, location).partition("#")[0]
    except ValueError:
        target = location
    if not is_http_url(target) or origin(urlsplit(target)) != origin(urlsplit(url)):
        raise HttpClientError(f"{method} {shown_url(url)}: redirected elsewhere, to {shown_url(target)[:200]!r}")
    return target
