"""One task that keeps the time of many: it sleeps until the next deadline, sees what is overdue, and so on.

A scope for each request would cost as much as everything else that is done with it.  Here a deadline that moves away costs
nothing until it is looked at, and most waits are over before it is.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Protocol

import trio


class Impatient(Protocol):
    """Who waits for something, and not for long."""

    @property
    def has_something(self) -> bool:
        """Whether there is nothing more to wait for."""

    def run_out_of_patience(self) -> None:
        """Wait no longer."""


class Alarm:
    """The next deadline of many.

    Args:
      deadline: the first, on trio's clock; infinity for none.
    """

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._sleep = trio.CancelScope()
        self._impatient: deque[tuple[float, Impatient]] = deque()

    def expect_by(self, deadline: float) -> None:
        """Wake up by then, if not before."""
        if deadline < self._deadline:
            self._deadline = self._sleep.deadline = deadline

    def limit_patience(self, waiter: Impatient, seconds: float) -> None:
        """Have `waiter` run out of patience in so many seconds, the same for all."""
        until = trio.current_time() + seconds
        self._impatient.append((until, waiter))
        self.expect_by(until)

    async def run(self, look: Callable[[float], float]) -> None:
        """Call `look` with the time whenever a deadline has come; it returns the next one."""
        while True:
            with trio.CancelScope(deadline=self._deadline) as self._sleep:
                await trio.sleep_forever()
            now = trio.current_time()
            self._deadline = math.inf
            self._check_patience(now)
            self.expect_by(look(now))

    def _check_patience(self, now: float) -> None:
        """Have those run out of patience who have waited long enough."""
        # Most have what they were waiting for: who looked at each in its turn would wake up for each.
        while self._impatient and (self._impatient[0][0] <= now or self._impatient[0][1].has_something):
            self._impatient.popleft()[1].run_out_of_patience()
        if self._impatient:
            self.expect_by(self._impatient[0][0])
