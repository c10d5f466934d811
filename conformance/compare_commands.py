"""The command `compare`: which peers, before which servers, and where the table goes."""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import shlex
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from .checking import Limits
from .compare import REVISIONS_OF, Run, describe_command, run_peer
from .compare_page import as_markdown
from .compare_report import FORMATS, Report, as_json, explanations, read_json
from .conversation import REVISIONS
from .npm import FetchError, default_cache
from .peers import PEERS, PROXIES, SDKS, SERVERS, TRANSPORTS, Installed, Peer, fetch

if TYPE_CHECKING:
    from argparse import _SubParsersAction

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2


def add_commands(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `compare` to the command line."""
    compare = commands.add_parser(
        "compare",
        help="run our checks against other proxies, too",
        description="Run the checks against trioproxy and other proxies in front of the same servers, each as its own"
        " documentation starts it, and put the results side by side.  The exit status is 0 unless something could not be"
        " run.",
    )
    compare.set_defaults(run=run_compare_command)
    compare.add_argument(
        "--peer",
        action="append",
        default=[],
        choices=PEERS,
        help="a peer (repeatable; all proxies)",
    )
    compare.add_argument(
        "--sdks", action="store_true", help="the official SDKs' own HTTP servers; without --peer, these only"
    )
    compare.add_argument(
        "--server",
        action="append",
        default=[],
        choices=SERVERS,
        help="a server behind the proxies (repeatable; all of them)",
    )
    compare.add_argument(
        "--revision", action="append", default=[], choices=REVISIONS, help="a revision (repeatable; all that are spoken)"
    )
    compare.add_argument(
        "--only", action="append", default=[], metavar="PATTERN", help="checks by name, with * and ? (repeatable)"
    )
    compare.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS", help="for one check (%(default)s)")
    compare.add_argument(
        "--patience",
        type=float,
        default=1.0,
        metavar="SECONDS",
        help="how long to wait for what must not come (%(default)s)",
    )
    compare.add_argument("--format", choices=FORMATS, default="markdown", help="how to print the results (%(default)s)")
    compare.add_argument("--output", type=Path, metavar="FILE", help="where to write them, after each peer anew (stdout)")
    compare.add_argument(
        "--earlier",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="add the results of an earlier run, made with --format json (repeatable); what is later takes its place",
    )
    compare.add_argument("--nothing-new", action="store_true", help="run nothing; only print what --earlier names")
    compare.add_argument("--cache", type=Path, default=default_cache(), help="where to keep packages (%(default)s)")


def run_compare_command(arguments: argparse.Namespace) -> int:
    """`compare`: every peer before every server, and the results side by side."""
    try:
        earlier = [read_json(path.read_text(encoding="utf-8")) for path in arguments.earlier]
        explained = explanations()
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return USAGE
    if arguments.nothing_new and not earlier:
        print("--nothing-new wants something --earlier", file=sys.stderr)
        return USAGE
    names = dict.fromkeys([*(arguments.peer or (() if arguments.sdks else PROXIES)), *(SDKS if arguments.sdks else ())])
    commands = [*(command for one in earlier for command in one.commands), *_our_command(arguments)]
    report = Report(tuple(dict.fromkeys(commands)))
    for run in (run for one in earlier for run in one.runs):
        report = report.with_run(run)
    render = as_json if arguments.format == "json" else lambda made: as_markdown(made, explained)
    missing: list[str] = []
    break_off = False
    for peer in [] if arguments.nothing_new else [PEERS[name] for name in names]:
        try:
            installed = fetch(peer, arguments.cache)
        except FetchError as error:
            print(f"{peer.name}: {error}", file=sys.stderr)
            missing.append(peer.name)
            continue
        try:
            for run in _run_peer(installed, arguments):
                report = report.with_run(run)
                if arguments.output:
                    _write(arguments.output, render(report))
        except* KeyboardInterrupt:
            # What was learnt before is still worth having.
            print("interrupted", file=sys.stderr)
            missing.append(peer.name)
            break_off = True
        if break_off:
            break
    if arguments.output:
        _write(arguments.output, render(report))
    else:
        print(render(report))
    now = [run for run in report.runs if not arguments.nothing_new and run.peer in names]
    missing += sorted({run.peer for run in now} - {run.peer for run in now if run.verdicts})
    missing += sorted({run.peer for run in now if run.verdicts and run.broken_off})
    if missing:
        print(f"could not be run, or not to the end: {', '.join(dict.fromkeys(missing))}", file=sys.stderr)
    if not report.runs:
        print("nothing was run", file=sys.stderr)
    return FAILED if missing or not report.runs else OK


def _our_command(arguments: argparse.Namespace) -> list[str]:
    return [] if arguments.nothing_new else [f"python -m conformance {shlex.join(arguments.words)}"]


def _run_peer(installed: Installed, arguments: argparse.Namespace) -> Iterable[Run]:
    """One peer before each server, over each transport that it has and that carries a revision which is wanted."""
    peer = installed.peer
    for server in (arguments.server or SERVERS) if peer.is_proxy else ("",):
        command = SERVERS[server][1] if server else ()
        for transport in TRANSPORTS:
            wanted = [one for one in REVISIONS_OF[transport] if not arguments.revision or one in arguments.revision]
            if not peer.words(transport) or not wanted:
                continue
            before = Run(
                peer.name,
                peer.version,
                server,
                transport,
                describe_command(installed, transport, command),
                datetime.datetime.now(datetime.UTC).date().isoformat(),
                f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
            )
            done = trio.run(_run, before, installed, command, arguments)
            print(_row(done), file=sys.stderr, flush=True)
            yield done


async def _run(before: Run, installed: Installed, command: tuple[str, ...], arguments: argparse.Namespace) -> Run:
    async with trio.open_nursery() as nursery:
        # Peers have sessions of their own, so that a signal for us isn't one for them: we have to live to end them.
        await nursery.start(_wait_told_to_end)
        done = await run_peer(
            before,
            installed,
            command,
            revisions=arguments.revision,
            only=arguments.only,
            limits=Limits(arguments.timeout, arguments.patience),
            announce=_announce(installed.peer, before),
        )
        nursery.cancel_scope.cancel()
    return done


async def _wait_told_to_end(*, task_status: trio.TaskStatus[None]) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            raise KeyboardInterrupt


def _announce(peer: Peer, run: Run) -> Callable[[str, int], None]:
    """What is running, in one line of a terminal that is written over."""
    if not sys.stderr.isatty():
        return lambda name, left: None

    def announce(name: str, left: int) -> None:
        end = "\r\x1b[K" if left == 1 else ""
        sys.stderr.write(f"\r\x1b[K{peer.name}, {run.server or 'itself'}: {left} left  {name}{end}")
        sys.stderr.flush()

    return announce


def _row(run: Run) -> str:
    """One run, in a line."""
    counted = {outcome: sum(v.outcome == outcome for v in run.verdicts) for outcome in ("passed", "failed", "warning")}
    numbers = ", ".join(f"{number} {outcome}" for outcome, number in counted.items())
    more = f", started anew {len(run.incidents)} times" if run.incidents else ""
    lost = f"; {run.broken_off}" if run.broken_off else ""
    return f"{run.peer} over {run.transport} before {run.server or 'nothing'}: {numbers}{more}{lost}"


def _write(path: Path, text: str) -> None:
    # Whoever reads it meanwhile finds the old one or the new one, whole.
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    aside.write_text(text, encoding="utf-8")
    aside.rename(path)
