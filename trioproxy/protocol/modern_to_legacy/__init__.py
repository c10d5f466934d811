"""A legacy server, made to look like a modern one: the era of the handshake behind 2026-07-28.

    what a modern client does               what the legacy server sees
    its first request                       the handshake, once (`handshake`); all requests wait for its end
    a request                               the same without the envelope in its `_meta` (`calls`)
    a retry with answers                    responses to the questions that it has asked (`parking`)
    a log level in a request                logging/setLevel before it, where that changes anything (`logs`)
    subscriptions/listen                    resources/subscribe, and its opposite at the end (`subscriptions`)
    a cancellation                          the same, with the id that it knows
    server/discover; a removed method       nothing

    what a legacy server does               what the modern client sees
    a response                              the same with what its era requires (`results`)
    a question in the course of a call      "input required", the answer to the call (`parking`)
    progress                                the same, with the token of the attempt that waits
    a log message                           the same, where it can only belong to one request (`logs`)
    a change                                the same, in each subscription that wants it (`subscriptions`)
    a ping; any other notification          nothing

A legacy message does not say to which request it belongs; over HTTP the stream on which it comes does.  Where that can't be
told it is dropped or refused, never guessed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from ..envelope import REMOVED_METHODS
from ..errors import ChildError, InvalidRequest, MethodNotFound, ProtocolError, TrioproxyError, error_response
from ..messages import Message, Notification, Request, RequestId, Response
from ..outbox import Outbox
from ..own_messages import CANCELLED, DISCOVER, LISTEN, initialized_notification, refusal
from ..revisions import MODERN_REVISION
from ..routing import PROGRESS
from ..translation import Step
from .calls import LegacyCalls
from .handshake import ServerIntroduction, discover_response, initialize_params, read_introduction
from .logs import LOG_MESSAGE, wanted_level
from .subscriptions import CHANGES, Subscriptions

_REMOVED_PREFIX: Final = "tasks/"
"""What the modern era calls tasks is an extension, with messages of its own; a legacy server can't have it."""


