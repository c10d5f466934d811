"""What a proxy is told to do: frozen values, one dataclass a concern.

The command line fills these in (`cli`), a library user writes them down.  Nothing here has an effect; whatever can be
checked without touching the machine is checked when a value is made, so that a wrong one is an error at its birth.

Units, everywhere: seconds for time, bytes for size.  `None` means "no limit" where a limit may be absent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from .protocol.challenges import is_api_key, is_scope
from .protocol.cors import (
    ALLOWED_HEADERS,
    ANY,
    EXPOSED_HEADERS,
    MAX_AGE,
    METHODS,
    OriginTest,
    is_token,
    origin_test,
)
from .protocol.urls import is_http_url, is_protected_url

if TYPE_CHECKING:
    from .auth import Authenticate
    from .event_store import EventStore
    from .hooks import ASGIApp, CreateServer, OnClose, OnConnect
    from .remote.settings import RemoteConfig
    from .server_file import ServerFile
    from .tunnel import TunnelConfig

KIB = 1024
MIB = 1024 * KIB


DEFAULT = "default"
"""What the server without a name is called in reports."""


class ConfigError(ValueError):
    """A value, or a combination of values, that can't be served; the message names the option as a user spells it."""


def is_url_path(text: str) -> bool:
    """Tell whether `text` can be a path that we serve, or the beginning of one.

    A second slash at the start would make a host of what follows it (RFC 3986 §4.2), and clients get these paths as
    relative references.  Browsers take a backslash for a slash.
    """
    plain = text.isascii() and text.isprintable() and not any(c in text for c in "?# \\")
    return plain and text.startswith("/") and not text.startswith("//")


def is_server_name(text: str) -> bool:
    """Tell whether `text` can be a part of a path, so that a server can be found by it."""
    return bool(text) and text.isprintable() and text not in (".", "..") and not any(c in text for c in "/\\?#%")


@dataclass(frozen=True)
class ListenConfig:
    """Where HTTP is served, and who may say who the client is.

    Args:
      port: 0 lets the system pick one.
      uds: serve on this Unix socket instead of `host` and `port`.
      root_path: the prefix that a reverse proxy strips; it is put before every path that we hand out.
      ssl_ca, ssl_verify_client: with both, a client must show a certificate signed by the CA.
      trusted_proxies: peers whose X-Forwarded-* headers are believed.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    uds: Path | None = None
    root_path: str = ""
    ssl_cert: Path | None = None
    ssl_key: Path | None = None
    ssl_ca: Path | None = None
    ssl_verify_client: bool = False
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    allowed_hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"--port {self.port}: a port is a number from 0 to 65535")
        if (self.ssl_cert is None) != (self.ssl_key is None):
            # hypercorn would silently serve plain text.
            raise ConfigError("--ssl-cert and --ssl-key go together: one was given without the other")
        if self.ssl_verify_client and self.ssl_ca is None:
            raise ConfigError("--ssl-verify-client needs --ssl-ca: without it no client certificate could be checked")
        if self.ssl_cert is None and (self.ssl_ca is not None or self.ssl_verify_client):
            raise ConfigError("--ssl-ca and --ssl-verify-client need --ssl-cert and --ssl-key: there is no TLS without")
        if self.root_path and not is_url_path(self.root_path):
            raise ConfigError(f"--root-path {self.root_path!r}: a path starts with / and has no query, fragment or space")
        object.__setattr__(self, "root_path", self.root_path.rstrip("/"))

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach us."""
        if self.uds is not None or self.host.lower() == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False


