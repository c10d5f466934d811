"""A stdio server as a transport: one process, its three pipes, and its end (every revision, Transports §stdio).

    async with open_child(config, on_stderr=...) as child:      the process lives exactly as long as the block
        child.send_nowait(message)
        lines = await child.receive()

Who does what: one task writes stdin (a lone short message excepted), one reads stderr, one waits for the exit; stdout is
read by whoever calls `receive`, so that a message goes from the pipe to where it is needed without changing hands.

The end of the block is the shutdown that the specification draws (Lifecycle §Shutdown, stdio): close stdin, wait, SIGTERM,
wait, SIGKILL; here for the whole process group, since what `sh -c` or `npx` started is ours as well.  A process that has
put itself into a session of its own (`setsid`) has left the family and is not followed.
"""

from __future__ import annotations

import fcntl
import logging
import os
import select
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing, suppress
from typing import IO, Final

import trio

from .command import start_process
from .config import ChildConfig
from .gather import drop, gather
from .process_group import ProcessGroup, describe_exit, signal_name
from .protocol.errors import ChildError, ChildExited
from .protocol.lines import LineFramer, OversizedLine
from .stderr import StderrRelay

logger = logging.getLogger("trioproxy.child")

READ_SIZE: Final = 64 * 1024
_FULL: Final = 48 * 1024
"""What fills a pipe of the usual size: of small writes it holds less than 64 KiB, since each page of it takes whole ones."""
_BURST_SIZE: Final = 128 * 1024
"""What is read at a time, and what the pipe holds, while each read brings as much as fills a pipe."""
MAX_QUEUED: Final = 1024 * 1024
"""Bytes waiting for a child to read its stdin, beyond which senders wait."""
_PIPE_SIZE: Final = 64 * 1024
"""What a pipe holds, unless it is told to hold more."""
STOP_RUNG: Final = 2.0
"""Seconds for a child to act on each of: end of its stdin, SIGTERM, SIGKILL."""
_DRAIN_TIME: Final = 0.5
"""Seconds for what a dead child wrote to be read, if something else holds its stdout open."""
_LAST_WORDS_TIME: Final = 0.1
"""Seconds for the stderr of a dead child to be read, likewise, before its end is told."""
_MAX_LEFT: Final = 1024 * 1024
"""Bytes that a dead child may have left in its stdout, if it has enlarged the pipe."""
_EXIT_TIME: Final = 1.0
"""Seconds for a child that has closed its stdout to exit."""


def log_stderr(line: str) -> None:
    """Log what a child has written to its stderr."""
    logger.info("%s", line)


@asynccontextmanager
async def open_child(
    command: ChildConfig | Sequence[str], *, on_stderr: Callable[[str], None] = log_stderr, stop_rung: float = STOP_RUNG
) -> AsyncIterator[Child]:
    """Start a stdio server, for as long as the block runs.

    When the block has ended, however it ended, so have the process and its process group; that takes at most three
    times `stop_rung` seconds, shielded from cancellation.

    Args:
      on_stderr: called with each line that the child writes to its stderr; of a flood, with some, and with how many were
        dropped.
      stop_rung: how long it has to act on the end of its stdin, on SIGTERM, and on SIGKILL.

    Raises:
      CommandFailed: the command can't be run: not found, not executable, no such working directory.
    """
    config = command if isinstance(command, ChildConfig) else ChildConfig(tuple(command))
    # No checkpoint between the start of the process and the `try`: a cancellation must find somebody who ends it.
    with closing(start_process(config)) as group:
        child = Child(group, config.max_message_size, on_stderr)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(child._feed_stdin)
                nursery.start_soon(child._stderr.run)
                nursery.start_soon(child._watch_exit)
                yield child
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                await child._stop(stop_rung)


