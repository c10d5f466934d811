"""What a POST is answered with (Transports §Sending Messages to the Server; 2025-03-26 and later)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from ..conversation import ASKABLE, INITIALIZED, MODERN, Conversation, HttpCall, is_request
from ..trial import Trial, check
from ..wire import Reply


def _is_bare_202(reply: Reply) -> bool:
    return reply.status == 202 and not reply.headers.get("x-body")


@check()
async def a_notification_is_answered_with_202(trial: Trial) -> None:
    """A notification that is accepted gets 202 and no body; one that is not, an HTTP error."""
    cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "nobody"}}
    message = cancelled if trial.revision == MODERN else INITIALIZED
    async with trial.talk() as talk:
        reply = await talk.tell(message)
        came = f"{reply.status} {reply.headers.get('x-body', '')}"
        trial.expect(_is_bare_202(reply) or reply.status >= 400, "202 without a body, or an HTTP error", came)


@check()
async def a_stray_response_is_answered_with_202_or_an_error(trial: Trial) -> None:
    """A response to a question that was never asked gets 202 and no body, or an HTTP error."""
    async with trial.talk() as talk:
        reply = await talk.tell({"jsonrpc": "2.0", "id": "never-asked", "result": {}})
        came = f"{reply.status} {reply.headers.get('x-body', '')}"
        trial.expect(_is_bare_202(reply) or reply.status >= 400, "202 without a body, or an HTTP error", came)


@check(needs=("asks",))
async def an_answer_is_answered_with_202(trial: Trial) -> None:
    """The response to what the server has asked gets 202 and no body, and is used."""
    recipe = trial.tool("asks")
    async with trial.session(ASKABLE) as session, session.open(session.request("tools/call", recipe.params)) as call:
        asked = False
        while call.response is None and (message := await call.next_message()) is not None:
            if is_request(message):
                asked = True
                answer = {"action": "accept", "content": {"name": "Ada", "username": "ada", "email": "ada@example.com"}}
                reply = await session.tell({"jsonrpc": "2.0", "id": message["id"], "result": answer})
                came = f"{reply.status} {reply.headers.get('x-body', '')}"
                trial.expect(_is_bare_202(reply), "202 without a body", came)
        if not asked:
            trial.skip("the server asked nothing")
        trial.expect("result" in (call.response or {}), "a result once the question is answered", call.response)


@check()
async def what_cannot_be_accepted_gets_an_http_error(trial: Trial) -> None:
    """What is no message is refused by an HTTP status, and what the body says has no id."""
    async with trial.talk() as talk:
        for body in (b'{"jsonrpc": "2.0", "method": "notifications/', b"", b"\xff\xfe", b'"a string"'):
            headers = {} if trial.revision != MODERN else {"mcp_method": "notifications/cancelled"}
            reply = await talk.tell(body, **headers)
            trial.expect(reply.status >= 400, f"an HTTP error for the body {body!r}", reply.status)
            error = _as_json(reply.headers.get("x-body", ""))
            if isinstance(error, dict) and "jsonrpc" in error:
                trial.expect(error.get("id") is None, "an error without an id", error)


def _as_json(body: str) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


@check()
async def a_request_is_answered_with_json_or_a_stream(trial: Trial) -> None:
    """A request gets `application/json` with one object, or `text/event-stream`."""
    async with trial.talk() as talk:
        for message in _requests(trial, talk):
            async with talk.open(message) as call:
                assert isinstance(call, HttpCall)
                kind = call.reply.content_type
                fine = kind in ("application/json", "text/event-stream")
                trial.expect(fine, "application/json or text/event-stream", kind or "no Content-Type")
                if kind == "application/json":
                    body = await call.reply.json()
                    trial.expect(isinstance(body, dict), "one JSON object", body)
                else:
                    await call.finish()
                    trial.expect(call.response is not None, "a response on the stream", call.seen)


def _requests(trial: Trial, talk: Conversation) -> list[dict[str, Any]]:
    messages = [talk.request("tools/list"), talk.request("conformance/no-such-method")]
    if recipe := trial.survey.find("quick"):
        messages.append(talk.request("tools/call", recipe.params))
    if recipe := trial.survey.find("progress"):
        messages.append(talk.request("tools/call", recipe.params, token="kind"))
    return messages


@asynccontextmanager
async def _open(trial: Trial, talk: Conversation, kind: str) -> AsyncIterator[HttpCall]:
    """A call of a tool that reports progress, whose answer is a stream; skipped if it is none."""
    async with talk.open(talk.request("tools/call", trial.tool(kind).params, token=kind)) as call:
        assert isinstance(call, HttpCall)
        if not call.reply.is_stream:
            trial.skip("the request was answered with JSON, and no stream was opened")
        yield call


@check(needs=("progress",))
async def a_stream_brings_the_response(trial: Trial) -> None:
    """A stream that a request has opened is not closed before it has carried the response."""
    async with trial.talk() as talk, _open(trial, talk, "progress") as call:
        await call.finish()
        trial.expect(call.response is not None, "a response before the stream ends", call.seen)


@check(needs=("progress",))
async def a_stream_ends_with_the_response(trial: Trial) -> None:
    """After the response the server closes the stream."""
    async with trial.talk() as talk, _open(trial, talk, "progress") as call:
        await call.finish()
        if call.response is None:
            trial.skip("no response came")
        with trial.within(trial.patience):
            while await call.next_message() is not None:
                pass


@check(needs=("progress",))
async def a_stream_opens_with_a_priming_event(trial: Trial) -> None:
    """The first event of a stream has an id and no data, so that a client can come back to it."""
    async with trial.session() as session, _open(trial, session, "progress") as call:
        event = await call.reply.next_event()
        while event is not None and event.id is None and event.data is None:
            event = await call.reply.next_event()
        fine = event is not None and bool(event.id) and event.data == ""
        trial.expect(fine, "an event with an id and an empty data field first of all", event)


@check(needs=("slow",))
async def a_connection_is_closed_early_only_with_a_retry(trial: Trial) -> None:
    """Who closes the connection of a stream that goes on says before when to come back."""
    async with trial.session() as session, _open(trial, session, "slow") as call:
        await call.finish()
        if call.response is not None:
            return
        retries = [event.retry for event in call.events if event.retry is not None]
        fine = bool(retries) and all(retry.isdecimal() for retry in retries)
        trial.expect(fine, "a retry field before the connection is closed", call.events)


@check(needs=("progress",))
async def a_stream_carries_what_relates_to_its_request(trial: Trial) -> None:
    """Of two calls side by side, each reports on its own stream."""
    recipe = trial.tool("progress")
    async with trial.talk() as talk:
        first = talk.request("tools/call", recipe.params, token="first")
        second = talk.request("tools/call", recipe.params, token="second")
        async with talk.open(first) as one, talk.open(second) as two:
            await one.finish()
            await two.finish()
        for call, token in ((one, "first"), (two, "second")):
            tokens = {params.get("progressToken") for params in call.notifications("notifications/progress")}
            trial.expect(tokens <= {token}, f"progress of {token} only", tokens)
            others = [m for m in call.seen if "id" in m and "method" not in m and m is not call.response]
            trial.expect(not others, "no response to another request", others)


@check(needs=("slow",))
async def a_disconnection_is_no_cancellation(trial: Trial) -> None:
    """A call whose connection is cut goes on, and can be heard of again by who comes back with an event id."""
    async with trial.session() as session:
        async with _open(trial, session, "slow") as call:
            while not call.notifications("notifications/progress") and await call.next_message() is not None:
                pass
            if call.response is not None:
                trial.skip("the call had ended before it could be cut")
            last = call.event_ids[-1] if call.event_ids else trial.skip("the stream has no event ids")
        async with session.listen(last_event_id=last) as reply:
            if not reply.is_stream:
                trial.skip(f"streams can't be resumed here: {reply.status}")
            rest = HttpCall(call.request, reply)
            await trial.hear_out(rest)
            trial.expect("result" in (rest.response or {}), "the result of the call", rest.response)


@check()
async def the_endpoint_takes_post_and_get(trial: Trial) -> None:
    """One path takes both: a POST opens the session, and a GET listens, or is told that there is nothing to hear."""
    async with trial.session() as session, session.listen() as reply:
        fine = reply.status == 405 or (reply.status == 200 and reply.is_stream)
        trial.expect(fine, "text/event-stream or 405 for GET", f"{reply.status} {reply.content_type}")


@check()
async def the_endpoint_takes_post(trial: Trial) -> None:
    """The path takes a POST, and answers it."""
    call = await trial.requests().ask("server/discover")
    trial.expect(call.response is not None, "a response", call.seen)
