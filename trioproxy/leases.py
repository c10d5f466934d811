"""Children of the handshake era, leased to modern requests one at a time.

A legacy server asks its client questions in the middle of a call, and nothing in a question says which call it is about;
nor in a log message.  So a client that can be asked, or wants logs, has a child for each call that is running, and what the
child says can be attributed.  The same client gets the same child again when it is idle, calls that run side by side get
further ones up to a limit, and a client that can't be asked anything shares one among all its calls.  A request that is no
call (a list, a completion) needs no child for itself, since nobody is asked anything in the course of it.

With `--stateless` no child is leased twice, but to the retry of a call that is parked in it.

Who is the same client?  Modern requests have no session; what a legacy server learns in its handshake is a client's identity
and its capabilities, so those are what has to agree.
"""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import Final, NamedTuple

import trio

from .auth import Principal, key_of
from .call import Call, Note
from .config import Config
from .directory import Directory
from .multiplex import Multiplex
from .protocol.envelope import Envelope
from .protocol.errors import ChildExited, InvalidParams, Unavailable
from .protocol.messages import Notification, Request, parse_line
from .protocol.modern_to_legacy import ModernToLegacy
from .sources import Server
from .tool_headers import ToolHeaders
from .translate import Translated

_MAX_LANES: Final = 16
"""Children that one client may have leased at the same time."""
_LOOK_SOON: Final = 0.05
_PARK_TIME: Final = 600.0
"""Seconds for a client to come back with the answers to a parked call."""
_LOOK_AGAIN: Final = 1.0
"""Seconds after which somebody who waits for a child looks again, since a parked call may expire without a sound."""
_ASKABLE: Final = ("sampling", "elicitation", "roots")
_CALLS: Final = ("tools/call", "prompts/get", "resources/read")
"""The requests that may be answered with questions (Multi Round-Trip Requests §Supported Requests)."""


class Client(NamedTuple):
    """What tells one client from another.

    Attributes:
      principal: who it calls for.
      introduction: what a server would learn of it in a handshake.
    """

    principal: Principal | None
    introduction: str


class Lane:
    """A child, its handshake with one kind of client, and who uses it at the moment."""

    def __init__(self, client: Client, multiplex: Multiplex, translator: ModernToLegacy, config: Config) -> None:
        self.client: Final = client
        self.multiplex: Final = multiplex
        self.translator: Final = translator
        self.tool_headers: Final = ToolHeaders(multiplex, config)
        self.holders = 0
        self.is_exclusive = False

    @property
    def is_idle(self) -> bool:
        """Whether no call runs in it; a parked one does."""
        return not (self.holders or self.translator.parked)

    def admits(self, *, is_call: bool, exclusive: bool) -> bool:
        """Whether a further request may run in it."""
        if self.multiplex.has_ended:
            return False
        return not is_call or self.is_idle or not (exclusive or self.is_exclusive or self.translator.parked)


