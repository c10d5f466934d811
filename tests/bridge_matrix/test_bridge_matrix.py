"""What crosses the bridge between each era of hosts and each era of servers at URLs, over each transport.

The servers are the SDK's, and so is the host, whose server is `python -m trioproxy URL`.  A bridge plays all scenes of its
cell, one after another; the cells play at the same time.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TextIO

import pytest
import trio

from tests.matrix.cells import CELLS, Cell, Stage
from tests.matrix.features import FEATURES as MATRIX
from tests.real.sdk_ways import sdk_warnings

from .hosts import Host, open_host
from .refusals import REFUSALS, find_refusal
from .remotes import Remote, Remotes
from .scenes import FEATURES, LEFT_OUT
from .stories import path

pytestmark = sdk_warnings

_PATIENCE = 15.0
"""Seconds for one scene in one cell."""


class Verdict(NamedTuple):
    """What has come of a feature in a cell."""

    word: str
    failure: Exception | None = None


Verdicts = dict[tuple[str, Cell], Verdict]


class Company:
    """Plays all scenes of one cell, with one host as long as that does well."""

    def __init__(self, cell: Cell, remote: Remote, stderr: TextIO, verdicts: Verdicts) -> None:
        self._cell = cell
        self._url = remote.url(path(cell))
        self._stderr = stderr
        self._verdicts = verdicts
        self._host: Host

    async def play(self, names: list[str]) -> None:
        names = list(names)
        while names:
            try:
                async with open_host(self._cell, self._stderr, self._url) as self._host:
                    while names:
                        if not await self._try(names.pop(0)):
                            break
            except Exception as error:
                for name in names:
                    self._verdicts[name, self._cell] = Verdict("fails", error)
                return

    async def _try(self, name: str) -> bool:
        refusal = find_refusal(name, self._cell)
        scene = FEATURES[name] if refusal is None else refusal.scene
        stage = Stage(self._cell, self._open_client, sees_frames=False)
        self._stderr.write(f"--- {name}\n")
        self._stderr.flush()
        try:
            with trio.fail_after(_PATIENCE):
                if scene is not None:
                    await scene(stage)
        except Exception as error:
            error.add_note(f"{name} in {self._cell}")
            self._verdicts[name, self._cell] = Verdict("fails", error)
            return False
        self._verdicts[name, self._cell] = Verdict("crosses" if refusal is None else "refused")
        return True

    @asynccontextmanager
    async def _open_client(
        self, capabilities: dict[str, Any] | None = None, *, listens: bool | None = None
    ) -> AsyncIterator[Host]:
        if capabilities == {"sampling": {}}:
            # It is about what is not declared.
            async with open_host(self._cell, self._stderr, self._url, capabilities=capabilities) as other:
                await self._settle(other, listens)
                yield other
            return
        self._host.begin()
        await self._settle(self._host, listens)
        yield self._host

    async def _settle(self, host: Host, listens: bool | None) -> None:
        if self._cell.spoken == "legacy" and (listens or self._cell.transport == "json"):
            # What is said before there is a standalone stream the SDK's servers forget.
            await host.call("listening", {})


@pytest.fixture(scope="module")
def verdicts(remotes: Remotes, request: pytest.FixtureRequest) -> Verdicts:
    """What has come of each feature that is chosen, in each cell."""
    tests = [item for item in request.session.items if isinstance(item, pytest.Function)]
    chosen = {
        item.callspec.params["name"] for item in tests if item.originalname == test_crosses_or_is_refused.__name__
    } or set(FEATURES)
    remote = remotes.start()
    found: Verdicts = {}

    async def play_all() -> None:
        async with trio.open_nursery() as nursery:
            for cell, stderr in zip(CELLS, files, strict=True):
                names = [name for name in FEATURES if name in chosen]
                nursery.start_soon(Company(cell, remote, stderr, found).play, names)

    files = [tempfile.TemporaryFile("w+", encoding="utf-8") for _ in CELLS]  # noqa: SIM115  closed below
    try:
        trio.run(play_all)
        for cell, stderr in zip(CELLS, files, strict=True):
            stderr.seek(0)
            if said := stderr.read():
                for (_, where), verdict in found.items():
                    if where == cell and verdict.failure is not None:
                        verdict.failure.add_note(said[-3000:])
    finally:
        for stderr in files:
            stderr.close()
    remote.kill()
    return found


@pytest.mark.parametrize("name", FEATURES)
def test_crosses_or_is_refused(name: str, verdicts: Verdicts) -> None:
    """In all cells, and where it is refused there is a reason."""
    failures = [verdict.failure for (which, _), verdict in verdicts.items() if which == name and verdict.failure]
    if failures:
        raise ExceptionGroup(f"{name} fails in {len(failures)} of {len(CELLS)} cells", failures)


def test_no_cell_is_left_out(verdicts: Verdicts) -> None:
    """Each feature in each cell has been tried or is refused, and all that is refused is so for a reason."""
    assert verdicts.keys() == {(name, cell) for name in {name for name, _ in verdicts} for cell in CELLS}
    assert MATRIX.keys() >= LEFT_OUT
    for (name, cell), verdict in verdicts.items():
        refusal = find_refusal(name, cell)
        assert (verdict.word == "refused") == (refusal is not None) or verdict.word == "fails"
    for refusal in REFUSALS:
        assert len(refusal.reason.split()) > 10
        assert any(refusal.applies(cell) for cell in CELLS)
        assert refusal.features <= FEATURES.keys()
    show(verdicts)


def show(verdicts: Verdicts) -> None:
    """Print the table (pytest -s)."""
    signs = {"crosses": "+", "refused": "-", "fails": "!"}
    print("\n+ crosses, - refused, ! fails")
    for number, cell in enumerate(CELLS):
        print(f"{'':48}{'| ' * number}{cell}")
    for name in dict.fromkeys(name for name, _ in verdicts):
        print(f"{name:48}" + " ".join(signs[verdicts[name, cell].word] for cell in CELLS))
    for refusal in REFUSALS:
        print(f"\n- {', '.join(sorted(refusal.features))}: {refusal.reason}.")
