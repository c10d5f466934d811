"""All requests that a legacy server works on for modern clients, from the first attempt to the answer.

Each reaches the server once.  Whatever the server sends until it answers belongs to one of them: progress, by its token; a
question or a log message, where there is only one that it can belong to.  A call that asks is parked (`parking`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..envelope import missing_capabilities
from ..errors import (
    ChildError,
    InvalidParams,
    MethodNotFound,
    MissingClientCapability,
    ParseError,
    TrioproxyError,
    error_response,
)
from ..messages import Notification, ProgressToken, Request, RequestId, Response, parse_error
from ..meta_keys import CLIENT_CAPABILITIES, RESERVED
from ..outbox import Outbox, encode
from ..own_messages import cancelled_notification
from ..revisions import MODERN_REVISION
from ..splice import REMOVE, Path, Remove, splice
from .logs import LegacyLogs
from .parking import (
    QUESTIONS,
    ROUND_MEMBERS,
    Call,
    answer_response,
    answers_in,
    fingerprint,
    input_required,
    question_of,
    url_question,
)
from .results import modern_response, url_elicitations


class LegacyCalls:
    """The calls of one server.

    Args:
      new_state, gather_time, park_time: as those of `ModernToLegacy`.

    Attributes:
      server_info: what the server says it is, as JSON; None where it says nothing.
      logs: what it logs meanwhile.
    """

    def __init__(self, outbox: Outbox, new_state: Callable[[], str], gather_time: float, park_time: float) -> None:
        self.server_info: bytes | None = None
        self.logs = LegacyLogs(outbox)
        self._outbox = outbox
        self._new_state = new_state
        self._gather_time = gather_time
        self._park_time = park_time
        # The same calls by the id that the server knows, and by its progress token; those that have a client waiting by the
        # id of its request, the others by state.
        self._calls: dict[RequestId, Call] = {}
        self._by_token: dict[ProgressToken, Call] = {}
        self._attempts: dict[RequestId, Call] = {}
        self._parked: dict[str, Call] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def __contains__(self, request_id: RequestId) -> bool:
        """Whether a request of this id is in flight, to the client or to the server."""
        return request_id in self._calls or request_id in self._attempts

    def holds(self, state: str) -> bool:
        """Whether a call is parked under `state`."""
        return state in self._parked

    @property
    def parked(self) -> int:
        """How many wait for their client to come back."""
        return len(self._parked)

    @property
    def deadline(self) -> float:
        """When a round of questions is complete, or a parked call given up."""
        return min((call.deadline for call in self._calls.values()), default=math.inf)

    # What the client does.

    def send(self, request: Request, log_level: int | None) -> None:
        """Make a call.

        Raises:
          ParseError: its params are nested too deeply.
        """
        line = _without_envelope(request)
        call = self._calls[request.id] = self._attempts[request.id] = Call(request, log_level)
        if call.token is not None:
            self._by_token[call.token] = call
        self.logs.attune(self._attempts.values())
        self._outbox.to_server(line)

    def resume(self, retry: Request, log_level: int | None, now: float) -> None:
        """Let a parked call go on, for the client that comes back to it.

        Raises:
          InvalidParams: with a state that is not that of a call like this, or with answers that are none; nothing has
            happened.
          ChildError: the user has declined what the server insists on.
        """
        state = retry.params["requestState"]
        call = self._parked.get(state) if type(state) is str else None
        if call is None or call.fingerprint != fingerprint(retry):
            raise InvalidParams("Invalid or expired requestState")
        answers = answers_in(retry)
        del self._parked[state]
        self._attempts[retry.id] = call
        call.resume(retry, log_level)
        self.logs.attune(self._attempts.values())
        is_declined = False
        for key in [key for key in call.questions if key in answers]:
            question = call.questions.pop(key)
            if question.id is not None:
                self._outbox.to_server(answer_response(question.id, retry, key))
            else:
                is_declined |= answers[key].get("action") != "accept"
        if call.is_refused:
            self._resume_refused(call, retry, is_declined, now)
        elif call.response is not None:
            self._answer(call, retry, call.response, now)
        elif call.questions:
            self._ask(call, retry, now)

    def _resume_refused(self, call: Call, retry: Request, is_declined: bool, now: float) -> None:
        if is_declined:
            self._forget(call)
            reason = parse_error(call.response).get("message") if call.response else None
            raise ChildError(f"the server refuses the call without what the user has declined: {reason}")
        if call.questions:
            self._ask(call, retry, now)
        else:
            # The one call that is made again: the server has ended it, and wants another.
            self._forget(call)
            self.send(retry, call.log_level)

    def cancel(self, request_id: RequestId, notification: Notification) -> None:
        """Cancel the call whose client waits under `request_id`, if there is one."""
        call = self._attempts.get(request_id)
        if call is None:
            return
        self._forget(call)
        raw = notification.raw
        # Before its questions are answered, so that the server does not go on with the call.
        self._outbox.to_server(raw if call.id == request_id else splice(raw, {("params", "requestId"): encode(call.id)}))
        self._drop_questions(call, ChildError("the client has cancelled the call"))

    # What the server does.

    def take_response(self, response: Response, now: float) -> None:
        """Answer the client, or keep the response until it comes back; that of a cancelled call goes nowhere."""
        call = None if response.id is None else self._calls.get(response.id)
        if call is None or call.response is not None:
            return
        if call.request is None:
            call.response = response
        else:
            self._answer(call, call.request, response, now)

    def take_question(self, request: Request, now: float, request_id: RequestId | None = None) -> None:
        """Have the server's question asked, if it belongs to the call `request_id`, or can only belong to one."""
        calls = [call for call in self._suspects(request_id) if call.may_ask]
        if request.method not in QUESTIONS:
            why = f"{MODERN_REVISION} has no such request of a server"
        elif not calls:
            why = "no call is in flight in which a client could be asked"
        elif len(calls) > 1:
            why = f"{len(calls)} calls are in flight, and nothing says in which of them to ask"
        else:
            (call,) = calls
            call.ask(question_of(request))
            # While it is parked nobody can be asked, and what the client will declare is not known.
            if call.request is not None and not self._fails(call, call.request):
                call.deadline = min(call.deadline, now + self._gather_time)
            return
        self._outbox.to_server(error_response(MethodNotFound(f"{request.method}: {why}"), request.id))

    def withdraw(self, question_id: RequestId) -> None:
        """Forget a question that the server does not want answered any more."""
        any(call.withdraw(question_id) for call in self._calls.values())

    def take_progress(self, notification: Notification) -> None:
        """Pass progress on to the attempt that waits, if it wants to know."""
        token = notification.progress_token
        call = None if token is None else self._by_token.get(token)
        wanted = call.request.progress_token if call is not None and call.request is not None else None
        if wanted is None:
            return
        raw = notification.raw
        self._outbox.to_client(raw if wanted == token else splice(raw, {("params", "progressToken"): encode(wanted)}))

    def take_log(self, notification: Notification, request_id: RequestId | None = None) -> None:
        """Pass a log message on, if it belongs to the call `request_id`, or can only belong to one."""
        self.logs.deliver(notification, self._suspects(request_id))

    # What time does.

    def wake(self, now: float) -> None:
        """Ask what has been gathered, and give up the calls whose clients did not come back."""
        for call in [call for call in self._calls.values() if call.deadline <= now]:
            if call.request is not None:
                self._ask(call, call.request, now)
                continue
            self._forget(call)
            if call.response is None:
                self._outbox.to_server(cancelled_notification(call.id, "the client did not come back with its answers"))
            self._drop_questions(call, ChildError("the client did not answer in time"))

    # What follows from it.

    def _suspects(self, request_id: RequestId | None) -> list[Call]:
        """Return the calls to which a message of the server may belong."""
        if request_id is None:
            return list(self._calls.values())
        return [self._calls[request_id]] if request_id in self._calls else []

    def _answer(self, call: Call, request: Request, response: Response, now: float) -> None:
        """Answer the attempt that waits with the server's response."""
        try:
            elicitations = url_elicitations(response) if call.fingerprint is not None else []
            line = b"" if elicitations else modern_response(response, request, self.server_info)
        except ParseError as error:
            elicitations, line = [], error_response(ChildError(f"the server's response is {error}"), request.id)
        self._drop_questions(call, ChildError("the call has ended"))
        if elicitations:
            call.response, call.is_refused = response, True
            for params, decoded in elicitations:
                call.ask(url_question(params, decoded))
            self._ask(call, request, now)
        else:
            self._forget(call)
            self._outbox.to_client(line)

    def _ask(self, call: Call, request: Request, now: float) -> None:
        """Answer the attempt that waits with all that is asked, and park the call."""
        if self._fails(call, request):
            return
        state = self._new_state()
        self._outbox.to_client(input_required(request.id, call.questions.items(), state, self.server_info))
        del self._attempts[request.id]
        self._parked[state] = call
        call.park(state, now + self._park_time)

    def _fails(self, call: Call, request: Request) -> bool:
        """End a call that asks what its client can't be asked; return whether it does.

        "If processing a request requires a capability the client did not include […], the server MUST return a
        MissingRequiredClientCapabilityError" (Basic §`_meta`).
        """
        missing = missing_capabilities(call.input_requests, _capabilities(request))
        if not missing:
            return False
        names = ", ".join(f"{name} ({', '.join(parts)})" if parts else name for name, parts in missing.items())
        why = f"{request.method}: the server asks what takes a client that declares {names}"
        self._forget(call)
        if not call.is_refused:
            self._outbox.to_server(cancelled_notification(call.id, why))
        self._drop_questions(call, MethodNotFound(why))
        error = MissingClientCapability(why, data={"requiredCapabilities": missing})
        self._outbox.to_client(error_response(error, request.id))
        return True

    def _drop_questions(self, call: Call, error: TrioproxyError) -> None:
        for question in call.questions.values():
            if question.id is not None:
                self._outbox.to_server(error_response(error, question.id))
        call.questions.clear()

    def _forget(self, call: Call) -> None:
        del self._calls[call.id]
        if call.request is not None:
            del self._attempts[call.request.id]
        if call.state is not None:
            del self._parked[call.state]
        if call.token is not None and self._by_token.get(call.token) is call:
            del self._by_token[call.token]


def _capabilities(request: Request) -> dict[str, Any]:
    meta = request.params.get("_meta")
    capabilities = meta.get(CLIENT_CAPABILITIES) if type(meta) is dict else None
    return capabilities if type(capabilities) is dict else {}


def _without_envelope(request: Request) -> bytes:
    """Return the request as a client of the old era would have made it.

    Trace context, the progress token, and what is of other people's making in `_meta` stay.
    """
    meta = request.params.get("_meta")
    names = list(meta) if type(meta) is dict else []
    reserved = [name for name in names if name.startswith(RESERVED)]
    edits: dict[Path, bytes | Remove] = {("params", name): REMOVE for name in ROUND_MEMBERS & request.params.keys()}
    if reserved and len(reserved) == len(names):
        edits["params", "_meta"] = REMOVE
    else:
        edits |= {("params", "_meta", name): REMOVE for name in reserved}
    return splice(request.raw, edits) if edits else request.raw
