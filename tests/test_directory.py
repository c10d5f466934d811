"""Sessions, each with a child of its own, and spares for those to come.  The children are real."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from trioproxy import deaths
from trioproxy import sources as sources_module
from trioproxy.auth import AuthRequest, Principal
from trioproxy.config import ChildConfig, Config, LimitConfig, TimeConfig
from trioproxy.directory import Directory, open_directory
from trioproxy.protocol.errors import (
    ChildExited,
    CommandFailed,
    SessionNotFound,
    ShuttingDown,
    TooManySessions,
    Unavailable,
)
from trioproxy.protocol.messages import parse_line
from trioproxy.session import Session

from .memory_transport import MemoryTransport
from .proxies import descendants, is_alive

# Says its process id first, and then whatever is said to it; in fewer instructions than any Python.
ECHO = (
    "sh",
    "-c",
    """printf '{"jsonrpc":"2.0","method":"pid","params":{"pid":%d}}\n' $$; echo "here is $$" >&2; exec cat""",
)
ENOUGH = Unavailable("the test has had enough of it")


@asynccontextmanager
async def run(*command: str, max_sessions: int = 100, **child: Any) -> AsyncIterator[Directory]:
    """Open a directory, and wait for its first spare."""
    config = Config(ChildConfig(command or ECHO, **child), limits=LimitConfig(max_sessions=max_sessions))
    async with open_directory(config) as directory:
        await until(lambda: directory.spares > 0)
        yield directory


async def until(condition: Callable[[], bool]) -> None:
    """Return once something is the case."""
    with trio.fail_after(20):
        while not condition():  # noqa: ASYNC110  nobody tells us
            await trio.sleep(0.005)


async def pid_of(session: Session) -> int:
    """Return the process id of a session's child, as it has said itself."""
    with session.attach(session.log.standalone) as cursor:
        _, (line,) = await cursor.read()
    pid: int = json.loads(line)["params"]["pid"]
    return pid


def children() -> list[int]:
    return descendants(os.getpid())


# Sessions


async def test_each_session_has_a_child_of_its_own_for_as_long_as_it_lasts() -> None:
    async with run() as directory:
        one, two = await directory.open(), await directory.open()
        pids = [await pid_of(one), await pid_of(two)]
        assert len(set(pids)) == 2
        assert directory.find(one.id) is one
        assert directory.find(two.id) is two
        one.close(ENOUGH)
        await until(lambda: not is_alive(pids[0]))
        assert is_alive(pids[1])
        assert len(directory) == 1
    assert not is_alive(pids[1])


async def test_a_session_that_has_ended_is_as_unknown_as_one_that_never_was() -> None:
    """One answer, so that nobody can tell which."""
    async with run() as directory:
        session = await directory.open()
        os.kill(await pid_of(session), signal.SIGKILL)
        await session.wait_ended()
        with pytest.raises(SessionNotFound) as ended:
            directory.find(session.id)
        with pytest.raises(SessionNotFound) as unknown:
            directory.find("no-such-session")
        assert str(ended.value) == str(unknown.value)
        await until(lambda: len(directory) == 0)
        assert directory.deaths.last == "the server was killed by SIGKILL"


