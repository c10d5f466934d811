"""Many modern requests over one transport (2026-07-28, Transports §stdio).

    multiplex ─┬─ relay     reads what the server says, and hands each message to the call that it belongs to
               └─ time      wakes who does not want to wait any longer, and ends a server that is idle for too long

The modern era has no sessions: each request stands for itself, and one server answers the requests of many clients.  Over
HTTP each has a response of its own; to the server they go through one channel, and so ids, progress tokens and subscription
ids, which are unique for each client only, are replaced by a number on the way in and put back on the way out.  The rest
of a message stays as it is.
"""

from __future__ import annotations

import json
import logging
import math
import secrets
from collections import Counter
from collections.abc import Callable
from typing import Final

import trio

from .alarm import Alarm
from .call import Call
from .protocol.envelope import missing_capabilities
from .protocol.errors import (
    ChildError,
    ChildExited,
    InvalidRequest,
    LineTooLong,
    MissingClientCapability,
    ParseError,
    TrioproxyError,
    Unavailable,
    error_response,
)
from .protocol.lines import OversizedLine
from .protocol.messages import (
    Notification,
    Request,
    Response,
    find_request_answered,
    number_request,
    parse_error,
    parse_result,
    recognise,
    replace_response_id,
    slim,
)
from .protocol.meta_keys import SUBSCRIPTION_ID
from .protocol.own_messages import CANCELLED, cancelled_notification, listen_result, refusal
from .protocol.routing import PROGRESS
from .protocol.splice import splice
from .protocol.translation import Related
from .transport import Transport

logger = logging.getLogger("trioproxy.multiplex")

_LOG_MESSAGE: Final = "notifications/message"
_STDIN_TIME: Final = 10.0
"""Seconds for a server to make room in its stdin, before a client is told to come back later."""
_MAX_CALLS: Final = 10_000
"""Requests in flight over one transport."""
_SKIPS_SHOWN: Final = 20


