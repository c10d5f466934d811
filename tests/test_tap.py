"""What passes through a transport is shown, or written to a file, and passes all the same."""

from __future__ import annotations

import json
import logging
import os
import stat
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests import modern, wire
from trioproxy import tap as tap_module
from trioproxy.child import open_child
from trioproxy.config import AuthConfig, ChildConfig
from trioproxy.protocol.errors import ChildExited, TrioproxyError
from trioproxy.protocol.lines import OversizedLine
from trioproxy.protocol.recording import TO_CLIENT, TO_SERVER, Entry, Lost, read_entry
from trioproxy.protocol.translation import Related
from trioproxy.tap import LAST_TIME, NO_TAP, Tapped, open_tap, tapped

from .memory_transport import MemoryTransport
from .proxies import DEMO, open_test_proxy
from .puppet import MODERN_PUPPET, PUPPET, notification, request, response
from .serving import wait_until

PING = json.dumps(request("ping")).encode()
PONG = json.dumps(response(1)).encode()
OVERSIZED = OversizedLine(b'{"jsonrpc":"2.0"', b"}", 70_000_000)


def at(second: float) -> Any:
    return lambda: second


# A transport that shows


async def test_what_passes_is_shown_and_passes_as_it_is() -> None:
    server, shown = MemoryTransport(), list[Tapped]()
    transport = tapped(server, shown.append, clock=at(7.5))
    transport.send_nowait(PING)
    assert await server.hear_line() == PING
    server.say(b"garbage", OVERSIZED, PONG)
    assert list(await transport.receive()) == [b"garbage", OVERSIZED, PONG]
    assert shown == [
        Tapped("client-to-server", PING, 7.5),
        Tapped("server-to-client", b"garbage", 7.5),
        Tapped("server-to-client", OVERSIZED, 7.5),
        Tapped("server-to-client", PONG, 7.5),
    ]


async def test_a_message_that_belongs_to_a_request_is_shown_with_its_id() -> None:
    class Relating(MemoryTransport):
        async def receive(self) -> Any:
            return [Related(PONG, "mine")]

    shown: list[Tapped] = []
    transport = tapped(Relating(), shown.append, clock=at(0))
    assert await transport.receive() == [Related(PONG, "mine")]
    assert shown == [Tapped("server-to-client", PONG, 0, "mine")]


async def test_the_rest_of_a_transport_is_that_of_the_inner_one(autojump_clock: MockClock) -> None:
    server = MemoryTransport()
    transport = tapped(server, print)
    assert (transport.unheard, transport.is_congested, transport.failure) == (0, False, None)
    with pytest.raises(AttributeError, match="no_such_thing"):
        transport.no_such_thing  # noqa: B018
    for _ in range(3):
        transport.send_nowait(b"x" * 1_000_000)
    assert transport.is_congested
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transport.wait_writable)
        await wait_all_tasks_blocked()
        assert nursery.child_tasks
        await server.hear_line()
        await server.hear_line()
    server.end(ChildExited("gone"))
    with pytest.raises(ChildExited):
        await transport.wait_writable()
    with pytest.raises(ChildExited) as raised:
        await transport.receive()
    assert raised.value is transport.failure


async def test_a_receive_that_is_cancelled_loses_nothing_and_shows_nothing_twice() -> None:
    shown: list[Tapped] = []
    async with open_child(ChildConfig(DEMO), on_stderr=print) as child:
        transport = tapped(child, shown.append)
        assert transport.pid == child.pid
        received: list[Any] = []
        for number in range(20):
            transport.send_nowait(json.dumps(request("ping", number)).encode())
            while len(received) <= number:
                with trio.move_on_after(0.0005):
                    received += await transport.receive()
    assert [line.message for line in shown if line.direction == TO_CLIENT] == received


async def test_a_callback_that_fails_is_logged_once_and_breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    server, calls = MemoryTransport(), list[Tapped]()

    def fail(shown: Tapped) -> None:
        calls.append(shown)
        raise ValueError("no")

    transport = tapped(server, fail)
    transport.send_nowait(PING)
    assert await server.hear_line() == PING
    server.say(PONG, PONG)
    assert list(await transport.receive()) == [PONG, PONG]
    assert len(calls) == 3
    (record,) = caplog.records
    assert record.exc_info is not None
    assert "a callback has failed" in record.message


# A file


async def settled(is_so: Callable[[], bool]) -> None:
    """Return once a thread has done what is expected of it."""
    while not is_so():  # noqa: ASYNC110
        await trio.sleep(0.001)


def entries(path: Path) -> list[Entry | Lost]:
    return [read_entry(line) for line in path.read_bytes().splitlines()]