async def test_what_a_child_writes_to_stderr_is_logged_under_its_session(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        async with run(spares=0) as directory:
            await until(lambda: directory.spares == 1)
            session = await directory.open()
            other = await directory.open()
            assert session.short_id != other.short_id
            pid = await pid_of(other)
            said = (f"here is {pid}", other.short_id)
            await until(lambda: said in [(r.getMessage(), getattr(r, "session", None)) for r in caplog.records])
    assert session.id not in caplog.text


async def test_all_children_have_ended_when_the_block_has() -> None:
    async with run(spares=3) as directory:
        await until(lambda: directory.spares == 3)
        for _ in range(3):
            await directory.open()
        await until(lambda: directory.spares == 3)
        assert len(children()) == 6
    assert children() == []


async def test_a_client_that_leaves_while_its_child_is_started_has_no_session() -> None:
    async with run(spares=0) as directory:
        await directory.open()
        with trio.move_on_after(0) as left:
            await directory.open()
        assert left.cancelled_caught
        assert len(directory) == 1
        assert not directory.is_full
        await until(lambda: len(children()) == 1)


# The limit


async def test_there_are_as_many_sessions_as_may_be_and_the_next_one_is_told_when_to_come_back() -> None:
    async with run(max_sessions=2) as directory:
        sessions = [await directory.open(), await directory.open()]
        assert directory.is_full
        assert directory.state == "full"
        with pytest.raises(TooManySessions, match="2 sessions are open, the limit of --max-sessions") as raised:
            await directory.open()
        assert int(dict(raised.value.headers)[b"retry-after"]) > 0
        sessions[0].close(ENOUGH)
        await until(lambda: not directory.is_full)
        await directory.open()


async def test_sessions_that_are_opened_at_once_do_not_get_past_the_limit() -> None:
    async with run(max_sessions=3, spares=0) as directory:
        refused = []

        async def open_one() -> None:
            try:
                await directory.open()
            except TooManySessions as error:
                refused.append(error)

        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(open_one)
        assert (len(directory), len(refused)) == (3, 5)


async def test_a_session_that_has_ended_counts_until_its_child_is_gone() -> None:
    """Or a client that opens and deletes would have as many processes as it likes."""
    deaf = "trap '' TERM; echo '{}'; while :; do sleep 1000; done"
    async with run("sh", "-c", deaf, max_sessions=2, spares=0) as directory:
        for _ in range(2):
            session = await directory.open()
            session.close(ENOUGH)
            await session.wait_ended()
        await until(lambda: len(directory) == 0)
        assert directory.is_full
        for _ in range(23):
            with pytest.raises(TooManySessions, match="2 sessions are open or ending, the limit of --max-sessions"):
                await directory.open()
        assert directory.is_full
        directory.kill_children()
        await until(lambda: not directory.is_full)
        (await directory.open()).close(ENOUGH)
        directory.kill_children()


async def test_spares_do_not_count_as_sessions() -> None:
    async with run(max_sessions=1, spares=3) as directory:
        await until(lambda: directory.spares == 3)
        assert not directory.is_full
        await directory.open()
        assert directory.is_full


# What goes wrong in one berth


SCARCE = """
import os, resource, trio
from trioproxy.config import ChildConfig, Config
from trioproxy.directory import open_directory
from trioproxy.protocol.errors import CommandFailed, Unavailable
from trioproxy.protocol.messages import parse_line

async def echo(session):
    stream = await session.submit([parse_line(b'{"jsonrpc":"2.0","method":"x"}')])
    with session.attach(session.log.standalone) as cursor, trio.fail_after(5):
        await cursor.read()

async def main():
    async with open_directory(Config(ChildConfig(("cat",), spares=0))) as directory:
        while not directory.spares:
            await trio.sleep(0.01)
        first = await directory.open()
        before = len(os.listdir("/proc/self/fd"))
        opened, failed = [], []

        async def open_one():
            try:
                opened.append(await directory.open())
            except CommandFailed as error:
                failed.append(str(error))

        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        async with trio.open_nursery() as nursery:
            for _ in range(60):
                nursery.start_soon(open_one)
        print(len(opened) > 0, len(failed) > 0, len(opened) + len(failed), {"Too many open files" in f for f in failed})
        for session in (first, *opened):
            await echo(session)
        for session in opened:
            session.close(Unavailable("enough"))
        with trio.fail_after(10):
            while len(os.listdir("/proc/self/fd")) > before:
                await trio.sleep(0.01)
        await echo(await directory.open())
        await echo(first)
        print(len(directory))

trio.run(main)
"""


def test_who_opens_a_session_when_file_descriptors_have_run_out_is_told_and_the_others_go_on() -> None:
    result = subprocess.run([sys.executable, "-c", SCARCE], capture_output=True, text=True, timeout=25, check=False)
    assert (result.stdout, result.stderr) == ("True True 60 {True}\n2\n", "")


async def test_an_error_in_the_relay_of_one_child_is_logged_and_takes_no_other_along(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As from a log handler: what a child writes to stderr is logged in a task of its berth."""

    def break_down(record: logging.LogRecord) -> bool:
        if record.getMessage() == "break down":
            raise ZeroDivisionError
        return True

    child_logger = logging.getLogger("trioproxy.child")
    child_logger.addFilter(break_down)
    try:
        with caplog.at_level(logging.INFO):
            async with run("sh", "-c", "while read -r line; do echo '{}'; echo break down >&2; done") as directory:
                one, two = await directory.open(), await directory.open()
                await one.submit([parse_line(b'{"jsonrpc":"2.0","method":"x"}')])
                await one.wait_ended()
                await until(lambda: directory.deaths.count == 1)
                assert directory.deaths.last == "the relay of the server failed: ZeroDivisionError"
                with pytest.raises(SessionNotFound):
                    directory.find(one.id)
                assert directory.find(two.id) is two
                await directory.open()
    finally:
        child_logger.removeFilter(break_down)
    assert "ZeroDivisionError" in caplog.text


# Spares


async def test_a_spare_becomes_the_next_session_and_another_takes_its_place() -> None:
    async with run() as directory:
        await until(lambda: directory.spares == 1)
        (spare,) = children()
        session = await directory.open()
        assert await pid_of(session) == spare
        await until(lambda: directory.spares == 1)
        assert len(children()) == 2


async def test_without_spares_the_child_that_proves_the_command_serves_the_first_session() -> None:
    async with run(spares=0) as directory:
        await until(lambda: directory.spares == 1)
        (first,) = children()
        assert await pid_of(await directory.open()) == first
        assert directory.spares == 0
        assert await pid_of(await directory.open()) != first
        assert len(children()) == 2


async def test_a_spare_that_dies_is_replaced_after_a_while_and_all_is_well_again() -> None:
    async with run() as directory:
        session = await directory.open()
        await pid_of(session)
        session.close(ENOUGH)
        await until(lambda: len(directory) == 0 and directory.spares == 1)
        assert directory.state == "ready"
        (spare,) = await wait_children(1)
        died_at = trio.current_time()
        os.kill(spare, signal.SIGKILL)
        await until(lambda: directory.state == "failing")
        assert (directory.spares, directory.deaths.count) == (0, 1)
        assert directory.deaths.last == "the server was killed by SIGKILL"
        await until(lambda: directory.spares == 1)
        assert trio.current_time() - died_at >= 0.5
        await until(lambda: directory.state == "ready")
        assert len(directory) == 0


async def wait_children(count: int) -> list[int]:
    await until(lambda: len(children()) == count)
    return children()


async def test_a_client_need_not_wait_until_a_dead_spare_is_replaced() -> None:
    async with run() as directory:
        session = await directory.open()
        await until(lambda: directory.spares == 1)
        (spare,) = set(children()) - {await pid_of(session)}
        os.kill(spare, signal.SIGKILL)
        await until(lambda: directory.spares == 0)
        with trio.fail_after(0.45):
            await pid_of(await directory.open())
        assert len(directory) == 2


async def test_a_spare_that_dies_takes_no_session_along_though_no_child_has_answered_yet(
    tmp_path: Path,
) -> None:
    """As where two servers of a kind can't live beside each other: the second one fails, and the first one works."""
    async with run("sh", "-c", "mkdir lock || exit 1; cat; rmdir lock", cwd=tmp_path) as directory:
        await until((tmp_path / "lock").exists)
        session = await directory.open()
        await until(lambda: directory.deaths.count >= 1)
        assert directory.deaths.last == "the server exited with status 1"
        assert not session.has_ended
        await session.submit([parse_line(b'{"jsonrpc":"2.0","method":"x"}')])
        with session.attach(session.log.standalone) as cursor:
            assert (await cursor.read())[1] == [b'{"jsonrpc":"2.0","method":"x"}']


async def test_a_command_that_is_gone_for_a_while_is_tried_again(tmp_path: Path) -> None:
    script, away, started = tmp_path / "server", tmp_path / "away", tmp_path / "server.started"
    script.write_text("#!/bin/sh\n: >$0.started\nexec cat\n")
    script.chmod(0o755)
    async with run(str(script)) as directory:
        await until(started.exists)
        os.rename(script, away)
        session = await directory.open()
        await until(lambda: directory.deaths.count >= 1)
        assert directory.deaths.last is not None
        assert "does not exist" in directory.deaths.last
        assert directory.state == "failing"
        with pytest.raises(CommandFailed, match="does not exist"):
            await directory.open()
        assert not session.has_ended
        os.rename(away, script)
        await until(lambda: directory.spares == 1)
        await until(lambda: directory.state == "ready")


# The first child


async def test_a_first_child_that_dies_fails_the_command_with_its_last_words() -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(CommandFailed), flatten_subgroups=True) as raised:
        async with run("sh", "-c", "echo no key >&2; echo giving up >&2; exit 3") as directory:
            await directory.proven.wait()
            raise AssertionError("it was proven")
    (error,) = leaves(raised.value)
    assert str(error) == (
        "the server exited with status 3 before it had answered anything; its last words:\n  no key\n  giving up"
    )
    assert error.data == {"exitStatus": 3, "stderr": ["no key", "giving up"], "restarts": 0}


async def test_a_first_child_that_dies_in_silence_fails_the_command_too() -> None:
    with pytest.RaisesGroup(
        pytest.RaisesExc(CommandFailed, match="its last words:\n  nothing on stderr"), flatten_subgroups=True
    ):
        async with run("true") as directory:
            await directory.proven.wait()
            raise AssertionError("it was proven")


async def test_a_proven_child_that_leaves_when_idle_is_replaced_and_fails_nothing() -> None:
    async with run("sh", "-c", "sleep 0.8") as directory:
        await directory.proven.wait()
        await until(lambda: directory.deaths.count == 1)
        assert directory.deaths.last == "the server exited with status 0"
        assert directory.state == "failing"
        await until(lambda: directory.state == "ready")


async def test_a_proven_child_that_leaves_with_an_error_fails_the_command() -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(CommandFailed, match="status 3"), flatten_subgroups=True):
        async with run("sh", "-c", "sleep 0.8; exit 3") as directory:
            await directory.proven.wait()
            await trio.sleep_forever()


