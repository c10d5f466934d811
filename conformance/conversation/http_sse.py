"""HTTP with SSE as a client uses it (2024-11-05): one stream to listen to, and one endpoint to POST to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urljoin, urlsplit

from ..events import Event
from ..wire import Reply, Wire, encode
from .talk import INITIALIZED, Call, Conversation, Message, Misbehaved, initialize_request, parse_messages


class SseCall(Call):
    """A request whose messages come on the one stream of its session, among whatever else comes there."""

    def __init__(self, request: Message, next_message: Callable[[], Any]) -> None:
        super().__init__(request)
        self._next_message = next_message

    async def _next(self) -> Message | None:
        message: Message | None = await self._next_message()
        return message


class SseSession(Conversation):
    """A session over HTTP with SSE (2024-11-05)."""

    def __init__(self, wire: Wire, stream: Reply, capabilities: Mapping[str, Any]) -> None:
        super().__init__("2024-11-05")
        self.wire = wire
        self.stream = stream
        self.first_event: Event | None = None
        self.heard: list[Message] = []
        """Everything that the stream has brought."""
        self.endpoint: Wire = wire
        self._declared = capabilities

    async def connect(self) -> None:
        """Wait for the `endpoint` event.

        Raises:
          Misbehaved: the first event is another.
        """
        event = await self.stream.next_event() if self.stream.is_stream else None
        while event is not None and event.comment is not None and event.data is None:
            event = await self.stream.next_event()
        self.first_event = event
        if event is None or event.name != "endpoint" or not event.data:
            raise Misbehaved("an endpoint event first of all", event or f"status {self.stream.status}, no event")
        parts = urlsplit(urljoin(self.wire.address.url, event.data))
        self.endpoint = self.wire.at(parts.path + (f"?{parts.query}" if parts.query else ""))

    async def initialize(self, *, initialized: bool = True) -> None:
        """Make the handshake."""
        async with self.open(initialize_request(self.revision, self._declared)) as call:
            await call.finish()
            self.initialize_result = call.result
        if initialized:
            await self.tell(INITIALIZED)

    async def next_message(self) -> Message | None:
        """Return the next message on the stream; None at its end."""
        while (event := await self.stream.next_event()) is not None:
            if event.name == "message" and event.data:
                self.heard.append(parse_messages(event.data)[0])
                return self.heard[-1]
        return None

    @asynccontextmanager
    async def open(self, message: Message, **headers: str) -> AsyncIterator[SseCall]:
        """POST a request; what comes for it comes on the stream."""
        reply = await self.tell(message, **headers)
        if reply.status >= 300:
            raise Misbehaved(f"the request {message.get('method')} to be taken", f"status {reply.status}")
        yield SseCall(message, self.next_message)

    async def tell(self, message: Any, **headers: str) -> Reply:
        """POST a message to the endpoint that the server has named."""
        body = message if isinstance(message, bytes) else encode(message)
        given = {"content-type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.endpoint.open("POST", given, body) as reply:
            await reply.body()
            return reply


@asynccontextmanager
async def open_sse_session(
    wire: Wire, capabilities: Mapping[str, Any] | None = None, *, initialized: bool = True, handshake: bool = True
) -> AsyncIterator[SseSession]:
    """Open a session over HTTP with SSE; it ends with its stream, and that with the block."""
    async with wire.open("GET", {"accept": "text/event-stream"}) as stream:
        session = SseSession(wire, stream, capabilities or {})
        await session.connect()
        if handshake:
            await session.initialize(initialized=initialized)
        yield session