async def test_what_is_noted_is_a_line_each_and_all_is_there_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "tap.jsonl"
    async with open_tap(path, clock=at(1_800_000_000.25)) as tap:
        tap.note(TO_SERVER, PING, session="ab12cd", stream=3)
        tap.note(TO_CLIENT, Related(PONG, 1), request="x")
        tap.note(TO_CLIENT, OVERSIZED)
        tap.note(TO_CLIENT, b"garbage")
        for number in range(10_000):
            tap.note(TO_CLIENT, b"%d" % number)
    moment = "2027-01-15T08:00:00.250000Z"
    assert entries(path) == [
        Entry(moment, "client-to-server", PING, "ab12cd", 3),
        Entry(moment, "server-to-client", PONG, request="x"),
        Entry(moment, "server-to-client", OVERSIZED.head, length=70_000_000),
        Entry(moment, "server-to-client", b"garbage"),
        *(Entry(moment, "server-to-client", b"%d" % number) for number in range(10_000)),
    ]


async def test_lines_are_there_soon_and_not_only_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "tap.jsonl"
    async with open_tap(path) as tap:
        tap.note(TO_SERVER, PING)
        await settled(lambda: path.stat().st_size > 0)
        assert len(entries(path)) == 1


def test_nothing_is_noted_where_nobody_wants_it() -> None:
    NO_TAP.note(TO_SERVER, PING, session="ab12cd", stream=1, request="x")


async def test_the_file_is_its_owners_alone_and_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "tap.jsonl"
    for number in range(2):
        async with open_tap(path) as tap:
            tap.note(TO_SERVER, b"%d" % number)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    # Somebody was cut off here.
    with path.open("ab") as file:
        file.write(b'{"time":')
    async with open_tap(path) as tap:
        tap.note(TO_SERVER, PING)
    lines = path.read_bytes().splitlines()
    assert (len(lines), lines[2]) == (4, b'{"time":')
    assert json.loads(lines[3])["message"] == request("ping")


async def test_a_cancellation_loses_nothing_and_cuts_nothing(tmp_path: Path) -> None:
    path = tmp_path / "tap.jsonl"
    with trio.CancelScope() as scope:
        async with open_tap(path) as tap:
            for number in range(1000):
                tap.note(TO_SERVER, b"%d" % number)
            scope.cancel()
            await trio.sleep_forever()
    assert [json.loads(line)["message"] for line in path.read_bytes().splitlines()] == list(range(1000))


async def test_an_error_in_the_block_loses_nothing_either(tmp_path: Path) -> None:
    path = tmp_path / "tap.jsonl"

    async def fail() -> None:
        async with open_tap(path) as tap:
            tap.note(TO_SERVER, PING)
            raise ValueError("no")

    with pytest.raises(ExceptionGroup) as raised:
        await fail()
    assert raised.group_contains(ValueError)
    assert len(entries(path)) == 1


@pytest.mark.parametrize(
    ("name", "reason"), [("nowhere/tap", "No such file"), ("", "Is a directory"), ("pipe", "No such device")]
)
async def test_a_file_that_cannot_be_opened_is_named(name: str, reason: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TrioproxyError, match=f"{tmp_path / name}: messages can't be recorded there: {reason}"):
        async with open_tap(tmp_path / name):
            raise AssertionError("it was opened")


async def test_a_full_disk_is_logged_once_and_nobody_minds(caplog: pytest.LogCaptureFixture) -> None:
    async with open_tap("/dev/full") as tap:
        for _ in range(3):
            tap.note(TO_SERVER, PING)
            tap.note(TO_CLIENT, PONG)
            await trio.sleep(2 * tap_module.GATHER_TIME)
    assert [record.message for record in caplog.records] == [
        "/dev/full: messages are not recorded: No space left on device",
        "/dev/full: of 6 messages 6 are not recorded",
    ]


async def test_a_disk_that_has_room_again_goes_on_with_a_line_that_says_how_many_are_missing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The limit on a file's size stands in for a disk."""
    import resource
    import signal

    path = tmp_path / "tap.jsonl"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        async with open_tap(path) as tap:
            resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
            for number in range(10):
                tap.note(TO_SERVER, b"%d" % number)
            await settled(lambda: bool(caplog.records))
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            tap.note(TO_CLIENT, PONG)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    lines = path.read_bytes().splitlines()
    whole = [line for line in lines if line.endswith(b"}")]
    assert len(lines) - len(whole) == 1, "one line was cut off"
    *before, lost, after = map(read_entry, whole)
    assert isinstance(lost, Lost)
    assert isinstance(after, Entry)
    assert (len(before) + lost.number, after.message) == (10, PONG)


async def test_a_reader_that_has_stopped_holds_up_nobody_and_what_it_misses_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tap_module, "MAX_WAITING", 200_000)
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    came = bytearray()
    message = b'"' + b"x" * 1000 + b'"'
    try:
        async with open_tap(path) as tap:
            for _ in range(50):
                began = time.perf_counter()
                for _ in range(10):
                    tap.note(TO_CLIENT, message)
                await trio.lowlevel.checkpoint()
                assert time.perf_counter() - began < 1
            assert [record.message for record in caplog.records] == [
                f"{path}: messages are not recorded: it does not take as much as there is to record"
            ]
            # It reads again.
            is_last = False
            while not came.endswith(b'"last"}\n'):
                try:
                    came += os.read(reader, 65536)
                except BlockingIOError:
                    if not is_last and len(came) > 100_000:
                        is_last = True
                        tap.note(TO_CLIENT, b'"last"')
                    await trio.sleep(0.005)
    finally:
        os.close(reader)
    found = [read_entry(line) for line in bytes(came).splitlines()]
    lost = sum(entry.number for entry in found if isinstance(entry, Lost))
    assert lost > 0
    assert sum(isinstance(entry, Entry) for entry in found) + lost == 501


