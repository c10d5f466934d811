"""The checks, an area a module; importing this registers them all.

In reading order:

    messages        JSON-RPC, whatever carries it
    lifecycle       the handshake, and which revision it agrees on
    ping            the simplest request there is
    progress        what is reported while a call runs
    cancellation    what becomes of a call that nobody wants any more
    security        whose requests are answered at all
    authorization   what is said to those without a token
    posts           what a POST is answered with (2025-03-26 and later)
    version_header  MCP-Protocol-Version, where there is a session
    sessions        their ids, and their end
    listening       GET, and which message travels on which stream
    resumption      event ids, and coming back with one
    batching        several messages in one POST (2025-03-26 only)
    http_sse        the two endpoints of 2024-11-05
    envelope        what each request of 2026-07-28 has to say
    headers         and to repeat in headers
    param_headers   the arguments of tools among them
    discovery       server/discover
    mrtr            input that is required in the middle of a call
    subscriptions   streams of changes
"""

from . import (
    authorization,
    batching,
    cancellation,
    discovery,
    envelope,
    headers,
    http_sse,
    lifecycle,
    listening,
    messages,
    mrtr,
    param_headers,
    ping,
    posts,
    progress,
    resumption,
    security,
    sessions,
    subscriptions,
    version_header,
)

__all__ = (
    "authorization",
    "batching",
    "cancellation",
    "discovery",
    "envelope",
    "headers",
    "http_sse",
    "lifecycle",
    "listening",
    "messages",
    "mrtr",
    "param_headers",
    "ping",
    "posts",
    "progress",
    "resumption",
    "security",
    "sessions",
    "subscriptions",
    "version_header",
)
