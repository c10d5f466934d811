"""systemd hears how we are: a socket of ours in its place, on a clock that jumps and in a process of its own."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.proxies import run_proxy
from tests.puppet import PUPPET
from trioproxy.notify import ServiceManager


class Service:
    """Something to watch."""

    def __init__(self) -> None:
        self.proven = trio.Event()
        self.state = "starting"
        self.sessions = 0

    async def wait_proven(self) -> None:
        await self.proven.wait()


class Systemd:
    """Where the messages arrive."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0", 1) if address.startswith("@") else address)
        self._socket.settimeout(20)

    def hear(self) -> list[str]:
        """Return the assignments of the next message."""
        return self._socket.recv(4096).decode().split("\n")

    def has_nothing(self) -> bool:
        """Whether no message waits."""
        self._socket.setblocking(False)
        try:
            self._socket.recv(4096, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        finally:
            self._socket.settimeout(20)
        return False

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["a file", "an abstract name"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Systemd]:
    listening = Systemd(str(tmp_path / "notify") if request.param == "a file" else f"@trioproxy-{uuid4()}")
    yield listening
    listening.close()


async def test_we_are_ready_once_the_command_is_proven_and_not_before(systemd: Systemd, autojump_clock: MockClock) -> None:
    service = Service()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ServiceManager({"NOTIFY_SOCKET": systemd.address}).report, service)
        await trio.sleep(60)
        assert systemd.has_nothing()
        service.state = "ready"
        service.proven.set()
        await wait_all_tasks_blocked()
        assert systemd.hear() == ["READY=1", "STATUS=ready, 0 sessions"]
        nursery.cancel_scope.cancel()


async def test_the_status_is_told_when_it_has_changed_and_no_watchdog_is_fed_that_nobody_keeps(
    systemd: Systemd, autojump_clock: MockClock
) -> None:
    service = Service()
    service.proven.set()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ServiceManager({"NOTIFY_SOCKET": systemd.address}).report, service)
        await trio.sleep(100)
        assert systemd.hear() == ["READY=1", "STATUS=starting, 0 sessions"]
        assert systemd.has_nothing()
        service.state, service.sessions = "full", 1
        await trio.sleep(6)
        assert systemd.hear() == ["STATUS=full, 1 session"]
        await trio.sleep(100)
        assert systemd.has_nothing()
        nursery.cancel_scope.cancel()


async def test_the_watchdog_is_fed_twice_in_its_time_while_all_is_well(systemd: Systemd, autojump_clock: MockClock) -> None:
    service = Service()
    service.proven.set()
    environ = {"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "2000000", "WATCHDOG_PID": str(os.getpid())}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ServiceManager(environ).report, service)
        await trio.sleep(0.5)
        assert systemd.hear()[0] == "READY=1"
        for state in ("starting", "ready", "full", "draining"):
            service.state = state
            await trio.sleep(1)
            assert systemd.hear()[0] == "WATCHDOG=1"
            assert systemd.has_nothing()
        # Servers that keep dying are what a watchdog is for.
        service.state = "failing"
        await trio.sleep(1)
        assert systemd.hear() == ["STATUS=failing, 0 sessions"]
        await trio.sleep(100)
        assert systemd.has_nothing()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "watchdog", [{"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}]
)
async def test_a_watchdog_that_is_not_ours_is_not_fed(
    systemd: Systemd, autojump_clock: MockClock, watchdog: dict[str, str]
) -> None:
    service = Service()
    service.proven.set()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ServiceManager({"NOTIFY_SOCKET": systemd.address, **watchdog}).report, service)
        await trio.sleep(100)
        assert systemd.hear()[0] == "READY=1"
        assert systemd.has_nothing()
        nursery.cancel_scope.cancel()


async def test_whoever_was_not_started_by_systemd_tells_nobody() -> None:
    manager = ServiceManager({})
    await manager.tell("STOPPING=1")
    await manager.report(Service())


@pytest.mark.parametrize("address", ["/no/such/socket", "@nobody-listens-here", "x" * 200])
async def test_a_service_manager_that_does_not_listen_ends_nothing(address: str, caplog: pytest.LogCaptureFixture) -> None:
    await ServiceManager({"NOTIFY_SOCKET": address}).tell("STOPPING=1")
    assert "could not be told STOPPING=1" in caplog.text


async def test_a_service_manager_that_does_not_read_is_not_waited_for(systemd: Systemd, autojump_clock: MockClock) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": systemd.address})
    for _ in range(2000):
        await manager.tell("STATUS=" + "x" * 1000)
        if trio.current_time() >= 1:
            break
    else:
        pytest.fail("the socket takes everything")


def test_what_is_said_to_us_is_not_said_to_the_servers() -> None:
    environ = {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "HOME": "/"}
    ServiceManager(environ)
    assert environ == {"HOME": "/"}


def test_a_proxy_tells_systemd_when_it_is_ready_and_when_it_stops(systemd: Systemd) -> None:
    environment = {"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "200000"}
    with run_proxy(*PUPPET, environment=environment) as proxy:
        assert systemd.hear() == ["READY=1", "STATUS=ready, 0 sessions"]
        assert systemd.hear() == ["WATCHDOG=1"]
        proxy.signal(signal.SIGTERM)
        while (said := systemd.hear()) != ["STOPPING=1"]:
            assert said == ["WATCHDOG=1"]
        assert proxy.wait() == 0
