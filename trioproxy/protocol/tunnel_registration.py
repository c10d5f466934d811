"""What a tunnel server is asked for, and what it answers (the protocol of localtunnel, and of npm's pipenet).

    GET HOST/?new  or  GET HOST/NAME   →   {"id": "plastic-cow-90", "url": "https://plastic-cow-90.tunnel.example",
                                            "port": 46403, "maxConnCount": 10}

Nothing of the answer is believed that has not been looked at: it says where we are to connect to, and what we are to write
there first.  A server that could name any machine and any line could have us talk to our own neighbours.

Not here: the asking, and the sockets (`tunnel`).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from .urls import is_http_url

MAX_SOCKETS: Final = 10
"""Sockets that we open at most; pipenet takes no more from anybody, whatever it announces."""
REGISTRATION_PAUSE: Final = 2.0
"""Seconds before a registration that follows a lost one.  For a second after the last socket is closed, pipenet still holds
our name, and would give us another."""
LONGEST_REGISTRATION_PAUSE: Final = 60.0
SOCKET_PAUSE: Final = 0.25
"""Seconds before a socket takes the place of one that was of no use."""
LONGEST_SOCKET_PAUSE: Final = 30.0
_REASON_SHOWN: Final = 200
# As pipenet has it, "between 4 and 63 alphanumeric characters"; no label of the DNS is longer (RFC 1035 §2.3.4).
_SUBDOMAIN: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{2,61})[a-z0-9]")
_ID: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


class RegistrationError(ValueError):
    """A tunnel server has not answered as one; asked again later, it may."""


class RegistrationRefused(RegistrationError):
    """A tunnel server does not want us, or not by that name; the same again is unlikely to do better."""


@dataclass(frozen=True)
class Registration:
    """What we have been given.

    Args:
      id: the name that we have; not always the one that was asked for.
      url: where clients find us, without a path.
      address: the host and the port to which data sockets are opened.
      max_sockets: how many of them.
      greeting: what each of them begins with.
    """

    id: str
    url: str
    address: tuple[str, int]
    max_sockets: int = 1
    greeting: bytes = b""


def is_subdomain(text: str) -> bool:
    """Tell whether a tunnel server could give us the name `text`."""
    return _SUBDOMAIN.fullmatch(text) is not None


def registration_url(host: str, wanted: str | None) -> str:
    """Return the URL that is asked for a name, `wanted` or any.

    Args:
      host: the URL of the tunnel server.
    """
    return f"{host.rstrip('/')}/{wanted or '?new'}"


def read_registration(status: int, body: bytes, host: str, wanted: str | None) -> Registration:
    """Read a tunnel server's answer.

    Raises:
      RegistrationError: it can't be used; the message says why.
      RegistrationRefused: that is what it says.
    """
    answer = _object(body)
    if 400 <= status < 500:
        said = answer.get("message")
        reason = f": {said[:_REASON_SHOWN]}" if isinstance(said, str) and said else ""
        raise RegistrationRefused(f"it refuses, with status {status}{reason}")
    if status != 200:
        raise RegistrationError(f"status {status} is no answer")
    if not answer:
        raise RegistrationError(f"its answer of {len(body)} bytes is no JSON object")
    own_id = answer.get("id")
    if not isinstance(own_id, str) or _ID.fullmatch(own_id) is None:
        raise RegistrationError(f"it gives us the id {_shown(own_id)}, which is no name")
    port = answer.get("port")
    if type(port) is not int or not 0 < port < 65536:
        raise RegistrationError(f"it sends us to the port {_shown(port)}, which is none")
    count = answer.get("maxConnCount") or 1
    if type(count) is not int or count < 0:
        raise RegistrationError(f"it wants {_shown(count)} connections, which is no number")
    return Registration(
        own_id,
        _public_url(answer.get("url"), own_id, wanted, host),
        (_machine(answer.get("ip"), host), port),
        min(count, MAX_SOCKETS),
        # One port serves all its clients then, and has to be told whose socket it is.
        own_id.encode() + b"\n" if answer.get("sharedTunnel") is True else b"",
    )


def registration_pause(failures: int, chance: float) -> float:
    """Return how long to wait before the next registration, in seconds.

    Args:
      failures: how many registrations in a row have failed, or come to nothing.
      chance: 0 to 1, at random: when a server comes back, its clients should not all come at once.
    """
    return _backoff(REGISTRATION_PAUSE, LONGEST_REGISTRATION_PAUSE, failures, chance)


def socket_pause(failures: int, chance: float) -> float:
    """Return how long to wait before a socket is opened in place of `failures` useless ones, in seconds."""
    return _backoff(SOCKET_PAUSE, LONGEST_SOCKET_PAUSE, failures - 1, chance)


def _backoff(first: float, longest: float, failures: int, chance: float) -> float:
    # No power of two is too large for an int, but for a float it is.
    return float(min(longest, first * 2 ** min(failures, 16)) * (0.75 + 0.5 * chance))


def _object(body: bytes) -> dict[str, Any]:
    """Return the JSON object that `body` is; an empty one if it is none."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _public_url(said: object, own_id: str, wanted: str | None, host: str) -> str:
    """Return the URL by which clients reach us.

    Its name begins with our id, by which the server knows whose a request is.  Where the wanted name was somebody else's,
    pipenet gives us another one, and the URL of the somebody.
    """
    base = urlsplit(said if isinstance(said, str) and is_http_url(said) else host)
    first, _, domain = (base.hostname or "").partition(".")
    if not domain or first not in (own_id, wanted):
        base = urlsplit(host)
        domain = base.hostname or ""
    url = f"{base.scheme}://{own_id}.{domain}" + (f":{base.port}" if base.port else "")
    if not is_http_url(url):
        raise RegistrationError(f"it has no name of which ours could be a part: {_shown(domain)}")
    return url


def _machine(said: object, host: str) -> str:
    """Return the name or the address of the machine that data sockets are opened to.

    It is the tunnel server, or the address that it gives, unless that is one of our own surroundings, where a stranger has
    no business to send us.
    """
    own = urlsplit(host).hostname or ""
    if not said or said == own:
        return own
    try:
        address = ip_address(said) if isinstance(said, str) else None
    except ValueError:
        address = None
    if address is None or not address.is_global or address.is_multicast:
        raise RegistrationError(f"it sends us to {_shown(said)}, which is no address of the public internet")
    return str(address)


def _shown(value: object) -> str:
    # Of something huge not even the representation is made.
    return repr(value)[:_REASON_SHOWN] if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"
