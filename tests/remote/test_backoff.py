"""Pauses between attempts."""

from __future__ import annotations

from trioproxy.remote.backoff import Backoff


def test_pauses_grow_up_to_a_limit_and_are_never_the_same_for_everybody() -> None:
    backoff = Backoff(longest=4.0)
    pauses = [backoff.pause() for _ in range(10)]
    for pause, longest in zip(pauses, (0.25, 0.5, 1, 2, 4, 4, 4, 4, 4, 4), strict=True):
        assert longest / 2 <= pause <= longest
    assert len(set(pauses)) == 10


def test_after_a_good_attempt_the_next_comes_soon_but_not_at_once() -> None:
    backoff = Backoff()
    for _ in range(10):
        backoff.pause()
    backoff.reset()
    assert backoff.pause() == 0.05
    assert 0.125 <= backoff.pause() <= 0.25


def test_what_the_server_asks_for_is_waited_at_least() -> None:
    backoff = Backoff()
    assert backoff.pause(2000) == 2
    assert backoff.pause(0) >= 0.05
