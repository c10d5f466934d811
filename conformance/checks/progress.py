"""What is reported while a call runs (Progress, every revision)."""

from __future__ import annotations

import itertools
from typing import Any

from ..conversation import Call, Conversation
from ..trial import Trial, check


async def _watch(trial: Trial, talk: Conversation, token: int | str) -> tuple[Call, list[dict[str, Any]]]:
    call = await talk.ask("tools/call", trial.tool("progress").params, token=token)
    told = call.notifications("notifications/progress")
    if not told:
        trial.skip("the tool reported no progress, which it may")
    return call, told


@check(needs=("progress",))
async def progress_increases(trial: Trial) -> None:
    """The `progress` of each notification is a number greater than that of the one before."""
    async with trial.talk() as talk:
        _, told = await _watch(trial, talk, "increases")
        values = [params.get("progress") for params in told]
        numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
        trial.expect(len(numbers) == len(values), "numbers", values)
        growing = all(before < after for before, after in itertools.pairwise(numbers))
        trial.expect(growing, "numbers each of which is greater than the one before", values)


@check(needs=("progress",))
async def progress_refers_to_the_token_of_its_request(trial: Trial) -> None:
    """The token comes back as it was given, number or string; of two calls each has its own."""
    async with trial.talk() as talk:
        for token in ("a token", 12345, "12345", ""):
            _, told = await _watch(trial, talk, token)
            came = [params.get("progressToken") for params in told]
            same = all(one == token and type(one) is type(token) for one in came)
            trial.expect(same, f"the token {token!r}", came)


@check(needs=("progress",))
async def no_progress_without_a_token(trial: Trial) -> None:
    """To who has given no token nothing is reported."""
    async with trial.talk() as talk:
        call = await talk.ask("tools/call", trial.tool("progress").params)
        told = call.notifications("notifications/progress")
        trial.expect(call.response is not None and not told, "a response and no progress", told or call.seen)


@check(needs=("progress",))
async def progress_stops_with_the_response(trial: Trial) -> None:
    """After the response nothing more is reported."""
    async with trial.talk() as talk:
        request = talk.request("tools/call", trial.tool("progress").params, token="stops")
        async with talk.open(request) as call:
            await call.finish()
            before = len(call.notifications("notifications/progress"))
            if not before:
                trial.skip("the tool reported no progress, which it may")
            with trial.waiting():
                while await call.next_message() is not None:
                    pass
            after = call.notifications("notifications/progress")[before:]
            trial.expect(not after, "no progress after the response", after)


@check(needs=("progress",))
async def messages_of_progress_are_text(trial: Trial) -> None:
    """Where progress has a message it is a string, and says something."""
    async with trial.talk() as talk:
        _, told = await _watch(trial, talk, "message")
        messages = [params["message"] for params in told if "message" in params]
        if not messages:
            trial.skip("progress came without messages, which it may")
        fine = all(isinstance(message, str) and message.strip() for message in messages)
        trial.expect(fine, "text", messages)
