"""HTTP and server-sent events as they are on the wire, for checks that must be able to do it wrong.

    wire = Wire(parse_address("http://127.0.0.1:8080/mcp"))
    async with wire.open("POST", {"accept": "…"}, body) as reply:
        reply.status, reply.headers
        event = await reply.next_event()

Each request has a connection of its own, which is cut when its block is left; `wire.connect` gives a connection for many
requests, or for bytes that are no request at all.  Nothing is corrected, followed or retried.  What went over the wire is
written into `wire.transcript`, since a verdict without its evidence is an opinion.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import urlsplit

import h11
import trio

from .events import MAX_BODY, Event, EventParser, WireError

Headers = Mapping[str, str] | Sequence[tuple[str, str]]
Dial = Callable[["Address"], Awaitable[trio.abc.Stream]]

_READ_SIZE: Final = 64 * 1024
_MAX_HEAD: Final = 64 * 1024
SHOWN: Final = 600
"""Characters of a body that the transcript keeps."""


@dataclass(frozen=True)
class Address:
    """Where an endpoint is: a URL taken apart."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """The value of a Host header, and the middle of an origin."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The address as a URL again."""
        return f"{self.scheme}://{self.authority}{self.target}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can get there."""
        return self.host == "localhost" or self.host.startswith("127.") or self.host == "::1"


_PORTS: Final = {"http": 80, "https": 443}


def parse_address(url: str) -> Address:
    """Take a URL apart.

    Raises:
      ValueError: it is no http or https URL.
    """
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError(f"not an http or https URL: {url}")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Address(parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme], target)


async def dial(address: Address) -> trio.abc.Stream:
    """Open a connection over TCP, with TLS for https."""
    if address.scheme == "http":
        return await trio.open_tcp_stream(address.host, address.port)
    context = ssl.create_default_context()
    stream = await trio.open_ssl_over_tcp_stream(address.host, address.port, ssl_context=context, https_compatible=True)
    await stream.do_handshake()
    return stream


class Reply:
    """A response, of which the head has come; its body comes as it is asked for."""

    def __init__(self, connection: Connection, head: h11.Response, note: Callable[[str], None]) -> None:
        self.status: int = head.status_code
        self.headers = _read_headers(head)
        self._connection = connection
        self._parser = EventParser()
        self._events: list[Event] = []
        self._note = note
        self._has_ended = False

    @property
    def content_type(self) -> str:
        """The media type, without parameters and in lower case."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def is_stream(self) -> bool:
        """Whether the body is a stream of server-sent events."""
        return self.content_type == "text/event-stream"

    async def next_data(self) -> bytes | None:
        """Return the next bytes of the body; None at its end."""
        event = await self._connection.next_event()
        if isinstance(event, h11.Data):
            return bytes(event.data)
        if isinstance(event, h11.EndOfMessage):
            self._has_ended = True
            return None
        raise WireError(f"the body was cut off: {event!r}")

    async def body(self) -> bytes:
        """Return the whole body."""
        body = b""
        while not self._has_ended and (data := await self.next_data()) is not None:
            body += data
            if len(body) > MAX_BODY:
                raise WireError(f"a body of more than {MAX_BODY} bytes")
        if body:
            self._note(_shorten(body.decode(errors="replace")))
        return body

    async def json(self) -> Any:
        """Return the whole body as JSON; None if it is none.

        Raises:
          WireError: it is not UTF-8.
        """
        body = await self.body()
        try:
            return json.loads(body.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise WireError(f"a body that is not UTF-8: {body[:100]!r}") from error
        except ValueError:
            return None

    async def next_event(self) -> Event | None:
        """Return the next event or comment; None at the end of the stream."""
        while not self._events:
            if self._has_ended or (data := await self.next_data()) is None:
                return None
            self._events += self._parser.feed(data)
        event = self._events.pop(0)
        shown = ", ".join(f"{name}: {value}" for name, value in vars(event).items() if value is not None)
        self._note(_shorten(f"event {shown}"))
        return event


class Connection:
    """One connection: requests one after the other, or bytes that no client would send."""

    def __init__(self, stream: trio.abc.Stream, wire: Wire) -> None:
        self.stream = stream
        self._wire = wire
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)

    async def send(self, method: str, headers: Headers = (), body: bytes = b"", target: str | None = None) -> Reply:
        """Send a request and return its response, whose body must be read before the next is sent."""
        await self.send_bytes(self._wire.encode_request(method, headers, body, target))
        # What has been sent is not h11's business, since it need not be right: it hears of a request that is.
        if self._http.our_state is h11.DONE:
            self._http.start_next_cycle()
        self._http.send(h11.Request(method=method, target="/", headers=[("host", "h")]))
        self._http.send(h11.EndOfMessage())
        return await self.reply()

    async def send_bytes(self, data: bytes) -> None:
        """Send bytes as they are."""
        head, _, body = data.partition(b"\r\n\r\n")
        self._wire.note(f"> {_shorten(head.decode(errors='replace').splitlines()[0] if head else '')}")
        if body:
            self._wire.note(f"> {_shorten(body.decode(errors='replace'))}")
        try:
            await self.stream.send_all(data)
        except trio.BrokenResourceError:
            # Who refuses early may close early: the answer is still there to be read.
            self._wire.note("> (the connection broke while this was sent)")

    async def reply(self) -> Reply:
        """Wait for the head of a response."""
        while True:
            event = await self.next_event()
            if isinstance(event, h11.Response):
                self._wire.note(f"< {event.status_code} {_read_headers(event).get('content-type', '')}".rstrip())
                return Reply(self, event, lambda text: self._wire.note(f"< {text}"))
            if not isinstance(event, h11.InformationalResponse):
                raise WireError(f"no response: {event!r}")

    async def next_event(self) -> Any:
        """Return the next of h11's events."""
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                self._http.receive_data(bytes(await self.stream.receive_some(_READ_SIZE)))
        except h11.RemoteProtocolError as error:
            raise WireError(f"not HTTP: {error}") from error
        except trio.BrokenResourceError as error:
            raise WireError("the connection was reset") from error
        return event


