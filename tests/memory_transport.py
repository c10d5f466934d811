"""A transport without a process behind it: the test speaks for the server.

`tests/test_transport.py` holds it to the same contract as the real child.
"""

from __future__ import annotations

import json
from collections import deque
from typing import Any

import trio

from trioproxy.child import MAX_QUEUED
from trioproxy.protocol.errors import ChildError
from trioproxy.protocol.lines import OversizedLine


class MemoryTransport:
    """A server of which the test is the mind: `hear` what was sent to it, `say` what it answers, and `end` it."""

    def __init__(self) -> None:
        self._failure: ChildError | None = None
        self._to_server: deque[bytes] = deque()
        self._from_server: list[bytes | OversizedLine] = []
        self._changed = trio.lowlevel.ParkingLot()

    # The transport

    def send_nowait(self, message: bytes) -> None:
        """Queue one message for the server."""
        if self._failure is None:
            self._to_server.append(message)
            self._changed.unpark_all()

    @property
    def is_congested(self) -> bool:
        """Whether as much is queued as a child's stdin may have."""
        return sum(map(len, self._to_server)) > MAX_QUEUED

    async def wait_writable(self) -> None:
        """Return once the server has heard enough of it."""
        while self._failure is None and self.is_congested:
            await self._changed.park()
        if self._failure is not None:
            raise self._failure

    async def receive(self) -> list[bytes | OversizedLine]:
        """Return all that the server has said."""
        while not self._from_server:
            if self._failure is not None:
                raise self._failure
            await self._changed.park()
        await trio.lowlevel.checkpoint_if_cancelled()
        lines, self._from_server = self._from_server, []
        return lines

    @property
    def failure(self) -> ChildError | None:
        """How the server ended."""
        return self._failure

    # The server

    def say(self, *messages: Any) -> None:
        """Say messages, given as values, as bytes, or as what is left of an oversized line."""
        self._from_server += (json.dumps(m).encode() if isinstance(m, dict) else m for m in messages)
        self._changed.unpark_all()

    async def hear_line(self) -> bytes:
        """Return the next message that was sent, as bytes."""
        while not self._to_server:
            await self._changed.park()
        self._changed.unpark_all()
        return self._to_server.popleft()

    async def hear(self) -> Any:
        """Return the next message that was sent, as a value."""
        return json.loads(await self.hear_line())

    def end(self, failure: ChildError) -> None:
        """End; what was said can still be received."""
        self._failure = failure
        self._to_server.clear()
        self._changed.unpark_all()

    @property
    def unheard(self) -> int:
        """How many messages the server has not heard yet."""
        return len(self._to_server)

    @property
    def unreceived(self) -> int:
        """How many lines of the server's nobody has taken yet."""
        return len(self._from_server)
