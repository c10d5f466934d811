"""The file that tokens and client registrations are kept in between runs, for nobody but its owner to read.

There is one file for each remote and the name by which we are known there, unless the user names one.  In it, what belongs
to one authorization server is kept apart from what belongs to another, by issuer.

Several processes may sign in to the same remote.  The lock lets one of them do so while the others wait, and find its token
then; a refresh token that is used twice would have some servers withdraw them all (OAuth 2.1 §4.3.1).  A file is replaced as
a whole, never changed, so that whoever reads it without the lock finds the old one or the new one.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import trio

from ..protocol.urls import shown_url
from .token_answers import SignInFailed

logger = logging.getLogger("trioproxy.remote.token_store")

_VERSION: Final = 1
_MAX_FILE: Final = 4 * 1024 * 1024
_MAX_ISSUERS: Final = 8
"""Authorization servers that are remembered of one remote."""
_LOOK_AGAIN: Final = 0.25
"""Seconds between two looks whether another process has let go of the lock."""


@dataclass
class Registration:
    """What is known at one authorization server.

    Attributes:
      client: our registration (RFC 7591 §3.2.1), if we made one.
      token: as the token endpoint answered.
      expires_at: when it does, in seconds since the epoch.
      server: the metadata of the authorization server (RFC 8414 §2).
      resource: the metadata of the remote (RFC 9728 §2).
    """

    client: dict[str, Any] | None = None
    token: dict[str, Any] | None = None
    expires_at: float | None = None
    server: dict[str, Any] | None = None
    resource: dict[str, Any] | None = None


@dataclass
class Record:
    """What is known about one remote: by issuer, and at which of them we are signed in."""

    issuer: str | None = None
    by_issuer: dict[str, Registration] = field(default_factory=dict)

    @property
    def current(self) -> Registration:
        """What is known at the authorization server that was used last."""
        return self.by_issuer.get(self.issuer or "", Registration())

    def put(self, issuer: str, registration: Registration) -> None:
        """Note what is known at an authorization server, which is the one in use from now on."""
        self.issuer = issuer
        self.by_issuer.pop(issuer, None)
        self.by_issuer[issuer] = registration
        for oldest in list(self.by_issuer)[:-_MAX_ISSUERS]:
            del self.by_issuer[oldest]


class TokenStore:
    """The record of one remote in its file.

    Args:
      path: the file; it need not be there.
      url: the remote.
      client_id: how we are known there, if that is settled beforehand.
    """

    def __init__(self, path: Path, url: str, client_id: str | None) -> None:
        self.path = path
        self._key = _key(url, client_id)
        self._unwritten: Record | None = None

    def read(self) -> Record:
        """Return what is there; of a file that can't be read, nothing, and a warning."""
        if self._unwritten is not None:
            return self._unwritten
        try:
            return _to_record(self._read_all().get(self._key))
        except FileNotFoundError:
            return Record()
        except (OSError, ValueError, RecursionError) as error:
            # Not the text of a JSON error, in which there may be some of the file.
            why = error.strerror if isinstance(error, OSError) else "not what we wrote there"
            logger.warning("the token file %s can't be read: %s; signing in makes a new one", self.path, why)
            return Record()

    def write(self, record: Record) -> None:
        """Replace the record; where that is not possible, warn: it holds until the process ends."""
        try:
            everything = self._read_all()
        except (OSError, ValueError, RecursionError):
            everything = {}
        everything[self._key] = asdict(record)
        try:
            self._replace(json.dumps({"version": _VERSION, "remotes": everything}, indent=1).encode())
            self._unwritten = None
        except OSError as error:
            self._unwritten = record
            logger.warning(
                "the token file %s can't be written: %s; the next run has to sign in again", self.path, error.strerror
            )

    @asynccontextmanager
    async def lock(self, time_limit: float) -> AsyncIterator[None]:
        """Keep other processes from signing in while the block runs; the lock ends with the process at the latest.

        Raises:
          SignInFailed: another process holds it for longer than `time_limit` seconds.
        """
        try:
            _make_folder(self.path.parent)
            descriptor = os.open(self.path.with_name(f"{self.path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            # Where nothing can be written nothing can be spoilt either; `write` tells why.
            yield
            return
        try:
            with trio.move_on_after(time_limit) as scope:
                # The kernel wakes nobody who would not block a thread for it.
                while not _try_lock(descriptor):  # noqa: ASYNC110
                    await trio.sleep(_LOOK_AGAIN)
            if scope.cancelled_caught:
                raise SignInFailed(
                    f"another process is signing in, for more than {time_limit:g} s: it holds {self.path}.lock"
                )
            yield
        finally:
            os.close(descriptor)

    def _read_all(self) -> dict[str, Any]:
        with self.path.open("rb") as file:
            document = json.loads(file.read(_MAX_FILE))
        is_ours = isinstance(document, dict) and document.get("version") == _VERSION
        if not is_ours or not isinstance(document.get("remotes"), dict):
            raise ValueError(f"no tokens of version {_VERSION}")
        remotes: dict[str, Any] = document["remotes"]
        return remotes

    def _replace(self, data: bytes) -> None:
        _make_folder(self.path.parent)
        # Made with mode 600, before anything is in it.
        descriptor, name = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, self.path)
        except BaseException:
            with suppress(OSError):
                os.unlink(name)
            raise


def default_path(environ: Mapping[str, str], url: str, client_id: str | None) -> Path:
    """Return where the tokens for a remote are kept, if the user doesn't say (XDG Base Directory Specification)."""
    state = environ.get("XDG_STATE_HOME", "")
    # "All paths set in these environment variables must be absolute. … consider the path invalid and ignore it."
    base = Path(state) if state.startswith("/") else Path(environ.get("HOME") or Path.home()) / ".local" / "state"
    host = "".join(c if c.isalnum() or c in ".-" else "-" for c in urlsplit(url).hostname or "")
    return base / "trioproxy" / f"{host[:80]}-{sha256(_key(url, client_id).encode()).hexdigest()[:16]}.json"


def _key(url: str, client_id: str | None) -> str:
    # A query may hold a key, and two of them may be two remotes.
    query = urlsplit(url).query
    parts = [shown_url(url), f"query {sha256(query.encode()).hexdigest()[:16]}" if query else "", client_id or ""]
    return " ".join(part for part in parts if part)


def _make_folder(folder: Path) -> None:
    # Folders above get the mode that the user's others have.
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _to_record(found: object) -> Record:
    if found is None:
        return Record()
    if not isinstance(found, dict) or not isinstance(found.get("by_issuer"), dict):
        raise ValueError("no record of a remote")
    return Record(found.get("issuer"), {name: _to_registration(one) for name, one in found["by_issuer"].items()})


def _to_registration(found: object) -> Registration:
    kinds = {one.name: float | int if one.name == "expires_at" else dict for one in fields(Registration)}
    if not isinstance(found, dict) or not all(isinstance(found.get(name), kind | None) for name, kind in kinds.items()):
        raise ValueError("no registration")
    return Registration(**{name: found.get(name) for name in kinds})
