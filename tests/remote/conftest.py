"""Time, for tests over real sockets."""

from __future__ import annotations

import pytest
from trio.testing import MockClock


@pytest.fixture
def fast_clock() -> MockClock:
    """A clock that runs thirty times as fast: what waits for minutes is told in seconds, and sockets have theirs."""
    return MockClock(rate=30)


@pytest.fixture
def autojump_clock(fast_clock: MockClock) -> MockClock:
    """The clock that a test runs on is known by this name; with sockets it must not jump."""
    return fast_clock
