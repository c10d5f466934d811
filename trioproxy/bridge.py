"""The other way round: a stdio server, made of one or several servers at URLs, or of others on stdio.

    main nursery
    ├─ signals
    └─ the bridge ─┬─ stdin and stdout      the host that has started us
                   ├─ the servers           one, or several that are made one (`merged`)
                   └─ the relay             everything both ways, until the host ends

Whatever era the host speaks, and whatever each server does, the translators are put between as they are needed (`host_era`).
A remote that can't be reached does not end the bridge: a request is answered with an error, and a later one may work.  A
command that can't be run, or ends, is not started again; where it was the only server, the bridge ends with it.

A host ends us by closing our stdin, and "servers SHOULD exit promptly" then (2026-07-28, Transports §stdio, Shutdown).  What
it waits for may still be answered for a moment, since a script that pipes its requests in wants to read the answers; then
the remotes' sessions are ended, and so are we.  A host that is in a hurry sends SIGTERM.
"""

from __future__ import annotations

import logging
import math
import secrets
import signal
from collections.abc import AsyncIterator, Container, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

import trio

from . import logs
from .child import open_child
from .config import ChildConfig, ConfigError, LogConfig
from .merged import open_merged
from .protocol.errors import ChildError, CommandFailed, ForcedEnd
from .protocol.host_era import HostEra
from .protocol.legacy_to_modern import LegacyToModern
from .relaying import relay
from .remote import open_remote
from .remote.settings import Era, RemoteConfig
from .stdio import open_stdio
from .tap import open_tap, tapped
from .translate import Translated
from .transport import Received, Transport

logger = logging.getLogger(__name__)

_LAST_ANSWERS_TIME: Final = 2.0
"""Seconds for what is in flight when our stdin ends: about as long as hosts wait before they send SIGTERM."""
_CHILD_PROBE_TIME: Final = 10.0


@dataclass(frozen=True)
class BridgeConfig:
    """All that one bridge is told.

    Args:
      servers: at least one, by what to call it in logs and before names that collide; with several, the host sees one server
        made of them all, and their order counts where they collide.
      tap: the file that every message between the host and that server is appended to.
    """

    servers: Mapping[str, RemoteConfig | ChildConfig]
    log: LogConfig = field(default_factory=LogConfig)
    tap: Path | None = None

    def __post_init__(self) -> None:
        if not self.servers:
            raise ConfigError("no URL: name the server to reach")
        object.__setattr__(self, "servers", MappingProxyType(dict(self.servers)))


async def serve_stdio(remote: str | RemoteConfig | BridgeConfig) -> None:
    """Be a stdio server made of a remote one, until our stdin ends, or SIGINT, SIGTERM or SIGHUP comes.

    What there is to say goes to stderr, unless the program logs already.

    Raises:
      CommandFailed: the only server is a command that can't be run.
      ChildError: the only server was a command, and has ended.
      ForcedEnd: a second signal came.
    """
    config = remote if isinstance(remote, BridgeConfig) else BridgeConfig(name_remotes([remote]))
    logs.set_up_if_nobody_has(config.log)
    async with trio.open_nursery() as nursery:
        signals = _Signals()
        # Before any session is opened at a remote: a signal that comes meanwhile must not leave it behind.
        await nursery.start(signals.obey, nursery.cancel_scope)
        async with open_stdio(max_message_size=_largest_message(config)) as host, open_server(config) as server:
            with signals.orderly:
                await relay(host, server, drain_time=_LAST_ANSWERS_TIME)
            if server.failure is not None and host.failure is None:
                raise server.failure
            if host.failure is not None:
                logger.info("%s; ending", host.failure)
        nursery.cancel_scope.cancel()
    if signals.is_forced:
        raise ForcedEnd("stopped by force, before the remote's session could be ended")


async def serve_stdio_many(remotes: Sequence[str | RemoteConfig] | Mapping[str, str | RemoteConfig]) -> None:
    """Be one stdio server made of several remote ones, as `serve_stdio`; without names, the URLs' hosts name them.

    Raises:
      ConfigError: there are none.
      ForcedEnd: a second signal came.
    """
    if isinstance(remotes, Mapping):
        await serve_stdio(BridgeConfig({name: _configured(remote) for name, remote in remotes.items()}))
    else:
        await serve_stdio(BridgeConfig(name_remotes(remotes)))


