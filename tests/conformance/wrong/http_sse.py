"""HTTP with SSE: the two endpoints of 2024-11-05."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from .http import Exchange
from .sessions import Session, Stream, initialize, new_session_id

if TYPE_CHECKING:
    from .world import World


async def open_stream(world: World, x: Exchange) -> None:
    """GET of the first endpoint: a session, for as long as the connection lasts."""
    name = new_session_id(world).replace(" ", "")
    session = world.sessions[name] = Session(world, name, "2024-11-05", {})
    session.standalone.append(session.open_stream())
    stream = session.standalone[0]
    host = "http://elsewhere.example" if world.wrong("http-sse.the-endpoint-is-of-the-same-origin") else ""
    await x.open_stream()
    if world.wrong("http-sse.the-endpoint-event-comes-first"):
        await x.event({"jsonrpc": "2.0", "method": "notifications/hello"})
    await x.event(f"{host}/messages?session={name}", name="endpoint")
    if world.wrong("lifecycle.nothing-is-asked-before-initialized"):
        await x.event({"jsonrpc": "2.0", "id": "early", "method": "roots/list"})
    position = 0
    try:
        while True:
            while position < len(stream.messages):
                message = stream.messages[position][1]
                unnamed = message.get("id") == "named" and world.wrong("http-sse.messages-come-as-message-events")
                await x.event(message, name="reply" if unnamed else "message")
                position += 1
            await stream.changed.wait()
    finally:
        world.sessions.pop(name, None)


async def post(world: World, x: Exchange) -> None:
    """POST to the second endpoint."""
    session = world.sessions.get(x.query.removeprefix("session="))
    if session is None:
        await x.answer(404)
        return
    message = json.loads(x.body)
    if message.get("id") == "posted" and world.wrong("http-sse.messages-are-posted-to-the-endpoint"):
        await x.answer(405)
        return
    if message.get("method") == "initialize":
        session.capabilities = message["params"]["capabilities"]
        session.put(session.standalone[0], initialize(world, message))
    elif "method" in message and "id" in message:
        private = Stream(0)
        world.nursery.start_soon(_relay, session, private)
        world.nursery.start_soon(session.run, message, private)
    else:
        status = session.hear(message)
        if status == 200 and "method" in message:
            session.put(session.standalone[0], {"jsonrpc": "2.0", "id": None, "result": {}})
        if status == 500:
            await x.answer(500)
            return
    await x.answer(202)


async def _relay(session: Session, private: Stream) -> None:
    """Everything of one request goes onto the one stream of its session."""
    position = 0
    while not private.has_ended or position < len(private.messages):
        while position < len(private.messages):
            event_id, message = private.messages[position]
            listeners = [session]
            if session.wrong("http-sse.sessions-do-not-hear-each-other") and "method" not in message:
                listeners = list(session.world.sessions.values())[::-1]
            for listener in listeners:
                listener.standalone[0].add(event_id, message)
            position += 1
        if not private.has_ended:
            await private.changed.wait()
