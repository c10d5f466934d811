"""Where the events of sessions are kept for clients that resume a stream: in memory, and beyond it in a store of one's own.

    class OnDisk(InMemoryEventStore):
        def open_archive(self, tag):
            return FileArchive(tempfile.TemporaryFile())       # an `Archive`, for one session

Each session has a log of its own in memory, within the store's bounds, and is served from that alone until somebody resumes
from further back (2025-11-25, Transports §Resumability and Redelivery).  A store gets what a log has no room for, in an
`Archive` for each session.  So it has no say in whose an event is: event ids are made and looked up by the log of a session,
and the archive of that session is asked for one of its streams by number.

Archives are called where all sessions wait for each other, and must not take long: a file, or a database on this machine.
Nothing of a store survives a restart, as far as we are concerned, since the children of the sessions don't.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeVar

from .config import MIB, ConfigError
from .protocol.event_log import Archive, EventLog

logger = logging.getLogger("trioproxy.event_store")

T = TypeVar("T")


class EventStore(Protocol):
    """What is kept of all sessions, so that their clients can resume.

    Attributes:
      max_events, max_bytes: what is kept of each session in memory; None for no limit.
    """

    @property
    def max_events(self) -> int | None: ...

    @property
    def max_bytes(self) -> int | None: ...

    def open_archive(self, tag: str) -> Archive | None:
        """Return where the events of one session go when there is no more room for them; None for nowhere.

        It is closed when the session has ended.

        Args:
          tag: what the session's event ids begin with; unlike the id of the session it lets nobody in.
        """


class InMemoryEventStore:
    """Events in memory; of those that there is no more room for, nothing is kept.

    Args:
      max_events, max_bytes: what is kept of each session; None for no limit.

    Raises:
      ConfigError: a limit is not above 0.
    """

    def __init__(self, max_events: int | None = 1000, max_bytes: int | None = 16 * MIB) -> None:
        for name, limit in (("max_events", max_events), ("max_bytes", max_bytes)):
            if limit is not None and limit <= 0:
                raise ConfigError(f"{name} {limit}: a limit is above 0, or None for no limit")
        self.max_events: Final = max_events
        self.max_bytes: Final = max_bytes

    def open_archive(self, tag: str) -> Archive | None:
        """Return None: there is no room elsewhere."""
        return None


def open_log(store: EventStore, tag: str, *, keeps_sent: bool = True) -> EventLog:
    """Return the log of a new session.

    Args:
      tag: what the session's event ids are to begin with.
      keeps_sent: whether messages stay for replay once they are sent; without that there is no archive, either.
    """
    archive = _open_archive(store, tag) if keeps_sent else None
    return EventLog(
        tag.encode(), max_events=store.max_events, max_bytes=store.max_bytes, keeps_sent=keeps_sent, archive=archive
    )


def _open_archive(store: EventStore, tag: str) -> Archive | None:
    try:
        archive = store.open_archive(tag)
    except Exception:
        logger.exception("no archive of events could be opened for %s", tag)
        return None
    return None if archive is None else _Guarded(tag, archive)


class _Guarded:
    """An archive that fails is asked no more, and its session goes on with what is in memory.

    To resume is what a client MAY be offered; a full disk is no reason to end what it does.  Not to ask again keeps a stream
    with a gap from looking whole.
    """

    def __init__(self, tag: str, archive: Archive) -> None:
        self._tag = tag
        self._archive = archive
        self._has_failed = False

    def keep(self, stream: int, number: int, messages: Sequence[bytes]) -> None:
        """As `Archive.keep`."""
        self._try(lambda: self._archive.keep(stream, number, messages), None)

    def kept(self, stream: int) -> range:
        """As `Archive.kept`."""
        return self._try(lambda: self._archive.kept(stream), range(0))

    def read(self, stream: int, number: int) -> Sequence[bytes]:
        """As `Archive.read`."""
        return self._try(lambda: self._archive.read(stream, number), ())

    def close(self) -> None:
        """As `Archive.close`; one that has failed is closed as well."""
        self._has_failed = False
        self._try(self._archive.close, None)

    def _try(self, ask: Callable[[], T], otherwise: T) -> T:
        if self._has_failed:
            return otherwise
        try:
            return ask()
        except Exception:
            logger.exception("the archive of the events %s-… failed, and is asked no more", self._tag)
            self._has_failed = True
            return otherwise
