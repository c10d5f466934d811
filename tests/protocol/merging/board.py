"""A client, a merger, and servers behind it: who says what, as values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from trioproxy.protocol.errors import ChildExited
from trioproxy.protocol.merging import Merger
from trioproxy.protocol.merging.switchboard import MergedStep
from trioproxy.protocol.messages import parse_line, recognise
from trioproxy.protocol.translation import Related

CLIENT = {"protocolVersion": "2025-11-25", "capabilities": {"roots": {}}, "clientInfo": {"name": "host", "version": "1"}}
EVERYTHING: Mapping[str, Any] = {
    "tools": {"listChanged": True},
    "prompts": {},
    "resources": {"subscribe": True},
    "logging": {},
    "completions": {},
}


class Said(NamedTuple):
    """What follows from a message, decoded.

    Attributes:
      related: the requests that messages for the client are said to belong to.
    """

    to_client: list[Any]
    to_servers: list[tuple[str, Any]]
    notes: list[str]
    related: list[Any]

    @property
    def methods(self) -> list[tuple[str, Any]]:
        """Which requests and notifications reach which server."""
        return [(server, message.get("method")) for server, message in self.to_servers]


NOTHING = Said([], [], [], [])


def line(**members: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **members}).encode()


class Board:
    """A merger at work, with a clock that stands still unless it is told to go on."""

    def __init__(self, *servers: str, **times: float) -> None:
        self.names = servers or ("a", "b")
        self.merger = Merger(self.names, "1.2.3", **times)
        self.now = 100.0
        # The last request that each server has got, by method.
        self.asked: dict[tuple[str, str], Any] = {}

    def said(self, step: MergedStep) -> Said:
        lines = [message.raw if isinstance(message, Related) else message for message in step.to_client]
        assert all(b"\n" not in text for text in (*lines, *(raw for _, raw in step.to_servers)))
        to_servers = [(server, json.loads(raw)) for server, raw in step.to_servers]
        for server, message in to_servers:
            if "method" in message and "id" in message:
                self.asked[server, message["method"]] = message
        related = [message.request_id for message in step.to_client if isinstance(message, Related)]
        return Said([json.loads(text) for text in lines], to_servers, list(step.notes), related)

    def client(self, **members: Any) -> Said:
        return self.said(self.merger.from_client(parse_line(line(**members)), self.now))

    def ask(self, request_id: int | str, method: str, **params: Any) -> Said:
        return self.client(id=request_id, method=method, params=params)

    def server(self, server: str, request_id: Any = None, /, **members: Any) -> Said:
        return self.said(self.merger.from_server(server, recognise(line(**members)), self.now, request_id))

    def answer(self, server: str, method: str, **result: Any) -> Said:
        """Let a server answer the last request of this method that it has got."""
        return self.server(server, id=self.asked[server, method]["id"], result=result)

    def fail(self, server: str, method: str, code: int = -32603, message: str = "no") -> Said:
        return self.server(server, id=self.asked[server, method]["id"], error={"code": code, "message": message})

    def lose(self, server: str) -> Said:
        return self.said(self.merger.lose(server, ChildExited("the server exited with status 1"), self.now))

    def wait(self, seconds: float) -> Said:
        self.now += seconds
        return self.said(self.merger.wake(self.now)) if self.merger.deadline <= self.now else NOTHING

    def introduce(self, server: str, capabilities: Any = EVERYTHING, **more: Any) -> Said:
        info = {"name": server, "version": "1"}
        result = {"protocolVersion": "2025-11-25", "capabilities": capabilities, "serverInfo": info, **more}
        return self.answer(server, "initialize", **result)

    def open(self, *servers: str) -> Board:
        """Let the handshake be over, with these servers or all."""
        self.ask("first", "initialize", **CLIENT)
        for server in servers or self.names:
            self.introduce(server)
        self.client(method="notifications/initialized")
        return self

    def list_tools(self, **tools: list[str]) -> list[str]:
        """Let the client ask for the tools, and the servers have these; return what the client is shown."""
        self.ask("list", "tools/list")
        said = NOTHING
        for server, names in tools.items():
            said = self.answer(server, "tools/list", tools=[{"name": name} for name in names])
        (answer,) = said.to_client
        return [tool["name"] for tool in answer["result"]["tools"]]


def error_codes(messages: list[Any]) -> list[tuple[Any, int]]:
    """Return id and code of each of these error responses."""
    return [(message["id"], message["error"]["code"]) for message in messages]
