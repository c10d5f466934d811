"""How a handler asks the client something in the middle of a call, in either era.

A handler that wants to know more returns `Ask`, and is called once more with the answers, round by round, until it has what
its caller wants.  In the handshake revisions (up to 2025-11-25) each question becomes a request of the server's own, while
the call is waiting.  In 2026-07-28 (Multi Round-Trip Requests) a round ends with an `InputRequiredResult`, and the next one
begins with the client's retry, of which this process may never have seen the beginning: whatever a handler has to remember
goes into the state.

The state travels as it is.  Who serves the newer revision has to seal it (`RequestStateBoundary`).
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

import anyio
import mcp.types as types
from mcp import MCPError
from mcp.server import ServerRequestContext
from mcp.shared.message import ServerMessageMetadata
from mcp.types.version import MODERN_PROTOCOL_VERSIONS

Context = ServerRequestContext[Any, Any]
Arguments = Mapping[str, Any]
Questions = Mapping[str, types.InputRequest]
Answers = Mapping[str, types.InputResponse]
T = TypeVar("T")
AnswerT = TypeVar("AnswerT", bound=types.InputResponse)


class ClientRefused(Exception):
    """The client answered a question with an error, or has not declared that it can be asked."""


@dataclass(frozen=True)
class Call:
    """A request as its handler sees it.

    Args:
      answers: what the client says to the questions of the round before, by their names; empty in the first round.
      state: what the round before left for this one.
    """

    context: Context
    arguments: Arguments = field(default_factory=dict)
    answers: Answers = field(default_factory=dict)
    state: str | None = None

    @property
    def is_modern(self) -> bool:
        return self.context.protocol_version in MODERN_PROTOCOL_VERSIONS

    def find_answer(self, name: str, kind: type[AnswerT]) -> AnswerT | None:
        """Return the answer to the question of that name, if there is one, and of the kind that was asked for."""
        answer = self.answers.get(name)
        return answer if isinstance(answer, kind) else None


@dataclass(frozen=True)
class Ask:
    """What a handler returns in place of a result: questions, each by a name, and what to remember until they are answered.

    Without a question, it only means "call me again".

    Args:
      insists: ask a client of a handshake revision even if it has not declared that it can be asked.  A server must not, and
        many do; what becomes of that between the eras is for whoever stands between to see to.
    """

    questions: Questions
    state: str | None = None
    insists: bool = False


async def run_rounds(handler: Callable[[Call], Awaitable[T | Ask]], call: Call) -> T | types.InputRequiredResult:
    """Call a handler for as many rounds as belong to this request.

    Raises:
      MCPError: -32021, the client has not declared that it can be asked such a thing; only 2026-07-28 knows this error.
      ClientRefused: the same before, where only what was declared may be used, too; or see there.
    """
    while isinstance(outcome := await handler(call), Ask):
        lacking = find_undeclared(call.context, outcome.questions)
        if lacking and (call.is_modern or not outcome.insists):
            message = f"The client has not declared what this call needs: {', '.join(lacking)}"
            if not call.is_modern:
                raise ClientRefused(message)
            raise MCPError(types.MISSING_REQUIRED_CLIENT_CAPABILITY, message, {"requiredCapabilities": lacking})
        if call.is_modern:
            return types.InputRequiredResult(input_requests=dict(outcome.questions) or None, request_state=outcome.state)
        call = replace(call, answers=await put(call.context, outcome.questions), state=outcome.state)
    return outcome


def find_undeclared(context: Context, questions: Questions) -> dict[str, Any]:
    """Return the capabilities that the client would have had to declare, and has not, to be asked all these questions."""
    capabilities = context.session.client_capabilities or types.ClientCapabilities()
    declared = capabilities.model_dump(mode="json", by_alias=True, exclude_none=True)
    if declared.get("elicitation") == {}:
        # Which is how forms were declared when there was nothing else (Elicitation §Capabilities).
        declared["elicitation"] = {"form": {}}
    lacking: dict[str, Any] = {}
    for question in questions.values():
        capability, mode = _find_need(question)
        if capability not in declared or (mode and mode not in declared[capability]):
            lacking.setdefault(capability, {}).update({mode: {}} if mode else {})
    return lacking


def _find_need(question: types.InputRequest) -> tuple[str, str | None]:
    """Return the capability that a question needs, and the mode of it."""
    match question:
        case types.CreateMessageRequest():
            return "sampling", None
        case types.ListRootsRequest():
            return "roots", None
        case types.ElicitRequest(params=types.ElicitRequestURLParams()):
            return "elicitation", "url"
    return "elicitation", "form"


_ANSWER_TYPES: Final[dict[type[types.InputRequest], type[types.InputResponse]]] = {
    types.CreateMessageRequest: types.CreateMessageResult,
    types.ElicitRequest: types.ElicitResult,
    types.ListRootsRequest: types.ListRootsResult,
}


async def put(context: Context, questions: Questions) -> Answers:
    """Put questions to a client of the handshake era, all at the same time, and wait for all answers.

    Raises:
      ClientRefused: at least one of them was answered with an error.
    """
    answers: dict[str, types.InputResponse] = {}
    refusals: list[str] = []

    async def put_one(name: str, question: types.InputRequest) -> None:
        related = ServerMessageMetadata(related_request_id=context.request_id)
        elicitation_id = None
        if isinstance(question, types.ElicitRequest) and isinstance(question.params, types.ElicitRequestURLParams):
            # 2025-11-25 demands an id, and 2026-07-28 knows none.
            elicitation_id = str(uuid.uuid4())
            params = question.params.model_copy(update={"elicitation_id": elicitation_id})
            question = types.ElicitRequest(params=params)
        try:
            answer = await context.session.send_request(question, _ANSWER_TYPES[type(question)], metadata=related)
        except MCPError as error:
            refusals.append(f"{question.method}: {error}")
            return
        answers[name] = answer
        if elicitation_id and isinstance(answer, types.ElicitResult) and answer.action == "accept":
            # Whoever visits our pages is done at once.
            await context.session.send_elicit_complete(elicitation_id, context.request_id)

    async with anyio.create_task_group() as group:
        for name, question in questions.items():
            group.start_soon(put_one, name, question)
    if refusals:
        raise ClientRefused("; ".join(refusals))
    return answers
