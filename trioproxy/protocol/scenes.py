"""A recorded session, taken apart: what the server said, by the message of the client that made it say so.

A *scene* is one request or notification of a client and all that followed from it.  Which that is, is written in some
messages and has to be guessed of others:

| what the server said | its scene |
|---|---|
| a response | that of its request, by the id |
| progress | that of the request whose token it carries |
| news for a subscription | that of what the client said last: it follows from what was done, not from the wish to hear |
| anything else | that of the only request in flight, in its exchange and on its stream; else of what the client said last |

So a server that tells of a change after its answer, or asks for the roots once it is initialized, does so again at the right
moment.  Where the client answered a question, or cancelled its request, is a place in a scene, too: what
the server said after it may follow from it, and has to wait for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, NamedTuple, TypeAlias

from .errors import InvalidRequest, ParseError
from .messages import Message, Notification, Request, RequestId, Response, parse_body
from .meta_keys import SUBSCRIPTION_ID
from .own_messages import CANCELLED, LISTEN
from .recording import TO_SERVER, Entry
from .routing import PROGRESS


class Kind(Enum):
    """What of a message belongs to whom it was said to, and has to be written anew for somebody else."""

    RESPONSE = "response"
    """Its id, and in that of a subscription the subscription's."""
    PROGRESS = "progress"
    """Its token."""
    SUBSCRIBED = "subscribed"
    """The id of the subscription for which it was said."""
    QUESTION = "question"
    """Nothing, unless its id is in use."""
    CANCELLED = "cancelled"
    """The id of the question that it takes back, where that was changed."""
    OTHER = "other"


class Said(NamedTuple):
    """One message of the server.

    Attributes:
      pause: seconds since what came before it in its scene.
      owner: the scene of the subscription for which it was said, which need not be the one that it is in.
      id: of the question that it asks or takes back.
    """

    message: Message
    pause: float
    kind: Kind
    owner: Scene | None = None
    id: RequestId | None = None


class Heard(NamedTuple):
    """The place where the client answered the question with this id; where it cancelled its request, if there is none."""

    id: RequestId | None


Line: TypeAlias = Said | Heard


@dataclass(eq=False)
class Scene:
    """What followed from one message of the client.

    Attributes:
      cue: the message; None for what the server said before there was any.
    """

    cue: Request | Notification | None
    lines: list[Line] = field(default_factory=list)
    is_answered: bool = False
    is_refused: bool = False
    is_cancelled: bool = False
    stream: int | None = None
    exchange: str | int | None = None
    last_at: float = 0.0

    @property
    def is_subscription(self) -> bool:
        """Whether it is that of a request which is answered when the server ends, and not before."""
        return isinstance(self.cue, Request) and self.cue.method == LISTEN

    @property
    def is_incomplete(self) -> bool:
        """Whether there should be an answer, and is none."""
        return isinstance(self.cue, Request) and not (self.is_answered or self.is_cancelled or self.is_subscription)


_Key: TypeAlias = "tuple[str | int | None, RequestId]"

_NO_CUES: Final = (CANCELLED, PROGRESS)
"""What a client notifies of that makes no server speak."""


