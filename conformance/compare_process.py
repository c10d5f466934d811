"""A peer's process: started, waited for until it listens, and ended with all that it has started.

Peers start servers of their own, some of them in process groups of their own, and not all of them end what they have
started.  So who descends from a process is looked up before it is told to stop, and whoever is still there afterwards is
killed by its id.  On a system without /proc only the process group is.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

import trio

START_TIME: Final = 90.0
"""Seconds for a peer to listen: it may start a Node and a Python first, on a machine that has other things to do."""
STOP_TIME: Final = 10.0
"""Seconds to end in order."""
_SAID_KEPT: Final = 20_000
_PROC: Final = Path("/proc")


class PeerFailed(Exception):
    """A peer did not come to listen; the message has its exit status and its last words."""


class PeerProcess:
    """A peer that runs."""

    def __init__(self, words: Sequence[str], port: int, process: trio.Process) -> None:
        self.words = tuple(words)
        self.port = port
        self._process = process
        self._said = bytearray()
        self._family: dict[int, str] = {}

    @property
    def pid(self) -> int:
        """The id of its process, which is that of its group."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether it has exited."""
        return self._process.poll() is not None

    def last_words(self, lines: int = 5) -> str:
        """How it is, and the last of what it has said."""
        status = self._process.poll()
        how = "is still running" if status is None else f"exited with {status}"
        said = [line.strip(" |+-^\t") for line in self._said.decode(errors="replace").splitlines()]
        # Of a traceback the line that names the error, and not where it was.
        told = [line for line in said if "error" in line.lower() and not line.startswith(("at ", "File "))]
        told = told or [line for line in said if line]
        return "; ".join([how, *(f"said {' / '.join(told[-lines:])}" for _ in told[:1])])

    def look_up_family(self) -> dict[int, str]:
        """Return whom it has been seen to have started, each with when; who has lost its parent isn't found any more."""
        self._family |= _descendants(self.pid)
        return self._family

    async def listen_to(self) -> None:
        """Keep the end of what it says."""
        assert self._process.stdout is not None
        async for chunk in self._process.stdout:
            self._said += chunk
            del self._said[:-_SAID_KEPT]


@asynccontextmanager
async def open_process(
    words: Sequence[str], port: int, environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> AsyncIterator[PeerProcess]:
    """Run a command that is going to listen on a port of this machine, for as long as the block runs.

    Args:
      environment: added to ours.

    Raises:
      PeerFailed: it doesn't listen; in an exception group, like whatever comes out of the block.
    """
    run = partial(
        trio.run_process,
        words,
        env=os.environ | dict(environment or {}),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        start_new_session=True,
        # Being cancelled ends it, too, but the block has done so by then.
        deliver_cancel=_stop,
    )
    async with trio.open_nursery() as nursery:
        try:
            started: trio.Process = await nursery.start(run)
        except OSError as error:
            raise PeerFailed(f"{words[0]} can't be run: {error}") from error
        process = PeerProcess(words, port, started)
        nursery.start_soon(process.listen_to)
        try:
            await _wait_listening(process)
            yield process
        finally:
            with trio.CancelScope(shield=True):
                await _end(started, process.look_up_family())
        nursery.cancel_scope.cancel()


async def _wait_listening(process: PeerProcess) -> None:
    with trio.move_on_after(START_TIME):
        while not process.has_ended:
            try:
                stream = await trio.open_tcp_stream("127.0.0.1", process.port)
            except OSError:
                await trio.sleep(0.1)
                continue
            await trio.aclose_forcefully(stream)
            return
    # What it said on its way out may still be in the pipe.
    await trio.sleep(0.1)
    raise PeerFailed(f"nobody listens on port {process.port}; {process.words[0]} {process.last_words()}")


async def _stop(process: trio.Process) -> None:
    await _end(process, _descendants(process.pid))


async def _end(process: trio.Process, family: dict[int, str]) -> None:
    """TERM to the group; then KILL to it and to whoever descends from it."""
    _signal_group(process.pid, signal.SIGTERM)
    with trio.move_on_after(STOP_TIME):
        await process.wait()
        while any(_start_of(pid) == start for pid, start in family.items()):  # noqa: ASYNC110
            await trio.sleep(0.05)
    # Who was started while the others were ending is in the group, or is a child of one that isn't.
    for pid in list(family):
        family |= _descendants(pid)
    _signal_group(process.pid, signal.SIGKILL)
    for pid, start in family.items():
        # An id may be somebody else's by now; then it has another start.
        if _start_of(pid) == start:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    with trio.move_on_after(STOP_TIME):
        await process.wait()


def _signal_group(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _descendants(pid: int) -> dict[int, str]:
    """The processes that descend from one, each with when it was started."""
    parents: dict[int, int] = {}
    for folder in _PROC.glob("[0-9]*"):
        if (fields := _stat(int(folder.name))) is not None:
            parents[int(folder.name)] = int(fields[1])
    found: dict[int, str] = {}
    waiting = [pid]
    while waiting:
        parent = waiting.pop()
        for child in [one for one, its_parent in parents.items() if its_parent == parent]:
            if (start := _start_of(child)) is not None and child not in found:
                found[child] = start
                waiting.append(child)
    return found


def _start_of(pid: int) -> str | None:
    """When a process was started, in ticks since the machine was; None if there is none, or only its exit status."""
    fields = _stat(pid)
    return None if fields is None or fields[0] == "Z" else fields[19]


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the third on, the first after the name in parentheses, which may have any."""
    try:
        return (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None


def find_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
