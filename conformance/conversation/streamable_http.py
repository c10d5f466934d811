"""Streamable HTTP as a client uses it: in sessions (2025-03-26 to 2025-11-25), and in single requests (2026-07-28)."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

import trio

from ..events import Event, WireError
from ..wire import Reply, Wire, encode
from .talk import (
    CLIENT_INFO,
    INITIALIZED,
    JSON_AND_SSE,
    MODERN,
    NAMED_BY,
    RESERVED,
    Call,
    Conversation,
    Message,
    Misbehaved,
    encode_header,
    initialize_request,
    parse_messages,
)


class HttpCall(Call):
    """A request whose messages come in the response of its own POST."""

    def __init__(self, request: Message, reply: Reply) -> None:
        super().__init__(request)
        self.reply = reply
        self.events: list[Event] = []
        self._waiting: deque[Message] = deque()
        self._has_read_body = False

    @property
    def event_ids(self) -> list[str]:
        """The ids of the events so far."""
        return [event.id for event in self.events if event.id]

    async def _next(self) -> Message | None:
        if not self.reply.is_stream and not self._has_read_body:
            self._has_read_body = True
            value = await self.reply.json()
            # A refusal may have a body that is no message, or none at all.
            self._waiting.extend(m for m in (value if isinstance(value, list) else [value]) if isinstance(m, dict))
        while not self._waiting and self.reply.is_stream and (event := await self.reply.next_event()) is not None:
            self.events.append(event)
            if event.data and event.name == "message":
                self._waiting.extend(parse_messages(event.data))
        return self._waiting.popleft() if self._waiting else None


class Session(Conversation):
    """A session of Streamable HTTP, or what is one without an id."""

    def __init__(self, wire: Wire, revision: str) -> None:
        super().__init__(revision)
        self.wire = wire
        self.session_id: str | None = None
        self.initialize_reply: Reply | None = None

    def headers(self, **more: str) -> dict[str, str]:
        """The headers of a POST within the session; an empty one is left out."""
        headers = {"content-type": "application/json", "accept": JSON_AND_SSE}
        if self.session_id is not None:
            headers["mcp-session-id"] = self.session_id
        if self.revision >= "2025-06-18" and self.initialize_reply is not None:
            headers["mcp-protocol-version"] = self.revision
        headers |= {name.replace("_", "-"): value for name, value in more.items()}
        return {name: value for name, value in headers.items() if value}

    @asynccontextmanager
    async def open(self, message: Message, **headers: str) -> AsyncIterator[HttpCall]:
        """POST a request."""
        async with self.wire.open("POST", self.headers(**headers), encode(message)) as reply:
            yield HttpCall(message, reply)

    async def tell(self, message: Any, **headers: str) -> Reply:
        """POST what gets no answer; bytes go as they are."""
        body = message if isinstance(message, bytes) else encode(message)
        async with self.wire.open("POST", self.headers(**headers), body) as reply:
            reply_body = b"" if reply.is_stream else await reply.body()
            reply.headers["x-body"] = reply_body.decode(errors="replace")
            return reply

    def listen(self, **headers: str) -> AbstractAsyncContextManager[Reply]:
        """GET the standalone stream, or with `last_event_id=` what is left of another."""
        given = self.headers(accept="text/event-stream", content_type="", **headers)
        return self.wire.open("GET", given)

    async def end(self) -> int:
        """DELETE the session, and return the status."""
        async with self.wire.open("DELETE", self.headers(content_type="")) as reply:
            return reply.status


@asynccontextmanager
async def open_session(
    wire: Wire, revision: str, capabilities: Mapping[str, Any] | None = None, *, initialized: bool = True
) -> AsyncIterator[Session]:
    """Open a session, and end it with the block.

    Args:
      initialized: send `notifications/initialized`, too.

    Raises:
      Misbehaved: there is no InitializeResult.
    """
    session = Session(wire, revision)
    async with session.open(initialize_request(revision, capabilities)) as call:
        await call.finish()
        session.initialize_result = call.result
        session.session_id = call.reply.headers.get("mcp-session-id")
        session.initialize_reply = call.reply
    try:
        if initialized:
            reply = await session.tell(INITIALIZED)
            if reply.status >= 300:
                raise Misbehaved("202 for notifications/initialized", reply.status)
        yield session
    finally:
        if session.session_id is not None:
            # A client that no longer needs a session SHOULD say so; who says so while it is being cancelled gets a second.
            with trio.move_on_after(1, shield=True):
                with suppress(WireError, OSError):
                    await session.end()


class Requests(Conversation):
    """A client of 2026-07-28: each request says everything, and none knows of another."""

    def __init__(self, wire: Wire, capabilities: Mapping[str, Any] | None = None) -> None:
        super().__init__(MODERN)
        self.wire = wire
        self.declared = dict(capabilities or {})

    def request(self, method: str, params: Mapping[str, Any] | None = None, **more: Any) -> Message:
        """Return a request with its envelope; `capabilities=` are those of this one."""
        message = super().request(method, params or {}, **more)
        declared = more.get("capabilities", self.declared)
        meta = {
            RESERVED + "protocolVersion": self.revision,
            RESERVED + "clientInfo": dict(CLIENT_INFO),
            RESERVED + "clientCapabilities": dict(declared),
        }
        message["params"]["_meta"] = meta | message["params"].get("_meta", {})
        return message

    def headers(self, message: Any, **more: str) -> dict[str, str]:
        """The headers that repeat what a message says; an empty one is left out."""
        headers = {"content-type": "application/json", "accept": JSON_AND_SSE, "mcp-protocol-version": self.revision}
        if isinstance(message, dict):
            params = message.get("params") or {}
            headers["mcp-method"] = str(message.get("method", ""))
            headers["mcp-name"] = encode_header(str(params.get(NAMED_BY.get(headers["mcp-method"], ""), "")))
        headers |= {name.replace("_", "-"): value for name, value in more.items()}
        return {name: value for name, value in headers.items() if value}

    @asynccontextmanager
    async def open(self, message: Message, **headers: str) -> AsyncIterator[HttpCall]:
        """POST a request; leaving the block before its response cancels it."""
        async with self.wire.open("POST", self.headers(message, **headers), encode(message)) as reply:
            yield HttpCall(message, reply)

    async def tell(self, message: Any, **headers: str) -> Reply:
        """POST a notification, or what a client must not send."""
        body = message if isinstance(message, bytes) else encode(message)
        async with self.wire.open("POST", self.headers(message, **headers), body) as reply:
            reply_body = b"" if reply.is_stream else await reply.body()
            reply.headers["x-body"] = reply_body.decode(errors="replace")
            return reply
