"""Subscriptions that outlive the connections that carry them (2026-07-28, Subscriptions).

"A transport that closes without it indicates an unexpected disconnect, which the client MAY treat as a trigger to reconnect"
(§Graceful Closure).  All that a subscription loses then is what has changed meanwhile.  So it is made again, for as long as
it takes, and everything that it is about is said to have changed.  Were its end told instead, the client would have to
listen again itself, and would still not know what it has missed.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio

from ..http_client import Headers, HttpClientError
from ..protocol.errors import ChildError
from ..protocol.lines import OversizedLine
from ..protocol.messages import Message, Notification, Request
from ..protocol.meta_keys import SUBSCRIPTION_ID
from .backoff import Backoff
from .calls import Call
from .endpoint import Endpoint
from .inbox import Inbox
from .reading import Reader, recognised
from .refusals import Refusal, read_refusal
from .settings import RemoteConfig
from .streamable_http import POST_HEADERS, RESTART_TIME

logger = logging.getLogger("trioproxy.remote")

ACKNOWLEDGED: Final = "notifications/subscriptions/acknowledged"
_LIST_CHANGES: Final = {
    "toolsListChanged": "notifications/tools/list_changed",
    "promptsListChanged": "notifications/prompts/list_changed",
    "resourcesListChanged": "notifications/resources/list_changed",
}
_LONG_LIVED: Final = 10.0
"""Seconds after which a stream that ends was no failure."""

Take = Callable[[Message | None, bytes | OversizedLine, Call], Awaitable[None]]


class Subscriptions:
    """Makes subscriptions, and makes them again.

    Args:
      take: gets each message, as it was recognised and as it came.
      on_proven: called when the remote has answered.
      on_gap: called when something may have changed unheard.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        take: Take,
        inbox: Inbox,
        config: RemoteConfig,
        *,
        on_proven: Callable[[], None],
        on_gap: Callable[[], None],
    ) -> None:
        self._endpoint = endpoint
        self._take = take
        self._inbox = inbox
        self._config = config
        self._on_proven = on_proven
        self._on_gap = on_gap

    async def keep(self, call: Call, headers: Headers) -> Refusal | None:
        """Listen until the remote ends the subscription, or refuses it.

        Raises:
          ChildError: it was never acknowledged.
        """
        backoff = Backoff()
        subscription = _Subscription(call)
        while True:
            since = trio.current_time()
            outcome = await self._listen(subscription, [*POST_HEADERS, *headers])
            if call.is_done.is_set():
                await call.wait_answered()
                return None
            if isinstance(outcome, Refusal) and (
                subscription.honoured is None or not (outcome.status >= 500 or outcome.status == 429)
            ):
                return outcome
            if subscription.honoured is None:
                raise ChildError(f"{self._endpoint.shown}: the subscription was not acknowledged: {outcome}")
            logger.info("a subscription was lost, and is made again: %s", outcome)
            if trio.current_time() - since > _LONG_LIVED:
                backoff.reset()
            await trio.sleep(backoff.pause())

    async def _listen(self, subscription: _Subscription, headers: Headers) -> Refusal | str:
        """Make the request once, and return what it was refused with, or why its response ended."""
        call = subscription.call

        async def hear(raw: bytes | OversizedLine) -> bool:
            message = recognised(raw)
            if type(message) is Notification and message.method == ACKNOWLEDGED and subscription.honoured is not None:
                self._on_gap()
                for line in subscription.acknowledge_again(message):
                    await self._inbox.put(line)
                return False
            if type(message) is Notification and message.method == ACKNOWLEDGED:
                subscription.honoured = _honoured(message)
            await self._take(message, raw, call)
            return call.is_done.is_set()

        patience = RESTART_TIME if subscription.honoured is None else 0.0
        try:
            async with self._endpoint.open("POST", headers, call.request.raw, patience=patience) as response:
                if not 200 <= response.status < 300:
                    return await read_refusal(response, self._endpoint.shown)
                self._on_proven()
                await Reader(self._config.max_message_size).read(response, hear)
                return "the response ended"
        except HttpClientError as error:
            return str(error)


class _Subscription:
    """A request to listen, and what the remote has agreed to: None as long as it has not."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.honoured: dict[str, Any] | None = None

    def acknowledge_again(self, acknowledgment: Notification) -> list[bytes]:
        """Return what is said in the place of an acknowledgment that the client has had already."""
        self.honoured = _honoured(acknowledgment)
        return _all_changes(self.call.request, self.honoured)


def _honoured(acknowledgment: Notification) -> dict[str, Any]:
    honoured = acknowledgment.params.get("notifications")
    return honoured if isinstance(honoured, dict) else {}


def _all_changes(listen: Request, honoured: dict[str, Any]) -> list[bytes]:
    """Return the notifications that everything has changed which a subscription is about."""
    meta = {SUBSCRIPTION_ID: listen.id}
    changed: list[tuple[str, dict[str, Any]]] = [
        (method, {}) for kind, method in _LIST_CHANGES.items() if honoured.get(kind) is True
    ]
    uris = honoured.get("resourceSubscriptions")
    changed += [("notifications/resources/updated", {"uri": uri}) for uri in (uris if isinstance(uris, list) else ())]
    return [
        json.dumps({"jsonrpc": "2.0", "method": method, "params": {**params, "_meta": meta}}, separators=(",", ":")).encode()
        for method, params in changed
    ]
