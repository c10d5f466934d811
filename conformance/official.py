"""Running the official conformance suite: scenarios against the proxy, or against the bridge, some at a time.

Each scenario is a process of its own with a time limit, so that one that hangs or crashes is one failure and not the end.
What counts is the list of checks that it leaves behind; of a client, also whether it came to the end of what it was to do.
"""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio

from .everything_server import Era
from .npm import SuitePackage
from .official_outcomes import Outcome, Problem, excuse, judge
from .official_suites import Scenario, Suite

PROJECT: Final = Path(__file__).parents[1]
SCENARIO_TIME: Final = 60
"""Seconds for one scenario.  The longest of a server takes one, and could wait 15 for what never comes; a client's takes
three, and starts six processes."""
CLIENT_TIME: Final = 50
"""Seconds for a host, after which the suite gives its verdict all the same.  The host gives up before that."""
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
    """Ask a release of the package which scenarios a suite has."""
    command = (*package.command, "list", *(suite.list_options or (f"--{suite.side}",)))
    done = await trio.run_process(command, capture_stdout=True)
    return suite.select(done.stdout.decode())


async def run_scenario(package: SuitePackage, suite: Suite, scenario: Scenario, url: str | None) -> Outcome:
    """Run one scenario and judge it.

    Args:
      url: what to test; None for clients, which are started anew each time.
    """
    started = trio.current_time()
    with tempfile.TemporaryDirectory() as folder:
        options = ("--scenario", scenario.name, "--output-dir", folder, *suite.run_options)
        command = (*package.command, suite.side, *_subject(suite, url), *options)
        said = b""
        failure: str | None = None
        with trio.move_on_after(SCENARIO_TIME):
            # The module of the host is found in the folder in which the suite starts.
            done = await trio.run_process(command, cwd=PROJECT, capture_stdout=True, stderr=subprocess.STDOUT, check=False)
            said = done.stdout
            if suite.side == "client" and done.returncode != 0:
                failure = f"the host failed: {_last_lines(_read(folder, 'stderr.txt'))}"
        seconds = trio.current_time() - started
        written = _read(folder, "checks.json")
    if written:
        checks: list[dict[str, Any]] = json.loads(written)
        return judge(scenario, checks, seconds, failure)
    message = f"ended without a verdict: {_last_lines(said)}" if said else f"no verdict within {SCENARIO_TIME} s"
    return Outcome(scenario, 0, seconds, (Problem(None, message),))


def _subject(suite: Suite, url: str | None) -> tuple[str, ...]:
    """Return the options that say what is tested."""
    if suite.side == "server":
        assert url is not None
        return "--url", url
    # The suite appends the URL of its server, and lets a shell find the words.
    host = (sys.executable, "-m", "conformance.bridge_host", suite.era, *suite.bridge_options)
    return "--command", shlex.join(host), "--timeout", str(CLIENT_TIME * 1000)


def _read(folder: str, name: str) -> bytes:
    """Read what one scenario has left in a folder, if it has: it makes one of its own there, named by the hour."""
    return next((written.read_bytes() for written in Path(folder).rglob(name)), b"")


def _last_lines(said: bytes) -> str:
    return "\n".join(said.decode(errors="replace").splitlines()[-5:])


async def run_suite(
    package: SuitePackage,
    suite: Suite,
    url: str | None = None,
    *,
    expected: Mapping[str, str],
    only: Collection[str] = (),
    report: Callable[[Outcome], None] = lambda _: None,
) -> list[Outcome]:
    """Run the scenarios of a suite, a few at a time, and return what became of them in the suite's order.

    Args:
      url: what to test, where the suite is one for servers.
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
        for _ in range(1 if suite.side == "server" and suite.era == "legacy" else AT_ONCE):
            nursery.start_soon(work_off)
    return [outcomes[scenario] for scenario in scenarios]
