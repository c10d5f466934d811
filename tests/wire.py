"""HTTP as it is on the wire, for tests: requests byte by byte if need be, responses event by event.

Written on h11 and trio alone, and on nothing of trioproxy's, so that the two can't agree on the same mistake.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import h11
import trio

JSON_HEADERS = {"content-type": "application/json", "accept": "application/json, text/event-stream"}


@dataclass
class Event:
    """One server-sent event; `data` is None for a comment or an event without the field."""

    name: str = "message"
    id: str | None = None
    data: str | None = None
    retry: int | None = None
    comment: str | None = None

    @property
    def message(self) -> Any:
        """The JSON that the event carries."""
        assert self.data is not None
        return json.loads(self.data)


@dataclass
class Answer:
    """A response, its body read to the end."""

    status: int
    headers: dict[str, str]
    body: bytes = b""

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def events(self) -> list[Event]:
        """The events of a body that was an event stream."""
        return _parse_events(self.body)

    @property
    def messages(self) -> list[Any]:
        """The messages of the body, however it carried them."""
        if self.headers.get("content-type") == "application/json":
            return self.json if isinstance(self.json, list) else [self.json]
        return [event.message for event in self.events if event.data]


class Stream:
    """A response whose body is still coming."""

    def __init__(self, connection: Connection, head: h11.Response) -> None:
        self.status = head.status_code
        self.headers = _headers(head)
        self._connection = connection
        self._buffer = b""
        self.has_ended = False

    async def next_event(self) -> Event | None:
        """Return the next event or comment, None at the end of the stream."""
        while b"\n\n" not in self._buffer:
            data = await self._connection.next_data()
            if data is None:
                self.has_ended = True
                assert not self._buffer, f"half an event: {self._buffer!r}"
                return None
            self._buffer += data
        block, _, self._buffer = self._buffer.partition(b"\n\n")
        return _parse_events(block + b"\n\n")[0]

    async def next_message(self) -> Any:
        """Return the next message, whatever comes before it; None at the end of the stream."""
        while (event := await self.next_event()) is not None:
            if event.data:
                return event.message
        return None

    async def rest(self) -> list[Any]:
        """Return every further message up to the end of the stream."""
        messages = []
        while (message := await self.next_message()) is not None:
            messages.append(message)
        return messages


@dataclass
class Connection:
    """One connection to a server."""

    stream: trio.abc.Stream
    host: str
    http: h11.Connection = field(default_factory=lambda: h11.Connection(h11.CLIENT))

    async def send(self, method: str, path: str, headers: Mapping[str, str] = {}, body: bytes = b"") -> h11.Response:
        """Send a request and return the head of its response."""
        if self.http.our_state is h11.DONE:
            self.http.start_next_cycle()
        all_headers = {"host": self.host, **({"content-length": str(len(body))} if body else {}), **headers}
        data = self.http.send(h11.Request(method=method, target=path, headers=list(all_headers.items()))) or b""
        if body:
            data += self.http.send(h11.Data(data=body)) or b""
        data += self.http.send(h11.EndOfMessage()) or b""
        await self.stream.send_all(data)
        while True:
            event = await self._next_event()
            if isinstance(event, h11.Response):
                return event
            assert isinstance(event, h11.InformationalResponse), f"no response: {event!r}"

    async def request(self, method: str, path: str, headers: Mapping[str, str] = {}, body: bytes = b"") -> Answer:
        """Send a request and return its whole response."""
        head = await self.send(method, path, headers, body)
        answer = Answer(head.status_code, _headers(head))
        while (data := await self.next_data()) is not None:
            answer.body += data
        return answer

    async def next_data(self) -> bytes | None:
        """Return the next bytes of the body, None at its end."""
        event = await self._next_event()
        if isinstance(event, h11.Data):
            return bytes(event.data)
        assert isinstance(event, h11.EndOfMessage), f"the body was cut off: {event!r}"
        return None

    async def _next_event(self) -> Any:
        while (event := self.http.next_event()) is h11.NEED_DATA:
            self.http.receive_data(bytes(await self.stream.receive_some(65536)))
        return event


@asynccontextmanager
async def connect(url: str) -> AsyncIterator[Connection]:
    """Open a connection to the server at `url`."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    async with await trio.open_tcp_stream(parts.hostname, parts.port) as stream:
        yield Connection(stream, parts.netloc)


