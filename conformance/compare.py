"""The checks against one peer before one server, whatever becomes of the peer on the way.

A check may bring a peer down, or leave it in a state in which nobody is served any more.  Neither may spoil the checks
that follow, nor be blamed on a check that merely came next.  So after each check it is seen whether the peer still runs,
and after each that did not pass whether it still serves.  If not, a fresh one is started and the check repeated there:
what happens then counts, and if it's the same again, that is the verdict.
"""

from __future__ import annotations

import shlex
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import trio

from .checking import ORDER, Limits, select
from .compare_process import PeerFailed, PeerProcess, find_port, open_process
from .conversation import MODERN, Misbehaved, Requests, open_session, open_sse_session
from .events import WireError
from .peers import PEERS, Installed, Transport, path_of
from .proxied import PROJECT
from .survey import Survey, survey
from .trial import Check, Level, Outcome, Trial, Verdict, run_check
from .wire import Wire, parse_address

REVISIONS_OF: Final[dict[Transport, tuple[str, ...]]] = {
    "http": tuple(revision for revision in ORDER if revision != "2024-11-05"),
    "sse": ("2024-11-05",),
}
"""The revisions that each transport carries."""
_LIMITS: Final = Limits()
_UNSERVED: Final = (Misbehaved, WireError, OSError, trio.TooSlowError)


