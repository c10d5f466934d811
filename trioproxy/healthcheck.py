"""`trioproxy healthcheck URL`: ask a running proxy whether it is well, as a container's health check does.

    HEALTHCHECK CMD trioproxy healthcheck http://127.0.0.1:8080

The answer is the exit code: 0 if the URL is answered 200 within TIME_LIMIT, 1 if not, with the reason on stderr, 2 for a
mistake on the command line.  A URL without a path means its `/healthz`; a Unix socket is `unix:PATH`, or is spelled as
we announce it, `http+unix://%2Frun%2Fproxy.sock/healthz`.

It is run every few seconds, and so it stands on `http.client` and imports nothing of ours.
"""

from __future__ import annotations

import http.client
import signal
import socket
import ssl
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Final
from urllib.parse import unquote, urlsplit

TIME_LIMIT: Final = 5.0
"""Seconds for all of it: finding the address, TLS, and the answer."""
_SHOWN: Final = 500
"""Bytes of a bad answer that are shown."""
USAGE: Final = "usage: trioproxy healthcheck [--cacert FILE] URL\n"


class Unhealthy(Exception):
    """The proxy is not well, or not there; the message says why."""


class UsageError(Exception):
    """The words make no sense."""


def main(words: Sequence[str]) -> int:
    """Check the health of what `words` name, and return the exit code."""
    if list(words) in (["--help"], ["-h"]):
        print(USAGE, end="")  # noqa: T201
        return 0
    url = ""
    try:
        url, cafile = _read(words)
        signal.signal(signal.SIGALRM, _run_out_of_time)
        signal.setitimer(signal.ITIMER_REAL, TIME_LIMIT)
        check(url, cafile)
    except UsageError as error:
        sys.stderr.write(f"{USAGE}trioproxy: error: {error}\n")
        return 2
    except (Unhealthy, OSError, http.client.HTTPException) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        sys.stderr.write(f"trioproxy: unhealthy: {url}: {reason}\n")
        return 1
    return 0


def check(url: str, cafile: str | None = None) -> None:
    """Return if `url` is answered 200.

    Raises:
      Unhealthy: it is answered otherwise.
      OSError, http.client.HTTPException: it is not answered, or not in HTTP.
    """
    connection, path = _open(url, cafile)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        if response.status != 200:
            said = response.read(_SHOWN).decode(errors="replace").strip()
            raise Unhealthy(f"{path} is answered {response.status}{f': {said!r}' if said else ''}")
    finally:
        connection.close()


def _read(words: Sequence[str]) -> tuple[str, str | None]:
    rest = list(words)
    cafile = None
    if "--cacert" in rest and (at := rest.index("--cacert")) < len(rest) - 1:
        cafile = rest[at + 1]
        del rest[at : at + 2]
    if len(rest) != 1 or rest[0].startswith("-"):
        raise UsageError(f"one URL is expected, and perhaps --cacert FILE; {' '.join(words) or 'nothing'!r} came")
    return rest[0], cafile


def _open(url: str, cafile: str | None) -> tuple[http.client.HTTPConnection, str]:
    """Return a connection to where `url` points, not yet made, and the path to ask for."""
    if url.startswith("unix:"):
        return _UnixConnection(url.removeprefix("unix:")), "/healthz"
    parts = urlsplit(url)
    path = parts.path if parts.path.strip("/") else "/healthz"
    if parts.query:
        path += f"?{parts.query}"
    if parts.scheme == "http+unix":
        return _UnixConnection(unquote(parts.netloc)), path
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{url!r}: expected http://…, https://…, or unix:PATH")
    if parts.scheme == "http":
        return http.client.HTTPConnection(parts.hostname, parts.port), path
    context = ssl.create_default_context(cafile=cafile)
    return http.client.HTTPSConnection(parts.hostname, parts.port, context=context), path


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        # The name stands in the Host header only.
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


def _run_out_of_time(number: int, frame: FrameType | None) -> None:
    # A time limit of the socket's would begin anew with each piece of an answer.
    raise TimeoutError(f"no whole answer within {TIME_LIMIT:g} s")
