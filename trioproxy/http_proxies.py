"""Which HTTP proxy stands between us and a URL, as the environment tells it: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY.

No standard says what these variables mean.  Here they mean what curl takes them for: the scheme of the URL picks the
variable, ALL_PROXY is for what has none of its own, names in lower case win over names in upper case, and NO_PROXY lists
who is reached directly: a name and all names below it, an address, a network (`10.0.0.0/8`), each with a port or without,
or `*` for everybody.

Not here: how a proxy is spoken to (`http_connection`).  SOCKS is not spoken at all, and said to be so by whom it concerns.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final
from urllib.parse import unquote, urlsplit

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
# A name or an address, in brackets or not, and perhaps a port.
_ENTRY: Final = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^:]*))(?::(\d+))?")


class UnusableProxy(Exception):
    """The environment names a proxy that we can't speak to; the message says which variable, and no password."""


@dataclass(frozen=True)
class HttpProxy:
    """A proxy.

    Attributes:
      scheme: how it is spoken to: http or https.
      authorization: the value of Proxy-Authorization, if it wants to know who we are.
    """

    scheme: str
    host: str
    port: int
    authorization: bytes | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.scheme}://{netloc(self.host, self.port)}"


@dataclass(frozen=True)
class Proxies:
    """The proxies for each scheme, and who is reached without; by default none, for anybody.

    Attributes:
      by_scheme: the variable that says so and what it says, for `http` and `https`.
      direct: the entries of NO_PROXY.
    """

    by_scheme: Mapping[str, tuple[str, str]] = field(default_factory=dict, repr=False)
    direct: tuple[str, ...] = ()

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Proxies:
        """Return what an environment says; whether it makes sense, is told by `find`."""
        by_scheme: dict[str, tuple[str, str]] = {}
        for scheme in _DEFAULT_PORTS:
            # To a CGI program HTTP_PROXY is what a client has sent as the header `Proxy` (CVE-2016-5385).
            is_cgi = scheme == "http" and "REQUEST_METHOD" in environ
            for name in (f"{scheme}_proxy", "all_proxy"):
                found = _lookup(environ, name, lower_only=is_cgi and name == "http_proxy")
                if found is not None:
                    by_scheme[scheme] = found
                    break
        _, direct = _lookup(environ, "no_proxy") or ("", "")
        return cls(by_scheme, tuple(direct.lower().replace(",", " ").split()))

    def find(self, scheme: str, host: str, port: int) -> HttpProxy | None:
        """Return the proxy for an origin, None if it is reached directly.

        Raises:
          UnusableProxy: there is one, which can't be used.
        """
        if scheme not in self.by_scheme or any(_covers(entry, host, port) for entry in self.direct):
            return None
        return _parse(*self.by_scheme[scheme])


def netloc(host: str, port: int) -> str:
    """Return a host and a port as they are written in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _lookup(environ: Mapping[str, str], name: str, lower_only: bool = False) -> tuple[str, str] | None:
    """Return which variable says something, and what; one in lower case that is empty takes the other back."""
    name = name if name in environ or lower_only else name.upper()
    text = environ.get(name, "").strip()
    return (name, text) if text else None


def _parse(variable: str, text: str) -> HttpProxy:
    """Read the URL of a proxy; without a scheme it is one of http."""
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        port = parts.port
    except ValueError:
        raise UnusableProxy(f"{variable}: no URL of a proxy") from None
    if parts.scheme not in _DEFAULT_PORTS:
        raise UnusableProxy(f"{variable}: a proxy of {parts.scheme[:20]!r}; expected one of http or https")
    if not parts.hostname:
        raise UnusableProxy(f"{variable}: no URL of a proxy: it names no host")
    authorization = None
    if parts.username is not None:
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = b"Basic " + base64.b64encode(credentials.encode())
    return HttpProxy(parts.scheme, parts.hostname, port or _DEFAULT_PORTS[parts.scheme], authorization)


def _covers(entry: str, host: str, port: int) -> bool:
    """Tell whether an entry of NO_PROXY means this host and port."""
    if entry == "*":
        return True
    address = _address(host)
    if address is not None and "/" in entry:
        try:
            return address in ip_network(entry, strict=False)
        except ValueError:
            return False
    match = _ENTRY.fullmatch(entry)
    if match is not None and match[3] is not None and int(match[3]) != port:
        return False
    name = entry if match is None else match[1] or match[2]
    if address is not None:
        return address == _address(name)
    # A name stands for all below it, too, whether it is written so (`.example.com`, `*.example.com`) or not.
    name = name.removeprefix("*").strip(".")
    return bool(name) and f".{host.rstrip('.')}".endswith(f".{name}")


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
