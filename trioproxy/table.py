"""One shared server, and who sits at it: what a client says goes to the server, and what that says to whom it is for.

Who hears what, `protocol.sharing` knows.  Here it is sent there, and nobody's slowness is anybody else's: what a client does
not read waits in its own inbox, and when that is over its bound the client loses its seat, and the server goes on.
"""

from __future__ import annotations

import logging
import math
import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Final, Protocol, runtime_checkable

import trio

from .protocol.errors import (
    ChildError,
    ChildExited,
    InvalidRequest,
    LineTooLong,
    ParseError,
    error_response,
)
from .protocol.lines import OversizedLine
from .protocol.messages import Request, find_request_answered, parse_line, recognise, slim
from .protocol.sharing import Client, Sharing, Step
from .protocol.translation import Related
from .transport import Received, Transport

logger = logging.getLogger("trioproxy.hub")

_SKIPS_SHOWN: Final = 20


@runtime_checkable
class Killable(Protocol):
    """A server that can be ended without ceremony."""

    def kill(self) -> None: ...


class Table:
    """One server, and who sits at it.

    Args:
      idle_limit: seconds without anybody after which the server is ended; infinity for never.
      skipped: counts the messages that are passed on to nobody, by kind.

    Attributes:
      failure: how it ended, once it has.
      has_spoken: whether any message has come from the server.
      ended: set once it has, and everybody has been told.
    """

    def __init__(self, server: Transport, idle_limit: float, skipped: Counter[str]) -> None:
        self.server: Final = server
        self.name: Final = getattr(server, "name", "server")
        self.failure: ChildError | None = None
        self.has_spoken = False
        self.ended: Final = trio.Event()
        self._sharing = Sharing(skipped)
        self._seats: dict[Client, Seat] = {}
        self._idle_limit = idle_limit
        self._scope = trio.CancelScope()
        self._skipped = skipped
        self._logger = logging.LoggerAdapter(logger, {"session": secrets.token_urlsafe(4)})

    def __len__(self) -> int:
        return len(self._seats)

    @property
    def is_open(self) -> bool:
        """Whether another seat can be taken."""
        return self.failure is None and self.server.failure is None and not self._scope.cancel_called

    # The clients

    def seat(self, max_unread: int) -> Seat:
        """Return a seat for one more client."""
        client = self._sharing.join()
        seat = self._seats[client] = Seat(self, client, max_unread)
        self._scope.deadline = math.inf
        return seat

    def clear(self, seat: Seat, failure: ChildError | None = None) -> None:
        """Release what a client has going on, unless that has been done."""
        if self._seats.pop(seat.client, None) is None:
            return
        seat.fail(failure or ChildExited("the client has left the server"))
        self._carry_out(self._sharing.leave(seat.client, trio.current_time()))
        if not self._seats and self.failure is None:
            # One that has not even answered the handshake is of no use to the next, either.
            self._scope.deadline = trio.current_time() + (0 if self._sharing.is_stuck else self._idle_limit)

    def take(self, client: Client, line: bytes) -> None:
        """Take what a client says."""
        if self.failure is not None:
            return
        message = parse_line(line)
        try:
            step = self._sharing.from_client(client, message, trio.current_time())
        except ParseError as error:
            # What can be read can still be nested too deeply to be changed.
            if isinstance(message, Request):
                self._carry_out(Step(to_clients=((client, error_response(error, message.id)),)))
            return
        slim(message)
        self._carry_out(step)

    # The server

    @contextmanager
    def served(self) -> Iterator[None]:
        """Whatever ends the block, everybody hears of it."""
        try:
            yield
        finally:
            self.end(self.server.failure or ChildExited("the server was stopped"))

    async def run(self) -> None:
        """Relay what the server says, until it ends, or nobody has needed it for too long."""
        with self._scope:
            while self.failure is None:
                try:
                    lines = await self.server.receive()
                except ChildError:
                    return
                self.has_spoken = True
                for line in lines:
                    self._relay(line)
        if self._scope.cancelled_caught and self.failure is None:
            self._logger.info("idle, ended")

    def kill(self) -> None:
        """End the server without ceremony, if that can be done, and tell everybody."""
        if isinstance(self.server, Killable):
            self.server.kill()
        self.end(ChildExited("the server was killed"))

    def end(self, failure: ChildError) -> None:
        """Have everybody leave."""
        if self.failure is not None:
            return
        self.failure = failure
        seats, self._seats = self._seats, {}
        for seat in seats.values():
            seat.fail(failure)
        self.ended.set()
        self._scope.cancel()

    def _relay(self, line: Received) -> None:
        if self.failure is not None:
            return
        if isinstance(line, OversizedLine):
            self._lose(line)
            return
        if isinstance(line, Related):
            self._carry_out(self._sharing.relate(line))
            return
        try:
            message = recognise(line)
            step = self._sharing.from_server(message, trio.current_time())
        except (ParseError, InvalidRequest) as error:
            self._skip("garbage", f"{error}: {line[:200].decode(errors='replace')!r}")
            return
        if isinstance(message, Request) and self.server.is_congested:
            # A server that asks, and does not read what it is told, is told no more.
            step = step._replace(to_server=())
        self._carry_out(step)

    def _lose(self, line: OversizedLine) -> None:
        """A line over the limit fails the request that it answers, or else everybody: it was somebody's."""
        error = LineTooLong(f"the server wrote a line of {line.length} bytes, over the limit of --max-message-size")
        self._logger.error("%s", error)
        number = find_request_answered(line)
        if isinstance(number, int):
            self._carry_out(self._sharing.lose_response(number, error, trio.current_time()))
        else:
            self.end(error)

    def _carry_out(self, step: Step) -> None:
        for message in step.to_server:
            self.server.send_nowait(message)
        for client, said in step.to_clients:
            if (seat := self._seats.get(client)) is not None and not seat.put(said):
                error = ChildError(
                    f"{seat.unread} bytes of the server wait to be read, over the limit of {seat.max_unread}; "
                    "the client has lost its seat, since others share the server"
                )
                self._logger.error("%s", error)
                self.clear(seat, error)

    def _skip(self, kind: str, why: str) -> None:
        self._skipped[kind] += 1
        number = self._skipped[kind]
        if number <= _SKIPS_SHOWN or number & (number - 1) == 0:
            self._logger.warning("skipped a line of the server, number %d: %s", number, why)


