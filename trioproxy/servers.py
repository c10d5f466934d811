"""Which servers are served: the default one, and those that have names.

    servers ─┬─ the default server     at /mcp and /sse; that it can't be started is the end of the proxy
             ├─ a named server         at /servers/NAME/mcp and /servers/NAME/sse
             └─ …

A named server is a task that keeps a directory for as long as the server works, and after a pause another: one that fails
leaves the others alone, and is tried again.  Meanwhile its paths say that it is not available, and why.

The set may change while we serve (`update`); only what has changed is touched, and what is taken away may finish its calls.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Final
from urllib.parse import quote

import trio

from .config import DEFAULT, ChildConfig, Config
from .directory import Directory, default_source, first_leaf, open_directory
from .exchange import Exchange
from .health import Health
from .metrics import Metrics
from .mount import Endpoint, all_paths, client_paths, mount
from .protocol.errors import TrioproxyError, Unavailable
from .server_file import Entry
from .shared_sources import open_source
from .sources import CommandSource, RemoteSource, Source
from .tap import Tap

logger = logging.getLogger("trioproxy.servers")

_PAUSE_FIRST: Final = 1.0
_PAUSE_LONGEST: Final = 30.0
"""Seconds before a named server that has failed is tried again: from the first, doubled each time, to the longest."""


class Served:
    """One server, and what is known of it.

    Attributes:
      prefix: what its paths begin with.
      directory: its sessions; None while it can't be served.
      failure: why it can't.
      ends: how often a directory of it has ended since the server did not work.
    """

    def __init__(self, name: str, config: Config, entry: Entry | None) -> None:
        self.name: Final = name
        self.config: Final = config
        self.entry: Final = entry
        self.prefix: Final = "" if entry is None else f"/servers/{name}"
        self.directory: Directory | None = None
        self.health: Health | None = None
        self.failure: str | None = None
        self.ends = 0
        self.settled = trio.Event()  # it works, or has shown that it doesn't
        self.unwanted = trio.Event()

    @property
    def state(self) -> str:
        """Whether a new session could be opened, and why not."""
        if self.directory is None:
            return "failing" if self.failure else "starting"
        return self.directory.state

    @property
    def restarts(self) -> int:
        """How many of its servers have ended by themselves."""
        return self.ends + (0 if self.directory is None else self.directory.deaths.count)

    def paths(self) -> list[str]:
        """Return the URL paths that clients are told, quoted as they are in a URL."""
        return [quote(path) for path in client_paths(self.config.endpoints, self.prefix)]


class Servers:
    """All of them.

    Attributes:
      endpoints: what answers at which path.
      on_change: called when there are other servers than before.
    """

    def __init__(self, config: Config, metrics: Metrics, nursery: trio.Nursery, tap: Tap | None = None) -> None:
        self.metrics: Final = metrics
        self.endpoints: dict[str, Endpoint] = {}
        self._config = config
        self._nursery = nursery
        self._tap = tap
        self.on_change: Callable[[], None] = lambda: None
        self._served: dict[str, Served] = {}
        self._running: set[Served] = set()  # those that were taken away and still have calls, too
        self._is_draining = False

    def __iter__(self) -> Iterator[Served]:
        return iter(self._served.values())

    def __len__(self) -> int:
        return len(self._served)

    @property
    def directories(self) -> Mapping[str, Directory]:
        """The sessions of those that work, by the names of their servers."""
        return {served.name: served.directory for served in self if served.directory is not None}

    @property
    def default(self) -> Served | None:
        """The one without a name, if there is one."""
        return next((served for served in self if served.entry is None), None)

    @property
    def state(self) -> str:
        """Whether the default server could take a new session; without one, whether any server could."""
        if self.default is not None:
            return self.default.state
        states = [served.state for served in self]
        return "ready" if "ready" in states else states[0] if states else "failing"

    async def wait_settled(self) -> None:
        """Return once each server works, or has shown that it doesn't."""
        for served in list(self):
            await served.settled.wait()

    def serve_default(self, directory: Directory) -> None:
        """Serve the server without a name, whose directory is somebody else's to keep."""
        served = Served(DEFAULT, self._config, None)
        self._served = {DEFAULT: served, **self._served}
        self._running.add(served)
        self._nursery.start_soon(self._settle, served, directory)
        self._open(served, directory)

    def update(self, entries: Mapping[str, Entry]) -> None:
        """Serve just `entries` beside the default server; those that are as they were are not touched."""
        for served in list(self):
            if served.entry is not None and entries.get(served.name) != served.entry:
                logger.info("%s is no longer served as it was", served.name)
                del self._served[served.name]
                self._close(served)
                served.unwanted.set()
        for name, entry in entries.items():
            if name not in self._served:
                served = self._served[name] = Served(name, _config_of(self._config, entry), entry)
                self._running.add(served)
                self._refuse(served)
                self._nursery.start_soon(self._run, served)
        self.on_change()

    def kill_children(self) -> None:
        """Kill every child, without ceremony."""
        for served in self._running:
            if served.directory is not None:
                served.directory.kill_children()

    async def drain(self, timeout: float) -> None:
        """Let no session in any more, and running calls finish; what fails meanwhile is not tried again."""
        self._is_draining = True
        async with trio.open_nursery() as nursery:
            for served in self._running:
                if served.directory is not None:
                    nursery.start_soon(served.directory.drain, timeout)

    async def _run(self, served: Served) -> None:
        """Serve a named server until it is unwanted."""
        pause = _PAUSE_FIRST
        try:
            while not (served.unwanted.is_set() or self._is_draining):
                began_at = trio.current_time()
                try:
                    await self._run_once(served)
                except* TrioproxyError as group:
                    served.failure = str(first_leaf(group))
                    logger.error("%s: %s", served.name, served.failure)
                    # One that never worked has not died: it leaves the others alone.
                    has_worked = served.directory is not None and served.directory.proven.is_set()
                    if has_worked and self._config.exit_on_child_death:
                        raise
                except* Exception as group:
                    served.failure = repr(first_leaf(group))
                    logger.exception("%s failed", served.name)
                finally:
                    self._note_end(served)
                if served.unwanted.is_set():
                    return
                self._refuse(served)
                if trio.current_time() - began_at > _PAUSE_LONGEST:
                    pause = _PAUSE_FIRST
                with trio.move_on_after(pause):
                    await served.unwanted.wait()
                pause = min(2 * pause, _PAUSE_LONGEST)
        finally:
            # Whoever waits for it waits in vain.
            served.settled.set()
            self._running.discard(served)

    def _note_end(self, served: Served) -> None:
        if served.directory is not None:
            served.ends += served.directory.deaths.count + 1
            served.directory = None
        served.settled.set()

    async def _run_once(self, served: Served) -> None:
        assert served.entry is not None
        source = _source_of(served.entry)
        async with (
            open_source(source, served.config) as source,
            open_directory(served.config, self.metrics, source, self._tap) as directory,
        ):
            self._open(served, directory)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._settle, served, directory)
                await served.unwanted.wait()
                await directory.drain(served.config.times.graceful_shutdown_timeout)
                nursery.cancel_scope.cancel()

    async def _settle(self, served: Served, directory: Directory) -> None:
        await directory.proven.wait()
        served.failure = None
        served.settled.set()

    def _open(self, served: Served, directory: Directory) -> None:
        served.directory = directory
        served.health = Health(served.config, directory)
        self.endpoints.update(mount(served.config, directory, served.prefix))

    def _refuse(self, served: Served) -> None:
        """Let the paths of a server that can't be served say so."""

        async def refuse(exchange: Exchange) -> None:
            reason = served.failure or "it is being started"
            raise Unavailable(f"the server {served.name!r} is not available: {reason}")

        self.endpoints.update(dict.fromkeys(all_paths(served.config.endpoints, served.prefix), refuse))

    def _close(self, served: Served) -> None:
        for path in all_paths(served.config.endpoints, served.prefix):
            self.endpoints.pop(path, None)