@dataclass
class Wire:
    """How to reach an endpoint, and what has been said to it.

    Args:
      headers: sent with each request, as credentials are.
      dial: opens a connection; memory streams in tests.
    """

    address: Address
    headers: Mapping[str, str] = field(default_factory=dict)
    dial: Dial = dial
    transcript: list[str] = field(default_factory=list)

    def note(self, line: str) -> None:
        """Write a line into the transcript; the oldest make room."""
        self.transcript.append(line)
        del self.transcript[:-200]

    def encode_request(self, method: str, headers: Headers = (), body: bytes = b"", target: str | None = None) -> bytes:
        """Return a request as bytes; `headers` may repeat a name, and replace those of every request."""
        given = list(headers.items() if isinstance(headers, Mapping) else headers)
        names = {name.lower() for name, _ in given}
        standard = {"host": self.address.authority, "user-agent": "mcp-conformance", **self.headers}
        if body or method == "POST":
            standard["content-length"] = str(len(body))
        lines = [f"{method} {target or self.address.target} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in standard.items() if name.lower() not in names]
        lines += [f"{name}: {value}" for name, value in given]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Connection]:
        """Open a connection; leaving the block cuts it."""
        stream = await self.dial(self.address)
        try:
            yield Connection(stream, self)
        finally:
            await trio.aclose_forcefully(stream)

    @asynccontextmanager
    async def open(
        self, method: str, headers: Headers = (), body: bytes = b"", target: str | None = None
    ) -> AsyncIterator[Reply]:
        """Send one request on a connection of its own; leaving the block cuts it, whatever has come by then."""
        async with self.connect() as connection:
            yield await connection.send(method, headers, body, target)

    def at(self, target: str) -> Wire:
        """The same peer, the same transcript, another path."""
        return replace(self, address=replace(self.address, target=target), transcript=self.transcript)


OpenReply = Callable[..., AbstractAsyncContextManager[Reply]]


def encode(message: Any) -> bytes:
    """Return a message as JSON."""
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()


def _read_headers(head: h11.Response) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in head.headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _shorten(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}… ({len(text)} characters)"
