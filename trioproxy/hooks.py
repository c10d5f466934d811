"""What whoever uses the library may have a say in: the functions that are handed to `Config`, and when they are called.

create_server(request, principal)    makes the server for a session, in place of a command
on_connect(session)                  a session is about to begin; what it raises is the answer to its client
on_close(session)                    a session has ended
on_unhandled_request                 an ASGI application, for paths that we don't serve
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import trio

from .auth import AuthRequest, HttpError, Principal
from .protocol.errors import TrioproxyError, Unavailable
from .transport import Transport

if TYPE_CHECKING:
    from .session import Session

logger = logging.getLogger("trioproxy.hooks")

_GOODBYE_TIME: Final = 5.0
"""Seconds for `on_close`."""

ASGIApp: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]
"""An application as ASGI 3 has it; in its scope, `trioproxy.principal` is who sends the request."""

Opened: TypeAlias = AbstractAsyncContextManager[Transport]
CreateServer: TypeAlias = Callable[[AuthRequest | None, Principal | None], "Opened | Awaitable[Opened]"]
"""A way to a server of your own: it returns `open_child(…)`, `open_remote(…)`, `open_in_process(…)`, or any transport that
is opened by `async with`.  The request is the one that begins a session; None for a server that many requests share."""


@dataclass(frozen=True)
class SessionInfo:
    """What is told of a session.

    Args:
      short_id: what it is called in logs; not enough to enter it.
      principal: whose it is; None where nobody is asked who they are.
      transport: how its client speaks: Streamable HTTP, or HTTP with SSE.
      server: that it has, as its source has made it.
    """

    short_id: str
    principal: Principal | None
    transport: Literal["stream", "sse"]
    server: Transport


OnConnect: TypeAlias = Callable[[SessionInfo], Awaitable[None]]
OnClose: TypeAlias = Callable[[SessionInfo], Awaitable[None]]


class Hooks:
    """Tells whoever uses the library of sessions that come and go.

    It is true if there is anybody to be told.

    Args:
      patience: seconds for `on_connect`, whose client waits.
    """

    def __init__(self, on_connect: OnConnect | None, on_close: OnClose | None, patience: float) -> None:
        self._on_connect = on_connect
        self._on_close = on_close
        self._patience = patience
        self._infos: dict[Session, SessionInfo] = {}

    def __bool__(self) -> bool:
        return self._on_connect is not None or self._on_close is not None

    async def introduce(self, session: Session, info: SessionInfo) -> None:
        """Tell of a session that is about to begin, or end it.

        Raises:
          TrioproxyError, HttpError: what `on_connect` has raised; any other exception is logged, and none of its client's
            business.
        """
        told = False
        try:
            if self._on_connect is not None:
                with trio.move_on_after(self._patience) as patience:
                    await self._on_connect(info)
                if patience.cancelled_caught:
                    raise Unavailable(f"on_connect took longer than {self._patience:g} s, the limit of --connection-timeout")
            told = True
        except (TrioproxyError, HttpError):
            raise
        except Exception:
            logger.exception("on_connect failed", extra={"session": session.short_id})
            raise TrioproxyError("on_connect failed") from None
        finally:
            if not told:
                session.close(Unavailable("the session was not opened"))
        self._infos[session] = info

    async def say_goodbye(self, session: Session) -> None:
        """Tell that a session has ended, if anybody was told that it had begun."""
        info = self._infos.pop(session, None)
        if info is None or self._on_close is None:
            return
        with trio.CancelScope(shield=True), trio.move_on_after(_GOODBYE_TIME):
            try:
                await self._on_close(info)
            except Exception:
                logger.exception("on_close failed", extra={"session": session.short_id})
