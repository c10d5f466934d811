"""A real process, its pipes, and each way in which it can end.

Deaf children are given a fraction of a second for each rung of the ladder, where users' children have STOP_RUNG.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from trioproxy.child import MAX_QUEUED, STOP_RUNG, Child, open_child
from trioproxy.config import ChildConfig, Config
from trioproxy.protocol.errors import ChildError, ChildExited, CommandFailed, Unavailable
from trioproxy.protocol.lines import OversizedLine
from trioproxy.protocol.messages import parse_line
from trioproxy.session import Session
from trioproxy.stderr import Allowance

from .proxies import is_alive, python

RUNG = 0.25
CAT = ("cat",)
DEAF = "import time\nprint('ready', flush=True)\nwhile True: time.sleep(100)"
DEFIANT = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + DEAF


class Stderr:
    """What a child has written to its stderr."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._changed = trio.lowlevel.ParkingLot()

    def __call__(self, line: str) -> None:
        self.lines.append(line)
        self._changed.unpark_all()

    async def wait_change(self) -> None:
        await self._changed.park()

    async def wait_line(self, line: str) -> None:
        while line not in self.lines:
            await self.wait_change()


@asynccontextmanager
async def run(*argv: str, stderr: Stderr | None = None, rung: float = RUNG, **config: Any) -> AsyncIterator[Child]:
    """Run a command whose stop takes no longer than it must."""
    async with open_child(ChildConfig(argv, **config), on_stderr=stderr or Stderr(), stop_rung=rung) as child:
        yield child


async def receive(child: Child, count: int) -> list[bytes | OversizedLine]:
    """Return the next `count` lines."""
    lines: list[bytes | OversizedLine] = []
    while len(lines) < count:
        lines += await child.receive()
    assert len(lines) == count
    return lines


async def receive_rest(child: Child) -> tuple[list[bytes | OversizedLine], ChildError]:
    """Return all that the child still says, and how it ended."""
    lines: list[bytes | OversizedLine] = []
    while True:
        try:
            lines += await child.receive()
        except ChildError as error:
            failure = error
            break
    assert child.failure is failure
    return lines, failure


async def wait_gone(pid: int) -> None:
    """Return once there is no such process."""
    with trio.fail_after(10):
        while is_alive(pid):  # noqa: ASYNC110  nobody tells us
            await trio.sleep(0.01)


# What passes


async def test_messages_go_to_stdin_and_come_from_stdout_a_line_each() -> None:
    """Transports §stdio."""
    async with run(*CAT) as child:
        child.send_nowait(b'{"a":1}')
        child.send_nowait(b'{"b":2}')
        assert await receive(child, 2) == [b'{"a":1}', b'{"b":2}']
        assert child.has_spoken
        child.send_nowait(b'{"c":3}')
        assert await receive(child, 1) == [b'{"c":3}']
        assert child.failure is None
    assert not is_alive(child.pid)


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, MAX_QUEUED - 1, MAX_QUEUED, MAX_QUEUED + 1, 3 * MAX_QUEUED])
async def test_a_large_message_is_a_line_wherever_the_pipe_is_full(size: int) -> None:
    async with run(*CAT) as child:
        child.send_nowait(b"x" * size)
        assert await receive(child, 1) == [b"x" * size]
        child.send_nowait(b"next")
        assert await receive(child, 1) == [b"next"]
        assert child.queued == 0


async def test_nothing_is_queued_for_a_child_that_has_ended_though_its_grandchild_reads_on(tmp_path: Path) -> None:
    go_on, has_read = tmp_path / "go on", tmp_path / "has read"
    for fifo in (go_on, has_read):
        os.mkfifo(fifo)
    reads = f"[os.read(0, 65536) for _ in range(8)]; open({str(has_read)!r}, 'w').close(); time.sleep(100)"
    grandchild = f"import os, time; open({str(go_on)!r}).read(); {reads}"
    async with run(*python(f"import subprocess, sys; subprocess.Popen([sys.executable, '-Sc', {grandchild!r}])")) as child:
        child.send_nowait(b"x" * 3 * MAX_QUEUED)
        await child.wait_exited()
        await trio.to_thread.run_sync(go_on.write_bytes, b"")
        await trio.to_thread.run_sync(has_read.read_bytes)
        await trio.testing.wait_all_tasks_blocked()
        assert child.queued == 0


