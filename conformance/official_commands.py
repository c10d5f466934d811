"""The commands `official` and `node`: which suites to run, and what is printed."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import trio

from .everything_server import Era
from .npm import FetchError, default_cache, fetch_suite, node_folder
from .official import ProxyFailed, open_proxy, run_suite
from .official_outcomes import EXPECTED_FAILURES, Outcome, find_stale, read_expected
from .official_suites import SUITES, Suite

if TYPE_CHECKING:
    from argparse import _SubParsersAction

Results = dict[str, list[Outcome]]
"""What became of each scenario, by suite."""

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2


def add_commands(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `official` and `node` to the command line."""
    official = commands.add_parser("official", help="run the official conformance suite")
    official.set_defaults(run=run_official)
    official.add_argument("--suite", action="append", choices=SUITES, help="a suite to run (repeatable; all of them)")
    official.add_argument("--scenario", action="append", default=[], help="a scenario to run (repeatable; all of them)")
    official.add_argument(
        "--url", help="the endpoint to test, with suites for servers (a proxy of our own, before the everything server)"
    )
    official.add_argument(
        "--expected-failures", type=Path, default=EXPECTED_FAILURES, help="what may fail, and why (%(default)s)"
    )
    official.add_argument("--cache", type=Path, default=default_cache(), help="where to keep packages (%(default)s)")
    official.add_argument("--json", action="store_true", help="print the results as JSON")
    node = commands.add_parser("node", help="print a folder with a node and an npm that the suites run on, for a PATH")
    node.set_defaults(run=run_node)
    node.add_argument("--cache", type=Path, default=default_cache(), help="where to keep packages (%(default)s)")


def run_node(arguments: argparse.Namespace) -> int:
    """`node`: fetch one if there is none."""
    try:
        print(node_folder(arguments.cache))
    except FetchError as error:
        print(error, file=sys.stderr)
        return FAILED
    return OK


def run_official(arguments: argparse.Namespace) -> int:
    """`official`: every scenario of the suites asked for, as a table or as JSON."""
    try:
        expected = read_expected(arguments.expected_failures)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return USAGE
    results: Results = {}
    broken_off = False
    try:
        trio.run(_run_suites, arguments, expected, results)
    except* (FetchError, ProxyFailed) as failures:
        broken_off = True
        for failure in _leaves(failures):
            print(failure, file=sys.stderr)
    except* KeyboardInterrupt:
        broken_off = True

    stale = [f"{suite}: {entry}" for suite in results for entry in find_stale(expected.get(suite, {}), results[suite])]
    outcomes = [outcome for suite in results.values() for outcome in suite]
    failed = sum(bool(outcome.unexpected) for outcome in outcomes)
    excused = sum(bool(outcome.problems) for outcome in outcomes) - failed
    if arguments.json:
        print(json.dumps({"suites": {name: [_as_json(o) for o in results[name]] for name in results}, "stale": stale}))
    else:
        for entry in stale:
            print(f"expected to fail, but did not: {entry}")
        if not outcomes:
            # A misspelt scenario must not look like success.
            print("no scenario was run", file=sys.stderr)
        if excused:
            print(f"{excused} failed as expected")
        print(f"\n{len(outcomes) - failed - excused} passed, {failed} failed")
    return FAILED if broken_off or failed or stale or not outcomes else OK


async def _run_suites(arguments: argparse.Namespace, expected: dict[str, dict[str, str]], results: Results) -> None:
    """Run the suites asked for, adding to `results`: what was learnt before a failure is still worth printing."""
    async with AsyncExitStack() as stack:
        urls: dict[Era, str] = {}
        for suite in _choose_suites(arguments):
            url: str | None = None
            if suite.side == "server":
                if suite.era not in urls:
                    urls[suite.era] = arguments.url or await stack.enter_async_context(open_proxy(suite.era))
                url = urls[suite.era]
            package = await trio.to_thread.run_sync(fetch_suite, suite.release, arguments.cache)
            if not arguments.json:
                against = url or f"the bridge, behind a {suite.era}-era host"
                before = f", before a {suite.era}-era server" if url and not arguments.url else ""
                print(f"\n{suite.name}: conformance {suite.release} against {against}{before}\n")
            results[suite.name] = await run_suite(
                package,
                suite,
                url,
                expected=expected.get(suite.name, {}),
                only=arguments.scenario,
                report=(lambda _: None) if arguments.json else _print_row,
            )


def _choose_suites(arguments: argparse.Namespace) -> list[Suite]:
    """Return the suites asked for; of those for clients there is none where an endpoint is to be tested."""
    named = [SUITES[name] for name in arguments.suite or SUITES]
    return [suite for suite in named if arguments.url is None or suite.side == "server"]


def _print_row(outcome: Outcome) -> None:
    verdict = "FAILED" if outcome.unexpected else "expected" if outcome.problems else "ok"
    note = "" if outcome.scenario.required else "  (not scored)"
    print(f"{verdict:8}  {outcome.scenario.name:45}  {outcome.passed:2} checks  {outcome.seconds:4.1f} s{note}", flush=True)
    for problem in outcome.problems:
        print(f"            {problem.check or 'the scenario'}: {problem.message}")
        if reason := outcome.excused.get(problem):
            print(f"              expected: {reason}")


def _as_json(outcome: Outcome) -> dict[str, Any]:
    return {
        "scenario": outcome.scenario.name,
        "required": outcome.scenario.required,
        "passed": outcome.passed,
        "seconds": round(outcome.seconds, 3),
        "problems": [
            {"check": problem.check, "message": problem.message, "expected": outcome.excused.get(problem)}
            for problem in outcome.problems
        ],
    }


def _leaves(group: BaseExceptionGroup[Exception]) -> list[Exception]:
    leaves: list[Exception] = []
    for error in group.exceptions:
        leaves.extend(_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return leaves
