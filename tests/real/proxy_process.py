"""The proxy as its users run it: a process, found by what it prints, ended by a signal."""

import os
import re
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# Bounds, not waits: each is far beyond what a healthy proxy takes on a busy machine.
_START_TIMEOUT = 60.0
_STOP_TIMEOUT = 30.0

_MARK = "TRIOPROXY_TEST_RUN"


@dataclass(frozen=True)
class RunningProxy:
    """Where a running proxy serves: `mcp` speaks Streamable HTTP, `sse` speaks HTTP+SSE."""

    mcp: str
    sse: str


@contextmanager
def open_proxy(*arguments: str) -> Iterator[RunningProxy]:
    """Run `python -m trioproxy --port 0 ARGUMENTS` for exactly as long as the block runs, as `open_program` does."""
    with open_program([sys.executable, "-m", "trioproxy", "--port", "0", *arguments], os.environ) as running:
        yield running


@contextmanager
def open_program(command: Sequence[str], environment: Mapping[str, str]) -> Iterator[RunningProxy]:
    """Run a program that serves, for exactly as long as the block runs.

    Leaving the block sends SIGTERM, and asserts what the command line promises for it:
    exit status 0, no traceback, and no process left of all that were started.
    """
    mark = uuid.uuid4().hex
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**environment, _MARK: mark},
        text=True,
        encoding="utf-8",
    )
    stderr = _Stderr(process)
    try:
        yield RunningProxy(mcp=stderr.wait_for_url("/mcp"), sse=stderr.wait_for_url("/sse"))
        process.terminate()
        status = process.wait(_STOP_TIMEOUT)
    finally:
        process.kill()
        process.wait()
        stderr.close()
    assert status == 0, f"exit status {status} after SIGTERM\n{stderr}"
    # What a child says comes after a prefix.
    assert "\nTraceback" not in f"\n{stderr}", f"a traceback on stderr\n{stderr}"
    left = _find_processes(mark)
    assert not left, f"still running: {left}\n{stderr}"


class _Stderr:
    """What a process has said on stderr so far; a thread reads on, so that it never blocks."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        self._pipe = process.stderr
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for line in self._pipe:
            with self._changed:
                self._lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_for_url(self, path: str) -> str:
        pattern = re.compile(rf"http://127\.0\.0\.1:\d+{path}\b")
        with self._changed:
            self._changed.wait_for(lambda: self._ended or pattern.search(str(self)), _START_TIMEOUT)
            found = pattern.search(str(self))
            assert found, f"no URL of {path} on stderr\n{self}"
            return found[0]

    def close(self) -> None:
        # A process that outlived the proxy keeps the pipe open: not to be waited for here, but to be reported later.
        self._thread.join(1)
        if not self._thread.is_alive():
            self._pipe.close()

    def __str__(self) -> str:
        return "".join(self._lines)


def _find_processes(mark: str) -> list[str]:
    """Return the command of each process that inherited `mark`, however it was reparented since."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in environment.read_text(errors="replace"):
                found.append(environment.with_name("cmdline").read_text(errors="replace").replace("\0", " "))
        except OSError:
            continue  # Somebody else's process, or one that ended while we looked.
    return found