@dataclass(frozen=True)
class EndpointConfig:
    """Which transports are served, and at which paths.

    Args:
      metrics: whether `/metrics` is served.
      metrics_auth: it is served to those only who may use the server.
    """

    servers: frozenset[Literal["sse", "stream"]] = frozenset({"sse", "stream"})
    stream_endpoint: str = "/mcp"
    sse_endpoint: str = "/sse"
    message_endpoint: str = "/messages"
    health_endpoint: str = "/healthz"
    metrics: bool = True
    metrics_auth: bool = False

    def __post_init__(self) -> None:
        if not self.servers or not self.servers <= {"sse", "stream"}:
            raise ConfigError(f"--server {sorted(self.servers)}: expected sse, stream or both")
        # The path of a transport that is not served is free for another: `--server sse --endpoint /mcp`.
        named = {"--health-endpoint": self.health_endpoint}
        if "stream" in self.servers:
            named["--stream-endpoint"] = self.stream_endpoint
        if "sse" in self.servers:
            named["--sse-endpoint"] = self.sse_endpoint
            named["--message-endpoint"] = self.message_endpoint
        taken: dict[str, str] = {"/ping": "the answer to GET /ping"}
        if self.metrics:
            taken["/metrics"] = "the metrics, which --no-metrics turns off"
        elif self.metrics_auth:
            raise ConfigError("--metrics-auth and --no-metrics contradict each other: there is nothing to protect")
        for option, path in named.items():
            if not is_url_path(path):
                raise ConfigError(f"{option} {path!r}: a path starts with / and has no query, fragment or space")
            if path in taken:
                raise ConfigError(f"{option} {path}: that path is taken by {taken[path]}")
            taken[path] = option


_UNFIT = "a NUL or half of a surrogate pair"


def _can_be_passed(text: str) -> bool:
    """Tell whether `text` can be given to a process, which gets bytes that end with a NUL."""
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return "\0" not in text


@dataclass(frozen=True)
class ChildConfig:
    """The stdio server to run, and how.

    Args:
      argv: the command and its arguments; with `shell`, one command line for `/bin/sh -c`.
      environment: set for the child on top of what it inherits.
      pass_environment: whether the child inherits our environment, or just HOME, LOGNAME, PATH, SHELL, TERM and USER.
      spares: how many children wait, started, for the sessions to come.
      max_message_size: the longest line accepted from the child.
    """

    argv: tuple[str, ...]
    shell: bool = False
    cwd: Path | None = None
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    pass_environment: bool = True
    spares: int = 1
    max_message_size: int | None = 64 * MIB

    def __post_init__(self) -> None:
        if isinstance(self.argv, str):
            raise ConfigError(
                f"{self.argv!r}: expected the words of a command, such as {self.argv.split()}; one string came"
            )
        if not self.argv or not self.argv[0]:
            raise ConfigError("no command: name the stdio server to run")
        if not all(map(_can_be_passed, self.argv)):
            raise ConfigError(f"{self.argv[0]!r}: no word of a command has {_UNFIT}")
        if self.spares < 0:
            raise ConfigError(f"--spares {self.spares}: a number of children can't be negative")
        for name, value in self.environment.items():
            # What execve can't carry would otherwise fail every start of the child, with a message that names no option.
            if not name or "=" in name or not _can_be_passed(name + value):
                raise ConfigError(f"--env {name!r}: a name is not empty and has no '=', and neither part has {_UNFIT}")
        if self.max_message_size is not None and self.max_message_size <= 0:
            raise ConfigError(f"--max-message-size {self.max_message_size}: a size is above 0, or None for no limit")
        object.__setattr__(self, "environment", MappingProxyType(dict(self.environment)))


@dataclass(frozen=True)
class TimeConfig:
    """How long we wait, in seconds.

    Args:
      connection_timeout: for a new child to answer `initialize`, and for a new client to say a second thing.
      request_timeout: for the answer to a request; progress starts it anew.
      session_idle_timeout: for a session without stream, request or message.
      keep_alive_timeout: for the next request on an HTTP connection.
      graceful_shutdown_timeout: for running calls to finish once we are told to stop.
    """

    connection_timeout: float | None = 60.0
    request_timeout: float | None = 300.0
    session_idle_timeout: float | None = 1800.0
    keep_alive_timeout: float | None = 75.0
    graceful_shutdown_timeout: float = 5.0

    def __post_init__(self) -> None:
        for name in ("connection_timeout", "request_timeout", "session_idle_timeout", "keep_alive_timeout"):
            seconds = getattr(self, name)
            # Written so that NaN, which would compare as never over, is refused as well.
            if seconds is not None and not seconds > 0:
                raise ConfigError(f"--{name.replace('_', '-')} {seconds}: a time is above 0, or None for no limit")
        if not self.graceful_shutdown_timeout >= 0:
            raise ConfigError(f"--graceful-shutdown-timeout {self.graceful_shutdown_timeout}: a time is 0 or more")


