"""One `subscriptions/listen` that stands in for what a legacy client subscribes to one by one.

2026-07-28, Subscriptions: a client says in one long request which notifications it wants to hear.  A legacy client says so
URI by URI (`resources/subscribe`), and hears of changed lists without a word, where the server's capabilities say
`listChanged`.  So there is one listen for all of it.  A listen can't be changed; where the client wants another URI, or one
less, its successor is opened, and the old one is cancelled once the new one is acknowledged.  What comes in between is taken
from the old one only, so that the client hears nothing twice and misses nothing.

A listen that ends without our doing is opened again, later and later.  What happens until then goes unheard.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, Final

from ..errors import ChildError, InvalidParams, MethodNotFound, error_response
from ..messages import Notification, Request, RequestId
from ..meta_keys import SUBSCRIPTION_ID
from ..own_messages import LISTEN, cancelled_notification
from ..splice import REMOVE, splice
from ..translation import Step
from .introduction import Introduction
from .results import empty_response

ACKNOWLEDGED: Final = "notifications/subscriptions/acknowledged"
SUBSCRIBE: Final = "resources/subscribe"

_KINDS: Final = {
    "toolsListChanged": "tools",
    "promptsListChanged": "prompts",
    "resourcesListChanged": "resources",
}
"""Members of the filter, and the capability whose `listChanged` says that there is such a notification."""
_ACKNOWLEDGE_TIME: Final = 30.0
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 30.0


def subscription_id(notification: Notification) -> RequestId | None:
    """Return the id of the listen to which a notification belongs, None where it belongs to none."""
    meta = notification.params.get("_meta")
    value = meta.get(SUBSCRIPTION_ID) if type(meta) is dict else None
    return value if type(value) is str or type(value) is int else None


class _Listen:
    """One `subscriptions/listen`.

    Attributes:
      uris: the resources in its filter.
      changes: the client's requests that its acknowledgment answers.
      since: when it was opened, and later when it was acknowledged.
    """

    __slots__ = ("changes", "id", "since", "uris")

    def __init__(self, listen_id: str, uris: frozenset[str], changes: list[Request], since: float) -> None:
        self.id = listen_id
        self.uris = uris
        self.changes = changes
        self.since = since


class Listening:
    """What one client hears of changes.

    Args:
      capabilities: the server's, as it told them.
    """

    def __init__(self, introduction: Introduction, capabilities: dict[str, Any], new_id: Callable[[], str]) -> None:
        self._introduction = introduction
        self._new_id = new_id
        self._kinds = [kind for kind, name in _KINDS.items() if _has(capabilities, name, "listChanged")]
        self._can_subscribe = _has(capabilities, "resources", "subscribe")
        self._uris: frozenset[str] = frozenset()
        self._current: _Listen | None = None
        # At most one successor at a time; what the client wants meanwhile waits for it.
        self._opening: _Listen | None = None
        self._changes: list[Request] = []
        self._retry_at = math.inf
        self._pause = _FIRST_PAUSE

    @property
    def deadline(self) -> float:
        """When `wake` is to be called next."""
        return min(self._retry_at, self._opening.since + _ACKNOWLEDGE_TIME if self._opening else math.inf)

    def owns(self, request_id: RequestId | None) -> bool:
        """Return whether that is the id of a listen of ours that is open."""
        return any(listen and listen.id == request_id for listen in (self._current, self._opening))

    def start(self, now: float) -> Step:
        """Listen to what the client hears without asking for it."""
        is_idle = self._current is None and self._opening is None
        return self._open(self._uris, [], now) if self._kinds and is_idle else Step()

    def change(self, request: Request, now: float) -> Step:
        """Take a `resources/subscribe` or `resources/unsubscribe` of the client."""
        if not self._can_subscribe:
            message = f"{request.method}: the server does not declare resources.subscribe"
            return Step(to_client=(error_response(MethodNotFound(message), request.id),))
        if type(request.params.get("uri")) is not str:
            message = f"{request.method}: uri is a string; this is {json.dumps(request.params.get('uri'))}"
            return Step(to_client=(error_response(InvalidParams(message), request.id),))
        self._changes.append(request)
        return self._make_changes(now)

    def withdraw(self, request_id: RequestId) -> None:
        """Forget that the client waits for the answer to a change; the change itself may have been made."""
        self._changes = [change for change in self._changes if change.id != request_id]
        if self._opening:
            self._opening.changes = [change for change in self._opening.changes if change.id != request_id]

    def hear(self, notification: Notification, now: float) -> Step:
        """Take a notification that belongs to a listen."""
        listen_id = subscription_id(notification)
        if self._opening and listen_id == self._opening.id and notification.method == ACKNOWLEDGED:
            return self._replace(self._opening, notification, now)
        if self._current and listen_id == self._current.id and notification.method != ACKNOWLEDGED:
            is_alone = len(notification.params["_meta"]) == 1
            path = ("params", "_meta") if is_alone else ("params", "_meta", SUBSCRIPTION_ID)
            return Step(to_client=(splice(notification.raw, {path: REMOVE}),))
        # Of a listen that is no longer, or one that may not say anything yet.
        return Step()

    def end(self, listen_id: RequestId | None, reason: str, now: float) -> Step:
        """Note that the server has ended one of our listens."""
        answers: tuple[bytes, ...] = ()
        if self._opening and listen_id == self._opening.id:
            failed = ChildError(f"the server does not listen: {reason}")
            answers = tuple(error_response(failed, change.id) for change in self._opening.changes)
            self._opening = None
        elif self._current and listen_id == self._current.id:
            # One that lasted was no failure.
            if now - self._current.since >= _LONGEST_PAUSE:
                self._pause = _FIRST_PAUSE
            self._current = None
        if self._current is None and self._opening is None and (self._kinds or self._uris):
            self._retry_at = now + self._pause
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        step = self._make_changes(now)
        return step._replace(to_client=answers + step.to_client)

    def wake(self, now: float) -> Step:
        """Open again what has ended, and give up what is not acknowledged."""
        if self._opening and now >= self._opening.since + _ACKNOWLEDGE_TIME:
            late = self._opening.id
            step = self.end(late, f"no {ACKNOWLEDGED} within {_ACKNOWLEDGE_TIME:g} s", now)
            return step._replace(to_server=(cancelled_notification(late, "not acknowledged in time"), *step.to_server))
        return self._open(self._uris, [], now) if now >= self._retry_at else Step()

    def close(self) -> Step:
        """Stop listening."""
        open_ids = [listen.id for listen in (self._current, self._opening) if listen]
        self._current = self._opening = None
        self._retry_at = math.inf
        return Step(to_server=tuple(cancelled_notification(listen_id, "nothing is listened to") for listen_id in open_ids))

    def _make_changes(self, now: float) -> Step:
        """Open the listen that the client's changes ask for, or answer them where they change nothing."""
        if self._opening or not self._changes:
            return Step()
        changes, self._changes = self._changes, []
        uris = set(self._uris)
        for change in changes:
            (uris.add if change.method == SUBSCRIBE else uris.discard)(change.params["uri"])
        if self._kinds or uris:
            if self._current is None or self._current.uris != uris:
                return self._open(frozenset(uris), changes, now)
            return Step(to_client=tuple(empty_response(change) for change in changes))
        # Nothing is left to listen to.
        self._uris = frozenset()
        return Step(tuple(empty_response(change) for change in changes), self.close().to_server)

    def _open(self, uris: frozenset[str], changes: list[Request], now: float) -> Step:
        self._retry_at = math.inf
        listen = self._opening = _Listen(self._new_id(), uris, changes, now)
        wanted: dict[str, Any] = dict.fromkeys(self._kinds, True)
        if uris:
            wanted["resourceSubscriptions"] = sorted(uris)
        params = {"notifications": wanted}
        raw = json.dumps({"jsonrpc": "2.0", "id": listen.id, "method": LISTEN, "params": params}, separators=(",", ":"))
        return Step(to_server=(splice(raw.encode(), self._introduction.edits()),))

    def _replace(self, listen: _Listen, acknowledgment: Notification, now: float) -> Step:
        """Let `listen` take the place of its predecessor, and answer who waited for it."""
        honoured = acknowledgment.params.get("notifications")
        heard = honoured.get("resourceSubscriptions") if type(honoured) is dict else None
        heard = heard if type(heard) is list else []
        answers = []
        refused = set()
        for change in listen.changes:
            uri = change.params["uri"]
            if change.method == SUBSCRIBE and uri in listen.uris and uri not in heard:
                refused.add(uri)
                error = InvalidParams(f"the server does not honour a subscription to {uri}", data={"uri": uri})
                answers.append(error_response(error, change.id))
            else:
                answers.append(empty_response(change))
        old, self._current, self._opening = self._current, listen, None
        listen.since = now
        listen.changes = []
        # What was refused is not asked for again, unless the client does.
        self._uris = listen.uris = listen.uris - refused
        step = self._make_changes(now)
        ends = (cancelled_notification(old.id, f"{listen.id} has taken its place"),) if old else ()
        return Step((*answers, *step.to_client), (*ends, *step.to_server))


def _has(capabilities: dict[str, Any], name: str, part: str) -> bool:
    parts = capabilities.get(name)
    return type(parts) is dict and parts.get(part) is True
