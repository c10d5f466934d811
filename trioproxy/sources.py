"""Where a session's server comes from: a command, a URL, or a function of whoever uses the library.

    source.open(request, principal, on_stderr)      → `async with`: a server that nobody else has

The directory knows nothing but this.  A source also says what has to be done ahead: a command is proven by a first child
before anybody is told where we serve, and has spares, since a process takes its time to start; a remote has neither.

Not here: servers that several clients share (`shared_sources`).
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from inspect import isawaitable
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias
from urllib.parse import urlsplit

import trio

from .auth import AuthRequest, HttpError, Principal
from .child import open_child
from .config import ChildConfig
from .hooks import CreateServer, Opened
from .protocol.errors import ChildError, TrioproxyError
from .transport import Received, Transport

if TYPE_CHECKING:
    from .remote.settings import RemoteConfig

logger = logging.getLogger("trioproxy.sources")

OnStderr: TypeAlias = Callable[[str], None]


class Server(Transport, Protocol):
    """A transport, as its owner sees it.

    Attributes:
      name: what it is called in logs: `process 4711`, or a URL.
      has_spoken: whether any message has come from it.
      queued: bytes that wait for it to read them.
    """

    @property
    def name(self) -> str: ...

    @property
    def has_spoken(self) -> bool: ...

    @property
    def queued(self) -> int: ...

    def kill(self) -> None:
        """End it now, without ceremony."""

    async def wait_exited(self) -> None:
        """Return once it has ended by itself."""


Opening: TypeAlias = AbstractAsyncContextManager[Server]


class Source(Protocol):
    """Where servers come from.

    Attributes:
      name: what a server is called that has not said so itself.
      spares: how many wait, started, for sessions to come.
      is_proven_first: a first one has to stay alive, or to answer, before anybody is told where we serve.
    """

    @property
    def name(self) -> str: ...

    @property
    def spares(self) -> int: ...

    @property
    def is_proven_first(self) -> bool: ...

    def has_spare_for(self, principal: Principal | None) -> bool:
        """Tell whether a spare will do for `principal`."""

    async def prepare(self, request: AuthRequest | None, principal: Principal | None, on_stderr: OnStderr) -> Opening:
        """Return what opens a server for `principal`.

        Args:
          request: the one that the server is opened for.
          on_stderr: called with each line that the server writes to its stderr, if it has one.
        """


class CommandSource:
    """A command: each server is a process of its own."""

    is_proven_first: Final = True

    def __init__(self, config: ChildConfig) -> None:
        self._config = config
        self.name: Final = config.argv[0]
        self.spares: Final = config.spares

    def has_spare_for(self, principal: Principal | None) -> bool:
        """Tell whether nothing has to be said of `principal` to its own child."""
        return principal is None or not principal.variables

    async def prepare(self, request: AuthRequest | None, principal: Principal | None, on_stderr: OnStderr) -> Opening:
        """Return what starts a process; its environment says who it is for."""
        config = self._config
        if principal is not None and principal.variables:
            config = replace(config, environment={**config.environment, **principal.variables})
        return open_child(config, on_stderr=on_stderr)


class RemoteSource:
    """A server at a URL: each session there is one of its own."""

    spares: Final = 0
    is_proven_first: Final = False

    def __init__(self, config: RemoteConfig) -> None:
        self._config = config
        self.name: Final = urlsplit(config.url).hostname or config.url

    def has_spare_for(self, principal: Principal | None) -> bool:
        """There are none."""
        return False

    async def prepare(self, request: AuthRequest | None, principal: Principal | None, on_stderr: OnStderr) -> Opening:
        """Return what opens a way to the remote; nobody is asked anything yet."""
        from .remote import open_remote

        return _owned(open_remote(self._config), self.name)


class CreatedSource:
    """A function of the library's user."""

    spares: Final = 0
    is_proven_first: Final = False

    def __init__(self, create_server: CreateServer) -> None:
        self._create_server = create_server
        self.name: Final = "server"

    def has_spare_for(self, principal: Principal | None) -> bool:
        """There are none: each is made for somebody."""
        return False

    async def prepare(self, request: AuthRequest | None, principal: Principal | None, on_stderr: OnStderr) -> Opening:
        """Ask the function; what it raises of ours is the answer to the request."""
        try:
            made = self._create_server(request, principal)
            return _owned(await made if isawaitable(made) else made, self.name)
        except (TrioproxyError, HttpError):
            raise
        except Exception:
            # One request may fail without the others; what it says is none of its client's business.
            logger.exception("create_server failed")
            raise TrioproxyError("create_server failed") from None


class Owned:
    """Any transport as a server, for whatever it does not know of itself."""

    def __init__(self, transport: Transport, name: str) -> None:
        self.transport: Final = transport
        self._ended = trio.Event()
        self._scope = trio.CancelScope()
        self.name: Final = name
        self.has_spoken = False
        self.queued: Final = 0
        self.send_nowait: Final = transport.send_nowait

    @property
    def is_congested(self) -> bool:
        """Whether so much is queued that the next message should wait."""
        return self.transport.is_congested

    async def wait_writable(self) -> None:
        """Return once the transport is not congested."""
        await self.transport.wait_writable()

    async def receive(self) -> Sequence[Received]:
        """Return the next messages."""
        try:
            messages = await self.transport.receive()
        except ChildError:
            self._ended.set()
            raise
        self.has_spoken = True
        return messages

    @property
    def failure(self) -> ChildError | None:
        """How the server ended, once it has."""
        return self.transport.failure

    def kill(self) -> None:
        """Nothing: it ends with its block, which is left at once when everything is cancelled."""

    async def wait_exited(self) -> None:
        """Return once whoever reads it has heard of its end."""
        await self._ended.wait()


def made_by(server: Server) -> Transport:
    """Return what the source has really made."""
    return server.transport if isinstance(server, Owned) else server


@asynccontextmanager
async def _owned(opening: Opened, name: str) -> AsyncIterator[Server]:
    async with opening as transport:
        yield Owned(transport, name)
