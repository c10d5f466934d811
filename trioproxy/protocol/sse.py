"""Messages to server-sent events (HTML standard, §Server-sent events; MCP, Transports §Streamable HTTP and §HTTP with SSE).

What may stand in a field is up to the standard: any text without line ends.  A message is one line, so that it takes one
`data` field; the one line end that can still stand in it is a lone CR, which JSON allows between tokens and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

KEEP_ALIVE: Final = b": keep-alive\n\n"
"""A comment: every reader skips it, and a dead connection is noticed by it."""


def encode_messages(messages: Sequence[bytes], id_prefix: bytes | None = None, first_number: int = 0) -> list[bytes]:
    """Encode `messages` as `message` events, in pieces to be sent one after the other.

    Args:
      id_prefix: what each event's id begins with; the rest is its number.  None for events without ids.
      first_number: the number of the first message; the others count on.
    """
    if id_prefix is None:
        return [b"event: message\ndata: %b\n\n" % _without_cr(message) for message in messages]
    return [
        b"event: message\nid: %b%d\ndata: %b\n\n" % (id_prefix, number, _without_cr(message))
        for number, message in enumerate(messages, first_number)
    ]


def encode_priming_event(event_id: bytes, retry_ms: int) -> bytes:
    """Encode the event with which a stream opens: nothing to deliver, but a place to resume from.

    2025-11-25, Transports §Sending Messages to the Server, 6.  `retry_ms` tells the client how long to wait before it
    comes back after the connection was closed.
    """
    return b"id: %b\nretry: %d\ndata: \n\n" % (event_id, retry_ms)


def encode_endpoint_event(location: str) -> bytes:
    """Encode the first event of HTTP+SSE (2024-11-05, Transports §HTTP with SSE): where the client is to POST."""
    return b"event: endpoint\ndata: %b\n\n" % location.encode()


def _without_cr(message: bytes) -> bytes:
    return message.replace(b"\r", b" ") if b"\r" in message else message