async def test_messages_of_any_size_stay_whole_and_in_order() -> None:
    async with run(*CAT) as child:
        messages = [b"%d:" % n + b"x" * (n * 7919 % 150_000 if n % 3 else n) for n in range(120)]
        messages[60] = b"60:" + b"x" * 5_000_000

        async def send() -> None:
            for message in messages:
                child.send_nowait(message)
                await child.wait_writable()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            assert await receive(child, len(messages)) == messages


async def test_a_receive_that_is_cancelled_loses_nothing() -> None:
    async with run(*CAT) as child:
        for n in range(50):
            with trio.move_on_after(n / 50_000):
                await child.receive()
                raise AssertionError("nothing was said")
            child.send_nowait(b"%d" % n)
            assert await receive(child, 1) == [b"%d" % n]


async def test_lines_are_passed_on_as_they_are_blank_ones_left_out() -> None:
    async with run("printf", r'Starting...\r\n\n  \n{"a":1}\r\n\342\200\250\377\n') as child:
        lines, _ = await receive_rest(child)
    assert lines == [b"Starting...\r", b'{"a":1}\r', b"\xe2\x80\xa8\xff"]


async def test_a_child_that_says_much_at_once_is_heard_in_larger_pieces() -> None:
    """In 128 KiB, once a whole pipe of the usual 64 was full: one piece has more lines than such a pipe could hold."""
    program = "import os, sys\nsys.stdin.readline()\nfor _ in range(8): os.write(1, b'x' * 63 * 1024 + b'\\n' * 1024)\n"
    async with run(*python(f"{program}line = b'%d\\n'\nos.write(1, b''.join(line % n for n in range(200_000)))")) as child:
        child.send_nowait(b"go")
        assert await receive(child, 8) == [b"x" * 63 * 1024] * 8
        lines: list[bytes | OversizedLine] = []
        most = 0
        while len(lines) < 200_000:
            piece = await child.receive()
            most = max(most, sum(map(len, piece)) + len(piece))
            lines += piece
        assert lines == [b"%d" % n for n in range(200_000)]
        assert 65 * 1024 < most <= 129 * 1024 or sys.platform != "linux"


@pytest.mark.skipif(sys.platform != "linux", reason="pipes have a size of their own there")
@pytest.mark.parametrize("size", [30, 143, 5000])
async def test_the_pipe_of_a_child_that_has_filled_it_is_widened_however_small_its_writes(size: int) -> None:
    """Each page of a pipe takes whole writes: it is full before it holds what its size is."""
    program = f"""
import fcntl, os, sys
line = b"x" * {size - 1} + b"\\n"
os.set_blocking(1, False)
written = 0
try:
    while True:
        written += os.write(1, line)
except BlockingIOError:
    print("full", file=sys.stderr, flush=True)
os.set_blocking(1, True)
sys.stdin.readline()
os.write(1, line[written % {size}:] + b"%d\\n" % fcntl.fcntl(1, fcntl.F_GETPIPE_SZ))
sys.stdin.read()
"""
    stderr = Stderr()
    async with run(*python(program), stderr=stderr) as child:
        await stderr.wait_line("full")
        lines = await child.receive()
        assert set(lines) == {b"x" * (size - 1)}
        child.send_nowait(b"")
        while (lines := await child.receive())[-1] == b"x" * (size - 1):
            pass
        assert lines[-1] == b"%d" % (128 * 1024)


@pytest.mark.skipif(sys.platform != "linux", reason="pipes have a size of their own there")
async def test_a_pipe_that_a_child_has_widened_further_is_left_as_it_is() -> None:
    program = """
import fcntl, os, sys
fcntl.fcntl(1, fcntl.F_SETPIPE_SZ, 512 * 1024)
os.write(1, b"x" * 400 * 1024 + b"\\n")
sys.stdin.readline()
os.write(1, b"%d\\n" % fcntl.fcntl(1, fcntl.F_GETPIPE_SZ))
sys.stdin.read()
"""
    async with run(*python(program)) as child:
        (line,) = await receive(child, 1)
        assert line == b"x" * 400 * 1024
        child.send_nowait(b"")
        assert await receive(child, 1) == [b"%d" % (512 * 1024)]


