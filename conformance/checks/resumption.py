"""Event ids, and coming back with one (Transports §Resumability and Redelivery; 2025-03-26 to 2025-11-25).

A server need have neither; what has them must have them right.
"""

from __future__ import annotations

from ..conversation import HttpCall, Session
from ..trial import Trial, check


@check(needs=("progress",))
async def event_ids_are_unique_in_a_session(trial: Trial) -> None:
    """No two events of a session have the same id, on whichever streams they come."""
    recipe = trial.tool("progress")
    async with trial.session() as session:
        ids: list[str] = []
        for token in ("one", "two"):
            async with session.open(session.request("tools/call", recipe.params, token=token)) as call:
                await call.finish()
                # The events of a buffer read whole are all there once the response is.
                ids += call.event_ids
        if not ids:
            trial.skip("events have no ids here")
        trial.expect(len(set(ids)) == len(ids), "ids that differ", ids)


async def _cut(trial: Trial, session: Session, token: str) -> tuple[HttpCall, str]:
    """Start a call, cut its connection after the first progress, and return it and the last id that was seen."""
    async with session.open(session.request("tools/call", trial.tool("slow").params, token=token)) as call:
        while not call.notifications("notifications/progress") and await call.next_message() is not None:
            pass
        if not call.reply.is_stream or call.response is not None:
            trial.skip("the call had ended before it could be cut")
        if not call.event_ids:
            trial.skip("events have no ids here")
        return call, call.event_ids[-1]


async def _resume(trial: Trial, session: Session, call: HttpCall, last: str) -> HttpCall:
    """Come back to a call, and listen to its end."""
    async with session.listen(last_event_id=last) as reply:
        if not reply.is_stream:
            trial.skip(f"streams can't be resumed here: {reply.status}")
        rest = HttpCall(call.request, reply)
        await trial.hear_out(rest)
        return rest


@check(needs=("slow", "progress"))
async def a_resumed_stream_carries_its_own_messages_only(trial: Trial) -> None:
    """What belongs to another stream is not replayed on this one."""
    async with trial.session() as session:
        call, last = await _cut(trial, session, "mine")
        other = await session.ask("tools/call", trial.tool("progress").params, token="other")
        rest = await _resume(trial, session, call, last)
        tokens = {params.get("progressToken") for params in rest.notifications("notifications/progress")}
        trial.expect(tokens <= {"mine"}, "progress of the stream's own call", tokens)
        strangers = [m for m in rest.seen if "method" not in m and m is not rest.response]
        trial.expect(not strangers, "no response to another request", strangers)
        trial.expect(other.response is not None, "a response on the other stream", other.seen)


@check(needs=("slow",))
async def an_event_id_leads_back_to_its_stream(trial: Trial) -> None:
    """With an id of one of two streams, it is that one which goes on, after what had been seen of it."""
    async with trial.session() as session:
        first, last_of_first = await _cut(trial, session, "first")
        second, last_of_second = await _cut(trial, session, "second")
        for call, last, token in ((second, last_of_second, "second"), (first, last_of_first, "first")):
            rest = await _resume(trial, session, call, last)
            told = rest.notifications("notifications/progress")
            tokens = {params.get("progressToken") for params in told}
            trial.expect(tokens <= {token}, f"progress of {token}", tokens)
            trial.expect(rest.response is not None, f"the response of {token}", rest.seen)
            seen = call.notifications("notifications/progress")[-1].get("progress")
            again = [params.get("progress") for params in told if params.get("progress") == seen]
            trial.expect(not again, f"what comes after progress {seen}", again)