class ModernToLegacy:
    """The translator for one legacy server, whose clients may be several.

    The ids and progress tokens of the clients' requests reach the server as they are.  So they have to be unique among the
    requests in flight, subscriptions and parked calls among them.

    Args:
      new_state: returns a string that nobody can guess, another one each time.
      gather_time: how long to wait, in seconds, for more questions of a call once it has asked one.
      park_time: how long a parked call waits for its client.
      handshake_time: how long the server may take to be initialized.
    """

    def __init__(
        self,
        new_state: Callable[[], str],
        *,
        gather_time: float = 0.02,
        park_time: float = 600.0,
        handshake_time: float = math.inf,
    ) -> None:
        self._outbox = Outbox()
        self._calls = LegacyCalls(self._outbox, new_state, gather_time, park_time)
        self._subscriptions = Subscriptions(self._outbox)
        self._handshake_time = handshake_time
        self._handshake_ends = math.inf  # unless the server is initialized before
        self._has_begun = False
        self._server: ServerIntroduction | None = None
        self._refusal: ChildError | None = None
        # Those that the handshake keeps waiting, in their order.
        self._waiting: dict[RequestId, Request] = {}

    @property
    def is_transparent(self) -> bool:
        """Never: each request has an envelope to lose."""
        return False

    @property
    def is_refused(self) -> bool:
        """Whether the handshake has failed, and every request with it."""
        return self._refusal is not None

    @property
    def capabilities(self) -> dict[str, Any]:
        """What the server has declared; nothing before the handshake is over."""
        return {} if self._server is None else self._server.capabilities

    @property
    def calls(self) -> int:
        """How many requests of clients the server has still to answer, or the client has still to come back for."""
        return len(self._calls) + sum(request.method != LISTEN for request in self._waiting.values())

    @property
    def parked(self) -> int:
        """How many calls wait for their client to come back with answers."""
        return self._calls.parked

    def holds(self, state: str) -> bool:
        """Whether a call is parked here under `state`."""
        return self._calls.holds(state)

    @property
    def deadline(self) -> float:
        """When a round of questions is complete, a parked call given up, or the handshake too long."""
        return min(self._calls.deadline, self._handshake_ends)

    def from_client(self, message: Message, now: float) -> Step:
        """Take a message of a client.

        Raises:
          InvalidRequest: a request whose id is that of another in flight.
          ParseError: one that is nested too deeply.
        """
        if type(message) is Request:
            if any(message.id in requests for requests in (self._waiting, self._calls, self._subscriptions)):
                raise InvalidRequest(f"request id {message.id!r} is that of another request in flight")
            if self._server is None and self._refusal is None:
                self._keep_waiting(message, now)
            else:
                self._serve(message, now)
        elif type(message) is Notification and message.method == CANCELLED:
            self._cancel(message)
        # A modern client says nothing else: it has no lists that could change, and is asked nothing that it could answer.
        return self._outbox.empty()

    def from_server(self, message: Message, now: float, request_id: RequestId | None = None) -> Step:
        """Take a message of the server.

        Args:
          request_id: of the call, as the server knows it, to which the message belongs, where something says so.

        Raises:
          ParseError: it is nested too deeply.
        """
        match message:
            case Response():
                if not self._outbox.take_answer(message):
                    self._calls.take_response(message, now)
                elif self._server is not None or self._refusal is not None:
                    self._serve_waiting(now)
            case Request(method="ping"):
                self._outbox.to_server(refusal(message))
            case Request():
                self._calls.take_question(message, now, request_id)
            case Notification():
                self._take_notification(message, request_id)
        return self._outbox.empty()

    def wake(self, now: float) -> Step:
        """Ask what has been gathered, and give up the calls whose clients did not come back."""
        self._calls.wake(now)
        if self._handshake_ends <= now:
            self._handshake_ends = math.inf
            self._refusal = ChildError(f"the server did not answer initialize within {self._handshake_time:g} s")
            self._serve_waiting(now)
        return self._outbox.empty()

    def _keep_waiting(self, request: Request, now: float) -> None:
        if not self._has_begun:
            self._outbox.ask_server("initialize", initialize_params(request), self._take_introduction)
            self._handshake_ends = now + self._handshake_time
            self._has_begun = True
        self._waiting[request.id] = request

    def _take_introduction(self, response: Response) -> None:
        if self._refusal is not None:
            # Too late.
            return
        self._handshake_ends = math.inf
        try:
            self._server = read_introduction(response)
        except TrioproxyError as error:
            self._refusal = ChildError(str(error))
            return
        self._calls.server_info = self._server.info
        self._calls.logs.is_offered = "logging" in self._server.capabilities
        self._outbox.to_server(initialized_notification())

    def _serve_waiting(self, now: float) -> None:
        waiting, self._waiting = self._waiting, {}
        for request in waiting.values():
            self._serve(request, now)

    def _serve(self, request: Request, now: float) -> None:
        try:
            self._dispatch(request, now)
        except (ProtocolError, ChildError) as error:
            self._outbox.to_client(error_response(error, request.id))

    def _dispatch(self, request: Request, now: float) -> None:
        if self._refusal is not None:
            raise self._refusal
        assert self._server is not None
        if request.method in REMOVED_METHODS or request.method.startswith(_REMOVED_PREFIX):
            raise MethodNotFound(f"Method not found: {MODERN_REVISION} has no {request.method}")
        log_level = wanted_level(request)
        if "requestState" in request.params:
            self._calls.resume(request, log_level, now)
        elif request.method == DISCOVER:
            self._outbox.to_client(discover_response(request.id, self._server))
        elif request.method == LISTEN:
            self._subscriptions.open(request, self._server.capabilities)
        else:
            self._calls.send(request, log_level)

    def _cancel(self, notification: Notification) -> None:
        request_id = notification.cancelled_id
        if request_id is None:
            return
        # A request that still waits is not sent; `initialize` can't be cancelled (2025-11-25, Cancellation §Behavior
        # Requirements), and has no id that a client knows.
        if self._waiting.pop(request_id, None) is None and not self._subscriptions.close(request_id):
            self._calls.cancel(request_id, notification)

    def _take_notification(self, notification: Notification, request_id: RequestId | None) -> None:
        if notification.method == PROGRESS:
            self._calls.take_progress(notification)
        elif notification.method == LOG_MESSAGE:
            self._calls.take_log(notification, request_id)
        elif notification.method in CHANGES:
            self._subscriptions.carry(notification)
        elif notification.method == CANCELLED and notification.cancelled_id is not None:
            self._calls.withdraw(notification.cancelled_id)
