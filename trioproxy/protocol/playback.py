"""A recorded session, played back: the server's part, for a client that says its own again.

A request is known by its method and params, and answered as it was then, under its new id, with all that the server said
meanwhile; when it comes again, as it was the next time, and in the end as the last time again.  What differs from one run to
the next doesn't count: `_meta`, in which progress tokens, traces and the envelope of a modern request are; who
introduces itself with `initialize` or `server/discover`; and what is answered to a question of the server's.

A scene (`scenes`) is played from its cue on until it comes to a place where the client said something, and waits for that.
Scenes know nothing of each other, and are played side by side.

What was never recorded is refused, except for what any server answers: `ping`, and a handshake in a recording that has none.
"""

from __future__ import annotations

import difflib
import json
import math
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from .errors import INTERNAL_ERROR, INVALID_PARAMS, METHOD_NOT_FOUND
from .messages import Message, Notification, ProgressToken, Request, RequestId, Response, replace_response_id
from .meta_keys import SUBSCRIPTION_ID
from .own_messages import CANCELLED, DISCOVER
from .revisions import LATEST_LEGACY_REVISION, MODERN_REVISION
from .scenes import Heard, Kind, Said, Scene
from .splice import splice

_Key: TypeAlias = tuple[str, str]

_INTRODUCTIONS: Final = ("initialize", DISCOVER)
_ANSWERS: Final = "inputResponses"
"""Of a retry of 2026-07-28: what the client answers to the questions in a result."""
_CACHEABLE: Final = frozenset({DISCOVER, "tools/list", "prompts/list", "resources/list", "resources/templates/list"})
"""What 2026-07-28 lets a client keep for a while (Caching), resources that are read aside."""
_SHOWN: Final = 300
"""Characters of a request that are shown or compared with those of others."""
_COMPARED: Final = 200
"""Requests that are compared to find the nearest."""
_SELF: Final = {"name": "trioproxy replay", "version": "0"}


@dataclass(eq=False)
class _Cue:
    """All scenes that begin alike, and how many of them have been played."""

    scenes: list[Scene] = field(default_factory=list)
    played: int = 0


@dataclass(eq=False)
class _Run:
    """A scene that is being played, for this request or for none."""

    scene: Scene
    request: Request | None
    last_at: float
    position: int = 0
    due: float = math.inf
    names: dict[RequestId, RequestId] = field(default_factory=dict)  # of questions that wait for an answer
    is_cancelled: bool = False


