"""Streams of changes (2026-07-28, Subscriptions)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from ..conversation import RESERVED, HttpCall, Message
from ..survey import TOUCHED
from ..trial import Trial, check

ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
SUBSCRIPTION_ID = RESERVED + "subscriptionId"
_ANNOUNCED_BY = {
    "notifications/tools/list_changed": "toolsListChanged",
    "notifications/prompts/list_changed": "promptsListChanged",
    "notifications/resources/list_changed": "resourcesListChanged",
    "notifications/resources/updated": "resourceSubscriptions",
}


def _subscription_id(message: Message) -> Any:
    return ((message.get("params") or message.get("result") or {}).get("_meta") or {}).get(SUBSCRIPTION_ID)


@asynccontextmanager
async def _listen(trial: Trial, wanted: Message, request_id: Any = "listening") -> AsyncIterator[HttpCall]:
    """A subscription; skipped where there are none."""
    talk = trial.requests()
    message = talk.request("subscriptions/listen", {"notifications": wanted}, id=request_id)
    async with talk.open(message) as call:
        if not call.reply.is_stream:
            await call.finish()
            code = ((call.response or {}).get("error") or {}).get("code")
            if code == -32601:
                trial.skip("the server has no subscriptions")
            trial.expect(False, "a stream", f"{call.reply.status} {call.response}")
        yield call


@check()
async def a_subscription_is_acknowledged_first(trial: Trial) -> None:
    """The first message is the acknowledgment, which says what of the wishes is granted."""
    wanted = {"toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True}
    async with _listen(trial, wanted) as call:
        first = await call.next_message()
        trial.expect(first is not None and first.get("method") == ACKNOWLEDGED, f"{ACKNOWLEDGED} first", first)
        granted = ((first or {}).get("params") or {}).get("notifications")
        trial.expect(isinstance(granted, dict), "the notifications that are granted", first)
        assert granted is not None
        beyond = {name for name, value in granted.items() if value and not wanted.get(name)}
        trial.expect(not beyond, "nothing that was not wished for", beyond)


@check()
async def a_subscription_is_known_by_the_id_of_its_request(trial: Trial) -> None:
    """What comes on the stream carries the id of the request, a number as a number and a string as a string."""
    for request_id in (5, "5", "a longer id"):
        async with _listen(trial, {"toolsListChanged": True}, request_id) as call:
            first = await call.next_message()
            came = _subscription_id(first or {})
            same = came == request_id and type(came) is type(request_id)
            trial.expect(same, f"{SUBSCRIPTION_ID}: {request_id!r}", first)


async def _changes(trial: Trial, wanted: Message) -> list[Message]:
    """What a subscription hears while everything that the tools can change is changed, its acknowledgment included."""
    talk = trial.requests()
    async with _listen(trial, wanted) as call:
        await call.next_message()
        for kind in ("touches", "grows"):
            if recipe := trial.survey.find(kind):
                await talk.ask("tools/call", recipe.params)
        with trial.waiting():
            while await call.next_message() is not None:
                pass
        return call.seen


@check(needs=("grows",))
async def a_change_is_heard_of(trial: Trial) -> None:
    """What was granted comes, and carries the subscription's id."""
    heard = await _changes(trial, {"toolsListChanged": True})
    granted = (heard[0].get("params") or {}).get("notifications") or {}
    if not granted.get("toolsListChanged"):
        trial.skip("the server does not grant toolsListChanged, which it need not")
    changes = [message for message in heard[1:] if message.get("method") == "notifications/tools/list_changed"]
    trial.expect(bool(changes), "notifications/tools/list_changed", heard)
    ids = [_subscription_id(message) for message in heard]
    trial.expect(all(one == "listening" for one in ids), "the subscription's id in each message", heard)


@check()
async def nothing_is_heard_of_that_was_not_asked_for(trial: Trial) -> None:
    """Of what a subscription did not ask for, it hears nothing."""
    touches = trial.survey.find("touches")
    if touches is None and trial.survey.find("grows") is None:
        trial.skip("needs a tool that changes something")
    uri = TOUCHED[touches.name] if touches else "conformance://nothing"
    for wanted in ({"promptsListChanged": True}, {"resourceSubscriptions": [uri]}, {"toolsListChanged": True}):
        heard = await _changes(trial, wanted)
        # A server may end the stream with the response at any time, which is no notification.
        methods = {str(message["method"]) for message in heard[1:] if "method" in message}
        unwanted = {method for method in methods if _ANNOUNCED_BY.get(method) not in wanted}
        trial.expect(not unwanted, f"nothing but {', '.join(wanted)}", unwanted)


@check(needs=("progress",))
async def calls_are_not_reported_on_a_subscription(trial: Trial) -> None:
    """Progress and logs travel with their request, and not on the stream of a subscription."""
    talk = trial.requests()
    async with _listen(trial, {"toolsListChanged": True}) as call:
        await call.next_message()
        await talk.ask("tools/call", trial.tool("progress").params, token="elsewhere")
        with trial.waiting():
            while await call.next_message() is not None:
                pass
        strangers = [m for m in call.seen[1:] if m.get("method") in ("notifications/progress", "notifications/message")]
        trial.expect(not strangers, "no progress and no logs", strangers)
