"""API keys: secrets that somebody was given, each a principal of its own.

A key comes in a header of its own, as `Authorization: Bearer`, or, only where that was asked for, as `?apiKey=`, which ends
up in the logs of whoever stands on the way.

Keys are not kept.  What is kept, and compared in constant time, is a digest under a secret of this process: the time that
a comparison takes says nothing of a key, and neither does the id of its principal, which appears in logs.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..protocol.challenges import is_api_key
from ..protocol.errors import AuthenticationError, KeyFileError, MalformedCredentials
from . import Authenticate, AuthRequest, Principal

_QUERY: Final = "apiKey"
_SECRET: Final = secrets.token_bytes(32)


@dataclass(frozen=True)
class KeyPlaces:
    """Where in a request a key may be.

    Args:
      header_name: the header of its own.
      in_query: whether `?apiKey=` counts.
    """

    header_name: str = "x-api-key"
    in_query: bool = False

    def find(self, request: AuthRequest) -> list[str]:
        """Return the keys that a request shows, that of the header of its own first.

        Raises:
          MalformedCredentials: a place has more than one.
        """
        bearer = request.bearer if self.header_name.lower() != "authorization" else _bearer_or_all(request)
        own = request.header(self.header_name) if self.header_name.lower() != "authorization" else None
        asked = request.query.get(_QUERY, []) if self.in_query else []
        if len(asked) > 1:
            raise MalformedCredentials(f"{_QUERY} comes {len(asked)} times in the query")
        return list(dict.fromkeys(key for key in (own, bearer, *asked) if key))


def _bearer_or_all(request: AuthRequest) -> str | None:
    """Return what `Authorization` holds where that is the header of its own: a key behind Bearer, or nothing but a key."""
    value = request.header("Authorization")
    if not value or value.lower() == "bearer" or value.lower().startswith("bearer "):
        return request.bearer
    return value


def digest(key: str) -> bytes:
    """Return what stands for a key within this process, and means nothing outside."""
    return hashlib.blake2b(key.encode(), key=_SECRET, digest_size=32).digest()


def key_name(key_digest: bytes) -> str:
    """Return what to call whoever has no other name than a key."""
    return f"key-{key_digest.hex()[:16]}"


def read_key_file(path: Path) -> list[str]:
    """Return the keys in a file: one a line; blank lines, and those that begin with #, don't count.

    Raises:
      KeyFileError: it can't be read, or a line is no key; the message has its number, and nothing of the line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise KeyFileError(f"can't read the keys in {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise KeyFileError(f"can't read the keys in {path}: it is no text") from None
    keys = []
    for number, line in enumerate(lines, 1):
        key = line.strip()
        if not key or key.startswith("#"):
            continue
        if not is_api_key(key):
            raise KeyFileError(f"line {number} of {path} is no key: a key is visible ASCII characters without spaces")
        keys.append(key)
    return keys


class ApiKeys:
    """The keys that are good now.

    Args:
      keys: as they were given.
      file: where further ones are.

    Raises:
      KeyFileError: the file can't be used.
    """

    def __init__(self, keys: Iterable[str], file: Path | None = None, places: KeyPlaces | None = None) -> None:
        self._given = [digest(key) for key in keys]
        self._file = file
        self._places = places or KeyPlaces()
        self._known: list[bytes] = []
        self.reload()

    def __len__(self) -> int:
        return len(self._known)

    def reload(self) -> None:
        """Read the file again; whoever has a session with a key that is gone finds it gone at the next request.

        Raises:
          KeyFileError: the file can't be used; the keys stay as they were.
        """
        from_file = [] if self._file is None else [digest(key) for key in read_key_file(self._file)]
        self._known = list(dict.fromkeys((*self._given, *from_file)))

    async def authenticate(self, request: AuthRequest) -> Principal | None:
        """Let in whoever shows a key that is good.

        Raises:
          AuthenticationError: all that it shows are others.
        """
        shown = self._places.find(request)
        for key in shown:
            key_digest = digest(key)
            # All of them, so that the time does not tell which it was.
            if sum([hmac.compare_digest(key_digest, known) for known in self._known]):
                return Principal(key_name(key_digest), authority="api-key")
        if shown:
            raise AuthenticationError("the API key is not known here", error="invalid_token")
        return None


def api_key_auth(keys: Iterable[str], *, header_name: str = "x-api-key", in_query: bool = False) -> Authenticate:
    """Return the way in for requests that show one of `keys`."""
    return ApiKeys(keys, None, KeyPlaces(header_name, in_query)).authenticate
