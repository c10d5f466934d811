"""How children end, and what that says of their command: that it works, needs a rest, or is none.

The longer the row of children that could not live, the longer the pause before the next spare; and so it is with a session
whose children die one after the other, until it is given up, and the command held to be broken for a while.  A new session
does not wait for any of this: where there is no spare, its child is started at once.
"""

from __future__ import annotations

import math
from typing import Final

import trio

from .protocol.errors import ChildError, CommandFailed

PROBATION: Final = 60.0
"""Seconds in which a child that ends by itself shows that the command doesn't work, unless one has answered before."""
LIVELY: Final = 30.0
"""Seconds after which a child that dies has lived: the next one is not held to be the same failure again."""
MAX_DEATHS: Final = 5
"""Deaths in a row after which a session is given up, and the server held to be broken for a while."""
LAST_WORDS: Final = "; its last words:"
"""What comes before them, in a line of which they are the next ones."""
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 30.0
"""Seconds before a dead child is replaced: from the first, doubled with each death in a row, to the longest."""


class Deaths:
    """What is known of the children that have ended by themselves.

    Attributes:
      count: of them.
      in_a_row: how many could not live, one after the other.
      last: how the last one ended, or why one that was to take its place did not come.
      has_answered: whether a child has ever said anything.
    """

    def __init__(self) -> None:
        self.count = 0
        self.in_a_row = 0
        self.last: str | None = None
        self.has_answered = False
        self._broken_until = -math.inf

    def note(self, how: str) -> None:
        """Take note of the death of a child that somebody has used."""
        self.count += 1
        self.last = how

    def note_unused(self, how: str) -> None:
        """Take note of the death of a child that nobody had used yet: the next may be no better."""
        self.in_a_row += 1
        self.note(how)

    def forget_row(self) -> None:
        """A child is used, or has lived: the command works."""
        self.in_a_row = 0

    def give_up(self) -> None:
        """Hold the command to be broken, for a while."""
        self._broken_until = trio.current_time() + _LONGEST_PAUSE

    @property
    def is_given_up(self) -> bool:
        """Whether the command is held to be broken."""
        return trio.current_time() < self._broken_until


def pause(deaths: int) -> float:
    """Return how many seconds to wait before the next child, after so many deaths in a row."""
    return min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(deaths - 1, 16)) if deaths else 0.0


def unforgivable(failure: ChildError) -> CommandFailed:
    """Return the error of a death that ends everything, as `--exit-on-child-death` wants it."""
    return CommandFailed(f"{failure}, and --exit-on-child-death says that this is the end", data=failure.data)


def command_failed(failure: ChildError) -> CommandFailed:
    """Return the error of a command whose child has ended before any had answered."""
    stderr = (failure.data or {}).get("stderr") or ["nothing on stderr"]
    words = "".join(f"\n  {line}" for line in stderr)
    return CommandFailed(f"{failure} before it had answered anything{LAST_WORDS}{words}", data=failure.data)
