"""The children that serve 2026-07-28, and how we find out of which era they are.

    a modern child      one, shared by all requests: it keeps nothing between them
    legacy children     leased, each to one call at a time (`leases`)

**Which of the two?**  "The era determination is a property of the server, not of an individual request" (Versioning
§Backward Compatibility), so one child is asked `server/discover`, and what that says is remembered.  The child that is
asked is a spare that nobody else has spoken to, since some servers are locked to the era of the first request that they
see: it becomes the shared child if it is modern, and is thrown away if it is not.  Each later shared child is asked again,
so that a server which was exchanged for another is found out.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, NamedTuple

import trio

from .auth import Principal
from .call import Call, Note
from .config import Config
from .directory import Directory
from .leases import Lane, Leases, MergedListen
from .multiplex import Multiplex
from .protocol.envelope import Envelope
from .protocol.errors import ChildExited
from .protocol.header_values import HeaderValues
from .protocol.messages import Request, parse_line
from .protocol.own_messages import DISCOVER, LISTEN, is_modern_answer, modern_request
from .protocol.recording import TO_SERVER
from .protocol.revisions import MODERN_REVISION
from .tool_headers import ToolHeaders

logger = logging.getLogger("trioproxy.modern")

_PROBE_LONGEST: Final = 60.0
"""Seconds for a server to answer the probe where --connection-timeout sets no limit."""
_NOBODY: Final = Envelope(MODERN_REVISION, None, {}, None)
"""For whom the probe asks."""


class _Shared(NamedTuple):
    """A modern child, and what its tools want repeated in headers."""

    multiplex: Multiplex
    tool_headers: ToolHeaders


def _lives(shared: _Shared | None) -> bool:
    return shared is not None and not shared.multiplex.has_ended


class ModernChildren:
    """What stands behind the modern endpoint."""

    def __init__(self, config: Config, directory: Directory) -> None:
        self._config = config
        self._directory = directory
        self._leases = Leases(config, directory)
        # By whose they are: whoever has other rights than before, or other secrets, needs a child that knows of them.
        self._shared: dict[Principal | None, _Shared] = {}
        self._is_legacy = config.upstream_protocol == "legacy"
        self._deciding = trio.Lock()
        self._exchanges = 0  # that were noted

    @asynccontextmanager
    async def open_call(
        self,
        request: Request,
        envelope: Envelope,
        values: HeaderValues,
        principal: Principal | None = None,
        *,
        only_answer: bool = False,
    ) -> AsyncIterator[Call]:
        """Have a child serve `request` for as long as the block runs.

        Args:
          values: returns all values of an HTTP header.
          only_answer: whatever the server says before its answer is dropped.

        Raises:
          HeaderMismatch: the headers that repeat a tool's arguments say something else.
          InvalidParams, Unavailable, CommandFailed, ShuttingDown: as `Leases.lease`.
        """
        note = self._note(request)
        shared = self._shared.get(principal)
        if not _lives(shared):
            shared = await self._find_shared(principal)
        if shared is not None:
            with Call(request, envelope, self._config, only_answer=only_answer, note=note) as call:
                await self._send(call, shared.multiplex, shared.tool_headers, values)
                yield call
        elif request.method == LISTEN:
            with MergedListen(request, envelope, self._config, note=note) as call:
                async with self._leases.listen(call, principal):
                    yield call
                for lane in self._leases.refused():
                    self._reconsider(lane)
        else:
            async with self._leases.lease(request, envelope, principal) as lane:
                with Call(request, envelope, self._config, only_answer=only_answer, note=note) as call:
                    await self._send(call, lane.multiplex, lane.tool_headers, values)
                    yield call
                if lane.translator.is_refused:
                    self._reconsider(lane)

    def _note(self, request: Request) -> Note | None:
        """Note a request, if anything is; return what notes the rest of its exchange."""
        tap = self._directory.tap
        if tap is None:
            return None
        self._exchanges += 1
        note = partial(tap.note, request=self._exchanges)
        note(TO_SERVER, request.raw)
        return note

    async def _send(self, call: Call, multiplex: Multiplex, headers: ToolHeaders, values: HeaderValues) -> None:
        if multiplex.is_busy:
            await multiplex.wait_writable()
        if call.request.method == "tools/call" and not headers.has_none(call.request):
            await headers.check(call.request, call.envelope, values)
        multiplex.attach(call)

    async def _find_shared(self, principal: Principal | None) -> _Shared | None:
        """Return the child that all of a principal's requests share; None where children are of the legacy era."""
        if not self._is_legacy and not _lives(self._shared.get(principal)):
            async with self._deciding:
                if not self._is_legacy and not _lives(self._shared.get(principal)):
                    await self._start_shared(principal)
        return None if self._is_legacy else self._shared[principal]

    async def _start_shared(self, principal: Principal | None) -> None:
        self._shared = {owner: shared for owner, shared in self._shared.items() if _lives(shared)}
        # Everybody's child stays; that of somebody who has gone need not.
        limit = None if principal is None else self._config.times.session_idle_timeout
        multiplex = await self._directory.move_in(partial(Multiplex, idle_limit=limit), principal, fresh=True)
        is_modern = False
        try:
            is_modern = self._config.upstream_protocol == "modern" or await self._is_modern(multiplex)
        finally:
            if not is_modern:
                multiplex.close(ChildExited("the server was only asked of which era it is"))
        self._is_legacy = not is_modern
        logger.info("the server speaks %s", MODERN_REVISION if is_modern else "a revision with a handshake")
        if is_modern:
            self._shared[principal] = _Shared(multiplex, ToolHeaders(multiplex, self._config))

    async def _is_modern(self, multiplex: Multiplex) -> bool:
        """Ask a child what it speaks.

        "The server returns any other error, or does not respond within a reasonable timeout: the server is legacy"
        (Transports §stdio, Backward Compatibility).
        """
        request = parse_line(modern_request(DISCOVER, {}, {}))
        assert type(request) is Request
        with Call(request, _NOBODY, self._config) as call:
            multiplex.attach(call)
            await call.wait(self._config.times.connection_timeout or _PROBE_LONGEST)
            return call.answer is not None and is_modern_answer(call.answer)

    def _reconsider(self, lane: Lane) -> None:
        """A server that takes no handshake any more may have become a modern one."""
        lane.multiplex.close(ChildExited("the server refused the handshake"))
        if self._config.upstream_protocol == "auto":
            self._is_legacy = False
