"""Who hears what a shared server logs, and how much it logs (2025-11-25, Logging; 2026-07-28, Logging).

A log message does not say which request it is about.  It goes to those whose requests are running, as far as each wants to
hear of it; while nobody's is, to nobody.  The server logs as much as the most curious client has asked for.  A client that
has set no level gets whatever the server logs, as it would from a server of its own.

Clients of 2026-07-28 ask request by request.  They get log messages while exactly one of them has asked for any.
"""

from __future__ import annotations

from typing import Final

from ..envelope import LOG_LEVELS
from ..messages import Notification, Request, Response
from ..outbox import encode
from ..splice import splice
from .clients import Client, Outbox
from .flights import Flights

SET_LEVEL: Final = "logging/setLevel"
LOG_MESSAGE: Final = "notifications/message"


class Logs:
    """How much the server logs, and who hears it."""

    def __init__(self, outbox: Outbox, flights: Flights) -> None:
        self._outbox = outbox
        self._flights = flights
        self._told: int | None = None  # the server, as an index of LOG_LEVELS

    def set_level(self, client: Client, request: Request) -> None:
        """Take a client's `logging/setLevel`; the server hears of it if that changes how much it has to log."""
        level = request.params.get("level")
        if level not in LOG_LEVELS:
            # The server knows what to say to that.
            self._flights.take_off(client, request)
            return
        former, ours = client.level, LOG_LEVELS.index(level)
        client.level = ours
        wanted = self._find_wanted()
        assert wanted is not None
        if wanted == self._told:
            self._outbox.consent(client, request)
            return
        self._told = wanted

        def decide(response: Response) -> None:
            if response.is_error:
                self._told = None if self._told == wanted else self._told
                client.level = former if client.level == ours else client.level

        raw = request.raw if wanted == ours else splice(request.raw, {("params", "level"): encode(LOG_LEVELS[wanted])})
        self._flights.take_off(client, request._replace(raw=raw), decide)

    def attune(self) -> None:
        """Let the server log no more than the clients that are left have asked for, if any of them has."""
        wanted = self._find_wanted()
        if wanted is not None and wanted != self._told:
            self._told = wanted
            self._flights.ask(SET_LEVEL, encode({"level": LOG_LEVELS[wanted]}))

    def deliver(self, notification: Notification) -> bool:
        """Pass a log message on; return whether anybody is to hear it."""
        level = notification.params.get("level")
        severity = LOG_LEVELS.index(level) if level in LOG_LEVELS else None
        runners = self._flights.runners
        hearing = [client for client in runners if client.capabilities is not None and _admits(client.level, severity)]
        if any(client.capabilities is None for client in runners):
            askers = [client for client in self._flights.log_askers if client.capabilities is None]
            hearing += askers if len(askers) == 1 and not hearing else []
        for client in hearing:
            self._outbox.to_client(client, notification.raw)
        return bool(hearing)

    def _find_wanted(self) -> int | None:
        return min((client.level for client in self._outbox.clients if client.level is not None), default=None)


def _admits(level: int | None, severity: int | None) -> bool:
    """Whether a message is severe enough; one of a severity that nobody knows is, too."""
    return level is None or severity is None or severity >= level
