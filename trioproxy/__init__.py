"""trioproxy: any MCP server that speaks stdio, reachable over HTTP by any MCP client, and the other way round.

    async with trioproxy.open_proxy(Config(child=ChildConfig(("my-server",)))) as proxy:
        print(proxy.url)

Names are imported when they are first used: `python -m trioproxy.demo` needs none of them, and starts at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .auth import AuthRequest, HttpError, Principal, first_of
    from .auth.api_keys import api_key_auth
    from .auth.headers import header_auth
    from .auth.oauth import oauth_auth
    from .auth.remote import remote_auth
    from .bridge import BridgeConfig, serve_stdio, serve_stdio_many
    from .child import open_child
    from .config import (
        AuthConfig,
        ChildConfig,
        Config,
        ConfigError,
        CorsOptions,
        EndpointConfig,
        LimitConfig,
        ListenConfig,
        LogConfig,
        TimeConfig,
    )
    from .event_store import EventStore, InMemoryEventStore
    from .hooks import SessionInfo
    from .in_process import open_in_process
    from .protocol.errors import (
        AuthenticationError,
        ChildError,
        CommandFailed,
        InsufficientScope,
        ListenError,
        ProtocolError,
        TrioproxyError,
    )
    from .protocol.event_log import Archive
    from .relaying import relay
    from .remote import open_remote
    from .remote.settings import RemoteConfig, SignInConfig
    from .server import Proxy, open_proxy, serve
    from .server_file import ServerFile
    from .stdio import open_stdio
    from .tap import Tapped, tapped
    from .transport import Transport
    from .tunnel import TunnelConfig

__version__ = "0.1.0"

_HOME = {
    **dict.fromkeys(("AuthRequest", "HttpError", "Principal", "first_of"), ".auth"),
    "api_key_auth": ".auth.api_keys",
    "header_auth": ".auth.headers",
    "oauth_auth": ".auth.oauth",
    "remote_auth": ".auth.remote",
    **dict.fromkeys(
        (
            "AuthConfig",
            "ChildConfig",
            "Config",
            "ConfigError",
            "CorsOptions",
            "EndpointConfig",
            "LimitConfig",
            "ListenConfig",
            "LogConfig",
            "TimeConfig",
        ),
        ".config",
    ),
    **dict.fromkeys(
        (
            "AuthenticationError",
            "ChildError",
            "CommandFailed",
            "InsufficientScope",
            "ListenError",
            "ProtocolError",
            "TrioproxyError",
        ),
        ".protocol.errors",
    ),
    **dict.fromkeys(("BridgeConfig", "serve_stdio", "serve_stdio_many"), ".bridge"),
    "open_child": ".child",
    **dict.fromkeys(("EventStore", "InMemoryEventStore"), ".event_store"),
    "SessionInfo": ".hooks",
    "open_in_process": ".in_process",
    "Archive": ".protocol.event_log",
    "relay": ".relaying",
    "open_remote": ".remote",
    **dict.fromkeys(("RemoteConfig", "SignInConfig"), ".remote.settings"),
    "ServerFile": ".server_file",
    "open_stdio": ".stdio",
    **dict.fromkeys(("Tapped", "tapped"), ".tap"),
    "Transport": ".transport",
    "TunnelConfig": ".tunnel",
    **dict.fromkeys(("Proxy", "open_proxy", "serve"), ".server"),
}

__all__ = [
    "Archive",
    "AuthConfig",
    "AuthRequest",
    "AuthenticationError",
    "BridgeConfig",
    "ChildConfig",
    "ChildError",
    "CommandFailed",
    "Config",
    "ConfigError",
    "CorsOptions",
    "EndpointConfig",
    "EventStore",
    "HttpError",
    "InMemoryEventStore",
    "InsufficientScope",
    "LimitConfig",
    "ListenConfig",
    "ListenError",
    "LogConfig",
    "Principal",
    "ProtocolError",
    "Proxy",
    "RemoteConfig",
    "ServerFile",
    "SessionInfo",
    "SignInConfig",
    "Tapped",
    "TimeConfig",
    "Transport",
    "TrioproxyError",
    "TunnelConfig",
    "api_key_auth",
    "first_of",
    "header_auth",
    "oauth_auth",
    "open_child",
    "open_in_process",
    "open_proxy",
    "open_remote",
    "open_stdio",
    "relay",
    "remote_auth",
    "serve",
    "serve_stdio",
    "serve_stdio_many",
    "tapped",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name], __name__), name)
