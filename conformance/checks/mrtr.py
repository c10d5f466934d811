"""Input that is required in the middle of a call (2026-07-28, Multi Round-Trip Requests)."""

from __future__ import annotations

import json
from typing import Any

from ..conversation import ASKABLE, Call, Message, Requests
from ..trial import Trial, check

KINDS = {"elicitation/create": "elicitation", "sampling/createMessage": "sampling", "roots/list": "roots"}
"""What may be asked, and the capability of a client that can be asked it."""


async def _asked(trial: Trial, talk: Requests) -> tuple[Call, Message]:
    """A call that asks, and its InputRequiredResult."""
    call = await talk.ask("tools/call", trial.tool("asks").params)
    if call.result.get("resultType") != "input_required":
        trial.skip("the tool did without input")
    return call, call.result


def _answers(result: Message) -> dict[str, Any]:
    form = {"name": "Ada", "username": "ada", "email": "ada@example.com"}
    return {
        key: {
            "elicitation/create": {"action": "accept", "content": form},
            "sampling/createMessage": {"role": "assistant", "content": {"type": "text", "text": "Hi."}, "model": "none"},
            "roots/list": {"roots": []},
        }.get(question.get("method"), {})
        for key, question in (result.get("inputRequests") or {}).items()
    }


async def _retry(trial: Trial, talk: Requests, result: Message, answers: dict[str, Any], **more: Any) -> Call:
    """The same call again, with answers."""
    params = {**trial.tool("asks").params, "inputResponses": answers}
    if "requestState" in result:
        params["requestState"] = result["requestState"]
    return await talk.ask("tools/call", params | more)


@check(needs=("asks",))
async def what_is_required_is_said(trial: Trial) -> None:
    """An InputRequiredResult has `inputRequests`, `requestState`, or both."""
    _, result = await _asked(trial, trial.requests(ASKABLE))
    trial.expect(bool({"inputRequests", "requestState"} & set(result)), "inputRequests or requestState", result)
    trial.expect(isinstance(result.get("requestState", ""), str), "a requestState that is a string", result)


@check(needs=("asks",))
async def questions_are_of_three_kinds(trial: Trial) -> None:
    """What is asked is elicitation/create, sampling/createMessage or roots/list."""
    _, result = await _asked(trial, trial.requests(ASKABLE))
    for question in (result.get("inputRequests") or {}).values():
        method = question.get("method") if isinstance(question, dict) else question
        trial.expect(method in KINDS, f"one of {', '.join(KINDS)}", method)


@check(needs=("asks",))
async def only_what_is_declared_is_asked(trial: Trial) -> None:
    """A client is asked nothing that it has not declared."""
    wishes: tuple[Message, ...] = ({}, {"roots": {}})
    for declared in wishes:
        call = await trial.requests(declared).ask("tools/call", trial.tool("asks").params)
        result = (call.response or {}).get("result") or {}
        questions = (result.get("inputRequests") or {}).values()
        undeclared = [question for question in questions if KINDS.get(question.get("method")) not in declared]
        trial.expect(not undeclared, f"no question beyond {declared}", undeclared)


@check(needs=("asks",))
async def an_answer_completes_the_call(trial: Trial) -> None:
    """Called again with the answers, the tool gives its result."""
    talk = trial.requests(ASKABLE)
    _, result = await _asked(trial, talk)
    again = await _retry(trial, talk, result, _answers(result))
    trial.expect(again.result.get("resultType") == "complete", "a result that is complete", again.result)


@check(needs=("asks",))
async def an_answer_too_many_is_ignored(trial: Trial) -> None:
    """An answer to what was not asked changes nothing."""
    talk = trial.requests(ASKABLE)
    _, result = await _asked(trial, talk)
    answers = {"conformance-never-asked": {"action": "decline"}} | _answers(result)
    again = await _retry(trial, talk, result, answers)
    response = again.response or {}
    complete = (response.get("result") or {}).get("resultType") == "complete"
    trial.expect(complete, "a result that is complete", response)


@check(needs=("asks",))
async def an_answer_that_is_missing_is_asked_for_again(trial: Trial) -> None:
    """Called again without the answers, the tool asks again."""
    talk = trial.requests(ASKABLE)
    _, result = await _asked(trial, talk)
    again = await _retry(trial, talk, result, {})
    kind = ((again.response or {}).get("result") or {}).get("resultType")
    trial.expect(kind == "input_required", "input_required once more", again.response)


@check(needs=("asks",))
async def an_answer_that_is_none_is_refused(trial: Trial) -> None:
    """What can't be an answer is an error, or asked for again; it is not taken for one."""
    talk = trial.requests(ASKABLE)
    _, result = await _asked(trial, talk)
    again = await _retry(trial, talk, result, dict.fromkeys(_answers(result), "not an object"))
    response = again.response or {}
    given = response.get("result") or {}
    refused = "error" in response or given.get("resultType") == "input_required" or bool(given.get("isError"))
    trial.expect(refused, "an error, or the question again", response)


@check(needs=("asks",))
async def a_state_that_nobody_gave_does_no_harm(trial: Trial) -> None:
    """A `requestState` is whatever its sender makes of it: it must be survived, and must not stand for an answer."""
    talk = trial.requests(ASKABLE)
    recipe = trial.tool("asks")
    for state in ("", "conformance-no-such-state", "A" * 4096, "../../etc/passwd"):
        call = await talk.ask("tools/call", {**recipe.params, "requestState": state})
        trial.expect(call.response is not None, f"a response to the state {state[:40]!r}", call.seen)
        given = (call.response or {}).get("result") or {}
        complete = given.get("resultType") == "complete" and not given.get("isError")
        trial.expect(not complete, f"no result for the state {state[:40]!r} without an answer", given)
    call = await talk.ask("tools/list")
    trial.expect("result" in (call.response or {}), "a result for the next request", call.response)


@check(needs=("asks",))
async def who_is_asked_need_not_answer(trial: Trial) -> None:
    """Calls that are never come back to keep nobody from being served."""
    talk = trial.requests(ASKABLE)
    for _ in range(3):
        await _asked(trial, talk)
    call = await talk.ask("tools/list")
    trial.expect("result" in (call.response or {}), "a result for the next request", call.response)


@check(needs=("asks",))
async def keys_of_questions_are_unique(trial: Trial) -> None:
    """No key of `inputRequests` comes twice."""
    talk = trial.requests(ASKABLE)
    message = talk.request("tools/call", trial.tool("asks").params)
    async with talk.open(message) as call:
        if call.reply.is_stream:
            event = await call.reply.next_event()
            body = (event.data or "") if event else ""
        else:
            body = (await call.reply.body()).decode()
    twice = repeated_keys(body)
    trial.expect(not twice, "keys that differ", twice)


def repeated_keys(text: str) -> list[str]:
    """Return the keys that come twice in one object of a JSON text."""
    twice: list[str] = []

    def note(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        twice.extend(key for key in set(keys) if keys.count(key) > 1)
        return dict(pairs)

    json.loads(text, object_pairs_hook=note)
    return twice
