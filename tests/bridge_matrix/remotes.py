"""Servers at URLs as processes that a test starts, kills, and starts again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import trio

ROOT: Final = Path(__file__).parents[2]
_GONE_TIME: Final = 10.0


class Remote:
    """A process that listens."""

    def __init__(self, pid: int, port: int) -> None:
        self.pid = pid
        self.port = port

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def kill(self) -> None:
        """End it without a word, and return when nobody listens any more."""
        os.kill(self.pid, signal.SIGKILL)
        deadline = time.monotonic() + _GONE_TIME
        while Path(f"/proc/{self.pid}").exists():
            assert time.monotonic() < deadline, f"{self.pid} does not go"
            time.sleep(0.001)


class Remotes:
    """Starts remotes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._one_at_a_time = threading.Lock()

    def start(self, port: int = 0) -> Remote:
        """Start one and return when it listens."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._one_at_a_time:
            print(port, file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        assert line, "the process that starts remotes has ended"
        return Remote(*json.loads(line))

    async def start_async(self, port: int = 0) -> Remote:
        """Do the same from a task."""
        return await trio.to_thread.run_sync(self.start, port)


@contextmanager
def open_remotes() -> Iterator[Remotes]:
    """Have what starts remotes ready, for as long as the block runs; then all of them end."""
    command = [sys.executable, "-m", "tests.bridge_matrix.remote_server"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield Remotes(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait()
