"""What passes through a transport, shown to a callback or written to a file, and not changed by that.

    transport = tapped(child, print)                 a transport that shows what passes through another

    async with open_tap(path) as tap:                a file to which messages are written, a line each (`protocol.recording`)
        tap.note(TO_SERVER, message, session="ab12cd")

Only messages are shown, so that no header is, and no secret in one; what a message says is there, and so the file is for its
owner's eyes only.

A line is made where the message is noted, and written by a thread, all that has come meanwhile at once: a disk may take its
time, a pipe may have a reader that has stopped, and no session is to wait for either.  As measured, noting a small message
costs 6 µs; writing it at once would add half a one where all is well, 2 ms for a megabyte, and any time where a disk is
busy.  The price is that what was noted in the last GATHER_TIME seconds is lost if we are killed.
"""

from __future__ import annotations

import logging
import os
import stat
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final, Generic, NamedTuple, TypeVar

import trio

from .protocol.errors import ChildError, TrioproxyError
from .protocol.lines import OversizedLine
from .protocol.messages import RequestId
from .protocol.recording import TO_CLIENT, TO_SERVER, Direction, Entry, Lost, write_entry, write_loss
from .protocol.translation import Related
from .transport import Received, Transport

logger = logging.getLogger("trioproxy.tap")

GATHER_TIME: Final = 0.02
"""Seconds for which lines are gathered before they are written."""
MAX_WAITING: Final = 32 * 1024 * 1024
"""Bytes that wait to be written, beyond which messages are not recorded, but counted."""
LAST_TIME: Final = 2.0
"""Seconds for what waits at the end to be written."""
_WRITE_SIZE: Final = 1024 * 1024

T = TypeVar("T", bound=Transport)


class Tapped(NamedTuple):
    """One message that passes through a transport.

    Attributes:
      message: without its newline; of a line over the limit, what is left of it.
      time: seconds since 1970.
      request_id: of the request that it belongs to, where nothing in the message says so.
    """

    direction: Direction
    message: bytes | OversizedLine
    time: float
    request_id: RequestId | None = None


def tapped(
    transport: T, callback: Callable[[Tapped], object], *, clock: Callable[[], float] = time.time
) -> TappedTransport[T]:
    """Return a transport that is `transport`, and calls `callback` with each message that passes.

    The callback is called before a message is sent, and before one that was received is returned.  It must not wait; if it
    raises, the first time is logged, and the message passes all the same.
    """
    return TappedTransport(transport, callback, clock)


class TappedTransport(Generic[T]):
    """A transport that shows what passes through another; whatever else that one has can be asked of this one."""

    def __init__(self, inner: T, callback: Callable[[Tapped], object], clock: Callable[[], float]) -> None:
        self._inner = inner
        self._callback = callback
        self._clock = clock
        self._has_complained = False

    def send_nowait(self, message: bytes) -> None:
        """Queue one message for the server."""
        self._show(Tapped(TO_SERVER, message, self._clock()))
        self._inner.send_nowait(message)

    @property
    def is_congested(self) -> bool:
        """Whether so much is queued that the next message should wait."""
        return self._inner.is_congested

    async def wait_writable(self) -> None:
        """Return once the transport is not congested.

        Raises:
          ChildError: the server has ended.
        """
        await self._inner.wait_writable()

    async def receive(self) -> Sequence[Received]:
        """Return the next messages, at least one.

        Raises:
          ChildError: the server has ended, and every message of its was returned before.
        """
        lines = await self._inner.receive()
        # No checkpoint from here on: a cancellation would lose what was received.
        now = self._clock()
        for line in lines:
            if isinstance(line, Related):
                self._show(Tapped(TO_CLIENT, line.raw, now, line.request_id))
            else:
                self._show(Tapped(TO_CLIENT, line, now))
        return lines

    @property
    def failure(self) -> ChildError | None:
        """How the server ended, once it has."""
        return self._inner.failure

    def __getattr__(self, name: str) -> Any:
        # Only what isn't found here is looked for here.
        return getattr(self._inner, name)

    def _show(self, shown: Tapped) -> None:
        try:
            self._callback(shown)
        except Exception:
            if not self._has_complained:
                self._has_complained = True
                logger.exception("a callback has failed at a message; the message passes, and this is not logged again")


class Tap:
    """Where messages are noted; this one forgets them."""

    def note(
        self,
        direction: Direction,
        message: Received,
        *,
        session: str | None = None,
        stream: int | None = None,
        request: str | int | None = None,
    ) -> None:
        """Note a message that passes; never waits, never raises.

        Args:
          session: what it is called in logs; None outside any.
          stream: the number of the stream that carries it, or will carry its answer.
          request: what tells the exchange of a modern request from others.
        """


NO_TAP: Final = Tap()
"""For whoever records nothing."""


