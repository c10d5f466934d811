"""Telling systemd how we are, if it is systemd that has started us (sd_notify(3), `Type=notify`).

    READY=1         the first child has shown that the command works
    STATUS=…        what `systemctl status` is to show
    WATCHDOG=1      we are alive, and a new session would be served; without it for WatchdogSec, we are started again
    STOPPING=1      we were told to stop

The variables by which systemd says where it listens are taken out of our environment: they are meant for us, and not for
the servers that we start.
"""

from __future__ import annotations

import logging
import math
import os
import socket
from collections.abc import MutableMapping
from typing import Final, Protocol

import trio

logger = logging.getLogger("trioproxy.notify")

_STATUS_TIME: Final = 5.0
"""Seconds after which the status is looked at again."""
_SEND_TIME: Final = 1.0
"""Seconds for systemd to take a message; it has other things to do than we have."""


class Service(Protocol):
    """What is watched."""

    async def wait_proven(self) -> None:
        """Return once it works."""

    @property
    def state(self) -> str:
        """How it is, as in the health report."""

    @property
    def sessions(self) -> int:
        """How many clients it serves."""


class ServiceManager:
    """The other end of NOTIFY_SOCKET, or nobody.

    Args:
      environ: our environment, which is relieved of what is said to us there.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        address = environ.pop("NOTIFY_SOCKET", "")
        # A name that begins with @ is one of Linux's abstract ones, which begin with a zero byte.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        interval = environ.pop("WATCHDOG_USEC", "")
        # Who runs us through a shell has the shell watched, and not us.
        is_meant = environ.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        # "It is recommended that a daemon sends a keep-alive notification message to the service manager every half of the
        # time returned here" (sd_watchdog_enabled(3)).
        self._watchdog_time = int(interval) / 2e6 if is_meant and interval.isdigit() and int(interval) else math.inf

    async def tell(self, *assignments: str) -> None:
        """Send a message."""
        if not self._address:
            return
        with trio.move_on_after(_SEND_TIME), trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            try:
                # Only of a connected socket the kernel tells whether the other side has room.
                await sender.connect(self._address)
                await sender.send("\n".join(assignments).encode())
            except OSError as error:
                logger.warning("the service manager could not be told %s: %s", assignments[0], error)

    async def report(self, service: Service) -> None:
        """Say when `service` is ready, and then how it is, until cancelled."""
        if not self._address:
            return
        await service.wait_proven()
        told = _status(service)
        await self.tell("READY=1", told)
        while True:
            await trio.sleep(min(_STATUS_TIME, self._watchdog_time))
            news = []
            if self._watchdog_time < math.inf and service.state != "failing":
                news.append("WATCHDOG=1")
            if (status := _status(service)) != told:
                told = status
                news.append(status)
            if news:
                await self.tell(*news)


def _status(service: Service) -> str:
    return f"STATUS={service.state}, {service.sessions} session{'' if service.sessions == 1 else 's'}"
