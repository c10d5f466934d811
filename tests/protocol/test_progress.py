"""What follows a line of progress unparsed is what parsing it would have told: more of the same request, nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trioproxy.protocol.errors import TrioproxyError
from trioproxy.protocol.lines import OversizedLine
from trioproxy.protocol.messages import Notification, parse_line
from trioproxy.protocol.progress import MIN_RUN, follow_progress
from trioproxy.protocol.routing import PROGRESS

COMPACT = (",", ":")


def line(progress: float = 1, token: int | str = 7, **more: Any) -> bytes:
    """Return a notification as the Python SDK writes it."""
    params = {"progressToken": token, "progress": progress, **more}
    return json.dumps({"jsonrpc": "2.0", "method": PROGRESS, "params": params}, separators=COMPACT).encode()


def from_typescript(progress: float = 1, token: int | str = "t", **more: Any) -> bytes:
    """Return a notification as the TypeScript SDK writes it."""
    params = {"progress": progress, **more, "progressToken": token}
    return json.dumps({"method": PROGRESS, "params": params, "jsonrpc": "2.0"}, separators=COMPACT).encode()


def spaced(progress: float = 1) -> bytes:
    """Return a notification of a server that writes for humans."""
    return json.dumps({"jsonrpc": "2.0", "method": PROGRESS, "params": {"progressToken": 1, "progress": progress}}).encode()


@pytest.mark.parametrize(
    "lines",
    [
        [line(n) for n in range(1000)],
        [line(n / 7, total=1000) for n in range(1000)],
        [line(n, message=f"{n} of 1000, and {1000 - n} to go!") for n in range(1000)],
        [line(n, message="") for n in range(1000)],
        [from_typescript(n, total=1000, message="x" * (n % 100)) for n in range(1000)],
        [spaced(n) for n in range(1000)],
        [line(n, "a" * 500, _meta={"progress": n, "message": "deep"}) for n in range(1000)],
    ],
    ids=["Python", "fractions", "with messages", "with empty ones", "TypeScript", "spaced", "with _meta"],
)
def test_a_burst_follows_its_first_line(lines: list[bytes]) -> None:
    assert follow_progress(lines, 0) == lines[1:]
    assert follow_progress(lines, 300) == lines[301:]


@pytest.mark.parametrize(("length", "following"), [(1, 0), (2, 0), (MIN_RUN, 0), (120, 0), (121, 120), (500, 499)])
def test_lines_are_worth_the_effort_from_as_many_on_as_one_has_bytes(length: int, following: int) -> None:
    lines = [line(1, message=f"step {n:09d}") for n in range(length)]
    assert len(lines[0]) == 120
    assert len(follow_progress(lines, 0)) == following


def test_a_long_run_comes_in_parts() -> None:
    lines = [line(n) for n in range(5000)]
    followed = 0
    while run := follow_progress(lines, followed):
        assert run == lines[followed + 1 : followed + 1 + len(run)]
        assert len(run) < 1024
        followed += len(run) + 1
    assert followed > 4800


@pytest.mark.parametrize(
    "text",
    [
        line(1, message="x" * 2000),
        line(1).replace(b'"progress":1', b",".join([b'"progress":1'] * 5)),
        b'{"jsonrpc":"2.0","method":"notifications/progress","params":{'
        + b'"progress":1,' * 50_000
        + b'"progressToken":7}}',
    ],
    ids=["long", "with many slots", "with far too many"],
)
def test_of_what_would_take_long_to_compile_no_form_is_made(text: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server could have us do nothing else."""
    lines = [text] * 3000

    def compile_nothing(pattern: bytes) -> Any:
        raise AssertionError(f"a pattern of {len(pattern)} bytes was compiled")

    monkeypatch.setattr("trioproxy.protocol.progress.re.compile", compile_nothing)
    assert follow_progress(lines, 0) == []


