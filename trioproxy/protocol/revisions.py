"""The dated revisions of MCP, and what a transport must know of each.

Five revisions are in use.  The first four open with a handshake (`initialize`) and make up the *legacy* era; the fifth,
2026-07-28, carries its metadata in each request and is the *modern* one.  What differs between the four on the wire is
small, and what a transport asks about them is here.
"""

from __future__ import annotations

from typing import Final

FIRST_REVISION: Final = "2024-11-05"
BATCH_REVISION: Final = "2025-03-26"
"""The only revision with JSON-RPC batches (Basic §Batching); 2025-06-18 took them out again."""
LATEST_LEGACY_REVISION: Final = "2025-11-25"
MODERN_REVISION: Final = "2026-07-28"

LEGACY_REVISIONS: Final = (FIRST_REVISION, BATCH_REVISION, "2025-06-18", LATEST_LEGACY_REVISION)
MODERN_REVISIONS: Final = (MODERN_REVISION,)


def has_batches(revision: str) -> bool:
    """Whether a client of `revision` may send an array of messages."""
    return revision == BATCH_REVISION


def has_priming_events(revision: str) -> bool:
    """Whether a client of `revision` expects an event with an id and no data at the start of a stream.

    2025-11-25, Transports §Sending Messages to the Server, 6: "the server SHOULD immediately send an SSE event
    consisting of an event ID and an empty data field".  Older clients try to parse the empty data as a message.
    """
    # Revisions are dates, so that later ones sort after earlier ones.
    return revision >= LATEST_LEGACY_REVISION
