"""One session of the legacy era: from `initialize` to its end (2025-03-26 and later, Transports §Session Management).

    session ─┬─ relay     reads what the server says, and appends each message to one stream
             └─ time      ends what has taken too long: a request, or the session itself

A legacy request belongs to its session, not to the HTTP exchange that brought it: a client that disconnects merely stops
listening, and may resume.  "Disconnection MAY occur at any time … SHOULD NOT be interpreted as the client cancelling its
request" (Transports §Sending Messages).  So the session waits for nobody: it appends to streams, and whoever serves a
connection reads them through a `Cursor`.

A server that dies takes what it was doing along, and not the session: requests in flight are answered with how it ended,
and with the next server, to which the client's handshake is repeated, the session goes on under its id and on its streams.

Knows neither HTTP nor SSE nor processes.
"""

from __future__ import annotations

import logging
import math
import secrets
from collections import Counter
from collections.abc import Sequence
from typing import Final

import trio

from .alarm import Alarm
from .config import Config
from .cursor import Cursor, Readers
from .event_store import InMemoryEventStore, open_log
from .metrics import Metrics, Outcome, outcome_of
from .protocol.errors import (
    ChildError,
    ChildExited,
    CommandFailed,
    InvalidRequest,
    LineTooLong,
    ParseError,
    RequestTimedOut,
    SessionNotFound,
    TrioproxyError,
    Unavailable,
    error_response,
)
from .protocol.event_log import Stream
from .protocol.lines import OversizedLine
from .protocol.messages import (
    Message,
    Notification,
    Request,
    RequestId,
    Response,
    find_request_answered,
    parse_line,
    parse_result,
    recognise,
    slim,
)
from .protocol.own_messages import (
    CANCELLED,
    cancelled_notification,
    cancelled_response,
    initialize_request,
    initialized_notification,
    refusal,
)
from .protocol.progress import MIN_RUN, follow_progress
from .protocol.recording import TO_CLIENT, TO_SERVER
from .protocol.revisions import BATCH_REVISION
from .protocol.revival import Memory
from .protocol.routing import PROGRESS, Flight, Router
from .protocol.translation import Related
from .revival import introduce
from .tap import Tap
from .transport import Transport

logger = logging.getLogger("trioproxy.session")

_CANCEL_TIME: Final = 1.0
"""Seconds for a server to answer a request after it was cancelled; most don't."""
_STALL_TIME: Final = 30.0
"""Seconds without progress after which a reader that holds up its session's server is let go."""
_STDIN_TIME: Final = 10.0
"""Seconds for a server to make room in its stdin, before its client is told to come back later."""
_RESTORE_TIME: Final = 10.0
"""Seconds for a new server to be ready, before a client is told to come back later."""
_TURN: Final = 500
"""Messages of a server that says much at once, after which it is the others' turn: to parse so many takes some 2 ms, and
to follow eight as long as to parse one."""
_MAX_CALLS: Final = 10_000
"""Requests in flight in one session: each costs a kilobyte, and a client pays forty bytes for it."""
_GARBAGE_SHOWN: Final = 200
_SKIPS_SHOWN: Final = 20
"""Skipped lines that are logged; after so many, only each whose number is a power of two."""
_GIVEN_UP_KEPT: Final = 1000