async def request(url: str, method: str = "GET", headers: Mapping[str, str] = {}, body: bytes = b"") -> Answer:
    """Send one request on a connection of its own."""
    parts = urlsplit(url)
    async with connect(url) as connection:
        return await connection.request(method, parts.path + (f"?{parts.query}" if parts.query else ""), headers, body)


@asynccontextmanager
async def open_stream(
    url: str, method: str = "GET", headers: Mapping[str, str] = {}, body: bytes = b""
) -> AsyncIterator[Stream]:
    """Send one request on a connection of its own, and read its response event by event; leaving cuts it off."""
    parts = urlsplit(url)
    async with connect(url) as connection:
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        yield Stream(connection, await connection.send(method, path, headers, body))


class Client:
    """A client of Streamable HTTP: one session, and the headers that it needs."""

    def __init__(self, url: str, revision: str) -> None:
        self.url = url
        self.revision = revision
        self.session_id = ""
        self.initialize_result: Any = None

    @property
    def headers(self) -> dict[str, str]:
        """The headers of a request within the session."""
        return {**JSON_HEADERS, "mcp-session-id": self.session_id, "mcp-protocol-version": self.revision}

    async def post(self, message: Any, **more: str) -> Answer:
        """POST a message, given as a value or as bytes, and return the whole response."""
        return await request(self.url, "POST", {**self.headers, **_dashed(more)}, _encode(message))

    def open_post(self, message: Any, **more: str) -> Any:
        """POST a message and read the response event by event (`async with`)."""
        return open_stream(self.url, "POST", {**self.headers, **_dashed(more)}, _encode(message))

    def listen(self, **more: str) -> Any:
        """GET the standalone stream, or another with `last_event_id=…` (`async with`)."""
        headers = {**self.headers, "accept": "text/event-stream", **_dashed(more)}
        return open_stream(self.url, "GET", headers)

    async def call(self, tool: str, request_id: int | str = 1, token: Any = None, **arguments: Any) -> Answer:
        """Call a tool, and return the whole response."""
        return await self.post(tool_call(tool, request_id, token, **arguments))


async def initialize(url: str, revision: str = "2025-11-25", capabilities: Mapping[str, Any] = {}) -> Client:
    """Open a session at a Streamable HTTP endpoint, handshake done."""
    client = Client(url, revision)
    params = {"protocolVersion": revision, "capabilities": capabilities, "clientInfo": {"name": "wire", "version": "1"}}
    body = _encode({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})
    answer = await request(url, "POST", JSON_HEADERS, body)
    assert answer.status == 200, answer
    client.session_id = answer.headers["mcp-session-id"]
    (client.initialize_result,) = (message["result"] for message in answer.messages)
    initialized = await client.post({"jsonrpc": "2.0", "method": "notifications/initialized"})
    assert initialized.status == 202, initialized
    return client


def tool_call(tool: str, request_id: int | str = 1, token: Any = None, **arguments: Any) -> dict[str, Any]:
    """Return a tools/call request."""
    params: dict[str, Any] = {"name": tool, "arguments": arguments}
    if token is not None:
        params["_meta"] = {"progressToken": token}
    return {"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": params}


def _encode(message: Any) -> bytes:
    return message if isinstance(message, bytes) else json.dumps(message).encode()


def _dashed(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def _headers(head: h11.Response) -> dict[str, str]:
    return {name.decode(): value.decode("latin-1") for name, value in head.headers}


def _parse_events(body: bytes) -> list[Event]:
    events = []
    for block in body.decode().split("\n\n")[:-1]:
        event = Event()
        data: list[str] = []
        for line in block.split("\n"):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "":
                event.comment = value
            elif name == "data":
                data.append(value)
            elif name == "event":
                event.name = value
            elif name == "id":
                event.id = value
            elif name == "retry":
                event.retry = int(value)
        if data:
            event.data = "\n".join(data)
        events.append(event)
    return events
