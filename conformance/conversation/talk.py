"""What conversations of all revisions have in common: their messages, a call that is under way, and the three verbs."""

from __future__ import annotations

import base64
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Final

from ..wire import Reply

Message = dict[str, Any]

MODERN: Final = "2026-07-28"
LEGACY: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
REVISIONS: Final = (*LEGACY, MODERN)
JSON_AND_SSE: Final = "application/json, text/event-stream"
RESERVED: Final = "io.modelcontextprotocol/"
CLIENT_INFO: Final = {"name": "mcp-conformance", "version": "1"}
ASKABLE: Final[Mapping[str, Any]] = {"elicitation": {}, "sampling": {}, "roots": {}}
"""The capabilities of a client that can be asked anything."""
NAMED_BY: Final = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
"""Which parameter of a request `Mcp-Name` repeats."""


class Misbehaved(Exception):
    """The endpoint did something that leaves nothing to talk about: what was expected, and what came."""

    def __init__(self, expected: str, came: object) -> None:
        super().__init__(f"expected {expected}, got {came}")
        self.expected = expected
        self.came = str(came)


@dataclass
class Call(ABC):
    """One request that is under way."""

    request: Message
    seen: list[Message] = field(default_factory=list)
    """Every message so far, the response included."""
    response: Message | None = None

    @property
    def result(self) -> Message:
        """The result; a `Misbehaved` if there is none."""
        if self.response is None or not isinstance(self.response.get("result"), dict):
            raise Misbehaved(f"a result for {self.request.get('method')}", self.response)
        result: Message = self.response["result"]
        return result

    @property
    def error(self) -> Message:
        """The error; a `Misbehaved` if there is none."""
        if self.response is None or not isinstance(self.response.get("error"), dict):
            raise Misbehaved(f"an error for {self.request.get('method')}", self.response)
        error: Message = self.response["error"]
        return error

    async def next_message(self) -> Message | None:
        """Return the next message for this request, its response at last; None at the end of what carries them."""
        message = await self._next()
        if message is not None:
            self.seen.append(message)
            if is_response(message) and message.get("id") == self.request.get("id"):
                self.response = message
        return message

    async def finish(self) -> Call:
        """Read on to the response, or to the end."""
        while self.response is None and await self.next_message() is not None:
            pass
        return self

    def notifications(self, method: str) -> list[Message]:
        """The parameters of those notifications of `method` that have come so far."""
        return [dict(m.get("params") or {}) for m in self.seen if m.get("method") == method and "id" not in m]

    @abstractmethod
    async def _next(self) -> Message | None: ...


class Conversation(ABC):
    """What the kinds of conversation have in common."""

    revision: str
    initialize_result: Message
    """What the server said of itself: its InitializeResult, or its DiscoverResult."""

    def __init__(self, revision: str) -> None:
        self.revision = revision
        self.initialize_result = {}
        self._ids = iter(range(1, 1_000_000))

    @property
    def capabilities(self) -> Message:
        """What the server says that it can do."""
        declared = self.initialize_result.get("capabilities")
        return declared if isinstance(declared, dict) else {}

    def request(self, method: str, params: Mapping[str, Any] | None = None, **more: Any) -> Message:
        """Return a request with an id of its own; `id=` and `token=` (a progress token) say otherwise."""
        message: Message = {"jsonrpc": "2.0", "id": more.get("id", next(self._ids)), "method": method}
        if params is not None or "token" in more:
            message["params"] = dict(params or {})
        if "token" in more:
            message["params"]["_meta"] = {"progressToken": more["token"]}
        return message

    async def ask(self, method: str, params: Mapping[str, Any] | None = None, **more: Any) -> Call:
        """Send a request and wait for its response."""
        async with self.open(self.request(method, params, **more)) as call:
            return await call.finish()

    @abstractmethod
    def open(self, message: Message, **headers: str) -> AbstractAsyncContextManager[Call]:
        """Send a request, and read what comes for it message by message; leaving the block lets go of its connection."""

    @abstractmethod
    async def tell(self, message: Any, **headers: str) -> Reply:
        """Send what gets no answer, and return the HTTP response, its body read."""


def initialize_request(revision: str, capabilities: Mapping[str, Any] | None = None, request_id: Any = 0) -> Message:
    """Return the `initialize` request of a client that wants `revision`."""
    params = {"protocolVersion": revision, "capabilities": dict(capabilities or {}), "clientInfo": dict(CLIENT_INFO)}
    return {"jsonrpc": "2.0", "id": request_id, "method": "initialize", "params": params}


INITIALIZED: Final[Message] = {"jsonrpc": "2.0", "method": "notifications/initialized"}


def is_response(message: Mapping[str, Any]) -> bool:
    """Whether a message answers a request."""
    return "method" not in message and ("result" in message or "error" in message or "id" in message)


def is_request(message: Mapping[str, Any]) -> bool:
    """Whether a message wants an answer."""
    return "method" in message and "id" in message


def encode_header(value: str) -> str:
    """A value as `Mcp-Name` and `Mcp-Param-*` carry it (2026-07-28, Value Encoding)."""
    is_plain = value.isascii() and value.isprintable() and value == value.strip()
    if is_plain and not (value.startswith("=?base64?") and value.endswith("?=")):
        return value
    return f"=?base64?{base64.b64encode(value.encode()).decode()}?="


def parse_messages(data: str) -> list[Message]:
    try:
        value = json.loads(data)
    except ValueError as error:
        raise Misbehaved("JSON in the data of an event", data[:200]) from error
    # The responses of a batch MAY come as a batch (2025-03-26).
    messages = value if isinstance(value, list) and value else [value]
    if not all(isinstance(message, dict) for message in messages):
        raise Misbehaved("a JSON-RPC message in the data of an event", data[:200])
    return messages
