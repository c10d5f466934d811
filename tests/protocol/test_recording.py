"""A message that has passed, as a line of a recording: what is written, and that it is read as it was."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioproxy.protocol.errors import InvalidRequest, ParseError
from trioproxy.protocol.recording import TO_CLIENT, TO_SERVER, Entry, Lost, read_entry, write_entry, write_loss

TIME = "2026-07-28T12:00:00.000001Z"
PING = b'{"jsonrpc": "2.0","id":1,"method":"ping"}'


def test_a_line_says_when_whose_which_way_and_what() -> None:
    assert write_entry(Entry(TIME, TO_SERVER, PING, "ab12cd", 3)) == (
        b'{"time":"2026-07-28T12:00:00.000001Z","session":"ab12cd","stream":3,"request":null,'
        b'"direction":"client-to-server","message":{"jsonrpc": "2.0","id":1,"method":"ping"}}'
    )
    assert json.loads(write_entry(Entry(TIME, TO_CLIENT, PING, request="x"))) == {
        "time": TIME,
        "session": None,
        "stream": None,
        "request": "x",
        "direction": "server-to-client",
        "message": json.loads(PING),
    }


def test_lost_messages_are_a_line_of_their_own() -> None:
    assert json.loads(write_loss(Lost(TIME, 7))) == {"time": TIME, "lost": 7}
    assert read_entry(write_loss(Lost(TIME, 7))) == Lost(TIME, 7)


@pytest.mark.parametrize(
    "message",
    [
        b'{"n":123456789012345678901234567890.10,"s":"\\ud83d\\/","z":1E400,"a" : -0.0,"a":2}',
        b'{"digits":' + b"7" * 6000 + b"}",
        '{"text":"ünï\u2028\u2029\x85\U0001f600"}'.encode(),
        b'{"jsonrpc":"2.0","id":1,"result":{"message":{"message":1},"text":"' + b"x" * 100_000 + b'"}}',
        b"[" * 300 + b"]" * 300,
        b'[{"jsonrpc":"2.0","id":1,"result":{}}]',
        b"7",
    ],
    ids=["numbers", "digits", "separators", "long", "nested", "batch", "no-message"],
)
def test_json_stands_in_its_line_as_it_has_passed(message: bytes) -> None:
    line = write_entry(Entry(TIME, TO_CLIENT, message))
    assert line.endswith(b'"message":' + message + b"}")
    assert read_entry(line) == Entry(TIME, TO_CLIENT, message)


def test_white_space_does_not_end_a_line() -> None:
    line = write_entry(Entry(TIME, TO_CLIENT, b'{"a":\r\n1}\r'))
    assert line.endswith(b'"message":{"a":  1} }')


@pytest.mark.parametrize(
    "message",
    [
        b"Listening on stdio",
        b"",
        b'{"a":NaN}',
        b'{"a":1',
        b'{"a":1} {"b":2}',
        b'{"a":"\n"}',
        b"\xff\x00\xed\xa0\x80",
        b"[" * 100_000,
        b"{" + b"x" * 100_000,
        b'", "session": "z"}',
    ],
)
def test_what_is_not_json_is_a_string_and_read_byte_for_byte(message: bytes) -> None:
    line = write_entry(Entry(TIME, TO_CLIENT, message))
    assert b"\n" not in line
    assert "message" not in json.loads(line)
    assert read_entry(line) == Entry(TIME, TO_CLIENT, message)


def test_of_a_line_over_the_limit_its_beginning_and_its_length_are_kept() -> None:
    entry = Entry(TIME, TO_CLIENT, b'{"jsonrpc":"2.0"', length=70_000_000)
    line = write_entry(entry)
    assert (json.loads(line)["raw"], json.loads(line)["length"]) == ('{"jsonrpc":"2.0"', 70_000_000)
    assert read_entry(line) == entry


entries = st.builds(
    Entry,
    st.just(TIME),
    st.sampled_from([TO_SERVER, TO_CLIENT]),
    st.binary(),
    st.none() | st.text(),
    st.none() | st.integers(),
    st.none() | st.integers() | st.text(),
    st.none() | st.integers(),
)


@given(entries)
def test_any_bytes_are_read_as_they_were_written(entry: Entry) -> None:
    line = write_entry(entry)
    assert b"\n" not in line
    if b"\r" not in entry.message and b"\n" not in entry.message:
        assert read_entry(line) == entry


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "not JSON"),
        (b"\xff", "not UTF-8"),
        (b"{}", '"direction" is client-to-server or server-to-client; this is None'),
        (b"[]", "an object"),
        (b'{"direction":"client-to-server"}', 'a "message" or a "raw"; this has neither'),
        (b'{"direction":"client-to-server","raw":1}', '"raw" is str, or null; this is 1'),
        (b'{"direction":"client-to-server","raw":"\\ud800"}', "surrogates that stand for no byte"),
        (b'{"direction":"client-to-server","raw":"","session":1}', '"session" is str, or null; this is 1'),
        (b'{"direction":"client-to-server","raw":"","request":true}', '"request" is int or str, or null; this is True'),
        (b'{"direction":["x"],"raw":""}', "this is ['x']"),
        (b'{"lost":"many"}', '"lost" is int'),
        (write_entry(Entry(TIME, TO_SERVER, PING))[:-1], "not JSON"),
        (write_entry(Entry(TIME, TO_SERVER, PING)) * 2, "more after the end"),
    ],
)
def test_a_line_that_makes_no_sense_is_refused_with_the_reason(line: bytes, reason: str) -> None:
    with pytest.raises((ParseError, InvalidRequest)) as raised:
        read_entry(line)
    assert reason in str(raised.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@given(
    st.binary()
    | st.fixed_dictionaries(
        {},
        optional={
            "time": json_values,
            "direction": json_values | st.sampled_from([TO_SERVER, TO_CLIENT]),
            "message": json_values,
            "raw": json_values,
            "length": json_values,
            "session": json_values,
            "request": json_values,
            "lost": json_values,
        },
    )
)
def test_nothing_else_is_raised_whatever_the_line(value: Any) -> None:
    line = value if isinstance(value, bytes) else json.dumps(value).encode()
    try:
        entry = read_entry(line)
    except (ParseError, InvalidRequest):
        return
    assert isinstance(entry, Entry | Lost)
