"""Who shares a server, and what is to be said to each of them when a step ends."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from ..messages import Request
from ..outbox import encode
from ..translation import Related


class Client:
    """One of those who share a server; told from the others by being this very object.

    Attributes:
      capabilities: what it has declared in its handshake; None for one that has none behind it.
      level: how severe a log message has to be for it, as an index of `LOG_LEVELS`; None where it has set none.
      has_left: nothing is said to it any more.
    """

    __slots__ = ("capabilities", "has_left", "level")

    def __init__(self) -> None:
        self.capabilities: dict[str, Any] | None = None
        self.level: int | None = None
        self.has_left = False


class Step(NamedTuple):
    """What follows from one message: messages, each one line without its newline."""

    to_clients: tuple[tuple[Client, bytes | Related], ...] = ()
    to_server: tuple[bytes, ...] = ()


class Outbox:
    """The messages of one step, in the order in which they go to each side."""

    def __init__(self) -> None:
        self.clients: Final[dict[Client, None]] = {}
        """All who share the server now, in the order in which they came."""
        self._to_clients: list[tuple[Client, bytes | Related]] = []
        self._to_server: list[bytes] = []

    def to_client(self, client: Client, message: bytes | Related) -> None:
        """Say this to one client, unless it has left."""
        if not client.has_left:
            self._to_clients.append((client, message))

    def to_server(self, message: bytes) -> None:
        """Say this to the server."""
        self._to_server.append(message)

    def consent(self, client: Client, request: Request) -> None:
        """Answer a request of which nothing but an empty result is expected, in the server's stead."""
        self.to_client(client, b'{"jsonrpc":"2.0","id":%b,"result":{}}' % encode(request.id))

    def empty(self) -> Step:
        """Return what has been gathered, and start anew."""
        step = Step(tuple(self._to_clients), tuple(self._to_server))
        self._to_clients.clear()
        self._to_server.clear()
        return step