class Recorded:
    """A session, to which one adds what passed, in the order in which it did.

    Attributes:
      scenes: in the order of their cues; the first has none.
      skipped: what could not be understood, or fits nowhere, each with the reason.
    """

    def __init__(self) -> None:
        self.scenes: Final = [Scene(None)]
        self.skipped: Final[list[str]] = []
        self._last = self.scenes[0]
        self._in_flight: dict[_Key, Scene] = {}
        self._by_token: dict[_Key, Scene] = {}
        self._questions: dict[_Key, Scene] = {}

    def add(self, entry: Entry, at: float) -> None:
        """Add a message.

        Args:
          at: when it passed, in seconds.
        """
        if entry.length is not None:
            self.skipped.append(f"a line of {entry.length} bytes, which was over the limit")
            return
        if self.scenes[0].last_at == 0.0:
            self.scenes[0].last_at = at
        try:
            for message in _messages(entry.message):
                if entry.direction == TO_SERVER:
                    self._hear(message, entry, at)
                else:
                    self._say(message, entry, at)
        except (ParseError, InvalidRequest) as error:
            self.skipped.append(str(error))

    def _hear(self, message: Message, entry: Entry, at: float) -> None:
        if isinstance(message, Response):
            scene = None if message.id is None else _pop(self._questions, entry, message.id)
            if scene is not None:
                scene.lines.append(Heard(message.id))
                scene.last_at = at
            return
        if isinstance(message, Notification) and message.method in _NO_CUES:
            if message.method == CANCELLED and message.cancelled_id is not None:
                cancelled = _find(self._in_flight, entry, message.cancelled_id)
                if cancelled is not None and not cancelled.is_cancelled:
                    cancelled.is_cancelled = True
                    cancelled.lines.append(Heard(None))
                    cancelled.last_at = at
            return
        scene = Scene(message, stream=entry.stream, exchange=entry.request, last_at=at)
        if isinstance(message, Request):
            self._in_flight[entry.request, message.id] = scene
            if message.progress_token is not None:
                self._by_token[entry.request, message.progress_token] = scene
        self._last = scene
        self.scenes.append(scene)

    def _say(self, message: Message, entry: Entry, at: float) -> None:
        scene, kind, owner, question = self._place(message, entry)
        if scene.is_subscription and kind is Kind.RESPONSE and not scene.is_refused:
            # It ends with the server, whose end is now to come; played back, it would come at once.
            return
        scene.lines.append(Said(message, max(0.0, at - scene.last_at), kind, owner, question))
        scene.last_at = at

    def _place(self, message: Message, entry: Entry) -> tuple[Scene, Kind, Scene | None, RequestId | None]:
        """Return the scene of a message of the server's, and what else there is to know of it."""
        if isinstance(message, Response):
            scene = None if message.id is None else _pop(self._in_flight, entry, message.id)
            if scene is None:
                raise InvalidRequest(f"an answer to nothing, id {message.id!r}")
            scene.is_answered, scene.is_refused = True, message.is_error
            return scene, Kind.RESPONSE, None, None
        if isinstance(message, Notification) and message.method == PROGRESS:
            token = message.progress_token
            scene = None if token is None else _find(self._by_token, entry, token)
            if scene is None:
                raise InvalidRequest(f"progress of nothing, token {token!r}")
            return scene, Kind.PROGRESS, None, None
        subscription = _subscription(message)
        if subscription is not None:
            scene = _find(self._in_flight, entry, subscription)
            if scene is None:
                raise InvalidRequest(f"news for no subscription, id {subscription!r}")
            return self._last, Kind.SUBSCRIBED, scene, None
        scene = self._find_scene(entry)
        if isinstance(message, Request):
            self._questions[entry.request, message.id] = scene
            return scene, Kind.QUESTION, None, message.id
        question = message.cancelled_id
        if message.method == CANCELLED and question is not None:
            return _pop(self._questions, entry, question) or scene, Kind.CANCELLED, None, question
        return scene, Kind.OTHER, None, None

    def _find_scene(self, entry: Entry) -> Scene:
        flying = [scene for scene in self._in_flight.values() if scene.is_incomplete]
        if entry.request is not None:
            flying = [scene for scene in flying if scene.exchange == entry.request] or flying
        if entry.stream is not None:
            flying = [scene for scene in flying if scene.stream == entry.stream] or flying
        return flying[0] if len(flying) == 1 else self._last


def _find(scenes: dict[_Key, Scene], entry: Entry, name: RequestId) -> Scene | None:
    """Return the scene of that name in the exchange of `entry`, or else in the only one that has it."""
    found = scenes.get((entry.request, name))
    if found is not None:
        return found
    same = [scene for (_, other), scene in scenes.items() if other == name and type(other) is type(name)]
    return same[0] if len(same) == 1 else None


def _pop(scenes: dict[_Key, Scene], entry: Entry, name: RequestId) -> Scene | None:
    scene = scenes.pop((entry.request, name), None)
    if scene is None and (scene := _find(scenes, entry, name)) is not None:
        del scenes[next(key for key, found in scenes.items() if found is scene and key[1] == name)]
    return scene


def _messages(raw: bytes) -> Iterator[Message]:
    parsed = parse_body(raw)
    yield from parsed if isinstance(parsed, list) else [parsed]


def _subscription(message: Request | Notification) -> RequestId | None:
    """Return the id of the subscription that a message is about."""
    meta: Any = message.params.get("_meta")
    named = meta.get(SUBSCRIPTION_ID) if isinstance(meta, dict) else None
    return named if isinstance(named, int | str) and not isinstance(named, bool) else None
