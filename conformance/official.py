"""The official conformance suite, run against the proxy, scenario by scenario.

Each scenario is a process of its own with a time limit, so that one that hangs or crashes is one failure and not the end.
What counts is the list of checks that it leaves behind:

- a FAILURE fails; so does a WARNING, which is how the suite reports a SHOULD that wasn't followed;
- a scenario that leaves no list, or one in which nothing was checked, fails: it has proved nothing;
- what `expected_failures.toml` names with a reason may fail, and nothing else.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio

from .everything_server import Era
from .npm import SuitePackage

PROJECT: Final = Path(__file__).parents[1]
EXPECTED_FAILURES: Final = Path(__file__).with_name("expected_failures.toml")
SCENARIO_TIME: Final = 30
"""Seconds for one scenario.  The longest takes one, and could wait 15 for what never comes."""
START_TIME: Final = 30
"""Seconds for the proxy to say where it listens."""
STOP_TIME: Final = 15
"""Seconds for the proxy to end in order."""
AT_ONCE: Final = 2
"""Scenarios that run at the same time: enough to hide that each starts a Node, few enough for a small machine."""
LEGACY_SPARES: Final = 4
"""Children kept ready before a legacy server.

A modern client has one for each set of capabilities that it declares.  Some scenarios declare several in a second, and one
gives the first answer 600 ms, which is what the SDK takes to start."""


@dataclass(frozen=True)
class Suite:
    """A selection of scenarios from one release of the official package, and the server to run them against.

    Args:
      era: which clients the server behind the proxy serves by itself.
      list_options: what `list` needs to name the scenarios.
      run_options: what `server` needs to run one of them on the wire that is meant.
    """

    name: str
    release: str
    era: Era
    list_options: tuple[str, ...] = ()
    run_options: tuple[str, ...] = ()


_PREVIEW: Final = "0.2.0-alpha.12"
"""The newest of the releases that know of revisions; all of them are previews."""


def _revision(name: str, revision: str, era: Era) -> Suite:
    """What a revision requires of a server, and what is run with it without being scored."""
    return Suite(name, _PREVIEW, era, ("--requirements", revision), ("--spec-version", revision))


SUITES: Final = {
    suite.name: suite
    for suite in (
        # The newest release that isn't a preview: every scenario it has (`--suite all`).
        Suite("stable", "0.1.16", "dual"),
        _revision("2025-11-25", "2025-11-25", "dual"),
        _revision("2026-07-28", "2026-07-28", "modern"),
        # Before a server which knows only the other era, so that everything has to be translated.
        _revision("2025-11-25-to-modern", "2025-11-25", "modern"),
        _revision("2026-07-28-to-legacy", "2026-07-28", "legacy"),
    )
}


@dataclass(frozen=True)
class Scenario:
    """A scenario of a suite; one that isn't `required` is run and reported, but never scored by the suite itself."""

    name: str
    required: bool = True


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


# --- Judging


def parse_list(printed: str) -> list[Scenario]:
    """Read the names of the server scenarios from what the suite's `list` prints.

    There they are twice: under a heading of their own, and, if not scored, among the others with `[server]` behind them.
    Those of extensions are left out: which of them there are is up to the server, and ours has none.
    """
    scenarios: list[Scenario] = []
    heading = group = ""
    for line in printed.splitlines():
        if line and not line.startswith(" "):
            heading, group = line, ""
        elif match := re.fullmatch(r" +- (\S+)(?: \[(.*)\])?", line):
            if heading.startswith("Server scenarios"):
                scenarios.append(Scenario(match[1]))
            elif match[2] == "server" and group != "extension":
                scenarios.append(Scenario(match[1], required=False))
        elif match := re.fullmatch(r" +(\S+) \(\d+\):", line):
            group = match[1]
    return scenarios


def judge(scenario: Scenario, checks: Sequence[Mapping[str, Any]], seconds: float) -> Outcome:
    """Judge a scenario by its list of checks (`checks.json`)."""
    passed = sum(check["status"] == "SUCCESS" for check in checks)
    # An id comes back when a scenario does something twice; the messages say which time it was.
    problems = [
        Problem(check["id"], check.get("errorMessage") or check.get("description") or "(no message)")
        for check in checks
        if check["status"] in ("FAILURE", "WARNING")
    ]
    if not passed and not problems:
        problems.append(Problem(None, f"nothing was checked; {_count(checks)}"))
    return Outcome(scenario, passed, seconds, tuple(dict.fromkeys(problems)))


def _count(checks: Sequence[Mapping[str, Any]]) -> str:
    counted = Counter(str(check["status"]) for check in checks)
    return ", ".join(f"{number} {status}" for status, number in counted.items()) or "no checks"


def excuse(outcome: Outcome, expected: Mapping[str, str]) -> Outcome:
    """Mark those problems of an outcome that were expected, by `scenario` or by `scenario:check`."""
    name = outcome.scenario.name
    reasons = {problem: expected.get(f"{name}:{problem.check}", expected.get(name, "")) for problem in outcome.problems}
    excused = {problem: reason for problem, reason in reasons.items() if reason}
    return Outcome(outcome.scenario, outcome.passed, outcome.seconds, outcome.problems, excused)


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


