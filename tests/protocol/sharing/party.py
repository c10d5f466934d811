"""A shared server without a server: what each side says goes in, and what each of the others gets comes out, as values."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from trioproxy.protocol.messages import parse_line
from trioproxy.protocol.sharing import Client, Sharing, Step
from trioproxy.protocol.translation import Related

from ...puppet import notification, request, response

INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}
EVERYTHING: dict[str, Any] = {"roots": {}, "sampling": {}, "elicitation": {"form": {}, "url": {}}}


class Party:
    """A server's clients, by their names, and the time."""

    def __init__(self, *names: str) -> None:
        self.skipped: Counter[str] = Counter()
        self.sharing = Sharing(self.skipped)
        self.now = 1000.0
        self.clients: dict[str, Client] = {}
        for name in names:
            self.join(name)

    def join(self, name: str) -> None:
        """Let a client come."""
        self.clients[name] = self.sharing.join()

    def say(self, name: str, message: Any) -> Any:
        """Let a client say something, and return what the server hears."""
        said, heard = self.both(name, message)
        assert said == {}
        return heard

    def both(self, name: str, message: Any) -> tuple[dict[str, list[Any]], list[Any]]:
        """The same, where clients are answered at once: return what each of them gets, and what the server hears."""
        line = message if isinstance(message, bytes) else json.dumps(message).encode()
        return self._read(self.sharing.from_client(self.clients[name], parse_line(line), self.now))

    def ask(self, name: str, message: Any) -> int:
        """Let a client make a request, and return the number under which the server gets it."""
        (heard,) = self.say(name, message)
        number: int = heard["id"]
        assert heard["method"] == message["method"]
        return number

    def tell(self, message: Any) -> dict[str, list[Any]]:
        """Let the server say something, and return what each client gets."""
        said, heard = self.hear(message)
        assert heard == []
        return said

    def hear(self, message: Any) -> tuple[dict[str, list[Any]], list[Any]]:
        """The same, where the server is answered at once."""
        line = message if isinstance(message, bytes) else json.dumps(message).encode()
        return self._read(self.sharing.from_server(parse_line(line), self.now))

    def leave(self, name: str) -> list[Any]:
        """Let a client leave, and return what the server hears."""
        said, heard = self._read(self.sharing.leave(self.clients.pop(name), self.now))
        assert said == {}
        return heard

    def shake_hands(self, *names: str, server: Any = (), **capabilities: Any) -> None:
        """Let clients do what they do first; `capabilities` are theirs, `server` those of the server."""
        for name in names:
            said, heard = self.both(name, initialize(capabilities=capabilities))
            if heard:
                agreed = {"protocolVersion": "2025-11-25", "capabilities": dict(server)}
                said, heard = self.hear(response(heard[0]["id"], **agreed))
                assert heard == [INITIALIZED]
            assert [answer["id"] for answer in said[name]] == [0]
            assert self.say(name, INITIALIZED) == []

    def _read(self, step: Step) -> tuple[dict[str, list[Any]], list[Any]]:
        names = {client: name for name, client in self.clients.items()}
        said: dict[str, list[Any]] = {}
        for client, message in step.to_clients:
            said.setdefault(names[client], []).append(message if isinstance(message, Related) else json.loads(message))
        return said, [json.loads(message) for message in step.to_server]


def initialize(request_id: int | str = 0, revision: str = "2025-11-25", **params: Any) -> dict[str, Any]:
    """Return the request that opens a handshake."""
    ours = {"protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    return request("initialize", request_id, **{**ours, **params})


def call(request_id: int | str = 1, token: Any = None, **params: Any) -> dict[str, Any]:
    """Return a request."""
    return request("tools/call", request_id, token, **params)


def cancelled(request_id: int | str) -> dict[str, Any]:
    """Return what ends the wait for a request."""
    return notification("notifications/cancelled", requestId=request_id)


def refused(message: dict[str, Any]) -> tuple[int, int | str]:
    """Return the code and the id of an error."""
    return message["error"]["code"], message["id"]
