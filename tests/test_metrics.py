"""What is counted, as Prometheus's own parser reads it."""

from __future__ import annotations

import math

import pytest
from prometheus_client.parser import text_string_to_metric_families

from trioproxy.metrics import Counter, Histogram, Metrics, Outcome, Reading, outcome_of
from trioproxy.protocol.errors import (
    ChildError,
    ChildExited,
    CommandFailed,
    LineTooLong,
    RequestTimedOut,
    ShuttingDown,
    TrioproxyError,
    Unavailable,
)

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def read(metrics: Metrics) -> Samples:
    """Return every sample by its name and labels."""
    families = text_string_to_metric_families(metrics.render().decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def test_what_has_not_happened_yet_is_there_already_where_it_has_no_labels() -> None:
    metrics = Metrics()
    assert read(metrics) == {("trioproxy_received_bytes_total", ()): 0, ("trioproxy_sent_bytes_total", ()): 0}


def test_every_family_has_a_kind_and_a_meaning() -> None:
    families = list(text_string_to_metric_families(Metrics().render().decode()))
    assert {family.name: family.type for family in families} == {
        "trioproxy_calls": "counter",
        "trioproxy_call_seconds": "histogram",
        "trioproxy_refusals": "counter",
        "trioproxy_received_bytes": "counter",
        "trioproxy_sent_bytes": "counter",
    }
    assert all(family.documentation.endswith(".") for family in families)


def test_a_call_is_counted_by_method_era_and_outcome() -> None:
    metrics = Metrics()
    metrics.note_call("legacy", "tools/call", "ok", 0.003)
    metrics.note_call("legacy", "tools/call", "ok", 0.3)
    metrics.note_call("modern", "tools/call", "timeout", 400)
    samples = read(metrics)

    def calls(era: str, outcome: str) -> float | None:
        return samples.get(("trioproxy_calls_total", (("era", era), ("method", "tools/call"), ("outcome", outcome))))

    def seconds(suffix: str, era: str) -> float:
        return samples["trioproxy_call_seconds" + suffix, (("era", era), ("method", "tools/call"))]

    assert (calls("legacy", "ok"), calls("modern", "timeout"), calls("modern", "ok")) == (2, 1, None)
    assert (seconds("_count", "legacy"), round(seconds("_sum", "legacy"), 9)) == (2, 0.303)
    assert (seconds("_count", "modern"), seconds("_sum", "modern")) == (1, 400)


def test_names_that_mcp_does_not_have_are_one() -> None:
    """Or a client could fill our memory with them."""
    metrics = Metrics()
    for number in range(1000):
        metrics.note_call("legacy", f"x/{number}", "error", 0.1)
    assert read(metrics)["trioproxy_calls_total", (("era", "legacy"), ("method", "other"), ("outcome", "error"))] == 1000
    assert len(metrics.render()) < 5000


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (RequestTimedOut("x"), "timeout"),
        (ChildExited("x"), "child_died"),
        (CommandFailed("x"), "child_died"),
        (LineTooLong("x"), "error"),
        (ChildError("x"), "error"),
        (Unavailable("the client has ended the session"), "cancelled"),
        (ShuttingDown("x"), "cancelled"),
    ],
)
def test_the_outcome_says_who_or_what_has_ended_a_call(error: TrioproxyError, outcome: Outcome) -> None:
    assert outcome_of(error) == outcome


def test_a_bucket_holds_what_fits_in_it_and_in_those_before_it() -> None:
    histogram = Histogram(("x",), bounds=(0.1, 1.0))
    for seconds in (0.05, 0.1, 0.10001, 1.0, 7):
        histogram.observe(seconds, "a")
    assert list(histogram.samples()) == [
        ("_bucket", ("a", "0.1"), 2),
        ("_bucket", ("a", "1.0"), 4),
        ("_bucket", ("a", "+Inf"), 5),
        ("_sum", ("a",), pytest.approx(8.25001)),
        ("_count", ("a",), 5),
    ]


def test_a_histogram_is_read_with_all_its_buckets() -> None:
    metrics = Metrics()
    histogram = Histogram(bounds=(1.0,))
    histogram.observe(2)
    metrics.add("x_seconds", "x.", histogram)
    samples = read(metrics)
    assert samples["x_seconds_bucket", (("le", "1.0"),)] == 0
    assert samples["x_seconds_bucket", (("le", "+Inf"),)] == samples["x_seconds_count", ()] == 1
    assert samples["x_seconds_sum", ()] == 2


@pytest.mark.parametrize("text", ['"', "\\", "\n", 'a"b\\c\nd', "ä€😀", "", "{}=,"])
def test_a_label_is_read_as_it_was_written(text: str) -> None:
    metrics = Metrics()
    counter = Counter(("label",))
    counter.add(text)
    metrics.add("x_total", "x.", counter)
    assert read(metrics)["x_total", (("label", text),)] == 1


@pytest.mark.parametrize("value", [0, 1, True, 2**53 + 1, 0.1, 1e-9, 1e300, math.inf])
def test_a_number_is_read_as_it_was_written(value: float) -> None:
    metrics = Metrics()
    metrics.gauge("x", "x.", lambda: value)
    assert read(metrics)["x", ()] == float(value)


def test_a_reading_is_taken_when_it_is_asked_for() -> None:
    metrics = Metrics()
    state: dict[tuple[str, ...], float] = {("a",): 1.0}
    metrics.add("x", "x.", Reading("gauge", ("label",), lambda: state))
    assert read(metrics)["x", (("label", "a"),)] == 1
    state.clear()
    assert ("x", (("label", "a"),)) not in read(metrics)
