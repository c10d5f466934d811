"""What became of an official scenario, judged by the list of checks that it leaves behind.

- A FAILURE fails; so does a WARNING, which is how the suite reports a SHOULD that wasn't followed.
- A scenario that leaves no list, or one in which nothing was checked, fails: it has proved nothing.
- What `expected_failures.toml` names with a reason may fail, and nothing else.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from .official_suites import SUITES, Scenario

EXPECTED_FAILURES: Final = Path(__file__).with_name("expected_failures.toml")


@dataclass(frozen=True)
class Problem:
    """A check that did not pass, or (with `check` None) a scenario that came to no conclusion."""

    check: str | None
    message: str


@dataclass(frozen=True)
class Outcome:
    """What became of one scenario.

    Args:
      passed: how many checks succeeded.
      seconds: how long the process ran.
      excused: the reasons from the list of expected failures, one for each problem that it covers.
    """

    scenario: Scenario
    passed: int
    seconds: float
    problems: tuple[Problem, ...] = ()
    excused: Mapping[Problem, str] = field(default_factory=dict)

    @property
    def unexpected(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem not in self.excused)


def judge(scenario: Scenario, checks: Sequence[Mapping[str, Any]], seconds: float, failure: str | None = None) -> Outcome:
    """Judge a scenario by its list of checks (`checks.json`).

    Args:
      failure: what went wrong beside the checks.
    """
    passed = sum(check["status"] == "SUCCESS" for check in checks)
    # An id comes back when a scenario does something twice; the messages say which time it was.
    problems = [
        Problem(check["id"], check.get("errorMessage") or check.get("description") or "(no message)")
        for check in checks
        if check["status"] in ("FAILURE", "WARNING")
    ]
    if not problems and failure is not None:
        problems.append(Problem(None, failure))
    elif not problems and not passed:
        problems.append(Problem(None, f"nothing was checked; {_count(checks)}"))
    return Outcome(scenario, passed, seconds, tuple(dict.fromkeys(problems)))


def _count(checks: Sequence[Mapping[str, Any]]) -> str:
    counted = Counter(str(check["status"]) for check in checks)
    return ", ".join(f"{number} {status}" for status, number in counted.items()) or "no checks"


def excuse(outcome: Outcome, expected: Mapping[str, str]) -> Outcome:
    """Mark those problems of an outcome that were expected, by `scenario` or by `scenario:check`."""
    name = outcome.scenario.name
    reasons = {problem: expected.get(f"{name}:{problem.check}", expected.get(name, "")) for problem in outcome.problems}
    return replace(outcome, excused={problem: reason for problem, reason in reasons.items() if reason})


def find_stale(expected: Mapping[str, str], outcomes: Collection[Outcome]) -> list[str]:
    """Find the expected failures that did not happen, of those whose scenario was run."""
    happened = {outcome.scenario.name for outcome in outcomes if outcome.problems}
    happened |= {f"{outcome.scenario.name}:{p.check}" for outcome in outcomes for p in outcome.problems}
    ran = {outcome.scenario.name for outcome in outcomes}
    return [entry for entry in expected if entry.partition(":")[0] in ran and entry not in happened]


def read_expected(path: Path) -> dict[str, dict[str, str]]:
    """Read a list of expected failures: suite → (scenario or scenario:check) → reason.

    Raises:
      ValueError: the file is no such list; a failure without a reason isn't expected.
    """
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    for suite, entries in table.items():
        if suite not in SUITES:
            raise ValueError(f"{path}: no suite is called {suite!r}; there are {', '.join(SUITES)}")
        if not isinstance(entries, dict) or not all(isinstance(r, str) and r.strip() for r in entries.values()):
            raise ValueError(f"{path}: each line under {suite!r} must give a reason in words")
    return table
