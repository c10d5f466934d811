"""Log messages of a legacy server, for the one request that wanted them (2026-07-28, Logging).

A legacy client sets a level for good (`logging/setLevel`); a modern one asks for log messages request by request, and must
get none with any other.  A legacy server's log message does not say to which request it belongs.  So it is delivered while
exactly one request has asked for any, and dropped otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ..envelope import LOG_LEVELS
from ..errors import InvalidParams
from ..messages import Notification, Request
from ..meta_keys import LOG_LEVEL
from ..outbox import Outbox, encode
from ..translation import Related
from .parking import Call

LOG_MESSAGE: Final = "notifications/message"


def wanted_level(request: Request) -> int | None:
    """Return how severe a log message has to be for `request`, as an index of `LOG_LEVELS`; None where it wants none.

    Raises:
      InvalidParams: no such level (Logging §Error Handling).
    """
    meta = request.params.get("_meta")
    level = meta.get(LOG_LEVEL) if type(meta) is dict else None
    if level is None:
        return None
    if level not in LOG_LEVELS:
        raise InvalidParams(f"{LOG_LEVEL} is {encode(level).decode()[:40]}; known are {', '.join(LOG_LEVELS)}")
    return LOG_LEVELS.index(level)


class LegacyLogs:
    """What one server logs, and how much.

    Attributes:
      is_offered: the server has declared that it logs.
    """

    def __init__(self, outbox: Outbox) -> None:
        self.is_offered = False
        self._outbox = outbox
        self._level: int | None = None

    def attune(self, calls: Iterable[Call]) -> None:
        """Let the server log as much as the most curious of `calls` wants, if any of them wants anything."""
        wanted = min((call.log_level for call in calls if call.log_level is not None), default=None)
        if wanted is not None and wanted != self._level and self.is_offered:
            self._level = wanted
            self._outbox.ask_server("logging/setLevel", encode({"level": LOG_LEVELS[wanted]}))

    def deliver(self, notification: Notification, calls: Iterable[Call]) -> None:
        """Pass a log message on, if it can only be meant for one of `calls`; a parked one may have caused it, too."""
        asking = [call for call in calls if call.log_level is not None]
        level = notification.params.get("level")
        if len(asking) != 1 or level not in LOG_LEVELS:
            return
        (call,) = asking
        if call.request is not None and call.log_level is not None and LOG_LEVELS.index(level) >= call.log_level:
            self._outbox.to_client(Related(notification.raw, call.request.id))
