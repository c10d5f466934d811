"""The requests in flight in a server that several clients share, each under a number of ours.

A request id and a progress token are unique for each client only.  So both are replaced by a number on the way in, and put
back on the way out.  A request is running from then on until it is answered, and the server's own words are taken to be
about what is running.

A cancelled request may never be answered, and the server may still work on it for a while.  It counts as running for
LINGER_TIME: what the server says meanwhile may well be about it, and must not be taken for somebody else's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, TypeAlias

from ..messages import ProgressToken, Request, RequestId, Response, number_request
from ..meta_keys import LOG_LEVEL
from ..outbox import encode
from ..own_messages import LISTEN, cancelled_notification
from .clients import Client, Outbox

LINGER_TIME: Final = 10.0
"""Seconds for which a cancelled request is still taken to be running, unless it is answered before."""
MAX_IN_FLIGHT: Final = 10_000
"""Requests that one client may have in flight."""

Reader: TypeAlias = Callable[[Response], None]


class Flight:
    """A request on its way.

    Attributes:
      number: what the server knows it by, and its progress.
      client: whose it is; None for one that we have made.
      request_id, token: as the client has them.
      reader: is told the response before it goes on to the client.
      is_listen: a subscription of 2026-07-28, which stays open, and says itself what belongs to it.
      is_task: asks for a task in place of a result (2025-11-25, Tasks).
      log_level: of a request of 2026-07-28, what log messages it wants; None where it wants none.
      is_cancelled: its client does not wait for it any more.
    """

    __slots__ = ("client", "is_cancelled", "is_listen", "is_task", "log_level", "number", "reader", "request_id", "token")

    def __init__(self, number: int, client: Client | None, request: Request | None, reader: Reader | None) -> None:
        self.number = number
        self.client = client
        self.reader = reader
        self.request_id: RequestId = number if request is None else request.id
        self.token: ProgressToken | None = None if request is None else request.progress_token
        self.is_listen = request is not None and request.method == LISTEN
        self.is_task = request is not None and "task" in request.params
        has_claim = request is not None and request.has_modern_claim
        self.log_level: object = request.params["_meta"].get(LOG_LEVEL) if request and has_claim else None
        self.is_cancelled = False


class Flights:
    """All requests in flight in one server."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._last_number = 0
        self._flights: dict[int, Flight] = {}
        self._of_client: dict[Client, dict[int, Flight]] = {}
        self._by_id: dict[tuple[Client, RequestId], Flight] = {}
        self._running: dict[Client, int] = {}  # how many each has, streams of `subscriptions/listen` not counted
        self._lingering: deque[tuple[float, Flight]] = deque()

    @property
    def runners(self) -> list[Client]:
        """The clients that have requests running; one that has left may be among them."""
        return list(self._running)

    @property
    def log_askers(self) -> set[Client]:
        """The clients with requests of 2026-07-28 running that want log messages (2026-07-28, Logging)."""
        return {f.client for f in self._flights.values() if f.client is not None and f.log_level is not None}

    def has_room(self, client: Client) -> bool:
        """Whether one more request of the client may take off."""
        return len(self._of_client.get(client, ())) < MAX_IN_FLIGHT

    def take_off(self, client: Client, request: Request, reader: Reader | None = None) -> None:
        """Send a client's request on its way."""
        flight = Flight(self._last_number + 1, client, request, reader)
        self._outbox.to_server(number_request(request, flight.number))
        self._last_number = flight.number
        self._flights[flight.number] = flight
        self._of_client.setdefault(client, {})[flight.number] = flight
        self._by_id[client, request.id] = flight
        if not flight.is_listen:
            self._running[client] = self._running.get(client, 0) + 1

    def ask(self, method: str, params: bytes, reader: Reader | None = None) -> None:
        """Make a request of our own."""
        self._last_number += 1
        self._flights[self._last_number] = Flight(self._last_number, None, None, reader)
        self._outbox.to_server(
            b'{"jsonrpc":"2.0","id":%d,"method":%b,"params":%b}' % (self._last_number, encode(method), params)
        )

    def find(self, number: object) -> Flight | None:
        """Return the flight of that number."""
        return self._flights.get(number) if type(number) is int else None

    def land(self, number: object) -> Flight | None:
        """Return the flight of that number, which is over with that."""
        flight = self.find(number)
        if flight is not None:
            self._end(flight)
        return flight

    def cancel(self, client: Client, request_id: RequestId, now: float) -> Flight | None:
        """Note that a client does not wait for a request any more; return its flight."""
        flight = self._by_id.get((client, request_id))
        if flight is not None:
            self.let_linger(flight, now)
        return flight

    def let_linger(self, flight: Flight, now: float) -> None:
        """Have a flight end by itself if its answer does not come soon."""
        if not flight.is_cancelled:
            flight.is_cancelled = True
            self._lingering.append((now + LINGER_TIME, flight))

    def expire(self, now: float) -> None:
        """End what has lingered for long enough."""
        while self._lingering and self._lingering[0][0] <= now:
            flight = self._lingering.popleft()[1]
            if self._flights.get(flight.number) is flight:
                self._end(flight)

    def leave(self, client: Client, now: float) -> None:
        """Cancel what a client has in flight."""
        for flight in list(self._of_client.get(client, {}).values()):
            # "For task-augmented requests, the tasks/cancel request MUST be used" (2025-11-25, Cancellation); its task is
            # not known yet.
            if not flight.is_cancelled and not flight.is_task:
                self._outbox.to_server(cancelled_notification(flight.number, "the client has left"))
            self.let_linger(flight, now)

    def _end(self, flight: Flight) -> None:
        del self._flights[flight.number]
        client = flight.client
        if client is None:
            return
        own = self._of_client[client]
        del own[flight.number]
        if self._by_id.get((client, flight.request_id)) is flight:
            del self._by_id[client, flight.request_id]
        if not own:
            del self._of_client[client]
        if not flight.is_listen:
            self._running[client] -= 1
            if not self._running[client]:
                del self._running[client]
