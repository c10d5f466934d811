"""A berth: one child, from its start to its end, and in time what uses it."""

from __future__ import annotations

import logging
from typing import Final, Protocol

import trio

from .auth import AuthRequest, Principal
from .protocol.errors import TrioproxyError
from .sources import Server

stderr_logger = logging.getLogger("trioproxy.child")


class Tenant(Protocol):
    """What uses a child: a session, or the multiplex of modern requests."""

    @property
    def short_id(self) -> str:
        """What it is called in logs."""

    @property
    def calls(self) -> int:
        """How many requests are to be answered."""

    async def run(self) -> None:
        """Use the child until it ends, or `close` is called."""

    def close(self, reason: TrioproxyError) -> None:
        """End it; requests in flight are answered with `reason`."""


class Berth:
    """One child, and in time what uses it.

    Attributes:
      name: what it is called in logs while nobody uses it.
      request, principal: that it was opened for, if it was opened for any.
      child: None until it has started.
      tenant: None until somebody has come.
      claimed: set when somebody has.
      lent: the scope of what is done with the child while nobody has claimed it.
      is_fresh: nobody has said anything to the child.
      opened_at: when it was opened, or its tenant was given another child.
    """

    def __init__(self, number: int, request: AuthRequest | None, principal: Principal | None) -> None:
        self.name: Final = f"spare {number}"
        self.request: Final = request
        self.principal: Final = principal
        self.child: Server | None = None
        self.tenant: Tenant | None = None
        self.claimed: Final = trio.Event()
        self.lent = trio.CancelScope()
        self.is_fresh = True
        self.opened_at = trio.current_time()

    @property
    def age(self) -> float:
        """Seconds since it was opened."""
        return trio.current_time() - self.opened_at

    def hear(self, line: str) -> None:
        """Pass a line of the child's stderr on to ours, with the name of the session that it belongs to."""
        if self.tenant is None:
            stderr_logger.info("%s: %s", self.name, line)
        else:
            stderr_logger.info("%s", line, extra={"session": self.tenant.short_id})
