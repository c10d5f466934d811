"""What a modern server wants to know before it answers, asked in the way of a legacy server.

2026-07-28, Multi Round-Trip Requests: a server that needs something of its client ends the call with an InputRequiredResult,
and the client makes the call again, with what was asked for.  Until 2025-11-25 the server sends the client a request of its
own while the call goes on.  So each of the `inputRequests` becomes such a request, all of one round at a time; when all are
answered, the answers become the `inputResponses` of the next attempt.

Not here: the attempts themselves, and what becomes of a call whose questions can't be asked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from ..envelope import missing_capabilities
from ..messages import RequestId
from ..splice import REMOVE, cut_out, splice
from ..translation import Related
from .introduction import MODES_REVISION, Edits, Introduction
from .results import name_capabilities
from .tools import sampling_edits

_ELICITATION: Final = "elicitation/create"
_SAMPLING: Final = "sampling/createMessage"
_KINDS: Final = frozenset({_ELICITATION, _SAMPLING, "roots/list"})


def find_hindrance(input_requests: Mapping[str, Any], introduction: Introduction) -> str | None:
    """Return why the client can't be asked all this, in words, or None where it can.

    A server "MUST NOT send an inputRequests that the client has not declared support for" (Multi Round-Trip Requests §Server
    Requirements); some send it all the same, and none knows what the client's revision has.
    """
    for request in input_requests.values():
        method = request.get("method") if type(request) is dict else None
        if type(method) is not str or method not in _KINDS:
            return f"the server asks its client for {json.dumps(method)}; there are {', '.join(sorted(_KINDS))}"
    missing = missing_capabilities(input_requests, introduction.capabilities)
    if not missing:
        return None
    return (
        "the server asks its client for what that has not declared, or revision "
        f"{introduction.revision} does not have: {name_capabilities(missing)}"
    )


class Round:
    """The questions of one round, and the answers that have come.

    Attributes:
      messages: the questions, to be sent to the client.
    """

    def __init__(self, messages: tuple[Related, ...], keys: dict[RequestId, str]) -> None:
        self.messages = messages
        self._keys = keys
        self._answers: dict[RequestId, bytes] = {}

    @property
    def open_ids(self) -> tuple[RequestId, ...]:
        """The ids of the questions that are not answered yet."""
        return tuple(question_id for question_id in self._keys if question_id not in self._answers)

    def take_answer(self, question_id: RequestId, result: bytes) -> None:
        """Keep the client's answer: the `result` of its response, as JSON."""
        self._answers[question_id] = result

    def give_up(self, question_id: RequestId) -> None:
        """Note that the client won't answer."""
        del self._keys[question_id]

    def input_responses(self) -> bytes:
        """Return all answers as `inputResponses`, under the keys of their questions: "the same key must appear here"."""
        answers = (json.dumps(key).encode() + b":" + self._answers[number] for number, key in self._keys.items())
        return b"{" + b",".join(answers) + b"}"


def ask(
    raw: bytes,
    input_requests: Mapping[str, Any],
    request_id: RequestId,
    introduction: Introduction,
    new_request_id: Callable[[], str],
    new_elicitation_id: Callable[[], str],
) -> Round:
    """Return the round that asks the client all of `input_requests`.

    Args:
      raw: the `inputRequests`, as JSON.
      input_requests: the same, decoded; there is no hindrance.
      request_id: which request of the client it is about.
    """
    messages = []
    keys: dict[RequestId, str] = {}
    for key, request in input_requests.items():
        question_id = new_request_id()
        keys[question_id] = key
        question = cut_out(raw, (key,)) or b"{}"
        edits: Edits = {("jsonrpc",): b'"2.0"', ("id",): json.dumps(question_id).encode()}
        params = request.get("params")
        if request["method"] == _SAMPLING and type(params) is dict:
            edits.update(sampling_edits(question, ("params",), params))
        elif request["method"] == _ELICITATION and type(params) is dict:
            if params.get("mode") == "url":
                # "elicitationId: a unique identifier for the elicitation" (2025-11-25, Elicitation §URL Mode); gone since.
                edits["params", "elicitationId"] = json.dumps(new_elicitation_id()).encode()
            elif introduction.revision < MODES_REVISION:
                edits["params", "mode"] = REMOVE
        messages.append(Related(splice(question, edits), request_id))
    return Round(tuple(messages), keys)
