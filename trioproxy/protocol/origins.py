"""Whose requests are answered: Host and Origin (MCP, Transports §Security Warning).

"Servers MUST validate the Origin header on all incoming connections to prevent DNS rebinding attacks.  If the Origin
header is present and invalid, servers MUST respond with HTTP 403 Forbidden" (2025-11-25).  A page whose name was made to
point at us sends its own name as Host, so that Host is checked too, and tells an attack even where there is no Origin.

Names are compared without their ports: any port of a machine that is allowed is allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from .errors import HostRefused, OriginRefused
from .host_names import host_name, origin_name

LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class OriginPolicy:
    """Which hosts and origins are ours.

    Args:
      names: the host names that we answer to, beside those of the loopback interface.
      is_local: only this machine can reach us, so that its own pages may call us; else theirs are strangers' as well, to
        whoever else can.
      admits: tells of any other origin whether its pages may call us all the same (`cors`).
    """

    def __init__(
        self, names: Collection[str] = (), *, is_local: bool = True, admits: Callable[[str], bool] = lambda origin: False
    ) -> None:
        # An address of IPv6 is bare on the command line, and in brackets in a header.
        headers = (f"[{name}]" if name.count(":") > 1 and not name.startswith("[") else name for name in names)
        named = {normalised for name in headers if (normalised := host_name(name))}
        self._names = LOOPBACK_NAMES | named
        self._origins = self._names if is_local else named
        self._admits = admits
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
        if origin is not None and origin_name(text := origin.decode("latin-1")) not in self._origins:
            if not self._admits(text):
                raise OriginRefused(f"Origin {_shown(origin)} may not call this server; --cors-origin lets it")
            # Not remembered: who is asked may say something else the next time.
            return
        if len(self._known_good) < 64:
            self._known_good.add((host, origin))


def _shown(value: bytes) -> str:
    return repr(value[:80].decode("latin-1"))
