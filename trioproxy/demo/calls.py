"""One request on its way to an answer.

A handler that need not wait returns its result.  One that waits is a generator: it yields what it waits for, a number
of seconds or a `Question` to the client, and is resumed when the time has passed or the answer has come.  So one thread
serves many calls without a lock, and to cancel a call is to close its generator.

`Call.ask` is where the eras differ in kind.  A legacy server sends its client a request and waits.  A modern one must
not ("The server MUST NOT write JSON-RPC requests to stdout", 2026-07-28, stdio): its result says which input is
required, and the client calls again with the answers (Multi Round-Trip Requests).  A tool knows nothing of this: it is
run again from the start, and what was answered before is answered at once.  It follows that a tool asks before it does
anything that must not happen twice.
"""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any, TypeVar

    Json = dict[str, Any]
    RequestId = str | int
    T = TypeVar("T")
    Steps = Generator["float | Question", Json, T]

LEGACY_REVISIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
MODERN_REVISION = "2026-07-28"

# What a handler yields that waits for no time, but for a message.
FOREVER = float("inf")

LOG_LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
LEGACY_RESOURCE_NOT_FOUND = -32002
MISSING_REQUIRED_CLIENT_CAPABILITY = -32021
UNSUPPORTED_PROTOCOL_VERSION = -32022

# What a client must have declared before it may be asked.
CAPABILITY_TO_ASK = {
    "elicitation/create": "elicitation",
    "sampling/createMessage": "sampling",
    "roots/list": "roots",
}


class ProtocolError(Exception):
    """The request can't be served; it is answered with a JSON-RPC error."""

    def __init__(self, code: int, message: str, data: Json | None = None) -> None:
        super().__init__(message)
        self.error: Json = {"code": code, "message": message} | ({} if data is None else {"data": data})


class EarlyResult(Exception):
    """Ends a call with `result` from however deep inside its handler."""

    def __init__(self, result: Json) -> None:
        super().__init__(result)
        self.result = result


class Question:
    """A request of ours to the client; the handler that yields one is resumed with its result."""

    def __init__(self, method: str, params: Json) -> None:
        self.method = method
        self.params = params


class Call:
    """A request, what is known about the client that made it, and how far its handler has come.

    Args:
      send: takes each message that belongs to this call.
    """

    def __init__(self, request_id: RequestId, method: str, params: Json, send: Callable[[Json], None]) -> None:
        self.request_id = request_id
        self.method = method
        self.params = params
        self.meta: Json = params.get("_meta", {})
        self.send = send
        # Filled in from the envelope of a modern request, from the session of a legacy one.
        self.revision = ""
        self.capabilities: Json = {}
        self.log_level: str | None = None
        # Where the handler stands.
        self.steps: Steps[Json] | None = None
        self.due = FOREVER
        self.question_id: int | None = None
        # What a modern client's attempts have brought so far, and how much of it this attempt has asked for.
        self.answers: list[Json] = []
        self.asked = 0

    @property
    def is_modern(self) -> bool:
        return self.revision == MODERN_REVISION

    def text_param(self, name: str) -> str:
        """Return the string `params[name]`.

        Raises:
          ProtocolError: it is missing, or something else.
        """
        value = self.params.get(name)
        if not isinstance(value, str):
            raise ProtocolError(INVALID_PARAMS, f"params.{name} must be a string")
        return value

    def object_param(self, name: str) -> Json:
        """Return the object `params[name]`, or an empty one where there is none.

        Raises:
          ProtocolError: it is something else.
        """
        value = self.params.get(name, {})
        if not isinstance(value, dict):
            raise ProtocolError(INVALID_PARAMS, f"params.{name} must be an object")
        return value

    def report_progress(self, progress: int, total: int, message: str) -> None:
        """Tell how far we are, if the client asked to be told by handing in a progress token."""
        token = self.meta.get("progressToken")
        if isinstance(token, str | int):
            params = {"progressToken": token, "progress": progress, "total": total, "message": message}
            self.send({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})

    def log(self, level: str, data: str) -> None:
        """Send a log message, unless the client wants none (no level) or none so trifling."""
        if self.log_level is not None and LOG_LEVELS.index(level) >= LOG_LEVELS.index(self.log_level):
            params = {"level": level, "logger": "demo", "data": data}
            self.send({"jsonrpc": "2.0", "method": "notifications/message", "params": params})

    def ask(self, method: str, params: Json) -> Steps[Json]:
        """Ask the client, and return its result.

        Raises:
          ProtocolError, EarlyResult: the client has not declared that it may be asked.
          EarlyResult: the client is modern, and has to call again with the answer.
        """
        self.require_capability(CAPABILITY_TO_ASK[method])
        if not self.is_modern:
            return (yield Question(method, params))
        self.asked += 1
        if self.asked <= len(self.answers):
            return self.answers[self.asked - 1]
        raise EarlyResult(
            {
                "resultType": "input_required",
                "inputRequests": {f"question-{self.asked}": {"method": method, "params": params}},
                "requestState": json.dumps({"of": self.salient_params(), "answers": self.answers}),
            }
        )

    def require_capability(self, capability: str) -> None:
        declared = self.capabilities.get(capability)
        # Elicitation has modes since 2025-11-25, and we use forms.  "An empty capabilities object is equivalent to
        # declaring support for `form` mode only."
        only_by_url = capability == "elicitation" and isinstance(declared, dict) and declared and "form" not in declared
        if isinstance(declared, dict) and not only_by_url:
            return
        message = f"This needs a client with the {capability} capability"
        if self.is_modern:
            data: Json = {"requiredCapabilities": {capability: {}}}
            raise ProtocolError(MISSING_REQUIRED_CLIENT_CAPABILITY, message, data)
        raise failure(message)

    def recall_answers(self) -> None:
        """Read what a modern client's retry brings: the new answer, and in `requestState` those before it.

        The state needs no signature: it holds only what this client has said, so that tampering with it achieves
        no more than giving other answers would.

        Raises:
          ProtocolError: the state is not one of ours, or belongs to another call.
        """
        if "requestState" in self.params:
            try:
                state = json.loads(self.text_param("requestState"))
            except (ValueError, RecursionError):
                state = None
            match state:
                case {"of": of, "answers": [*answers]} if of == self.salient_params() and all_objects(answers):
                    self.answers = answers
                case _:
                    raise ProtocolError(INVALID_PARAMS, "This requestState belongs to no such call")
        # A missing answer is no error: "the server SHOULD respond with a new InputRequiredResult".
        answer = self.object_param("inputResponses").get(f"question-{len(self.answers) + 1}")
        if isinstance(answer, dict):
            self.answers.append(answer)

    def salient_params(self) -> list[Any]:
        """What a retry must repeat."""
        return [self.params.get("name"), self.params.get("arguments")]


def all_objects(values: list[Any]) -> bool:
    return all(isinstance(value, dict) for value in values)


def text_result(text: str, **more: Any) -> Json:
    """Return the result of a tool that has one text to say."""
    return {"content": [{"type": "text", "text": text}], **more}


def failure(message: str) -> EarlyResult:
    """Return what a tool raises to say that it failed, in words that a model can act on."""
    return EarlyResult(text_result(message, isError=True))
