"""Whose requests are answered: Host and Origin (MCP, Transports §Security Warning).

"Servers MUST validate the Origin header on all incoming connections to prevent DNS rebinding attacks.  If the Origin
header is present and invalid, servers MUST respond with HTTP 403 Forbidden" (2025-11-25).  A page whose name was made to
point at us sends its own name as Host, so that Host is checked too, and tells an attack even where there is no Origin.

Names are compared without their ports: any port of a machine that is allowed is allowed.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

from .errors import HostRefused, OriginRefused

LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class OriginPolicy:
    """Which hosts and origins are ours.

    Args:
      names: the host names that we answer to, beside those of the loopback interface.
    """

    def __init__(self, names: Collection[str] = ()) -> None:
        self._names = LOOPBACK_NAMES | {normalised for name in names if (normalised := host_name(name))}
        # Clients send the same few values again and again, and taking one apart costs more than the rest of the check.
        self._known_good: set[tuple[bytes | None, bytes | None]] = set()

    def check(self, host: bytes | None, origin: bytes | None) -> None:
        """Check one request's headers.

        Raises:
          HostRefused: the Host names another machine.
          OriginRefused: the Origin is there and names another machine; `null` does.
        """
        if (host, origin) in self._known_good:
            return
        if host is not None and host_name(host.decode("latin-1")) not in self._names:
            raise HostRefused(f"Host {_shown(host)} is not a name of this server; --allowed-host makes it one")
        if origin is not None and origin_name(origin.decode("latin-1")) not in self._names:
            raise OriginRefused(f"Origin {_shown(origin)} may not call this server; --allowed-host lets it")
        if len(self._known_good) < 64:
            self._known_good.add((host, origin))


def host_name(host: str) -> str:
    """Return the name in a Host header (`name`, `name:port`, `[v6]:port`), in lower case; "" for nonsense."""
    return _name("//" + host)


def origin_name(origin: str) -> str:
    """Return the host name of an Origin (`scheme://host[:port]`), in lower case; "" for `null` and nonsense."""
    return _name(origin) if "://" in origin else ""


def _name(url: str) -> str:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  a port that is no number raises here
    except ValueError:
        return ""
    if parts.username is not None or parts.path or parts.query or parts.fragment:
        return ""
    return (parts.hostname or "").rstrip(".")


def _shown(value: bytes) -> str:
    return repr(value[:80].decode("latin-1"))