class Playback:
    """The server of a recording.

    Args:
      scenes: as `Recorded` has them.
      speed: 1 for the pauses that were recorded, 2 for half of them; infinity for none.
    """

    def __init__(self, scenes: Iterable[Scene], speed: float = math.inf) -> None:
        self._speed = speed
        self._requests: dict[_Key, _Cue] = {}
        self._notifications: dict[_Key, _Cue] = {}
        self._prologue: list[Scene] = []
        self._in_flight: dict[RequestId, _Run] = {}
        self._questions: dict[RequestId, tuple[_Run, RequestId]] = {}
        self._timed: dict[_Run, None] = {}
        self._renamed = 0
        self._is_modern = False
        self._numbers: dict[Scene, int] = {}
        self._deeds: list[int] = []  # the numbers of scenes that may have changed something
        self._deeds_done = 0
        for number, scene in enumerate(scenes):
            self._numbers[scene] = number
            if scene.cue is None:
                self._prologue.append(scene)
            elif isinstance(scene.cue, Notification):
                self._notifications.setdefault(_key(scene.cue), _Cue()).scenes.append(scene)
            else:
                self._requests.setdefault(_key(scene.cue), _Cue()).scenes.append(scene)
                self._is_modern |= scene.cue.has_modern_claim
                if scene.cue.method not in _CACHEABLE and not scene.is_subscription:
                    self._deeds.append(number)

    @property
    def deadline(self) -> float:
        """When `wake` is to be called next; infinity when nothing waits for a time."""
        return min((run.due for run in self._timed), default=math.inf)

    def start(self, now: float) -> list[bytes]:
        """Return what the server says before it has heard anything."""
        return [line for scene in self._prologue for line in self._go_on(_Run(scene, None, now), now)]

    def from_client(self, message: Message, now: float) -> list[bytes]:
        """Take a message of the client, and return what the server says to it at once."""
        if isinstance(message, Response):
            return self._take_answer(message, now)
        if isinstance(message, Notification) and message.method == CANCELLED:
            return self._cancel(message.cancelled_id, now)
        if isinstance(message, Notification):
            cue = self._notifications.get(_key(message))
            return [] if cue is None else self._go_on(_Run(self._next_scene(cue, message), None, now), now)
        cue = self._requests.get(_key(message))
        if cue is None:
            return [self._answer_unrecorded(message)]
        run = self._in_flight[message.id] = _Run(self._next_scene(cue, message), message, now)
        return self._go_on(run, now)

    def wake(self, now: float) -> list[bytes]:
        """Return what the server says now that it has waited for long enough."""
        due = sorted((run for run in self._timed if run.due <= now), key=lambda run: run.due)
        return [line for run in due for line in self._go_on(run, now)]

    # A scene goes on from one wait to the next

    def _go_on(self, run: _Run, now: float) -> list[bytes]:
        said: list[bytes] = []
        lines = run.scene.lines
        self._timed.pop(run, None)
        while run.position < len(lines):
            line = lines[run.position]
            if isinstance(line, Heard):
                if line.id in run.names or (line.id is None and not run.is_cancelled):
                    return said
                run.last_at = now
            else:
                due = run.last_at + line.pause / self._speed
                if due > now:
                    run.due = due
                    self._timed[run] = None
                    return said
                run.last_at = due
                said += self._say(run, line)
            run.position += 1
        if run.request is not None and run.scene.is_incomplete and self._in_flight.get(run.request.id) is run:
            said.append(_error(run.request, INTERNAL_ERROR, f"the recording ends before {run.request.method} is answered"))
            self._land(run)
        return said

    def _say(self, run: _Run, line: Said) -> list[bytes]:
        """Return a message of the server's as it is for who listens now; nothing if that is nobody."""
        message = line.message
        if line.kind is Kind.QUESTION:
            assert isinstance(message, Request)
            return [self._ask(run, message)]
        if line.kind is Kind.CANCELLED:
            return self._take_back(run, line)
        if line.kind is Kind.SUBSCRIBED:
            subscribed = [run] if line.owner is run.scene else [r for r in self._in_flight.values() if r.scene is line.owner]
            ids = [listening.request.id for listening in subscribed if listening.request is not None]
            return [splice(message.raw, {("params", "_meta", SUBSCRIPTION_ID): _encode(request_id)}) for request_id in ids]
        if run.request is None or line.kind is Kind.OTHER:
            return [message.raw]
        if line.kind is Kind.PROGRESS:
            token = run.request.progress_token
            return [] if token is None else [splice(message.raw, {("params", "progressToken"): _encode(token)})]
        assert isinstance(message, Response)
        self._land(run)
        return [replace_response_id(message, run.request.id)]

    def _land(self, run: _Run) -> None:
        assert run.request is not None
        for name in run.names.values():
            self._questions.pop(name, None)
        run.names.clear()
        if self._in_flight.get(run.request.id) is run:
            del self._in_flight[run.request.id]

    # Questions of the server's

    def _ask(self, run: _Run, question: Request) -> bytes:
        name = question.id
        if name in self._questions:
            # The same scene is played twice at the same time.
            self._renamed += 1
            name = f"replay-{self._renamed}"
        run.names[question.id] = name
        self._questions[name] = run, question.id
        return question.raw if name == question.id else splice(question.raw, {("id",): _encode(name)})

    def _take_answer(self, answer: Response, now: float) -> list[bytes]:
        asked = None if answer.id is None else self._questions.pop(answer.id, None)
        if asked is None:
            return []
        run, recorded_id = asked
        if run.names.get(recorded_id) == answer.id:
            del run.names[recorded_id]
        return self._go_on(run, now)

    def _take_back(self, run: _Run, line: Said) -> list[bytes]:
        assert line.id is not None
        name = run.names.pop(line.id, None)
        if name is None:
            return []
        self._questions.pop(name, None)
        return [splice(line.message.raw, {("params", "requestId"): _encode(name)})]

    def _cancel(self, request_id: RequestId | None, now: float) -> list[bytes]:
        run = None if request_id is None else self._in_flight.get(request_id)
        if run is None:
            return []
        run.is_cancelled = True
        rest = run.scene.lines[run.position :]
        if Heard(None) in rest:
            # It was cancelled then, too.  What it had not come to by now it won't.
            run.position += rest.index(Heard(None))
            said = self._go_on(run, now)
        else:
            run.position = len(run.scene.lines)
            self._timed.pop(run, None)
            said = []
        if run.position == len(run.scene.lines):
            self._land(run)
        return said

    # Which scene

    def _next_scene(self, cue: _Cue, message: Request | Notification) -> Scene:
        last = len(cue.scenes) - 1
        if self._is_modern and message.method in _CACHEABLE:
            # Asked for when somebody's copy has expired, a proxy's for instance: the answer is that of its time.
            reached = self._deeds[self._deeds_done] if self._deeds_done < len(self._deeds) else math.inf
            last = max(0, sum(self._numbers[scene] < reached for scene in cue.scenes) - 1)
        scene = cue.scenes[min(cue.played, last)]
        cue.played += 1
        self._deeds_done = max(self._deeds_done, bisect_right(self._deeds, self._numbers[scene]))
        return scene

    def _answer_unrecorded(self, request: Request) -> bytes:
        method = request.method
        if method == "ping":
            return _result(request, {})
        if method == "initialize" and not self._is_modern:
            asked = request.params.get("protocolVersion")
            revision = asked if isinstance(asked, str) else LATEST_LEGACY_REVISION
            return _result(request, {"protocolVersion": revision, "capabilities": self._capabilities(), "serverInfo": _SELF})
        if method == DISCOVER and self._is_modern:
            about = {"supportedVersions": [MODERN_REVISION], "capabilities": self._capabilities()}
            return _result(request, {"resultType": "complete", **about, "ttlMs": 0, "cacheScope": "public"})
        same = [key for key in self._requests if key[0] == method]
        nearest = _find_nearest(_key(request), same or list(self._requests))
        message = f"never recorded: {_show(_key(request))}"
        if nearest is not None:
            message += f"; the nearest that was: {_show(nearest)}"
        # A method that was never called is, as far as anybody knows, none of the server's.
        return _error(request, INVALID_PARAMS if same else METHOD_NOT_FOUND, message)

    def _capabilities(self) -> dict[str, Any]:
        """Return what a server must have declared that was asked what was recorded."""
        groups = {method.split("/")[0] for method, _ in self._requests}
        names = {"tools": "tools", "resources": "resources", "prompts": "prompts", "completion": "completions"}
        return {name: {} for group, name in (names | {"logging": "logging"}).items() if group in groups}


def _key(message: Request | Notification) -> _Key:
    """Return what a message is known by, whoever says it and whenever."""
    if message.method in _INTRODUCTIONS:
        return message.method, "{}"
    params = {name: value for name, value in message.params.items() if name != "_meta"}
    if isinstance(answers := params.get(_ANSWERS), dict):
        params[_ANSWERS] = sorted(answers)
    try:
        return message.method, json.dumps(params, sort_keys=True, separators=(",", ":"))
    except RecursionError:
        return message.method, message.raw.decode()


def _find_nearest(wanted: _Key, known: list[_Key]) -> _Key | None:
    texts = {_show(key): key for key in known[:_COMPARED]}
    near = difflib.get_close_matches(_show(wanted), texts, n=1, cutoff=0)
    return texts[near[0]] if near else None


def _show(key: _Key) -> str:
    text = " ".join(key)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def _result(request: Request, result: dict[str, Any]) -> bytes:
    return _encode({"jsonrpc": "2.0", "id": request.id, "result": result})


def _error(request: Request, code: int, message: str) -> bytes:
    return _encode({"jsonrpc": "2.0", "id": request.id, "error": {"code": code, "message": message}})


def _encode(value: dict[str, Any] | RequestId | ProgressToken) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
