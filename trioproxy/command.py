"""How a command becomes a process: what is checked before, and what it is given.

An error that is found here is said in words that help; the same error found by `exec` is a number.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from typing import Final

from .config import ChildConfig
from .process_group import ProcessGroup
from .protocol.errors import CommandFailed

# What the SDKs' stdio clients pass on by themselves.
_MINIMAL_ENVIRONMENT: Final = ("HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER")


def start_process(config: ChildConfig) -> ProcessGroup:
    """Start a command with pipes for its three standard streams, as the leader of a process group of its own.

    Whoever calls it stops the group and closes it.

    Raises:
      CommandFailed: it can't be run, or not be watched.
    """
    environment = dict(_environment(config))
    argv = ["/bin/sh", "-c", " ".join(config.argv)] if config.shell else list(config.argv)
    _check_runnable(argv[0], config, environment)
    with _explained(argv):
        # Not `trio.lowlevel.open_process`: it forks in a worker thread, and the signal that a child asks for on the
        # death of its parent is sent on the death of the *thread* that started it.  This blocks for about a millisecond.
        process = subprocess.Popen(
            [*_parent_death_prefix(), *argv],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=config.cwd,
            env=environment,
            start_new_session=True,
        )
        try:
            return ProcessGroup(process)
        except OSError:
            _abandon(process)
            raise


def _abandon(process: subprocess.Popen[bytes]) -> None:
    """End a process that nobody has got to know."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
    process.wait()


def _environment(config: ChildConfig) -> Iterator[tuple[str, str]]:
    for name, value in os.environ.items():
        # Ours may hold keys; they are none of the child's business.
        is_ours = name.startswith("MCP_PROXY_") or name == "AUTH_SERVER_URL"
        if not is_ours and (config.pass_environment or name in _MINIMAL_ENVIRONMENT):
            yield name, value
    yield from config.environment.items()


def _check_runnable(program: str, config: ChildConfig, environment: Mapping[str, str]) -> None:
    """Say what is wrong with the command before somebody else says it less clearly.

    Raises:
      CommandFailed: it can't be run.
    """
    if config.cwd is not None and not config.cwd.is_dir():
        what = "is no directory" if config.cwd.exists() else "does not exist"
        raise CommandFailed(f"the working directory {str(config.cwd)!r} {what}")
    if os.sep in program:
        path = os.path.join(config.cwd or "", program)
        if not os.path.exists(path):
            raise CommandFailed(f"command not found: {program!r} does not exist")
        if os.path.isdir(path) or not os.access(path, os.X_OK):
            raise CommandFailed(f"command not executable: {program!r}")
    elif shutil.which(program, path=environment.get("PATH", os.defpath)) is None:
        hint = "; quote the arguments separately, or use --shell" if " " in program else ""
        raise CommandFailed(f"command not found: {program!r} is nowhere in PATH{hint}")


@contextmanager
def _explained(argv: list[str]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CommandFailed(f"can't start {argv[0]!r}: {error.strerror}") from error


@cache
def _parent_death_prefix() -> tuple[str, ...]:
    """Return what to put before a command so that it gets SIGTERM if we are killed (Linux, `prctl(PR_SET_PDEATHSIG)`).

    `setpriv` belongs to util-linux.  Where it is missing, a child of a killed proxy still sees its stdin end.
    """
    program = shutil.which("setpriv") if sys.platform == "linux" else None
    if program is None:
        return ()
    try:
        usage = subprocess.run([program, "--help"], capture_output=True, timeout=5, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return (program, "--pdeathsig", "TERM", "--") if b"--pdeathsig" in usage else ()