def name_remotes(remotes: Iterable[str | RemoteConfig], taken: Container[str] = ()) -> dict[str, RemoteConfig]:
    """Return the remotes by names from their URLs: the host, and a number where that is not enough.

    Args:
      taken: names of other servers.
    """
    named: dict[str, RemoteConfig] = {}
    for remote in map(_configured, remotes):
        host = name = urlsplit(remote.url).hostname or "remote"
        number = 1
        while name in named or name in taken:
            number += 1
            name = f"{host}-{number}"
        named[name] = remote
    return named


@asynccontextmanager
async def open_server(config: BridgeConfig) -> AsyncIterator[Transport]:
    """Reach the servers, for as long as the block runs, as one for a host of either era."""
    async with AsyncExitStack() as stack:
        opened: dict[str, Transport] = {}
        for name, server in config.servers.items():
            try:
                opened[name] = await stack.enter_async_context(_open_one(name, server))
            except CommandFailed as failure:
                if len(config.servers) == 1:
                    raise
                opened[name] = _Missing(failure)
        if len(opened) == 1:
            ((name, server),) = config.servers.items()
            era = HostEra(_era_of(server), name, secrets.token_urlsafe, probe_time=_probe_time(server))
            transport: Transport = Translated(opened[name], era)
        else:
            members = {name: _as_legacy(opened[name], name, _era_of(server)) for name, server in config.servers.items()}
            merged = await stack.enter_async_context(open_merged(members))
            transport = Translated(merged, HostEra("legacy", "trioproxy", secrets.token_urlsafe))
        if config.tap is not None:
            tap = await stack.enter_async_context(open_tap(config.tap))
            transport = tapped(transport, lambda shown: tap.note(shown.direction, shown.message))
        yield transport


class _Missing:
    """One of several servers that could not be started; a `Transport` that has ended."""

    is_congested = False

    def __init__(self, failure: ChildError) -> None:
        self._failure = failure

    @property
    def failure(self) -> ChildError | None:
        return self._failure

    def send_nowait(self, message: bytes) -> None:
        """Nobody is there to get it."""

    async def wait_writable(self) -> None:
        await trio.lowlevel.checkpoint()
        raise self._failure

    async def receive(self) -> Sequence[Received]:
        await trio.lowlevel.checkpoint()
        raise self._failure


def _open_one(name: str, server: RemoteConfig | ChildConfig) -> AbstractAsyncContextManager[Transport]:
    if isinstance(server, RemoteConfig):
        return open_remote(server, relates=True)
    return open_child(server, on_stderr=lambda line: logger.info("%s: %s", name, line))


def _era_of(server: RemoteConfig | ChildConfig) -> Era:
    return server.protocol if isinstance(server, RemoteConfig) else "auto"


def _probe_time(server: RemoteConfig | ChildConfig) -> float:
    """Return how long a server may keep silent when it is asked for its era; a remote may have to be reached first."""
    if isinstance(server, RemoteConfig):
        return server.connection_timeout or math.inf
    return _CHILD_PROBE_TIME


def _as_legacy(transport: Transport, name: str, era: Era) -> Transport:
    if era == "legacy":
        return transport
    return Translated(transport, LegacyToModern(name, secrets.token_urlsafe, tries_handshake=era == "auto"))


def _configured(remote: str | RemoteConfig) -> RemoteConfig:
    return RemoteConfig(remote) if isinstance(remote, str) else remote


def _largest_message(config: BridgeConfig) -> int | None:
    sizes = [server.max_message_size for server in config.servers.values()]
    return None if None in sizes else max(size for size in sizes if size is not None)


class _Signals:
    """Does what the signals say: the first ends us in order, the second at once.

    Attributes:
      orderly: what the first cancels.
    """

    def __init__(self) -> None:
        self.orderly = trio.CancelScope()
        self.is_forced = False

    async def obey(
        self, everything: trio.CancelScope, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            # Who starts us with `nohup` has said that we are to outlive the terminal.
            numbers.append(signal.SIGHUP)
        with trio.open_signal_receiver(*numbers) as signals:
            task_status.started()
            async for number in signals:
                if not self.orderly.cancel_called:
                    logger.info("%s: ending", signal.Signals(number).name)
                    self.orderly.cancel()
                elif number != signal.SIGHUP:
                    self.is_forced = True
                    everything.cancel()