@asynccontextmanager
async def open_tap(path: str | os.PathLike[str], *, clock: Callable[[], float] = time.time) -> AsyncIterator[Tap]:
    """Append what is noted to a file, for as long as the block runs; a file that is new is its owner's alone (mode 600).

    What was noted when the block ends is written before it has ended, unless that takes longer than LAST_TIME.  A file that
    takes nothing more, because its disk is full, say, is logged once; where it takes something again, a line says how
    many messages are missing there.

    Raises:
      TrioproxyError: the file can't be opened.
    """
    tap = _FileTap(path, _open_to_append(path), clock)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tap._run)
        try:
            yield tap
        finally:
            tap._close()


class _Line(NamedTuple):
    raw: bytes
    lost: int = 0  # messages that it says are missing; none where it is a message itself


class _FileTap(Tap):
    """A tap that is a file.

    Lines are gathered by `note`, and taken to the file by the one task that runs `_run`, which ends after `_close`.
    """

    def __init__(self, path: str | os.PathLike[str], descriptor: int, clock: Callable[[], float]) -> None:
        self._path = os.fspath(path)
        self._descriptor = descriptor
        self._clock = clock
        self._waiting: deque[_Line] = deque()
        self._size = 0
        self._noted = self._recorded = 0
        self._lost = 0  # since a line has last said so
        self._line_is_cut = False
        self._has_complained = False
        self._filled = trio.Event()
        self._closing = trio.Event()
        # The end of the block is told by `_closing`: a cancellation of what is around must not cut a line in two.
        self._scope = trio.CancelScope(shield=True)

    def note(
        self,
        direction: Direction,
        message: Received,
        *,
        session: str | None = None,
        stream: int | None = None,
        request: str | int | None = None,
    ) -> None:
        """Note a message that passes."""
        raw, length = message if isinstance(message, bytes) else message[0], None
        if isinstance(message, OversizedLine):
            length = message.length
        line = write_entry(Entry(self._now(), direction, raw, session, stream, request, length))
        self._noted += 1
        if self._size and self._size + len(line) > MAX_WAITING:
            self._lost += 1
            self._complain("it does not take as much as there is to record")
            return
        self._tell_lost()
        self._append(_Line(line))

    async def _run(self) -> None:
        with self._scope:
            is_over = False
            while not is_over:
                await self._filled.wait()
                with trio.move_on_after(GATHER_TIME):
                    await self._closing.wait()
                self._filled = trio.Event()
                if is_over := self._closing.is_set():
                    self._tell_lost()
                await self._write_out()
            os.close(self._descriptor)
        if self._scope.cancelled_caught:
            # A thread still has the file, and closing it would give its number to somebody else.
            self._complain(f"it has taken nothing for {LAST_TIME:g} s, and we end")
        if self._noted > self._recorded:
            logger.error("%s: of %d messages %d are not recorded", self._path, self._noted, self._noted - self._recorded)

    def _close(self) -> None:
        self._closing.set()
        self._filled.set()
        self._scope.deadline = trio.current_time() + LAST_TIME

    async def _write_out(self) -> None:
        while self._waiting:
            lines = []
            size = 0
            while self._waiting and size < _WRITE_SIZE:
                lines.append(self._waiting.popleft())
                size += len(lines[-1].raw)
            start = b"\n" if self._line_is_cut else b""
            data = start + b"\n".join([*(line.raw for line in lines), b""])
            written, error = await trio.to_thread.run_sync(_write, self._descriptor, data, abandon_on_cancel=True)
            self._size -= size
            if written:
                self._line_is_cut = data[written - 1 : written] != b"\n"
            end = len(start)
            for line in lines:
                end += len(line.raw) + 1
                if end > written:
                    self._lost += line.lost or 1
                elif not line.lost:
                    self._recorded += 1
            if error is not None:
                self._complain(error.strerror or str(error))
                return

    def _append(self, line: _Line) -> None:
        self._waiting.append(line)
        self._size += len(line.raw)
        self._filled.set()

    def _tell_lost(self) -> None:
        if self._lost:
            lost, self._lost = self._lost, 0
            self._append(_Line(write_loss(Lost(self._now(), lost)), lost))

    def _complain(self, reason: str) -> None:
        """Log why something is not recorded, the first time."""
        if not self._has_complained:
            self._has_complained = True
            logger.error("%s: messages are not recorded: %s", self._path, reason)

    def _now(self) -> str:
        return datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _open_to_append(path: str | os.PathLike[str]) -> int:
    try:
        # A pipe without a reader would keep us waiting.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK, 0o600)
    except OSError as error:
        raise TrioproxyError(f"{os.fspath(path)}: messages can't be recorded there: {error.strerror}") from error
    os.set_blocking(descriptor, True)
    with suppress(OSError):
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            _end_line(path, descriptor)
    return descriptor


def _end_line(path: str | os.PathLike[str], descriptor: int) -> None:
    """End the line in the middle of which an earlier recording was cut off."""
    with open(path, "rb") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                os.write(descriptor, b"\n")


def _write(descriptor: int, data: bytes) -> tuple[int, OSError | None]:
    """Write all of `data`, and return how much was written, and what has kept the rest from it."""
    view, written = memoryview(data), 0
    try:
        while written < len(data):
            written += os.write(descriptor, view[written:])
    except OSError as error:
        return written, error
    return written, None
