"""Bytes to lines: the framing of the stdio transport (every revision, Transports §stdio).

"Messages are delimited by newlines, and MUST NOT contain embedded newlines."  A line ends at LF and nothing else: U+2028
and the other separators that `str.splitlines` knows are ordinary characters of JSON.

A line over the limit is not kept, but its two ends are: the SDKs write the id at one of them, so that one can still tell
which request it was to answer.  One line is lost, the next one is whole.
"""

from __future__ import annotations

from typing import Final, NamedTuple

_END_KEPT: Final = 4096
"""How much of an oversized line is kept, at either end; the id stands at one of them in what the SDKs write."""


class OversizedLine(NamedTuple):
    """What is left of a line that was over the limit: its first and last bytes, and how long it was."""

    head: bytes
    tail: bytes
    length: int


class LineFramer:
    """Cut a stream of bytes into lines.

    Args:
      max_line: longest line accepted, in bytes, the newline not counted; None for no limit.
    """

    def __init__(self, max_line: int | None) -> None:
        self._max_line = max_line
        # A line that came in many pieces is joined once, when its newline is there; appending each piece to a buffer
        # would copy a long line as often as it has pieces.
        self._pieces: list[bytes] = []
        self._length = 0
        self._skipped = 0
        self._tail = b""

    @property
    def pending(self) -> int:
        """How many bytes of an unfinished line have come."""
        return self._length + self._skipped

    def feed(self, data: bytes) -> list[bytes | OversizedLine]:
        """Take the next bytes and return the lines that they complete, without their newlines, blank ones left out."""
        end = data.find(b"\n")
        if end < 0:
            self._keep(data)
            return []
        if end == len(data) - 1 and not self._pieces and (self._max_line is None or end <= self._max_line):
            # One whole line, as nearly every answer is.
            return [] if data.isspace() else [data[:-1]]
        first, *rest, last = data.split(b"\n")
        self._keep(first)
        lines: list[bytes | OversizedLine] = [self._take()]
        if self._max_line is not None and self._max_line < len(data):
            for line in rest:
                self._keep(line)
                lines.append(self._take())
            rest.clear()
        if last:
            self._keep(last)
        lines = [line for line in lines if isinstance(line, OversizedLine) or (line and not line.isspace())]
        lines += [line for line in rest if line and not line.isspace()]
        return lines

    def _keep(self, piece: bytes) -> None:
        if self._skipped:
            self._skipped += len(piece)
            self._tail = (self._tail + piece)[-_END_KEPT:]
            return
        self._pieces.append(piece)
        self._length += len(piece)
        if self._max_line is not None and self._length > self._max_line:
            head = b"".join(self._pieces)
            self._skipped = self._length
            self._tail = head[-_END_KEPT:]
            self._pieces = [head[:_END_KEPT]]
            self._length = 0

    def _take(self) -> bytes | OversizedLine:
        line: bytes | OversizedLine
        if self._skipped:
            line = OversizedLine(self._pieces[0], self._tail, self._skipped)
        else:
            line = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces = []
        self._length = self._skipped = 0
        self._tail = b""
        return line
