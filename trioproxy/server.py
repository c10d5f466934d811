"""The whole house: what is opened when a proxy starts, in which order, and how it ends.

    main nursery
    ├─ signals
    └─ the proxy ─┬─ the listener       bound first, since a taken port should cost no child
                  ├─ the servers        each a directory: sessions and spares, each with its child
                  ├─ the connections    one task each; they wait on sessions and own none
                  └─ the tunnel         if there is one: connections that we have opened ourselves

Shutdown is the same picture read from the leaves: stop accepting, let running calls end, end the streams, then the
connections, then the children.
"""

from __future__ import annotations

import logging
import os
import shlex
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from typing import Final

import trio

from . import logs
from .app import Application
from .auth.authenticator import Authenticator, open_authenticator
from .config import DEFAULT, Config, ConfigError
from .listener import Listener, open_listener
from .metrics import Metrics
from .notify import ServiceManager
from .protocol.errors import ForcedEnd, KeyFileError, ListenError
from .server_file import Entry
from .servers import Served, Servers, open_servers
from .tap import open_tap
from .tunnel import Tunnel, open_tunnel

logger = logging.getLogger("trioproxy")

_LAST_EVENTS_TIME: Final = 1.0
"""Seconds for clients to take the last events of streams that we have ended."""


class Proxy:
    """A running proxy."""

    def __init__(self, config: Config, listener: Listener, servers: Servers, authenticator: Authenticator) -> None:
        self._config = config
        self._listener = listener
        self._servers = servers
        self._authenticator = authenticator
        self.tunnel: Tunnel | None = None

    @property
    def urls(self) -> tuple[str, ...]:
        """Where MCP clients find each transport of each server."""
        return tuple(url for served in self._servers for url in self.urls_of(served))

    @property
    def url(self) -> str:
        """Where they find the first; empty where no server is configured."""
        return next(iter(self.urls), "")

    def urls_of(self, served: Served) -> tuple[str, ...]:
        """Where they find each transport of one server."""
        return tuple(f"{self._listener.url}{self._config.listen.root_path}{path}" for path in served.paths())

    @property
    def state(self) -> str:
        """Whether a new session could be opened, and why not, as in the health report: `ready`, `full`, `failing` …"""
        return self._servers.state

    @property
    def sessions(self) -> int:
        """How many sessions there are."""
        return sum(map(len, self._servers.directories.values()))

    @property
    def servers(self) -> Servers:
        """Each server, and how it is."""
        return self._servers

    async def wait_proven(self) -> None:
        """Return once a first child of each server has answered, or has at least stayed alive; or has not."""
        await self._servers.wait_settled()

    def reload(self) -> None:
        """Read the certificate files, the file of keys and the file of servers again, where there are any.

        Raises:
          ListenError, KeyFileError, ConfigError: one of them can't be read; what it said before stays in use, and the others
            have been read.  Of several that can't be, a group.
        """
        failures: list[Exception] = []
        # The keys first: a key that was taken away must be so, whatever else is wrong.
        for read_again in (self._authenticator.reload, self._reload_certificate, self._reload_servers):
            try:
                read_again()
            except (ListenError, KeyFileError, ConfigError) as error:
                failures.append(error)
        if len(failures) == 1:
            raise failures[0]
        if failures:
            raise ExceptionGroup("what can't be read again stays as it was", failures)

    def _reload_certificate(self) -> None:
        if self._config.listen.ssl_cert is not None:
            self._listener.reload_certificate()

    def _reload_servers(self) -> None:
        if self._config.server_file is not None:
            self._servers.update(named_servers(self._config))

    async def stop(self) -> None:
        """Let running calls finish within their time, then end every stream and connection."""
        if self.tunnel is not None:
            self.tunnel.stop_connecting()
        await self._listener.stop_accepting()
        await self._servers.drain(self._config.times.graceful_shutdown_timeout)
        with trio.move_on_after(_LAST_EVENTS_TIME):
            while self._listener.connections:  # noqa: ASYNC110  once in a lifetime, and for a second at most
                await trio.sleep(0.01)

    def kill_children(self) -> None:
        """Kill every child, without ceremony."""
        self._servers.kill_children()


@asynccontextmanager
async def open_proxy(config: Config) -> AsyncIterator[Proxy]:
    """Serve a stdio server over HTTP for as long as the block runs.

    Leaving the block stops the proxy in an orderly way; being cancelled stops it at once.  No child outlives it.

    Raises:
      ConfigError: the file of servers can't be used.
      ListenError: we can't listen where we were told to.
      CommandFailed: the command does not work; while the block runs, inside an exception group.
    """
    metrics = Metrics()
    entries = named_servers(config)
    async with (
        open_tap(config.tap) if config.tap else nullcontext() as tap,
        open_authenticator(config.auth, ()) as authenticator,
        open_listener(config.listen, config.times.keep_alive_timeout, metrics) as listener,
        open_servers(config, entries, metrics, tap) as servers,
        trio.open_nursery() as nursery,
        AsyncExitStack() as stack,
    ):

        def paths() -> list[str]:
            return [path for served in servers for path in served.paths()]

        servers.on_change = lambda: authenticator.describe(paths())
        servers.on_change()
        proxy = Proxy(config, listener, servers, authenticator)
        application = Application(config, servers, authenticator)
        nursery.start_soon(listener.serve, application, config.limits.max_connections)
        if config.tunnel is not None:
            opening = open_tunnel(config.tunnel, application.at, listener.serve_stream, paths, after=proxy.wait_proven)
            proxy.tunnel = await stack.enter_async_context(opening)
        yield proxy
        await proxy.stop()
        nursery.cancel_scope.cancel()


