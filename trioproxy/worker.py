"""What the connections of one listener share, and what is done to all of them: one clock, and one end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio
from hypercorn.trio.worker_context import WorkerContext

from .heads import Heads
from .metrics import Metrics

if TYPE_CHECKING:
    from .connection import Connection

_SWEEP_TIME: Final = 1.0


class Worker(WorkerContext):
    """Hypercorn's `terminated` event, and what else the connections of one listener share.

    Attributes:
      metrics: where they count what they read and write.
      heads: what is remembered of the heads of their requests.
      connections: those that there are.
    """

    def __init__(self, metrics: Metrics) -> None:
        super().__init__(None)
        self.metrics: Final = metrics
        self.heads: Final = Heads()
        self.connections: set[Connection] = set()

    async def sweep(self) -> None:
        """End the connections whose clients owe us the next request, or the rest of one, for too long.

        One task looks at all of them; with a timer each, starting and stopping it cost more than parsing a request.
        """
        while True:
            await trio.sleep(_SWEEP_TIME)
            now = trio.current_time()
            for connection in self.connections:
                if connection.deadline <= now:
                    connection.expire()

    async def terminate_idle(self) -> None:
        """Let the connections without a request end now, and the others with their request."""
        await self.terminated.set()
        for connection in self.connections:
            connection.close_if_idle()