async def test_a_reader_that_never_reads_holds_up_the_end_for_a_moment_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tap_module, "LAST_TIME", 0.1)
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    before = {int(fd) for fd in os.listdir("/proc/self/fd")}
    try:
        with trio.fail_after(LAST_TIME):
            async with open_tap(path) as tap:
                for _ in range(200):
                    tap.note(TO_CLIENT, b'"' + b"x" * 1000 + b'"')
        assert [record.message for record in caplog.records] == [
            f"{path}: messages are not recorded: it has taken nothing for 0.1 s, and we end",
            f"{path}: of 200 messages 200 are not recorded",
        ]
    finally:
        os.close(reader)
    # The thread that was left with the file gets EPIPE now, and then nobody has it any more.
    await settled(lambda: not [thread for thread in threading.enumerate() if "_write" in thread.name])
    for fd in {int(fd) for fd in os.listdir("/proc/self/fd")} - before:
        with suppress(OSError):
            os.close(fd)


async def test_only_a_thread_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writers: set[int] = set()
    write = tap_module._write

    def watched(descriptor: int, data: bytes) -> Any:
        writers.add(threading.get_ident())
        return write(descriptor, data)

    monkeypatch.setattr(tap_module, "_write", watched)
    async with open_tap(tmp_path / "tap.jsonl") as tap:
        tap.note(TO_SERVER, PING)
    assert writers
    assert threading.get_ident() not in writers


async def test_a_session_of_a_real_server_is_recorded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As a user of the library does it."""
    caplog.set_level(logging.DEBUG, "trioproxy.tap")
    path = tmp_path / "tap.jsonl"
    async with open_child(ChildConfig(DEMO), on_stderr=print) as child, open_tap(path) as tap:
        server = tapped(child, lambda shown: tap.note(shown.direction, shown.message, session="ab12cd"))
        server.send_nowait(json.dumps(notification("notifications/initialized")).encode())
        server.send_nowait(PING)
        (answer,) = await server.receive()
    recorded = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["session"], line["direction"], line["message"].get("method")) for line in recorded] == [
        ("ab12cd", "client-to-server", "notifications/initialized"),
        ("ab12cd", "client-to-server", "ping"),
        ("ab12cd", "server-to-client", None),
    ]
    assert isinstance(answer, bytes)
    assert recorded[2]["message"] == json.loads(answer)
    assert caplog.records == []


# --tap


async def test_everything_between_the_clients_and_a_proxy_is_recorded(tmp_path: Path) -> None:
    path = tmp_path / "tap.jsonl"
    secret = AuthConfig(api_keys=("s3cret",))
    async with open_test_proxy(PUPPET, tap=path) as proxy:
        client = await wire.initialize(proxy.url)
        await client.post(request("repeat", 7))
    async with open_test_proxy(DEMO, tap=path, auth=secret) as proxy:
        await modern.post(proxy.url, modern.tool_call("echo", 8, {"text": "hi"}), x_api_key="s3cret")
    text = path.read_text()
    recorded = [json.loads(line) for line in text.splitlines()]
    assert "s3cret" not in text
    legacy = [line for line in recorded if line["session"] is not None]
    assert {line["session"] for line in legacy} == {client.session_id[:6]}
    assert [(line["direction"], line["stream"], line["message"].get("id")) for line in legacy] == [
        ("client-to-server", 1, 0),
        ("server-to-client", 1, 0),
        ("client-to-server", None, None),
        ("client-to-server", 2, 7),
        ("server-to-client", 2, 7),
    ]
    assert [(line["direction"], line["request"], line["message"]["id"]) for line in recorded if line["session"] is None] == [
        ("client-to-server", 1, 8),
        ("server-to-client", 1, 8),
    ]


async def test_a_modern_client_that_closes_its_response_is_recorded_as_one_that_cancels(tmp_path: Path) -> None:
    path = tmp_path / "tap.jsonl"
    async with open_test_proxy(MODERN_PUPPET, tap=path, upstream_protocol="modern") as proxy:
        async with modern.open_post(proxy.url, modern.request("begin", 9, token="t")) as stream:
            assert (await stream.next_message())["method"] == "notifications/progress"
        await wait_until(lambda: b"notifications/cancelled" in path.read_bytes())
    cancelled = json.loads(path.read_text().splitlines()[-1])
    assert (cancelled["direction"], cancelled["request"], cancelled["message"]["params"]["requestId"]) == (
        "client-to-server",
        1,
        9,
    )
