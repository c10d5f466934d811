"""Log lines: what they look like, what can't be smuggled into one, and what a reader that stops reading can't do."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from trioproxy.logs import JsonFormatter, StderrHandler, TextFormatter, escape, write_patiently


def record(
    message: str, *, name: str = "trioproxy.session", level: int = logging.INFO, **extra: object
) -> logging.LogRecord:
    fields = {"name": name, "levelno": level, "levelname": logging.getLevelName(level), "msg": message, "created": 0.25}
    return logging.makeLogRecord(fields | extra)


def as_text(event: logging.LogRecord) -> str:
    """Return the line without its time, which depends on where the tests run."""
    moment, _, rest = TextFormatter().format(event).partition(" ")
    assert re.fullmatch(r"\d\d:\d\d:00\.250", moment)
    return rest


def failed(message: str) -> logging.LogRecord:
    """Return what `logger.exception("failed")` logs of an error with this message."""
    try:
        raise RuntimeError(message)
    except RuntimeError as error:
        return record("failed", exc_info=(RuntimeError, error, error.__traceback__))


# Text


def test_a_text_line_has_its_time_and_level_and_says_whose_session_it_is_about() -> None:
    assert as_text(record("serving")) == "INFO  serving"
    assert as_text(record("ended", session="ab12cd")) == "INFO  session ab12cd: ended"
    assert as_text(record("ended", level=logging.WARNING, status=3)) == "WARNING ended status=3"


def test_a_line_of_another_library_names_it() -> None:
    assert as_text(record("odd", name="hypercorn.error", level=logging.ERROR)) == "ERROR hypercorn.error: odd"


def test_a_traceback_follows_indented_so_that_it_cannot_look_like_the_next_line() -> None:
    first, *others = as_text(failed("a\n12:00:00.000 INFO  forged\x1b[2J")).split("\n")
    assert first == "INFO  failed"
    assert others[0] == "    Traceback (most recent call last):"
    assert others[-2:] == ["    RuntimeError: a", "    12:00:00.000 INFO  forged\\x1b[2J"]
    assert all(line.startswith("    ") for line in others)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, Grüße, 日本, 🎉", "plain, Grüße, 日本, 🎉"),
        ("tabs\tstay", "tabs\tstay"),
        ("new\nline\r", "new\\nline\\r"),
        ("\x1b[31mred\x07\x00\x7f", "\\x1b[31mred\\x07\\x00\\x7f"),
        ("\x9b2J\x85", "\\x9b2J\\x85"),
        ("\u2028\u202e\u2066", "\\u2028\\u202e\\u2066"),
        ("\udcff", "\\udcff"),
    ],
)
def test_what_is_not_printed_as_itself_is_escaped(text: str, shown: str) -> None:
    assert escape(text) == shown
    assert as_text(record(text)) == f"INFO  {shown}"
    assert as_text(record("x", session=text)) == f"INFO  session {shown}: x"


def test_a_message_of_megabytes_is_shown_by_its_beginning_and_its_length() -> None:
    huge = "x" * 5_000_000
    shown = "x" * 16_384 + "… (5000000 characters in all)"
    assert as_text(record(huge)) == f"INFO  {shown}"
    assert json.loads(JsonFormatter().format(record(huge)))["message"] == shown


# JSON


def test_a_json_line_is_an_object_with_the_extra_fields_and_the_exception() -> None:
    assert json.loads(JsonFormatter().format(record("ended", session="ab12cd", status=3))) == {
        "time": "1970-01-01T00:00:00.250Z",
        "level": "info",
        "logger": "trioproxy.session",
        "message": "ended",
        "session": "ab12cd",
        "status": 3,
    }
    event = json.loads(JsonFormatter().format(failed("why")))
    assert event["exception"].startswith("Traceback (most recent call last):\n")
    assert event["exception"].endswith("RuntimeError: why")


def test_a_json_event_is_one_line_of_ascii_whatever_was_logged() -> None:
    line = JsonFormatter().format(record("a\nb\x1b\u2028\udcff", path=object))
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["message"] == "a\nb\x1b\u2028\udcff"


def test_an_extra_field_cannot_take_the_place_of_one_of_ours() -> None:
    event = json.loads(JsonFormatter().format(record("x", time="never", logger="another")))
    assert (event["time"], event["logger"]) == ("1970-01-01T00:00:00.250Z", "trioproxy.session")


# The reader


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    for descriptor in (reader, writer):
        # A test may have closed its end already.
        with contextlib.suppress(OSError):
            os.close(descriptor)


def drain(reader: int) -> bytes:
    """Return all that is in the pipe."""
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    data = b""
    while poll.poll(0):
        data += os.read(reader, 65536)
    return data


def handler(descriptor: int) -> StderrHandler:
    made = StderrHandler(descriptor)
    made.setFormatter(logging.Formatter("%(message)s"))
    return made


def test_lines_arrive_in_order_and_whole(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    log = handler(writer)
    long = "x" * (3 * select.PIPE_BUF)
    for message in ("one", long, "two"):
        log.handle(record(message))
    assert drain(reader) == f"one\n{long}\ntwo\n".encode()


def test_a_reader_that_stalls_holds_nobody_up_and_learns_how_much_it_missed(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    log = handler(writer)
    line = "x" * 9_999
    began = time.monotonic()
    for _ in range(1000):
        log.handle(record(line))
    # The first line that finds no room waits 0.1 s, and no other one does.
    assert time.monotonic() - began < 5
    kept = drain(reader).decode().split("\n")
    whole = kept.count(line)
    assert kept == [line] * whole + [line[: len(kept[-1])]]

    log.handle(record("back"))
    log.handle(record("and on"))
    # The line that was cut is ended first.
    cut = "\n" if kept[-1] else ""
    notice = f"{1000 - whole} log lines lost: stderr was not being read"
    assert drain(reader).decode() == f"{cut}{notice}\nback\nand on\n"


def test_a_reader_that_is_gone_is_no_reason_to_stop(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.close(reader)
    handler(writer).handle(record("nobody hears this"))
    assert write_patiently(writer, b"nor this", 0) == 0


def test_a_descriptor_that_is_closed_is_no_reason_to_stop(pipe: tuple[int, int]) -> None:
    _, writer = pipe
    os.close(writer)
    handler(writer).handle(record("nobody hears this"))


def test_a_mistake_in_a_logging_call_is_shown_and_does_no_harm(
    pipe: tuple[int, int], capsys: pytest.CaptureFixture[str]
) -> None:
    reader, writer = pipe
    handler(writer).handle(record("%d", args=("three",)))
    assert drain(reader) == b""
    assert "--- Logging error ---" in capsys.readouterr().err


# Setting up


@pytest.mark.parametrize(
    ("before", "lines"),
    [
        ("", ["INFO  serving"]),
        ("logging.basicConfig(format='mine: %(message)s', level='INFO')", ["mine: serving"]),
        ("logging.getLogger('trioproxy').addHandler(logging.NullHandler())", []),
    ],
    ids=["nothing", "all of it", "ours alone"],
)
def test_what_a_program_has_said_of_logging_stands(before: str, lines: list[str]) -> None:
    program = f"""
import logging
from trioproxy import LogConfig, logs
{before}
logs.set_up_if_nobody_has(LogConfig())
logging.getLogger("trioproxy").info("serving")
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stderr
    assert [re.sub(r"^[\d:.]+ ", "", line) for line in said.splitlines()] == lines
