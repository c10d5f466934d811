"""One server shared by several clients: what of theirs becomes what of its, and which of them hears what it says.

The server takes all clients for one.  What a message says itself decides whose it is; what it does not say is told by whose
requests are running; where that can't be told, nobody gets it.

    what a client sends                 what the server gets
    ────────────────────────────────    ──────────────────────────────────────────────────────────────────────
    initialize, …/initialized           one handshake, for all (`handshake`)
    resources/subscribe, …/unsubscribe  the first and the last for each resource (`subscriptions`)
    logging/setLevel                    the level of the most curious client (`logs`)
    tasks/*                             the same, about the client's own tasks (`tasks`)
    any other request                   the same under a number of ours, for its id and its progress token (`flights`)
    notifications/cancelled             the same about that number
    a response, progress                the same, if it is about a question that this client was asked (`questions`)
    roots/list_changed, tasks/status    nothing: neither was declared
    any other notification              the same bytes

    what the server sends               who gets it
    ────────────────────────────────    ──────────────────────────────────────────────────────────────────────
    a response                          whose request it answers
    progress                            whose request, or task, it is about
    what names a subscription           whose `subscriptions/listen` it is (2026-07-28)
    what is related to a task           who has made it
    ping                                nobody: answered here
    any other request                   the only client with requests running, if it can be asked (`questions`)
    notifications/message               the clients with requests running, as far as each wants to hear (`logs`)
    …/list_changed                      all that have made a handshake
    resources/updated                   who has subscribed to it
    elicitation/complete                who was asked to
    tasks/status                        who has made the task
    any other notification              the only client with requests running

Both eras pass, each in its own way; a server is of whichever it shows.  A client that leaves takes along what it had going
on: requests, subscriptions, questions, tasks, its log level.

Not here: tasks of the extension that 2026-07-28 has for them, which pass as any request does: whoever knows a task's id may
ask for it.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from ..errors import ChildError, ParseError, Unavailable, error_response
from ..messages import (
    Message,
    Notification,
    Request,
    RequestId,
    Response,
    parse_error,
    replace_response_id,
)
from ..meta_keys import SUBSCRIPTION_ID
from ..outbox import encode
from ..own_messages import CANCELLED, refusal
from ..resources import RESOURCE_UPDATED, SUBSCRIBE, UNSUBSCRIBE
from ..routing import PROGRESS
from ..splice import splice
from ..translation import Related
from .clients import Client, Outbox, Step
from .flights import MAX_IN_FLIGHT, Flight, Flights
from .handshake import Handshake
from .logs import LOG_MESSAGE, SET_LEVEL, Logs
from .questions import Questions
from .subscriptions import Subscriptions
from .tasks import PREFIX, TASK_STATUS, Tasks, is_related

__all__ = ["Client", "Sharing", "Step"]

_NEVER_PASSED: Final = frozenset(("notifications/initialized", "notifications/roots/list_changed", TASK_STATUS))
"""What a client may say, and the server must not hear: it would be taken to be about all of them."""
_ONLY_ASKED: Final = frozenset(("initialize", SUBSCRIBE, UNSUBSCRIBE, SET_LEVEL))
"""Requests, with those about tasks, that are looked at here.  One without an id is none, and some servers would obey it."""
_LIST_CHANGED: Final = frozenset(f"notifications/{kind}/list_changed" for kind in ("prompts", "resources", "tools"))
_COMPLETE: Final = "notifications/elicitation/complete"
_URL_ELICITATION_REQUIRED: Final = -32042


class Sharing:
    """What one server and its clients have going on, from the server's start to its end.

    Times are seconds on any clock that never goes back.

    Args:
      skipped: counts the messages that are passed on to nobody, by kind.
    """

    def __init__(self, skipped: Counter[str]) -> None:
        self.skipped: Final = skipped
        self._outbox = Outbox()
        self._flights = Flights(self._outbox)
        self._handshake = Handshake(self._outbox, self._flights)
        self._questions = Questions(self._outbox)
        self._subscriptions = Subscriptions(self._outbox, self._flights)
        self._logs = Logs(self._outbox, self._flights)
        self._tasks = Tasks(self._outbox, self._flights)

    @property
    def is_stuck(self) -> bool:
        """Whether the server has been asked to initialize, and has not answered yet."""
        return self._handshake.is_pending

    def join(self) -> Client:
        """Return a new client."""
        client = Client()
        self._outbox.clients[client] = None
        return client

    def leave(self, client: Client, now: float) -> Step:
        """Release all that a client has going on."""
        client.has_left = True
        del self._outbox.clients[client]
        self._handshake.leave(client)
        self._flights.leave(client, now)
        self._questions.leave(client)
        self._tasks.leave(client)
        self._subscriptions.leave(client)
        self._logs.attune()
        return self._outbox.empty()

    # The clients' messages

    def from_client(self, client: Client, message: Message, now: float) -> Step:
        """Take a message of a client's."""
        self._flights.expire(now)
        if isinstance(message, Request):
            self._take_request(client, message)
        elif isinstance(message, Response):
            self._note(self._questions.answer(client, message), "unexpected")
        elif message.method == CANCELLED:
            self._cancel(client, message, now)
        elif message.method == PROGRESS:
            self._note(self._questions.report(client, message), "unexpected")
        elif message.method in _ONLY_ASKED or message.method.startswith(PREFIX):
            self.skipped["unexpected"] += 1
        elif message.method not in _NEVER_PASSED:
            self._outbox.to_server(message.raw)
        return self._outbox.empty()

    def _take_request(self, client: Client, request: Request) -> None:
        # None of these is a method of 2026-07-28, whatever the request says of its era.
        if request.method == "initialize":
            self._handshake.open(client, request)
        elif not self._flights.has_room(client):
            error = Unavailable(f"{MAX_IN_FLIGHT} requests are in flight, the limit")
            self._outbox.to_client(client, error_response(error, request.id))
        elif request.method == SUBSCRIBE:
            self._subscriptions.subscribe(client, request)
        elif request.method == UNSUBSCRIBE:
            self._subscriptions.unsubscribe(client, request)
        elif request.method == SET_LEVEL:
            self._logs.set_level(client, request)
        elif request.method.startswith(PREFIX) and self._handshake.is_agreed:
            self._tasks.request(client, request)
        else:
            self._flights.take_off(client, request)

    def _cancel(self, client: Client, cancelled: Notification, now: float) -> None:
        request_id = cancelled.cancelled_id
        flight = None if request_id is None else self._flights.cancel(client, request_id, now)
        if flight is None:
            self.skipped["unexpected"] += 1
        else:
            self._outbox.to_server(splice(cancelled.raw, {("params", "requestId"): encode(flight.number)}))

    # The server's messages

    def from_server(self, message: Message, now: float) -> Step:
        """Take a message of the server's."""
        self._flights.expire(now)
        if isinstance(message, Response):
            self._take_response(message)
        elif isinstance(message, Request):
            self._take_question(message)
        else:
            self._take_notification(message, now)
        return self._outbox.empty()

    def relate(self, message: Related) -> Step:
        """Take a message that is known to belong to a request."""
        flight = self._flights.find(message.request_id)
        if flight is None or flight.client is None:
            self.skipped["late"] += 1
        else:
            self._outbox.to_client(flight.client, Related(message.raw, flight.request_id))
        return self._outbox.empty()

    def lose_response(self, number: RequestId, error: ChildError, now: float) -> Step:
        """Take note of a response that can't be passed on; its request is answered with `error`."""
        return self.from_server(Response(error_response(error, number), number, is_error=True), now)

    def _take_response(self, response: Response) -> None:
        flight = self._flights.land(response.id)
        if flight is None:
            self.skipped["late"] += 1
            return
        if flight.reader is not None:
            flight.reader(response)
        if flight.client is not None:
            if flight.is_task:
                self._tasks.note(flight, response)
            self._outbox.to_client(flight.client, self._restore(response, flight, flight.client))

    def _restore(self, response: Response, flight: Flight, client: Client) -> bytes:
        """Return a response as its client expects it."""
        try:
            if response.is_error:
                error = parse_error(response)
                if error.get("code") == _URL_ELICITATION_REQUIRED:
                    self._questions.expect_completions(client, error)
            answer = replace_response_id(response, flight.request_id)
            if flight.is_listen and not response.is_error:
                answer = splice(answer, {("result", "_meta", SUBSCRIPTION_ID): encode(flight.request_id)})
        except ParseError as error:
            # A long response is recognised by its ends, and may turn out to be no JSON in between.
            return error_response(ChildError(f"the server's response can't be read: {error}"), flight.request_id)
        return answer

    def _take_question(self, request: Request) -> None:
        if request.method == "ping":
            self._outbox.to_server(refusal(request))
            return
        has_task, task_id = is_related(request)
        owner = self._tasks.find_owner(task_id)
        candidates = self._flights.runners if not has_task else [] if owner is None else [owner]
        self._note(self._questions.ask(request, candidates), "refused")

    def _take_notification(self, notification: Notification, now: float) -> None:
        method, params = notification.method, notification.params
        meta = params.get("_meta")
        has_task, task_id = is_related(notification)
        if method == PROGRESS:
            heard = self._report(notification)
        elif method == CANCELLED:
            heard = self._questions.withdraw(notification) or self._end_listen(notification, now)
        elif type(meta) is dict and SUBSCRIPTION_ID in meta:
            heard = self._deliver_stamped(notification, meta[SUBSCRIPTION_ID])
        elif has_task or method == TASK_STATUS:
            heard = self._deliver(notification, self._tasks.find_owner(task_id if has_task else params.get("taskId")))
        elif method == LOG_MESSAGE:
            heard = self._logs.deliver(notification)
        elif method in _LIST_CHANGED:
            heard = self._announce(notification)
        elif method == RESOURCE_UPDATED:
            heard = self._subscriptions.carry(notification)
        elif method == _COMPLETE:
            heard = self._questions.complete(notification)
        else:
            runners = self._flights.runners
            heard = self._deliver(notification, runners[0] if len(runners) == 1 else None)
        self._note(heard, "unrelated")

    def _report(self, progress: Notification) -> bool:
        number = progress.progress_token
        flight = self._flights.find(number) or self._tasks.find_progress(number)
        if flight is None or flight.client is None or flight.token is None:
            return False
        restored = splice(progress.raw, {("params", "progressToken"): encode(flight.token)})
        self._outbox.to_client(flight.client, restored)
        return True

    def _end_listen(self, cancelled: Notification, now: float) -> bool:
        """Pass on that the server tears a subscription down, which is all that it may cancel (2026-07-28, Cancellation)."""
        flight = self._flights.find(cancelled.cancelled_id)
        if flight is None or flight.client is None or not flight.is_listen:
            return False
        # Its response may still come.
        self._flights.let_linger(flight, now)
        restored = splice(cancelled.raw, {("params", "requestId"): encode(flight.request_id)})
        self._outbox.to_client(flight.client, restored)
        return True

    def _deliver_stamped(self, notification: Notification, number: object) -> bool:
        flight = self._flights.find(number)
        if flight is None or flight.client is None:
            return False
        restored = splice(notification.raw, {("params", "_meta", SUBSCRIPTION_ID): encode(flight.request_id)})
        self._outbox.to_client(flight.client, restored)
        return True

    def _announce(self, notification: Notification) -> bool:
        listeners = [client for client in self._outbox.clients if client.capabilities is not None]
        for client in listeners:
            self._outbox.to_client(client, notification.raw)
        return bool(listeners)

    def _deliver(self, notification: Notification, client: Client | None) -> bool:
        if client is not None:
            self._outbox.to_client(client, notification.raw)
        return client is not None

    def _note(self, was_heard: bool, kind: str) -> None:
        if not was_heard:
            self.skipped[kind] += 1