@dataclass(frozen=True)
class LimitConfig:
    """How much we take on.  The event store's two limits hold for each session."""

    max_body_size: int | None = 10 * MIB
    max_sessions: int | None = 1000
    max_connections: int | None = 10_000
    event_store: bool = True
    event_store_max_events: int | None = 1000
    event_store_max_bytes: int | None = 16 * MIB

    def __post_init__(self) -> None:
        for name in (
            "max_body_size",
            "max_sessions",
            "max_connections",
            "event_store_max_events",
            "event_store_max_bytes",
        ):
            limit = getattr(self, name)
            if limit is not None and limit <= 0:
                raise ConfigError(f"--{name.replace('_', '-')} {limit}: a limit is above 0, or None for no limit")


@dataclass(frozen=True)
class AuthConfig:
    """Who may come in.  Of several ways that are configured, any will do; with none, nobody is asked.

    Args:
      api_keys, api_key_file: the keys that are good; those of the file, one a line, are read again on SIGHUP.
      api_key_header_name: where a key is, if not in `Authorization: Bearer`; with `api_key_in_query`, in `?apiKey=` as well.
      server_url: the authentication server that knows further keys; what it says is believed for `cache_time`.
      user_id: what the header `X-User-Id` has to be, on top of all else.
      oauth_issuer: whose access tokens are good, if they are for one of `oauth_audiences`, and for all `oauth_scopes`.
      oauth_jwks_url: where the issuer's keys are; without it, its metadata says so.
      oauth_realm: the realm of our challenges.
      authenticate: a way of your own.
    """

    api_keys: tuple[str, ...] = field(default=(), repr=False)
    api_key_file: Path | None = None
    api_key_header_name: str = "x-api-key"
    api_key_in_query: bool = False
    server_url: str | None = field(default=None, repr=False)
    cache_time: float = 60.0
    user_id: str | None = None
    oauth_issuer: str | None = None
    oauth_audiences: tuple[str, ...] = ()
    oauth_scopes: tuple[str, ...] = ()
    oauth_jwks_url: str | None = None
    oauth_realm: str = "mcp"
    authenticate: Authenticate | None = None

    def __post_init__(self) -> None:
        if not all(is_api_key(key) for key in self.api_keys):
            # Which one can't be said without saying it.
            raise ConfigError("--api-key: a key is visible ASCII characters without spaces")
        if not is_token(self.api_key_header_name):
            raise ConfigError(f"--api-key-header-name {self.api_key_header_name!r}: expected the name of a header")
        if self.api_key_in_query and not self.takes_keys:
            raise ConfigError("--api-key-in-query says where a key may be, and there is none: add --api-key or the like")
        if self.server_url is not None and not is_http_url(self.server_url):
            raise ConfigError("--auth-server-url: expected a URL of http or https, without user and fragment")
        if not self.cache_time >= 0:
            raise ConfigError(f"--auth-cache {self.cache_time}: a time is 0 or more")
        if self.user_id is not None and not (self.user_id and self.user_id.isprintable()):
            raise ConfigError(f"--user-id {self.user_id!r}: expected printable characters")
        self._check_oauth()

    def _check_oauth(self) -> None:
        if self.oauth_issuer is None:
            if self.oauth_audiences or self.oauth_scopes or self.oauth_jwks_url is not None:
                raise ConfigError("--oauth-audience, --oauth-scope and --oauth-jwks-url need --oauth-issuer")
            return
        # "a URL that uses the "https" scheme and has no query or fragment components" (RFC 8414 §2)
        if not is_protected_url(self.oauth_issuer) or "?" in self.oauth_issuer:
            expected = "an https URL without query; http on this machine only"
            raise ConfigError(f"--oauth-issuer {self.oauth_issuer!r}: expected {expected}")
        if not self.oauth_audiences or not all(self.oauth_audiences):
            raise ConfigError("--oauth-issuer needs --oauth-audience: a token for somebody else must not be good for us")
        if self.oauth_jwks_url is not None and not is_protected_url(self.oauth_jwks_url):
            raise ConfigError(f"--oauth-jwks-url {self.oauth_jwks_url!r}: expected an https URL; http on this machine only")
        if not all(is_scope(scope) for scope in self.oauth_scopes):
            raise ConfigError(f"--oauth-scope {' '.join(self.oauth_scopes)!r}: a scope is visible ASCII without quotes")
        if not (self.oauth_realm and self.oauth_realm.isascii() and self.oauth_realm.isprintable()):
            raise ConfigError(f"--oauth-realm {self.oauth_realm!r}: expected printable ASCII characters")

    @property
    def takes_keys(self) -> bool:
        """Whether somebody could come in with a key."""
        return bool(self.api_keys) or self.api_key_file is not None or self.server_url is not None

    @property
    def is_open(self) -> bool:
        """Whether nobody is asked who they are."""
        ways = (self.user_id, self.oauth_issuer, self.authenticate)
        return not self.takes_keys and all(way is None for way in ways)


