"""GET, and which message travels on which stream (Transports §Listening, §Multiple Connections; until 2025-11-25)."""

from __future__ import annotations

from contextlib import AsyncExitStack

import trio

from ..conversation import HttpCall, Message, Session, is_response
from ..trial import Trial, check
from ..wire import Reply


@check()
async def a_get_is_answered_with_a_stream_or_405(trial: Trial) -> None:
    """GET gets `text/event-stream`, or 405."""
    async with trial.session() as session, session.listen() as reply:
        fine = reply.status == 405 or (reply.status == 200 and reply.is_stream)
        trial.expect(fine, "text/event-stream or 405", f"{reply.status} {reply.content_type}")


async def _overhear(trial: Trial, session: Session, calls: int) -> tuple[list[Message], list[HttpCall]]:
    """What the standalone stream carries while calls that report progress are running, and those calls."""
    recipe = trial.tool("progress")
    async with session.listen() as reply:
        if not reply.is_stream:
            trial.skip(f"the server offers no standalone stream: {reply.status}")
        standalone = HttpCall({}, reply)
        made: list[HttpCall] = []

        async def make(token: str) -> None:
            async with session.open(session.request("tools/call", recipe.params, token=token)) as call:
                made.append(call)
                await call.finish()

        async with trio.open_nursery() as nursery:
            for number in range(calls):
                nursery.start_soon(make, f"overheard-{number}")
        with trial.waiting():
            while await standalone.next_message() is not None:
                pass
        return standalone.seen, made


@check(needs=("progress",))
async def no_response_comes_on_the_standalone_stream(trial: Trial) -> None:
    """A response comes where its request was made, and not on the stream of a GET."""
    async with trial.session() as session:
        heard, _ = await _overhear(trial, session, 2)
        responses = [message for message in heard if is_response(message)]
        trial.expect(not responses, "no response on the standalone stream", responses)


@check(needs=("progress",))
async def nothing_of_a_running_request_comes_on_the_standalone_stream(trial: Trial) -> None:
    """What reports on a request travels with that request."""
    async with trial.session() as session:
        heard, _ = await _overhear(trial, session, 1)
        related = [message for message in heard if message.get("method") == "notifications/progress"]
        trial.expect(not related, "no progress on the standalone stream", related)


@check(needs=("progress",))
async def each_message_travels_on_one_stream(trial: Trial) -> None:
    """With several streams open, each message comes on one of them and once."""
    recipe = trial.tool("progress")
    async with trial.session() as session, AsyncExitStack() as stack:
        listening: list[Reply] = [await stack.enter_async_context(session.listen()) for _ in range(2)]
        streams = [HttpCall({}, reply) for reply in listening if reply.is_stream]
        calls: list[HttpCall] = []

        async def read(call: HttpCall) -> None:
            while await call.next_message() is not None:
                pass

        async def make(token: str) -> None:
            async with session.open(session.request("tools/call", recipe.params, token=token)) as call:
                calls.append(call)
                await call.finish()

        async with trio.open_nursery() as nursery:
            for stream in streams:
                nursery.start_soon(read, stream)
            async with trio.open_nursery() as making:
                for number in range(2):
                    making.start_soon(make, f"one-stream-{number}")
            with trial.waiting():
                await trio.sleep_forever()
            nursery.cancel_scope.cancel()
    keys = [
        (params.get("progressToken"), params.get("progress"))
        for call in (*streams, *calls)
        for params in call.notifications("notifications/progress")
    ]
    if not keys:
        trial.skip("the tool reported no progress, which it may")
    twice = sorted({key for key in keys if keys.count(key) > 1}, key=repr)
    trial.expect(not twice, "each notification once", f"twice: {twice}")
    answered = [message.get("id") for call in (*streams, *calls) for message in call.seen if is_response(message)]
    trial.expect(len(answered) == len(set(map(repr, answered))), "each response once", answered)
