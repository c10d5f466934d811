"""The ASGI application: who may ask, what for, and which endpoint answers.

What an endpoint raises becomes a response here, by the table of `protocol.errors`; what never reached the application is
refused by `connection` and `listener`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import Any

from .config import Config, ListenConfig, is_url_path
from .directory import Directory
from .endpoints.http_sse import HTTPWithSSE
from .endpoints.modern import Modern
from .endpoints.status import Status
from .endpoints.streamable_http import StreamableHTTP
from .exchange import ClientLeft, Exchange
from .modern_children import ModernChildren
from .protocol.errors import PathNotFound, TrioproxyError
from .protocol.origins import OriginPolicy

logger = logging.getLogger("trioproxy.app")

_EVERYWHERE = frozenset({"", "0.0.0.0", "::"})  # noqa: S104

Endpoint = Callable[[Exchange], Awaitable[None]]


class Application:
    """What a listener serves."""

    def __init__(self, config: Config, directory: Directory) -> None:
        status = Status(config, directory)
        paths = config.endpoints
        self._ping = status.ping
        self._endpoints: dict[str, Endpoint] = {paths.health_endpoint: status.health}
        if "stream" in paths.servers:
            modern = Modern(config, ModernChildren(config, directory)).serve if config.modern else None
            self._endpoints[paths.stream_endpoint] = StreamableHTTP(config, directory, modern)
        if "sse" in paths.servers:
            http_sse = HTTPWithSSE(config, directory)
            self._endpoints[paths.sse_endpoint] = http_sse.listen
            self._endpoints[paths.message_endpoint] = http_sse.post
        self._listen = config.listen
        # To listen everywhere is to have no name.
        names = () if config.listen.host in _EVERYWHERE else (config.listen.host,)
        self._policy = OriginPolicy((*names, *config.listen.allowed_hosts), is_local=config.listen.is_local)

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        """Serve one exchange (ASGI)."""
        scope["root_path"] = self._listen.root_path
        if self._listen.trusted_proxies and _is_trusted(scope, self._listen):
            _believe_reverse_proxy(scope)
        exchange = Exchange(scope, receive, send)
        try:
            if exchange.path == "/ping":
                await self._ping(exchange)
                return
            self._policy.check(exchange.header(b"host"), exchange.header(b"origin"))
            endpoint = self._endpoints.get(exchange.path)
            if endpoint is None:
                raise PathNotFound(f"nothing is served at {exchange.path[:200]!r}")
            await endpoint(exchange)
        except TrioproxyError as error:
            logger.debug("%s %s refused: %s", exchange.method, exchange.path, error)
            await exchange.refuse(error)
        except ClientLeft:
            pass


def _is_trusted(scope: dict[str, Any], listen: ListenConfig) -> bool:
    # Who comes through our Unix socket has no address; the file's permissions have let them in.
    client = scope["client"]
    return client is None or any(ip_address(client[0]) in network for network in listen.trusted_proxies)


def _believe_reverse_proxy(scope: dict[str, Any]) -> None:
    """Take host and prefix from what a trusted reverse proxy says (X-Forwarded-*).

    Of several values the last is its own; those before it are what the client has told it.
    """
    headers = dict(scope["headers"])

    def said(name: bytes) -> bytes:
        value: bytes = headers.get(b"x-forwarded-" + name, b"")
        return value.rpartition(b",")[2].strip()

    if host := said(b"host"):
        scope["headers"] = [(k, v) for k, v in scope["headers"] if k != b"host"] + [(b"host", host)]
    prefix = said(b"prefix").decode("latin-1").rstrip("/")
    if is_url_path(prefix):
        scope["root_path"] = prefix
