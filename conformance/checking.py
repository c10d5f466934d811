"""All checks against one endpoint, one after the other, in every revision that it speaks.

One after the other, since some of them watch what else comes while they wait, and since a server that is slow because it is
being tested from all sides at once has not failed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Final

from . import checks as _registered  # noqa: F401
from .catalogue import level_of
from .conversation import MODERN, REVISIONS, Misbehaved
from .events import WireError
from .survey import Survey, find_revisions, survey
from .trial import CHECKS, Check, Level, Trial, Verdict, run_check
from .wire import Wire

ORDER: Final = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05", MODERN)
"""The revisions as they are gone through: the one that most servers speak first, the one without sessions last."""


class EndpointFailed(Exception):
    """There is nothing to check: the endpoint can't be reached, or speaks no revision that is wanted."""


@dataclass(frozen=True)
class Endpoint:
    """Where a server is.

    Args:
      http: its Streamable HTTP, which carries 2025-03-26 and later.
      sse: its HTTP with SSE, which carries 2024-11-05.
    """

    http: Wire | None = None
    sse: Wire | None = None

    def wire(self, revision: str) -> Wire | None:
        """What carries a revision."""
        return self.sse if revision == "2024-11-05" else self.http


@dataclass(frozen=True)
class Limits:
    """How long things may take, in seconds.

    Args:
      check: one check.
      patience: what must not come is waited for that long.
    """

    check: float = 30.0
    patience: float = 1.0


def select(revision: str, only: Collection[str] = ()) -> list[tuple[Check, Level]]:
    """Return the checks of a revision, with how much each matters there; `only` are patterns of names."""
    return [
        (one, level)
        for one in CHECKS.values()
        if (level := level_of(one.name, revision)) and (not only or any(fnmatchcase(one.name, glob) for glob in only))
    ]


async def run_checks(
    endpoint: Endpoint,
    revisions: Collection[str] = (),
    only: Collection[str] = (),
    limits: Limits = Limits(),
    *,
    report: Callable[[Verdict], None] = lambda _: None,
    announce: Callable[[str, int, int], None] = lambda name, number, count: None,
) -> list[Verdict]:
    """Run the checks, and return a verdict on each.

    Args:
      revisions: those to check; those that the endpoint speaks if empty.
      only: patterns of the names of checks.
      report: called with each verdict as it comes.
      announce: called before each check with its name, its number and how many there are.

    Raises:
      EndpointFailed: there is nothing to check.
    """
    surveys = await _survey(endpoint, revisions)
    chosen = [(one, *pair) for one in surveys for pair in select(one.revision, only)]
    verdicts: list[Verdict] = []
    for number, (found, one, level) in enumerate(chosen, 1):
        announce(f"{found.revision} {one.name}", number, len(chosen))
        wire = endpoint.wire(found.revision)
        assert wire is not None
        trial = Trial(wire, replace(wire, headers={}), found, limits.patience)
        verdicts.append(await run_check(one, level, trial, limits.check))
        report(verdicts[-1])
    return verdicts


async def _survey(endpoint: Endpoint, revisions: Collection[str]) -> list[Survey]:
    try:
        spoken = await find_revisions(endpoint.http, endpoint.sse)
        wanted: Sequence[str] = [revision for revision in ORDER if revision in (revisions or spoken)]
        missing = [revision for revision in wanted if revision not in spoken]
        if missing or not wanted:
            speaks = f"it speaks {', '.join(spoken)}" if spoken else "it speaks none that is known"
            raise EndpointFailed(f"the endpoint does not speak {', '.join(missing) or 'MCP'}; {speaks}")
        found = []
        for revision in wanted:
            wire = endpoint.wire(revision)
            assert wire is not None
            found.append(await survey(wire, revision, spoken))
        return found
    except (Misbehaved, WireError, OSError) as error:
        raise EndpointFailed(f"the endpoint could not be talked to: {error}") from error


assert set(ORDER) == set(REVISIONS)
