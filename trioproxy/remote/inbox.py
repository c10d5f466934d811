"""What a remote has said and nobody has taken yet, whichever of its streams it came on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import trio

from ..protocol.translation import Related
from ..transport import Received

_MAX_WAITING: Final = 1024 * 1024
"""Bytes that wait to be taken, beyond which whoever brings more waits, and with it its connection."""


class Inbox:
    """A queue of messages, from many streams to the one task that receives them."""

    def __init__(self) -> None:
        self._messages: list[Received] = []
        self._size = 0
        self._filled = trio.lowlevel.ParkingLot()
        self._emptied = trio.lowlevel.ParkingLot()

    def put_nowait(self, message: bytes | Related) -> None:
        """Add a message of our own making, which is short."""
        self._messages.append(message)
        self._size += len(message.raw if isinstance(message, Related) else message)
        self._filled.unpark_all()

    async def put(self, message: bytes | Related) -> None:
        """Add a message as soon as there is room for it."""
        while self._size > _MAX_WAITING:
            await self._emptied.park()
        self.put_nowait(message)

    async def take(self) -> Sequence[Received]:
        """Return what has come, at least one message.  Cancelling it loses nothing."""
        while not self._messages:
            await self._filled.park()
        await trio.lowlevel.checkpoint_if_cancelled()
        messages, self._messages = self._messages, []
        self._size = 0
        self._emptied.unpark_all()
        return messages