class Child:
    """A running stdio server; a `Transport`.

    Attributes:
      pid: of the process, which leads a process group of its own.
      has_spoken: whether any line has come from it.
    """

    def __init__(self, group: ProcessGroup, max_message_size: int | None, on_stderr: Callable[[str], None]) -> None:
        process = group.leader
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self.pid: Final = process.pid
        self.has_spoken = False
        self._process = process
        self._group = group
        self._framer = LineFramer(max_message_size)
        self._left = b""  # what a dead child had written when its stdout was closed
        self._failure: ChildError | None = None
        self._stdin_is_wide = False
        self._stdout_is_wide = False
        self._read_size = READ_SIZE
        self._has_spoken_since = True  # since we last wrote
        self._exited = trio.Event()
        self._outbox: list[bytes] = []
        self._queued = 0
        self._filled = trio.lowlevel.ParkingLot()
        self._emptied = trio.lowlevel.ParkingLot()
        self._stdin, self._stdout = process.stdin.fileno(), process.stdout.fileno()
        for fd in (self._stdin, self._stdout):
            os.set_blocking(fd, False)
        self._stderr = StderrRelay(process.stderr.fileno(), on_stderr)

    @property
    def name(self) -> str:
        """What it is called in logs."""
        return f"process {self.pid}"

    @property
    def last_words(self) -> Sequence[str]:
        """The last lines of its stderr."""
        return self._stderr.last_words

    @property
    def failure(self) -> ChildError | None:
        """How the child ended, once it has."""
        return self._failure

    def kill(self) -> None:
        """Send SIGKILL to the child and all its family, now."""
        self._group.send(signal.SIGKILL)

    async def wait_exited(self) -> None:
        """Return once the process has ended."""
        await self._exited.wait()

    def send_nowait(self, message: bytes) -> None:
        """Queue one message for the child's stdin."""
        if self._failure is not None:
            return
        if self._has_spoken_since and not self._queued and len(message) < select.PIPE_BUF:
            # A pipe takes so little whole or not at all, and at once: nothing that a cancellation could cut in two.  It
            # saves a lone message the way through the scheduler; the next ones, until the child says something, are
            # better collected.
            self._has_spoken_since = False
            with suppress(BlockingIOError, BrokenPipeError):
                os.write(self._stdin, message + b"\n")
                return
        self._outbox.append(message)
        self._queued += len(message)
        self._filled.unpark()

    @property
    def queued(self) -> int:
        """Bytes that wait for the child to read them."""
        return self._queued

    @property
    def is_congested(self) -> bool:
        """Whether more than MAX_QUEUED bytes wait for the child to read them."""
        return self._queued > MAX_QUEUED

    async def wait_writable(self) -> None:
        """Return once the child has read enough of what waits for it.

        Raises:
          ChildError: the child has ended.
        """
        while self._failure is None and self.is_congested:
            await self._emptied.park()
        if self._failure is not None:
            raise self._failure

    async def receive(self) -> list[bytes | OversizedLine]:
        """Return the next lines of the child's stdout, at least one.

        Raises:
          ChildError: the child has ended and all that it wrote has been returned.
        """
        assert self._process.stdout is not None
        while True:
            if self._read_size == _BURST_SIZE:
                # The last read brought a whole pipe: by now there is likely to be more.
                await trio.lowlevel.checkpoint()
            elif not self._process.stdout.closed:
                try:
                    await trio.lowlevel.wait_readable(self._stdout)
                except trio.ClosedResourceError:
                    continue
            # A line longer than the pipe comes in pieces that follow each other closely: to wait each time would cost a
            # round of the scheduler.
            for _ in range(16):
                data = self._read_stdout()
                if data is None:
                    break
                if not data:
                    await self._settle_failure("stdout")
                    assert self._failure is not None
                    raise self._failure
                if lines := self._framer.feed(data):
                    self.has_spoken = self._has_spoken_since = True
                    return lines

    def _read_stdout(self) -> bytes | None:
        """Return what is there: None for nothing yet, b"" for nothing ever again."""
        assert self._process.stdout is not None
        if self._process.stdout.closed:
            left, self._left = self._left, b""
            return left
        try:
            data = os.read(self._stdout, self._read_size)
        except BlockingIOError:
            self._read_size = READ_SIZE
            return None
        self._read_size = READ_SIZE if len(data) < _FULL else _BURST_SIZE
        if self._read_size == _BURST_SIZE and not self._stdout_is_wide:
            self._stdout_is_wide = True
            _widen(self._stdout, _BURST_SIZE)
        return data

    async def _settle_failure(self, closed: str) -> None:
        """Wait until it is known how a child ended that has closed its stdin or its stdout."""
        if self._failure is None:
            with trio.move_on_after(_EXIT_TIME):
                await self._exited.wait()
        if self._failure is None:
            self._fail(ChildExited(f"the server closed its {closed} without exiting", data=self._post_mortem()))

    # The tasks

    async def _feed_stdin(self) -> None:
        """Write what is queued.

        What could be cut in two is written by this task alone: a cancelled write leaves half a line in the pipe, for the
        next message to be glued to.  (`send_nowait` writes only what a pipe takes whole or not at all, and only while
        nothing is queued.)  This task is cancelled only together with the child.
        """
        while True:
            while not self._outbox:
                await self._filled.park()
            # A lone message may be large, and need not be copied for its newline.
            is_alone = len(self._outbox) == 1
            pieces = gather((self._outbox[0], b"\n") if is_alone else (b"\n".join((*self._outbox, b"")),))
            self._outbox.clear()
            self._queued = sum(map(len, pieces))
            if self._queued > _PIPE_SIZE and not self._stdin_is_wide:
                self._stdin_is_wide = True
                _widen(self._stdin, MAX_QUEUED)
            while pieces:
                try:
                    written = os.writev(self._stdin, pieces)
                except BlockingIOError:
                    await trio.lowlevel.wait_writable(self._stdin)
                    continue
                except BrokenPipeError:
                    # Nobody reads any more, and what was queued is lost.  Mostly the child is about to exit, and the
                    # watcher will tell how it did.
                    await self._settle_failure("stdin")
                    if not self._exited.is_set():
                        self._end_stdout()
                    return
                drop(pieces, written)
                if self._failure is None:
                    # Else nothing is queued any more, though a grandchild may read on.
                    self._queued -= written
            self._queued = sum(map(len, self._outbox))
            self._emptied.unpark_all()

    async def _watch_exit(self) -> None:
        """Wait for the process to end, and say how it did.  What it left in its pipes is still read."""
        code = await self._group.wait_leader()
        with trio.move_on_after(_LAST_WORDS_TIME):
            await self._stderr.ended.wait()
        self._fail(ChildExited(f"the server {describe_exit(code)}", data=self._post_mortem()))
        self._exited.set()
        # A grandchild may hold the pipe open for ever.
        await trio.sleep(_DRAIN_TIME)
        self._end_stdout()

    def _end_stdout(self) -> None:
        """Close stdout, and keep what is still in the pipe: whoever is to receive it may be held up by its own readers."""
        left: list[bytes] = []
        while sum(map(len, left)) < _MAX_LEFT and (data := self._read_stdout()):
            left.append(data)
        self._left = b"".join(left)
        self._close(self._process.stdout)

    def _fail(self, failure: ChildError) -> None:
        if self._failure is None:
            self._failure = failure
        self._outbox.clear()
        self._queued = 0
        self._emptied.unpark_all()

    def _post_mortem(self) -> dict[str, object]:
        code = self._process.returncode
        how: dict[str, object] = {}
        if code is not None:
            how = {"exitStatus": code} if code >= 0 else {"signal": signal_name(-code)}
        return {**how, "stderr": list(self._stderr.last_words), "restarts": 0}

    # The end

    async def _stop(self, rung_time: float) -> None:
        """Close stdin, then signal, until no process of the group is left."""
        # Before stdin is closed: its number will be another file's, and nothing may be written there.
        self._fail(ChildExited("the server was stopped", data=self._post_mortem()))
        self._close(self._process.stdin)
        async with trio.open_nursery() as nursery:
            # A child that is blocked on a full pipe would never see the end of its stdin.
            nursery.start_soon(self._discard_stdout)
            if not self._stderr.ended.is_set():
                nursery.start_soon(self._stderr.run)
            for rung in (None, signal.SIGTERM, signal.SIGKILL):
                if rung is not None:
                    self._group.send(rung)
                with trio.move_on_after(rung_time):
                    await self._group.wait_gone()
                    break
            with trio.move_on_after(_LAST_WORDS_TIME):
                await self._stderr.ended.wait()
            nursery.cancel_scope.cancel()
        for pipe in (self._process.stdout, self._process.stderr):
            self._close(pipe)
        self._exited.set()

    async def _discard_stdout(self) -> None:
        assert self._process.stdout is not None
        data: bytes | None = None
        while data != b"" and not self._process.stdout.closed:
            await trio.lowlevel.wait_readable(self._stdout)
            data = self._read_stdout()

    def _close(self, pipe: IO[bytes] | None) -> None:
        if pipe is not None and not pipe.closed:
            trio.lowlevel.notify_closing(pipe.fileno())
            pipe.close()


def _widen(pipe: int, size: int) -> None:
    """Let what is large go through a pipe at once, and not in pieces, for each of which somebody waits."""
    if sys.platform == "linux":
        # There is a limit to what one user's pipes may take together; beyond it this one stays as it is.
        with suppress(OSError):
            if fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ) < size:
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, size)
