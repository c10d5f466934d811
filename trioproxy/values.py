"""What a word on the command line, or in an environment variable, can mean.

A `Kind` is one sort of value: how help calls it, what an error says was expected, and how a word becomes the value that
`config` wants.  Units there are seconds and bytes; here they are whatever people type.  Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

from .config import KIB, MIB, is_server_name, is_url_path
from .protocol.challenges import is_api_key, is_scope
from .protocol.cors import is_token, origin_test
from .protocol.host_names import host_name
from .protocol.tunnel_registration import is_subdomain
from .protocol.urls import is_http_url, is_protected_url

# Fifteen digits are exact in a float, and more than anybody means.
_DURATION = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)(ms|s|m|h)?")
_SIZE = re.compile(r"([0-9]{1,15})([kmg]?)", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]{1,15}")

# A bare number is milliseconds, as in npm's mcp-proxy.
_MILLISECONDS = {None: 1, "ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
_BYTES = {"": 1, "k": KIB, "m": MIB, "g": 1024 * MIB}
_TRUTH = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


@dataclass(frozen=True)
class Kind:
    """One sort of value.

    Args:
      metavar: what help puts after the option; empty if the option stands alone.
      expected: completes the sentence "expected …".
      read: turns a word into a value, and raises ValueError if it is none.
      is_secret: errors don't show it.
    """

    metavar: str
    expected: str
    read: Callable[[str], Any]
    is_secret: bool = False


def read_duration(text: str) -> float:
    """Return seconds: of `1500`, `250ms`, `30s`, `5m`, `1h`, `1.5s`."""
    if (match := _DURATION.fullmatch(text)) is None:
        raise ValueError(text)
    number, unit = match.groups()
    # In milliseconds first: they divide exactly where 0.001, which no float can hold, would not multiply so.
    return float(number) * _MILLISECONDS[unit] / 1000


def read_size(text: str) -> int:
    """Return bytes: of `65536`, `64k`, `10M`, `1G`."""
    if (match := _SIZE.fullmatch(text)) is None:
        raise ValueError(text)
    number, unit = match.groups()
    return int(number) * _BYTES[unit.lower()]


def read_number(text: str) -> int:
    if _NUMBER.fullmatch(text) is None:
        raise ValueError(text)
    return int(text)


def read_port(text: str) -> int:
    if (port := read_number(text)) > 65535:
        raise ValueError(text)
    return port


def read_truth(text: str) -> bool:
    try:
        return _TRUTH[text.lower()]
    except KeyError:
        raise ValueError(text) from None


def read_text(text: str) -> str:
    if not text:
        raise ValueError(text)
    return text


def read_path(text: str) -> Path:
    return Path(read_text(text))


def read_url_path(text: str) -> str:
    if not is_url_path(text):
        raise ValueError(text)
    return text


def read_network(text: str) -> IPv4Network | IPv6Network:
    return ip_network(text)


def read_host_name(text: str) -> str:
    """Return `text`, unless it is something that no Host header could ever equal: a URL, a pattern."""
    if not host_name(text) or any(c in text for c in "/* "):
        raise ValueError(text)
    return text


def read_origin(text: str) -> str:
    origin_test([text])
    return text


def read_header_name(text: str) -> str:
    if not is_token(text):
        raise ValueError(text)
    return text


def _checked(is_good: Callable[[str], bool]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not is_good(text):
            raise ValueError(text)
        return text

    return read


def read_assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ValueError(text)
    return name, value


def read_named_command(text: str) -> tuple[str, str]:
    name, _, command = text.partition(" ")
    if not is_server_name(name) or not command.strip():
        raise ValueError(text)
    return name, command.strip()


def read_header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not is_token(name):
        raise ValueError(text)
    return name, value.strip()


def read_servers(text: str) -> frozenset[str]:
    return frozenset({"sse", "stream"} if text == "both" else {one_of("sse", "stream").read(text)})


def read_nothing(text: str) -> bool:
    if text:
        raise ValueError(text)
    return True


def one_of(*words: str) -> Kind:
    def read(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(text)
        return text.lower()

    return Kind("|".join(words), " or ".join(words), read)


def or_no_limit(kind: Kind) -> Kind:
    """Return `kind` with 0 meaning that there is no limit, which `config` spells None."""
    return Kind(kind.metavar, f"{kind.expected}; or 0 for no limit", lambda text: kind.read(text) or None)


# A switch may stand alone, negated or with a value: --debug, --no-debug, --debug=off, MCP_PROXY_DEBUG=0.
SWITCH = Kind("", "1, true, yes or on; or 0, false, no or off", read_truth)
# A question is answered instead of serving: --help, --version.
QUESTION = Kind("", "no value", read_nothing)

HOST = Kind("HOST", "an address or a host name", read_text)
PATH = Kind("PATH", "the path of a file", read_path)
DIRECTORY = Kind("DIR", "the path of a directory", read_path)
PORT = Kind("PORT", "a number from 0 to 65535", read_port)
NUMBER = Kind("N", "a number, 0 or more", read_number)
DURATION = Kind("TIME", "milliseconds, or a time such as 250ms, 30s, 5m or 1h", read_duration)
SIZE = Kind("SIZE", "bytes, or a size such as 64k, 10M or 1G", read_size)
URL_PATH = Kind("/PATH", "a path that starts with / and has no query, fragment or space", read_url_path)
NETWORK = Kind("CIDR", "an address, or a network such as 10.0.0.0/8 with no bits set beyond its length", read_network)
HOST_NAME = Kind("NAME", "a host name, without scheme, path or wildcard", read_host_name)
ORIGIN = Kind("ORIGIN", "*, an origin such as https://app.example, or regex: and a pattern for whole origins", read_origin)
HEADER_NAME = Kind("HEADER", "the name of a header", read_header_name)
KEY = Kind("KEY", "visible ASCII characters without spaces", _checked(is_api_key), is_secret=True)
# The query may hold a key of ours.
HTTP_URL = Kind("URL", "a URL of http or https, without user and fragment", _checked(is_http_url), is_secret=True)
PROTECTED_URL = Kind("URL", "an https URL; http on this machine only", _checked(is_protected_url))
SCOPE = Kind("SCOPE", "visible ASCII characters without spaces and quotes", _checked(is_scope))
USER = Kind("USER", "the id of a user", read_text)
AUDIENCE = Kind("AUDIENCE", "what tokens for us have as their audience", read_text)
REALM = Kind("REALM", "printable ASCII characters", read_text)
ASSIGNMENT = Kind("NAME=VALUE", "NAME=VALUE", read_assignment)
SERVERS = Kind("sse|stream", "sse, stream or both", read_servers)
NAMED_COMMAND = Kind("NAME COMMAND", "a name that can be part of a path, and a command", read_named_command)
# What is sent to a server is often a secret.
HEADER = Kind("'NAME: VALUE'", "a header, as 'Name: value'", read_header, is_secret=True)
CLIENT_ID = Kind("ID", "the id of a client", read_text)
SECRET = Kind("SECRET", "a secret", read_text, is_secret=True)
SUBDOMAIN = Kind("NAME", "4 to 63 lower case letters, digits and hyphens", _checked(is_subdomain))