class Session:
    """What one client and its server have going on.

    Args:
      mixes: whether a request's stream carries anything but its response; with `--json-response` it can't.
      declines: the server's own requests are refused, since no answer of the client would find the way back.
      single_stream: everything is carried by the standalone stream, as HTTP+SSE has it, and nothing is kept.
      tap: where what passes is noted.

    Attributes:
      owner: the key of the principal that it belongs to; None where nobody is asked who they are.
      id: "globally unique and cryptographically secure … visible ASCII"; 192 random bits.
      is_orphaned: its server has died, and it waits for another (`adopt`).
      restarts: how many servers it has had, beyond the first.
      revision: the one agreed on in the handshake; until then, the one that the client asked for.
      is_refused: the server has answered `initialize` with an error.
      skipped: lines of the server that were passed on to nobody, by kind.
    """

    def __init__(
        self,
        transport: Transport,
        config: Config,
        metrics: Metrics | None = None,
        *,
        mixes: bool = True,
        single_stream: bool = False,
        declines: bool = False,
        tap: Tap | None = None,
    ) -> None:
        limits = config.limits
        self.id: Final = secrets.token_urlsafe(24)
        self._logger = logging.LoggerAdapter(logger, {"session": self.short_id})
        self.revision = BATCH_REVISION
        self.is_refused = False
        self.owner: tuple[str, str] | None = None
        self.is_orphaned = False
        self.restarts = 0
        self.skipped: Counter[str] = Counter()
        store = config.event_store
        if store is None:
            store = InMemoryEventStore(limits.event_store_max_events, limits.event_store_max_bytes)
        self.log: Final = open_log(store, secrets.token_hex(4), keeps_sent=limits.event_store and not single_stream)
        self._transport = transport
        self._times = config.times
        self._metrics = metrics or Metrics()
        self.single_stream = single_stream
        self._declines = declines
        self._shows_messages = config.log.debug
        self._tap = tap
        self._mixes = mixes
        self._idle_limit = _or_never(self._times.session_idle_timeout)
        self._second_limit = min(self._idle_limit, _or_never(self._times.connection_timeout))
        self._touched_at = trio.current_time()
        self._alarm = Alarm(self._touched_at + self._second_limit)
        self._router = Router(self.log.standalone, mixes=mixes)
        self._readers = Readers(self.log, self._alarm, on_change=self._touch)
        self._memory = Memory()
        self._restored = trio.Event()
        self._restored.set()
        self._initialize_id: RequestId | None = None
        # Requests that we have answered ourselves, whose late answers must not surprise the client.
        self._given_up: dict[RequestId, None] = {}
        self._scope = trio.CancelScope()
        self._is_settled = False  # whether the client has said anything after `initialize`
        self._end: TrioproxyError | None = None
        self._ended = trio.Event()

    @property
    def short_id(self) -> str:
        """What the session is called in logs: enough to tell it from others, too little to enter it."""
        return self.id[:6]

    @property
    def has_ended(self) -> bool:
        """Whether the session is over; what its streams carried can still be read to the end."""
        return self._end is not None

    @property
    def calls(self) -> int:
        """How many requests are in flight."""
        return len(self._router)

    # From the client

    async def submit(self, messages: Sequence[Message]) -> Stream | None:
        """Pass what one POST brought on to the server.

        Returns:
          The stream that will carry the answers; None if there is no request among the messages.

        Raises:
          InvalidRequest: a request id is in use; nothing was passed on.
          SessionNotFound: the session has ended, or is about to since its server has.
          Unavailable: the server has not read for a while what it was sent, or has too much to answer as it is; or it has
            died, and no other has been ready for a while.
        """
        if not self._restored.is_set():
            await self._wait_restored()
        if self._transport.is_congested:
            await self._wait_for_room()
        if self._end is not None:
            raise SessionNotFound(f"the session has ended: {self._end}")
        now = self._touched_at = trio.current_time()
        stream: Stream | None = None
        requests = [message for message in messages if type(message) is Request]
        if requests:
            self._check_unused(requests)
            stream = self.log.standalone if self.single_stream else self.log.open_stream()
            for request in requests:
                self._depart(request, stream, now)
        elif messages:
            self._is_settled = True
        for message in messages:
            if type(message) is Notification and message.method == CANCELLED:
                self._expect_no_answer(message.cancelled_id, now)
            self._memory.note(message)
            if self._shows_messages:
                self._logger.debug("client: %s", message.raw.decode(errors="replace"))
            if self._tap is not None:
                self._tap.note(TO_SERVER, message.raw, session=self.short_id, stream=stream.number if stream else None)
            self._transport.send_nowait(message.raw)
            slim(message)
        return stream

    async def _wait_for_room(self) -> None:
        with trio.move_on_after(_STDIN_TIME):
            try:
                await self._transport.wait_writable()
            except ChildError as error:
                raise SessionNotFound(f"the session has ended: {error}") from error
            return
        raise Unavailable(f"the server has read nothing of its stdin for {_STDIN_TIME:g} s")

    async def _wait_restored(self) -> None:
        with trio.move_on_after(_RESTORE_TIME):
            await self._restored.wait()
            return
        raise Unavailable(f"the server has died, and no other has been ready for {_RESTORE_TIME:g} s")

    def _check_unused(self, requests: Sequence[Request]) -> None:
        ids: set[RequestId] = set()
        for request in requests:
            if request.id in ids or self._router.find(request.id):
                raise InvalidRequest(f"request id {request.id!r} is that of another request in flight")
            ids.add(request.id)
        if len(self._router) + len(ids) > _MAX_CALLS:
            raise Unavailable(
                f"{len(self._router)} requests are in flight, and {len(ids)} more would be over the limit of {_MAX_CALLS}"
            )

    def _depart(self, request: Request, stream: Stream, now: float) -> None:
        limit = _or_never(self._times.request_timeout)
        if request.method == "initialize":
            self._initialize_id = request.id
            revision = request.params.get("protocolVersion")
            self.revision = revision if isinstance(revision, str) else BATCH_REVISION
            limit = _or_never(self._times.connection_timeout)
        else:
            self._is_settled = True
        self._given_up.pop(request.id, None)
        flight = self._router.take_off(request, stream, limit, now)
        self._alarm.expect_by(flight.expires_at)

    def _expect_no_answer(self, request_id: RequestId | None, now: float) -> None:
        """A cancelled request's stream still has to end, and most servers answer it no more."""
        flight = None if request_id is None else self._router.find(request_id)
        if flight is not None and flight.request_id != self._initialize_id:
            self._router.cancel(flight)
            flight.expires_at = min(flight.expires_at, now + _CANCEL_TIME)
            self._alarm.expect_by(flight.expires_at)

    async def shake_hands(self, revision: str) -> None:
        """Initialize the server in the name of a client that did not, and never will.

        Raises:
          CommandFailed: the server refused, or ended.
        """
        stream = await self.submit([parse_line(initialize_request(revision))])
        assert stream is not None
        with self.attach(stream) as cursor:
            while not cursor.is_at_end:
                await cursor.read()
        self.log.forget(stream)
        if self.is_refused or self.has_ended:
            raise CommandFailed("the server did not complete the handshake")
        await self.submit([parse_line(initialized_notification())])

    # To the client

    def attach(self, stream: Stream, position: int | None = None) -> Cursor:
        """Return a cursor over `stream`, as `Readers.attach` does."""
        return self._readers.attach(stream, position)

    # The life

    async def run(self) -> None:
        """Relay what the server says, until it ends, is too long idle, or `close` is called.

        Whatever was in flight is answered with an error then.  Every stream is finished, unless the session `is_orphaned`.
        """
        if self._end is not None:
            return
        self._scope = trio.CancelScope()
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._alarm.run, self._look)
                    if not self.is_orphaned or await self._repeat_handshake():
                        await self._relay()
                    nursery.cancel_scope.cancel()
        finally:
            if self._scope.cancel_called or not self.is_orphaned:
                self._finish(self._end or ChildExited("the session was closed while the request was in flight"))

    def adopt(self, transport: Transport) -> None:
        """Let the session go on with another server, once it is run again."""
        self._transport = transport
        self.restarts += 1

    async def _repeat_handshake(self) -> bool:
        """Tell the new server what the old one knew, and the client what may have changed; return whether it worked."""
        try:
            news = await introduce(self._transport, self._memory, self._times.connection_timeout)
        except ChildError as error:
            self._logger.warning("the new server is none: %s", error)
            return False
        for request_id in news.unanswered:
            self._remember_given_up(request_id)
        for line in news.lines:
            self._deliver(line, trio.current_time())
        self.is_orphaned = False
        self._restored.set()
        self._logger.info("restored with a new server, number %d", self.restarts + 1)
        return True

    def _lose_server(self, error: ChildError) -> None:
        """End what was in flight, and the session too if there is nothing that could go on."""
        if error.data is not None:
            error.data["restarts"] = self.restarts
        if self._declines or not self._memory.is_complete:
            self._finish(error)
            return
        self._logger.warning("%s", error)
        self.is_orphaned = True
        self._restored = trio.Event()
        self._given_up.clear()
        for flight in self._router:
            self._answer(flight, error)

    def close(self, reason: TrioproxyError) -> None:
        """End the session; requests in flight are answered with `reason`."""
        self._finish(reason)
        self._scope.cancel()

    async def wait_ended(self) -> None:
        """Return once the session is over."""
        await self._ended.wait()

    async def _relay(self) -> None:
        while True:
            try:
                lines = await self._transport.receive()
            except ChildError as error:
                self._lose_server(error)
                return
            now = trio.current_time()
            at = work = 0
            is_burst = True  # until it turns out that it is none
            while at < len(lines):
                line = lines[at]
                if isinstance(line, OversizedLine):
                    self._fail_oversized(line)
                elif isinstance(line, Related):
                    self._deliver(line.raw, now, self._router.find(line.request_id))
                elif (stream := self._deliver(line, now)) is not None and is_burst:
                    if run := follow_progress(lines, at):
                        self._append(stream, run)
                        at += len(run)
                        work += len(run) // 8
                    is_burst = len(run) >= MIN_RUN
                at += 1
                work += 1
                if work >= _TURN:
                    work = 0
                    await trio.lowlevel.cancel_shielded_checkpoint()
                if self._end is not None:
                    return
            if self.log.is_full:
                await self._wait_for_readers()

    async def _wait_for_readers(self) -> None:
        """Slow the server down rather than lose what it says, as long as somebody reads it at all."""
        stalled = await self._readers.wait_room(_STALL_TIME)
        if stalled:
            self._logger.warning("let go of clients that had read nothing for %g s: %d", _STALL_TIME, stalled)

    def _deliver(self, line: bytes, now: float, flight: Flight | None = None) -> Stream | None:
        """Put a message on its stream: that of `flight`, where it is known to belong to that.

        Returns:
          The stream, where more progress of the same request might go there unseen.
        """
        try:
            message = recognise(line)
            if type(message) is Response and message.id == self._initialize_id and message.id is not None:
                self._learn_revision(message)
        except (ParseError, InvalidRequest) as error:
            self._skip("garbage", f"{error}: {line[:_GARBAGE_SHOWN].decode(errors='replace')!r}")
            return None
        if self._shows_messages:
            self._logger.debug("server: %s", line.decode(errors="replace"))
        if self._declines and type(message) is Request:
            # A server that asks, and does not read what it is told, is told no more.
            if not self._transport.is_congested:
                self._transport.send_nowait(refusal(message))
            return None
        if type(message) is Response and message.id is not None and (answered := self._router.find(message.id)):
            self._count(answered, "error" if message.is_error else "ok")
        stream = flight.stream if flight is not None and self._mixes else self._router.route(message, now)
        if stream is None:
            assert type(message) is Response
            if message.id in self._given_up:
                del self._given_up[message.id]
            else:
                self._skip("unexpected", f"a response to no request in flight, id {message.id!r}")
            return None
        self._append(stream, (line,))
        is_progress = type(message) is Notification and message.method == PROGRESS
        return stream if is_progress and not self._shows_messages else None

    def _append(self, stream: Stream, lines: Sequence[bytes]) -> None:
        """Put messages on a stream, which ends when the last answer to come is among them."""
        if self._tap is not None:
            for line in lines:
                self._tap.note(TO_CLIENT, line, session=self.short_id, stream=stream.number)
        if stream is not self.log.standalone and not self._router.is_waiting(stream):
            stream.is_finished = True
        cursor = self._readers.find(stream)
        if cursor is None and not self.log.keeps_sent and stream is not self.log.standalone:
            # Nobody reads it, and nobody could come back for it.
            if stream.is_finished:
                self.log.forget(stream)
                self._touch()
            return
        stream.extend(lines)
        if cursor is not None:
            cursor.wake()
        elif stream.is_finished:
            # Now the client has its time to come back.
            self._touch()

    def _learn_revision(self, response: Response) -> None:
        result = parse_result(response)
        self._initialize_id = None
        self.is_refused = response.is_error
        revision = result.get("protocolVersion") if isinstance(result, dict) else None
        if isinstance(revision, str):
            self.revision = revision

    def _skip(self, kind: str, why: str) -> None:
        self.skipped[kind] += 1
        number = self.skipped.total()
        # A server that writes nothing but garbage shall not fill our log, too.
        if number <= _SKIPS_SHOWN or number & (number - 1) == 0:
            self._logger.warning("skipped a line of the server, number %d: %s", number, why)

    def _fail_oversized(self, line: OversizedLine) -> None:
        """A line over the limit fails the call that it answers, or else the session: it was somebody's.

        So does one that answers `initialize`, without which there is no session.
        """
        error = LineTooLong(f"the server wrote a line of {line.length} bytes, over the limit of --max-message-size")
        request_id = find_request_answered(line)
        flight = None if request_id is None else self._router.find(request_id)
        self._logger.error("%s", error)
        if request_id in self._given_up:
            del self._given_up[request_id]
        elif flight is None or request_id == self._initialize_id:
            self._finish(error)
        else:
            self._answer(flight, error)
            # The server has done with it, but a translator in between has not heard the answer.
            self._transport.send_nowait(cancelled_notification(flight.request_id, str(error)))

    def _answer(self, flight: Flight, error: TrioproxyError) -> None:
        """Answer a request in the server's stead."""
        self._count(flight, outcome_of(error))
        self._router.land(flight)
        self._append(flight.stream, (error_response(error, flight.request_id),))

    def _count(self, flight: Flight, outcome: Outcome) -> None:
        outcome = "cancelled" if flight.is_cancelled else outcome
        self._metrics.note_call("legacy", flight.method, outcome, trio.current_time() - flight.departed_at)

    def _end_stream(self, flight: Flight) -> None:
        """End the stream of a cancelled request, whose client waits for nothing any more."""
        stream = self._router.land(flight)
        if stream is not self.log.standalone and not self._router.is_waiting(stream):
            stream.is_finished = True
            if (cursor := self._readers.find(stream)) is not None:
                cursor.wake()

    def _finish(self, reason: TrioproxyError) -> None:
        if self._end is not None:
            return
        for flight in self._router:
            if flight.is_cancelled:
                self._end_stream(flight)
            else:
                self._answer(flight, reason)
        self._end = reason
        self._restored.set()
        self.log.standalone.is_finished = True
        self._readers.wake_all()
        self._ended.set()

    # Time

    def _look(self, now: float) -> float:
        """End what is overdue, and return when to look again."""
        for flight in self._router:
            if flight.expires_at <= now:
                self._give_up(flight)
            if self._end is not None:
                return math.inf
        idle_until = self._idle_until()
        if idle_until <= now:
            self._logger.info("idle, ended")
            self.close(ChildExited("the session was idle for too long"))
            return math.inf
        return min((flight.expires_at for flight in self._router), default=idle_until)

    def _idle_until(self) -> float:
        """When the session will have been idle for too long; never, while somebody listens or waits.

        A client that says nothing after `initialize` has most likely gone: clients seldom say goodbye, and each keeps a
        process alive.
        """
        if len(self._readers) or len(self._router):
            return math.inf
        return self._touched_at + (self._idle_limit if self._is_settled else self._second_limit)

    def _touch(self) -> None:
        """Let the time until the session is idle for too long begin now."""
        self._touched_at = trio.current_time()
        self._alarm.expect_by(self._idle_until())

    def _remember_given_up(self, request_id: RequestId) -> None:
        self._given_up[request_id] = None
        if len(self._given_up) > _GIVEN_UP_KEPT:
            del self._given_up[next(iter(self._given_up))]

    def _give_up(self, flight: Flight) -> None:
        request_id = flight.request_id
        self._remember_given_up(request_id)
        if flight.is_cancelled:
            self._count(flight, "cancelled")
            self._router.land(flight)
            if self.single_stream:
                return
            self._append(flight.stream, (cancelled_response(request_id),))
            return
        error = RequestTimedOut(f"the server did not answer within {flight.time_limit:g} s")
        self._logger.warning("request %r: %s", request_id, error)
        self._answer(flight, error)
        if request_id == self._initialize_id:
            # "The initialize request MUST NOT be cancelled by clients" (Utilities §Cancellation); without it there is
            # no session.
            self.close(error)
            return
        self._transport.send_nowait(cancelled_notification(request_id, str(error)))


def _or_never(limit: float | None) -> float:
    return math.inf if limit is None else limit
