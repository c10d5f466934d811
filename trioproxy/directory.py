"""Which sessions exist, and the nursery that they live in.

    nursery ─┬─ berth       a child, from its start to its end, and the session that came to use it
             ├─ berth       a child that many modern requests share, or that one has leased
             └─ berth       a spare: its child runs, and nobody has come yet

A child never changes hands.  The task that starts it waits with it until somebody needs it, runs what uses it (a session, or
a multiplex), and ends both; a spare is simply a berth that is still free, and so a new session waits for no interpreter.

Each berth is a boundary: what goes wrong in it is logged, with its traceback, and takes no other along; only a command
that has shown that it doesn't work ends them all.  The nursery is nobody's HTTP exchange's, since a session outlives the
exchange that opened it.
"""

from __future__ import annotations

import logging
import math
import secrets
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Final, Literal, TypeVar

import trio

from .auth import AuthRequest, HttpError, Principal, key_of
from .berth import Berth, Tenant
from .config import Config
from .deaths import LIVELY, MAX_DEATHS, PROBATION, Deaths, command_failed, pause, unforgivable
from .hooks import Hooks, SessionInfo
from .metrics import Metrics
from .protocol.errors import (
    ChildExited,
    CommandFailed,
    SessionNotFound,
    ShuttingDown,
    TooManySessions,
    TrioproxyError,
)
from .protocol.legacy_to_modern import LegacyToModern
from .session import Session
from .sources import CommandSource, CreatedSource, Opening, Server, Source, made_by
from .tap import Tap
from .translate import Translated
from .transport import Transport

logger = logging.getLogger("trioproxy.directory")

PROVE_TIME: Final = 0.5
"""Seconds that a first child has to stay alive to be taken for a working server."""
_ROOM_TIME: Final = 5.0
"""Seconds for a child that makes room for another to be gone."""

T = TypeVar("T", bound=Tenant)


