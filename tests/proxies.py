"""Proxies for tests, in the test's own process and in one of their own, and children to put behind them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any

import trio

from trioproxy.config import ChildConfig, Config, ListenConfig
from trioproxy.server import Proxy, open_proxy

DEMO = (sys.executable, "-m", "trioproxy.demo")


def python(program: str) -> tuple[str, ...]:
    """Return a command that runs a Python program, without the cost of site-packages."""
    return (sys.executable, "-S", "-u", "-c", program)


@asynccontextmanager
async def open_test_proxy(command: tuple[str, ...] = DEMO, **concerns: Any) -> AsyncIterator[Proxy]:
    """Run a proxy in this process, on a port of its own; `concerns` are fields of `Config`, `child` those of ChildConfig."""
    child = ChildConfig(command, **concerns.pop("child", {}))
    listen = replace(concerns.pop("listen", ListenConfig()), port=0)
    async with open_proxy(Config(child=child, listen=listen, **concerns)) as proxy:
        yield proxy


class ProxyProcess:
    """A proxy in a process of its own, as a user starts it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said: list[str] = []
        self.urls: list[str] = []

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def read_urls(self, count: int = 2) -> None:
        """Read stderr until the URLs are announced."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line.rstrip())
            if "serving at " in line:
                self.urls.append(line.rsplit("serving at ", 1)[1].strip())
            if len(self.urls) == count:
                return
        raise AssertionError("the proxy ended: " + "\n".join(self.said))

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def wait(self, timeout: float = 20) -> int:
        """Wait for its end, read what it still says, and return its exit status."""
        _, rest = self.process.communicate(timeout=timeout)
        self.said += rest.splitlines()
        return self.process.returncode

    def children(self) -> list[int]:
        """The processes that it has started, and theirs."""
        return descendants(self.pid)

    @property
    def resident(self) -> float:
        """How much memory it holds, in MB."""
        with open(f"/proc/{self.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    @property
    def descriptors(self) -> int:
        """How many files, sockets and pipes it has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))


@contextmanager
def run_proxy(*arguments: str, urls: int = 2, environment: dict[str, str] | None = None) -> Iterator[ProxyProcess]:
    """Start `python -m trioproxy` on a free port, and kill what is left of it at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "trioproxy", "--port", "0", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    proxy = ProxyProcess(process)
    try:
        if urls:
            proxy.read_urls(urls)
        yield proxy
    finally:
        if process.poll() is None:
            for pid in proxy.children():
                os.kill(pid, signal.SIGKILL)
            process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def descendants(root: int) -> list[int]:
    """Return the ids of the living processes below `root`."""
    parents: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as file:
                    state, parent = file.read().rpartition(")")[2].split()[:2]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if state != "Z":
                parents.setdefault(int(parent), []).append(int(entry))
    found: list[int] = []
    queue = [root]
    while queue:
        queue += (below := parents.get(queue.pop(), []))
        found += below
    return found


async def wait_gone(pid: int) -> None:
    """Return once a process, whoever's child it is, has ended."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        await trio.lowlevel.wait_readable(pidfd)
    finally:
        os.close(pidfd)


def is_alive(pid: int) -> bool:
    """Whether a process runs, zombies not counted."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
