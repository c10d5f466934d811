"""Our own stdin and stdout as a transport, over real pipes, sockets, files and terminals, and in a process of its own."""

from __future__ import annotations

import os
import pty
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trio

from trioproxy.protocol.errors import ChildExited
from trioproxy.protocol.lines import OversizedLine
from trioproxy.stdio import MAX_QUEUED, open_stdio


class Ends:
    """What a host holds in its hands: it writes our stdin, and reads our stdout."""

    def __init__(self, stdin: tuple[int, int], stdout: tuple[int, int]) -> None:
        self.ours_in, self.write_end = stdin
        self.read_end, self.ours_out = stdout
        self._open = {*stdin, *stdout}

    def say(self, data: bytes) -> None:
        assert os.write(self.write_end, data) == len(data)

    async def hear(self, size: int) -> bytes:
        """Return the next `size` bytes of our stdout."""
        heard = b""
        while len(heard) < size:
            await trio.lowlevel.wait_readable(self.read_end)
            data = os.read(self.read_end, size - len(heard))
            assert data
            heard += data
        return heard

    def close(self, descriptor: int) -> None:
        if descriptor in self._open:
            self._open.remove(descriptor)
            os.close(descriptor)

    def close_all(self) -> None:
        for descriptor in list(self._open):
            self.close(descriptor)


def pipes() -> Ends:
    return Ends(os.pipe(), os.pipe())


def sockets() -> Ends:
    """As Node starts a child: two socket pairs."""
    (a, b), (c, d) = socket.socketpair(), socket.socketpair()
    return Ends((a.detach(), b.detach()), (c.detach(), d.detach()))


@pytest.fixture(params=[pipes, sockets], ids=["pipes", "sockets"])
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    made: Ends = request.param()
    yield made
    made.close_all()


def opened(ends: Ends, **more: Any) -> Any:
    return open_stdio(stdin=ends.ours_in, stdout=ends.ours_out, **more)


async def test_messages_cross_both_ways(ends: Ends) -> None:
    async with opened(ends) as host:
        ends.say(b'{"a":1}\n\r\n{"b":2}\n')
        assert await host.receive() == [b'{"a":1}', b'{"b":2}']
        host.send_nowait(b'{"c":3}')
        host.send_nowait(b'{"d":4}')
        assert await ends.hear(16) == b'{"c":3}\n{"d":4}\n'
        assert host.failure is None


async def test_a_receive_that_is_cancelled_loses_nothing(ends: Ends) -> None:
    async with opened(ends) as host:
        ends.say(b'{"a"')
        with trio.move_on_after(0.01):
            await host.receive()
        ends.say(b":1}\n")
        assert await host.receive() == [b'{"a":1}']


async def test_the_end_of_stdin_is_the_end_of_the_host_after_all_that_it_said(ends: Ends) -> None:
    async with opened(ends) as host:
        ends.say(b'{"a":1}\n{"half')
        ends.close(ends.write_end)
        assert await host.receive() == [b'{"a":1}']
        for _ in range(2):
            with pytest.raises(ChildExited, match="has closed our stdin") as raised:
                await host.receive()
            assert raised.value is host.failure


async def test_a_host_that_has_closed_our_stdin_still_reads_its_answers(ends: Ends) -> None:
    async with opened(ends) as host:
        ends.close(ends.write_end)
        with pytest.raises(ChildExited):
            await host.receive()
        await host.wait_writable()
        host.send_nowait(b'{"answer":1}')
    assert os.read(ends.read_end, 100) == b'{"answer":1}\n'


async def test_a_host_that_reads_no_more_has_ended(ends: Ends) -> None:
    async with opened(ends) as host, trio.open_nursery() as nursery:

        async def listen() -> None:
            with pytest.raises(ChildExited, match="our stdout can't be written"):
                await host.receive()

        nursery.start_soon(listen)
        ends.close(ends.read_end)
        host.send_nowait(b'{"a":1}')
        while host.failure is None:  # noqa: ASYNC110  the kernel tells, and nobody else
            await trio.sleep(0.001)
        host.send_nowait(b'{"b":2}')
        assert not host.is_congested
        with pytest.raises(ChildExited):
            await host.wait_writable()


async def test_a_host_that_does_not_read_makes_senders_wait_and_gets_every_line_whole(ends: Ends) -> None:
    message = b'{"x":"' + b"x" * 300_000 + b'"}'
    async with opened(ends) as host:
        for _ in range(5):
            host.send_nowait(message)
        assert host.is_congested
        with trio.move_on_after(0.05) as impatient:
            await host.wait_writable()
        assert impatient.cancelled_caught
        async with trio.open_nursery() as nursery:
            nursery.start_soon(host.wait_writable)
            assert await ends.hear(5 * (len(message) + 1)) == 5 * (message + b"\n")
        assert not host.is_congested


