"""Several servers as one transport: what the pure half decides (`protocol.merging`), sent where it belongs, when it is due.

    open_merged ─┬─ listen      one task a server: what it says becomes what the client gets
                 └─ …           whoever receives from the transport does the merger's waiting for it

The servers are transports of the legacy era, each behind a translator where it needs one.  A server that does not read what
it is sent holds nobody up for longer than a moment: from then on requests for it are refused, until it has read.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import trio

from . import __version__
from .protocol.errors import ChildError, ChildExited, InvalidRequest, LineTooLong, ParseError, Unavailable, error_response
from .protocol.lines import OversizedLine
from .protocol.merging import Merger
from .protocol.merging.switchboard import MergedStep
from .protocol.messages import Request, RequestId, Response, find_request_answered, parse_line, recognise
from .protocol.translation import Related
from .transport import Received, Transport

logger = logging.getLogger(__name__)

_READING_TIME: Final = 5.0
"""Seconds for a server to make room for more messages, before the others no longer wait for it."""


@asynccontextmanager
async def open_merged(
    servers: Mapping[str, Transport], *, patience: float = 5.0, handshake_time: float = 150.0
) -> AsyncIterator[Merged]:
    """Make one server of several, for as long as the block runs.

    Args:
      servers: by name, in the order in which they count where they collide; whoever has opened them closes them.
      patience: how long, in seconds, one of them may hold up a list, or the answer to `initialize`.
      handshake_time: how long the client waits for the first of them to answer `initialize`.
    """
    merged = Merged(servers, Merger(list(servers), __version__, patience=patience, handshake_time=handshake_time))
    async with trio.open_nursery() as nursery:
        for name, server in servers.items():
            nursery.start_soon(merged._listen, name, server)
        yield merged
        nursery.cancel_scope.cancel()


class Merged:
    """Several servers, made to look like one of the legacy era; a `Transport`."""

    def __init__(self, servers: Mapping[str, Transport], merger: Merger) -> None:
        self._servers = dict(servers)
        self._merger = merger
        self._running = set(servers)
        self._stalled: set[str] = set()
        self._failure: ChildError | None = None
        self._ready: list[Received] = []
        self._wait = trio.CancelScope()
        self._taken = trio.lowlevel.ParkingLot()

    @property
    def failure(self) -> ChildError | None:
        """How the servers ended, once all of them have."""
        return self._failure

    @property
    def is_congested(self) -> bool:
        """Whether one of the servers should first read what is queued for it."""
        return bool(self._congested())

    def send_nowait(self, message: bytes) -> None:
        """Send a message of the client to whom it is for.

        Raises:
          InvalidRequest, ParseError: it can't be sent.
        """
        deadline = self._merger.deadline
        self._carry_out(self._merger.from_client(parse_line(message), trio.current_time()))
        if self._ready or self._merger.deadline < deadline:
            self._wait.cancel()

    async def wait_writable(self) -> None:
        """Return once all servers have read enough, or those that have not are no longer waited for.

        Raises:
          ChildError: all of them have ended.
        """
        with trio.move_on_after(_READING_TIME):
            for name in self._congested():
                try:
                    await self._servers[name].wait_writable()
                except ChildError:
                    # Whoever listens to it hears of it.
                    continue
        for name in self._congested():
            logger.warning("%s has read nothing for %g s; requests for it are refused until it has", name, _READING_TIME)
            self._stalled.add(name)
        if self._failure is not None:
            raise self._failure

    async def receive(self) -> Sequence[Received]:
        """Return the next messages for the client, at least one.

        Raises:
          ChildError: all servers have ended, and all that is to be said has been returned before.
        """
        while not self._ready:
            if self._failure is not None:
                raise self._failure
            with trio.CancelScope(deadline=self._merger.deadline) as self._wait:
                await trio.sleep_forever()
            if self._merger.deadline <= trio.current_time():
                self._carry_out(self._merger.wake(trio.current_time()))
        ready, self._ready = self._ready, []
        self._taken.unpark_all()
        return ready

    async def _listen(self, name: str, server: Transport) -> None:
        """Take what one server says, and no more of it before the client has taken that."""
        while True:
            try:
                lines = await server.receive()
            except ChildError as failure:
                self._running.discard(name)
                if not self._running:
                    self._failure = ChildExited(f"every server has ended, the last of them {name}: {failure}")
                self._carry_out(self._merger.lose(name, failure, trio.current_time()))
                self._wait.cancel()
                return
            deadline = self._merger.deadline
            for line in lines:
                self._take(name, line)
            if self._ready or self._merger.deadline < deadline:
                self._wait.cancel()
            while self._ready:
                await self._taken.park()

    def _take(self, name: str, line: Received) -> None:
        request_id: RequestId | None = None
        if isinstance(line, OversizedLine):
            raw = self._replace_oversized(name, line)
        elif isinstance(line, Related):
            raw, request_id = line
        else:
            raw = line
        if raw is None:
            return
        try:
            step = self._merger.from_server(name, recognise(raw), trio.current_time(), request_id)
        except (ParseError, InvalidRequest) as error:
            logger.warning("%s: skipped a line, %s: %r", name, error, raw[:200].decode(errors="replace"))
        else:
            self._carry_out(step)

    def _replace_oversized(self, name: str, line: OversizedLine) -> bytes | None:
        """Return an error for the request that a line over the limit was to answer, None where that can't be told."""
        error = LineTooLong(f"{name}: an answer of {line.length} bytes is over the limit")
        logger.error("%s", error)
        request_id = find_request_answered(line)
        return None if request_id is None else error_response(error, request_id)

    def _congested(self) -> list[str]:
        congested = {name for name in self._running if self._servers[name].is_congested}
        self._stalled &= congested
        return [name for name in self._servers if name in congested - self._stalled]

    def _carry_out(self, step: MergedStep) -> None:
        for note in step.notes:
            logger.warning("%s", note)
        self._ready += step.to_client
        for name, message in step.to_servers:
            if name in self._stalled and self._servers[name].is_congested:
                self._turn_away(name, message)
                continue
            try:
                self._servers[name].send_nowait(message)
            except (ParseError, InvalidRequest) as error:
                logger.warning("%s: could not be sent a message, %s", name, error)

    def _turn_away(self, name: str, message: bytes) -> None:
        """Answer a request in the stead of a server that reads nothing; other messages for it are lost."""
        parsed = parse_line(message)
        if isinstance(parsed, Request):
            answer = recognise(error_response(Unavailable(f"{name} reads nothing"), parsed.id))
            assert isinstance(answer, Response)
            self._carry_out(self._merger.from_server(name, answer, trio.current_time()))
