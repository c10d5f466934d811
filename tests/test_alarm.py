"""What is due is seen when it is due, however many deadlines there are, and no sooner."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trioproxy.alarm import Alarm


class Waiter:
    """Who notes when it ran out of patience."""

    def __init__(self) -> None:
        self.has_something = False
        self.ended_at: float | None = None

    def run_out_of_patience(self) -> None:
        self.ended_at = trio.current_time()


class Watch:
    """Who looks, and notes when."""

    def __init__(self, *deadlines: float) -> None:
        self.looked: list[float] = []
        self._next = iter(deadlines)

    def __call__(self, now: float) -> float:
        self.looked.append(now)
        return next(self._next, math.inf)


@asynccontextmanager
async def ringing(alarm: Alarm, watch: Watch) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(alarm.run, watch)
        yield
        nursery.cancel_scope.cancel()


async def test_it_rings_at_each_deadline(autojump_clock: MockClock) -> None:
    now = trio.current_time()
    watch = Watch(now + 5, now + 60)
    async with ringing(Alarm(now + 3), watch):
        await trio.sleep(1000)
    assert watch.looked == [now + 3, now + 5, now + 60]


async def test_only_a_sooner_deadline_changes_the_next_one(autojump_clock: MockClock) -> None:
    now = trio.current_time()
    alarm, watch = Alarm(math.inf), Watch()
    alarm.expect_by(now + 10)
    async with ringing(alarm, watch):
        await wait_all_tasks_blocked()
        alarm.expect_by(now + 4)
        alarm.expect_by(now + 6)
        await trio.sleep(1000)
    assert watch.looked == [now + 4]


async def test_a_deadline_that_has_passed_is_seen_at_once(autojump_clock: MockClock) -> None:
    now = trio.current_time()
    watch = Watch()
    async with ringing(Alarm(now - 1), watch):
        await trio.sleep(0.1)
    assert watch.looked == [now]


async def test_patience_ends_for_each_in_its_time_and_not_for_who_has_something(autojump_clock: MockClock) -> None:
    now = trio.current_time()
    alarm, watch = Alarm(math.inf), Watch()
    waiters = [Waiter() for _ in range(4)]
    async with ringing(alarm, watch):
        for waiter in waiters:
            alarm.limit_patience(waiter, 2)
            await trio.sleep(0.25)
        waiters[1].has_something = True
        await trio.sleep(10)
    # Who has something is merely let go of, together with the one before.
    assert [waiter.ended_at for waiter in waiters] == [now + 2, now + 2, now + 2.5, now + 2.75]
    assert watch.looked == [now + 2, now + 2.5, now + 2.75]


async def test_a_deadline_that_is_given_while_it_looks_is_not_forgotten(autojump_clock: MockClock) -> None:
    now = trio.current_time()
    alarm = Alarm(now + 1)
    late = Waiter()

    def look(time: float) -> float:
        if late.ended_at is None and time < now + 2:
            alarm.limit_patience(late, 5)
        return math.inf

    async with trio.open_nursery() as nursery:
        nursery.start_soon(alarm.run, look)
        await trio.sleep(100)
        nursery.cancel_scope.cancel()
    assert late.ended_at == now + 6
