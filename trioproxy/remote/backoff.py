"""How long to wait before the next attempt: longer each time, and never as long as everybody else."""

from __future__ import annotations

import random
from typing import Final

_FIRST: Final = 0.25
_LONGEST: Final = 30.0
_LEAST: Final = 0.05
"""Even where the other side asks for less, or has just answered well: what is repeated at once burns both processors."""


class Backoff:
    """The pauses between attempts, in seconds: twice as long each time, and up to half of that taken off by chance.

    Clients that a server has lost together must not come back together.
    """

    def __init__(self, longest: float = _LONGEST) -> None:
        self._longest = longest
        self._next = _FIRST

    def reset(self) -> None:
        """Begin anew: the last attempt was a good one."""
        self._next = 0.0

    def pause(self, asked_ms: int | None = None) -> float:
        """Return the next pause.

        Args:
          asked_ms: what the server has asked for, if it has: "The client MUST respect the retry field, waiting the given
            number of milliseconds before attempting to reconnect" (2025-11-25, Transports §Sending Messages, 6).
        """
        pause = max(self._next * random.uniform(0.5, 1), _LEAST)
        self._next = min(max(2 * self._next, _FIRST), self._longest)
        return max(pause, (asked_ms or 0) / 1000)
