"""What becomes of a call that nobody wants any more (Cancellation; 2024-11-05 to 2025-11-25).

In 2026-07-28 a call is cancelled by closing its response, after which a client sees nothing more of it, whatever the server
does; so nothing is checked here that could be.
"""

from __future__ import annotations

from typing import Any

import trio

from ..conversation import INITIALIZED, Conversation
from ..trial import Trial, check


def _cancelled(request_id: Any) -> dict[str, Any]:
    params = {"requestId": request_id, "reason": "the conformance checks have changed their mind"}
    return {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}


@check(needs=("slow",))
async def a_cancelled_request_is_not_carried_out(trial: Trial) -> None:
    """After its cancellation a call reports nothing more, and gives no result.

    A response stream has to end somehow, and some servers end it with an error.  That answers nothing, and is accepted.
    """
    async with trial.talk() as talk:
        request = talk.request("tools/call", trial.tool("slow").params, token="cancelled")
        async with talk.open(request) as call:
            while not call.notifications("notifications/progress"):
                message = await call.next_message()
                if message is None or call.response is not None:
                    trial.skip("the call had ended before it could be cancelled")
            await talk.tell(_cancelled(request["id"]))
            # What was on its way meanwhile may still arrive.
            with trio.move_on_after(trial.patience / 2):
                await call.finish()
            before = len(call.seen)
            with trial.waiting():
                while call.response is None and await call.next_message() is not None:
                    pass
            late = [message for message in call.seen[before:] if message.get("method") == "notifications/progress"]
            trial.expect(not late, "no more progress", late)
            trial.expect("result" not in (call.response or {}), "no result", call.response)


@check()
async def invalid_cancellations_are_ignored(trial: Trial) -> None:
    """Cancelling what nobody knows, what has ended, or nothing at all, disturbs no one."""
    async with trial.talk() as talk:
        done = await talk.ask("tools/list")
        for invalid in (
            _cancelled("no such request"),
            _cancelled(done.request["id"]),
            {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {}},
            {"jsonrpc": "2.0", "method": "notifications/cancelled"},
        ):
            reply = await talk.tell(invalid)
            trial.expect(reply.status < 500, "202, or a refusal", f"{reply.status} for {invalid}")
            await _still_serves(trial, talk)


@check()
async def a_cancellation_that_comes_too_late_does_no_harm(trial: Trial) -> None:
    """A cancellation that crosses the response leaves the session as it was."""
    async with trial.talk() as talk:
        for _ in range(3):
            request = talk.request("tools/list")
            async with talk.open(request) as call:
                await talk.tell(_cancelled(request["id"]))
                with trial.waiting():
                    await call.finish()
        await talk.tell(INITIALIZED)
        await _still_serves(trial, talk)


async def _still_serves(trial: Trial, talk: Conversation) -> None:
    response = (await talk.ask("ping")).response
    trial.expect(response is not None and "result" in response, "a result for the next ping", response)