@pytest.mark.parametrize(
    "other",
    [
        line(1, 8),
        line(1, "7"),
        line(1, 77),
        line(1, total=10),
        line(-1),
        line(1).replace(b"progress,", b"message,").replace(b"/progress", b"/message"),
        line(1).replace(b"2.0", b"2.1"),
        line(1).replace(b'"progress":1', b'"progress":01'),
        line(1).replace(b'"progress":1', b'"progress":-'),
        line(1).replace(b'"progress":1', b'"progress":'),
        line(1).replace(b'"progress":1', b'"progress":1.'),
        line(1).replace(b'"progress":1', b'"progress":1e3'),
        line(1).replace(b'"progress":1', b'"progress":"1"'),
        line(1).replace(b'"progress":1', b'"progress":1,"progressToken":8'),
        line(1)[:-1],
        line(1) + b"}",
        line(1) + b" ",
        b" " + line(1),
        b"garbage",
        b"{}",
        json.dumps({"jsonrpc": "2.0", "id": 7, "result": {}}).encode(),
    ],
)
def test_a_burst_ends_at_the_first_line_of_another_kind(other: bytes) -> None:
    before, after = [line(n) for n in range(500)], [line(n) for n in range(500, 1000)]
    assert follow_progress([*before, other, *after], 0) == before[1:]


@pytest.mark.parametrize(
    "text",
    [b'"a\\"b"', b'"\\u0041"', b'"a\\\\"', b'"\xc3\xa4"', b'"\xff"', b'"\x00"', b'"\t"', b'"', b'"a"b"', b"1", b"null"],
)
def test_a_message_that_is_more_than_printable_ascii_is_parsed(text: bytes) -> None:
    lines = [line(n, message="#") for n in range(1000)]
    lines[500] = lines[500].replace(b'"#"', text)
    assert follow_progress(lines, 0) == lines[1:500]


@pytest.mark.parametrize("at", [1, 500, 999])
def test_what_is_no_line_is_not_passed_over(at: int) -> None:
    lines: list[object] = [line(n) for n in range(1000)]
    lines[at] = OversizedLine(b"", b"", 10**9)
    assert follow_progress(lines, 0) == []


def test_a_name_that_stands_in_a_text_changes_nothing() -> None:
    """In a string its quotes are escaped, so that no number in it is taken for the progress."""
    lines = [line(n, message='"progress":5,"message":"x",') for n in range(1000)]
    assert follow_progress(lines, 0) == lines[1:]
    lines[600] = lines[600].replace(b":5,", b":5e,")
    assert follow_progress(lines, 0) == lines[1:600], "it is a text that differs, and has a backslash"


def test_two_calls_that_alternate_are_told_apart() -> None:
    lines = [line(n, n % 2) for n in range(1000)]
    assert [follow_progress(lines, at) for at in (0, 1, 2)] == [[], [], []]


TEXTS = st.text(st.sampled_from('ab "\\:,{}ä\x00'), max_size=6)
VALUES = st.one_of(st.integers(-20, 20), st.floats(-2, 2), TEXTS, st.just({"progress": 1, "message": "x"}))
PARAMS = st.dictionaries(st.sampled_from(["progress", "message", "total", "_meta", "x"]), VALUES, max_size=5)


@st.composite
def bursts(draw: Any) -> list[bytes]:
    """Lines of progress of which most are much alike, and some are damaged."""
    params = draw(PARAMS)
    members = draw(
        st.permutations([("jsonrpc", "2.0"), ("method", PROGRESS), ("params", {"progressToken": draw(VALUES), **params})])
    )
    text = json.dumps(dict(members), separators=COMPACT, ensure_ascii=draw(st.booleans())).encode()
    lines = [
        text.replace(b'"progress":1', b'"progress":%d' % n).replace(b'"message":"a', b'"message":"a%d' % n)
        for n in range(300)
    ]
    for n in draw(st.lists(st.integers(1, len(lines) - 1), max_size=4)):
        at, width = draw(st.integers(0, len(lines[n]))), draw(st.integers(0, 2))
        piece = draw(st.sampled_from([b"", b'"', b"\\", b"0", b"1", b",", b"}"]))
        lines[n] = lines[n][:at] + piece + lines[n][at + width :]
    return lines


@settings(derandomize=True, max_examples=400, deadline=None)
@given(bursts())
def test_what_follows_unparsed_would_have_been_parsed_as_progress_of_the_same_request(lines: list[bytes]) -> None:
    try:
        first = parse_line(lines[0])
    except TrioproxyError:
        return
    if not (isinstance(first, Notification) and first.method == PROGRESS):
        return
    for number, follower in enumerate(follow_progress(lines, 0), 1):
        assert follower == lines[number]
        message = parse_line(follower)
        assert isinstance(message, Notification)
        assert (message.method, message.progress_token) == (PROGRESS, first.progress_token)
