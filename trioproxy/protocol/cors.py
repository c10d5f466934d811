"""Which pages of other origins may call us, and what their browsers are told (Fetch standard, §HTTP CORS protocol).

A browser lets a page read an answer of another origin only if the answer says so, and before most requests it asks first,
with OPTIONS: a *preflight*.  MCP's own headers are what a browser would not let through otherwise: a page can't open a
session if it can't read `Mcp-Session-Id`.

Whoever may call us (`origins`) may read what we answer, so that there is one rule and not two.  CORS protects nothing by
itself: a request that needs no preflight is sent in any case.  Hence strangers get 403, and no header of these.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from .host_names import origin_name

METHODS: Final = ("GET", "POST", "DELETE", "OPTIONS")
ALLOWED_HEADERS: Final = (
    "Content-Type",
    "Accept",
    "Authorization",
    "Mcp-Session-Id",
    "MCP-Protocol-Version",
    "Last-Event-ID",
    "Mcp-Method",
    "Mcp-Name",
)
EXPOSED_HEADERS: Final = ("Mcp-Session-Id", "WWW-Authenticate")
MAX_AGE: Final = 7200
"""Seconds for which a browser may remember a preflight; Chromium remembers none for longer."""

ANY: Final = "*"
_PATTERN: Final = "regex:"
_LONGEST_ORIGIN: Final = 512
"""Characters of an origin that is held against patterns; a host name has at most 253."""
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_ARGUMENT: Final = "mcp-param-"

Headers: TypeAlias = tuple[tuple[bytes, bytes], ...]
OriginTest: TypeAlias = Callable[[str], bool]
"""Tells whether pages of an origin may call us."""


def is_token(text: str) -> bool:
    """Whether `text` can be the name of a header or a method (RFC 9110 §5.6.2)."""
    return _TOKEN.fullmatch(text) is not None


def origin_test(origins: Sequence[str] | OriginTest) -> OriginTest:
    """Return a test for the origins that `origins` stands for.

    Each is `*` for everybody, an origin (`https://app.example`), or `regex:` and a pattern.  A pattern has to match the
    whole of an origin: one that is just found somewhere in it, as `app.example` is in `https://app.example.evil`, has
    let in many a stranger.

    Raises:
      ValueError: one of them is none of these; `null` is not, since any page can make itself that.
    """
    if not callable(origins) and ANY in origins:
        return lambda origin: True
    tests = [origins] if callable(origins) else [_test_of(word) for word in origins]

    def test(origin: str) -> bool:
        return len(origin) <= _LONGEST_ORIGIN and origin_name(origin) != "" and any(admits(origin) for admits in tests)

    return test


def _test_of(word: str) -> OriginTest:
    if word.startswith(_PATTERN):
        try:
            pattern = re.compile(word.removeprefix(_PATTERN))
        except re.error as error:
            raise ValueError(f"{word!r}: {error}") from error
        return lambda origin: pattern.fullmatch(origin) is not None
    if not origin_name(word) or ANY in word:
        raise ValueError(f"{word!r} is no origin")
    named = _normalise(word)
    return lambda origin: _normalise(origin) == named


def _normalise(origin: str) -> str:
    """Return an origin as browsers write it: in lower case, and without the port that its scheme has anyway."""
    scheme, colon, rest = origin.lower().partition("://")
    return scheme + colon + rest.removesuffix(_DEFAULT_PORTS.get(scheme, "://"))


class CorsHeaders:
    """What is said to the pages that may call us.

    Args:
      is_open: everybody may, so that there is nothing to tell one origin from another by.
      allowed_headers: what they may send; any `Mcp-Param-…` comes on top, since only the server's tools know which.
      exposed_headers: what they may read of an answer, beside what every page may.
      credentials: whether browsers send cookies and client certificates along.
      max_age: seconds for which a preflight holds; None leaves that to the browser.
    """

    def __init__(
        self,
        *,
        is_open: bool = False,
        methods: Sequence[str] = METHODS,
        allowed_headers: Sequence[str] = ALLOWED_HEADERS,
        exposed_headers: Sequence[str] = EXPOSED_HEADERS,
        credentials: bool = False,
        max_age: int | None = MAX_AGE,
    ) -> None:
        self._methods = _listed(methods)
        self._allowed_headers = allowed_headers
        self._max_age: Headers = () if max_age is None else ((b"access-control-max-age", b"%d" % max_age),)
        self._is_open = is_open
        # A cache must not hand one origin's answer to another (§CORS protocol and HTTP caches).
        self._vary: Headers = () if self._is_open else ((b"vary", b"Origin"),)
        # `*` can't be combined with credentials (§CORS protocol and credentials), and to name whoever asks instead would
        # hand every page the user's own rights.
        with_credentials = credentials and not is_open
        self._permission: Headers = ((b"access-control-allow-credentials", b"true"),) if with_credentials else ()
        if exposed_headers:
            self._permission += ((b"access-control-expose-headers", _listed(exposed_headers)),)

    def of_answer(self, origin: bytes) -> Headers:
        """Return the headers of every answer to an Origin that may call us."""
        name = b"*" if self._is_open else origin
        return ((b"access-control-allow-origin", name), *self._permission, *self._vary)

    def of_preflight(self, requested: bytes | None) -> Headers:
        """Return what the answer to a preflight has besides; `requested` is its Access-Control-Request-Headers."""
        asked = (requested or b"").decode("latin-1").split(",")
        arguments = [name for word in asked if (name := word.strip()).lower().startswith(_ARGUMENT) and is_token(name)]
        return (
            (b"access-control-allow-methods", self._methods),
            (b"access-control-allow-headers", _listed((*self._allowed_headers, *arguments))),
            *self._max_age,
        )


def _listed(names: Sequence[str]) -> bytes:
    # A name may be given twice, say as the header of the API key and among those that were added.
    return ", ".join({name.lower(): name for name in names}.values()).encode()
