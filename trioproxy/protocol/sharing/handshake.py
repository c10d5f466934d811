"""One handshake for all the clients that share a server (2025-11-25, Lifecycle §Initialization).

A server is initialized once.  The first client that asks for it gives the revision; the capabilities are all that any client
may have, since nobody knows yet who will come, and what a client of its own lacks it is not asked (`questions`).  The server
is told our name and no client's: it will never know which of them it serves.

The answer is kept, and each later client gets its bytes at once.  "notifications/initialized" is ours, sent with the answer,
so that no client has to wait for another to say it.  A server that refuses may be one of the modern era, which each client
has to find out for itself: so each gets the refusal, and the next one to come asks anew.

Not declared: `roots.listChanged`, since the question that follows from it would belong to no request; tasks and
experimental capabilities of clients, since only some have them.  Not passed on: that the server can list tasks (`tasks`).
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from ..errors import ChildError, InvalidRequest, ParseError, error_response
from ..messages import Request, Response, parse_result, replace_response_id
from ..outbox import encode
from ..own_messages import initialize_request, initialized_notification
from ..revisions import LEGACY_REVISIONS
from ..splice import REMOVE, cut_out, splice
from .clients import Client, Outbox
from .flights import Flights

CAPABILITIES: Final[dict[str, Any]] = {
    "roots": {},
    "sampling": {"context": {}, "tools": {}},
    "elicitation": {"form": {}, "url": {}},
}
"""What the server is told that its client can do."""


class _Agreed(NamedTuple):
    """What came of the handshake: the server's answer, and its revision, if it named one."""

    answer: Response
    revision: Any


class Handshake:
    """The one handshake, and who waits for it."""

    def __init__(self, outbox: Outbox, flights: Flights) -> None:
        self._outbox = outbox
        self._flights = flights
        self._agreed: _Agreed | None = None
        self._waiting: list[tuple[Client, Request]] = []
        self._is_asked = False

    @property
    def is_agreed(self) -> bool:
        """Whether the server has been initialized."""
        return self._agreed is not None

    @property
    def is_pending(self) -> bool:
        """Whether the server has not answered yet."""
        return self._is_asked

    def open(self, client: Client, initialize: Request) -> None:
        """Take a client's `initialize`, which is answered sooner or later."""
        if self._agreed is not None:
            self._introduce(client, initialize, self._agreed)
            return
        if any(waiting is client for waiting, _ in self._waiting):
            error = InvalidRequest("another initialize is not answered yet")
            self._outbox.to_client(client, error_response(error, initialize.id))
            return
        self._waiting.append((client, initialize))
        if not self._is_asked:
            self._is_asked = True
            params = cut_out(initialize_request(initialize.params.get("protocolVersion", "")), ("params",))
            assert params is not None
            self._flights.ask("initialize", splice(params, {("capabilities",): encode(CAPABILITIES)}), self._decide)

    def leave(self, client: Client) -> None:
        """Note that a client does not wait any more."""
        self._waiting = [(waiting, initialize) for waiting, initialize in self._waiting if waiting is not client]

    def _decide(self, response: Response) -> None:
        self._is_asked = False
        waiting, self._waiting = self._waiting, []
        try:
            agreed = None if response.is_error else _read(response)
            if agreed is None:
                refusals = [replace_response_id(response, initialize.id) for _, initialize in waiting]
        except ParseError as error:
            unreadable = ChildError(f"the server's answer to initialize can't be read: {error}")
            agreed, refusals = None, [error_response(unreadable, initialize.id) for _, initialize in waiting]
        if agreed is None:
            for (client, _), refusal in zip(waiting, refusals, strict=True):
                self._outbox.to_client(client, refusal)
            return
        self._agreed = agreed
        self._outbox.to_server(initialized_notification())
        for client, initialize in waiting:
            self._introduce(client, initialize, agreed)

    def _introduce(self, client: Client, initialize: Request, agreed: _Agreed) -> None:
        capabilities = initialize.params.get("capabilities")
        client.capabilities = capabilities if type(capabilities) is dict else {}
        answer, asked = agreed.answer, initialize.params.get("protocolVersion")
        # Revisions are dates, so that earlier ones sort before later ones.
        if asked in LEGACY_REVISIONS and type(agreed.revision) is str and asked < agreed.revision:
            answer = answer._replace(raw=splice(answer.raw, {("result", "protocolVersion"): encode(asked)}))
        self._outbox.to_client(client, replace_response_id(answer, initialize.id))


def _read(response: Response) -> _Agreed:
    """Return what the server agrees to, as it is told to clients.

    Raises:
      ParseError: the response is not JSON.
    """
    result = parse_result(response)
    if type(result) is not dict:
        return _Agreed(response, None)
    capabilities = result.get("capabilities")
    tasks = capabilities.get("tasks") if type(capabilities) is dict else None
    if type(tasks) is dict and "list" in tasks:
        response = response._replace(raw=splice(response.raw, {("result", "capabilities", "tasks", "list"): REMOVE}))
    return _Agreed(response, result.get("protocolVersion"))
