"""A legacy client and a modern server, with the translator between them, for tests to speak for both."""

from __future__ import annotations

import json
from typing import Any

from trioproxy.protocol.legacy_to_modern import LegacyToModern
from trioproxy.protocol.messages import parse_line
from trioproxy.protocol.translation import Related, Step

CLIENT = {"name": "ExampleClient", "version": "1.0.0"}
SERVER = {"name": "ExampleServer", "version": "1.0.0"}
ENVELOPE: dict[str, Any] = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": CLIENT,
}
ALL_CAPABILITIES: dict[str, Any] = {"elicitation": {"form": {}, "url": {}}, "sampling": {"tools": {}}, "roots": {}}


def encode(**members: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **members}, separators=(",", ":")).encode()


def values(messages: tuple[bytes | Related, ...]) -> list[Any]:
    """Return what messages say, whatever they belong to."""
    return [json.loads(message.raw if isinstance(message, Related) else message) for message in messages]


def discover_result(capabilities: dict[str, Any] | None = None, **members: Any) -> dict[str, Any]:
    return {
        "resultType": "complete",
        "supportedVersions": ["2026-07-28"],
        "capabilities": {"tools": {}, "resources": {}} if capabilities is None else capabilities,
        "_meta": {"io.modelcontextprotocol/serverInfo": SERVER},
        "ttlMs": 3600000,
        "cacheScope": "public",
        **members,
    }


class Pair:
    """The two, and a clock that stands still unless it is set."""

    def __init__(self, *, tries_handshake: bool = False) -> None:
        self.translator = LegacyToModern("fallback", lambda: "unguessable", tries_handshake=tries_handshake)
        self.now = 0.0

    def client_says(self, raw: bytes | None = None, /, **members: Any) -> Step:
        return self.translator.from_client(parse_line(raw or encode(**members)), self.now)

    def server_says(self, raw: bytes | None = None, /, **members: Any) -> Step:
        return self.translator.from_server(parse_line(raw or encode(**members)), self.now)

    def wait(self) -> Step:
        """Let the time pass until something is due."""
        self.now = self.translator.deadline
        return self.translator.wake(self.now)

    def initialize(self, revision: str = "2025-11-25", capabilities: dict[str, Any] | None = None) -> Step:
        params = {"protocolVersion": revision, "capabilities": capabilities or {}, "clientInfo": CLIENT}
        return self.client_says(id=0, method="initialize", params=params)

    def shake_hands(
        self,
        revision: str = "2025-11-25",
        capabilities: dict[str, Any] | None = None,
        server_capabilities: dict[str, Any] | None = None,
    ) -> Step:
        """Let the handshake be over; return what followed from its last message."""
        (discover,) = values(self.initialize(revision, capabilities).to_server)
        self.server_says(id=discover["id"], result=discover_result(server_capabilities))
        return self.client_says(method="notifications/initialized")

    def call(self, **arguments: Any) -> None:
        """Let the client call a tool, with id 1."""
        self.client_says(id=1, method="tools/call", params={"name": "weather", "arguments": arguments})
