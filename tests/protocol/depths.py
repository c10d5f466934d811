"""How deep JSON may be nested depends on the version of Python, and on how much of the stack is in use."""

from __future__ import annotations

from collections.abc import Callable

from trioproxy.protocol.errors import ParseError
from trioproxy.protocol.messages import parse_line


def depths_about_the_limit(nested: Callable[[bytes], bytes]) -> range:
    """Return depths from some at which a message can be read for sure to some at which it can't.

    Args:
      nested: returns a message with the value that it is given.
    """

    def is_readable(depth: int) -> bool:
        try:
            parse_line(nested(b"[" * depth + b"]" * depth))
        except ParseError:
            return False
        return True

    unreadable = 2
    while is_readable(unreadable):
        unreadable *= 2
    readable = unreadable // 2
    while unreadable - readable > 1:
        middle = (readable + unreadable) // 2
        readable, unreadable = (middle, unreadable) if is_readable(middle) else (readable, middle)
    return range(readable - 250, readable + 50)