@dataclass(frozen=True)
class Run:
    """What became of one peer before one server, over one transport.

    Args:
      server: the stdio server that was behind it; empty if it is a server itself.
      command: the words that started it.
      date: the day, as YYYY-MM-DD.
      spoken: the revisions that it agreed to, and that were asked for.
      unspoken: the others, each with what came instead.
      verdicts: on each check, revision by revision.
      incidents: when it had to be started anew, and why.
      broken_off: why there is nothing more; empty if there is all.
    """

    peer: str
    version: str
    server: str
    transport: Transport
    command: str
    date: str
    platform: str
    spoken: tuple[str, ...] = ()
    unspoken: tuple[tuple[str, str], ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    incidents: tuple[str, ...] = ()
    broken_off: str = ""

    @property
    def column(self) -> str:
        """What stands above its column: the peer, with the version that it had then."""
        return f"{PEERS[self.peer].title} {self.version}"


@dataclass
class _Work:
    """What is left to do, kept over restarts."""

    spoken: list[str]
    unspoken: list[tuple[str, str]]
    pending: deque[tuple[Survey, Check, Level]]
    verdicts: list[Verdict]
    incidents: list[str]
    is_repeating: bool = False


async def run_peer(
    run: Run,
    installed: Installed,
    server: Sequence[str],
    *,
    revisions: Collection[str] = (),
    only: Collection[str] = (),
    limits: Limits = _LIMITS,
    announce: Callable[[str, int], None] = lambda name, left: None,
) -> Run:
    """Start a peer, run the checks, and return the run with what came of it.

    Args:
      run: what is known before.
      server: the command of the stdio server to put behind it.
      revisions: those to check, of those that it speaks; all of these if empty.
      only: patterns of the names of checks.
      announce: called before each check with its name, and how many are left.
    """
    work: _Work | None = None
    try:
        while work is None or work.pending:
            async with _serve(installed, run.transport, server) as (wire, process):
                if work is None:
                    work = await _find_work(wire, run.transport, revisions, only, limits)
                await _work_off(work, wire, process, limits, announce)
        broken_off = ""
    except* PeerFailed as group:
        broken_off = "; ".join(str(leaf) for leaf in _leaves(group))
    clean = partial(_without_places, installed=installed)
    if work is None:
        return replace(run, broken_off=clean(broken_off))
    return replace(
        run,
        spoken=tuple(work.spoken),
        unspoken=tuple((revision, clean(why)) for revision, why in work.unspoken),
        verdicts=tuple(replace(verdict, came=clean(verdict.came)) for verdict in work.verdicts),
        incidents=tuple(map(clean, work.incidents)),
        broken_off=clean(broken_off),
    )


def _without_places(text: str, installed: Installed) -> str:
    """What a peer has said, without where on this machine it was said."""
    for program, name in ((installed.node, "node"), (installed.python, "python")):
        text = text.replace(program, name) if program else text
    for folder in filter(None, (installed.home, str(PROJECT), str(Path.home()))):
        text = text.replace(f"{folder}/", "")
    return text


@asynccontextmanager
async def _serve(
    installed: Installed, transport: Transport, server: Sequence[str]
) -> AsyncIterator[tuple[Wire, PeerProcess]]:
    port = find_port()
    # Both the proxy and its servers are found in the folder in which they start, by peers that pass no environment on, too.
    async with open_process(installed.command(transport, port, server), port, folder=PROJECT) as process:
        yield Wire(parse_address(f"http://127.0.0.1:{port}{path_of(transport)}")), process


async def _find_work(
    wire: Wire, transport: Transport, revisions: Collection[str], only: Collection[str], limits: Limits
) -> _Work:
    """Find out which revisions are spoken, and which checks are to be run in each."""
    work = _Work([], [], deque(), [], [])
    asked = [revision for revision in REVISIONS_OF[transport] if not revisions or revision in revisions]
    for revision in asked:
        why = await _find_objection(wire, revision, limits)
        if why:
            work.unspoken.append((revision, why))
        else:
            work.spoken.append(revision)
    for revision in work.spoken:
        try:
            with trio.fail_after(limits.check):
                found = await survey(wire, revision, tuple(work.spoken))
        except _UNSERVED as error:
            work.unspoken.append((revision, f"the first client was served, the second wasn't: {_say(error, limits)}"))
            continue
        work.pending.extend((found, check, level) for check, level in select(revision, only))
    lost = [revision for revision, _ in work.unspoken]
    work.spoken = [revision for revision in work.spoken if revision not in lost]
    return work


async def _find_objection(wire: Wire, revision: str, limits: Limits) -> str:
    """Return why a peer doesn't speak a revision, or nothing if it does."""
    try:
        with trio.fail_after(limits.check):
            if revision == MODERN:
                result = (await Requests(wire).ask("server/discover")).result
                supported = result.get("supportedVersions")
                return "" if MODERN in (supported or ()) else f"it supports {supported}"
            opened = open_sse_session(wire) if revision == "2024-11-05" else open_session(wire, revision)
            async with opened as talk:
                agreed = talk.initialize_result.get("protocolVersion")
                return "" if agreed == revision else f"it agrees to {agreed}"
    except _UNSERVED as error:
        return _say(error, limits)


def _say(error: Exception, limits: Limits) -> str:
    return f"no answer within {limits.check:g} s" if isinstance(error, trio.TooSlowError) else str(error)


async def _work_off(
    work: _Work, wire: Wire, process: PeerProcess, limits: Limits, announce: Callable[[str, int], None]
) -> None:
    """Run what is pending, as long as the peer serves."""
    while work.pending:
        found, check, level = work.pending[0]
        announce(f"{found.revision} {check.name}", len(work.pending))
        trial = Trial(wire, wire, found, limits.patience)
        verdict = await run_check(check, level, trial, limits.check)
        process.look_up_family()
        trouble = await _find_trouble(verdict, found, wire, process, limits)
        if trouble and not work.is_repeating:
            work.incidents.append(f"{found.revision} {check.name}: {trouble}")
            work.is_repeating = True
            return
        if trouble:
            bad: Outcome = "failed" if level == "MUST" else "warning"
            # If it failed by itself, that says more than what came of it.
            expected = verdict.expected or "a peer that still serves"
            verdict = replace(verdict, outcome=bad, expected=expected, came=f"{verdict.came}; twice {trouble}".lstrip("; "))
        work.verdicts.append(verdict)
        work.pending.popleft()
        work.is_repeating = False
        if trouble:
            return


async def _find_trouble(verdict: Verdict, found: Survey, wire: Wire, process: PeerProcess, limits: Limits) -> str:
    """Return what is wrong with a peer after a check, or nothing if it still serves."""
    if process.has_ended:
        # What it said on its way out may still be in the pipe.
        await trio.sleep(0.1)
        return f"the peer {process.last_words()}"
    if verdict.outcome not in ("failed", "warning"):
        return ""
    try:
        with trio.fail_after(limits.check):
            again = await survey(replace(wire, transcript=[]), found.revision, found.also_speaks)
    except _UNSERVED as error:
        how = process.last_words() if process.has_ended else _say(error, limits)
        return f"the peer serves no other client: {how}"
    return "the peer has no tools any more" if found.tools and not again.tools else ""


def describe_command(installed: Installed, transport: Transport, server: Sequence[str]) -> str:
    """Return the command that starts a peer as a reader would type it, without this machine's folders."""
    short = {installed.node: "node", installed.python: "python"}
    words = [short.get(word, word) for word in installed.command(transport, 8080, ["SERVER"] if server else ())]
    folder = f"{installed.home}/"
    return shlex.join(word.replace(folder, "") if installed.home else word for word in words)


def _leaves(group: BaseExceptionGroup[Exception]) -> list[Exception]:
    leaves: list[Exception] = []
    for error in group.exceptions:
        leaves.extend(_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return leaves
