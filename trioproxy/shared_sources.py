"""Servers that several clients share (`--isolation principal|shared`): a source of places at one server.

    --isolation session       each session has a server of its own
    --isolation principal     all that one principal does goes to one server, and nobody else's does
    --isolation shared        there is one server, for everybody

What keeps the clients of one server apart is the `hub`; here is decided who comes to which.  A server that knows its
principal from its environment (`Principal.environment`) is never anybody else's: under `shared` none is told of anybody.
"""

from __future__ import annotations

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


class SharedSource:
    """A source whose servers are places at a server that there is already, if there is."""

    def __init__(self, source: Source, config: Config, nursery: trio.Nursery) -> None:
        self.name: Final = source.name
        self.spares: Final = 0
        self.is_proven_first: Final = source.is_proven_first
        self._source = source
        self._by_principal = config.isolation == "principal"
        self._idle_limit = config.times.session_idle_timeout if self._by_principal else None
        self._nursery = nursery
        self._hubs: dict[Principal | None, Hub] = {}
        self._opening = trio.Lock()

    def has_spare_for(self, principal: Principal | None) -> bool:
        """Tell whether the first one, which has proven the command, will do for `principal`."""
        return not self._by_principal or principal is None

    async def prepare(self, request: AuthRequest | None, principal: Principal | None, on_stderr: OnStderr) -> Opening:
        """Return what opens a place for `principal`."""
        whose = principal if self._by_principal else None
        async with self._opening:
            hub = self._hubs.get(whose)
            if hub is None:
                hub = await self._nursery.start(self._keep_hub, whose, on_stderr)
        return hub.open_place()

    async def _keep_hub(
        self, whose: Principal | None, on_stderr: OnStderr, *, task_status: trio.TaskStatus[Hub] = trio.TASK_STATUS_IGNORED
    ) -> None:
        from .hub import open_hub

        @asynccontextmanager
        async def open_server() -> AsyncIterator[Transport]:
            async with await self._source.prepare(None, whose, on_stderr) as server:
                yield server

        async with open_hub(open_server, idle_limit=self._idle_limit) as hub:
            self._hubs[whose] = hub
            try:
                task_status.started(hub)
                await hub.wait_idle()
            finally:
                del self._hubs[whose]


@asynccontextmanager
async def open_source(source: Source, config: Config) -> AsyncIterator[Source]:
    """Let the servers of `source` be shared as `config` says, for as long as the block runs."""
    if config.isolation == "session":
        yield source
        return
    async with trio.open_nursery() as nursery:
        yield SharedSource(source, config, nursery)
        nursery.cancel_scope.cancel()
