"""A transport: a channel of messages to one MCP server, and what its end means.

The most important seam of the house.  A session talks to a transport and doesn't know whether a process is behind it;
what wraps a transport (`translate`) is a transport again.

A transport is opened by an `async with` block and lives as long as the block.  Its messages are lines without newlines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

from .protocol.errors import ChildError
from .protocol.lines import OversizedLine
from .protocol.translation import Related

Received: TypeAlias = bytes | OversizedLine | Related
"""What comes from a server: a message; what is left of one over the limit; one that says whose request it belongs to."""


class Transport(Protocol):
    """What every transport can do."""

    def send_nowait(self, message: bytes) -> None:
        """Queue one message for the server; it goes out whole or, if the server ends before, not at all.

        The queue is not bounded here: whoever queues looks at `is_congested` first.
        """

    @property
    def is_congested(self) -> bool:
        """Whether so much is queued that the next message should wait."""

    async def wait_writable(self) -> None:
        """Return once the transport is not congested.

        Raises:
          ChildError: the server has ended.
        """

    async def receive(self) -> Sequence[Received]:
        """Return the next messages, at least one; only one task may wait for them.

        Cancelling it loses nothing.

        Raises:
          ChildError: the server has ended, and every message of its was returned before.
        """

    @property
    def failure(self) -> ChildError | None:
        """How the server ended, once it has."""