class Leases:
    """All lanes, by client."""

    def __init__(self, config: Config, directory: Directory) -> None:
        self._config = config
        self._directory = directory
        # Where each request stands alone, it is all that its child ever hears.
        self._are_alone = config.stateless
        directory.room_makers.append(self._make_room)
        self._lanes: list[Lane] = []
        self._starting: dict[Client, int] = {}
        self._listens: dict[Call, Client] = {}
        self._changed = trio.lowlevel.ParkingLot()

    @asynccontextmanager
    async def lease(self, request: Request, envelope: Envelope, principal: Principal | None = None) -> AsyncIterator[Lane]:
        """Lease a child for one request: an idle one of the same client if there is one, else a new one.

        Raises:
          InvalidParams: the request is the retry of a call that is not parked, or not any more.
          Unavailable: no child is free for too long.
          CommandFailed, ShuttingDown: no child could be started.
        """
        is_call = self._are_alone or request.method in _CALLS
        is_asked = envelope.log_level is not None or any(name in envelope.capabilities for name in _ASKABLE)
        exclusive = self._are_alone or (is_call and is_asked)
        if "requestState" in request.params:
            lane = self._find_parked(request.params["requestState"], principal)
        else:
            lane = await self._pick(_client(envelope, principal), is_call=is_call, exclusive=exclusive)
        try:
            with self._held(lane, exclusive=exclusive) if is_call else nullcontext():
                yield lane
        finally:
            self._changed.unpark_all()

    @contextmanager
    def _held(self, lane: Lane, *, exclusive: bool) -> Iterator[None]:
        """Keep a child from those who must not share it."""
        lane.holders += 1
        lane.is_exclusive = exclusive
        try:
            yield
        finally:
            lane.holders -= 1
            if self._are_alone and lane.is_idle:
                lane.multiplex.close(ChildExited("the request is answered"))

    @asynccontextmanager
    async def listen(self, call: Call, principal: Principal | None = None) -> AsyncIterator[None]:
        """Let `call` hear what every child of its client has to tell, those to come included.

        Raises:
          Unavailable, CommandFailed, ShuttingDown: there is no child, and none could be started.
        """
        client = _client(call.envelope, principal)
        if self._are_alone:
            lane = await self._pick(client, is_call=True, exclusive=True)
            with self._held(lane, exclusive=True):
                lane.multiplex.attach(call)
                yield
            return
        if not any(True for _ in self._of(client)):
            await self._pick(client, is_call=False, exclusive=False)
        self._listens[call] = client
        try:
            for lane in self._of(client):
                lane.multiplex.attach(call)
            if not call.is_attached:
                # Nobody would ever say anything.
                raise Unavailable("the server ended as soon as it had been started")
            yield
        finally:
            del self._listens[call]

    def refused(self) -> list[Lane]:
        """The children that have not taken part in the handshake."""
        return [lane for lane in self._lanes if lane.translator.is_refused and not lane.multiplex.has_ended]

    def _find_parked(self, state: object, principal: Principal | None) -> Lane:
        for lane in self._lanes:
            # What is somebody else's is as good as unknown.
            is_theirs = key_of(lane.client.principal) == key_of(principal) and not lane.multiplex.has_ended
            if is_theirs and isinstance(state, str) and lane.translator.holds(state):
                return lane
        raise InvalidParams("Invalid or expired requestState")

    def _of(self, client: Client) -> Iterator[Lane]:
        return (lane for lane in list(self._lanes) if lane.client == client and not lane.multiplex.has_ended)

    async def _pick(self, client: Client, *, is_call: bool, exclusive: bool) -> Lane:
        limit = self._config.times.connection_timeout
        deadline = trio.current_time() + (limit or 60.0)
        has_made_room = False
        while True:
            self._lanes = [lane for lane in self._lanes if not lane.multiplex.has_ended]
            for lane in self._of(client):
                if lane.admits(is_call=is_call, exclusive=exclusive):
                    return lane
            number = sum(1 for _ in self._of(client)) + self._starting.get(client, 0)
            # Who needs no child of its own waits for the one that is being started.
            if number < _MAX_LANES and (exclusive or client not in self._starting):
                if not self._directory.is_full:
                    return await self._start(client)
                has_made_room = has_made_room or self._make_room()
            if trio.current_time() >= deadline:
                raise Unavailable(f"{number} calls of this client are running, and no further child could be had")
            # Nobody tells us when the child is gone that makes room.
            pause = _LOOK_SOON if has_made_room else _LOOK_AGAIN
            with trio.move_on_at(min(deadline, trio.current_time() + pause)):
                await self._changed.park()

    async def _start(self, client: Client) -> Lane:
        limit = self._config.times.connection_timeout
        translator = ModernToLegacy(
            secrets.token_urlsafe, park_time=_PARK_TIME, handshake_time=math.inf if limit is None else limit
        )

        def make(child: Server) -> Multiplex:
            return Multiplex(
                Translated(child, translator),
                idle_limit=self._config.times.session_idle_timeout,
                is_needed=lambda: translator.parked > 0,
            )

        self._starting[client] = self._starting.get(client, 0) + 1
        try:
            multiplex = await self._directory.move_in(make, client.principal)
        finally:
            self._starting[client] -= 1
            if not self._starting[client]:
                del self._starting[client]
            self._changed.unpark_all()
        lane = Lane(client, multiplex, translator, self._config)
        self._lanes.append(lane)
        for call, whose in self._listens.items():
            if whose == client:
                multiplex.attach(call)
        return lane

    def _make_room(self) -> bool:
        """End the child that has been idle for longest, so that another client can have one; False if none is idle."""
        idle = [lane for lane in self._lanes if lane.is_idle and not lane.multiplex.is_used]
        if not idle:
            return False
        longest = min(idle, key=lambda lane: lane.multiplex.idle_since)
        longest.multiplex.close(ChildExited("another client needed the place"))
        return True


class MergedListen(Call):
    """A subscription over several children: acknowledged once, and ended when one of them ends."""

    def __init__(self, request: Request, envelope: Envelope, config: Config, *, note: Note | None = None) -> None:
        super().__init__(request, envelope, config, note=note)
        self._is_acknowledged = False

    def deliver(self, message: bytes) -> None:
        """Add a message, unless it is one acknowledgment too many."""
        if not self.is_answered:
            notification = parse_line(message)
            if type(notification) is Notification and notification.method == "notifications/subscriptions/acknowledged":
                if self._is_acknowledged:
                    return
                self._is_acknowledged = True
        super().deliver(message)


def _client(envelope: Envelope, principal: Principal | None) -> Client:
    return Client(principal, json.dumps([envelope.client_info, envelope.capabilities], sort_keys=True))
