"""Servers that several clients share (`--isolation`): a source of seats at one server.

    --isolation session       each session has a server of its own
    --isolation principal     all that one principal does goes to one server, and nobody else's does
    --isolation shared        there is one server, for everybody

What keeps the clients of one server apart is the `hub`; here is decided who comes to which.  A server that knows its
principal from its environment (`Principal.environment`) is never anybody else's: under `shared` none is told of anybody.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import trio

from .auth import AuthRequest, Principal
from .config import Config
from .sources import OnStderr, Opening, Source
from .transport import Transport

if TYPE_CHECKING:
    from .hub import Hub
    from .table import Seat

stderr_logger = logging.getLogger("trioproxy.child")


class SharedSource:
    """A source whose servers are seats at a server that there is already, if there is."""

    spares: Final = 0

    def __init__(self, source: Source, config: Config, nursery: trio.Nursery) -> None:
        self.name: Final = source.name
        self.is_proven_first: Final = source.is_proven_first
        self._source = source
        self._by_principal = config.isolation == "principal"
        self._idle_limit = config.times.session_idle_timeout if self._by_principal else None
        self._most = config.limits.max_sessions
        self._nursery = nursery
        self._hubs: dict[Principal | None, tuple[Hub, trio.CancelScope]] = {}
        self._opening = trio.Lock()
        self._claims: Counter[Principal | None] = Counter()

    def has_spare_for(self, principal: Principal | None) -> bool:
        """Tell whether the first seat, whose server has proven the command, will do for `principal`."""
        return not self._by_principal

    async def prepare(self, request: AuthRequest | None, principal: Principal | None, on_stderr: OnStderr) -> Opening:
        """Return what opens a seat for `principal`.

        What a server that several share writes to its stderr is logged as nobody's.
        """
        return self._open_seat(principal if self._by_principal else None)

    @asynccontextmanager
    async def _open_seat(self, whose: Principal | None) -> AsyncIterator[Seat]:
        self._claims[whose] += 1
        try:
            async with self._opening:
                if whose not in self._hubs:
                    self._forget_some()
                    await self._nursery.start(self._keep_hub, whose)
            hub, _ = self._hubs[whose]
            async with hub.open_seat() as seat:
                yield seat
        finally:
            self._claims[whose] -= 1
            if not self._claims[whose]:
                del self._claims[whose]
                if whose in self._hubs:
                    # Whoever has not been here for longest comes first.
                    self._hubs[whose] = self._hubs.pop(whose)

    async def _keep_hub(
        self, whose: Principal | None, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        from .hub import open_hub

        @asynccontextmanager
        async def open_server() -> AsyncIterator[Transport]:
            async with await self._source.prepare(None, whose, _hear) as server:
                yield server

        with trio.CancelScope() as scope:
            async with open_hub(open_server, idle_limit=self._idle_limit) as hub:
                self._hubs[whose] = hub, scope
                task_status.started()
                await trio.sleep_forever()

    def _forget_some(self) -> None:
        """Let go of those whose server has ended since their principal has been away, and of more where there are many.

        A server that waits for its principal to come back counts as no session, and yet there may not be any number.
        """
        for whose, (hub, scope) in list(self._hubs.items()):
            is_one_too_many = self._most is not None and len(self._hubs) >= self._most
            if whose not in self._claims and (is_one_too_many or not hub.is_running):
                del self._hubs[whose]
                scope.cancel()


def _hear(line: str) -> None:
    stderr_logger.info("%s", line)


@asynccontextmanager
async def open_source(source: Source, config: Config) -> AsyncIterator[Source]:
    """Let the servers of `source` be shared as `config` says, for as long as the block runs."""
    if config.isolation == "session":
        yield source
        return
    async with trio.open_nursery() as nursery:
        yield SharedSource(source, config, nursery)
        nursery.cancel_scope.cancel()
