"""Whether we are there, and whether a client that came now would be served.

`/ping` says that the process lives.  `/healthz` says that a new session could be opened, with a server that answers: 200
while it could, 503 while it could not, and in both cases why.  Of several servers the default one decides; without one, any
will do.
"""

from __future__ import annotations

from typing import Any

from ..exchange import Exchange
from ..protocol.errors import MethodNotAllowed
from ..servers import DEFAULT, Served, Servers

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
        reports = {served.name: await _report(served) for served in self._servers}
        states = {name: report["state"] for name, report in reports.items()}
        is_ready = states[DEFAULT] == "ready" if DEFAULT in states else "ready" in states.values()
        body = {"status": "ok" if is_ready else "unavailable", "servers": reports}
        await exchange.respond_value(200 if is_ready else 503, body, ((b"cache-control", b"no-store"),))


async def _report(served: Served) -> dict[str, Any]:
    directory = served.directory
    if directory is None:
        last_exit = served.failure
        return {"state": served.state, "restarts": 0, "last_exit": last_exit, "sessions": 0, "saturation": 0.0}
    state = directory.state
    if state == "ready" and served.health is not None and not await served.health.is_answering():
        state = "unresponsive"
    limit = served.config.limits.max_sessions
    return {
        "state": state,
        "restarts": directory.restarts,
        "last_exit": directory.last_exit,
        "sessions": len(directory),
        "saturation": round(len(directory) / limit if limit else 0.0, 4),
    }


def _check_method(exchange: Exchange) -> None:
    if exchange.method not in ("GET", "HEAD"):
        raise MethodNotAllowed(f"{exchange.method} is not served here", headers=_ALLOW)
