"""How tests are run: coroutine functions on trio, with a time limit, and nothing left behind."""

from __future__ import annotations

import inspect
import os
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import trio
from trio.testing import MockClock

# Helpers with assertions that the tests of two packages share: before either of them imports one.
pytest.register_assert_rewrite(
    *(f"tests.matrix.{name}" for name in ("client", "frames", "legacy_clients", "modern_client", "sdk_client")),
    *(f"tests.matrix.{name}" for name in ("requests", "notices", "questions", "refusals")),
)

LONG = (
    "tests/matrix/",
    "tests/bridge_matrix/",
    "tests/conformance/test_bridge_host.py",
    "tests/conformance/test_check_commands.py",
    "tests/conformance/test_compare.py",
    "tests/conformance/test_everything_server.py",
    "tests/real/test_inspector.py",
    "tests/real/test_sdk_1x.py",
    "tests/real/test_sdk_client.py",
    "tests/real/test_tunnel.py",
    "tests/real/test_typescript_client.py",
    "tests/test_chaos.py",
    "tests/test_soak.py",
)
"""Every era with every era, other people's programs in every combination, and crowds: left out, unless they are named, or
with `--all`."""

TIME_LIMIT = 30.0
"""Seconds on trio's clock.  A test that takes longer hangs."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--all`."""
    parser.addoption("--all", action="store_true", dest="all_tests", help="run the tests that take long, too")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of xdist whether all tests are meant: it always gets names."""
    node.workerinput["all_tests"] = _are_all_meant(node.config)


def _are_all_meant(config: pytest.Config) -> bool:
    if hasattr(config, "workerinput"):
        told: bool = config.workerinput["all_tests"]
        return told
    return config.option.all_tests or config.args_source != pytest.Config.ArgsSource.TESTPATHS


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what takes long."""
    if _are_all_meant(config):
        return
    left_out = [item for item in items if item.nodeid.startswith(LONG)]
    items[:] = [item for item in items if not item.nodeid.startswith(LONG)]
    config.hook.pytest_deselected(items=left_out)


@pytest.fixture
def autojump_clock() -> MockClock:
    """A clock that jumps to the next deadline when every task waits.  For tests without sockets and processes only."""
    return MockClock(autojump_threshold=0)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine function on trio, and unwrap the exception groups of a lone failure."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    clock = pyfuncitem.funcargs.get("autojump_clock")
    assert clock is None or isinstance(clock, MockClock)

    async def run() -> None:
        # On a clock that jumps, any limit is reached at once by a test that hangs.
        with trio.fail_after(TIME_LIMIT if clock is None else 1e6):
            await pyfuncitem.obj(**arguments)

    trio.run(run, clock=clock)
    return True


def _sockets() -> set[str]:
    links = (os.path.join("/proc/self/fd", fd) for fd in os.listdir("/proc/self/fd"))
    return {target for link in links if os.path.lexists(link) and (target := os.readlink(link)).startswith("socket:")}


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """No test leaves a process, a thread or a socket."""
    sockets, threads = _sockets(), set(threading.enumerate())
    yield
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
    started = {thread for thread in threading.enumerate() if not thread.name.startswith("Trio thread")} - threads
    assert not started
    assert _sockets() <= sockets


@pytest.fixture
def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
