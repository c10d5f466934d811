"""The name of a machine, in a Host or an Origin header (RFC 9110 §7.2; RFC 6454 §7).

Whoever sends one decides what is in it, and these are compared to tell friend from stranger: so whatever is not exactly a
name, perhaps with a port, is none.
"""

from __future__ import annotations

import re
from typing import Final

# Stricter than `urlsplit`, which finds ::1 in "[::1]evil.example" and localhost in "local\thost".
_HOST: Final = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^][:/?#@\\\s]+))(?::([0-9]{0,5}))?", re.IGNORECASE)
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://(.*)", re.IGNORECASE)


def host_name(host: str) -> str:
    """Return the name in a Host header (`name`, `name:port`, `[v6]:port`), in lower case; "" for nonsense."""
    match = _HOST.fullmatch(host)
    if match is None or int(match[3] or 0) > 65535:
        return ""
    return (match[1] or match[2]).lower().rstrip(".")


def origin_name(origin: str) -> str:
    """Return the host name of an Origin (`scheme://host[:port]`), in lower case; "" for `null` and nonsense."""
    match = _ORIGIN.fullmatch(origin)
    return host_name(match[1]) if match else ""
