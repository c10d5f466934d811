"""`trioproxy replay FILE`: a recorded session, served as a stdio server, so that a bug report can be run.

    trioproxy --tap session.jsonl -- my-server           record
    trioproxy -- trioproxy replay session.jsonl          serve what was recorded, over HTTP; or, on its own, on stdio

The file is what a tap has written; of several sessions in it one is served.  What is answered to what is up to
`protocol.playback`; here are the pipes and the clock.  It ends when its input does.

Exit codes: 0 the end of the input, 1 there is nothing to serve, 2 a mistake on the command line.
"""

from __future__ import annotations

import math
import os
import select
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Final

from .protocol.errors import InvalidRequest, ParseError, error_response
from .protocol.lines import LineFramer, OversizedLine
from .protocol.messages import Message, parse_body
from .protocol.playback import Playback
from .protocol.recording import Entry, read_entry
from .protocol.scenes import Recorded

USAGE: Final = "usage: trioproxy replay [--session ID] [--speed N] FILE\n"
_HELP: Final = """
  --session ID   which session of the file; null for modern requests, which have none (default: the first)
  --speed N      keep the recorded pauses: 1 as they were, 10 for a tenth of them (default: none)
"""
_STDIN, _STDOUT = 0, 1
_CHUNK: Final = 64 * 1024
_MAX_LINE: Final = 64 * 1024 * 1024
"""Bytes of a message of the client's, as of any server's."""
_MAX_ENTRY: Final = _MAX_LINE + _CHUNK
"""Bytes of a line of a recording: of the longest message, and what is said about it."""
_MAX_KEPT: Final = 1024 * 1024 * 1024
"""Bytes of messages that are kept in memory; of a longer session, the rest is not served."""
_SHOWN: Final = 5
"""Lines of a recording that make no sense, and are shown each."""
_LONGEST_WAIT: Final = 3600.0


class UsageError(Exception):
    """The words make no sense."""


class NothingRecorded(Exception):
    """There is nothing to serve; the message says why."""


@dataclass(frozen=True)
class Wanted:
    """What the words ask for."""

    path: str
    session: str | None = None
    speed: float = math.inf


def main(words: Sequence[str]) -> int:
    """Serve what `words` name until stdin ends, and return the exit code."""
    if list(words) in (["--help"], ["-h"]):
        print(USAGE + _HELP, end="")  # noqa: T201
        return 0
    try:
        wanted = read_words(words)
        recorded = load(wanted)
    except UsageError as error:
        sys.stderr.write(f"{USAGE}trioproxy: error: {error}\n")
        return 2
    except (OSError, NothingRecorded) as error:
        sys.stderr.write(f"trioproxy: error: {error}\n")
        return 1
    # `sys.exit` unwinds from wherever we are, without a traceback.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    # EPIPE, or a reset where the pipes are sockets: the client has gone without closing our input first.
    with suppress(ConnectionError):
        _serve(Playback(recorded.scenes, wanted.speed))
    return 0


def read_words(words: Sequence[str]) -> Wanted:
    """Return what the words ask for.

    Raises:
      UsageError: they make no sense.
    """
    rest, values = list(words), {}
    while rest and rest[0].startswith("--") and rest[0] != "--":
        name, equals, value = rest.pop(0).partition("=")
        if name not in ("--session", "--speed"):
            raise UsageError(f"{name}: no such option")
        if not equals and not rest:
            raise UsageError(f"{name}: a value is expected; nothing came")
        values[name] = value if equals else rest.pop(0)
    if rest[:1] == ["--"]:
        rest.pop(0)
    if len(rest) != 1:
        raise UsageError(f"one file is expected; {' '.join(rest) or 'nothing'!r} came")
    return Wanted(rest[0], values.get("--session"), _read_speed(values.get("--speed", "0")))


def _read_speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = -1
    if not 0 <= speed < math.inf:
        raise UsageError(f"--speed: a number is expected, 0 for no pauses; {text!r} came")
    return speed or math.inf


# The recording


