"""What a child writes to its stderr: passed on line by line, within bounds, and its end kept to explain a death.

A child may write more than anybody can read.  Its pipe is read all the same, so that it is never blocked on us; what is
over the allowance is dropped and counted.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable
from typing import Final

import trio

from .protocol.lines import LineFramer, OversizedLine

_MAX_LINE: Final = 8 * 1024
_BURST: Final = 100
_RATE: Final = 50.0
"""Lines that are passed on: so many at once, and so many a second after that."""
_DROPPED_INTERVAL: Final = 1.0
"""Seconds between two reports of how many lines were dropped."""
_LAST_WORDS: Final = 20
"""Lines that are kept."""


class Allowance:
    """How many lines may pass: so many at once, and so many a second after that."""

    def __init__(self, burst: int, rate: float) -> None:
        self._burst = burst
        self._rate = rate
        self._left = float(burst)
        self._counted_at = 0.0

    def take(self, wanted: int, now: float) -> int:
        """Return how many of `wanted` lines may pass at the time `now`, in seconds."""
        self._left = min(self._burst, self._left + (now - self._counted_at) * self._rate)
        self._counted_at = now
        taken = min(wanted, int(self._left))
        self._left -= taken
        return taken


class StderrRelay:
    """The relay of one child's stderr.

    Attributes:
      last_words: the last lines, dropped ones included.
      ended: set once there is nothing more to come.
    """

    def __init__(self, fd: int, on_line: Callable[[str], None]) -> None:
        self.last_words: deque[str] = deque(maxlen=_LAST_WORDS)
        self.ended = trio.Event()
        self._fd = fd
        self._on_line = on_line
        self._framer = LineFramer(_MAX_LINE)
        self._allowance = Allowance(_BURST, _RATE)
        self._dropped = 0  # and not yet told
        os.set_blocking(fd, False)

    async def run(self) -> None:
        """Relay until the end.  Cancelled, it loses nothing, and can be run again."""
        tell_at = math.inf
        data = b" "
        try:
            while data:
                with trio.move_on_at(tell_at):
                    await trio.lowlevel.wait_readable(self._fd)
                now = trio.current_time()
                if now >= tell_at:
                    self._tell_dropped()
                    tell_at = math.inf
                try:
                    # Little at a time: between two reads come the others' turns.
                    data = os.read(self._fd, _MAX_LINE)
                except BlockingIOError:
                    continue
                # The end of the stream ends an unfinished line, too.
                self._relay(self._framer.feed(data or b"\n"), now)
                if self._dropped and tell_at == math.inf:
                    tell_at = now + _DROPPED_INTERVAL
        finally:
            self._tell_dropped()
        self.ended.set()

    def _relay(self, lines: list[bytes | OversizedLine], now: float) -> None:
        passed = self._allowance.take(len(lines), now)
        for line in lines[:passed]:
            self._on_line(_readable(line))
        self.last_words.extend(map(_readable, lines[-_LAST_WORDS:]))
        self._dropped += len(lines) - passed

    def _tell_dropped(self) -> None:
        if self._dropped:
            self._on_line(f"{self._dropped} lines dropped")
            self._dropped = 0


def _readable(line: bytes | OversizedLine) -> str:
    raw = line if isinstance(line, bytes) else line.head + b"..."
    return raw.decode(errors="replace").rstrip()
