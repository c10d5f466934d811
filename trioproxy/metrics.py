"""What the proxy counts, and how Prometheus reads it (exposition format 0.0.4).

    counter      what has happened: `add`
    histogram    how long it took: `observe`
    reading      what is so at the moment somebody looks; it costs nothing until then

There is one thread, and so there are no locks: to count a call takes about a microsecond.  Labels have few values: a method
that MCP does not have is `other`, or anybody could fill our memory with names of his own.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Literal, Protocol, TypeAlias

from .protocol.errors import ChildExited, CommandFailed, RequestTimedOut, TrioproxyError, Unavailable

CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"

_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Seconds; from what a server takes that does no work, to the time limit of a request."""
_METHODS: Final = frozenset(
    {
        *("initialize", "ping", "server/discover", "subscriptions/listen", "logging/setLevel", "completion/complete"),
        *("tools/list", "tools/call", "prompts/list", "prompts/get"),
        *("resources/list", "resources/templates/list", "resources/read", "resources/subscribe", "resources/unsubscribe"),
        *("tasks/list", "tasks/get", "tasks/result", "tasks/cancel"),
    }
)
"""What clients ask for, in any revision."""

Era: TypeAlias = Literal["legacy", "modern"]
Outcome: TypeAlias = Literal["ok", "error", "cancelled", "timeout", "child_died"]
Labels: TypeAlias = tuple[str, ...]
Sample: TypeAlias = tuple[str, Labels, float]
"""What follows the family's name, the values of the labels, and the number."""


def outcome_of(error: TrioproxyError) -> Outcome:
    """Return the outcome of a call that we had to end with `error`."""
    match error:
        case RequestTimedOut():
            return "timeout"
        case ChildExited() | CommandFailed():
            return "child_died"
        case Unavailable():
            # Its client has ended the session, or we are shutting down.
            return "cancelled"
        case _:
            return "error"


class Counter:
    """How often something has happened, for each combination of labels."""

    kind = "counter"

    def __init__(self, labels: Labels = ()) -> None:
        self.labels = labels
        self._values: dict[Labels, float] = {} if labels else {(): 0}

    def add(self, *labels: str, amount: float = 1) -> None:
        """Count it."""
        self._values[labels] = self._values.get(labels, 0) + amount

    def samples(self) -> Iterator[Sample]:
        """Yield what is to be exposed."""
        yield from (("", labels, value) for labels, value in self._values.items())


class Histogram:
    """How long something has taken, for each combination of labels."""

    kind = "histogram"

    def __init__(self, labels: Labels = (), bounds: Sequence[float] = _BOUNDS) -> None:
        self.labels = (*labels, "le")
        self._bounds = bounds
        self._counts: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}

    def observe(self, seconds: float, *labels: str) -> None:
        """Count it, in the narrowest bucket that it fits in."""
        counts = self._counts.get(labels)
        if counts is None:
            counts = self._counts[labels] = [0] * (len(self._bounds) + 1)
            self._sums[labels] = 0.0
        counts[bisect_left(self._bounds, seconds)] += 1
        self._sums[labels] += seconds

    def samples(self) -> Iterator[Sample]:
        """Yield what is to be exposed: in each bucket what is in those before it as well."""
        for labels, counts in self._counts.items():
            total = 0
            for bound, count in zip((*map(str, self._bounds), "+Inf"), counts, strict=True):
                total += count
                yield "_bucket", (*labels, bound), total
            yield "_sum", labels, self._sums[labels]
            yield "_count", labels, total


class Reading:
    """What somebody else knows, read when it is asked for."""

    def __init__(
        self, kind: Literal["gauge", "counter"], labels: Labels, read: Callable[[], Mapping[Labels, float]]
    ) -> None:
        self.kind = kind
        self.labels = labels
        self._read = read

    def samples(self) -> Iterator[Sample]:
        """Yield what is to be exposed."""
        yield from (("", labels, value) for labels, value in self._read().items())


class Family(Protocol):
    """Something that can be exposed under one name."""

    @property
    def kind(self) -> str:
        """What Prometheus calls it."""

    @property
    def labels(self) -> Labels:
        """The names of the labels; of some samples the last may be missing."""

    def samples(self) -> Iterator[Sample]:
        """Yield what is to be exposed."""


class Metrics:
    """What one proxy counts.

    Attributes:
      refusals: requests that were refused, by status and class of error.
      received, sent: bytes of HTTP, as counted by the connections.
    """

    def __init__(self) -> None:
        self._families: dict[str, tuple[str, Family]] = {}
        self._calls = Counter(("method", "era", "outcome"))
        self._seconds = Histogram(("method", "era"))
        self.refusals: Final = Counter(("status", "error"))
        self.received = 0
        self.sent = 0
        self.add("trioproxy_calls_total", "Requests of clients that have ended, by the era of the client.", self._calls)
        self.add("trioproxy_call_seconds", "Seconds from a request to its answer.", self._seconds)
        self.add("trioproxy_refusals_total", "HTTP requests that were refused.", self.refusals)
        self.count("trioproxy_received_bytes_total", "Bytes of HTTP received.", lambda: self.received)
        self.count("trioproxy_sent_bytes_total", "Bytes of HTTP sent.", lambda: self.sent)

    def note_call(self, era: Era, method: str, outcome: Outcome, seconds: float) -> None:
        """Count a request that has ended."""
        if method not in _METHODS:
            method = "other"
        self._calls.add(method, era, outcome)
        self._seconds.observe(seconds, method, era)

    def add(self, name: str, meaning: str, family: Family) -> None:
        """Expose `family` under `name`; a later one takes the place of an earlier one."""
        self._families[name] = meaning, family

    def gauge(self, name: str, meaning: str, read: Callable[[], float]) -> None:
        """Expose what `read` returns, which may rise and fall."""
        self.add(name, meaning, Reading("gauge", (), lambda: {(): read()}))

    def count(self, name: str, meaning: str, read: Callable[[], float]) -> None:
        """Expose what `read` returns, which only rises."""
        self.add(name, meaning, Reading("counter", (), lambda: {(): read()}))

    def render(self) -> bytes:
        """Return all of it as text."""
        return "".join(self._lines()).encode()

    def _lines(self) -> Iterator[str]:
        for name, (meaning, family) in self._families.items():
            yield f"# HELP {name} {meaning}\n# TYPE {name} {family.kind}\n"
            for suffix, labels, value in family.samples():
                pairs = ",".join(f'{label}="{_escape(text)}"' for label, text in zip(family.labels, labels, strict=False))
                yield f"{name}{suffix}{{{pairs}}} {float(value)!r}\n" if pairs else f"{name}{suffix} {float(value)!r}\n"


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