def load(wanted: Wanted) -> Recorded:
    """Return what is recorded of one session, having said on stderr what of it can't be served.

    Raises:
      NothingRecorded: nothing is.
      OSError: the file can't be read.
    """
    recorded = Recorded()
    sessions: Counter[str] = Counter()
    chosen = wanted.session
    kept, at = 0, 0.0
    with open(wanted.path, "rb") as file:
        for entry in _entries(file, wanted.path):
            name = "null" if entry.session is None else entry.session
            chosen = name if chosen is None else chosen
            sessions[name] += 1
            if name != chosen:
                continue
            kept += len(entry.message)
            if kept > _MAX_KEPT:
                continue
            at = _seconds(entry.time, at)
            recorded.add(entry, at)
    if not sessions:
        raise NothingRecorded(f"{wanted.path}: no message is recorded there")
    assert chosen is not None
    others = ", ".join(f"{name} ({count} messages)" for name, count in sessions.items())
    if chosen not in sessions:
        raise NothingRecorded(f"{wanted.path}: there is no session {chosen}; there is {others}")
    if len(sessions) > 1 and wanted.session is None:
        _say(f"session {chosen} is served; --session chooses among {others}")
    if kept > _MAX_KEPT:
        _say(f"session {chosen} has {kept} bytes, of which the first {_MAX_KEPT} are served")
    _complain(f"session {chosen}", recorded.skipped)
    _complain(
        f"session {chosen}, the recording ends before a request is answered",
        [scene.cue.method for scene in recorded.scenes if scene.cue is not None and scene.is_incomplete],
    )
    return recorded


def _entries(file: BinaryIO, path: str) -> Iterator[Entry]:
    wrong: list[str] = []
    lost = 0
    for number, line in enumerate(_lines(file), 1):
        try:
            if isinstance(line, OversizedLine):
                raise InvalidRequest(f"{line.length} bytes, and the limit is {_MAX_ENTRY}")
            entry = read_entry(line)
        except (ParseError, InvalidRequest) as error:
            wrong.append(f"line {number}: {error}")
            continue
        if isinstance(entry, Entry):
            yield entry
        else:
            lost += entry.number
    _complain(f"{path}, not a line of a recording", wrong)
    if lost:
        _say(f"{path}: {lost} messages could not be recorded")


def _lines(file: BinaryIO) -> Iterator[bytes | OversizedLine]:
    framer = LineFramer(_MAX_ENTRY)
    while chunk := file.read(_CHUNK):
        yield from framer.feed(chunk)
    # What was cut off in the middle may be whole, but for its newline.
    yield from framer.feed(b"\n")


def _seconds(text: str, before: float) -> float:
    """Return the time that an entry names; that of the one before, where it names none."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return before


def _complain(about: str, reasons: Sequence[str]) -> None:
    for reason in reasons[:_SHOWN]:
        _say(f"{about}: {reason}")
    if len(reasons) > _SHOWN:
        _say(f"{about}: and {len(reasons) - _SHOWN} more")


def _say(text: str) -> None:
    # What is said may quote what others wrote.
    sys.stderr.write("trioproxy: replay: " + "".join(c if c.isprintable() else "�" for c in text) + "\n")


# The pipes


def _serve(playback: Playback) -> None:
    """Hand messages from stdin to `playback`, and what it says to stdout, until stdin ends."""
    framer = LineFramer(_MAX_LINE)
    _write(playback.start(time.monotonic()))
    while True:
        wait = playback.deadline - time.monotonic()
        ready, _, _ = select.select([_STDIN], [], [], max(0.0, min(wait, _LONGEST_WAIT)))
        if ready:
            chunk = os.read(_STDIN, _CHUNK)
            if not chunk:
                # A line without its newline was cut short, so it's no message.
                return
            for line in framer.feed(chunk):
                _write(_answer(playback, line))
        _write(playback.wake(time.monotonic()))


def _answer(playback: Playback, line: bytes | OversizedLine) -> list[bytes]:
    if isinstance(line, OversizedLine):
        return [error_response(InvalidRequest(f"a message of {line.length} bytes is over the limit of {_MAX_LINE}"), None)]
    try:
        parsed = parse_body(line)
    except (ParseError, InvalidRequest) as error:
        return [error_response(error, None)]
    messages: list[Message] = parsed if isinstance(parsed, list) else [parsed]
    return [said for message in messages for said in playback.from_client(message, time.monotonic())]


def _write(messages: Sequence[bytes]) -> None:
    for message in messages:
        line = memoryview(message + b"\n")
        while line:
            line = line[os.write(_STDOUT, line) :]
