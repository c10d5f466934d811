"""Whether we are there, and whether a client that came now would be served.

`/ping` says that the process lives.  `/healthz` says that a new session could be opened, with a server that answers: 200
while it could, 503 while it could not, and in both cases why.
"""

from __future__ import annotations

from ..config import Config
from ..directory import Directory
from ..exchange import Exchange
from ..health import Health
from ..protocol.errors import MethodNotAllowed

_ALLOW = ((b"allow", b"GET, HEAD"),)


class Status:
    """The endpoints `/ping` and `--health-endpoint`."""

    def __init__(self, config: Config, directory: Directory) -> None:
        self._limit = config.limits.max_sessions
        self._directory = directory
        self._health = Health(config, directory)

    async def ping(self, exchange: Exchange) -> None:
        """Serve `/ping`."""
        _check_method(exchange)
        await exchange.respond(200, b"pong", ((b"content-type", b"text/plain"),))

    async def health(self, exchange: Exchange) -> None:
        """Serve `/healthz`."""
        _check_method(exchange)
        directory = self._directory
        state = directory.state
        if state == "ready" and not await self._health.is_answering():
            state = "unresponsive"
        saturation = len(directory) / self._limit if self._limit else 0.0
        server = {
            "state": state,
            "restarts": directory.restarts,
            "last_exit": directory.last_exit,
            "sessions": len(directory),
            "saturation": round(saturation, 4),
        }
        is_ready = state == "ready"
        body = {"status": "ok" if is_ready else "unavailable", "servers": {"default": server}}
        await exchange.respond_value(200 if is_ready else 503, body, ((b"cache-control", b"no-store"),))


def _check_method(exchange: Exchange) -> None:
    if exchange.method not in ("GET", "HEAD"):
        raise MethodNotAllowed(f"{exchange.method} is not served here", headers=_ALLOW)
