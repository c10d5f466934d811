"""The two endpoints of HTTP with SSE (2024-11-05, Transports §HTTP with SSE)."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

from ..conversation import Message, SseSession, is_response
from ..trial import Trial, check


@check()
async def the_endpoint_event_comes_first(trial: Trial) -> None:
    """The stream opens with an `endpoint` event, which holds a URI."""
    async with trial.wire.open("GET", {"accept": "text/event-stream"}) as reply:
        trial.expect(reply.status == 200 and reply.is_stream, "200 and text/event-stream", f"{reply.status}")
        event = await reply.next_event()
        while event is not None and event.comment is not None and event.data is None:
            event = await reply.next_event()
        fine = event is not None and event.name == "endpoint" and bool(event.data)
        trial.expect(fine, "an endpoint event with a URI first of all", event)


@check()
async def the_endpoint_is_of_the_same_origin(trial: Trial) -> None:
    """The URI for messages is at the server that names it: who sends there must not send to somebody else."""
    async with trial.sse() as old:
        assert old.first_event is not None
        parts = urlsplit(urljoin(trial.wire.address.url, old.first_event.data or ""))
        origin = f"{parts.scheme}://{parts.netloc}"
        wanted = f"{trial.wire.address.scheme}://{trial.wire.address.authority}"
        trial.expect(origin == wanted, f"a URI at {wanted}", origin)


async def _next_response(old: SseSession) -> Message | None:
    """The next response on the stream, whatever the server has to say before it."""
    while (message := await old.next_message()) is not None and not is_response(message):
        pass
    return message


@check()
async def messages_are_posted_to_the_endpoint(trial: Trial) -> None:
    """The second endpoint takes a POST, and the answer comes on the stream of the first."""
    async with trial.sse() as old:
        reply = await old.tell({"jsonrpc": "2.0", "id": "posted", "method": "ping"})
        trial.expect(200 <= reply.status < 300, "a status of success for a POST", reply.status)
        message = await _next_response(old)
        trial.expect((message or {}).get("id") == "posted", "the response on the stream", message)


@check()
async def messages_come_as_message_events(trial: Trial) -> None:
    """What the server says comes in events named `message`, with JSON in their data."""
    async with trial.sse() as old:
        await old.tell({"jsonrpc": "2.0", "id": "named", "method": "ping"})
        event = await old.stream.next_event()
        while event is not None and event.data is None:
            event = await old.stream.next_event()
        trial.expect(event is not None and event.name == "message", "an event named message", event)


@check()
async def sessions_do_not_hear_each_other(trial: Trial) -> None:
    """Each connection has an endpoint of its own, and hears what was asked there."""
    async with trial.sse() as one, trial.sse() as other:
        await one.tell({"jsonrpc": "2.0", "id": "of-one", "method": "ping"})
        await other.tell({"jsonrpc": "2.0", "id": "of-other", "method": "ping"})
        for old, wanted in ((one, "of-one"), (other, "of-other")):
            message = await _next_response(old)
            trial.expect((message or {}).get("id") == wanted, f"the response {wanted}", message)