class Multiplex:
    """A transport that speaks 2026-07-28, and the calls that share it.

    Args:
      idle_limit: seconds without a request after which the server is ended; None for never.
      is_needed: whether it is to live on though no request is in flight.

    Attributes:
      name: what it is called in logs.
      transport: of one client, in effect: nobody else may send through it.
      has_ended: the server is gone, or `close` was called.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        idle_limit: float | None = None,
        is_needed: Callable[[], bool] = lambda: False,
    ) -> None:
        self.name: Final = secrets.token_urlsafe(4)
        self.transport: Final = transport
        self.has_ended = False
        self.skipped: Counter[str] = Counter()
        self._logger = logging.LoggerAdapter(logger, {"session": self.short_id})
        self._calls: dict[int, Call] = {}
        self._last_number = 0
        self._scope = trio.CancelScope()
        self._touched_at = trio.current_time()
        self._idle_limit = math.inf if idle_limit is None else idle_limit
        self._is_needed = is_needed
        self.alarm: Final = Alarm(self._touched_at + self._idle_limit)

    @property
    def short_id(self) -> str:
        """What it is called in logs."""
        return self.name

    @property
    def calls(self) -> int:
        """How many requests are to be answered; streams of `subscriptions/listen` end of themselves."""
        return sum(not call.is_listen for call in self._calls.values())

    @property
    def is_used(self) -> bool:
        """Whether any request of a client is in flight."""
        return any(not call.is_background for call in self._calls.values())

    @property
    def idle_since(self) -> float:
        """When it was last used."""
        return trio.current_time() if self.is_used or self._is_needed() else self._touched_at

    # Calls

    @property
    def is_busy(self) -> bool:
        """Whether the next request should wait, or be turned away."""
        return len(self._calls) >= _MAX_CALLS or self.transport.is_congested

    async def wait_writable(self) -> None:
        """Return once the server has read enough of its stdin.

        Raises:
          Unavailable: that takes too long, or there is too much to answer as it is.
          ChildError: the server has ended.
        """
        if len(self._calls) >= _MAX_CALLS:
            raise Unavailable(f"{len(self._calls)} requests are in flight, the limit")
        if self.transport.is_congested:
            with trio.move_on_after(_STDIN_TIME):
                await self.transport.wait_writable()
                return
            raise Unavailable(f"the server has read nothing of its stdin for {_STDIN_TIME:g} s")

    def attach(self, call: Call) -> None:
        """Send the request of `call`, and let `call` have what the server says to it.

        Raises:
          ChildError: the server has ended.
        """
        if self.has_ended:
            raise self.transport.failure or ChildExited("the server was stopped")
        self._last_number += 1
        number = self._last_number
        self._calls[number] = call
        call.attach(self, number)
        self.transport.send_nowait(number_request(call.request, number))
        slim(call.request)

    def detach(self, call: Call) -> None:
        """Have nothing more to do with `call`; its request is cancelled if the server has not answered it."""
        number = call.detach(self)
        if number is not None and self._calls.pop(number, None) is not None:
            self._touched_at = trio.current_time()
            self.transport.send_nowait(cancelled_notification(number, "the client no longer waits for it"))

    # The life

    async def run(self) -> None:
        """Relay what the server says, until it ends or `close` is called.  Whatever was in flight is answered then."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self.alarm.run, self._look)
                    await self._relay()
                    nursery.cancel_scope.cancel()
        finally:
            self._finish(self.transport.failure or ChildExited("the server was stopped while the request was in flight"))

    def close(self, reason: TrioproxyError) -> None:
        """End it; requests in flight are answered with `reason`."""
        self._finish(reason)
        self._scope.cancel()

    def _finish(self, reason: TrioproxyError) -> None:
        self.has_ended = True
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.detach(self)
            # "The server SHOULD send an empty SubscriptionsListenResult … before closing": the client listens again.
            if call.is_listen:
                call.finish(listen_result(call.request.id))
            else:
                call.fail(reason)

    def _look(self, now: float) -> float:
        """End it if it was idle for too long, and return when to look again."""
        ends_at = self.idle_since + self._idle_limit
        if ends_at <= now:
            self._logger.info("idle, ended")
            self.close(ChildExited("the server was idle for too long"))
            return math.inf
        return ends_at

    async def _relay(self) -> None:
        while True:
            try:
                lines = await self.transport.receive()
            except ChildError:
                return
            full: list[Call] = []
            for line in lines:
                if isinstance(line, OversizedLine):
                    self._fail_oversized(line)
                    continue
                call = self._deliver(line) if isinstance(line, bytes) else self._deliver_related(line)
                if call is not None and call.is_full:
                    full.append(call)
            for call in full:
                await call.wait_room()

    def _deliver(self, line: bytes) -> Call | None:
        """Hand a message to its call, which is returned."""
        try:
            message = recognise(line)
        except (ParseError, InvalidRequest) as error:
            self._skip("garbage", f"{error}: {line[:200].decode(errors='replace')!r}")
            return None
        if type(message) is Response:
            return self._deliver_response(message)
        if type(message) is Notification:
            return self._deliver_notification(message)
        assert type(message) is Request
        # "The server MUST NOT write JSON-RPC requests to stdout" (Transports §stdio).
        self._skip("unexpected", f"a request, {message.method!r}")
        # A server that asks, and does not read what it is told, is told no more.
        if not self.transport.is_congested:
            self.transport.send_nowait(refusal(message))
        return None

    def _deliver_related(self, message: Related) -> Call | None:
        call = self._find(message.request_id)
        if call is not None:
            call.deliver(message.raw)
        return call

    def _deliver_response(self, response: Response) -> Call | None:
        call = self._calls.pop(response.id, None) if isinstance(response.id, int) else None
        if call is None:
            # Most are late answers to what was cancelled.
            self.skipped["late"] += 1
            return None
        self._touched_at = trio.current_time()
        call.detach(self)
        request_id = call.request.id
        is_error = response.is_error
        try:
            if b"input_required" in response.raw and (refused := _refuse_questions(response, call)) is not None:
                answer, is_error = error_response(refused, request_id), True
            else:
                if is_error:
                    # Whoever looks for its code must be able to read it.
                    parse_error(response)
                answer = replace_response_id(response, request_id)
                if call.is_listen and not is_error:
                    answer = splice(answer, {("result", "_meta", SUBSCRIPTION_ID): _encode(request_id)})
        except ParseError as error:
            # A long response is recognised by its ends, and may turn out to be no JSON in between.
            answer, is_error = error_response(ChildError(f"the server's response can't be read: {error}"), request_id), True
        call.finish(answer, is_error=is_error)
        return call

    def _deliver_notification(self, notification: Notification) -> Call | None:
        raw = notification.raw
        if notification.method == PROGRESS:
            call = self._find(notification.progress_token)
            if call is None or (theirs := call.request.progress_token) is None:
                self.skipped["late"] += 1
                return None
            call.extend()
            call.deliver(splice(raw, {("params", "progressToken"): _encode(theirs)}))
            return call
        if notification.method == CANCELLED:
            return self._end_listen(notification)
        meta = notification.params.get("_meta")
        if type(meta) is dict and SUBSCRIPTION_ID in meta:
            call = self._find(meta[SUBSCRIPTION_ID])
            if call is None:
                self.skipped["late"] += 1
                return None
            call.deliver(splice(raw, {("params", "_meta", SUBSCRIPTION_ID): _encode(call.request.id)}))
            return call
        if notification.method == _LOG_MESSAGE:
            # Nothing in it says which request it belongs to: while several want logs it could be any of theirs.
            askers = [call for call in self._calls.values() if call.envelope.log_level is not None]
            if len(askers) == 1:
                askers[0].deliver(raw)
                return askers[0]
        self.skipped["unrelated"] += 1
        return None

    def _end_listen(self, cancelled: Notification) -> Call | None:
        """End a subscription that the server tears down.

        It "MUST send `notifications/cancelled`" then (Cancellation), and "SHOULD send a successful
        `subscriptions/listen` response" (Subscriptions §Graceful Closure); the client gets the latter in either case.
        """
        number = cancelled.cancelled_id
        call = self._find(number)
        if call is None or not call.is_listen:
            self.skipped["unrelated"] += 1
            return None
        assert isinstance(number, int)
        del self._calls[number]
        call.detach(self)
        call.finish(listen_result(call.request.id))
        return call

    def _find(self, number: object) -> Call | None:
        return self._calls.get(number) if type(number) is int else None

    def _fail_oversized(self, line: OversizedLine) -> None:
        """A line over the limit fails the call that it answers, or else all of them: it was somebody's."""
        error = LineTooLong(f"the server wrote a line of {line.length} bytes, over the limit of --max-message-size")
        self._logger.error("%s", error)
        number = find_request_answered(line)
        if not isinstance(number, int):
            self.close(error)
        elif (call := self._calls.get(number)) is not None:
            # That cancels it, too: a translator in between still waits for the answer that was lost.
            self.detach(call)
            call.fail(error)

    def _skip(self, kind: str, why: str) -> None:
        self.skipped[kind] += 1
        number = self.skipped[kind]
        if number <= _SKIPS_SHOWN or number & (number - 1) == 0:
            self._logger.warning("skipped a line of the server, number %d: %s", number, why)


def _refuse_questions(response: Response, call: Call) -> MissingClientCapability | None:
    """Return why a client is not to be asked what the server asks of it; None where it may be.

    "Servers MUST NOT send an `inputRequests` that the client has not declared support for in its capabilities" (Multi
    Round-Trip Requests §Server Requirements, 7), and some servers do.
    """
    result = None if response.is_error else parse_result(response)
    if type(result) is not dict or result.get("resultType") != "input_required":
        return None
    questions = result.get("inputRequests")
    missing = missing_capabilities(questions, call.envelope.capabilities) if type(questions) is dict else {}
    if not missing:
        return None
    names = ", ".join(sorted(missing))
    return MissingClientCapability(
        f"the server asks for what the client has not declared: {names}", data={"requiredCapabilities": missing}
    )


def _encode(value: object) -> bytes:
    return json.dumps(value).encode()
