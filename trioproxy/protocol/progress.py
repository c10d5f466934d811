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
"""How many lines make a burst."""
_WINDOW: Final = 1024
"""How many are looked at in one go."""
_MAX_SLOTS: Final = 4

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

    Of a long run not all are returned at once.  Nothing is returned of a short one, nor where there is anything among the
    next lines that is none: to make a form of a line takes as long as to parse as many lines as it has bytes.

    Args:
      at: where there is a `notifications/progress`, which was parsed.
    """
    if at + MIN_RUN >= len(lines):
        return []
    window = lines[at : at + _WINDOW]
    line, *following = [line for line in window if isinstance(line, bytes)]
    needed = max(MIN_RUN, len(line))
    if needed > len(following) or len(following) + 1 < len(window) or _outline(line) != _outline(following[needed - 1]):
        return []
    text = b"\n".join((line, *following, b""))
    form = _form(line)
    match = None if form is None else form.match(text)
    return [] if match is None else following[: text.count(b"\n", 0, match.end()) - 1]


def _outline(line: bytes) -> bytes:
    return _SLOT.sub(b"", line)


def _form(line: bytes) -> re.Pattern[bytes] | None:
    """Return what fits lines that differ from this one in nothing but what changes; None where too much does.

    The first line has to be this one: what stands for its token is what the others have to repeat.  So the same form, which
    `re` remembers, is good for other tokens.
    """
    slots = list(_SLOT.finditer(line))
    if len(slots) > _MAX_SLOTS:
        return None
    form, opening = b"", b""
    at = 0
    for slot in slots:
        kind = slot.lastgroup or ""
        form += re.escape(line[at : slot.start(kind)])
        at = slot.end(kind)
        if kind == "token" and not opening:
            opening = b"(?=%b(%b|%b))" % (form, _NUMBER, _STRING)
            form += rb"\1"
        else:
            form += {"number": _NUMBER, "string": _STRING, "token": re.escape(slot[kind])}[kind]
    return re.compile(b"%b(?:%b%b\n)++" % (opening, form, re.escape(line[at:])))
