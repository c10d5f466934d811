"""A host that reads and writes every line itself."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import trio

from .remotes import ROOT


class RawHost:
    """A bridge that a test writes lines to."""

    def __init__(self, process: subprocess.Popen[bytes], stderr: IO[str]) -> None:
        self.process = process
        self._stderr = stderr

    def say(self, message: Any) -> None:
        """Write a line: bytes as they are, anything else as JSON."""
        assert self.process.stdin is not None
        self.process.stdin.write((message if isinstance(message, bytes) else json.dumps(message).encode()) + b"\n")
        self.process.stdin.flush()

    async def hear_line(self) -> bytes:
        """Return the next line without its newline."""
        assert self.process.stdout is not None
        with trio.fail_after(20):
            line = await trio.to_thread.run_sync(self.process.stdout.readline, abandon_on_cancel=True)
        assert line, self.said()
        return line[:-1]

    async def hear(self) -> Any:
        """Return the next message."""
        return json.loads(await self.hear_line())

    async def answer_to(self, request_id: Any) -> Any:
        """Return the answer to a request, whatever comes before it."""
        while (message := await self.hear()).get("id") != request_id or "method" in message:
            pass
        return message

    async def ask(self, request_id: Any, method: str, **params: Any) -> Any:
        """Make a request, and return the answer."""
        self.say({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params})
        return await self.answer_to(request_id)

    async def shake_hands(self) -> Any:
        info = {"name": "host", "version": "1"}
        answer = await self.ask("hello", "initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo=info)
        self.say({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return answer

    def said(self) -> str:
        """Return what the bridge has said on its stderr."""
        self._stderr.seek(0)
        return self._stderr.read()

    async def leave(self) -> int:
        """Close its stdin, and return its exit status."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        with trio.fail_after(10):
            return await trio.to_thread.run_sync(self.process.wait, abandon_on_cancel=True)


@contextmanager
def open_raw_host(*arguments: str) -> Iterator[RawHost]:
    """Run `python -m trioproxy ARGUMENTS` as a host does, for as long as the block runs."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "trioproxy", *arguments]
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as stderr,
        subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=stderr) as process,
    ):
        try:
            yield RawHost(process, stderr)
        finally:
            process.kill()
