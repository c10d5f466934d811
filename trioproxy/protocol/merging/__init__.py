"""Several legacy servers, made to look like one to one legacy client.

    what the client says                 who gets it
    ─────────────────────────────────    ─────────────────────────────────────────────────────────────────────
    initialize, …/initialized            all; the answer is ours, made of theirs (`members`)
    a list                               all that have one; the answer is ours, made of theirs (`catalogue`)
    any other request                    the one that it is for (`calls`)
    a response, progress                 the one that has asked (`questions`)
    logging/setLevel                     all that log
    ping                                 nobody: answered here
    …/cancelled                          the one that works on the request
    any other notification               all

    what a server says                   what the client gets
    ─────────────────────────────────    ─────────────────────────────────────────────────────────────────────
    a response to the client's request   the same bytes
    a request                            the same, with a number of ours for its id (`questions`); a ping is answered here
    list_changed                         the same; once, until the client asks for the list again
    any other notification               the same bytes

A server that can't be reached, or does not answer, is missing, and nothing else; it is asked again, and when it comes the
client is told that the lists have changed.

Not here: tasks (2025-11-25).  They are not declared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Final

from ..envelope import LOG_LEVELS
from ..errors import ChildError, InvalidParams, InvalidRequest, MethodNotFound, ParseError, ProtocolError, Unavailable
from ..messages import Message, Notification, Request, RequestId, Response
from ..outbox import encode
from ..own_messages import CANCELLED, refusal
from ..routing import PROGRESS
from ..splice import cut_out
from ..translation import Related
from .calls import MergedCalls
from .catalogue import KINDS, Catalogue
from .members import Member, Presence, describe_absence, encode_result, introduction
from .questions import Questions
from .switchboard import MergedStep, Switchboard

_INITIALIZED: Final = "notifications/initialized"
_SET_LEVEL: Final = "logging/setLevel"
_AT_ONCE: Final = frozenset({"initialize", "ping"})
_MOST_EARLY: Final = 1000
_LISTED: Final = {kind.method: kind for kind in KINDS}
_CHANGES: Final = {f"notifications/{kind.capability}/list_changed": kind.capability for kind in KINDS}


class Merger:
    """The one server that several make, for one client.

    Args:
      servers: their names, in the order in which they come.
      version: what we say of ourselves.
      patience: how long, in seconds, one server may hold up what all are asked.
      handshake_time: how long none of them may answer `initialize`.
    """

    def __init__(
        self, servers: Sequence[str], version: str, *, patience: float = 5.0, handshake_time: float = 150.0
    ) -> None:
        self._members = {name: Member(name) for name in servers}
        self._version = version
        self._patience = patience
        self._handshake_time = handshake_time
        self._switchboard = Switchboard()
        self._questions = Questions(self._switchboard)
        self._catalogues = {
            kind: Catalogue(kind, self._switchboard, list(self._members), patience, self._tell_changed) for kind in KINDS
        }
        self._calls = MergedCalls(self._switchboard, self._members, self._catalogues)
        # The client's `initialize`; until when all are waited for, and until when any.
        self._initialize: Request | None = None
        self._is_opening = False
        self._early: list[Request | Notification] = []
        self._patient_until = math.inf
        self._handshake_ends = math.inf
        self._initialized: bytes | None = None
        self._level: bytes | None = None
        # Lists of the client's that are being gathered; and what it has been told of, and not asked for since.
        self._listing: set[RequestId] = set()
        self._told: set[str] = set()

    @property
    def deadline(self) -> float:
        """When `wake` is to be called next; infinity when nothing waits."""
        return min(
            self._patient_until if self._has_company else math.inf,
            self._handshake_ends,
            *(member.retry_at for member in self._members.values()),
            *(catalogue.deadline for catalogue in self._catalogues.values()),
        )

    def from_client(self, message: Message, now: float) -> MergedStep:
        """Take a message of the client.

        Raises:
          InvalidRequest: a request whose id is that of another in flight.
          ParseError: one that is nested too deeply.
        """
        self._switchboard.now = now
        if isinstance(message, Request):
            in_flight = (self._calls, self._listing, (early.id for early in self._early if isinstance(early, Request)))
            if any(message.id in requests for requests in in_flight):
                raise InvalidRequest(f"request id {message.id!r} is that of another request in flight")
        if self._is_opening and isinstance(message, Request | Notification) and message.method not in _AT_ONCE:
            self._take_early(message)
        else:
            self._take(message)
        return self._switchboard.empty()

    def from_server(self, server: str, message: Message, now: float, request_id: RequestId | None = None) -> MergedStep:
        """Take a message of a server.

        Args:
          request_id: of the client's request that it belongs to, where something says so.

        Raises:
          ParseError: one that is nested too deeply.
        """
        self._switchboard.now = now
        if request_id is not None and request_id not in self._calls:
            request_id = None
        match message:
            case Response():
                if not self._switchboard.take_answer(server, message):
                    self._calls.take_response(server, message)
            case Request(method="ping"):
                self._switchboard.to_server(server, refusal(message))
            case Request():
                self._questions.ask(server, message, request_id)
            case Notification(method=method) if method in _CHANGES:
                self._tell_changed(_CHANGES[method])
            case Notification(method="notifications/cancelled"):
                self._questions.withdraw(server, message)
            case Notification(method="notifications/progress") if not self._calls.owns_token(server, message.progress_token):
                pass
            case Notification():
                self._switchboard.to_client(message.raw if request_id is None else Related(message.raw, request_id))
        return self._switchboard.empty()

    def lose(self, server: str, reason: ChildError, now: float) -> MergedStep:
        """Note that a server has ended and won't come back."""
        self._switchboard.now = now
        member = self._members[server]
        was_present = member.is_present
        member.leave(str(reason))
        self._switchboard.note(f"{server}: {reason}")
        self._switchboard.hang_up(server)
        self._calls.drop(server, reason)
        self._questions.drop(server)
        for kind, catalogue in self._catalogues.items():
            catalogue.leave(server)
            if was_present and kind.capability in member.capabilities:
                self._tell_changed(kind.capability)
        self._settle_handshake()
        return self._switchboard.empty()

    def wake(self, now: float) -> MergedStep:
        """Do what is due."""
        self._switchboard.now = now
        present = [member.name for member in self._members.values() if member.is_present]
        for catalogue in self._catalogues.values():
            catalogue.wake(present)
        for member in self._members.values():
            if member.retry_at <= now:
                self._introduce(member)
        self._settle_handshake()
        return self._switchboard.empty()

    # The handshake

    @property
    def _has_company(self) -> bool:
        return any(member.is_present for member in self._members.values())

    def _open(self, request: Request) -> None:
        if self._initialize is not None and self._is_opening:
            raise InvalidRequest(f"initialize {encode(self._initialize.id).decode()} is not answered yet")
        self._initialize, self._is_opening, self._initialized = request, True, None
        self._patient_until = self._switchboard.now + self._patience
        self._handshake_ends = self._switchboard.now + self._handshake_time
        for member in self._members.values():
            if member.presence in (Presence.AWAY, Presence.PRESENT):
                self._introduce(member)
        self._settle_handshake()

    def _introduce(self, member: Member) -> None:
        assert self._initialize is not None
        member.presence, member.retry_at = Presence.COMING, math.inf
        member.absence = "it has not answered initialize"
        params = cut_out(self._initialize.raw, ("params",)) or b"{}"
        self._switchboard.ask(member.name, "initialize", params, partial(self._take_introduction, member))

    def _take_introduction(self, member: Member, response: Response | None) -> None:
        if not member.introduce(response, self._switchboard.now):
            if member.presence is not Presence.GONE:
                self._switchboard.note(f"{member.name}: {member.absence}")
        elif self._initialized is not None:
            self._join(member)
            for capability in dict.fromkeys(_CHANGES.values()):
                if member.can(capability):
                    self._tell_changed(capability)
        self._settle_handshake()

    def _join(self, member: Member) -> None:
        """Tell a server that its handshake is over, and what the client has said before that it ought to know."""
        assert self._initialized is not None
        self._switchboard.to_server(member.name, self._initialized)
        if self._level is not None and member.can("logging"):
            self._switchboard.ask(member.name, _SET_LEVEL, self._level, _ignore)

    def _settle_handshake(self) -> None:
        """Answer `initialize`, if all have answered, or it has taken too long."""
        if self._initialize is None or not self._is_opening:
            return
        now = self._switchboard.now
        is_complete = all(member.presence is not Presence.COMING for member in self._members.values())
        if not (is_complete or (self._has_company and self._patient_until <= now) or self._handshake_ends <= now):
            return
        self._is_opening = False
        self._patient_until = self._handshake_ends = math.inf
        absence = describe_absence(self._members.values())
        if self._has_company:
            result = introduction(list(self._members.values()), self._version)
            self._switchboard.answer(self._initialize.id, encode_result(result))
            if absence:
                self._switchboard.note(f"not there yet: {absence}")
        else:
            self._switchboard.refuse(self._initialize.id, ChildError(f"no server can be reached: {absence}"))

        early, self._early = self._early, []
        for message in early:
            self._take(message)

    # The client's messages

    def _take_early(self, message: Request | Notification) -> None:
        """Keep what a client says before it has been answered, and "SHOULD NOT" say (Lifecycle §Initialization), but may."""
        if isinstance(message, Notification) and message.method == CANCELLED:
            self._early = [m for m in self._early if not (isinstance(m, Request) and m.id == message.cancelled_id)]
        elif len(self._early) < _MOST_EARLY:
            self._early.append(message)
        elif isinstance(message, Request):
            self._switchboard.refuse(message.id, Unavailable(f"{_MOST_EARLY} messages wait for the answer to initialize"))

    def _take(self, message: Message) -> None:
        match message:
            case Request():
                try:
                    self._take_request(message)
                except ProtocolError as error:
                    self._switchboard.refuse(message.id, error)
            case Response():
                self._questions.take_answer(message)
            case Notification():
                self._take_notification(message)

    def _take_request(self, request: Request) -> None:
        if request.method == "initialize":
            self._open(request)
        elif request.method == "ping":
            self._switchboard.to_client(refusal(request))
        elif request.method in _LISTED:
            self._list(request)
        elif request.method == _SET_LEVEL:
            self._set_level(request)
        elif request.method.startswith("tasks/"):
            raise MethodNotFound(f"{request.method}: no tasks are served here")
        else:
            self._calls.make(request)

    def _list(self, request: Request) -> None:
        kind = _LISTED[request.method]
        if request.params.get("cursor") is not None:
            # "Invalid cursors SHOULD result in an error with code -32602" (2025-11-25, Pagination §Error Handling).
            raise InvalidParams(f"{request.method}: there is one page, and no cursor leads to another")
        self._told.discard(kind.capability)
        self._listing.add(request.id)
        catalogue = self._catalogues[kind]

        def answer() -> None:
            if request.id not in self._listing:
                return
            self._listing.remove(request.id)
            try:
                self._switchboard.answer(request.id, b'{"%b":%b}' % (kind.member.encode(), catalogue.assemble()))
            except ParseError as error:
                # Nested so deeply that it can be read, and not changed.
                self._switchboard.refuse(request.id, ChildError(f"{request.method}: {error}"))

        catalogue.gather([member.name for member in self._members.values() if member.can(kind.capability)], answer)

    def _set_level(self, request: Request) -> None:
        level = request.params.get("level")
        if level not in LOG_LEVELS:
            raise InvalidParams(f"level is one of {', '.join(LOG_LEVELS)}; this is {encode(level).decode()[:40]}")
        self._level = encode({"level": level})
        for member in self._members.values():
            if member.can("logging"):
                self._switchboard.ask(member.name, _SET_LEVEL, self._level, _ignore)
        self._switchboard.answer(request.id, b"{}")

    def _take_notification(self, notification: Notification) -> None:
        if notification.method == CANCELLED:
            if notification.cancelled_id in self._listing:
                self._listing.remove(notification.cancelled_id)
            else:
                self._calls.cancel(notification)
        elif notification.method == PROGRESS:
            self._questions.take_progress(notification)
        elif notification.method == _INITIALIZED:
            self._initialized = notification.raw
            for member in self._members.values():
                if member.is_present:
                    self._join(member)
        else:
            for member in self._members.values():
                if member.is_present:
                    self._switchboard.to_server(member.name, notification.raw)

    def _tell_changed(self, capability: str) -> None:
        """Say that a list has changed, to a client that has not been told since it last asked."""
        if self._initialized is not None and capability not in self._told:
            self._told.add(capability)
            self._switchboard.to_client(b'{"jsonrpc":"2.0","method":"notifications/%b/list_changed"}' % capability.encode())


def _ignore(response: Response | None) -> None:
    """Nobody could act on what a server says to a level."""
