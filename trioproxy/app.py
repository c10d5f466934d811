"""The ASGI application: who may ask, what for, and which endpoint answers.

What an endpoint raises becomes a response here, by the table of `protocol.errors`; what never reached the application is
refused by `connection` and `listener`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from .auth import AuthRequest, HttpError
from .auth.authenticator import Authenticator
from .config import Config, CorsOptions, ListenConfig, is_url_path
from .endpoints.metrics import Measurements
from .endpoints.status import Status
from .exchange import ClientLeft, Exchange
from .hooks import ASGIApp
from .mount import Endpoint
from .protocol.cors import CorsHeaders
from .protocol.errors import HostRefused, MethodNotAllowed, OriginRefused, PathNotFound, TrioproxyError
from .protocol.origins import OriginPolicy
from .servers import Servers

logger = logging.getLogger("trioproxy.app")

_EVERYWHERE = frozenset({"", "0.0.0.0", "::"})  # noqa: S104

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Application:
    """What a listener serves."""

    def __init__(self, config: Config, servers: Servers, authenticator: Authenticator) -> None:
        status = Status(servers)
        self._authenticator = authenticator
        self._asks = not config.auth.is_open
        paths = config.endpoints
        self._ping = status.ping
        self._metrics = servers.metrics
        self._servers = servers
        self._endpoints: dict[str, Endpoint] = {paths.health_endpoint: status.health}
        # What says nothing that a stranger must not hear, and is asked by those who have no credentials.
        self._open_paths = frozenset({paths.health_endpoint})
        if paths.metrics:
            self._endpoints["/metrics"] = Measurements(servers)
            if not paths.metrics_auth:
                self._open_paths |= {"/metrics"}
        self._fallback = config.on_unhandled_request
        self._listen = config.listen
        # To listen everywhere is to have no name.
        names = () if config.listen.host in _EVERYWHERE else (config.listen.host,)
        self._policy_for = partial(OriginPolicy, admits=_admit_nobody if config.cors is None else config.cors.make_test())
        self._policy = self._policy_for((*names, *config.listen.allowed_hosts), is_local=config.listen.is_local)
        self._cors = None if config.cors is None else _cors_headers(config.cors, config.auth.api_key_header_name)

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Receive,
        send: Send,
    ) -> None:
        """Serve one exchange (ASGI)."""
        scope["root_path"] = self._listen.root_path
        if self._listen.trusted_proxies and _is_trusted(scope, self._listen):
            _believe_reverse_proxy(scope)
        await self._serve(scope, receive, send, self._policy, self._open_paths)

    def at(self, url: str) -> ASGIApp:
        """Return what serves those who come through a tunnel, whose public URL is `url`.

        They may be anybody: none is trusted to say where others are, and a page of their machine is not one of ours.  Nor is
        what we measure for everybody's eyes.
        """
        parts = urlsplit(url)
        open_paths = self._open_paths - {"/metrics"}
        policy = self._policy_for((parts.netloc, *self._listen.allowed_hosts), is_local=False)

        async def serve(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            scope["root_path"] = ""
            scope["scheme"] = parts.scheme
            await self._serve(scope, receive, send, policy, open_paths)

        return serve

    async def _serve(
        self, scope: dict[str, Any], receive: Receive, send: Send, policy: OriginPolicy, open_paths: frozenset[str]
    ) -> None:
        exchange = Exchange(scope, receive, send)
        try:
            self._admit(exchange, policy)
            if exchange.method == "OPTIONS" and self._cors is not None:
                # Of any path, so that a page gets to see the 404 of one that is not served.
                requested = exchange.header(b"access-control-request-headers")
                await exchange.respond(204, headers=self._cors.of_preflight(requested))
                return
            if exchange.path == "/ping":
                await self._ping(exchange)
                return
            if exchange.path in self._authenticator.metadata_paths:
                await self._serve_metadata(exchange)
                return
            if self._asks and not self._is_open(exchange.path, open_paths):
                exchange.principal = await self._authenticator.authenticate(AuthRequest(scope))
            endpoint = self._servers.endpoints.get(exchange.path) or self._endpoints.get(exchange.path)
            if endpoint is not None:
                await endpoint(exchange)
            elif self._fallback is not None:
                await self._hand_over(exchange, receive, send)
            else:
                raise PathNotFound(f"nothing is served at {exchange.path[:200]!r}")
        except HttpError as error:
            self._metrics.refusals.add(str(error.status), type(error).__name__)
            await exchange.respond(error.status, error.body, error.headers)
        except TrioproxyError as error:
            logger.debug("%s %s refused: %s", exchange.method, exchange.path, error)
            await exchange.refuse(error)
        except ClientLeft:
            pass
        if exchange.refusal is not None:
            status, kind = exchange.refusal
            self._metrics.refusals.add(str(status), kind.__name__)

    def _is_open(self, path: str, open_paths: frozenset[str]) -> bool:
        # Clients look for documents at well-known places before they have anything to show, and are to hear that there are
        # none (RFC 8615).
        if path in self._servers.endpoints:
            return False
        return path in open_paths or (path.startswith("/.well-known/") and path not in self._endpoints)

    async def _hand_over(self, exchange: Exchange, receive: Receive, send: Send) -> None:
        """Let the application of the library's user answer."""
        assert self._fallback is not None
        has_begun = False

        async def send_with_headers(message: dict[str, Any]) -> None:
            nonlocal has_begun
            has_begun = True
            if message["type"] == "http.response.start":
                own = {name.lower() for name, _ in message.get("headers", ())}
                common = [(name, value) for name, value in exchange.common_headers if name not in own]
                message = {**message, "headers": [*message.get("headers", ()), *common]}
            await send(message)

        exchange.scope["trioproxy.principal"] = exchange.principal
        try:
            await self._fallback(exchange.scope, receive, send_with_headers)
        except Exception:
            # It fails alone; of what it has begun to say the connection makes an end.
            logger.exception("%s %s: on_unhandled_request failed", exchange.method, exchange.path)
            if has_begun:
                raise
            await exchange.respond(500)

    async def _serve_metadata(self, exchange: Exchange) -> None:
        """Serve the protected resource metadata, by which a client without a token finds who gives one (RFC 9728)."""
        if exchange.method not in ("GET", "HEAD"):
            raise MethodNotAllowed(f"{exchange.method} is not served here", headers=((b"allow", b"GET, HEAD"),))
        await exchange.respond_json(200, self._authenticator.metadata(AuthRequest(exchange.scope)))

    def _admit(self, exchange: Exchange, policy: OriginPolicy) -> None:
        """Let in who may call us, and let pages among them read the answer.

        Raises:
          HostRefused, OriginRefused: it may not; `/ping` is for everybody, but not for every page to read.
        """
        origin = exchange.header(b"origin")
        try:
            policy.check(exchange.header(b"host"), origin)
        except (HostRefused, OriginRefused):
            if exchange.path != "/ping" or exchange.method == "OPTIONS":
                raise
        else:
            # Who names no origin is no page, and has no use for what is said about them.
            if self._cors is not None and origin is not None:
                exchange.common_headers = self._cors.of_answer(origin)


