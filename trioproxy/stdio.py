"""Our own stdin and stdout as a transport: the channel to the host that has started us (every revision, Transports §stdio).

    async with open_stdio() as host:         stdin and stdout are ours for exactly as long as the block runs
        host.send_nowait(message)
        lines = await host.receive()

To whom a stdio server is a child, that is its host.  Messages go the other way round than in `child`, and the framing is the
same.  The end of stdin is the host's goodbye; what it was promised before may still be written, and is, for a moment, when
the block ends.

"The server MUST NOT write anything to its stdout that is not a valid MCP message."  So while the block runs the descriptors
0 and 1 are somebody else's: what is printed by accident, here or by a process that we start, lands on stderr, and nobody can
read a message away from us.

Descriptors are made non-blocking, which holds for all who share them, such as the other processes of a terminal; when the
block ends they are as they were.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Final

import trio

from .protocol.errors import ChildError, ChildExited
from .protocol.lines import LineFramer, OversizedLine

logger = logging.getLogger(__name__)

STDIN: Final = 0
STDOUT: Final = 1
STDERR: Final = 2

READ_SIZE: Final = 64 * 1024
MAX_QUEUED: Final = 1024 * 1024
"""Bytes waiting for the host to read our stdout, beyond which senders wait."""
_LAST_WORDS_TIME: Final = 1.0
"""Seconds for the host to take what is still queued when we end."""


@asynccontextmanager
async def open_stdio(
    *, stdin: int = STDIN, stdout: int = STDOUT, max_message_size: int | None = 64 * 1024 * 1024
) -> AsyncIterator[Stdio]:
    """Talk to our host over stdin and stdout, for as long as the block runs.

    Args:
      stdin, stdout: other descriptors, in the place of 0 and 1; they stay open.
      max_message_size: the longest line accepted from the host, in bytes.
    """
    with _reserved(stdin, stdout) as (source, sink):
        host = Stdio(source, sink, max_message_size)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(host._feed_stdout)
            try:
                yield host
            finally:
                nursery.cancel_scope.cancel()
                with trio.move_on_after(_LAST_WORDS_TIME, shield=True):
                    await host._write_queued()


class Stdio:
    """The host at the other ends of our stdin and stdout; a `Transport`."""

    def __init__(self, source: int, sink: int, max_message_size: int | None) -> None:
        self._source = source
        self._sink = sink
        self._framer = LineFramer(max_message_size)
        self._failure: ChildError | None = None
        self._is_deaf = False
        self._reading = trio.CancelScope()
        self._outbox: list[bytes] = []
        self._unwritten = memoryview(b"")
        self._queued = 0
        self._filled = trio.lowlevel.ParkingLot()
        self._emptied = trio.lowlevel.ParkingLot()

    @property
    def failure(self) -> ChildError | None:
        """How the host ended, once it has: it has closed our stdin, or reads our stdout no more."""
        return self._failure

    @property
    def is_congested(self) -> bool:
        """Whether more than MAX_QUEUED bytes wait for the host to read them."""
        return self._queued > MAX_QUEUED

    def send_nowait(self, message: bytes) -> None:
        """Queue one message for our stdout; a host that has closed our stdin may still read it."""
        if self._is_deaf:
            return
        self._outbox.append(message)
        self._queued += len(message) + 1
        self._filled.unpark()

    async def wait_writable(self) -> None:
        """Return once the host has read enough of what waits for it.

        Raises:
          ChildError: it reads nothing any more.
        """
        while self.is_congested and not self._is_deaf:
            await self._emptied.park()
        if self._is_deaf:
            assert self._failure is not None
            raise self._failure

    async def receive(self) -> Sequence[bytes | OversizedLine]:
        """Return the next lines of our stdin, at least one; only one task may wait for them.

        Raises:
          ChildError: the host has closed it, or reads our stdout no more.
        """
        while self._failure is None:
            with trio.CancelScope() as self._reading:
                await _wait_ready(trio.lowlevel.wait_readable, self._source)
            if self._failure is not None:
                break
            try:
                data = os.read(self._source, READ_SIZE)
            except BlockingIOError:
                continue
            except OSError as error:
                # EIO of a terminal that has hung up, ECONNRESET of a socket: as good as the end.
                self._fail(f"our stdin can't be read: {error.strerror}")
                break
            if not data:
                if self._framer.pending:
                    logger.warning("stdin ended in the middle of a line of %d bytes; it is no message", self._framer.pending)
                self._fail("the host has closed our stdin")
            elif lines := self._framer.feed(data):
                return lines
        assert self._failure is not None
        raise self._failure

    async def _feed_stdout(self) -> None:
        """Write what is queued, whenever there is something.

        Nobody else writes.  What has been begun when this is cancelled stays in `_unwritten`: the rest of a line is always
        the next thing that goes out.
        """
        while not self._is_deaf:
            await self._write_queued()
            if not self._is_deaf:
                await self._filled.park()

    async def _write_queued(self) -> None:
        while (self._unwritten or self._outbox) and not self._is_deaf:
            if not self._unwritten:
                self._unwritten = memoryview(b"\n".join((*self._outbox, b"")))
                self._outbox.clear()
            try:
                written = os.write(self._sink, self._unwritten)
            except BlockingIOError:
                await _wait_ready(trio.lowlevel.wait_writable, self._sink)
                continue
            except OSError as error:
                self._is_deaf = True
                self._fail(f"our stdout can't be written: {error.strerror}")
                self._outbox.clear()
                self._unwritten = memoryview(b"")
                self._queued = 0
                self._emptied.unpark_all()
                return
            self._unwritten = self._unwritten[written:]
            self._queued -= written
            if not self.is_congested:
                self._emptied.unpark_all()

    def _fail(self, how: str) -> None:
        if self._failure is None:
            self._failure = ChildExited(how)
        self._reading.cancel()


async def _wait_ready(wait: Callable[[int], Awaitable[None]], descriptor: int) -> None:
    """Wait with `wait`; files and /dev/null are always ready, and epoll refuses to watch them."""
    try:
        await wait(descriptor)
    except PermissionError:
        await trio.lowlevel.checkpoint()


@contextmanager
def _reserved(stdin: int, stdout: int) -> Iterator[tuple[int, int]]:
    """Yield descriptors of our own for stdin and stdout, non-blocking, and keep everybody else away from them meanwhile."""
    source = fcntl.fcntl(stdin, fcntl.F_DUPFD_CLOEXEC, 3)
    sink = fcntl.fcntl(stdout, fcntl.F_DUPFD_CLOEXEC, 3)
    # Both before either is changed: they may be two names of one terminal, or of one socket.
    were_blocking = [(descriptor, os.get_blocking(descriptor)) for descriptor in (source, sink)]
    try:
        for descriptor in (source, sink):
            os.set_blocking(descriptor, False)
        _flush()
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, stdin)
        os.close(nothing)
        os.dup2(STDERR, stdout)
        yield source, sink
    finally:
        # What was printed meanwhile and is still in Python's buffer must not come out on stdout after all.
        _flush()
        for descriptor, was_blocking in were_blocking:
            os.set_blocking(descriptor, was_blocking)
        for ours, original in ((source, stdin), (sink, stdout)):
            os.dup2(ours, original)
            os.close(ours)


def _flush() -> None:
    if sys.stdout is not None:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