def named_servers(config: Config) -> Mapping[str, Entry]:
    """Return the servers that have names: those that the configuration names, and those of its file.

    Raises:
      ConfigError: the file can't be used.
    """
    read: Mapping[str, Entry] = {}
    if config.server_file is not None:
        read = config.server_file.read(os.environ)
        if twice := config.servers.keys() & read.keys():
            name = min(twice)
            raise ConfigError(f"--config {config.server_file.path}: {name!r} is the name of another server, --named-server")
    named = {**config.servers, **read}
    if config.has_default and DEFAULT in named:
        raise ConfigError(f"{DEFAULT!r} can't be the name of a server: in reports it is that of the one without")
    return named


async def serve(config: Config) -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP, and log to stderr as `config.log` has it, unless the program logs already.

    SIGHUP reads certificate, keys and file of servers again, where there are any.  A second SIGINT or SIGTERM kills the
    children, and ends it.

    Raises:
      ListenError, CommandFailed: as `open_proxy`, possibly inside an exception group.
      ForcedEnd: a second signal came.
    """
    logs.set_up_if_nobody_has(config.log)
    service_manager = ServiceManager(os.environ)
    async with trio.open_nursery() as nursery:
        steward = _Steward(config)
        # Before the first child is started: a signal that comes meanwhile must not leave it behind.
        await nursery.start(steward.obey_signals, nursery.cancel_scope)
        async with open_proxy(config) as proxy:
            steward.proxy = proxy
            nursery.start_soon(_announce, config, proxy)
            nursery.start_soon(service_manager.report, proxy)
            await steward.told_to_stop.wait()
            logger.info("stopping")
            await service_manager.tell("STOPPING=1")
        nursery.cancel_scope.cancel()
    if steward.is_forced:
        raise ForcedEnd("stopped by force, before running calls and children could end by themselves")


class _Steward:
    """Does what the signals say."""

    def __init__(self, config: Config) -> None:
        self.proxy: Proxy | None = None
        self.told_to_stop = trio.Event()
        self.is_forced = False
        files = (config.listen.ssl_cert, config.auth.api_key_file, config.server_file)
        self._has_files = any(file is not None for file in files)

    async def obey_signals(
        self, everything: trio.CancelScope, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            # Who starts us with `nohup` has said that we are to outlive the terminal.
            numbers.append(signal.SIGHUP)
        with trio.open_signal_receiver(*numbers) as signals:
            task_status.started()
            async for number in signals:
                if number == signal.SIGHUP and self._has_files:
                    if not self.told_to_stop.is_set():
                        self._reload()
                elif not self.told_to_stop.is_set():
                    self.told_to_stop.set()
                elif number != signal.SIGHUP:
                    self.is_forced = True
                    if self.proxy is not None:
                        self.proxy.kill_children()
                    everything.cancel()

    def _reload(self) -> None:
        if self.proxy is None:
            return
        try:
            self.proxy.reload()
        except* (ListenError, KeyFileError, ConfigError) as group:
            for error in group.exceptions:
                logger.error("SIGHUP: %s; what was read before stays in use", error)
        else:
            logger.info("certificate, keys and servers read again, as far as there are any")


async def _announce(config: Config, proxy: Proxy) -> None:
    """Say where we serve, once each command has shown that it works."""
    await proxy.wait_proven()
    for served in proxy.servers:
        for url in proxy.urls_of(served) if served.failure is None else ():
            logger.info("serving %sat %s", "" if served.entry is None else f"{served.name} ", url)
    if config.auth.is_open and not (config.listen.is_local or config.listen.ssl_verify_client):
        logger.warning("whoever reaches this port can use the server: nobody is asked who they are")
    if config.cors is not None and config.cors.is_open:
        logger.warning("--cors-origin '*': every page that somebody opens in a browser nearby can call the server")
    if config.shows_example and proxy.url:
        logger.info("try: %s", _example(config, proxy.url))


def _example(config: Config, url: str) -> str:
    """Return a command that shows the proxy at work."""
    curl = "curl -i"
    if config.listen.uds is not None:
        curl += f" --unix-socket {shlex.quote(str(config.listen.uds))}"
        url = f"http://localhost/{url.split('/', 3)[3]}"
    if "stream" not in config.endpoints.servers:
        return f"{curl} -N {url}"
    return (
        f"{curl} {url} -H 'content-type: application/json' -H 'accept: application/json, text/event-stream' "
        '-d \'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25",'
        '"capabilities":{},"clientInfo":{"name":"curl","version":"1"}}}\''
    )
