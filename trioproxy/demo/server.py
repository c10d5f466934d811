"""Messages: lines from the client in, messages for the client out, and every call in flight on its way between.

A `Server` is driven by `__main__` or by a test, which hand it each line and the time, and write what it returns; there
is no pipe here, and no clock.
"""

from __future__ import annotations

import json
import sys

from .calls import (
    FOREVER,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    PARSE_ERROR,
    Call,
    ProtocolError,
    Question,
    failure,
)
from .methods import Methods

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeGuard

    from .calls import Json, RequestId


class Server:
    """One process's worth of server: the calls in flight of both eras."""

    def __init__(self) -> None:
        self.now = 0.0
        self.outbox: list[Json] = []
        self.methods = Methods(self.outbox.append)
        self.calls: dict[RequestId, Call] = {}
        # Those of our questions to a legacy client that it hasn't answered yet.
        self.questions: dict[int, Call] = {}
        self.questions_sent = 0

    # What the driver calls.

    def receive(self, line: bytes, now: float) -> list[Json]:
        """Take one line from the client, and return the messages to send.

        Args:
          now: seconds on any clock that never goes back.
        """
        self.now = now
        try:
            message = json.loads(line.decode())
        except (ValueError, RecursionError) as error:
            self.send_error(None, PARSE_ERROR, f"Not JSON: {error}")
        else:
            if isinstance(message, list) and message and self.methods.revision == "2025-03-26":
                # The only revision with batches.  Each member is answered on a line of its own: JSON-RPC 2.0 §6 only
                # recommends to gather the answers in an array, and this way the quick don't wait for the slow.
                for member in message:
                    self.sort(member)
            else:
                self.sort(message)
        return self.take_outbox()

    def wake(self, now: float) -> list[Json]:
        """Let every call go on that has waited long enough, and return the messages to send."""
        self.now = now
        for call in sorted(self.calls.values(), key=lambda call: call.due):
            if call.due <= now:
                self.advance(call)
        return self.take_outbox()

    def seconds_to_wait(self, now: float) -> float | None:
        """Return how long until `wake` has something to do, or None if nothing waits for a time."""
        due = min((call.due for call in self.calls.values()), default=FOREVER)
        return None if due == FOREVER else max(0.0, due - now)

    def take_outbox(self) -> list[Json]:
        # Emptied in place: every call holds on to this very list.
        messages = self.outbox[:]
        self.outbox.clear()
        return messages

    # Each message is a request, a notification or a response.

    def sort(self, message: Any) -> None:
        match message:
            case {"jsonrpc": "2.0", "method": str(method), "id": request_id} if is_request_id(request_id):
                self.begin(request_id, method, message.get("params", {}))
            case {"jsonrpc": "2.0", "method": str(method)} if "id" not in message:
                # `initialized`, `progress` and `roots/list_changed` oblige us to nothing.
                if method == "notifications/cancelled":
                    self.cancel(message.get("params"))
            case {"jsonrpc": "2.0", "id": question_id} if "result" in message or "error" in message:
                self.take_answer(question_id, message)
            case {"id": request_id} if is_request_id(request_id):
                self.send_error(request_id, INVALID_REQUEST, "Not a JSON-RPC 2.0 message")
            case _:
                self.send_error(None, INVALID_REQUEST, "Not a JSON-RPC 2.0 message")

    def begin(self, request_id: RequestId, method: str, params: Any) -> None:
        if request_id in self.calls:
            self.send_error(request_id, INVALID_REQUEST, "A request with this id is still in flight")
        elif not isinstance(params, dict) or not isinstance(params.get("_meta", {}), dict):
            self.send_error(request_id, INVALID_PARAMS, "params and params._meta must be objects")
        else:
            call = Call(request_id, method, params, self.outbox.append)
            call.steps = self.methods.serve(call)
            self.calls[request_id] = call
            self.advance(call)

    def cancel(self, params: Any) -> None:
        """End a call without an answer; what isn't in flight (any more) "MAY be ignored"."""
        match params:
            case {"requestId": request_id} if is_request_id(request_id) and request_id in self.calls:
                call = self.calls.pop(request_id)
                if call.question_id is not None:
                    # Nobody will want the answer.
                    del self.questions[call.question_id]
                    self.methods.notify("notifications/cancelled", {"requestId": call.question_id})
                if call.steps is not None:
                    call.steps.close()

    def take_answer(self, question_id: object, response: Json) -> None:
        """Resume the call whose question is answered; an answer to anything else comes too late."""
        if not isinstance(question_id, int) or question_id not in self.questions:
            return
        call = self.questions.pop(question_id)
        call.question_id = None
        match response:
            case {"result": {} as result}:
                self.advance(call, result)
            case {"error": {"message": str(message)}}:
                self.advance(call, failure(f"The client could not answer: {message}"))
            case _:
                self.advance(call, failure("The client's answer has neither result nor error."))

    # A call goes from one wait to the next until it is answered.

    def advance(self, call: Call, answer: Json | Exception | None = None) -> None:
        """Run a call's handler up to its next wait, or to its end.

        This is the boundary at which one call may fail without the others.
        """
        assert call.steps is not None
        try:
            if isinstance(answer, Exception):
                step = call.steps.throw(answer)
            elif answer is not None:
                step = call.steps.send(answer)
            else:
                step = next(call.steps)
        except StopIteration as end:
            del self.calls[call.request_id]
            self.outbox.append({"jsonrpc": "2.0", "id": call.request_id, "result": end.value})
        except ProtocolError as refusal:
            del self.calls[call.request_id]
            self.outbox.append({"jsonrpc": "2.0", "id": call.request_id, "error": refusal.error})
        except Exception as error:
            sys.excepthook(type(error), error, error.__traceback__)
            del self.calls[call.request_id]
            self.send_error(call.request_id, INTERNAL_ERROR, "Internal error")
        else:
            if isinstance(step, Question):
                self.questions_sent += 1
                call.due, call.question_id = FOREVER, self.questions_sent
                self.questions[call.question_id] = call
                question = {"jsonrpc": "2.0", "id": call.question_id, "method": step.method, "params": step.params}
                self.outbox.append(question)
            else:
                call.due = self.now + step

    def send_error(self, request_id: RequestId | None, code: int, message: str) -> None:
        self.outbox.append({"jsonrpc": "2.0", "id": request_id, "error": {"code": code, "message": message}})


def is_request_id(value: object) -> TypeGuard[RequestId]:
    # To Python True equals 1, and would name the same request.
    return isinstance(value, str | int) and not isinstance(value, bool)
