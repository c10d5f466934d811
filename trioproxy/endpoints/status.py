"""Whether we are there, and whether a client that came now would be served.

`/ping` says that the process lives.  `/healthz` says that a new session could be opened, with a server that answers: 200
while it could, 503 while it could not, and in both cases why.  Of several servers the default one decides; without one, any
will do.
"""

from __future__ import annotations

from typing import Any

import trio

from ..deaths import LAST_WORDS
from ..exchange import Exchange
from ..protocol.errors import MethodNotAllowed
from ..servers import Served, Servers

_ALLOW = ((b"allow", b"GET, HEAD"),)


class Status:
    """The endpoints `/ping` and `--health-endpoint`."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers

    async def ping(self, exchange: Exchange) -> None:
        """Serve `/ping`."""
        _check_method(exchange)
        await exchange.respond(200, b"pong", ((b"content-type", b"text/plain"),))

    async def health(self, exchange: Exchange) -> None:
        """Serve `/healthz`."""
        _check_method(exchange)
        default = self._servers.default
        reports: dict[str, dict[str, Any]] = {served.name: {} for served in self._servers}

        async def report(served: Served) -> None:
            reports[served.name] = await _report(served)

        # All at once, since each may take its time; and there may be others when that is over.
        async with trio.open_nursery() as nursery:
            for served in self._servers:
                nursery.start_soon(report, served)
        deciding = reports.values() if default is None else [reports[default.name]]
        is_ready = any(report["state"] == "ready" for report in deciding)
        body = {"status": "ok" if is_ready else "unavailable", "servers": reports}
        await exchange.respond_value(200 if is_ready else 503, body, ((b"cache-control", b"no-store"),))


async def _report(served: Served) -> dict[str, Any]:
    directory = served.directory
    if directory is None:
        last_exit = _first_line(served.failure)
        return {"state": served.state, "restarts": served.restarts, "last_exit": last_exit, "sessions": 0, "saturation": 0.0}
    state = directory.state
    if state == "ready" and served.health is not None and not await served.health.is_answering():
        state = "unresponsive"
    limit = served.config.limits.max_sessions
    return {
        "state": state,
        "restarts": served.restarts,
        "last_exit": _first_line(directory.deaths.last),
        "sessions": len(directory),
        "saturation": round(len(directory) / limit if limit else 0.0, 4),
    }


def _first_line(how: str | None) -> str | None:
    """Return how a server ended, without its last words: they may say what is not for everybody, and we are."""
    return how and how.partition("\n")[0].removesuffix(LAST_WORDS)


def _check_method(exchange: Exchange) -> None:
    if exchange.method not in ("GET", "HEAD"):
        raise MethodNotAllowed(f"{exchange.method} is not served here", headers=_ALLOW)
