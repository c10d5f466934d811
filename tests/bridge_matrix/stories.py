"""Stories that are told of several cells at the same time, each with a remote of its own."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Final

import trio

from tests.matrix.cells import Cell

from .hosts import Host, open_host
from .remotes import Remote, Remotes

_PATIENCE: Final = 20.0


def path(cell: Cell) -> str:
    """Return where the server of a cell is."""
    return f"/{cell.client}/{cell.transport}/{cell.child}"


class Scenery:
    """A remote that may come and go, and what the bridge says of that."""

    def __init__(self, cell: Cell, remotes: Remotes, remote: Remote) -> None:
        self.cell = cell
        self.remote = remote
        self._remotes = remotes
        self._stderr = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115  closed by `tell`

    @property
    def url(self) -> str:
        return self.remote.url(path(self.cell))

    def kill(self) -> None:
        """End the remote without a word."""
        self.remote.kill()

    async def restart(self) -> None:
        """Start it again, on the same port."""
        self.remote = await self._remotes.start_async(self.remote.port)

    @asynccontextmanager
    async def open_host(self, *options: str) -> AsyncIterator[Host]:
        async with open_host(self.cell, self._stderr, *options, self.url) as host:
            yield host

    def said(self) -> str:
        """Return what the bridge has said on its stderr."""
        self._stderr.seek(0)
        return self._stderr.read()

    def close(self) -> None:
        self._stderr.close()


async def tell(cells: Iterable[Cell], remotes: Remotes, story: Callable[[Scenery], Awaitable[None]]) -> None:
    """Tell a story of all cells, and raise what goes wrong in any."""
    failures: list[Exception] = []

    async def tell_of(cell: Cell) -> None:
        scenery = Scenery(cell, remotes, await remotes.start_async())
        try:
            with trio.fail_after(_PATIENCE):
                await story(scenery)
        except Exception as error:
            error.add_note(f"in {cell}\n{scenery.said()[-2000:]}")
            failures.append(error)
        finally:
            scenery.close()

    async with trio.open_nursery() as nursery:
        for cell in cells:
            nursery.start_soon(tell_of, cell)
    if failures:
        raise ExceptionGroup(f"{len(failures)} cells fail", failures)
