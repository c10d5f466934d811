"""The commands `check` and `list`: what is asked for, and what is printed."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING, Final

import trio

from .checking import Endpoint, EndpointFailed, Limits, run_checks
from .conversation import REVISIONS
from .proxied import StdioFailed, open_stdio
from .reports import FORMATS, LIST_FORMATS, as_json, as_junit, as_markdown, list_sentences, row, summary
from .trial import Verdict
from .wire import Wire, parse_address

if TYPE_CHECKING:
    from argparse import _SubParsersAction

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2


def add_commands(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `check` and `list` to the command line."""
    check = commands.add_parser(
        "check",
        help="check an MCP endpoint against the specification",
        usage="python -m conformance check [options] [URL] [--sse URL] [--stdio -- COMMAND…]",
        description="Send an endpoint what a client may send it, and what none may, and hold its answers against the"
        " specification.  The exit status is 0 only if every MUST holds.",
    )
    check.set_defaults(run=run_check_command)
    check.add_argument("url", nargs="?", help="an endpoint of Streamable HTTP (2025-03-26 and later)")
    check.add_argument("--sse", metavar="URL", help="an endpoint of HTTP with SSE (2024-11-05)")
    check.add_argument(
        "--stdio", action="store_true", help="check a stdio server, through the proxy; its command comes last, after --"
    )
    check.add_argument(
        "--revision", action="append", default=[], choices=REVISIONS, help="a revision (repeatable; all that are spoken)"
    )
    check.add_argument(
        "--only", action="append", default=[], metavar="PATTERN", help="checks by name, with * and ? (repeatable)"
    )
    check.add_argument("--timeout", type=float, default=30.0, metavar="SECONDS", help="for one check (%(default)s)")
    check.add_argument(
        "--patience",
        type=float,
        default=1.0,
        metavar="SECONDS",
        help="how long to wait for what must not come (%(default)s)",
    )
    check.add_argument("--header", action="append", default=[], metavar="'N: V'", help="sent with each request (repeatable)")
    check.add_argument("--format", choices=FORMATS, default="text", help="how to print verdicts (%(default)s)")
    sentences = commands.add_parser("list", help="print what the specification demands, and which check sees to it")
    sentences.set_defaults(run=run_list_command)
    sentences.add_argument(
        "--revision", action="append", default=[], choices=REVISIONS, help="a revision (repeatable; all of them)"
    )
    sentences.add_argument("--everybody", action="store_true", help="what obliges only clients, too")
    sentences.add_argument("--format", choices=LIST_FORMATS, default="text", help="how to print (%(default)s)")


def run_list_command(arguments: argparse.Namespace) -> int:
    """`list`: every sentence with its checks, or the reason why it has none."""
    print(list_sentences(arguments.revision or REVISIONS, arguments.format, everybody=arguments.everybody))
    return OK


def run_check_command(arguments: argparse.Namespace) -> int:
    """`check`: every check that the endpoint's revisions have."""
    try:
        headers = dict(_read_header(given) for given in arguments.header)
        wires = [Wire(parse_address(url), headers) if url else None for url in (arguments.url, arguments.sse)]
    except ValueError as error:
        print(error, file=sys.stderr)
        return USAGE
    if arguments.stdio == any(wires) or arguments.stdio != bool(arguments.command):
        print("check wants a URL, --sse URL, both, or --stdio -- COMMAND…", file=sys.stderr)
        return USAGE
    verdicts: list[Verdict] = []
    broken_off = ""
    with _progress() as (announce, clear):

        def report(verdict: Verdict) -> None:
            verdicts.append(verdict)
            if arguments.format == "text":
                clear()
                if len(verdicts) == 1 or verdicts[-2].revision != verdict.revision:
                    print(f"\n{verdict.revision}\n")
                print(row(verdict), flush=True)

        async def run() -> None:
            async with AsyncExitStack() as stack:
                nursery = await stack.enter_async_context(trio.open_nursery())
                # Before a proxy is started, so that there is no moment in which it could be left behind.
                await nursery.start(_watch_for_sigterm)
                endpoint = Endpoint(*wires)
                if arguments.stdio:
                    http, sse = await stack.enter_async_context(open_stdio(arguments.command))
                    endpoint = Endpoint(Wire(parse_address(http), headers), Wire(parse_address(sse), headers))
                limits = Limits(arguments.timeout, arguments.patience)
                await run_checks(endpoint, arguments.revision, arguments.only, limits, report=report, announce=announce)
                nursery.cancel_scope.cancel()

        try:
            trio.run(run)
        except* (EndpointFailed, StdioFailed) as failures:
            broken_off = "\n".join(map(str, _leaves(failures)))
        except* (KeyboardInterrupt, _Terminated):
            broken_off = "interrupted"
    printed = {"json": as_json, "junit": as_junit, "markdown": as_markdown}.get(arguments.format)
    print(printed(verdicts) if printed else f"\n{summary(verdicts)}")
    if not verdicts and not broken_off:
        # A misspelt pattern must not look like success.
        broken_off = "no check was run"
    if broken_off:
        print(broken_off, file=sys.stderr)
    failed = any(verdict.outcome == "failed" for verdict in verdicts)
    return FAILED if failed or broken_off else OK


class _Terminated(Exception):
    """SIGTERM has come."""


async def _watch_for_sigterm(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            raise _Terminated


def _read_header(given: str) -> tuple[str, str]:
    name, colon, value = given.partition(":")
    if not colon or not name.strip():
        raise ValueError(f"not a header: {given!r}")
    return name.strip(), value.strip()


@contextmanager
def _progress() -> Iterator[tuple[Callable[[str, int, int], None], Callable[[], None]]]:
    """What is running, in one line of a terminal that is written over."""
    stderr = sys.stderr
    if not stderr.isatty():
        yield (lambda name, number, count: None), (lambda: None)
        return

    def clear() -> None:
        stderr.write("\r\x1b[K")
        stderr.flush()

    def announce(name: str, number: int, count: int) -> None:
        stderr.write(f"\r\x1b[K{number} of {count}  {name}")
        stderr.flush()

    try:
        yield announce, clear
    finally:
        clear()


def _leaves(group: BaseExceptionGroup[Exception]) -> list[Exception]:
    leaves: list[Exception] = []
    for error in group.exceptions:
        leaves.extend(_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return leaves