class Seat:
    """One client's part in a server that it shares; a `Transport`.

    Attributes:
      client: whom it is for.
      max_unread: bytes that may wait in its inbox.
      unread: how many do.
    """

    def __init__(self, table: Table, client: Client, max_unread: int) -> None:
        self.client: Final = client
        self.max_unread: Final = max_unread
        self.unread = 0
        self._table = table
        self._inbox: list[Received] = []
        self._filled = trio.lowlevel.ParkingLot()
        self._failure: ChildError | None = None

    # The client's side

    @property
    def name(self) -> str:
        """What it is called in logs."""
        return f"a seat at {self._table.name}"

    @property
    def has_spoken(self) -> bool:
        """Whether any message has come from the server, be it to somebody else."""
        return self._table.has_spoken

    @property
    def queued(self) -> int:
        """Bytes that wait for the server to read them, whoever sent them."""
        queued: int = getattr(self._table.server, "queued", 0)
        return queued

    def send_nowait(self, message: bytes) -> None:
        """Queue one message for the server.

        Raises:
          ParseError, InvalidRequest: it is none.
        """
        if self._failure is None:
            self._table.take(self.client, message)

    @property
    def is_congested(self) -> bool:
        """Whether the server has much to read as it is."""
        return self._failure is None and self._table.server.is_congested

    async def wait_writable(self) -> None:
        """Return once the server has read enough.

        Raises:
          ChildError: it has ended, or the seat is lost.
        """
        if self._failure is None:
            try:
                await self._table.server.wait_writable()
            except ChildError as error:
                raise _copy(error) from None
        if self._failure is not None:
            raise self._failure

    async def receive(self) -> list[Received]:
        """Return the next messages for this client, at least one.

        Raises:
          ChildError: the server has ended, or the seat is lost, and every message was returned before.
        """
        while not self._inbox:
            if self._failure is not None:
                raise self._failure
            await self._filled.park()
        await trio.lowlevel.checkpoint_if_cancelled()
        inbox, self._inbox = self._inbox, []
        self.unread = 0
        return inbox

    @property
    def failure(self) -> ChildError | None:
        """How the server ended, or the seat was lost."""
        return self._failure

    def kill(self) -> None:
        """Give the seat up, now; the server is not this client's to end."""
        self._table.clear(self)

    async def wait_exited(self) -> None:
        """Return once the server has ended."""
        await self._table.ended.wait()

    # The table's side

    def put(self, message: Received) -> bool:
        """Put a message into the inbox; return whether there was room.  One message finds room in any that is empty."""
        size = len(message.raw if isinstance(message, Related) else message)
        if self._inbox and self.unread + size > self.max_unread:
            return False
        self._inbox.append(message)
        self.unread += size
        self._filled.unpark()
        return True

    def fail(self, failure: ChildError) -> None:
        """End it; what is in the inbox can still be received."""
        if self._failure is None:
            self._failure = _copy(failure)
            self._filled.unpark()


def _copy(failure: ChildError) -> ChildError:
    """Return the same failure for one client alone, which may write into its data what concerns only itself."""
    return type(failure)(str(failure), data=deepcopy(failure.data))
