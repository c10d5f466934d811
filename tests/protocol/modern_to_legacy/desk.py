"""A legacy server behind a translator, and a modern client before it: who says what, as values."""

from __future__ import annotations

import itertools
import json
from typing import Any, NamedTuple

from trioproxy.protocol.messages import Request, parse_line, recognise
from trioproxy.protocol.modern_to_legacy import ModernToLegacy
from trioproxy.protocol.translation import Related, Step

SERVER_INFO = {"name": "old", "version": "1"}
CAPABILITIES: dict[str, Any] = {
    "tools": {"listChanged": True},
    "resources": {"subscribe": True, "listChanged": True},
    "logging": {},
}
OWN_META = {"io.modelcontextprotocol/serverInfo": SERVER_INFO}

FORM = {"message": "Who are you?", "requestedSchema": {"type": "object", "properties": {"name": {"type": "string"}}}}
SAMPLING = {"messages": [{"role": "user", "content": {"type": "text", "text": "Capital of France?"}}], "maxTokens": 100}


class Said(NamedTuple):
    """What follows from a message, decoded.

    Attributes:
      related: the requests that a message for the client is expressly said to belong to.
    """

    to_client: list[Any]
    to_server: list[Any]
    related: list[Any]


NOTHING = Said([], [], [])


def line(**members: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **members}).encode()


def envelope(capabilities: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "new", "version": "2"},
        "io.modelcontextprotocol/clientCapabilities": capabilities or {},
        **more,
    }


def modern_request(
    request_id: int | str,
    method: str,
    params: dict[str, Any] | None = None,
    capabilities: dict[str, Any] | None = None,
    log_level: str | None = None,
    **meta: Any,
) -> Request:
    if log_level is not None:
        meta["io.modelcontextprotocol/logLevel"] = log_level
    body = {**(params or {}), "_meta": envelope(capabilities, **meta)}
    request = parse_line(line(id=request_id, method=method, params=body))
    assert isinstance(request, Request)
    return request


class Desk:
    """A translator at work, whose handshake is over.

    Its states are "state-1" and so on, which nobody could guess.
    """

    def __init__(self, server: dict[str, Any] = CAPABILITIES, *, is_open: bool = True) -> None:
        states = (f"state-{n}" for n in itertools.count(1))
        self.translator = ModernToLegacy(lambda: next(states), gather_time=0.02, park_time=600)
        self.now = 100.0
        if is_open:
            self.ask("first", "server/discover")
            self.introduce(server)

    def introduce(self, server: dict[str, Any] = CAPABILITIES, **more: Any) -> Said:
        result = {"protocolVersion": "2025-11-25", "capabilities": server, "serverInfo": SERVER_INFO, **more}
        return self.server(id="trioproxy:1", result=result)

    def ask(self, request_id: int | str, method: str = "tools/call", params: Any = None, **said: Any) -> Said:
        if method == "tools/call" and params is None:
            params = {"name": "a"}
        return self.said(self.translator.from_client(modern_request(request_id, method, params, **said), self.now))

    def retry(self, request_id: int | str, state: Any, answers: Any = None, **said: Any) -> Said:
        return self.ask(request_id, params={"name": "a", "requestState": state, "inputResponses": answers or {}}, **said)

    def cancel(self, request_id: int | str) -> Said:
        return self.client(line(method="notifications/cancelled", params={"requestId": request_id}))

    def client(self, raw: bytes) -> Said:
        return self.said(self.translator.from_client(parse_line(raw), self.now))

    def server(self, **members: Any) -> Said:
        return self.server_line(line(**members))

    def server_line(self, raw: bytes) -> Said:
        return self.said(self.translator.from_server(recognise(raw), self.now))

    def server_about(self, request_id: int | str, **members: Any) -> Said:
        """Let the server say something on the stream of one request."""
        return self.said(self.translator.from_server(recognise(line(**members)), self.now, request_id))

    def wait(self, seconds: float) -> Said:
        """Let time pass, and everything happen that is due."""
        self.now += seconds
        return self.said(self.translator.wake(self.now)) if self.translator.deadline <= self.now else NOTHING

    @staticmethod
    def said(step: Step) -> Said:
        lines = [message.raw if isinstance(message, Related) else message for message in step.to_client]
        assert all(b"\n" not in text for text in (*lines, *step.to_server))
        related = [message.request_id for message in step.to_client if isinstance(message, Related)]
        return Said([json.loads(text) for text in lines], [json.loads(text) for text in step.to_server], related)


def to_client(*messages: dict[str, Any]) -> Said:
    return Said([{"jsonrpc": "2.0", **message} for message in messages], [], [])


def to_server(*messages: dict[str, Any]) -> Said:
    return Said([], [{"jsonrpc": "2.0", **message} for message in messages], [])


def error_codes(messages: list[Any]) -> list[tuple[Any, int]]:
    """Return id and code of each of these error responses."""
    return [(message["id"], message["error"]["code"]) for message in messages]
