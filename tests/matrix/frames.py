"""What the clients that read and write every frame themselves have in common."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

import trio

from tests import wire

from .client import Client
from .offers import PREFIX

CLIENT_INFO = {"name": "matrix-client", "version": "7"}
SUBSCRIPTION_ID = PREFIX + "subscriptionId"


class FrameClient(Client):
    """A client at a URL."""

    def __init__(self, url: str, nursery: trio.Nursery, capabilities: dict[str, Any]) -> None:
        super().__init__()
        self.url = url
        self.capabilities = capabilities
        self._nursery = nursery
        self._ids = count(1)


async def read_messages(connection: wire.Connection, head: Any, take: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
    """Hand on each message of a response as it comes, until the response ends."""
    stream = wire.Stream(connection, head)
    if stream.headers.get("content-type") == "text/event-stream":
        while (message := await stream.next_message()) is not None:
            await take(message)
        return
    body = b""
    while (data := await connection.next_data()) is not None:
        body += data
    if body:
        await take(json.loads(body))


def with_meta(params: dict[str, Any] | None, token: int | str | None, envelope: dict[str, Any]) -> dict[str, Any]:
    """Return params that say of their request what stands in `_meta`."""
    params = params or {}
    meta = {**params.get("_meta", {}), **envelope, **({} if token is None else {"progressToken": token})}
    return {**params, "_meta": meta} if meta else params
