"""A page that the user is to look at: opened in the browser, and named on stderr for whoever has none here.

The browser is started by a process of its own, `python -m webbrowser`, which knows the user's preference (the environment
variable BROWSER, xdg-open and others).  Within ours it can't be: a browser may write to the stdout that it inherits, where
our messages go, and some are waited for until they are closed.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import trio

OpenPage = Callable[[str], Awaitable[object]]

_turn: trio.lowlevel.RunVar[trio.Lock] = trio.lowlevel.RunVar("turn")


async def open_page(url: str) -> None:
    """Show a page; returns when the browser needs us no longer.  Cancelled, it leaves the browser as it is."""
    # Whoever reads our stderr may have stopped, and nothing else is to stop for that.
    text = f"Opening a browser to sign in. If none appears, open this page:\n\n    {url}\n\n"
    await trio.to_thread.run_sync(say, text, abandon_on_cancel=True)
    program = [sys.executable, "-m", "webbrowser", url]
    quiet = partial(trio.run_process, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    # Without any browser the page is still on stderr.
    with suppress(OSError):
        await quiet(program, check=False)


@asynccontextmanager
async def alone() -> AsyncIterator[None]:
    """Let no other page be shown while the block runs, whatever the number of remotes: the user has one pair of eyes."""
    try:
        lock = _turn.get()
    except LookupError:
        lock = trio.Lock()
        _turn.set(lock)
    async with lock:
        yield


def say(text: str) -> None:
    """Tell whoever sits before the terminal, if anybody does, and whatever is logged and how."""
    with suppress(OSError, ValueError):
        sys.stderr.write(text)
        sys.stderr.flush()