async def test_half_a_line_at_the_end_is_no_message() -> None:
    async with run("printf", r'{"a":1}\n{"b":') as child:
        lines, error = await receive_rest(child)
    assert lines == [b'{"a":1}']
    assert str(error) == "the server exited with status 0"


async def test_a_line_over_the_limit_is_lost_and_the_next_one_is_whole() -> None:
    program = "print('a' * 1000); print('b' * 300_000); print('c' * 1000)"
    async with run(*python(program), max_message_size=1000) as child:
        lines, _ = await receive_rest(child)
    assert lines == [b"a" * 1000, OversizedLine(b"b" * 4096, b"b" * 4096, 300_000), b"c" * 1000]


async def test_stderr_is_told_line_by_line() -> None:
    program = "import sys\nfor n in range(100): print(n, 'x' * 1000, file=sys.stderr)\nprint('done')"
    stderr = Stderr()
    async with run(sys.executable, "-S", "-c", program, stderr=stderr) as child:
        assert (await receive_rest(child))[0] == [b"done"]
    assert stderr.lines == [f"{n} {'x' * 1000}" for n in range(100)]
    assert list(child.last_words) == stderr.lines[-20:]


async def test_a_flood_on_stderr_never_blocks_the_child_and_is_told_in_part_and_counted() -> None:
    program = "import sys\nfor n in range(200_000): print(n, file=sys.stderr)\nprint('done')"
    stderr = Stderr()
    start = trio.current_time()
    async with run(sys.executable, "-S", "-c", program, stderr=stderr) as child:
        assert (await receive_rest(child))[0] == [b"done"]
    told = [line for line in stderr.lines if "dropped" not in line]
    dropped = [int(line.removesuffix(" lines dropped")) for line in stderr.lines if "dropped" in line]
    assert told[:100] == [str(n) for n in range(100)]
    assert len(told) <= 100 + 50 * (trio.current_time() - start)
    assert len(told) + sum(dropped) == 200_000
    assert "dropped" in stderr.lines[-1]
    assert list(child.last_words) == [str(n) for n in range(199_980, 200_000)]


async def test_what_was_dropped_is_told_a_second_later_though_the_child_says_no_more() -> None:
    program = "import sys, time\nfor n in range(1000): print(n, file=sys.stderr)\ntime.sleep(1000)"
    stderr = Stderr()
    async with run(sys.executable, "-S", "-c", program, stderr=stderr):
        with trio.fail_after(5):
            while not any("dropped" in line for line in stderr.lines):
                await stderr.wait_change()
    assert sum(int(line.split()[0]) for line in stderr.lines if "dropped" in line) >= 1000 - 100 - 50


def test_an_allowance_is_used_up_at_once_and_comes_back_with_time() -> None:
    allowance = Allowance(100, 50)
    assert allowance.take(60, 1000) == 60
    assert allowance.take(60, 1000) == 40
    assert allowance.take(60, 1000) == 0
    assert allowance.take(60, 1000.5) == 25
    assert allowance.take(1000, 2000) == 100


async def test_stderr_may_be_anything_at_all() -> None:
    stderr = Stderr()
    async with run(
        *python(r"import os; os.write(2, b'\xff\n\r\n' + b'x' * 100_000 + b'\nno newline')"), stderr=stderr
    ) as child:
        await receive_rest(child)
    assert stderr.lines[0] == "\ufffd"
    assert stderr.lines[1] == "x" * 4096 + "..."
    assert stderr.lines[2:] == ["no newline"]


# A child that doesn't read


