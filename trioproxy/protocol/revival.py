"""What a new server has to be told to take the place of one that has died, in the middle of a session.

A session is what client and server have agreed on in the handshake, and little else that a client could tell from outside:
the log level that it has set, and the resources that it has subscribed to (2025-11-25, Lifecycle, Logging, Resources).
That is kept here as it was said, and said again to the new server.  What else the old one knew is gone; so the client is
told that all the lists which the new one announces changes of have changed, and asks again.

Requests in flight are not made again: nobody can know how much of them was done.
"""

from __future__ import annotations

import json
from typing import Any, Final

from .messages import Message, Notification, Request, RequestId, Response, parse_result
from .splice import splice

_LEVEL: Final = "logging/setLevel"
_SUBSCRIBE: Final = "resources/subscribe"
_UNSUBSCRIBE: Final = "resources/unsubscribe"
_INITIALIZED: Final = "notifications/initialized"
_REMEMBERED: Final = frozenset({"initialize", _LEVEL, _SUBSCRIBE, _UNSUBSCRIBE, _INITIALIZED})
_OWN_ID: Final = "trioproxy:again-{}"


class Memory:
    """What a client has said that lasts.

    Attributes:
      initialize: the client's request, once there was one.
      is_complete: the handshake is over, so that there is a session to go on with.
    """

    def __init__(self) -> None:
        self.initialize: Request | None = None
        self.is_complete = False
        self._initialized: bytes | None = None
        self._level: Request | None = None
        self._subscriptions: dict[str, Request] = {}

    def note(self, message: Message) -> None:
        """Take note of what the client says."""
        if isinstance(message, Response) or message.method not in _REMEMBERED:
            return
        if type(message) is Notification:
            self._initialized = message.raw
            self.is_complete = self.initialize is not None
            return
        assert type(message) is Request
        if message.method == "initialize":
            self.initialize = message
        elif message.method == _LEVEL:
            self._level = message
        elif isinstance(uri := message.params.get("uri"), str):
            if message.method == _SUBSCRIBE:
                self._subscriptions[uri] = message
            else:
                self._subscriptions.pop(uri, None)

    def rest(self) -> list[tuple[RequestId | None, bytes]]:
        """Return what is to be said after the new server has answered `initialize`, each with the id of the answer to it.

        Those answers are of no interest to anybody; an error among them tells the client nothing that it could act on.
        """
        assert self._initialized is not None
        lines: list[tuple[RequestId | None, bytes]] = [(None, self._initialized)]
        requests = [*([] if self._level is None else [self._level]), *self._subscriptions.values()]
        for number, request in enumerate(requests):
            request_id = _OWN_ID.format(number)
            lines.append((request_id, splice(request.raw, {("id",): json.dumps(request_id).encode()})))
        return lines


def changes(response: Response) -> list[bytes]:
    """Return the notifications that the new server's capabilities allow: of every list that could be another now.

    Raises:
      ParseError: the response to `initialize` is not JSON.
    """
    result: Any = parse_result(response)
    capabilities = result.get("capabilities") if isinstance(result, dict) else None
    capabilities = capabilities if isinstance(capabilities, dict) else {}
    announced = [
        kind
        for kind in ("tools", "prompts", "resources")
        if isinstance(capabilities.get(kind), dict) and capabilities[kind].get("listChanged") is True
    ]
    return [b'{"jsonrpc":"2.0","method":"notifications/%b/list_changed"}' % kind.encode() for kind in announced]
