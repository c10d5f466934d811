"""One modern request, and what a server says to it (2026-07-28, Transports §Streamable HTTP).

A modern request belongs to its HTTP exchange: "Closing the SSE response stream MUST be treated by the server as
cancellation of that request".  So a call is a `with` block of the exchange, and to leave it before the answer has come
cancels the request in the server.

A call doesn't know what it goes through, only how to leave it; a subscription may go through several servers at once.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

import trio

from .alarm import Alarm
from .config import Config
from .metrics import Outcome, outcome_of
from .protocol.envelope import Envelope
from .protocol.errors import RequestTimedOut, TrioproxyError, error_response
from .protocol.messages import Request
from .protocol.own_messages import LISTEN, cancelled_notification
from .protocol.recording import TO_CLIENT, TO_SERVER, Direction

logger = logging.getLogger("trioproxy.call")

AT_ONCE: Final = 0.05
"""Seconds in which nobody looks whether the client is still there; most answers come sooner, and the looking costs more."""
_STALL_TIME: Final = 1.0
"""Seconds without progress after which a reader whose buffer is full is let go; until then everybody waits for it."""


Note: TypeAlias = Callable[[Direction, bytes], None]


class Carrier(Protocol):
    """What takes a call to a server."""

    def detach(self, call: Call) -> None:
        """Have nothing more to do with `call`; its request is cancelled if the server has not answered it."""

    @property
    def alarm(self) -> Alarm:
        """Wakes calls that have waited long enough."""


class Call:
    """One modern request, and what a server says to it; a `Source` of messages for one HTTP response.

    Left unanswered, the request is cancelled.

    Args:
      only_answer: whatever comes before the answer is dropped.
      note: called with each message of the exchange, but for the request itself.

    Attributes:
      is_background: it is our own, and keeps the server for nobody.
      is_answered: the last message has come, though perhaps not been read.
      is_error: and it is an error.
      is_sent: somebody else has sent it (`wait_briefly`).
      is_let_go: the client has read too slowly, and gets no more.
      outcome: what has become of it, as it is counted.
    """

    is_background = False

    def __init__(
        self,
        request: Request,
        envelope: Envelope,
        config: Config,
        *,
        only_answer: bool = False,
        note: Note | None = None,
    ) -> None:
        self.request: Final = request
        self.envelope: Final = envelope
        self.is_answered = False
        self.is_error = False
        self.is_let_go = False
        self.is_listen: Final = request.method == LISTEN
        self.outcome: Outcome = "cancelled"
        self._began_at = trio.current_time()
        self._ended_at: float | None = None
        limit = config.times.request_timeout
        self._time_limit = math.inf if limit is None or self.is_listen else limit
        self._expires_at = self._began_at + self._time_limit
        self._only_answer = only_answer
        self._note = note
        self._buffer_size = config.limits.event_store_max_bytes or math.inf
        self.is_sent = False
        self._on_answer: Callable[[bytes], None] | None = None
        self._messages: list[bytes] = []
        self._is_out_of_patience = False
        self._queued = 0
        self._moved_at = trio.current_time()  # when the client last took something
        self._arrived = trio.lowlevel.ParkingLot()
        self._room: trio.lowlevel.ParkingLot | None = None  # while somebody waits for the client
        self._legs: dict[Carrier, int] = {}
        self.interrupt: Callable[[], None] | None = None

    def __enter__(self) -> Call:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._note is not None and not self.is_answered:
            # What the client has said by closing the response.
            self._note(TO_SERVER, cancelled_notification(self.request.id, "the client has closed the response"))
        self._leave()
        self.is_let_go = True
        if self._room is not None:
            self._room.unpark_all()

    # For the exchange

    async def wait(self, seconds: float) -> bool:
        """Return whether anything comes within so many seconds."""
        until = trio.current_time() + seconds
        while not self.has_something and trio.current_time() < until:
            # Progress that is not delivered wakes nobody, and yet it moves the end of the request's time.
            with trio.move_on_at(min(until, self._expires_at)):
                await self._arrived.park()
            if not self.is_answered and trio.current_time() >= self._expires_at:
                self._time_out()
        return bool(self._messages)

    async def wait_briefly(self, on_answer: Callable[[bytes], None] | None = None) -> bool:
        """Return whether anything comes within AT_ONCE.

        Nearly every call waits here, and most have their answer then; a timer of its own would cost more than they do.

        Args:
          on_answer: called with an answer that is no error, and the first that comes, by the task that brings it; `is_sent`
            says whether it was.
        """
        self._on_answer = on_answer
        try:
            if not self.has_something:
                for carrier in self._legs:
                    carrier.alarm.limit_patience(self, AT_ONCE)
                while not (self.has_something or self._is_out_of_patience):
                    await self._arrived.park()
        finally:
            # As in `Cursor.wait_answer`: by now the connection may be at another request.
            self._on_answer = None
        return bool(self._messages)

    def run_out_of_patience(self) -> None:
        """End `wait_briefly`."""
        self._is_out_of_patience = True
        self._arrived.unpark_all()

    @property
    def answer(self) -> bytes | None:
        """The answer, if it has come and nothing else has."""
        return self._messages[0] if self.is_answered and len(self._messages) == 1 else None

    @property
    def has_something(self) -> bool:
        """Whether something has come, or nothing will."""
        return bool(self._messages) or self.is_at_end

    @property
    def is_at_end(self) -> bool:
        """Whether there is nothing more to be read."""
        return self.is_let_go or (self.is_answered and not self._messages)

    async def read(self) -> tuple[int, list[bytes]]:
        """Return the next messages; none mean the end.  To call it again says that the client has taken them."""
        self._moved_at = trio.current_time()
        await self.wait(math.inf)
        messages, self._messages = self._messages, []
        self._queued = 0
        if self._room is not None:
            self._room.unpark_all()
        return 0, messages

    def note_sent(self, *, with_ids: bool) -> None:
        """The client has taken part of what was read."""
        self._moved_at = trio.current_time()

    def _leave(self) -> None:
        for carrier in list(self._legs):
            carrier.detach(self)

    @property
    def seconds(self) -> float:
        """How long the answer has taken, or has been waited for."""
        return (self._ended_at or trio.current_time()) - self._began_at

    def _time_out(self) -> None:
        self.fail(RequestTimedOut(f"the server did not answer within {self._time_limit:g} s"))

    # For whom it goes through

    def deliver(self, message: bytes) -> None:
        """Add a message."""
        if self._only_answer and not self.is_answered:
            return
        if self._note is not None:
            self._note(TO_CLIENT, message)
        self._messages.append(message)
        self._queued += len(message)
        self._arrived.unpark_all()

    def fail(self, error: TrioproxyError) -> None:
        """Answer in the server's stead."""
        self.finish(error_response(error, self.request.id), is_error=True, outcome=outcome_of(error))

    def finish(self, answer: bytes, *, is_error: bool = False, outcome: Outcome | None = None) -> None:
        """Add the last message."""
        if not self.is_answered:
            self.is_answered = True
            self.is_error = is_error
            self.outcome = outcome or ("error" if is_error else "ok")
            self._ended_at = trio.current_time()
            if self._on_answer is not None and not (is_error or self._messages):
                if self._note is not None:
                    self._note(TO_CLIENT, answer)
                self._on_answer(answer)
                self.is_sent = True
                self._arrived.unpark_all()
            else:
                self.deliver(answer)
            # It may go through several, of which one has answered.
            self._leave()

    def extend(self) -> None:
        """Give the request its whole time again."""
        self._expires_at = trio.current_time() + self._time_limit

    def attach(self, carrier: Carrier, number: int) -> None:
        """Note under which number the request goes through `carrier`."""
        self._legs[carrier] = number

    @property
    def is_attached(self) -> bool:
        """Whether it goes through anything."""
        return bool(self._legs)

    def detach(self, carrier: Carrier) -> int | None:
        """Forget that number, and return it."""
        return self._legs.pop(carrier, None)

    @property
    def is_full(self) -> bool:
        """Whether as much waits for the client as may; after the answer nothing more comes that could be held back."""
        return self._queued > self._buffer_size and not (self.is_answered or self.is_let_go)

    async def wait_room(self) -> None:
        """Return once the client has read enough, or has read nothing for too long and is let go."""
        room = self._room = trio.lowlevel.ParkingLot()
        while self.is_full:
            with trio.move_on_at(self._moved_at + _STALL_TIME):
                await room.park()
            if self.is_full and trio.current_time() >= self._moved_at + _STALL_TIME:
                logger.warning("let go of a client that had read nothing for %g s", _STALL_TIME)
                self.is_let_go = True
                self._messages.clear()
                self._queued = 0
                self._arrived.unpark_all()
                # It may be in the middle of a send that will not end.
                if self.interrupt is not None:
                    self.interrupt()
