"""trioproxy: any MCP server that speaks stdio, reachable over HTTP by any MCP client.

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
    from .protocol.errors import (
        AuthenticationError,
        ChildError,
        CommandFailed,
        InsufficientScope,
        ListenError,
        ProtocolError,
        TrioproxyError,
    )
    from .server import Proxy, open_proxy, serve

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
    **dict.fromkeys(("Proxy", "open_proxy", "serve"), ".server"),
}

__all__ = [
    "AuthConfig",
    "AuthRequest",
    "AuthenticationError",
    "ChildConfig",
    "ChildError",
    "CommandFailed",
    "Config",
    "ConfigError",
    "CorsOptions",
    "EndpointConfig",
    "HttpError",
    "InsufficientScope",
    "LimitConfig",
    "ListenConfig",
    "ListenError",
    "LogConfig",
    "Principal",
    "ProtocolError",
    "Proxy",
    "TimeConfig",
    "TrioproxyError",
    "api_key_auth",
    "first_of",
    "header_auth",
    "oauth_auth",
    "open_proxy",
    "remote_auth",
    "serve",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name], __name__), name)
