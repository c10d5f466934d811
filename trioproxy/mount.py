"""The endpoints of one server: which paths it has, and what answers there.

The default server has the paths of the configuration, any other the same under a prefix: `/servers/NAME/mcp`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from .config import Config, EndpointConfig
from .directory import Directory
from .endpoints.http_sse import HTTPWithSSE
from .endpoints.modern import Modern
from .endpoints.streamable_http import StreamableHTTP
from .exchange import Exchange
from .modern_children import ModernChildren

Endpoint: TypeAlias = Callable[[Exchange], Awaitable[None]]


def mount(config: Config, directory: Directory, prefix: str = "") -> Mapping[str, Endpoint]:
    """Return the endpoints of the server behind `directory`, by their paths."""
    paths = config.endpoints
    endpoints: dict[str, Endpoint] = {}
    if "stream" in paths.servers:
        modern = Modern(config, ModernChildren(config, directory), directory.metrics).serve if config.modern else None
        endpoints[prefix + paths.stream_endpoint] = StreamableHTTP(config, directory, modern)
    if "sse" in paths.servers:
        http_sse = HTTPWithSSE(config, directory, prefix + paths.message_endpoint)
        endpoints[prefix + paths.sse_endpoint] = http_sse.listen
        endpoints[prefix + paths.message_endpoint] = http_sse.post
    return endpoints


def client_paths(paths: EndpointConfig, prefix: str = "") -> list[str]:
    """Return the paths that clients are told, that of the newest transport first."""
    served = (("stream", paths.stream_endpoint), ("sse", paths.sse_endpoint))
    return [prefix + path for kind, path in served if kind in paths.servers]


def all_paths(paths: EndpointConfig, prefix: str = "") -> list[str]:
    """Return the paths at which a server answers."""
    messages = [prefix + paths.message_endpoint] if "sse" in paths.servers else []
    return client_paths(paths, prefix) + messages
