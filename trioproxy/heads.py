"""The heads of HTTP messages, read and written by h11 once, and remembered: most are like one before, byte by byte.

A client sends the same head with every call, and gets the same one back, but for a length and a date.  To read one and to
write the other takes h11 as long as everything else that we do for a small call; to look them up takes next to nothing.

Only what is *plain* is remembered: a POST of HTTP/1.1 with a body of known length, after which the connection goes on.  The
framing of such a message needs no state: its head, and as many bytes as that says (RFC 9112 §6.2).  Whether a head is
well-formed, and what is in it, is said by h11 and by nobody else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import unquote

import h11

Headers: TypeAlias = list[tuple[bytes, bytes]]

_MAX_LENGTH: Final = 4096
_MAX_LINES: Final = 64
_MAX_HEADS: Final = 512
_END: Final = b"\r\n\r\n"
_NOT_PLAIN: Final = frozenset({b"connection", b"expect", b"transfer-encoding", b"upgrade"})
_WITHOUT_BODY: Final = frozenset({204, 304})
_KEEP_ALIVE: Final = (b"connection", b"keep-alive")
_ABSOLUTE: Final = re.compile(rb"https?://([^/?#]*)([^#]*)", re.IGNORECASE)


class Head(NamedTuple):
    """A request's head, as ASGI's scope has it.

    Attributes:
      headers: names in lower case.
    """

    method: str
    path: str
    raw_path: bytes
    query: bytes
    version: str
    headers: Headers

    @classmethod
    def of(cls, request: h11.Request) -> Head:
        """Return what a request's head says."""
        # As `list(request.headers)`, which takes three times as long.
        headers = [(name.lower(), value) for name, value in request.headers.raw_items()]
        target = request.target
        if not target.startswith(b"/"):
            target, headers = _origin_form(target, headers)
        path, _, query = target.partition(b"?")
        method, version = request.method.decode(), request.http_version.decode()
        return cls(method, unquote(path.decode("latin-1")), path, query, version, headers)


class Heads:
    """The plain heads that came last, to whichever connection.

    What is remembered is bounded: so many heads, each so long, and of so many lines, since what h11 says of a line takes far
    more than its bytes; who sends others only makes us forget.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[Head, int]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def find(self, data: bytes) -> tuple[Head, int, bytes] | None:
        """Return the plain head that `data` begins with, how long its body is, and what is there of that.

        None where there is no such head, or not all of it, or more than its body behind it: that is for h11.
        """
        end = data.find(_END) + len(_END)
        if not len(_END) <= end <= _MAX_LENGTH:
            return None
        raw, body = data[:end], data[end:]
        if (known := self._known.get(raw)) is None:
            if (known := _read_plain(raw)) is None:
                return None
            if len(self._known) >= _MAX_HEADS:
                del self._known[next(iter(self._known))]
            self._known[raw] = known
        head, length = known
        return (head, length, body) if len(body) <= length else None


def _read_plain(raw: bytes) -> tuple[Head, int] | None:
    # h11 takes a lone line feed for a line end, and skips empty lines before a head, so that another place would be the end.
    lines = raw.count(b"\n")
    if not raw.startswith(b"POST ") or lines != raw.count(b"\r\n") or lines > _MAX_LINES:
        return None
    judge = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_LENGTH)
    judge.receive_data(raw)
    try:
        request = judge.next_event()
    except h11.RemoteProtocolError:
        # The connection's own will say what is wrong.
        return None
    if type(request) is not h11.Request or request.http_version != b"1.1":
        return None
    head = Head.of(request)
    lengths = [value for name, value in head.headers if name == b"content-length"]
    if len(lengths) != 1 or not _is_plain(head.headers):
        return None
    return head, int(lengths[0])


def _is_plain(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether nothing among the headers says how the connection goes on, but that it does."""
    return not any(name in _NOT_PLAIN and (name, value.lower()) != _KEEP_ALIVE for name, value in headers)


def write_plain(status: int, headers: Headers, date: tuple[bytes, bytes], body: bytes) -> bytes | None:
    """Return a whole response to a plain request; None where it is for h11 to write.

    Raises:
      h11.LocalProtocolError: it is no response.
    """
    if not headers or headers[-1] != (b"content-length", b"%d" % len(body)):
        return None
    opening = _write_opening(status, tuple(headers[:-1]))
    return None if opening is None else b"%b%d\r\n%b: %b\r\n\r\n%b" % (opening, len(body), *date, body)


@lru_cache(maxsize=256)
def _write_opening(status: int, headers: tuple[tuple[bytes, bytes], ...]) -> bytes | None:
    """Return a response's head as far as the length of its body."""
    # There would be two lengths (RFC 9112 §6.3), or a body where there is none, which the client takes for another response.
    if status in _WITHOUT_BODY or any(name.lower() == b"content-length" for name, _ in headers):
        return None
    writer = h11.Connection(h11.SERVER)
    pretend_plain(writer, 0)
    response = h11.Response(status_code=status, headers=[*headers, (b"content-length", b"0")])
    return writer.send(response).removesuffix(b"0" + _END) if _is_plain(response.headers) else None


def pretend_plain(http: h11.Connection, remaining: int) -> None:
    """Bring an h11 connection to where a plain request has come, but for `remaining` bytes of its body."""
    http.receive_data(b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % remaining)
    http.next_event()
    if not remaining:
        http.next_event()


def _origin_form(target: bytes, headers: Headers) -> tuple[bytes, Headers]:
    """Return path and headers of a request for a whole URL, which every server has to accept (RFC 9112 §3.2.2).

    "An origin server MUST ignore the received Host header field (if any) and instead use the host information of the
    request-target."
    """
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        return target, headers
    path = match[2] if match[2].startswith(b"/") else b"/" + match[2]
    return path, [(b"host", match[1]), *(header for header in headers if header[0] != b"host")]