@dataclass(frozen=True)
class CorsOptions:
    """What pages of other origins may do.

    Pages of `allowed_hosts`, of `host`, and on loopback those of this machine may call us without being named here.

    Args:
      origin: who else may: `*` for everybody, origins such as `https://app.example`, `regex:` and a pattern that has to
        match a whole origin; or a function that tells of an origin whether it may.
      allowed_headers: what they may send; the header of the API key and `Mcp-Param-…` need not be named.
      exposed_headers: what they may read of an answer.
      credentials: whether browsers send cookies along.
      max_age: seconds for which a browser may remember what it was told; None leaves that to the browser.
    """

    origin: str | Sequence[str] | OriginTest = ()
    methods: Sequence[str] = METHODS
    allowed_headers: Sequence[str] = ALLOWED_HEADERS
    exposed_headers: Sequence[str] = EXPOSED_HEADERS
    credentials: bool = False
    max_age: int | None = MAX_AGE

    def __post_init__(self) -> None:
        if isinstance(self.origin, str):
            object.__setattr__(self, "origin", (self.origin,))
        try:
            self.make_test()
        except ValueError as error:
            expected = "*, an origin such as https://app.example, or regex: and a pattern"
            raise ConfigError(f"--cors-origin {error}: expected {expected}") from None
        if self.is_open and self.credentials:
            raise ConfigError("--cors-origin '*' and credentials exclude each other: any page could act as its visitor")
        for name in (*self.methods, *self.allowed_headers, *self.exposed_headers):
            if not is_token(name):
                raise ConfigError(f"{name!r}: expected the name of a header or a method")
        if self.max_age is not None and self.max_age < 0:
            raise ConfigError(f"max_age {self.max_age}: a time is 0 or more, or None to leave it to the browser")

    @property
    def is_open(self) -> bool:
        """Whether every page may call us."""
        return not callable(self.origin) and ANY in self.origin

    def make_test(self) -> OriginTest:
        """Return what tells of an origin whether it is one of `origin`."""
        return origin_test(self.origin)


@dataclass(frozen=True)
class LogConfig:
    """What we say on stderr.  `debug` adds every message that passes, and tracebacks; it implies the level debug."""

    debug: bool = False
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"

    def __post_init__(self) -> None:
        if self.debug:
            object.__setattr__(self, "level", "debug")


