"""The revisions with a handshake: sessions, what runs in them, and the streams that it appends to."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from .tools import LEGACY, SERVER_INFO, Caller, Message, Refused, finish

if TYPE_CHECKING:
    from .world import World


@dataclass
class Stream:
    """What one stream has carried: numbered messages, and whether more will come."""

    number: int
    messages: list[tuple[str, Message]] = field(default_factory=list)
    has_ended: bool = False
    changed: trio.Event = field(default_factory=trio.Event)

    def add(self, event_id: str, message: Message) -> None:
        self.messages.append((event_id, message))
        self.wake()

    def end(self) -> None:
        self.has_ended = True
        self.wake()

    def wake(self) -> None:
        self.changed.set()
        self.changed = trio.Event()


@dataclass
class Session:
    """One client, from its handshake to its end."""

    world: World
    name: str
    revision: str
    capabilities: Message
    streams: list[Stream] = field(default_factory=list)
    standalone: list[Stream] = field(default_factory=list)
    running: dict[Any, trio.CancelScope] = field(default_factory=dict)
    asked: dict[Any, Message | None] = field(default_factory=dict)
    answered: trio.Event = field(default_factory=trio.Event)
    questions: int = 0
    events: int = 0

    def wrong(self, fault: str) -> bool:
        return self.world.wrong(fault)

    def open_stream(self) -> Stream:
        stream = Stream(len(self.streams))
        self.streams.append(stream)
        return stream

    def put(self, stream: Stream, message: Message) -> None:
        """Append a message to a stream, under an id that says which."""
        self.events += 1
        event_id = f"{stream.number}-{self.events}"
        if self.wrong("resumption.event-ids-are-unique-in-a-session"):
            event_id = str(len(stream.messages))
        stream.add(event_id, message)
        is_progress = message.get("method") == "notifications/progress"
        for other in self.standalone:
            twice = self.wrong("listening.each-message-travels-on-one-stream")
            if is_progress and (
                twice or self.wrong("listening.nothing-of-a-running-request-comes-on-the-standalone-stream")
            ):
                other.add(event_id, message)
            if "method" not in message and self.wrong("listening.no-response-comes-on-the-standalone-stream"):
                other.add(event_id, message)
        if is_progress and self.wrong("posts.a-stream-carries-what-relates-to-its-request"):
            for other in self.streams:
                if other is not stream and not other.has_ended and other not in self.standalone:
                    other.add(event_id + "-too", message)

    async def run(self, message: Message, stream: Stream) -> None:
        """Carry out one request, everything of it on one stream."""

        async def tell(notification: Message) -> None:
            self.put(stream, notification)

        caller = Caller(self.revision, self.capabilities, tell, partial(self._ask, stream))
        with trio.CancelScope() as scope:
            self.running[message["id"]] = scope
            response = await answer(self.world, caller, message)
            if self.wrong("posts.a-stream-brings-the-response") and is_long(message):
                stream.end()
                return
            self.put(stream, response)
            token = ((message.get("params") or {}).get("_meta") or {}).get("progressToken")
            if token is not None and self.wrong("progress.progress-stops-with-the-response"):
                self.put(stream, self.world.offers.progress(token, 999))
            if self.wrong("posts.a-stream-ends-with-the-response") and is_long(message):
                await trio.sleep_forever()
        self.running.pop(message["id"], None)
        stream.end()

    async def _ask(self, stream: Stream, method: str, params: Message) -> Message:
        self.questions += 1
        reuse = self.wrong("messages.requests-of-the-server-have-ids-of-their-own")
        request_id = "question" if reuse else f"question-{self.questions}"
        self.asked[request_id] = None
        self.put(stream, {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params})
        while (result := self.asked[request_id]) is None:
            await self.answered.wait()
        return result

    def hear(self, message: Message) -> int:
        """Take a notification or a response, and return a status."""
        if message.get("method") == "notifications/cancelled":
            request_id = (message.get("params") or {}).get("requestId")
            scope = self.running.get(request_id) if isinstance(request_id, str | int) else None
            if scope is not None and not self.wrong("cancellation.a-cancelled-request-is-not-carried-out"):
                scope.cancel()
            if scope is None and self.wrong("cancellation.invalid-cancellations-are-ignored"):
                return 500
            if scope is None and self.wrong("cancellation.a-cancellation-that-comes-too-late-does-no-harm"):
                self.world.sessions.pop(self.name, None)
        elif "method" not in message and message.get("id") in self.asked:
            self.asked[message["id"]] = message.get("result") or {}
            self.answered.set()
            self.answered = trio.Event()
            return 200 if self.wrong("posts.an-answer-is-answered-with-202") else 202
        elif (
            ("method" not in message and self.wrong("posts.a-stray-response-is-answered-with-202-or-an-error"))
            or ("method" in message and self.wrong("posts.a-notification-is-answered-with-202"))
            or ("no-such-thing" in str(message.get("method")) and self.wrong("messages.notifications-get-no-response"))
        ):
            return 200
        return 202


def is_long(message: Message) -> bool:
    return (message.get("params") or {}).get("name") in ("count", "ask_name")


async def answer(world: World, caller: Caller, message: Message) -> Message:
    """The response to a request of either era."""
    try:
        return finish(world.offers, message, await world.offers.answer(caller, message), None)
    except Refused as refused:
        response = finish(world.offers, message, None, refused)
        response["_status"] = refused.status
        if caller.revision in LEGACY:
            del response["_status"]
        return response


def initialize(world: World, message: Message) -> Message:
    """The response to `initialize`."""
    wanted = message["params"]["protocolVersion"]
    spoken = [revision for revision in world.speaks if revision in LEGACY]
    agreed = wanted if wanted in spoken else max(spoken)
    if wanted not in spoken:
        if world.wrong("lifecycle.another-revision-is-offered-for-one-that-is-not-supported"):
            agreed = wanted
        if world.wrong("lifecycle.the-latest-revision-is-offered"):
            agreed = min(spoken)
    elif world.wrong("lifecycle.a-revision-that-is-offered-is-agreed-to"):
        agreed = next(revision for revision in spoken if revision != wanted)
    result: Message = {"protocolVersion": agreed, "capabilities": {"tools": {}, "prompts": {}}, "serverInfo": SERVER_INFO}
    if world.wrong("lifecycle.initialize-is-answered-with-capabilities-and-information"):
        del result["serverInfo"]
    return finish(world.offers, message, result, None)


def new_session_id(world: World) -> str:
    number = len(world.sessions) + world.ended
    if world.wrong("sessions.a-session-id-is-visible-ascii"):
        return f"{secrets.token_hex(16)} {number}"
    if world.wrong("sessions.session-ids-are-unique"):
        return "d7a3f1c09b8e4d52a6f0"
    if world.wrong("sessions.session-ids-cannot-be-guessed"):
        return f"session-{number:016}"
    return secrets.token_hex(16)
