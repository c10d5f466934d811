"""Every sentence of the specification that obliges a server, or a proxy in front of one, and what becomes of it here.

A sentence has checks, or a reason why it has none, or it is somebody else's: the client's, the authorization server's.  The
files beside this one are written by hand, a page (or a few that belong together) each; a sentence that several revisions
share stands there once.  `extract` reads the sentences out of the specification, and `digests.toml` remembers which there
were, so that a test can tell that none is missing.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

from .extract import Sentence

Who = Literal["server", "proxy", "both", "client", "authorization server"]
Level = Literal["MUST", "SHOULD"]

FOLDER: Final = Path(__file__).parent
FILES: Final = (
    "transports",
    "lifecycle",
    "basic",
    "ping",
    "progress",
    "cancellation",
    "authorization",
    "security",
    "modern_transports",
    "versioning",
    "mrtr",
    "subscriptions",
)
"""The files, in reading order."""
OURS: Final = ("server", "proxy", "both")
"""Those whose obligations are a server's, or a proxy's in front of one; `both` are client and server."""


@dataclass(frozen=True)
class Entry:
    """A sentence, in the revisions that have it.

    Args:
      who: whom it obliges.
      checks: what shows whether it is kept; any one that does not pass breaks it.
      reason: why it has none, if it is ours.
    """

    revisions: tuple[str, ...]
    sentence: Sentence
    level: Level
    who: Who
    checks: tuple[str, ...] = ()
    reason: str = ""

    @property
    def is_ours(self) -> bool:
        """Whether a server, or a proxy in front of one, has to keep it."""
        return self.who in OURS


@cache
def entries() -> tuple[Entry, ...]:
    """Every sentence, in the order of the files."""
    reasons = tomllib.loads((FOLDER / "reasons.toml").read_text(encoding="utf-8"))
    return tuple(entry for name in FILES for entry in _read(FOLDER / f"{name}.toml", reasons))


def _read(path: Path, reasons: Mapping[str, str]) -> Iterator[Entry]:
    for table in tomllib.loads(path.read_text(encoding="utf-8"))["sentence"]:
        yield _entry(table, reasons)


def _entry(table: Mapping[str, Any], reasons: Mapping[str, str]) -> Entry:
    given = table.get("reason", "")
    return Entry(
        revisions=tuple(table["revisions"]),
        sentence=Sentence(table["page"], table["section"], table["text"]),
        level=table["level"],
        who=table["who"],
        checks=tuple(table.get("checks", ())),
        # Reasons that many sentences share have a name.
        reason=reasons.get(given, given),
    )


def entries_of(revision: str) -> list[Entry]:
    """The sentences of one revision."""
    return [entry for entry in entries() if revision in entry.revisions]


def sentences_behind(check: str, revision: str) -> list[Entry]:
    """The sentences that a check stands for in one revision."""
    return [entry for entry in entries_of(revision) if check in entry.checks]


def level_of(check: str, revision: str) -> Level | None:
    """How much it matters in one revision that a check passes: the strictest of its sentences; None if it has none."""
    levels = {entry.level for entry in sentences_behind(check, revision)}
    return ("MUST" if "MUST" in levels else "SHOULD") if levels else None
