"""What is large is read by another parser, and is what it would be by the standard library's."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trioproxy.large_json import read_large
from trioproxy.protocol.errors import TrioproxyError
from trioproxy.protocol.messages import parse_body

LONG = b"x" * 70_000
REQUEST = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"long":"%b","more":%%b}}' % LONG


def read(body: bytes, *reader: Any) -> object:
    """Return what a body is, or what is wrong with it."""
    try:
        return parse_body(body, *reader)
    except TrioproxyError as error:
        return type(error), str(error)


@pytest.mark.parametrize(
    "more",
    [
        b"{}",
        b'"\\ud800"',
        b'"\\ud83d\\ude00"',
        b'"\xc3\xa9\\u00e9"',
        b"1.0",
        b"-0",
        b"1e5",
        b"1e999",
        b"9" * 5000,
        b"12345678901234567890123456789",
        b'{"a":1,"a":2}',
        b"[" * 150 + b"]" * 150,
        b"[" * 900 + b"]" * 900,
        b"\t[ 1 ,\r\n 2 ] ",
    ],
)
def test_what_is_json_is_the_same_message(more: bytes) -> None:
    message = read(REQUEST % more, read_large)
    assert message == read(REQUEST % more)
    assert not isinstance(message, tuple) or isinstance(message[0], bytes)


@pytest.mark.parametrize(
    "more",
    [
        *(b"", b"NaN", b"Infinity", b"01", b"1.", b"+1", b"[1,]", b"{}}", b"tru", b"/**/1", b'{"a" 1}', b"{a:1}"),
        *(b"'a'", b'"\n"', b'"\x00"', b'"\\x"', b'"\xff"', b'"\xed\xa0\x80"', b"\xef\xbb\xbf1"),
        b"[" * 100_000,
    ],
)
def test_what_is_none_is_refused_with_the_same_words(more: bytes) -> None:
    refusal = read(REQUEST % more, read_large)
    assert isinstance(refusal, tuple)
    assert isinstance(refusal[0], type)
    assert refusal == read(REQUEST % more)


@pytest.mark.parametrize("value", [1, None, "x", {"jsonrpc": "1.0"}, {"jsonrpc": "2.0", "id": 1.0, "method": "a"}])
def test_what_is_no_message_is_refused_with_the_same_words(value: object) -> None:
    body = json.dumps(value).encode() + b" " * 70_000 + b"\t"
    for large in (body, json.dumps({"long": LONG.decode(), "value": value}).encode()):
        assert read(large, read_large) == read(large)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=200)
@given(json_values, st.booleans())
def test_whatever_it_says_it_is_the_same_message(value: object, is_ascii: bool) -> None:
    more = json.dumps(value, ensure_ascii=is_ascii).encode("utf-8", "surrogatepass")
    assert read(REQUEST % more, read_large) == read(REQUEST % more)


@settings(max_examples=300)
@given(st.binary(max_size=40))
def test_whatever_is_no_json_to_one_is_none_to_the_other(more: bytes) -> None:
    assert read(REQUEST % more, read_large) == read(REQUEST % more)