class Directory:
    """The sessions by their ids, and the spares.

    Attributes:
      proven: set once a child of the command has lived long enough, or answered.
      deaths: of the children that have ended by themselves.
      room_makers: each ends a child that nobody uses at the moment, if it knows one, and says whether it did.
      source: where servers come from.
      tap: where all messages are noted, if anywhere.
      evicted: messages that sessions which have ended could not keep.
    """

    def __init__(
        self, config: Config, source: Source, nursery: trio.Nursery, metrics: Metrics, tap: Tap | None = None
    ) -> None:
        self.metrics: Final = metrics
        self.source: Final = source
        self.tap: Final = tap
        self.evicted = 0
        self.proven = trio.Event()
        self.is_draining = False
        self.deaths: Final = Deaths()
        self._config = config
        self._nursery = nursery
        self._sessions: dict[str, Session] = {}
        self._hooks = Hooks(config.on_connect, config.on_close, self._patience)
        self._spares: list[Berth] = []
        self.room_makers: list[Callable[[], bool]] = []
        self._vacated = trio.lowlevel.ParkingLot()
        self._lent = 0  # spares that are being asked something
        self._starting = 0  # spares that are about to be
        self._opening = 0  # sessions that are about to be
        self._berths = 0
        self._all: set[Berth] = set()

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def spares(self) -> int:
        """How many children wait for a session."""
        return len(self._spares)

    @property
    def sessions(self) -> Collection[Session]:
        """The sessions, those of HTTP with SSE included."""
        return self._sessions.values()

    @property
    def berths(self) -> Collection[Berth]:
        """The children, and what uses them."""
        return self._all

    @property
    def is_full(self) -> bool:
        """Whether there are as many sessions as may be.

        Counted are their children: from when one is waited for until it is gone, which the session may be long before.
        """
        limit = self._config.limits.max_sessions
        return limit is not None and self._opening + sum(berth.tenant is not None for berth in self._all) >= limit

    @property
    def state(self) -> str:
        """Whether a new session could be opened: `ready`; or why not: `starting`, `full`, `failing`, `draining`."""
        if self.is_draining:
            return "draining"
        if not self.proven.is_set():
            return "starting"
        if self.is_full:
            return "full"
        if self.deaths.is_given_up:
            return "failing"
        if self.source.spares == 0:
            # The first child proves the command, and may leave when nobody comes; none is to take its place.
            return "ready"
        is_alive = any(berth.age > PROVE_TIME for berth in self._spares)
        return "failing" if self.deaths.in_a_row and not is_alive else "ready"

    def kill_children(self) -> None:
        """Kill every child at once, without ceremony."""
        for berth in self._all:
            if berth.child is not None:
                berth.child.kill()

    def find(self, session_id: str, principal: Principal | None = None, *, single_stream: bool = False) -> Session:
        """Return a session of `principal` by its id.

        Raises:
          SessionNotFound: there is none, or no longer; one of the other transport is none, and neither is somebody else's.
        """
        session = self._sessions.get(session_id)
        if (
            session is None
            or session.has_ended
            or session.single_stream is not single_stream
            or session.owner != key_of(principal)
        ):
            raise SessionNotFound("no such session: it is unknown or has ended; open a new one with initialize")
        return session

    async def open(
        self,
        principal: Principal | None = None,
        request: AuthRequest | None = None,
        *,
        mixes: bool = True,
        single_stream: bool = False,
        declines: bool = False,
    ) -> Session:
        """Open a session for `principal`, who has sent `request`.  The other arguments are those of `Session`.

        Raises:
          TooManySessions, ShuttingDown, CommandFailed: as `move_in`.
        """

        servers: list[Server] = []

        def make(child: Server) -> Session:
            servers.append(child)
            transport = self._speaking_legacy(child)
            return Session(
                transport,
                self._config,
                self.metrics,
                mixes=mixes,
                single_stream=single_stream,
                declines=declines,
                tap=self.tap,
            )

        session = await self.move_in(make, principal, request)
        session.owner = key_of(principal)
        self._sessions[session.id] = session
        if self._hooks:
            kind: Literal["stream", "sse"] = "sse" if single_stream else "stream"
            await self._hooks.introduce(session, SessionInfo(session.short_id, principal, kind, made_by(servers[0])))
            if session.id not in self._sessions:
                # It has ended meanwhile, and nobody else will say so.
                await self._hooks.say_goodbye(session)
        return session

    def _speaking_legacy(self, child: Server) -> Transport:
        """Return a transport on which a client of the handshake era can be served, whatever the child speaks."""
        if self._config.upstream_protocol == "legacy":
            return child
        # A child of the handshake era needs no probe, and must not be spoiled by one: it answers `initialize`.
        tries_handshake = self._config.upstream_protocol == "auto"
        return Translated(child, LegacyToModern(self.source.name, secrets.token_urlsafe, tries_handshake=tries_handshake))

    async def move_in(
        self,
        make: Callable[[Server], T],
        principal: Principal | None = None,
        request: AuthRequest | None = None,
        *,
        fresh: bool = False,
    ) -> T:
        """Return what `make` makes of a child, and run it: of a spare if there is one and it will do.

        Args:
          request: that it is for, if it is for a single one.
          fresh: only a child will do that has heard nothing yet.

        Raises:
          TooManySessions: there are as many as may be.
          ShuttingDown: we are about to stop.
          CommandFailed: there was no spare, and no child could be started.
        """
        if self.is_draining:
            raise ShuttingDown("the server is being shut down")
        if self.is_full and any(make_room() for make_room in self.room_makers):
            with trio.move_on_after(_ROOM_TIME):
                while self.is_full:
                    await self._vacated.park()
        if self.is_full:
            limit = self._config.limits.max_sessions
            ending = "" if len(self) == limit else " or ending"
            raise TooManySessions(f"{limit} sessions are open{ending}, the limit of --max-sessions")
        self._opening += 1
        try:
            berth = self._take_spare(fresh=fresh) if self.source.has_spare_for(principal) else None
            if berth is None:
                berth = await self._open_berth(request, principal)
        finally:
            self._opening -= 1
        if self.is_draining:
            raise ShuttingDown("the server is being shut down")
        assert berth.child is not None
        if berth not in self._all:
            raise CommandFailed("the server was gone as soon as it had been started")
        tenant = make(berth.child)
        berth.tenant = tenant
        berth.claimed.set()
        self.deaths.forget_row()
        self.keep_spares()
        return tenant

    def lend_spare(self) -> Berth | None:
        """Return a spare to be asked something, within its scope `lent`; nobody else gets it until `take_back`."""
        berth = self._take_spare(fresh=False)
        if berth is not None:
            self._lent += 1
            berth.lent = trio.CancelScope()
        return berth

    def take_back(self, berth: Berth) -> None:
        """Undo `lend_spare`."""
        self._lent -= 1
        berth.is_fresh = False
        self.deaths.has_answered |= berth.child is not None and berth.child.has_spoken
        if berth in self._all:
            self._spares.append(berth)
        self.keep_spares()

    def _take_spare(self, *, fresh: bool) -> Berth | None:
        for berth in [berth for berth in self._spares if berth.is_fresh or not fresh]:
            self._spares.remove(berth)
            if berth.child is not None and berth.child.failure is None:
                return berth
        return None

    def keep_spares(self, at_least: int = 0) -> None:
        """Start as many spares as are missing."""
        wanted = max(self.source.spares, at_least)
        while not self.is_draining and len(self._spares) + self._starting + self._lent < wanted:
            self._starting += 1
            self._nursery.start_soon(self._start_spare)

    async def _start_spare(self) -> None:
        failure: CommandFailed | None = None
        try:
            if self.deaths.in_a_row:
                # A server that can't live is not started as fast as it dies.
                await trio.sleep(pause(self.deaths.in_a_row))
            if not self.is_draining:
                berth = await self._open_berth(None, None)
                if berth in self._all:
                    self._spares.append(berth)
        except CommandFailed as error:
            if not self.proven.is_set():
                raise
            failure = error
        finally:
            self._starting -= 1
        if failure is not None:
            logger.error("a spare could not be started: %s", failure)
            self.deaths.note_unused(str(failure))
        # It may have ended as soon as it was there, and was still counted as one that is about to be.
        self.keep_spares()

    async def _open_berth(self, request: AuthRequest | None, principal: Principal | None) -> Berth:
        """Start a berth, and return it once its child is there.

        Raises:
          CommandFailed: the child could not be started, or takes too long to.
          TrioproxyError, HttpError: whatever a function of the library's user has to say to the request.
        """
        self._berths += 1
        berth = Berth(self._berths, request, principal)
        with trio.move_on_after(self._patience):
            opening = await self.source.prepare(request, principal, berth.hear)
            await self._nursery.start(self._run_berth, berth, opening)
            return berth
        raise self._too_slow()

    async def _run_berth(
        self, berth: Berth, opening: Opening, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Run a berth, from the start of its child until it is gone.

        Raises:
          CommandFailed: the child could not be started, or its end shows that the command doesn't work.
          TrioproxyError, HttpError: what opens it has something else to say to who asked for it.
        """
        self._all.add(berth)
        failure: Exception | None = None
        try:
            async with opening as child:
                berth.child = child
                task_status.started()
                try:
                    if await self._wait_claimed(berth, child):
                        await self._run_tenant(berth, child)
                    else:
                        failure = self._judge_end(berth, child)
                finally:
                    # As its block is left a child is read to its end, and can't be read by two.
                    berth.lent.cancel()
            if isinstance(berth.tenant, Session):
                await self._restore(berth, berth.tenant)
        except* CommandFailed as group:
            # Only `open_child` raises it, and nothing else with it.
            (error,) = group.exceptions
            assert isinstance(error, CommandFailed)
            failure = error
        except* Exception as group:
            reason = first_leaf(group)
            if berth.child is not None:
                logger.exception("%s failed", berth.name)
                self._note_unused_death(f"the relay of the server failed: {type(reason).__name__}")
            elif isinstance(reason, TrioproxyError | HttpError):
                # What opens a server may have something to say to who asks for it.
                failure = reason
            else:
                # Whoever waits for the child must hear of it.
                logger.exception("%s could not be started", berth.name)
                failure = CommandFailed(f"the server could not be started: {type(reason).__name__}")
        finally:
            self._vacate(berth)
            if isinstance(berth.tenant, Session):
                await self._hooks.say_goodbye(berth.tenant)
        if failure is not None:
            raise failure

    def _vacate(self, berth: Berth) -> None:
        self._vacated.unpark_all()
        self._all.discard(berth)
        if berth in self._spares:
            self._spares.remove(berth)
        if berth.tenant is not None:
            # It may have come when its berth had failed already, or wait for another child that it will not get.
            berth.tenant.close(ChildExited("the server was stopped"))
            self._forget(berth.tenant)

    def _forget(self, tenant: Tenant) -> None:
        if isinstance(tenant, Session) and tenant.id in self._sessions:
            del self._sessions[tenant.id]
            self.evicted += tenant.log.evicted
            tenant.log.close()

    async def _run_tenant(self, berth: Berth, child: Server) -> None:
        tenant = berth.tenant
        assert tenant is not None
        about = {"session": tenant.short_id}
        logger.info("open, %s", child.name, extra=about)
        try:
            await tenant.run()
        except* Exception:
            # One may fail without the others; its client has been told by now.
            logger.exception("failed", extra=about)
        finally:
            if not (isinstance(tenant, Session) and tenant.is_orphaned):
                self._forget(tenant)
            self.deaths.has_answered |= child.has_spoken
            # Who shares a server may be let go by it, and it lives on.
            has_died = isinstance(child.failure, ChildExited)
            if has_died:
                self.deaths.note(str(child.failure))
        logger.info("ended%s", f", {child.failure}" if child.failure else "", extra=about)
        if has_died and self._config.exit_on_child_death:
            assert child.failure is not None
            raise unforgivable(child.failure)

    async def _restore(self, berth: Berth, session: Session) -> None:
        """Give a session whose child has died another, and so on; a command that keeps dying is given up."""
        deaths = 0  # in a row, each soon after the start
        while session.is_orphaned and not session.has_ended and not self.is_draining:
            deaths = deaths + 1 if berth.age < LIVELY else 1
            if deaths > MAX_DEATHS:
                self.deaths.give_up()
                session.close(ChildExited(f"the server has died {deaths} times in a row; the last time: {self.deaths.last}"))
                break
            if deaths > 1:
                with trio.move_on_after(pause(deaths - 1)):
                    await session.wait_ended()
                    break
            berth.opened_at = trio.current_time()
            try:
                with trio.move_on_after(self._patience) as patience:
                    async with await self.source.prepare(berth.request, berth.principal, berth.hear) as child:
                        patience.deadline = math.inf
                        berth.child = child
                        session.adopt(self._speaking_legacy(child))
                        await self._run_tenant(berth, child)
                if patience.cancelled_caught:
                    raise self._too_slow()
            except CommandFailed as error:
                self.deaths.last = str(error)

    @property
    def _patience(self) -> float:
        """Seconds for what somebody who waits for a session waits for."""
        limit = self._config.times.connection_timeout
        return math.inf if limit is None else limit

    def _too_slow(self) -> CommandFailed:
        return CommandFailed(f"the server was not there within {self._patience:g} s, the limit of --connection-timeout")

    async def _wait_claimed(self, berth: Berth, child: Server) -> bool:
        """Wait until a session wants the child; False if it has died before."""
        async with trio.open_nursery() as nursery:

            async def wait_exited() -> None:
                await child.wait_exited()
                nursery.cancel_scope.cancel()

            nursery.start_soon(wait_exited)
            if not self.proven.is_set():
                with trio.move_on_after(PROVE_TIME):
                    await berth.claimed.wait()
                self.proven.set()
            await berth.claimed.wait()
            nursery.cancel_scope.cancel()
        return berth.claimed.is_set()

    def _judge_end(self, berth: Berth, child: Server) -> CommandFailed | None:
        """Take note of a child that ended before a session wanted it; return an error if the command doesn't work."""
        if berth in self._spares:
            self._spares.remove(berth)
        assert child.failure is not None
        # A server may leave when nobody needs it.  One that never stayed, or that complains, is none.
        has_left = self.proven.is_set() and (child.failure.data or {}).get("exitStatus") == 0
        if berth.age < PROBATION and not (self.deaths.has_answered or self._tenants() or has_left):
            return command_failed(child.failure)
        logger.error("%s: %s while it waited for a session", berth.name, child.failure)
        if self._config.exit_on_child_death:
            return unforgivable(child.failure)
        if berth.age > LIVELY:
            # Not one that can't live; it was merely its time.
            self.deaths.forget_row()
        self._note_unused_death(str(child.failure))
        return None

    def _note_unused_death(self, how: str) -> None:
        self.deaths.note_unused(how)
        self.keep_spares()

    async def drain(self, timeout: float) -> None:
        """Let no session in any more, give running calls `timeout` seconds to finish, then end every stream."""
        self.is_draining = True
        with trio.move_on_after(timeout):
            pause = 0.01
            while any(tenant.calls for tenant in self._tenants()):
                await trio.sleep(pause)
                pause = min(2 * pause, 0.1)
        for tenant in self._tenants():
            tenant.close(ShuttingDown("the proxy was shut down before the server had answered"))

    def _tenants(self) -> list[Tenant]:
        return [berth.tenant for berth in self._all if berth.tenant is not None]


@asynccontextmanager
async def open_directory(
    config: Config, metrics: Metrics | None = None, source: Source | None = None, tap: Tap | None = None
) -> AsyncIterator[Directory]:
    """Keep sessions, and spares for them, for as long as the block runs; all children have ended when it has.

    Args:
      source: where servers come from; by default what `config` says of the default server.
      tap: where all messages are noted.

    Raises:
      CommandFailed: the command could not be started, or a child ended before any had answered, other than with status 0
        after it had stayed for a while.
    """
    async with trio.open_nursery() as nursery:
        directory = Directory(config, source or default_source(config), nursery, metrics or Metrics(), tap)
        if directory.source.is_proven_first:
            # Without spares, too, one child proves that the command works, and serves the first session.
            directory.keep_spares(at_least=1)
        else:
            directory.proven.set()
        try:
            yield directory
        finally:
            # Somebody may still be on the way with a request.
            directory.is_draining = True
        nursery.cancel_scope.cancel()


def default_source(config: Config) -> Source:
    """Return where the default server's children come from."""
    if config.create_server is not None:
        return CreatedSource(config.create_server)
    assert config.child is not None
    return CommandSource(config.child)


def first_leaf(error: BaseException) -> BaseException:
    """Return the first of the exceptions in a group, however deep it is."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
