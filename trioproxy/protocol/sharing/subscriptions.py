"""Which clients of a shared server have subscribed to which resources (2025-11-25, Resources §Subscriptions).

The server is subscribed to a resource as long as any of them wants to hear of it: it is asked by the first, and told by the
last that leaves.  Those in between are answered here, once the server has agreed.
"""

from __future__ import annotations

from typing import Final

from ..errors import Unavailable, error_response
from ..messages import Notification, Request, Response
from ..outbox import encode
from ..resources import UNSUBSCRIBE, is_within
from .clients import Client, Outbox
from .flights import Flights

MAX_SUBSCRIPTIONS: Final = 1000
"""Resources that one client may be subscribed to."""


class Subscriptions:
    """Resources by their URIs, and who wants to hear of each."""

    def __init__(self, outbox: Outbox, flights: Flights) -> None:
        self._outbox = outbox
        self._flights = flights
        self._wanted: dict[str, dict[Client, None]] = {}
        self._agreed: set[str] = set()
        self._counts: dict[Client, int] = {}

    def subscribe(self, client: Client, request: Request) -> None:
        """Let a client hear of a resource."""
        uri = request.params.get("uri")
        if type(uri) is not str:
            # The server knows what to say to that.
            self._flights.take_off(client, request)
            return
        is_new = client not in self._wanted.get(uri, ())
        if is_new and self._counts.get(client, 0) >= MAX_SUBSCRIPTIONS:
            error = Unavailable(f"{MAX_SUBSCRIPTIONS} resources are subscribed to, the limit")
            self._outbox.to_client(client, error_response(error, request.id))
            return
        if is_new:
            self._wanted.setdefault(uri, {})[client] = None
            self._counts[client] = self._counts.get(client, 0) + 1
        if uri in self._agreed:
            self._outbox.consent(client, request)
            return

        def decide(response: Response) -> None:
            if not response.is_error:
                # Whoever was to hear of it may have gone meanwhile, and the server been told.
                self._agreed.update({uri} & self._wanted.keys())
            elif is_new:
                self._forget(client, uri)

        self._flights.take_off(client, request, decide)

    def unsubscribe(self, client: Client, request: Request) -> None:
        """Let a client hear of a resource no more."""
        uri = request.params.get("uri")
        if type(uri) is str:
            self._forget(client, uri)
            if uri in self._wanted:
                self._outbox.consent(client, request)
                return
        self._flights.take_off(client, request)

    def carry(self, notification: Notification) -> bool:
        """Pass on that a resource has changed; return whether anybody wants to hear of it."""
        uri = notification.params.get("uri")
        wanting = dict.fromkeys(
            client
            for subscribed, clients in self._wanted.items()
            if type(uri) is str and is_within(uri, subscribed)
            for client in clients
        )
        for client in wanting:
            self._outbox.to_client(client, notification.raw)
        return bool(wanting)

    def leave(self, client: Client) -> None:
        """Release what a client has subscribed to."""
        for uri in [uri for uri, clients in self._wanted.items() if client in clients]:
            self._forget(client, uri)
            if uri not in self._wanted:
                self._flights.ask(UNSUBSCRIBE, encode({"uri": uri}))

    def _forget(self, client: Client, uri: str) -> None:
        clients = self._wanted.get(uri, {})
        if client not in clients:
            return
        del clients[client]
        self._counts[client] -= 1
        if not self._counts[client]:
            del self._counts[client]
        if not clients:
            del self._wanted[uri]
            self._agreed.discard(uri)
