"""What the proxy says about itself: on stderr, a line an event, to read or to parse.

Every module logs to `logging.getLogger(__name__)`.  What belongs to a session is logged with `extra={"session": …}`, in
the short form of its id that may be shown; any other `extra` follows the message.

Two things are not left to the standard library.  Whoever reads our stderr may stop reading, and a log line must not
stop every session in its place: `StderrHandler` waits a moment, then drops lines and later says how many.  And much of
what is logged was written by a child, or by a client through it: `escape` sees to it that a line stays the line it
was.  A carriage return or an escape sequence could otherwise overwrite what stands on the terminal, a newline could
begin a line that looks like one of ours ("12:34:56.789 INFO  …"), and a bidirectional override could show text in
another order.
"""

from __future__ import annotations

import json
import logging
import os
import select
import time
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from .config import LogConfig

STDERR = 2

# Long enough for a reader that is merely busy; short enough that no client takes it for an outage.
PATIENCE = 0.1

# Characters of a message that are shown.  With --debug whole MCP messages are logged, and some are tens of megabytes.
LONGEST = 16_384

# What any record has; whatever else one has came by `extra`.
_ORDINARY = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}


def escape(text: str) -> str:
    """Return `text` with each character that is not printed as itself, tabs excepted, as a Python escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in text)


def shorten(text: str) -> str:
    """Return the beginning of `text`, and how long it is, if it is too long to be logged whole."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text)} characters in all)"


class TextFormatter(logging.Formatter):
    """`12:34:56.789 INFO  session ab12cd: the message key=value`, in local time.

    A traceback follows indented, so that none of its lines looks like the beginning of an event.
    """

    def format(self, record: logging.LogRecord) -> str:
        extra = _extra(record)
        moment = datetime.fromtimestamp(record.created).time().isoformat("milliseconds")
        ours = record.name.split(".")[0] == "trioproxy"
        subject = f"session {extra.pop('session')}: " if "session" in extra else "" if ours else f"{record.name}: "
        text = " ".join([subject + shorten(record.getMessage()), *(f"{key}={value}" for key, value in extra.items())])
        lines = [f"{moment} {record.levelname:<5} {escape(text)}"]
        if record.exc_info:
            lines += (f"    {escape(line)}" for line in self.formatException(record.exc_info).splitlines())
        return "\n".join(lines)


class JsonFormatter(logging.Formatter):
    """A JSON object a line: time (RFC 3339, UTC), level, logger, message, the extra fields, exception."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        event = {
            "time": moment.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": shorten(record.getMessage()),
        }
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        # Only ASCII, so that nothing in a child's text is a control character or a line end to whoever looks at it raw.
        return json.dumps(_extra(record) | event, default=str)


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in vars(record).items() if key not in _ORDINARY}


class StderrHandler(logging.Handler):
    """Write each record to a file descriptor, without ever waiting longer than a moment for its reader."""

    def __init__(self, descriptor: int = STDERR) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._lost = 0
        self._line_is_cut = False

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:
            # A defect in the call that logged.  This shows it, and lets the proxy go on.
            self.handleError(record)
            return
        if self._lost == 0:
            self._lost = 0 if self._write(line, PATIENCE) else 1
            return
        # The reader has stalled before: a line that it can't take at once is not waited for again.
        notice = logging.makeLogRecord(
            {"name": __name__, "levelno": logging.WARNING, "levelname": "WARNING"}
            | {"msg": f"{self._lost} log lines lost: stderr was not being read"}
        )
        if self._write(self.format(notice), 0):
            self._lost = 0 if self._write(line, 0) else 1
        else:
            self._lost += 1

    def _write(self, line: str, patience: float) -> bool:
        """Write `line`, and return whether all of it was taken."""
        data = (b"\n" if self._line_is_cut else b"") + line.encode(errors="backslashreplace") + b"\n"
        written = write_patiently(self._descriptor, data, patience)
        if written:
            self._line_is_cut = data[written - 1 : written] != b"\n"
        return written == len(data)


def write_patiently(descriptor: int, data: bytes, patience: float) -> int:
    """Write `data` for at most `patience` seconds, and return how many bytes went out.

    Not by making the descriptor non-blocking: that would hold for every process that shares our terminal.  A write of
    at most PIPE_BUF bytes does not block once `poll` has said that it won't (documented with `select.PIPE_BUF`).
    """
    deadline = time.monotonic() + patience
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    written = 0
    while written < len(data):
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            break
        try:
            written += os.write(descriptor, data[written : written + select.PIPE_BUF])
        except OSError:
            # Closed, or its reader is gone.  Then there is nobody to tell, and that is no reason to stop serving.
            break
    return written


def write_to_stderr(text: str) -> None:
    """Write what is to stand on stderr as it is: usage, and the reason of a failure."""
    write_patiently(STDERR, text.encode(errors="backslashreplace"), PATIENCE)


def report_failure(error: BaseException, config: LogConfig) -> None:
    """Say why the proxy ends; with `--debug`, with the traceback."""
    if config.format == "json":
        logging.getLogger("trioproxy").error(str(error), exc_info=error if config.debug else None)
        return
    lines = str(error).splitlines() or [type(error).__name__]
    if config.debug:
        lines += "".join(traceback.format_exception(error)).splitlines()
    # The message may quote a child's last words, so it is escaped like any log line.
    write_to_stderr("trioproxy: error: " + "\n  ".join(escape(line) for line in lines) + "\n")


def set_up(config: LogConfig) -> None:
    """Send all logging of this process to stderr as `config` wants it; of other libraries' only what is amiss."""
    formatters: Mapping[str, logging.Formatter] = {"text": TextFormatter(), "json": JsonFormatter()}
    handler = StderrHandler()
    handler.setFormatter(formatters[config.format])
    level = logging.getLevelNamesMapping()[config.level.upper()]
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)
    logging.getLogger("trioproxy").setLevel(level)


def set_up_if_nobody_has(config: LogConfig) -> None:
    """The same, in a program that has said nothing about logging: who serves with three lines sees the address, too."""
    if not logging.getLogger("trioproxy").hasHandlers():
        set_up(config)
