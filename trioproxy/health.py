"""Whether a server that a client got now would answer: a spare is asked.

A process that lives may still be stuck.  "Either party MAY initiate a ping", and "the receiver MUST respond promptly"
(2025-11-25, Utilities §Ping), even before the handshake (Lifecycle §Initialization); a server that is known to be modern is
asked `server/discover` instead.  An error is an answer as well.

A server that has never answered is not asked again: it may be one that hears nothing before its handshake, and what it does
not say proves nothing.
"""

from __future__ import annotations

import math
from typing import Final

import trio

from .config import Config
from .directory import Directory
from .protocol.errors import ChildError, InvalidRequest, ParseError
from .protocol.messages import Response, recognise
from .protocol.own_messages import DISCOVER, modern_request, ping_request
from .sources import Server

ANSWER_TIME: Final = 5.0
"""Seconds for a spare to answer."""
_BELIEVED: Final = 10.0
"""Seconds for which an answer is believed, so that those who ask for our health often don't keep a server busy."""


class Health:
    """What is known of the spares' health."""

    def __init__(self, config: Config, directory: Directory) -> None:
        self._directory = directory
        is_modern = config.upstream_protocol == "modern"
        self._question: Final = modern_request(DISCOVER, {}, {}) if is_modern else ping_request()
        self._has_answered = False
        self._is_deaf = False  # it never has, and is not asked any more
        self._verdict = True
        self._believed_until = -math.inf
        self._asking = trio.Lock()

    async def is_answering(self) -> bool:
        """Whether a spare answers in time; true where there is none that could be asked."""
        async with self._asking:
            if trio.current_time() >= self._believed_until and not self._is_deaf:
                self._verdict = await self._ask_spare()
                self._believed_until = trio.current_time() + _BELIEVED
        return self._verdict

    async def _ask_spare(self) -> bool:
        berth = self._directory.lend_spare()
        if berth is None:
            return True
        assert berth.child is not None
        try:
            with berth.lent, trio.move_on_after(ANSWER_TIME):
                await _ask(berth.child, self._question)
                self._has_answered = True
                return True
            if berth.lent.cancelled_caught:
                # It was ended meanwhile, which says nothing about others.
                return True
            if not self._has_answered:
                self._is_deaf = True
                return True
            # Nobody is to get it.
            berth.child.kill()
            return False
        except ChildError:
            return False
        finally:
            self._directory.take_back(berth)


async def _ask(child: Server, question: bytes) -> None:
    """Return once `child` has answered anything.

    Raises:
      ChildError: it has ended.
    """
    child.send_nowait(question)
    while True:
        for line in await child.receive():
            try:
                if isinstance(line, bytes) and type(recognise(line)) is Response:
                    return
            except (ParseError, InvalidRequest):
                continue
