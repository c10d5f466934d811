"""What goes into a file descriptor in one go (`os.writev`): joined where it is little, apart where joining copies a lot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_LARGE: Final = 64 * 1024


def gather(pieces: Sequence[bytes]) -> list[memoryview]:
    """Return what is to be written, at most as many pieces as there are, and none that is empty."""
    if len(pieces) > 1 and sum(map(len, pieces)) < _LARGE:
        pieces = (b"".join(pieces),)
    return [memoryview(piece) for piece in pieces if piece]


def drop(pieces: list[memoryview], written: int) -> None:
    """Drop so many bytes from the front: they are written."""
    while pieces and written >= len(pieces[0]):
        written -= len(pieces.pop(0))
    if written:
        pieces[0] = pieces[0][written:]
