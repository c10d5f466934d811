"""Which client, frame by frame, a cell has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from .cells import Cell
from .client import Client
from .legacy_clients import LegacySSEClient, LegacyStreamClient
from .modern_client import ModernClient


@asynccontextmanager
async def open_frame_client(
    cell: Cell,
    url: str,
    capabilities: dict[str, Any] | None = None,
    *,
    listens: bool | None = None,
    shakes_hands: bool = True,
) -> AsyncIterator[Client]:
    """Open a client of a cell.

    Args:
      listens: whether a legacy client of Streamable HTTP opens the standalone stream; if not told, only where nothing but
        responses comes on any other.
      shakes_hands: whether a client of HTTP+SSE does.
    """
    capabilities = capabilities or {}
    async with trio.open_nursery() as nursery:
        if cell.transport == "sse":
            over_sse = LegacySSEClient(url, nursery, capabilities)
            await nursery.start(over_sse.read)
            if shakes_hands:
                await over_sse.shake_hands()
            yield over_sse
        elif cell.client == "modern":
            modern = ModernClient(url, nursery, capabilities)
            modern.introduction = (await modern.request("server/discover")).result
            yield modern
        else:
            legacy = LegacyStreamClient(url, nursery, capabilities)
            await legacy.shake_hands()
            if listens if listens is not None else cell.transport == "json":
                await nursery.start(legacy.read_standalone)
            yield legacy
            await legacy.leave()
        nursery.cancel_scope.cancel()
