"""The calls of a legacy client, each of which may take a modern server several attempts.

2026-07-28, Multi Round-Trip Requests: the server may answer a call with `input_required`, which ends the attempt, and not
the call.  Where it asks for input, the client is asked (`questions`); where it only hands out a `requestState`, some time
passes.  Then the same call is made again, with what was asked for.  The client sees one request and one response.

A call that can't go on (a question that this client can't be asked, or answers with an error; too many rounds) ends.  Where
it calls a tool, that is a result that the model gets to read; else it is an error.

Not here: how long a call may take.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, Final

from ..errors import ChildError, InvalidRequest, ParseError, error_response
from ..messages import Notification, Request, RequestId, Response
from ..own_messages import cancelled_notification
from ..splice import cut_out, splice
from ..translation import Related, Step
from .introduction import Edits, Introduction
from .questions import Round, ask, find_hindrance
from .results import ResultShaper, describe, encode_id, legacy_error

OWN_PREFIX: Final = "trioproxy:"
"""What the ids of our own requests begin with."""
_ASKING: Final = frozenset({"tools/call", "prompts/get", "resources/read"})
"""The only requests that may be answered with `input_required` (Multi Round-Trip Requests §Supported Requests)."""
_MOST_ROUNDS: Final = 10
"""As many as the SDKs' clients of the modern era go along with."""
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 0.25


class _Call:
    """A request of the client that the server has not answered for good.

    Attributes:
      raw: what the server gets, under the client's own id.
      introduction: who the client was when it made the call.
      attempt_id: the id of the attempt that is under way; None while the client is asked, or nothing is.
      state: the server's `requestState`, as JSON.
      retry_at: when the next attempt is due that waits for nothing but time.
    """

    __slots__ = ("attempt_id", "introduction", "pause", "raw", "request", "retry_at", "round", "rounds", "state")

    def __init__(self, request: Request, introduction: Introduction, raw: bytes) -> None:
        self.request = request
        self.introduction = introduction
        self.raw = raw
        self.attempt_id: RequestId | None = request.id
        self.rounds = 0
        self.round: Round | None = None
        self.state: bytes | None = None
        self.pause = _FIRST_PAUSE
        self.retry_at = math.inf


