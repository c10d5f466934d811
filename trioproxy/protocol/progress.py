"""Progress in a hurry: lines in which a server goes on about one request (every revision, Utilities §Progress).

A server in a hurry says nearly the same thousands of times a second.  From one `notifications/progress` to the next of the
same token only `progress` and `message` change; so one that was parsed is a form for those that follow.  A line that fills
in the form is JSON, is a message, and is about the same request, without anybody parsing it.

What may be filled in is narrower than what JSON allows: numbers without sign and exponent, strings of printable ASCII
without a backslash.  A line that doesn't fit is no error; it is parsed, like any other.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

MIN_RUN: Final = 64
"""How many lines are worth a form: to make one takes as long as to parse so many, unless it was made before."""

_NUMBER: Final = rb"(?!0[0-9])[0-9]++(?:\.[0-9]++)?"
_STRING: Final = rb'"[ !#-\[\]-~]*+"'
# In JSON, what stands between bare quotes and before a colon is the name of a member: in a string the quotes would be
# escaped.  Of which object it is a member doesn't matter: with another value of the same kind all else is as it was.
_SLOT: Final = re.compile(
    rb'"(?:progress": ?(?P<number>%b)|message": ?(?P<string>%b)|progressToken": ?(?P<token>%b|%b))(?=[,}])'
    % (_NUMBER, _STRING, _NUMBER, _STRING)
)


def follow_progress(lines: Sequence[object], at: int) -> list[bytes]:
    """Return those of `lines` that go on, without a gap, about the request of `lines[at]`, itself not among them.

    Nothing is returned for few lines.

    Args:
      at: where there is a `notifications/progress`, which was parsed.
    """
    if at + MIN_RUN >= len(lines):
        return []
    line, *following = (line for line in lines[at:] if isinstance(line, bytes))
    if at + 1 + len(following) < len(lines) or _outline(line) != _outline(following[MIN_RUN - 1]):
        return []
    text = b"\n".join((line, *following, b""))
    match = _form(line).match(text)
    return following[: text.count(b"\n", 0, match.end()) - 1] if match else []


def _outline(line: bytes) -> bytes:
    return _SLOT.sub(b"", line)


def _form(line: bytes) -> re.Pattern[bytes]:
    """Return what fits lines that differ from this one in nothing but what changes.

    The first line has to be this one: what stands for its token is what the others have to repeat.  So the same form, which
    `re` remembers, is good for other tokens.
    """
    form, opening = b"", b""
    at = 0
    for slot in _SLOT.finditer(line):
        kind = slot.lastgroup or ""
        form += re.escape(line[at : slot.start(kind)])
        at = slot.end(kind)
        if kind == "token" and not opening:
            opening = b"(?=%b(%b|%b))" % (form, _NUMBER, _STRING)
            form += rb"\1"
        else:
            form += {"number": _NUMBER, "string": _STRING, "token": re.escape(slot[kind])}[kind]
    return re.compile(b"%b(?:%b%b\n)*+" % (opening, form, re.escape(line[at:])))
