"""What the ends of children say of their command."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from trioproxy.deaths import Deaths, command_failed, pause, unforgivable
from trioproxy.protocol.errors import ChildExited


@pytest.mark.parametrize(("deaths", "seconds"), [(0, 0), (1, 0.5), (2, 1), (3, 2), (6, 16), (7, 30), (8, 30), (10**6, 30)])
def test_the_longer_the_row_the_longer_the_pause_up_to_half_a_minute(deaths: int, seconds: float) -> None:
    assert pause(deaths) == seconds


async def test_a_child_that_was_used_is_no_sign_of_a_command_that_does_not_work(autojump_clock: MockClock) -> None:
    deaths = Deaths()
    deaths.note("the server exited with status 1")
    assert (deaths.count, deaths.in_a_row, deaths.last) == (1, 0, "the server exited with status 1")
    deaths.note_unused("the server exited with status 2")
    deaths.note_unused("the server exited with status 3")
    assert (deaths.count, deaths.in_a_row, deaths.last) == (3, 2, "the server exited with status 3")
    deaths.forget_row()
    assert (deaths.count, deaths.in_a_row, deaths.last) == (3, 0, "the server exited with status 3")


async def test_a_command_that_is_given_up_gets_another_chance(autojump_clock: MockClock) -> None:
    deaths = Deaths()
    assert not deaths.is_given_up
    deaths.give_up()
    await trio.sleep(29.9)
    assert deaths.is_given_up
    await trio.sleep(0.1)
    assert not deaths.is_given_up


def test_the_errors_say_how_it_ended_and_keep_what_is_known() -> None:
    failure = ChildExited("the server exited with status 3", data={"exitStatus": 3, "stderr": ["one", "two"]})
    failed = command_failed(failure)
    assert str(failed) == ("the server exited with status 3 before it had answered anything; its last words:\n  one\n  two")
    assert failed.data == failure.data
    assert str(command_failed(ChildExited("it ended"))).endswith("its last words:\n  nothing on stderr")
    assert str(unforgivable(failure)).startswith("the server exited with status 3, and --exit-on-child-death")
    assert unforgivable(failure).data == failure.data