async def test_without_spares_all_is_well_when_the_first_child_has_left() -> None:
    """Nobody waits for another one; whoever opens a session starts it."""
    async with run("sh", "-c", "sleep 0.8", spares=0) as directory:
        await directory.proven.wait()
        await until(lambda: directory.deaths.count == 1)
        assert (directory.spares, directory.state) == (0, "ready")
        await directory.open()


async def test_a_command_that_can_not_be_run_fails_at_once() -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(CommandFailed, match="command not found"), flatten_subgroups=True):
        async with run("no-such-command") as directory:
            await directory.proven.wait()
            raise AssertionError("it was proven")


async def test_a_command_is_proven_by_a_child_that_stays_alive_or_by_its_first_client() -> None:
    config = Config(ChildConfig(ECHO))
    async with open_directory(config) as directory:
        assert directory.state == "starting"
        await until(lambda: directory.spares == 1)
        assert not directory.proven.is_set()
        await directory.open()
        with trio.fail_after(0.3):
            await directory.proven.wait()
        assert directory.state == "ready"


def leaves(group: BaseExceptionGroup[Any]) -> list[Any]:
    return [leaf for e in group.exceptions for leaf in (leaves(e) if isinstance(e, BaseExceptionGroup) else [e])]


# The end


async def test_draining_lets_running_calls_finish_and_nobody_in() -> None:
    async with run() as directory:
        session = await directory.open()
        stream = await session.submit([parse_line(b'{"jsonrpc":"2.0","id":1,"method":"x"}')])
        assert stream is not None
        async with trio.open_nursery() as nursery:

            async def finish() -> None:
                await trio.sleep(0.1)
                assert directory.state == "draining"
                with pytest.raises(ShuttingDown) as raised:
                    await directory.open()
                assert dict(raised.value.headers)[b"retry-after"]
                # It echoes, so that this is an answer.
                await session.submit([parse_line(b'{"jsonrpc":"2.0","id":1,"result":"done"}')])

            nursery.start_soon(finish)
            with trio.fail_after(5):
                await directory.drain(60)
        assert json.loads(stream.read(1)[-1]) == {"jsonrpc": "2.0", "id": 1, "result": "done"}
        assert session.has_ended
        await until(lambda: len(directory) == 0)