@dataclass(frozen=True)
class Config:
    """All that one proxy is told.

    Args:
      modern: whether revision 2026-07-28 is served beside those with a handshake.
      upstream_protocol: the era that the server speaks; `auto` finds out.
      child: the default server's command; None where `create_server` makes it, or where there are named servers only.
      servers: further servers by their names, each served at `/servers/NAME/…`.
      server_file: a file that names still more; it is read again on SIGHUP.
      tap: the file that every message is appended to.
      isolation: what has a server of its own: each session, each principal, or nobody.
      create_server: makes the default server, in place of a command.
      on_connect: called with each new session before its client gets an answer; what it raises refuses the session.
      on_close: called with each session that has ended.
      event_store: where events are kept, in place of memory within the limits.
      on_unhandled_request: serves, as an ASGI application, what nothing of ours is served at.
      stateless: each POST stands alone, with a child of its own; there are no sessions but those of HTTP with SSE.
      json_response: a request is answered with JSON, never with a stream.
      cors: what pages of other origins may do; None leaves them out of account, and browsers keep our answers from them.
      tunnel: a tunnel server that gives us a public URL.
      exit_on_child_death: the proxy ends when a server has ended by itself.
      shows_example: a command that tries the proxy out is printed once it serves.
    """

    child: ChildConfig | None = None
    listen: ListenConfig = field(default_factory=ListenConfig)
    endpoints: EndpointConfig = field(default_factory=EndpointConfig)
    times: TimeConfig = field(default_factory=TimeConfig)
    limits: LimitConfig = field(default_factory=LimitConfig)
    auth: AuthConfig = field(default_factory=AuthConfig)
    cors: CorsOptions | None = field(default_factory=CorsOptions)
    tunnel: TunnelConfig | None = None
    log: LogConfig = field(default_factory=LogConfig)
    servers: Mapping[str, ChildConfig | RemoteConfig] = field(default_factory=lambda: MappingProxyType({}))
    server_file: ServerFile | None = None
    tap: Path | None = None
    isolation: Literal["session", "principal", "shared"] = "session"
    modern: bool = True
    upstream_protocol: Literal["auto", "legacy", "modern"] = "auto"
    stateless: bool = False
    json_response: bool = False
    exit_on_child_death: bool = False
    shows_example: bool = False
    create_server: CreateServer | None = None
    on_connect: OnConnect | None = None
    on_close: OnClose | None = None
    on_unhandled_request: ASGIApp | None = None
    event_store: EventStore | None = None

    def __post_init__(self) -> None:
        if not self.has_default and not self.servers and self.server_file is None:
            raise ConfigError("no command: name the stdio server to run")
        if self.child is not None and self.create_server is not None:
            raise ConfigError("create_server makes the default server, but there is a command as well: give one of them")
        if self.event_store is not None and not self.limits.event_store:
            raise ConfigError("event_store and --no-event-store contradict each other: give one of them")
        if self.stateless and self.isolation != "session":
            raise ConfigError(f"--stateless and --isolation {self.isolation} contradict each other: one child a request")
        if self.isolation == "principal" and self.auth.is_open:
            raise ConfigError(
                "--isolation principal needs a way to come in, such as --api-key: nobody is asked who they are"
            )
        for name in self.servers:
            if not is_server_name(name):
                raise ConfigError(f"{name!r} can't be the name of a server: it becomes one part of a path")
        object.__setattr__(self, "servers", MappingProxyType(dict(self.servers)))
        if self.tunnel is not None:
            self.tunnel.check_beside(self.auth, self.listen)
        if self.endpoints.metrics_auth and self.auth.is_open:
            raise ConfigError("--metrics-auth needs a way to come in, such as --api-key: without one nobody is kept out")

    @property
    def has_default(self) -> bool:
        """Whether there is a server without a name."""
        return self.child is not None or self.create_server is not None
