"""What a proxy is told to do: frozen values, one dataclass a concern.

The command line fills these in (`cli`), a library user writes them down.  Nothing here has an effect; whatever can be
checked without touching the machine is checked when a value is made, so that a wrong one is an error at its birth.

Units, everywhere: seconds for time, bytes for size.  `None` means "no limit" where a limit may be absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from types import MappingProxyType
from typing import Literal

KIB = 1024
MIB = 1024 * KIB


class ConfigError(ValueError):
    """A value, or a combination of values, that can't be served; the message names the option as a user spells it."""


def is_url_path(text: str) -> bool:
    """Tell whether `text` can be a path that we serve, or the beginning of one.

    A second slash at the start would make a host of what follows it (RFC 3986 §4.2), and clients get these paths as
    relative references.  Browsers take a backslash for a slash.
    """
    plain = text.isascii() and text.isprintable() and not any(c in text for c in "?# \\")
    return plain and text.startswith("/") and not text.startswith("//")


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
    """Which transports are served, and at which paths."""

    servers: frozenset[Literal["sse", "stream"]] = frozenset({"sse", "stream"})
    stream_endpoint: str = "/mcp"
    sse_endpoint: str = "/sse"
    message_endpoint: str = "/messages"
    health_endpoint: str = "/healthz"

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
        for option, path in named.items():
            if not is_url_path(path):
                raise ConfigError(f"{option} {path!r}: a path starts with / and has no query, fragment or space")
            if path in taken:
                raise ConfigError(f"{option} {path}: that path is taken by {taken[path]}")
            taken[path] = option


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
        if not self.argv or not self.argv[0]:
            raise ConfigError("no command: name the stdio server to run")
        if self.spares < 0:
            raise ConfigError(f"--spares {self.spares}: a number of children can't be negative")
        for name, value in self.environment.items():
            # What execve can't carry would otherwise fail every start of the child, with a message that names no option.
            if not name or "=" in name or "\0" in name + value:
                raise ConfigError(f"--env {name!r}: a name is not empty and has no '=', and neither part has a NUL")
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
      stateless: each POST stands alone, with a child of its own; there are no sessions but those of HTTP with SSE.
      json_response: a request is answered with JSON, never with a stream.
      shows_example: a command that tries the proxy out is printed once it serves.
    """

    child: ChildConfig
    listen: ListenConfig = field(default_factory=ListenConfig)
    endpoints: EndpointConfig = field(default_factory=EndpointConfig)
    times: TimeConfig = field(default_factory=TimeConfig)
    limits: LimitConfig = field(default_factory=LimitConfig)
    log: LogConfig = field(default_factory=LogConfig)
    modern: bool = True
    upstream_protocol: Literal["auto", "legacy", "modern"] = "auto"
    stateless: bool = False
    json_response: bool = False
    shows_example: bool = False
