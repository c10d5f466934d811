"""What the HTTP headers of a request say: media types and revision (RFC 9110; MCP, Transports).

Header values are handed in as bytes, as ASGI has them, or None where a header is absent.

Not here: headers that repeat what the body says (`header_values`, `envelope`, `param_headers`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .errors import NotAcceptable, UnsupportedMediaType, UnsupportedRevision
from .revisions import LEGACY_REVISIONS

JSON: Final = b"application/json"
EVENT_STREAM: Final = b"text/event-stream"
# As the SDKs and most others spell it; taking it apart costs more than the rest of the checks.
_ACCEPTS_BOTH: Final = frozenset(
    first + comma + second for first, second in ((JSON, EVENT_STREAM), (EVENT_STREAM, JSON)) for comma in (b", ", b",")
)


def check_content_type(value: bytes | None) -> None:
    """Check that a body is declared to be JSON; parameters such as a charset are allowed.

    Raises:
      UnsupportedMediaType: it is not.
    """
    if value is None or (value != JSON and value.partition(b";")[0].strip().lower() != JSON):
        came = "none" if value is None else repr(value[:80].decode("latin-1"))
        raise UnsupportedMediaType(f"Content-Type must be application/json; this is {came}")


def check_accept(value: bytes | None, *needed: bytes, is_required: bool = False) -> None:
    """Check that every one of the media types `needed` is acceptable.

    2025-03-26 and later, Transports §Sending Messages to the Server, 2: "The client MUST include an Accept header,
    listing both application/json and text/event-stream as supported content types."  Wildcards count, weights don't;
    who sends no Accept at all accepts everything (RFC 9110 §12.5.1), unless it `is_required`.

    Raises:
      NotAcceptable: one of them is not.
    """
    if value in _ACCEPTS_BOTH or (value is None and not is_required):
        return
    if value is None:
        raise NotAcceptable(f"Accept must admit {_listed(needed)}; this is none")
    ranges = {part.partition(b";")[0].strip().lower() for part in value.split(b",")}
    for media in needed:
        if ranges.isdisjoint((media, media.partition(b"/")[0] + b"/*", b"*/*")):
            raise NotAcceptable(f"Accept must admit {_listed(needed)}; this is {value[:80].decode('latin-1')!r}")


def check_revision(value: bytes | None) -> None:
    """Check the MCP-Protocol-Version of a request within a session.

    2025-06-18 and later, Transports §Protocol Version Header: "If the server receives a request with an invalid or
    unsupported MCP-Protocol-Version, it MUST respond with 400 Bad Request."  Without the header the revision is the one
    that the session agreed on.

    Raises:
      UnsupportedRevision: the header names no revision that has sessions.
    """
    if value is not None and value.decode("latin-1") not in LEGACY_REVISIONS:
        supported = ", ".join(LEGACY_REVISIONS)
        raise UnsupportedRevision(
            f"MCP-Protocol-Version {value[:40].decode('latin-1')!r} is not supported here; supported: {supported}"
        )


def _listed(media: Sequence[bytes]) -> str:
    return " and ".join(one.decode() for one in media)
