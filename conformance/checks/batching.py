"""Several messages in one POST (2025-03-26, Transports §Sending Messages to the Server and Basic §Batching)."""

from __future__ import annotations

from ..conversation import INITIALIZED, HttpCall, Message
from ..trial import Trial, check
from ..wire import encode


def _requests() -> list[Message]:
    return [
        {"jsonrpc": "2.0", "id": "first", "method": "ping"},
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "nobody"}},
        {"jsonrpc": "2.0", "id": "second", "method": "tools/list"},
    ]


async def _post(trial: Trial, messages: list[Message]) -> HttpCall:
    async with trial.session() as session, session.wire.open("POST", session.headers(), encode(messages)) as reply:
        call = HttpCall({}, reply)
        while await call.next_message() is not None:
            pass
        return call


@check()
async def a_batch_of_requests_gets_all_responses(trial: Trial) -> None:
    """Each request of a batch gets its response, and the stream, if it is one, ends after the last of them."""
    call = await _post(trial, _requests())
    answered = sorted(str(message.get("id")) for message in call.seen if "method" not in message)
    trial.expect(answered == ["first", "second"], "a response to each of the two requests", call.seen or call.reply.status)


@check()
async def a_batch_is_answered_with_json_or_a_stream(trial: Trial) -> None:
    """A batch with requests in it gets `application/json` or `text/event-stream`."""
    call = await _post(trial, _requests())
    kind = call.reply.content_type
    trial.expect(call.reply.status == 200, "200", call.reply.status)
    trial.expect(kind in ("application/json", "text/event-stream"), "application/json or text/event-stream", kind)


@check()
async def a_batch_of_notifications_is_answered_with_202(trial: Trial) -> None:
    """A batch without requests gets 202 and no body, or an HTTP error."""
    async with trial.session() as session:
        reply = await session.tell([INITIALIZED, _requests()[1]])
        came = f"{reply.status} {reply.headers.get('x-body', '')}"
        fine = reply.status >= 400 or (reply.status == 202 and not reply.headers.get("x-body"))
        trial.expect(fine, "202 without a body, or an HTTP error", came)
