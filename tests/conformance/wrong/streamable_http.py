"""Streamable HTTP in its revisions with a handshake: POST, GET and DELETE."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import trio

from .http import Exchange
from .sessions import Session, Stream, answer, initialize, is_long, new_session_id
from .tools import Caller, Message

if TYPE_CHECKING:
    from .world import World


async def post(world: World, x: Exchange) -> None:
    """POST, of a revision with a handshake."""
    try:
        message = json.loads(x.body)
        fine = isinstance(message, dict) or (isinstance(message, list) and message)
    except ValueError:
        fine = False
    if not fine:
        status = 200 if world.wrong("posts.what-cannot-be-accepted-gets-an-http-error") else 400
        await x.answer(status, {"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "?"}})
        return
    if isinstance(message, dict) and message.get("method") == "initialize":
        response = initialize(world, message)
        name = new_session_id(world)
        revision = response["result"]["protocolVersion"]
        world.sessions[name] = Session(world, name, revision, message["params"]["capabilities"])
        await x.answer(200, response, {"mcp-session-id": name})
        return
    session = await find_session(world, x)
    if session is None:
        return
    if isinstance(message, list):
        await _batch(session, x, message)
    elif "method" in message and "id" in message:
        await _request(session, x, message)
    else:
        status = session.hear(message)
        body = {"jsonrpc": "2.0", "id": 0, "result": {}} if status == 200 else None
        if message.get("method") == "notifications/initialized":
            await x.answer(status, body if status == 200 else None)
            return
        await x.answer(status, body)


async def find_session(world: World, x: Exchange) -> Session | None:
    """The session of a request; None once it has been refused."""
    name, version = x.headers.get("mcp-session-id"), x.headers.get("mcp-protocol-version")
    if name is None:
        status = 403 if world.wrong("sessions.a-request-without-a-session-id-gets-400") else 400
        await x.answer(status, {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "no session"}})
    elif name not in world.sessions:
        status = 400 if world.wrong("sessions.an-ended-session-is-not-found") else 404
        await x.answer(status, {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "no such session"}})
    elif version not in (*world.speaks, None) and not world.wrong(
        "version-header.an-unsupported-version-is-refused-with-400"
    ):
        await x.answer(400, {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "no such version"}})
    elif version is None and world.wrong("version-header.a-missing-version-is-no-offence"):
        await x.answer(400, {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "no version"}})
    else:
        return world.sessions[name]
    return None


async def _batch(session: Session, x: Exchange, messages: list[Message]) -> None:
    if session.revision != "2025-03-26":
        await x.answer(400)
        return
    caller = Caller(session.revision, session.capabilities, _nobody)
    responses = [await answer(session.world, caller, message) for message in messages if "id" in message]
    if session.wrong("batching.a-batch-of-requests-gets-all-responses"):
        responses = responses[:1]
    if not responses:
        wrong = session.wrong("batching.a-batch-of-notifications-is-answered-with-202")
        await x.answer(200 if wrong else 202, [] if wrong else None)
    elif session.wrong("batching.a-batch-is-answered-with-json-or-a-stream"):
        await x.answer(200, json.dumps(responses).encode(), {"content-type": "text/plain"})
    else:
        await x.answer(200, responses)


async def _nobody(message: Message) -> None:
    raise AssertionError(message)


async def _request(session: Session, x: Exchange, message: Message) -> None:
    if not is_long(message):
        caller = Caller(session.revision, session.capabilities, _nobody)
        response = await answer(session.world, caller, message)
        if session.wrong("posts.a-request-is-answered-with-json-or-a-stream"):
            await x.answer(200, json.dumps(response).encode(), {"content-type": "text/plain"})
            return
        await x.answer(200, response)
        return
    stream = session.open_stream()
    await x.open_stream()
    if session.revision >= "2025-11-25" and not session.wrong("posts.a-stream-opens-with-a-priming-event"):
        session.events += 1
        event_id = (
            str(0) if session.wrong("resumption.event-ids-are-unique-in-a-session") else f"{stream.number}-{session.events}"
        )
        await x.event("", event_id)
    session.world.nursery.start_soon(session.run, message, stream)
    try:
        await _follow(session, x, stream, 0)
    except trio.BrokenResourceError:
        if session.wrong("posts.a-disconnection-is-no-cancellation"):
            session.running[message["id"]].cancel()
        raise


async def _follow(session: Session, x: Exchange, stream: Stream, position: int) -> None:
    """Send what a stream carries, from a position on, to its end."""
    while True:
        while position < len(stream.messages):
            event_id, message = stream.messages[position]
            await x.event(message, event_id)
            position += 1
            if session.wrong("posts.a-connection-is-closed-early-only-with-a-retry"):
                await x.end_stream()
                return
        if stream.has_ended:
            await x.end_stream()
            return
        await stream.changed.wait()


async def get(world: World, x: Exchange) -> None:
    """GET: listen, or come back."""
    session = await find_session(world, x)
    if session is None:
        return
    if world.wrong("posts.the-endpoint-takes-post-and-get"):
        await x.answer(404)
        return
    if world.wrong("listening.a-get-is-answered-with-a-stream-or-405"):
        await x.answer(200, b"hello", {"content-type": "text/plain"})
        return
    last = x.headers.get("last-event-id")
    if last is not None:
        stream, position = _find_event(session, last)
        await x.open_stream()
        await _follow(session, x, stream, position)
        return
    stream = session.open_stream()
    session.standalone.append(stream)
    await x.open_stream()
    if session.wrong("lifecycle.nothing-is-asked-before-initialized"):
        await x.event({"jsonrpc": "2.0", "id": "early", "method": "roots/list"})
    try:
        await _follow(session, x, stream, 0)
    finally:
        session.standalone.remove(stream)


def _find_event(session: Session, last: str) -> tuple[Stream, int]:
    """Which stream an event belongs to, and what follows it there."""
    stream = session.streams[int(last.partition("-")[0])]
    if session.wrong("resumption.an-event-id-leads-back-to-its-stream"):
        stream = max((one for one in session.streams if one not in session.standalone), key=lambda one: one.number)
    if session.wrong("resumption.a-resumed-stream-carries-its-own-messages-only"):
        for other in session.streams:
            if other is not stream:
                stream.messages += [one for one in other.messages if "method" in one[1]]
    ids = [event_id for event_id, _ in stream.messages]
    return stream, ids.index(last) + 1 if last in ids else 0


async def delete(world: World, x: Exchange) -> None:
    """DELETE: the end of a session."""
    session = await find_session(world, x)
    if session is not None:
        world.ended += 1
        del world.sessions[session.name]
        for stream in session.standalone:
            stream.end()
        await x.answer(204)
