"""Calls that wait for their client, parked while it thinks (2026-07-28, Multi Round-Trip Requests).

A legacy server asks its client in the middle of a call, and the call goes on when it has been answered.  A modern server
answers the call: "input required".  The client finds out what is asked, and makes its request again, with the answers.  So
a legacy server's call is parked in between.  It runs on in the server, which knows nothing of this, and is never made
twice; what the client makes is an attempt at the same call.

         attempt            input required               retry                              result
      ─────▶ running ──────────────▶ parked ──────────────▶ running ──── …  ─────▶ running ────────▶
             │   ▲ question            │ question: for the next round
             ▼   │ gathering more      │ response: kept for the retry

`requestState` is the ticket of a parked call: it says nothing, can't be guessed, is good for this call only, and only once.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from ..errors import InvalidParams, ParseError
from ..messages import Request, RequestId, Response
from ..outbox import encode
from ..splice import REMOVE, Path, Remove, cut_out, splice
from .results import own_meta

QUESTIONS: Final = frozenset({"elicitation/create", "roots/list", "sampling/createMessage"})
"""What a server may ask."""
ASKING_METHODS: Final = frozenset({"prompts/get", "resources/read", "tools/call"})
"""In the course of what it may ask: "Servers MUST NOT send InputRequiredResult responses on any other client requests"."""

ROUND_MEMBERS: Final = frozenset({"inputResponses", "requestState"})
"""The params by which a retry differs from the first attempt."""

_OLD_MEMBERS: Final = ("elicitationId", "task")
"""Params of questions that the modern era does not have."""


class Question(NamedTuple):
    """Something that the server asks in the course of a call.

    Attributes:
      id: of the server's request; None where it asked by an error, and waits for no response.
      raw: as a member of `inputRequests`.
      value: the same decoded, or near enough to tell which capabilities it needs.
    """

    id: RequestId | None
    raw: bytes
    value: dict[str, Any]


def question_of(request: Request) -> Question:
    """Return what the server asks with `request`, all that the modern era knows of it as it was written.

    Progress on a question is nothing that a modern client could report.
    """
    value = {"method": request.method, "params": request.params}
    params = cut_out(request.raw, ("params",)) if request.params else None
    if params is None:
        return Question(request.id, b'{"method":%b}' % encode(request.method), value)
    edits: dict[Path, bytes | Remove] = {(name,): REMOVE for name in _OLD_MEMBERS if name in request.params}
    meta = request.params.get("_meta")
    if type(meta) is dict and "progressToken" in meta:
        edits[("_meta",) if len(meta) == 1 else ("_meta", "progressToken")] = REMOVE
    return _question(request.id, request.method, splice(params, edits) if edits else params, value)


def url_question(params: bytes, decoded: dict[str, Any]) -> Question:
    """Return the question that is an entry of a URLElicitationRequiredError."""
    value = {"method": "elicitation/create", "params": decoded}
    return _question(None, "elicitation/create", splice(params, {(name,): REMOVE for name in _OLD_MEMBERS}), value)


def _question(request_id: RequestId | None, method: str, params: bytes, value: dict[str, Any]) -> Question:
    return Question(request_id, b'{"method":%b,"params":%b}' % (encode(method), params), value)


class Call:
    """A request of a client that the server works on, through all attempts at it.

    Attributes:
      id: that of the first attempt, by which the server knows the call.
      request: the attempt that waits for the answer; None while the call is parked.
      token: the progress token that the server knows.
      fingerprint: what every attempt has in common; None where there can't be another.
      questions: those without an answer yet, by the key that they have in `inputRequests`.
      response: the server's, which ended the call before the client had come back.
      is_refused: the server has ended the call, and is to get it anew once the questions are answered.
      state: by which a retry is known; None unless parked.
      deadline: until when more questions are gathered, or, while parked, until when the client may come back.
    """

    __slots__ = (
        "_asked",
        "deadline",
        "fingerprint",
        "id",
        "is_refused",
        "log_level",
        "questions",
        "request",
        "response",
        "state",
        "token",
    )

    def __init__(self, request: Request, log_level: int | None) -> None:
        self.id = request.id
        self.request: Request | None = request
        self.token = request.progress_token
        self.fingerprint = fingerprint(request) if request.method in ASKING_METHODS else None
        self.log_level = log_level
        self.questions: dict[str, Question] = {}
        self.response: Response | None = None
        self.is_refused = False
        self.state: str | None = None
        self.deadline = math.inf
        self._asked = 0

    @property
    def may_ask(self) -> bool:
        """Whether a question that the server asks now can be about this call."""
        return self.fingerprint is not None and self.response is None

    @property
    def input_requests(self) -> dict[str, Any]:
        """What is asked, decoded."""
        return {key: question.value for key, question in self.questions.items()}

    def ask(self, question: Question) -> None:
        """Add a question, under a key that no other has had."""
        self._asked += 1
        self.questions[f"input-{self._asked}"] = question

    def withdraw(self, request_id: RequestId) -> bool:
        """Forget a question that the server has cancelled; return whether there was one."""
        key = next((key for key, question in self.questions.items() if question.id == request_id), None)
        if key is None:
            return False
        del self.questions[key]
        if not self.questions and self.request is not None:
            self.deadline = math.inf
        return True

    def park(self, state: str, deadline: float) -> None:
        """Note that the client has been asked, and who may come back until when."""
        self.request, self.state, self.deadline = None, state, deadline

    def resume(self, request: Request, log_level: int | None) -> None:
        """Note that the client has come back."""
        self.request, self.state, self.deadline = request, None, math.inf
        self.log_level = log_level


def fingerprint(request: Request) -> bytes:
    """Return a digest of what a retry has in common with the first attempt: all but `_meta`, the answers and the state.

    Raises:
      ParseError: the params are nested too deeply.
    """
    params = {name: value for name, value in request.params.items() if name not in ROUND_MEMBERS and name != "_meta"}
    try:
        return hashlib.sha256(json.dumps([request.method, params], sort_keys=True).encode()).digest()
    except RecursionError:
        raise ParseError("JSON nested too deeply") from None


def answers_in(request: Request) -> Mapping[str, dict[str, Any]]:
    """Return what the client answers, by key.

    Raises:
      InvalidParams: it is nothing that could be passed on (§Error Handling).
    """
    answers = request.params.get("inputResponses", {})
    if type(answers) is not dict or any(type(answer) is not dict for answer in answers.values()):
        raise InvalidParams("inputResponses is an object of objects; this is not")
    return answers


def answer_response(question_id: RequestId, retry: Request, key: str) -> bytes:
    """Return the client's answer as the response that the server waits for, in the client's own bytes."""
    answer = cut_out(retry.raw, ("params", "inputResponses", key)) or b"{}"
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (encode(question_id), answer)


def input_required(
    request_id: RequestId, questions: Iterable[tuple[str, Question]], state: str, server_info: bytes | None
) -> bytes:
    """Return the response that asks the client (§InputRequiredResult)."""
    asked = b",".join(b"%b:%b" % (encode(key), question.raw) for key, question in questions)
    members = [
        b'"resultType":"input_required"',
        b'"inputRequests":{%b}' % asked,
        b'"requestState":' + encode(state),
        *own_meta(server_info),
    ]
    return b'{"jsonrpc":"2.0","id":%b,"result":{%b}}' % (encode(request_id), b",".join(members))
