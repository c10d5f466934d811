"""URLs that we are told to ask: which can be asked, and what may be said of them in a log.

An option, an issuer's metadata or a redirect names such a URL.  All that is asked is http or https, and says no more than
where: user, password and fragment have no place in it.  Its query may hold a key, and is never shown.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import SplitResult, urlencode, urlsplit

_USER = re.compile(r"://[^/?#]*@")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def is_http_url(text: str) -> bool:
    """Tell whether `text` is an absolute URL that an HTTP request can be sent to."""
    if not text.isascii() or not text.isprintable() or any(c in text for c in ' "<>\\^`{|}#'):
        return False
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    return parts.scheme in _DEFAULT_PORTS and bool(parts.hostname) and "@" not in parts.netloc and port != 0


def is_protected_url(text: str) -> bool:
    """Tell whether nobody on the way can change what the URL `text` answers: it is https, or this very machine.

    OAuth 2.1 §1.5 has https for everything; what goes through the loopback interface only doesn't leave the machine.
    """
    if not is_http_url(text):
        return False
    parts = urlsplit(text)
    return parts.scheme == "https" or _is_loopback(parts.hostname or "")


def _is_loopback(name: str) -> bool:
    try:
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


def origin(parts: SplitResult) -> tuple[str, str, int]:
    """Return scheme, host and port of a URL (RFC 6454 §4)."""
    return parts.scheme, parts.hostname or "", parts.port or _DEFAULT_PORTS[parts.scheme]


def shown_url(text: str) -> str:
    """Return what may be shown of a URL: all but its query, and a user with a password, who has no place in it."""
    return _USER.sub("://", text, count=1).partition("?")[0]


def add_query(text: str, name: str, value: str) -> str:
    """Return the URL `text` with one more parameter in its query."""
    joint = "&" if "?" in text else "?"
    return f"{text}{joint}{urlencode({name: value})}"