class Calls:
    """The calls of one client that the server has not answered for good.

    Args:
      new_request_id: returns an id for a request of our own, to either side.
      new_elicitation_id: returns a string that nobody can guess.
    """

    def __init__(self, new_request_id: Callable[[], str], new_elicitation_id: Callable[[], str]) -> None:
        self._new_request_id = new_request_id
        self._new_elicitation_id = new_elicitation_id
        self._shaper = ResultShaper()
        # The same calls by the client's id, by that of their attempt, by those of their questions; and those that pause.
        self._calls: dict[RequestId, _Call] = {}
        self._attempts: dict[RequestId, _Call] = {}
        self._questions: dict[RequestId, _Call] = {}
        self._pausing: set[_Call] = set()

    @property
    def deadline(self) -> float:
        """When `wake` is to be called next."""
        return min((call.retry_at for call in self._pausing), default=math.inf)

    def awaits(self, response: Response) -> bool:
        """Return whether that is a server's response to an attempt that is under way."""
        return response.id in self._attempts

    def find_request(self, attempt_id: RequestId) -> RequestId | None:
        """Return the id of the client's request that an attempt under way is about."""
        call = self._attempts.get(attempt_id)
        return None if call is None else call.request.id

    def make(self, request: Request, introduction: Introduction, log_level: str | None) -> Step:
        """Make a call for the first time, under the client's own id.

        Where that looks like one of ours, since the client is a proxy like us, it gets another: the server must not see two
        requests with one id.
        """
        if request.id in self._calls:
            error = InvalidRequest(f"request id {json.dumps(request.id)} is that of another request in flight")
            return Step(to_client=(error_response(error, request.id),))
        call = _Call(request, introduction, splice(request.raw, introduction.edits(log_level)))
        self._calls[request.id] = call
        if type(request.id) is str and request.id.startswith(OWN_PREFIX):
            return self._attempt(call)
        self._attempts[request.id] = call
        return Step(to_server=(call.raw,))

    def cancel(self, notification: Notification, request_id: RequestId) -> Step:
        """Take the client's `notifications/cancelled` of a request; one that is no call of ours is ignored."""
        call = self._calls.get(request_id)
        if call is None:
            return Step()
        attempt_id = call.attempt_id
        withdrawals = self._forget(call)
        if attempt_id is None:
            return Step(to_client=withdrawals)
        return Step(withdrawals, (splice(notification.raw, {("params", "requestId"): encode_id(attempt_id)}),))

    def wake(self, now: float) -> Step:
        """Make the attempts that are due."""
        due = sorted((call for call in self._pausing if call.retry_at <= now), key=lambda call: call.retry_at)
        return Step(to_server=tuple(message for call in due for message in self._retry(call).to_server))

    def take_answer(self, response: Response) -> Step:
        """Take the client's response; one to no question of ours is ignored."""
        call = self._questions.pop(response.id, None) if response.id is not None else None
        if call is None or call.round is None or response.id is None:
            return Step()
        result = None if response.is_error else _find_result(response)
        if result is None:
            call.round.give_up(response.id)
            return self._give_up(call, f"the client refuses what the server asks for: {describe(response)}")
        call.round.take_answer(response.id, result)
        return Step() if call.round.open_ids else self._retry(call)

    def conclude(self, response: Response, result: Any, now: float) -> Step:
        """Take the server's response to an attempt.

        Args:
          result: the response's, decoded; None where it is an error.
        """
        if response.id is None:
            return Step()
        call = self._attempts.pop(response.id)
        call.attempt_id = None
        if response.is_error:
            self._forget(call)
            return Step(to_client=(legacy_error(response, call.request),))
        if type(result) is not dict:
            return self._fail(call, f"the server's result is no object: {json.dumps(result)[:40]}")
        # "clients MUST treat an absent resultType as complete", and any that they don't know as invalid (Basic §ResultType).
        kind = result.get("resultType", "complete")
        if kind == "complete":
            self._forget(call)
            return Step(to_client=(self._shaper.shape(response, result, call.request),))
        if kind == "input_required" and call.request.method in _ASKING:
            return self._begin_round(call, response, result, now)
        return self._fail(call, f"the server answers {call.request.method} with resultType {json.dumps(kind)[:40]}")

    def _begin_round(self, call: _Call, response: Response, result: dict[str, Any], now: float) -> Step:
        requests = result.get("inputRequests")
        has_state = result.get("requestState") is not None
        if type(requests) not in (dict, type(None)) or (requests is None and not has_state):
            # "Servers MUST include at least one of inputRequests or requestState" (§Server Requirements).
            return self._fail(call, "the server's input_required has neither inputRequests nor requestState")
        call.rounds += 1
        if call.rounds > _MOST_ROUNDS:
            return self._give_up(call, f"the server asks for input a {call.rounds}th time; {_MOST_ROUNDS} are allowed")
        call.state = cut_out(response.raw, ("result", "requestState")) if has_state else None
        call.round = None
        if not requests:
            # "the client MAY retry the original request immediately"; a server that needs time gets some.
            call.retry_at = now + call.pause
            call.pause = min(2 * call.pause, _LONGEST_PAUSE)
            self._pausing.add(call)
            return Step()
        hindrance = find_hindrance(requests, call.introduction)
        if hindrance is not None:
            return self._give_up(call, hindrance)
        call.pause = _FIRST_PAUSE
        raw = cut_out(response.raw, ("result", "inputRequests")) or b"{}"
        call.round = ask(raw, requests, call.request.id, call.introduction, self._new_request_id, self._new_elicitation_id)
        self._questions.update(dict.fromkeys(call.round.open_ids, call))
        return Step(to_client=call.round.messages)

    def _retry(self, call: _Call) -> Step:
        """Make a call again: "The JSON-RPC id MUST be different" (§Client Requirements), all else is as it was."""
        self._pausing.discard(call)
        call.retry_at = math.inf
        return self._attempt(call)

    def _attempt(self, call: _Call) -> Step:
        call.attempt_id = self._new_request_id()
        self._attempts[call.attempt_id] = call
        edits: Edits = {("id",): encode_id(call.attempt_id)}
        if call.round is not None:
            edits["params", "inputResponses"] = call.round.input_responses()
        if call.state is not None:
            edits["params", "requestState"] = call.state
        return Step(to_server=(splice(call.raw, edits),))

    def _fail(self, call: _Call, reason: str) -> Step:
        """End a call with an error: the server has broken a rule."""
        return Step((*self._forget(call), error_response(ChildError(reason), call.request.id)))

    def _give_up(self, call: _Call, reason: str) -> Step:
        """End a call that lacks input: a model that has called a tool is told why, anybody else gets an error."""
        if call.request.method != "tools/call":
            return self._fail(call, reason)
        result = {"content": [{"type": "text", "text": reason}], "isError": True}
        message = {"jsonrpc": "2.0", "id": call.request.id, "result": result}
        return Step((*self._forget(call), json.dumps(message, separators=(",", ":")).encode()))

    def _forget(self, call: _Call) -> tuple[Related, ...]:
        """Take a call out of everything, and return what withdraws its questions from the client."""
        del self._calls[call.request.id]
        if call.attempt_id is not None:
            del self._attempts[call.attempt_id]
        self._pausing.discard(call)
        open_ids = call.round.open_ids if call.round else ()
        for question_id in open_ids:
            self._questions.pop(question_id, None)
        return tuple(Related(cancelled_notification(number, "the call has ended"), call.request.id) for number in open_ids)


def _find_result(response: Response) -> bytes | None:
    try:
        return cut_out(response.raw, ("result",))
    except ParseError:
        return None
