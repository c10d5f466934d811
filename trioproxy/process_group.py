"""A process and its family: whether anybody is left of it, and how it is told to go.

The process leads a group; what it starts belongs to the group, unless it leaves it (`setsid`).  The group has the number of
its leader for as long as anybody is in it, so that a signal can't reach strangers.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import Final

import trio


class ProcessGroup:
    """The group that `leader` leads.

    Raises:
      OSError: the end of the leader can't be watched, as where no file descriptor is left.
    """

    def __init__(self, leader: subprocess.Popen[bytes]) -> None:
        self.leader: Final = leader
        self._id = leader.pid
        # Now, and not when it is first waited for: who has no descriptor to spare is to know before anybody relies on it.
        self._pidfd = os.pidfd_open(self._id) if sys.platform == "linux" else None

    def close(self) -> None:
        """Give back what it takes to watch the leader; nobody may wait any more."""
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None

    def send(self, number: int) -> None:
        """Send a signal to every process of the group; nothing happens where there is none left."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._id, number)

    async def wait_leader(self) -> int:
        """Return the exit code of the leader, once it has ended and is reaped; less than 0 for a signal's number.

        Only one task may wait for it.
        """
        code = self.leader.poll()
        if code is None:
            if self._pidfd is not None:
                await trio.lowlevel.wait_readable(self._pidfd)
            else:
                await trio.to_thread.run_sync(_wait_unreaped, self._id, abandon_on_cancel=True)
            code = self.leader.wait()
        return code

    async def wait_gone(self) -> None:
        """Return once no process of the group is alive."""
        await self.wait_leader()
        pause = 0.002
        while self._is_alive():
            # Where we are the first process of a container, orphans become ours, and nobody else will reap them.
            with suppress(ChildProcessError):
                os.waitpid(-self._id, os.WNOHANG)  # noqa: ASYNC222  it does not wait
            await trio.sleep(pause)
            pause = min(2 * pause, 0.05)

    def _is_alive(self) -> bool:
        try:
            os.killpg(self._id, 0)
        except (ProcessLookupError, PermissionError):
            return False
        if sys.platform != "linux":
            return True
        # A zombie counts as a member; one that is reaped late, or never, would be waited for and killed in vain.
        try:
            return any(state != "Z" for state in _states(self._id))
        except OSError:
            # No file descriptor to look with.  Better to signal a zombie than to spare the living.
            return True


def _states(group: int) -> list[str]:
    """Return the states of the processes in a group (proc(5), `/proc/PID/stat`).

    Raises:
      OSError: they can't be read.
    """
    states = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as file:
                    # The name, in parentheses, may have anything in it.
                    state, _, pgrp, *_ = file.read().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue  # it has ended, or belongs to somebody else
            if int(pgrp) == group:
                states.append(state)
    return states


def describe_exit(code: int | None) -> str:
    """Return how a process ended, in words that follow "the server"."""
    if code is None:
        return "has not exited"
    return f"exited with status {code}" if code >= 0 else f"was killed by {signal_name(-code)}"


def signal_name(number: int) -> str:
    """Return the name of a signal, such as SIGKILL."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _wait_unreaped(pid: int) -> None:
    with suppress(ChildProcessError):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