def _config_of(config: Config, entry: Entry) -> Config:
    """Return what a named server is told: as the default one, but for what its entry says."""
    if isinstance(entry, ChildConfig):
        return replace(config, child=entry, create_server=None)
    return replace(config, child=None, create_server=None, upstream_protocol=entry.protocol)


def _source_of(entry: Entry) -> Source:
    return CommandSource(entry) if isinstance(entry, ChildConfig) else RemoteSource(entry)


@asynccontextmanager
async def open_servers(
    config: Config, entries: Mapping[str, Entry], metrics: Metrics, tap: Tap | None = None
) -> AsyncIterator[Servers]:
    """Serve what is configured, for as long as the block runs.

    Args:
      entries: the servers that have names.
      tap: where all messages are noted.

    Raises:
      CommandFailed: as `open_directory`, for the default server.
    """
    async with AsyncExitStack() as stack:
        directory: Directory | None = None
        if config.has_default:
            source = await stack.enter_async_context(open_source(default_source(config), config))
            directory = await stack.enter_async_context(open_directory(config, metrics, source, tap))
        nursery = await stack.enter_async_context(trio.open_nursery())
        servers = Servers(config, metrics, nursery, tap)
        if directory is not None:
            servers.serve_default(directory)
        servers.update(entries)
        yield servers
        nursery.cancel_scope.cancel()