def _admit_nobody(origin: str) -> bool:
    return False


def _cors_headers(cors: CorsOptions, key_header: str) -> CorsHeaders:
    return CorsHeaders(
        is_open=cors.is_open,
        methods=cors.methods,
        allowed_headers=(*cors.allowed_headers, key_header),
        exposed_headers=cors.exposed_headers,
        credentials=cors.credentials,
        max_age=cors.max_age,
    )


def _is_trusted(scope: dict[str, Any], listen: ListenConfig) -> bool:
    # Who comes through our Unix socket has no address; the file's permissions have let them in.
    client = scope["client"]
    return client is None or any(ip_address(client[0]) in network for network in listen.trusted_proxies)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _believe_reverse_proxy(scope: dict[str, Any]) -> None:
    """Take scheme, host, prefix and the client's address from what a trusted reverse proxy says (X-Forwarded-*).

    Of several values the last is its own; those before it are what the client has told it.
    """
    headers = dict(scope["headers"])

    def said(name: bytes) -> bytes:
        value: bytes = headers.get(b"x-forwarded-" + name, b"")
        return value.rpartition(b",")[2].strip()

    if (scheme := said(b"proto").decode("latin-1")) in ("http", "https"):
        scope["scheme"] = scheme
    if (address := said(b"for").decode("latin-1").strip("[]")) and _is_address(address):
        scope["client"] = (address, 0)
    if host := said(b"host"):
        scope["headers"] = [(k, v) for k, v in scope["headers"] if k != b"host"] + [(b"host", host)]
    prefix = said(b"prefix").decode("latin-1").rstrip("/")
    if is_url_path(prefix):
        scope["root_path"] = prefix
