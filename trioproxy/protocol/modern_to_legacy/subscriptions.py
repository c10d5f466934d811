"""`subscriptions/listen`, made of what a legacy server has in its place (2026-07-28, Subscriptions).

A legacy server announces changes of its lists to everybody, and changes of a resource to whoever has called
`resources/subscribe`.  A modern client hears nothing that it has not asked for, and says what it wants to hear in a request
that stays open.  So what the server announces goes to every open request that asked for it, stamped with the request's id,
and the server is subscribed to a resource as long as one of them wants it.
"""

from __future__ import annotations

from typing import Any, Final

from ..errors import InvalidParams
from ..messages import Notification, Request, RequestId, Response
from ..meta_keys import SUBSCRIPTION_ID
from ..outbox import Outbox, encode
from ..resources import RESOURCE_UPDATED, is_within
from ..splice import splice

_LIST_CHANGED: Final = {
    "notifications/prompts/list_changed": ("promptsListChanged", "prompts"),
    "notifications/resources/list_changed": ("resourcesListChanged", "resources"),
    "notifications/tools/list_changed": ("toolsListChanged", "tools"),
}
"""Notifications of changed lists: the member of the filter that asks for each, and the capability that promises it."""

CHANGES: Final = frozenset({*_LIST_CHANGED, RESOURCE_UPDATED})
"""What an open `subscriptions/listen` can carry."""


class _Listen:
    """One open request.

    Attributes:
      kinds: members of the filter that are honoured, `resourceSubscriptions` aside.
      uris: resources whose changes it is to hear of, in the order in which it named them.
      undecided: those of them to which the server has not subscribed yet.
    """

    __slots__ = ("id", "is_acknowledged", "kinds", "undecided", "uris")

    def __init__(self, request_id: RequestId, kinds: list[str], uris: list[str]) -> None:
        self.id = request_id
        self.kinds = kinds
        self.uris = uris
        self.undecided = set(uris)
        self.is_acknowledged = False

    def wants(self, notification: Notification) -> bool:
        if notification.method != RESOURCE_UPDATED:
            return _LIST_CHANGED[notification.method][0] in self.kinds
        uri = notification.params.get("uri")
        return type(uri) is str and any(is_within(uri, subscribed) for subscribed in self.uris)


class _Subscription:
    """One resource that the server is to tell us about.

    Attributes:
      listens: who wants to hear of it; with nobody left it ends.
      is_open: the server has agreed.
    """

    __slots__ = ("is_open", "listens")

    def __init__(self) -> None:
        self.listens: list[_Listen] = []
        self.is_open = False


class Subscriptions:
    """All open requests of one server's clients."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._listens: dict[RequestId, _Listen] = {}
        self._subscriptions: dict[str, _Subscription] = {}

    def __contains__(self, request_id: RequestId) -> bool:
        return request_id in self._listens

    def open(self, request: Request, capabilities: dict[str, Any]) -> None:
        """Begin to carry what `request` asks for and the server has declared that it can do.

        The acknowledgment waits for the server's word on each resource, since it "reflects the subset the server agreed to
        honor".

        Raises:
          InvalidParams: the filter is not one.
        """
        wanted = request.params.get("notifications")
        uris = wanted.get("resourceSubscriptions", []) if type(wanted) is dict else None
        if type(wanted) is not dict or type(uris) is not list or any(type(uri) is not str for uri in uris):
            raise InvalidParams("notifications is an object, and its resourceSubscriptions are an array of strings")
        kinds = [
            kind
            for kind, capability in _LIST_CHANGED.values()
            if wanted.get(kind) is True and _promises(capabilities, capability, "listChanged")
        ]
        uris = list(dict.fromkeys(uris)) if _promises(capabilities, "resources", "subscribe") else []
        listen = self._listens[request.id] = _Listen(request.id, kinds, uris)
        for uri in uris:
            self._subscribe(uri, listen)
        self._acknowledge(listen)

    def close(self, request_id: RequestId) -> bool:
        """End a request that its client has cancelled; return whether there was one."""
        listen = self._listens.pop(request_id, None)
        if listen is None:
            return False
        for uri in listen.uris:
            subscription = self._subscriptions[uri]
            subscription.listens.remove(listen)
            self._end_if_idle(uri, subscription)
        return True

    def carry(self, notification: Notification) -> None:
        """Pass a change on to all who want to hear of it."""
        for listen in self._listens.values():
            # "MUST NOT send any notification on the subscription before it", the acknowledgment.
            if listen.is_acknowledged and listen.wants(notification):
                stamped = splice(notification.raw, {("params", "_meta", SUBSCRIPTION_ID): encode(listen.id)})
                self._outbox.to_client(stamped)

    def _subscribe(self, uri: str, listen: _Listen) -> None:
        subscription = self._subscriptions.get(uri)
        if subscription is None:
            subscription = self._subscriptions[uri] = _Subscription()
            self._outbox.ask_server(
                "resources/subscribe", encode({"uri": uri}), lambda response: self._decide(uri, response)
            )
        subscription.listens.append(listen)
        if subscription.is_open:
            listen.undecided.remove(uri)

    def _decide(self, uri: str, response: Response) -> None:
        """Take the server's word on a resource."""
        subscription = self._subscriptions[uri]
        subscription.is_open = not response.is_error
        for listen in subscription.listens:
            listen.undecided.remove(uri)
            if response.is_error:
                listen.uris.remove(uri)
            self._acknowledge(listen)
        if response.is_error:
            del self._subscriptions[uri]
        else:
            self._end_if_idle(uri, subscription)

    def _end_if_idle(self, uri: str, subscription: _Subscription) -> None:
        # One that the server has not agreed to yet can't be ended; if it agrees, that is the time.
        if subscription.is_open and not subscription.listens:
            del self._subscriptions[uri]
            self._outbox.ask_server("resources/unsubscribe", encode({"uri": uri}))

    def _acknowledge(self, listen: _Listen) -> None:
        if listen.undecided:
            return
        listen.is_acknowledged = True
        honoured: dict[str, object] = dict.fromkeys(listen.kinds, True)
        if listen.uris:
            honoured["resourceSubscriptions"] = listen.uris
        acknowledgment = {"_meta": {SUBSCRIPTION_ID: listen.id}, "notifications": honoured}
        method = "notifications/subscriptions/acknowledged"
        self._outbox.to_client(encode({"jsonrpc": "2.0", "method": method, "params": acknowledgment}))


def _promises(capabilities: dict[str, Any], name: str, part: str) -> bool:
    capability = capabilities.get(name)
    return type(capability) is dict and capability.get(part) is True
