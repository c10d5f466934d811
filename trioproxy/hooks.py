"""What whoever uses the library may have a say in: the types of the functions that are handed to `Config`.

create_server(request, principal)    makes the server for a session, in place of a command
on_connect(session)                  a session is about to begin; what it raises is the answer to its client
on_close(session)                    a session has ended
on_unhandled_request                 an ASGI application, for paths that we don't serve
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from .auth import AuthRequest, Principal
from .transport import Transport

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
