"""A message that has passed, as a line of a recording, and back.

    {"time":"2026-07-28T12:00:00.000001Z","session":"ab12cd","stream":3,"request":null,"direction":"client-to-server",
     "message":{"jsonrpc":"2.0","id":1,"method":"ping"}}                                 on one line

A message stands in its line as it has passed, byte for byte, white space between tokens aside; so whatever reads JSON reads
a recording, and nothing is lost: numbers beyond any float, escaped surrogates, members that come twice.  What is not JSON
is a string, `raw`, and so is the beginning of a line over the limit, beside its `length`.  Where messages could not be
recorded, a line says how many: {"time":…,"lost":5}.

What follows from which message is up to `scenes`.
"""

from __future__ import annotations

import json
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from .errors import InvalidRequest, ParseError
from .json_text import decode, expect_end, scan, skip_space
from .lines import OversizedLine
from .messages import find_request_answered
from .splice import cut_out

Direction: TypeAlias = Literal["client-to-server", "server-to-client"]
TO_SERVER: Final = "client-to-server"
TO_CLIENT: Final = "server-to-client"

_HAS_LINE_END: Final = (b"\n", b"\r")
_LONG: Final = 16 * 1024


class Entry(NamedTuple):
    """One message that has passed.

    Attributes:
      time: ISO 8601, in UTC.
      session: what the session is called in logs; None outside any.
      stream: the number of the stream that carried it, or is to carry its answer.
      request: what tells one modern request from another, whose ids are unique for each client only.
      length: of a line over the limit, of which `message` is the beginning; None where the message is whole.
    """

    time: str
    direction: Direction
    message: bytes
    session: str | None = None
    stream: int | None = None
    request: str | int | None = None
    length: int | None = None


class Lost(NamedTuple):
    """So many messages passed here that could not be recorded."""

    time: str
    number: int


def write_entry(entry: Entry) -> bytes:
    """Return the line, without its newline, that `read_entry` reads."""
    session = "null" if entry.session is None else json.dumps(entry.session)
    stream = "null" if entry.stream is None else entry.stream
    request = "null" if entry.request is None else json.dumps(entry.request)
    head = (
        f'{{"time":"{entry.time}","session":{session},"stream":{stream},"request":{request},"direction":"{entry.direction}",'
    )
    message = entry.message
    if entry.length is None and _is_json(message):
        if any(end in message for end in _HAS_LINE_END):
            # Between tokens, since a string has none.
            message = message.replace(b"\n", b" ").replace(b"\r", b" ")
        return b'%b"message":%b}' % (head.encode(), message)
    # Bytes that are not UTF-8 become lone surrogates, which are never written as themselves, and bytes again when read.
    raw = json.dumps(message.decode(errors="surrogateescape"))
    length = "" if entry.length is None else f',"length":{entry.length}'
    return f'{head}"raw":{raw}{length}}}'.encode()


def write_loss(loss: Lost) -> bytes:
    """Return the line that says so."""
    return b'{"time":"%b","lost":%d}' % (loss.time.encode(), loss.number)


def read_entry(line: bytes) -> Entry | Lost:
    """Return what a line of a recording says.

    Raises:
      ParseError: it is not JSON.
      InvalidRequest: it is, but was not written by `write_entry`, or not by it alone.
    """
    text = decode(line)
    value, end = scan(text, skip_space(text, 0))
    expect_end(text, end)
    if type(value) is not dict:
        raise InvalidRequest("a line of a recording is an object")
    time = _member(value, "time", str)
    if "lost" in value:
        return Lost(time or "", _member(value, "lost", int) or 0)
    direction = value.get("direction")
    if direction not in (TO_SERVER, TO_CLIENT):
        raise InvalidRequest(f'"direction" is {TO_SERVER} or {TO_CLIENT}; this is {_show(direction)}')
    length = None
    if "message" in value:
        message = cut_out(line, ("message",))
        assert message is not None
    else:
        raw = _member(value, "raw", str)
        if raw is None:
            raise InvalidRequest('a line of a recording has a "message" or a "raw"; this has neither')
        try:
            message = raw.encode(errors="surrogateescape")
        except UnicodeEncodeError:
            raise InvalidRequest('"raw" has surrogates that stand for no byte') from None
        length = _member(value, "length", int)
    return Entry(
        time or "",
        direction,
        message,
        _member(value, "session", str),
        _member(value, "stream", int),
        _member(value, "request", int, str),
        length,
    )


def _is_json(message: bytes) -> bool:
    if len(message) > _LONG and find_request_answered(OversizedLine(message, message, len(message))) is not None:
        # A long response is passed on for what it is by its ends, and so it is recorded.  One that is broken in its middle
        # breaks its line, and no other; looking through all of them would hold up whatever else passes.
        return True
    try:
        text = decode(message)
        expect_end(text, scan(text, skip_space(text, 0))[1])
    except ParseError:
        return False
    return True


def _member(value: dict[str, Any], name: str, *kinds: type) -> Any:
    """Return a member of one of these types, None where there is none."""
    member = value.get(name)
    if member is not None and type(member) not in kinds:
        raise InvalidRequest(f'"{name}" is {" or ".join(kind.__name__ for kind in kinds)}, or null; this is {_show(member)}')
    return member


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:40] + "…"
