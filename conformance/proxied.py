"""A stdio server made an HTTP endpoint for the checks, by `python -m trioproxy` in a process of its own.

This is all that the checks know of the proxy: a command, and two URLs on its stderr.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import trio

PROJECT: Final = Path(__file__).parents[1]
START_TIME: Final = 30.0
"""Seconds for the proxy to say where it listens."""
STOP_TIME: Final = 20.0
"""Seconds for it to end in order."""
_SAID_KEPT: Final = 20_000
_URL: Final = re.compile(rb"serving at (https?://\S+)")


class StdioFailed(Exception):
    """The command could not be made an endpoint; the message has the proxy's last words."""


@asynccontextmanager
async def open_stdio(command: Sequence[str], options: Sequence[str] = ()) -> AsyncIterator[tuple[str, str]]:
    """Serve a command for as long as the block runs; yields its URLs for Streamable HTTP and for HTTP with SSE.

    Raises:
      StdioFailed: it could not be started; in an exception group, like whatever comes out of the block.
    """
    words = (sys.executable, "-m", "trioproxy", "--port", "0", *options, "--", *command)
    # Installed or not, the proxy that is checked is the one that lies beside the checks.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (str(PROJECT), os.environ.get("PYTHONPATH"))))}
    run = partial(trio.run_process, words, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    said = bytearray()
    serving = trio.Event()
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(run)

        async def listen() -> None:
            assert process.stderr is not None
            async for chunk in process.stderr:
                said.extend(chunk)
                del said[:-_SAID_KEPT]
                if len(_find_urls(said)) == 2:
                    serving.set()
            serving.set()

        nursery.start_soon(listen)
        with trio.move_on_after(START_TIME):
            await serving.wait()
        urls = _find_urls(said)
        if len(urls) != 2:
            process.terminate()
            last = "\n".join(f"    {line}" for line in said.decode(errors="replace").splitlines()[-20:])
            raise StdioFailed(f"the command could not be served; the proxy said:\n{last}")
        yield urls[0], urls[1]
        process.send_signal(signal.SIGTERM)
        with trio.move_on_after(STOP_TIME):
            await process.wait()
        nursery.cancel_scope.cancel()


def _find_urls(said: bytes | bytearray) -> list[str]:
    # A line that isn't finished may end in the middle of the URL.
    whole = bytes(said).rpartition(b"\n")[0]
    return [match.decode() for match in _URL.findall(whole)]