async def test_a_call_that_does_not_finish_in_time_is_answered_all_the_same() -> None:
    async with run() as directory:
        session = await directory.open()
        stream = await session.submit([parse_line(b'{"jsonrpc":"2.0","id":1,"method":"x"}')])
        assert stream is not None
        start = trio.current_time()
        await directory.drain(0.1)
        assert trio.current_time() - start >= 0.1
        answer = json.loads(stream.read(1)[-1])
        assert answer["id"] == 1
        assert "shut down before the server had answered" in answer["error"]["message"]


async def test_draining_takes_no_time_where_nothing_is_running() -> None:
    async with run() as directory:
        session = await directory.open()
        with trio.fail_after(1):
            await directory.drain(60)
        assert session.has_ended


async def test_a_spare_is_not_replaced_once_the_end_has_begun() -> None:
    async with run() as directory:
        session = await directory.open()
        await pid_of(session)
        await until(lambda: directory.spares == 1)
        await directory.drain(0)
        (spare,) = await wait_children(1)
        os.kill(spare, signal.SIGKILL)
        await until(lambda: directory.spares == 0)
        await trio.sleep(0.6)
        assert children() == []


async def test_children_can_be_killed_without_ceremony() -> None:
    async with run("sh", "-c", "trap '' TERM; while :; do sleep 1000; done") as directory:
        session = await directory.open()
        stream = await session.submit([parse_line(b'{"jsonrpc":"2.0","id":1,"method":"x"}')])
        assert stream is not None
        directory.is_draining = True
        directory.kill_children()
        with trio.fail_after(1):
            await session.wait_ended()
        assert json.loads(stream.read(1)[-1])["error"]["data"]["signal"] == "SIGKILL"


