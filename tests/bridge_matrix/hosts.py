"""Hosts that run `python -m trioproxy URL` as their server, and one that goes on from scene to scene."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, TextIO
from urllib.parse import urlsplit
from urllib.request import urlopen

import mcp_types as types
import trio
from mcp import StdioServerParameters, stdio_client
from mcp.client.session import ClientRequestContext

from tests.matrix.cells import Cell
from tests.matrix.questions import ASKABLE
from tests.matrix.sdk_client import SDKClient, as_json

from .remotes import ROOT

_POLL: Final = 0.02


def bridge(*arguments: str) -> StdioServerParameters:
    """Return how a host starts a bridge."""
    return StdioServerParameters(command=sys.executable, args=["-m", "trioproxy", *arguments], cwd=ROOT)


class Host(SDKClient):
    """The client of the SDK, for one scene after another.

    Attributes:
      remote_url: of the server that it reaches in the end.
    """

    remote_url = ""

    def begin(self) -> None:
        """Forget the scene before."""
        self.questions.clear()
        self._notifications.clear()

    async def say_roots_changed(self) -> None:
        """Tell the server that the roots are others now."""
        await self.client.session.send_notification(types.RootsListChangedNotification())

    async def count_heard(self, said: Callable[[dict[str, Any]], bool]) -> int:
        """Return how many such messages the server has heard."""
        return sum(said(json.loads(body)) for body in (await fetch_traffic(self.remote_url))["heard"])

    async def wait_heard(self, said: Callable[[dict[str, Any]], bool], count: int) -> None:
        """Return once the server, of which nobody asks anything, has heard so many of them."""
        while await self.count_heard(said) < count:  # noqa: ASYNC110  what is waited for happens in another process
            await trio.sleep(_POLL)

    async def _on_elicit(self, context: ClientRequestContext, params: types.ElicitRequestParams) -> types.ElicitResult:
        # The SDK's servers say what is meant where nothing is said.
        if isinstance(params, types.ElicitRequestFormParams):
            params.model_fields_set.discard("mode")
        return await super()._on_elicit(context, params)


async def fetch_traffic(url: str) -> dict[str, list[str]]:
    """Return the bodies that a server has been sent, and what it has answered."""
    parts = urlsplit(url)

    def fetch() -> dict[str, list[str]]:
        with urlopen(f"{parts.scheme}://{parts.netloc}/heard{parts.path}") as response:
            traffic: dict[str, list[str]] = json.load(response)
            return traffic

    return await trio.to_thread.run_sync(fetch)


@asynccontextmanager
async def open_host(
    cell: Cell, stderr: TextIO, *arguments: str, capabilities: dict[str, Any] | None = None
) -> AsyncIterator[Host]:
    """Run a bridge as the server of a host, of the era of `cell`, for as long as the block runs."""
    transport = stdio_client(bridge(*arguments), errlog=stderr)
    async with AsyncExitStack() as stack:
        host = Host(cell, transport, ASKABLE if capabilities is None else capabilities)
        await stack.enter_async_context(host.client)
        assert host.is_modern == (cell.client == "modern")
        session = host.client.session
        found = session.discover_result if host.is_modern else session.initialize_result
        assert found is not None
        host.introduction = as_json(found)
        host.remote_url = arguments[-1]
        yield host
