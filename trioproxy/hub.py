"""One server shared by several clients, each of which has a transport that looks like a server of its own.

    hub ─┬─ a server      started when the first client takes a seat; relays what it says, each message to whom it is for
         └─ a server      another, that has died, or was told to, and takes its time to be gone

    async with open_hub(open_server) as hub:
        async with hub.open_seat() as seat:         one client's; a `Transport`
            seat.send_nowait(message)
            lines = await seat.receive()

A server that ends takes the seats along that were taken at it; a seat that is taken afterwards is at another server.  One at
which nobody sits any more is kept for a while.  What goes on at one server is `table`'s.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, TypeAlias

import trio

from .table import Seat, Table
from .transport import Transport

logger = logging.getLogger("trioproxy.hub")

MAX_UNREAD: Final = 16 * 1024 * 1024
"""Bytes that wait for one client to read them, beyond which it loses its seat."""

OpenServer: TypeAlias = Callable[[], AbstractAsyncContextManager[Transport]]


@asynccontextmanager
async def open_hub(
    open_server: OpenServer, *, idle_limit: float | None = None, max_unread: int = MAX_UNREAD
) -> AsyncIterator[Hub]:
    """Share one server among all who take a seat, for as long as the block runs; then it has ended.

    Args:
      open_server: starts a server, for as long as its block runs.
      idle_limit: seconds without anybody in a seat after which the server is ended; None for never.
      max_unread: bytes that may wait for one client to read them.
    """
    async with trio.open_nursery() as nursery:
        yield Hub(open_server, nursery, math.inf if idle_limit is None else idle_limit, max_unread)
        nursery.cancel_scope.cancel()


class Hub:
    """A server for all who take a seat.

    Attributes:
      skipped: messages that were passed on to nobody, by kind.
    """

    def __init__(self, open_server: OpenServer, nursery: trio.Nursery, idle_limit: float, max_unread: int) -> None:
        self._open_server = open_server
        self._nursery = nursery
        self._idle_limit = idle_limit
        self._max_unread = max_unread
        self.skipped: Final[Counter[str]] = Counter()
        self._starting = trio.Lock()
        self._table: Table | None = None

    @property
    def seats(self) -> int:
        """How many clients share the server now."""
        return len(self._table) if self._table is not None else 0

    @property
    def is_running(self) -> bool:
        """Whether there is a server."""
        return self._table is not None and self._table.is_open

    @asynccontextmanager
    async def open_seat(self) -> AsyncIterator[Seat]:
        """Take part in the server for as long as the block runs; it is started if there is none.

        What the client has going on when the block ends is cancelled in the server.

        Raises:
          CommandFailed: there was no server, and none could be started.
        """
        # Whoever comes while the server is being started waits for that, and not for a second one.
        async with self._starting:
            table = self._table
            if table is None or not table.is_open:
                table = self._table = await self._nursery.start(self._run_server)
            # Before anything else can happen: the table could be gone by then.
            seat = table.seat(self._max_unread)
        try:
            yield seat
        finally:
            table.clear(seat)

    def kill(self) -> None:
        """End the server at once; whoever sits at it hears of that.  The next seat is at another server."""
        if self._table is not None:
            self._table.kill()

    async def _run_server(self, *, task_status: trio.TaskStatus[Table] = trio.TASK_STATUS_IGNORED) -> None:
        """Run one server, from its start until it is gone.

        Raises:
          CommandFailed: it could not be started.
        """
        table: Table | None = None
        failure: Exception | None = None
        try:
            async with self._open_server() as server:
                table = Table(server, self._idle_limit, self.skipped)
                task_status.started(table)
                with table.served():
                    await table.run()
        except* Exception as group:
            if table is None:
                # Whoever waits for the server must hear of it.
                failure = group.exceptions[0] if len(group.exceptions) == 1 else group
            else:
                # It may fail without the next one; those who sit at it have been told by now.
                logger.exception("a shared server failed")
        if failure is not None:
            raise failure
