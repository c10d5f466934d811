"""A process group: watched, signalled, and gone."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
import trio
import trio.testing

from trioproxy.process_group import ProcessGroup, describe_exit, signal_name


@contextmanager
def start(program: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a shell program as the leader of a group, and kill what is left of it."""
    with subprocess.Popen(["sh", "-c", program], start_new_session=True, stdout=subprocess.PIPE) as leader:
        try:
            yield leader
        finally:
            if leader.poll() is None:
                os.killpg(leader.pid, signal.SIGKILL)


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Let no file be opened."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    next_free = os.dup(0)
    os.close(next_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next_free, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def open_descriptors() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))


async def test_the_exit_code_of_a_leader_is_told_as_often_as_one_asks() -> None:
    with start("exit 3") as leader, closing(ProcessGroup(leader)) as group:
        assert await group.wait_leader() == 3
        assert await group.wait_leader() == 3


async def test_a_group_that_is_closed_leaves_no_descriptor_open() -> None:
    with start("sleep 1000") as leader:
        before = open_descriptors()
        group = ProcessGroup(leader)
        group.close()
        group.close()
        assert open_descriptors() == before


async def test_a_leader_that_can_not_be_watched_is_refused_at_once() -> None:
    with start("sleep 1000") as leader, no_descriptors(), pytest.raises(OSError) as raised:  # noqa: PT011  see below
        ProcessGroup(leader)
    assert raised.value.errno == errno.EMFILE


async def test_who_can_not_be_looked_for_is_not_taken_for_gone() -> None:
    """Without a descriptor for /proc nothing is known, and the signals that are still due must be sent."""
    with start("sleep 1000 & echo; exit 0") as leader, closing(ProcessGroup(leader)) as group:
        await group.wait_leader()
        with no_descriptors(), trio.move_on_after(0.05) as impatient:
            await group.wait_gone()
        assert impatient.cancelled_caught
        group.send(signal.SIGKILL)
        with trio.fail_after(5):
            await group.wait_gone()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "exited with status 0"),
        (3, "exited with status 3"),
        (-9, "was killed by SIGKILL"),
        (-15, "was killed by SIGTERM"),
        (-99, "was killed by signal 99"),
        (None, "has not exited"),
    ],
)
def test_an_end_is_told_in_words(code: int | None, words: str) -> None:
    assert describe_exit(code) == words


def test_a_signal_has_its_name() -> None:
    assert signal_name(signal.SIGHUP) == "SIGHUP"
