"""Messages to server-sent events (HTML standard, §Server-sent events; MCP, Transports §Streamable HTTP and §HTTP with SSE).

What may stand in a field is up to the standard: any text without line ends.  A message is one line, so that it takes one
`data` field; the one line end that can still stand in it is a lone CR, which JSON allows between tokens and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

KEEP_ALIVE: Final = b": keep-alive\n\n"
"""A comment: every reader skips it, and a dead connection is noticed by it."""


def encode_messages(messages: Sequence[bytes], id_prefix: bytes | None = None, first_number: int = 0) -> bytes:
    """Encode `messages` as `message` events.

    Args:
      id_prefix: what each event's id begins with; the rest is its number.  None for events without ids.
      first_number: the number of the first message; the others count on.
    """
    if id_prefix is None:
        heads = [b"event: message\ndata: "] * len(messages)
    else:
        head = b"event: message\nid: %b%%d\ndata: " % id_prefix.replace(b"%", b"%%")
        heads = [head % number for number in range(first_number, first_number + len(messages))]
    # Joined once, and not each by itself: a large message is copied once, and many small ones cost little.
    pieces = [b"\n\n"] * (3 * len(messages))
    pieces[0::3], pieces[1::3] = heads, messages
    events = b"".join(pieces)
    # What ends lines here is LF, so that every CR is one of a message's.
    return events.replace(b"\r", b" ") if b"\r" in events else events


def encode_priming_event(event_id: bytes, retry_ms: int) -> bytes:
    """Encode the event with which a stream opens: nothing to deliver, but a place to resume from.

    2025-11-25, Transports §Sending Messages to the Server, 6.  `retry_ms` tells the client how long to wait before it
    comes back after the connection was closed.
    """
    return b"id: %b\nretry: %d\ndata: \n\n" % (event_id, retry_ms)


def encode_endpoint_event(location: str) -> bytes:
    """Encode the first event of HTTP+SSE (2024-11-05, Transports §HTTP with SSE): where the client is to POST."""
    return b"event: endpoint\ndata: %b\n\n" % location.encode()
