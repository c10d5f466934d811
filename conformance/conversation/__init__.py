"""A client of each revision, as far as the checks need one: it opens a conversation, asks, and listens.

Where revisions differ only in how a message gets across, a check should not have to know.  So there are three kinds of
conversation with the same three verbs: over HTTP with SSE (2024-11-05), in a session of Streamable HTTP (2025-03-26 to
2025-11-25), and of single requests that carry everything (2026-07-28).

    async with open_session(wire, "2025-11-25") as talk:
        answer = await talk.ask("ping")                    one request, to its end
        async with talk.open(talk.request("…")) as call:   one request, message by message
        await talk.tell({"jsonrpc": "2.0", …})             a notification, or an answer to what the server has asked
"""

from .http_sse import SseSession, open_sse_session
from .streamable_http import HttpCall, Requests, Session, open_session
from .talk import (
    ASKABLE,
    CLIENT_INFO,
    INITIALIZED,
    JSON_AND_SSE,
    LEGACY,
    MODERN,
    NAMED_BY,
    RESERVED,
    REVISIONS,
    Call,
    Conversation,
    Message,
    Misbehaved,
    encode_header,
    initialize_request,
    is_request,
    is_response,
)

__all__ = (
    "ASKABLE",
    "CLIENT_INFO",
    "INITIALIZED",
    "JSON_AND_SSE",
    "LEGACY",
    "MODERN",
    "NAMED_BY",
    "RESERVED",
    "REVISIONS",
    "Call",
    "Conversation",
    "HttpCall",
    "Message",
    "Misbehaved",
    "Requests",
    "Session",
    "SseSession",
    "encode_header",
    "initialize_request",
    "is_request",
    "is_response",
    "open_session",
    "open_sse_session",
)
