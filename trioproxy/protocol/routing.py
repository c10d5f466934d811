"""Which one stream carries which message, and which requests are in flight.

2025-03-26 and later, Transports §Multiple Connections: "The server MUST send each of its JSON-RPC messages on only one of
the connected streams".  Which one, by the first rule that applies:

    a response                      the stream of its request
    progress                        the stream of the request whose token it carries
    anything else                   the only stream with requests in flight, cancelled ones not counted, if there is
                                    exactly one, and a client that reads it, or may come back to it
                                    else the standalone stream

The rule of the only stream is for the many clients that open no standalone stream: what the child says while it works on
their one call is most likely about that call, and reaches them in no other way.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from .errors import InvalidRequest
from .event_log import Stream
from .messages import Message, Notification, ProgressToken, Request, RequestId, Response

PROGRESS: Final = "notifications/progress"


class Flight:
    """A request on its way: who asked, on which stream the answer goes, and until when it may take.

    Attributes:
      departed_at, expires_at: on the caller's clock, in seconds; infinity for never.
      is_cancelled: the client does not want the answer any more.
    """

    __slots__ = ("departed_at", "expires_at", "is_cancelled", "method", "request_id", "stream", "time_limit", "token")

    def __init__(self, request: Request, stream: Stream, time_limit: float, now: float) -> None:
        self.request_id = request.id
        self.method = request.method
        self.token = request.progress_token
        self.stream = stream
        self.is_cancelled = False
        self.time_limit = time_limit
        self.departed_at = now
        self.expires_at = now + time_limit


class Router:
    """The requests of one session that are in flight, and the rule above.

    Args:
      standalone: the stream for what belongs to no request.
      mixes: whether a request's stream may carry anything but responses.
    """

    def __init__(self, standalone: Stream, *, mixes: bool = True) -> None:
        self._standalone = standalone
        self._mixes = mixes
        self._flights: dict[RequestId, Flight] = {}
        self._by_token: dict[ProgressToken, Flight] = {}
        self._cancelled = 0  # how many of them
        # How many requests each stream still has to answer; a batch shares one.
        self._open: dict[Stream, int] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def __iter__(self) -> Iterator[Flight]:
        return iter(list(self._flights.values()))

    def take_off(self, request: Request, stream: Stream, time_limit: float, now: float) -> Flight:
        """Note that `request` is on its way, and that its answer goes on `stream`.

        Raises:
          InvalidRequest: its id is that of another request in flight (Basic §Requests: "MUST NOT have been previously
            used"), whose answer would be lost.
        """
        if request.id in self._flights:
            raise InvalidRequest(f"request id {request.id!r} is that of another request in flight")
        flight = self._flights[request.id] = Flight(request, stream, time_limit, now)
        if flight.token is not None:
            self._by_token[flight.token] = flight
        self._open[stream] = self._open.get(stream, 0) + 1
        return flight

    def route(self, message: Message, now: float) -> Stream | None:
        """Return the stream that carries `message`, or None for a response that nobody waits for.

        A response ends its request's flight; progress gives it its whole time again.
        """
        if type(message) is Response:
            flight = None if message.id is None else self._flights.get(message.id)
            return self.land(flight) if flight else None
        if type(message) is Notification and message.method == PROGRESS:
            token = message.progress_token
            flight = None if token is None else self._by_token.get(token)
            if flight is not None:
                if not flight.is_cancelled:
                    flight.expires_at = now + flight.time_limit
                return flight.stream if self._mixes else self._standalone
        if self._mixes:
            listened_to = self._open.keys() if not self._cancelled else {f.stream for f in self if not f.is_cancelled}
            if len(listened_to) == 1:
                (stream,) = listened_to
                if stream.is_attached or (stream.is_announced and not self._standalone.is_attached):
                    return stream
        return self._standalone

    def cancel(self, flight: Flight) -> None:
        """Note that the client does not want the answer any more, and may not listen on its stream."""
        self._cancelled += not flight.is_cancelled
        flight.is_cancelled = True

    def land(self, flight: Flight) -> Stream:
        """Note that `flight` is answered, and return its stream."""
        stream = flight.stream
        del self._flights[flight.request_id]
        self._cancelled -= flight.is_cancelled
        if flight.token is not None and self._by_token.get(flight.token) is flight:
            del self._by_token[flight.token]
        self._open[stream] -= 1
        if not self._open[stream]:
            del self._open[stream]
        return stream

    def find(self, request_id: RequestId) -> Flight | None:
        """Return the flight of a request, if it is in flight."""
        return self._flights.get(request_id)

    def is_waiting(self, stream: Stream) -> bool:
        """Whether a response is still to come on `stream`."""
        return stream in self._open