async def test_senders_wait_for_a_child_that_does_not_read_and_go_on_when_it_does() -> None:
    program = "import signal, sys\nsignal.sigwait({signal.SIGUSR1})\nfor line in sys.stdin: print(len(line), flush=True)"
    blocked = "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})\nprint('ready')\n"
    async with run(*python(blocked + program)) as child:
        assert await receive(child, 1) == [b"ready"]
        assert not child.is_congested
        await child.wait_writable()
        for _ in range(5):
            child.send_nowait(b"x" * (MAX_QUEUED // 4))
        assert child.is_congested
        with trio.move_on_after(0.05) as impatient:
            await child.wait_writable()
        assert impatient.cancelled_caught
        os.kill(child.pid, signal.SIGUSR1)
        await child.wait_writable()
        assert not child.is_congested
        assert await receive(child, 5) == [b"%d" % (MAX_QUEUED // 4 + 1)] * 5


async def test_senders_that_wait_for_a_child_hear_of_its_end() -> None:
    async with run(*python(DEAF)) as child:
        assert await receive(child, 1) == [b"ready"]
        child.send_nowait(b"x" * (2 * MAX_QUEUED))
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                with pytest.raises(ChildExited, match="killed by SIGKILL"):
                    await child.wait_writable()

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            child.kill()
        assert not child.is_congested
        child.send_nowait(b"x" * (2 * MAX_QUEUED))
        assert not child.is_congested


@pytest.mark.parametrize("size", [10, 100_000], ids=["written at once", "queued"])
async def test_a_child_that_closes_its_stdin_without_exiting_has_ended(size: int) -> None:
    """Nothing that is sent to it could be answered, and who has sent it need not wait for that."""
    async with run("sh", "-c", "exec 0<&-; echo closed; echo why >&2; sleep 1000") as child:
        assert await receive(child, 1) == [b"closed"]
        for _ in range(3):
            child.send_nowait(b"x" * size)
        with trio.fail_after(2):
            lines, error = await receive_rest(child)
        assert lines == []
        assert str(error) == "the server closed its stdin without exiting"
        assert error.data == {"stderr": ["why"], "restarts": 0}
        child.send_nowait(b"anybody there?")
        with pytest.raises(ChildExited, match="closed its stdin"):
            await child.wait_writable()


async def test_a_child_that_closes_its_stdin_and_exits_leaves_its_status() -> None:
    async with run("sh", "-c", "exec 0<&-; echo closed; sleep 0.2; echo bye; exit 3") as child:
        assert await receive(child, 1) == [b"closed"]
        child.send_nowait(b"anybody there?")
        lines, error = await receive_rest(child)
        assert lines == [b"bye"]
        assert str(error) == "the server exited with status 3"


# Its end


async def test_a_child_that_exits_leaves_its_status_and_its_last_words() -> None:
    async with run("sh", "-c", "echo hello; echo first >&2; echo second >&2; exit 3") as child:
        lines, error = await receive_rest(child)
        assert lines == [b"hello"]
        assert str(error) == "the server exited with status 3"
        assert error.data == {"exitStatus": 3, "stderr": ["first", "second"], "restarts": 0}
        await child.wait_exited()


async def test_a_child_that_is_killed_leaves_the_name_of_the_signal() -> None:
    async with run(*CAT) as child:
        os.kill(child.pid, signal.SIGSEGV)
        _, error = await receive_rest(child)
        assert str(error) == "the server was killed by SIGSEGV"
        assert error.data == {"signal": "SIGSEGV", "stderr": [], "restarts": 0}


async def test_a_call_in_flight_when_its_child_is_killed_is_answered_with_what_happened() -> None:
    stderr = Stderr()
    async with run(*python("import sys\nfor line in sys.stdin: print('thinking', file=sys.stderr)"), stderr=stderr) as child:
        session = Session(child, Config(ChildConfig(CAT)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.run)
            stream = await session.submit([parse_line(b'{"jsonrpc":"2.0","id":7,"method":"think"}')])
            assert stream is not None
            with session.attach(stream) as cursor:
                await stderr.wait_line("thinking")
                os.kill(child.pid, signal.SIGKILL)
                _, (answer,) = await cursor.read()
        error = json.loads(answer)["error"]
        assert json.loads(answer)["id"] == 7
        assert error["message"] == "the server was killed by SIGKILL"
        assert error["data"] == {"signal": "SIGKILL", "stderr": ["thinking"], "restarts": 0}
        assert session.has_ended


async def test_all_that_a_child_has_said_is_received_before_its_end_is_told() -> None:
    """Even by one who was held up, and even if something else keeps the pipe open."""
    async with run("sh", "-c", "sleep 1000 & printf 'a\\nb\\n'; head -c 50000 /dev/zero | tr '\\0' x; echo") as child:
        await child.wait_exited()
        await trio.sleep(0.8)
        lines, error = await receive_rest(child)
        assert lines == [b"a", b"b", b"x" * 50_000]
        assert str(error) == "the server exited with status 0"


async def test_a_child_that_closes_its_stdout_without_exiting_has_ended() -> None:
    async with run("sh", "-c", "echo bye; echo why >&2; exec 1>&-; sleep 1000") as child:
        lines, error = await receive_rest(child)
        assert lines == [b"bye"]
        assert str(error) == "the server closed its stdout without exiting"
        assert error.data == {"stderr": ["why"], "restarts": 0}
        child.send_nowait(b"anybody there?")


async def test_a_wrapper_that_dies_has_ended_though_its_grandchild_holds_the_pipes() -> None:
    async with run("sh", "-c", "sleep 1000 & echo $!; exec sleep 1000") as child:
        (grandchild,) = await receive(child, 1)
        assert isinstance(grandchild, bytes)
        os.kill(child.pid, signal.SIGKILL)
        with trio.fail_after(3):
            assert await receive_rest(child) == ([], child.failure)
        assert is_alive(int(grandchild))
    await wait_gone(int(grandchild))


@pytest.mark.parametrize("wait", [0, 0.7])
async def test_the_block_may_outlast_its_child(wait: float) -> None:
    async with run("true") as child:
        await child.wait_exited()
        await trio.sleep(wait)
        child.send_nowait(b"nobody hears this")
        for _ in range(2):
            with pytest.raises(ChildExited, match="status 0"):
                await child.receive()
            with pytest.raises(ChildExited, match="status 0"):
                await child.wait_writable()


# The stop


async def test_a_well_behaved_child_sees_the_end_of_its_stdin_and_is_not_signalled() -> None:
    """Lifecycle §Shutdown, stdio: "First, closing the input stream to the child process"."""
    program = "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: print('signalled', file=sys.stderr))\n"
    stderr = Stderr()
    program += "print('ready')\nsys.stdin.read()\nprint('bye', file=sys.stderr)"
    async with run(*python(program), stderr=stderr, rung=10) as child:
        await receive(child, 1)
    assert stderr.lines == ["bye"]
    assert isinstance(child.failure, ChildExited)


async def test_a_child_deaf_to_the_end_of_its_stdin_gets_a_sigterm() -> None:
    """Lifecycle §Shutdown, stdio: "sending SIGTERM if the server does not exit within a reasonable time"."""
    program = "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit('told to go'))\n"
    stderr = Stderr()
    async with run(*python(program + DEAF), stderr=stderr, rung=0.5) as child:
        await receive(child, 1)
        start = trio.current_time()
    assert trio.current_time() - start >= 0.5
    assert stderr.lines == ["told to go"]


async def test_a_child_deaf_to_sigterm_too_is_killed() -> None:
    """Lifecycle §Shutdown, stdio: "sending SIGKILL if the server does not exit … after SIGTERM"."""
    async with run(*python(DEFIANT)) as child:
        await receive(child, 1)
        start = trio.current_time()
    assert trio.current_time() - start >= 2 * RUNG
    assert not is_alive(child.pid)


def test_a_child_has_two_seconds_for_each_rung() -> None:
    assert STOP_RUNG == 2


@pytest.mark.parametrize("wrapper", ["{} & echo $!; cat >/dev/null", "{} & echo $!; exec 1>&- 2>&-; wait", "{} & echo $!"])
async def test_the_family_of_a_child_ends_with_it(wrapper: str) -> None:
    async with run("sh", "-c", wrapper.format("sleep 1000")) as child:
        (grandchild,) = await receive(child, 1)
        assert isinstance(grandchild, bytes)
        assert is_alive(int(grandchild))
    await wait_gone(int(grandchild))


async def test_a_child_with_much_to_say_at_its_end_can_say_it() -> None:
    """A child that is blocked on a full pipe would never get to its end."""
    program = (
        "import sys\nprint('ready')\nsys.stdin.read()\n"
        "sys.stdout.write('x' * 5_000_000)\nsys.stderr.write('x\\n' * 100_000)\nprint('said it all', file=sys.stderr)"
    )
    stderr = Stderr()
    async with run(*python(program), stderr=stderr, rung=10) as child:
        await receive(child, 1)
    assert child.last_words[-1] == "said it all"


async def test_kill_ends_the_whole_family_at_once() -> None:
    async with run("sh", "-c", "trap '' TERM; (trap '' TERM; sleep 1000) & echo $!; sleep 1000") as child:
        (grandchild,) = await receive(child, 1)
        assert isinstance(grandchild, bytes)
        child.kill()
        await child.wait_exited()
        assert child.failure is not None
        assert child.failure.data is not None
        assert child.failure.data["signal"] == "SIGKILL"
        await wait_gone(int(grandchild))


@pytest.mark.parametrize("delay", [0, 0.0005, 0.002, 0.01, 0.03, 0.06])
@pytest.mark.parametrize("program", ["", DEAF], ids=["short", "deaf"])
async def test_a_cancellation_at_any_time_leaves_no_process(delay: float, program: str) -> None:
    pids: list[int] = []
    with trio.move_on_after(delay):
        async with open_child(ChildConfig(python(program)), on_stderr=Stderr(), stop_rung=0.05) as child:
            pids.append(child.pid)
            child.send_nowait(b"x" * 2 * MAX_QUEUED)
            try:
                while True:
                    await child.receive()
            except ChildError:
                await trio.sleep_forever()
    assert not any(map(is_alive, pids))


async def test_a_cancellation_during_the_stop_does_not_cut_it_short() -> None:
    with trio.CancelScope() as scope:
        async with run(*python(DEFIANT)) as child, trio.open_nursery() as nursery:
            await receive(child, 1)
            scope.cancel()
            nursery.start_soon(trio.sleep_forever)
    assert not is_alive(child.pid)


async def test_an_error_in_the_block_comes_out_of_it_when_the_child_has_ended() -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(ZeroDivisionError)):
        async with run(*CAT) as child:
            raise ZeroDivisionError
    assert not is_alive(child.pid)


async def test_after_the_block_a_child_takes_nothing_and_says_why() -> None:
    async with run(*CAT) as child:
        pass
    reader, writer = os.pipe()  # the numbers of the child's pipes belong to others now
    try:
        for _ in range(3):
            child.send_nowait(b"lost")
        child.kill()
        with pytest.raises(ChildExited, match="the server was stopped"):
            await child.receive()
        with pytest.raises(ChildExited, match="the server was stopped"):
            await child.wait_writable()
    finally:
        os.close(writer)
        assert os.read(reader, 100) == b""
        os.close(reader)


# How it is started


async def test_a_command_line_for_the_shell_is_run_by_the_shell() -> None:
    async with run("echo one | sed s/one/two/; echo $0", shell=True) as child:
        lines, _ = await receive_rest(child)
    assert lines == [b"two", b"/bin/sh"]


async def test_a_command_is_run_where_it_is_told(tmp_path: Path) -> None:
    script = tmp_path / "here.sh"
    script.write_text("#!/bin/sh\npwd -P\n")
    script.chmod(0o755)
    async with run("./here.sh", cwd=tmp_path) as child:
        lines, _ = await receive_rest(child)
    assert lines == [bytes(tmp_path)]


HELPER = """
import sys, trio
from pathlib import Path
from trioproxy.child import open_child
from trioproxy.config import ChildConfig

async def main():
    environment = {"ADDED": "1", "HOME": "/nowhere"}
    config = ChildConfig(tuple(sys.argv[2:]), pass_environment=sys.argv[1] != "bare", environment=environment)
    async with open_child(config, on_stderr=print) as child:
        print(child.pid, flush=True)
        try:
            while True:
                for line in await child.receive():
                    print(line.decode(), flush=True)
        except Exception:
            pass

trio.run(main)
"""


@pytest.mark.parametrize("inherits", ["all", "bare"])
def test_a_child_inherits_what_it_may_and_never_what_is_ours(inherits: str) -> None:
    """The environment of a proxy may hold the keys to it."""
    ours = {"PATH": os.environ["PATH"], "HOME": "/home/x", "TERM": "vt100", "OTHER": "2"}
    secret = {"MCP_PROXY_API_KEY": "secret", "MCP_PROXY_PORT": "1"}
    result = subprocess.run(
        [sys.executable, "-c", HELPER, inherits, "env"],
        env={**ours, **secret, "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    environment = dict(line.partition("=")[::2] for line in result.stdout.splitlines()[1:])
    environment = {name: value for name, value in environment.items() if name not in ("PYTHONPATH", "LC_CTYPE", "PWD", "_")}
    expected = {"PATH": ours["PATH"], "HOME": "/nowhere", "TERM": "vt100", "ADDED": "1"}
    assert environment == {**expected, **({"OTHER": "2"} if inherits == "all" else {})}


async def test_a_variable_of_ours_that_is_meant_for_the_child_reaches_it() -> None:
    async with run("sh", "-c", "echo $MCP_PROXY_USER_ID", environment={"MCP_PROXY_USER_ID": "u1"}) as child:
        lines, _ = await receive_rest(child)
    assert lines == [b"u1"]


@pytest.mark.skipif(sys.platform != "linux", reason="prctl(PR_SET_PDEATHSIG) is Linux's")
def test_a_child_deaf_to_the_end_of_its_stdin_ends_with_a_parent_that_is_killed() -> None:
    helper = subprocess.Popen(
        [sys.executable, "-c", HELPER, "all", *python(DEAF)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    try:
        assert helper.stdout is not None
        pid = int(helper.stdout.readline())
        assert helper.stdout.readline() == b"ready\n"
        assert is_alive(pid)
    finally:
        helper.kill()
        helper.communicate()
    trio.run(wait_gone, pid)


@pytest.mark.parametrize(
    ("command", "options", "words"),
    [
        (("no-such-command",), {}, "command not found: 'no-such-command' is nowhere in PATH"),
        (("node server.js",), {}, "quote the arguments separately, or use --shell"),
        (("./no/such/file",), {}, "command not found: './no/such/file' does not exist"),
        (("/etc/passwd",), {}, "command not executable: '/etc/passwd'"),
        (("/etc",), {}, "command not executable: '/etc'"),
        (CAT, {"cwd": Path("/no/such/directory")}, "the working directory '/no/such/directory' does not exist"),
        (CAT, {"cwd": Path("/etc/passwd")}, "the working directory '/etc/passwd' is no directory"),
        (CAT, {"environment": {"PATH": "/nowhere"}}, "command not found: 'cat' is nowhere in PATH"),
        (("cat", "x" * 3_000_000), {}, "can't start 'cat': Argument list too long"),
        (("true", "x" * 3_000_000), {"shell": True}, "can't start '/bin/sh': Argument list too long"),
    ],
)
async def test_a_command_that_can_not_be_run_is_explained(
    command: tuple[str, ...], options: dict[str, Any], words: str
) -> None:
    with pytest.raises(CommandFailed) as raised:
        async with run(*command, **options):
            raise AssertionError("it was started")
    assert words in str(raised.value)


async def test_a_program_without_an_interpreter_is_explained_by_its_last_words(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    try:
        async with run(str(script)) as child:
            _, error = await receive_rest(child)
            words = f"{error}: {child.last_words}"
    except CommandFailed as error:
        words = str(error)
    assert "No such file or directory" in words
    assert str(script) in words


async def test_a_session_over_a_child_ends_with_its_block() -> None:
    async with run(*CAT) as child:
        session = Session(child, Config(ChildConfig(CAT)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.run)
            await trio.testing.wait_all_tasks_blocked()
            session.close(Unavailable("enough"))
    await session.wait_ended()
