"""What is written in pieces arrives as if it had been one."""

from __future__ import annotations

import pytest

from trioproxy.gather import drop, gather

LARGE = b"x" * 100_000


@pytest.mark.parametrize(
    ("pieces", "gathered"),
    [
        ([], []),
        ([b""], []),
        ([b"a"], [b"a"]),
        ([b"a", b"", b"bc"], [b"abc"]),
        ([LARGE], [LARGE]),
        ([b"head", LARGE, b"", b"tail"], [b"head", LARGE, b"tail"]),
    ],
)
def test_little_is_joined_and_much_is_not_copied(pieces: list[bytes], gathered: list[bytes]) -> None:
    assert gather(pieces) == gathered
    assert all(any(view.obj is piece for piece in pieces) for view in gather(pieces) if len(view) >= len(LARGE))


@pytest.mark.parametrize("pieces", [[b"abc"], [b"a", b"bcd", b"e"], []])
def test_what_is_not_written_is_what_is_left(pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    for written in range(len(whole) + 1):
        rest = [memoryview(piece) for piece in pieces]
        drop(rest, written)
        assert b"".join(rest) == whole[written:]
        assert all(rest), "an empty piece would be written for ever"