# --- Running


class ProxyFailed(Exception):
    """The proxy did not start, or did not end in order; the message has its exit status and its last words."""


@asynccontextmanager
async def open_proxy(era: Era) -> AsyncIterator[str]:
    """Serve the everything server of an era through trioproxy, for as long as the block runs; yields the URL.

    Raises:
      ProxyFailed: it named no URL, or did not end with status 0 when told to; in an exception group, like whatever
        comes out of the block.
    """
    child = (sys.executable, "-m", "conformance.everything_server", "--era", era)
    spares = str(LEGACY_SPARES if era == "legacy" else 1)
    command = (sys.executable, "-m", "trioproxy", "--port", "0", "--spares", spares, "--", *child)
    # Both modules are found in the folder in which they start.
    run = partial(trio.run_process, command, cwd=PROJECT, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    said = bytearray()
    url = trio.Event()
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(run)
        assert process.stderr is not None

        async def listen(stderr: trio.abc.ReceiveStream) -> None:
            async for chunk in stderr:
                said.extend(chunk)
                if not url.is_set() and _find_url(said):
                    url.set()
            url.set()

        nursery.start_soon(listen, process.stderr)
        with trio.move_on_after(START_TIME):
            await url.wait()
        found = _find_url(said)
        if found is None:
            raise ProxyFailed(_last_words("named no URL", process, said))
        yield found
        process.send_signal(signal.SIGTERM)
        with trio.move_on_after(STOP_TIME):
            await process.wait()
        if process.returncode != 0:
            raise ProxyFailed(_last_words("did not end in order", process, said))


def _find_url(said: bytes | bytearray) -> str | None:
    # A line that isn't finished may end in the middle of the URL.
    match = re.search(rb"\b(https?://[^\s\"']+/mcp)\b.*\n", said)
    return match[1].decode() if match else None


def _last_words(what: str, process: trio.Process, said: bytes | bytearray) -> str:
    status = "still running" if process.returncode is None else f"exit status {process.returncode}"
    lines = said.decode(errors="replace").splitlines()[-20:]
    return "\n".join([f"the proxy {what} ({status}); it said:", *(f"    {line}" for line in lines)])


async def list_scenarios(package: SuitePackage, suite: Suite) -> list[Scenario]:
    """Ask a release of the package which server scenarios a suite has."""
    command = (*package.command, "list", *(suite.list_options or ("--server",)))
    done = await trio.run_process(command, capture_stdout=True)
    return parse_list(done.stdout.decode())


async def run_scenario(package: SuitePackage, suite: Suite, scenario: Scenario, url: str) -> Outcome:
    """Run one scenario against `url` and judge it."""
    started = trio.current_time()
    with tempfile.TemporaryDirectory() as folder:
        options = ("--url", url, "--scenario", scenario.name, "--output-dir", folder, *suite.run_options)
        said = b""
        with trio.move_on_after(SCENARIO_TIME):
            done = await trio.run_process(
                (*package.command, "server", *options), capture_stdout=True, stderr=subprocess.STDOUT, check=False
            )
            said = done.stdout
        seconds = trio.current_time() - started
        checks = _find_checks(folder)
    if checks is not None:
        return judge(scenario, checks, seconds)
    last_words = "\n".join(said.decode(errors="replace").splitlines()[-5:])
    message = f"ended without a verdict: {last_words}" if said else f"no verdict within {SCENARIO_TIME} s"
    return Outcome(scenario, 0, seconds, (Problem(None, message),))


def _find_checks(folder: str) -> list[dict[str, Any]] | None:
    """Find the list of checks that one scenario has left in a folder: it makes a folder of its own, named by the hour."""
    for written in Path(folder).glob("*/checks.json"):
        checks: list[dict[str, Any]] = json.loads(written.read_text(encoding="utf-8"))
        return checks
    return None


async def run_suite(
    package: SuitePackage,
    suite: Suite,
    url: str,
    *,
    expected: Mapping[str, str],
    only: Collection[str] = (),
    report: Callable[[Outcome], None] = lambda _: None,
) -> list[Outcome]:
    """Run the scenarios of a suite, a few at a time, and return what became of them in the suite's order.

    Args:
      expected: the failures to excuse, each with its reason (`read_expected`).
      only: the names of the scenarios to run; all if empty.
      report: called with each outcome as it comes.
    """
    scenarios = [s for s in await list_scenarios(package, suite) if not only or s.name in only]
    outcomes: dict[Scenario, Outcome] = {}
    waiting = iter(scenarios)

    async def work_off() -> None:
        for scenario in waiting:
            outcomes[scenario] = excuse(await run_scenario(package, suite, scenario, url), expected)
            report(outcomes[scenario])

    async with trio.open_nursery() as nursery:
        # What starts its children while it is measured gets the machine for itself.
        for _ in range(1 if suite.era == "legacy" else AT_ONCE):
            nursery.start_soon(work_off)
    return [outcomes[scenario] for scenario in scenarios]
