"""trioproxy: any MCP server that speaks stdio, reachable over HTTP by any MCP client.

    async with trioproxy.open_proxy(Config(child=ChildConfig(("my-server",)))) as proxy:
        print(proxy.url)

Names are imported when they are first used: `python -m trioproxy.demo` needs none of them, and starts at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .config import (
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
    from .protocol.errors import ChildError, CommandFailed, ListenError, ProtocolError, TrioproxyError
    from .server import Proxy, open_proxy, serve

__version__ = "0.1.0"

_HOME = {
    **dict.fromkeys(
        (
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
    **dict.fromkeys(("ChildError", "CommandFailed", "ListenError", "ProtocolError", "TrioproxyError"), ".protocol.errors"),
    **dict.fromkeys(("Proxy", "open_proxy", "serve"), ".server"),
}

__all__ = [
    "ChildConfig",
    "ChildError",
    "CommandFailed",
    "Config",
    "ConfigError",
    "CorsOptions",
    "EndpointConfig",
    "LimitConfig",
    "ListenConfig",
    "ListenError",
    "LogConfig",
    "ProtocolError",
    "Proxy",
    "TimeConfig",
    "TrioproxyError",
    "open_proxy",
    "serve",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name], __name__), name)
