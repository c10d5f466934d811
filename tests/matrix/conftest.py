"""Proxies that are shared by all cells."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from tests.real.proxy_process import RunningProxy, open_proxy

from .cells import CELLS, Cell

ROOT = str(Path(__file__).parents[2])


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """The proxies outlive each test; it is `open_proxy` who looks for what has been left."""


class Proxies:
    """Where the cells are served."""

    def __init__(self, running: Mapping[tuple[str, bool], RunningProxy]) -> None:
        self._running = running

    def url(self, cell: Cell) -> str:
        """The endpoint of a cell."""
        proxy = self._running[cell.child, cell.transport == "json"]
        return proxy.sse if cell.transport == "sse" else proxy.mcp


K = TypeVar("K")


@contextmanager
def open_proxies(arguments: Mapping[K, tuple[str, ...]]) -> Iterator[dict[K, RunningProxy]]:
    """Run several proxies that start at the same time, each with its own arguments."""
    with ExitStack() as stack, ThreadPoolExecutor(len(arguments)) as pool:

        def start(each: tuple[str, ...]) -> RunningProxy:
            return stack.enter_context(open_proxy("--cwd", ROOT, *each))

        yield dict(zip(arguments, pool.map(start, arguments.values()), strict=True))


@pytest.fixture(scope="package")
def proxies() -> Iterator[Proxies]:
    """One for each way to serve each era of children."""
    arguments: dict[tuple[str, bool], tuple[str, ...]] = {}
    for cell in CELLS:
        options = ("--json-response",) if cell.transport == "json" else ()
        # -S: without the cost of site-packages.
        command = (sys.executable, "-S", "-m", "tests.matrix.server", cell.child)
        arguments[cell.child, cell.transport == "json"] = (*options, "--", *command)
    with open_proxies(arguments) as running:
        yield Proxies(running)