async def test_a_session_whose_next_child_fails_in_an_unforeseen_way_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    dies = "import json, sys\nfor line in sys.stdin:\n    m = json.loads(line)\n    if m['method'] == 'die': sys.exit(3)\n"
    dies += "    if 'id' in m: print(json.dumps({'jsonrpc': '2.0', 'id': m['id'], 'result': {}}), flush=True)\n"
    async with open_directory(Config(child=ChildConfig((sys.executable, "-c", dies)))) as directory:
        await directory.proven.wait()
        session = await directory.open()
        await session.shake_hands("2025-11-25")

        def fail(*_: Any, **__: Any) -> Any:
            raise ZeroDivisionError

        monkeypatch.setattr(sources_module, "open_child", fail)
        await session.submit([parse_line(b'{"jsonrpc":"2.0","id":1,"method":"die"}')])
        with trio.fail_after(10):
            await session.wait_ended()
        with pytest.raises(SessionNotFound):
            directory.find(session.id)


async def test_a_session_whose_next_server_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """As often as one that keeps dying."""
    monkeypatch.setattr(deaths, "_FIRST_PAUSE", 0.001)
    first, made = MemoryTransport(), 0

    @asynccontextmanager
    async def create_server(request: AuthRequest | None, principal: Principal | None) -> AsyncIterator[MemoryTransport]:
        nonlocal made
        made += 1
        if made > 1:
            await trio.sleep_forever()
        yield first

    config = Config(create_server=create_server, times=TimeConfig(connection_timeout=0.05))
    async with open_directory(config) as directory, trio.open_nursery() as nursery:
        session = await directory.open()
        nursery.start_soon(session.shake_hands, "2025-11-25")
        first.say({"jsonrpc": "2.0", "id": (await first.hear())["id"], "result": {}})
        assert (await first.hear())["method"] == "notifications/initialized"
        first.end(ChildExited("it has ended"))
        await session.wait_ended()
        assert made == 1 + deaths.MAX_DEATHS
        assert directory.deaths.last == "the server was not there within 0.05 s, the limit of --connection-timeout"