async def test_a_line_that_was_begun_is_finished_when_the_block_ends(ends: Ends) -> None:
    """Cancelled in the middle of a large line: what follows it must not be glued to half of it."""
    message = b'{"x":"' + b"x" * 600_000 + b'"}'
    async with trio.open_nursery() as nursery:
        heard: list[bytes] = []

        async def hear() -> None:
            heard.append(await ends.hear(len(message) + 9))

        with trio.CancelScope() as scope:
            async with opened(ends) as host:
                host.send_nowait(message)
                await trio.sleep(0.01)
                host.send_nowait(b'{"b":2}\n'[:-1])
                nursery.start_soon(hear)
                scope.cancel()
                await trio.lowlevel.checkpoint()
    assert heard == [message + b'\n{"b":2}\n']


async def test_a_host_that_never_reads_does_not_keep_us(ends: Ends) -> None:
    with trio.fail_after(5):
        async with opened(ends) as host:
            for _ in range(20):
                host.send_nowait(b"x" * MAX_QUEUED)
            await trio.sleep(0.01)


async def test_a_line_over_the_limit_is_lost_and_the_next_is_whole(ends: Ends) -> None:
    async with opened(ends, max_message_size=10) as host:
        ends.say(b'{"a":"0123456789"}\n{"b":2}\n')
        assert await host.receive() == [OversizedLine(b'{"a":"0123456789"}', b'{"a":"0123456789"}', 18), b'{"b":2}']


async def test_descriptors_are_as_they_were_when_the_block_has_ended(ends: Ends) -> None:
    os.set_blocking(ends.ours_out, False)
    before = [os.fstat(fd).st_ino for fd in (ends.ours_in, ends.ours_out)]
    async with opened(ends):
        assert [os.fstat(fd).st_ino for fd in (ends.ours_in, ends.ours_out)] != before
    assert [os.fstat(fd).st_ino for fd in (ends.ours_in, ends.ours_out)] == before
    assert (os.get_blocking(ends.ours_in), os.get_blocking(ends.ours_out)) == (True, False)


async def test_what_others_write_to_the_descriptors_meanwhile_is_no_message_and_they_read_nothing(
    ends: Ends, capfd: pytest.CaptureFixture[str]
) -> None:
    async with opened(ends) as host:
        os.write(ends.ours_out, b"stray\n")
        ends.say(b'{"a":1}\n')
        assert os.read(ends.ours_in, 100) == b""
        assert await host.receive() == [b'{"a":1}']
        host.send_nowait(b'{"b":2}')
        assert await ends.hear(8) == b'{"b":2}\n'
    assert capfd.readouterr().err == "stray\n"


async def test_files_will_do(tmp_path: Path) -> None:
    """They are always ready, and no selector watches them."""
    (tmp_path / "in").write_bytes(b'{"a":1}\n')
    with ExitStack() as stack:
        source = stack.enter_context((tmp_path / "in").open("rb")).fileno()
        sink = stack.enter_context((tmp_path / "out").open("wb")).fileno()
        async with open_stdio(stdin=source, stdout=sink) as host:
            assert await host.receive() == [b'{"a":1}']
            host.send_nowait(b'{"b":2}')
            with pytest.raises(ChildExited):
                await host.receive()
    assert (tmp_path / "out").read_bytes() == b'{"b":2}\n'


async def test_a_terminal_will_do_which_is_both_at_once() -> None:
    leader, terminal = pty.openpty()
    try:
        async with open_stdio(stdin=terminal, stdout=terminal) as host:
            os.write(leader, b'{"a":1}\n')
            assert await host.receive() == [b'{"a":1}']
        assert os.get_blocking(terminal)
    finally:
        os.close(leader)
        os.close(terminal)


PROGRAM = """
import trio
from trioproxy.stdio import open_stdio
async def main():
    async with open_stdio() as host:
        print("printed meanwhile")
        for line in await host.receive():
            host.send_nowait(line)
        import subprocess
        subprocess.run(["echo", "from a child"])
trio.run(main)
"""


def test_a_process_says_nothing_but_messages_on_its_stdout() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], input=b'{"a":1}\n', capture_output=True, timeout=30, check=True)
    assert done.stdout == b'{"a":1}\n'
    assert sorted(done.stderr.splitlines()) == [b"from a child", b"printed meanwhile"]
