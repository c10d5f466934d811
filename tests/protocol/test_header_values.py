"""A header that repeats what the body says is read in one way or not at all."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trioproxy.protocol.errors import HeaderMismatch
from trioproxy.protocol.header_values import decode_header_value, encode_header_value, shown, single_value


@pytest.mark.parametrize(
    ("value", "header"),
    [
        ("us-west1", "us-west1"),
        ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
        (" padded ", "=?base64?IHBhZGRlZCA=?="),
        ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
        ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
    ],
)
def test_the_examples_of_the_specification_are_encoded_as_it_has_them(value: str, header: str) -> None:
    """2026-07-28, Streamable HTTP §Value Encoding."""
    assert encode_header_value(value) == header
    assert decode_header_value("Mcp-Param-Text", header) == value


@pytest.mark.parametrize(
    ("value", "header"),
    [
        (42, "42"),
        (-7, "-7"),
        (0, "0"),
        (True, "true"),
        (False, "false"),
        ("", ""),
        ("a b", "a b"),
        ("true", "true"),
        ("a\tb", "=?base64?YQli?="),
        ("\x7f", "=?base64?fw==?="),
        # It starts and ends as Base64 does, though both share a question mark.
        ("=?base64?=", "=?base64?PT9iYXNlNjQ/PQ==?="),
    ],
)
def test_numbers_and_booleans_are_words_and_what_is_not_plain_is_base64(value: str | int | bool, header: str) -> None:
    """2026-07-28, Streamable HTTP §Value Encoding: "Type conversion"."""
    assert encode_header_value(value) == header


@settings(derandomize=True, max_examples=300, deadline=None)
@given(st.text())
@example(" ")
@example("=?base64??=")
@example("=?base64?x")
@example("\r\nX-Injected: 1")
def test_what_is_encoded_is_safe_in_a_header_and_comes_back_as_it_was(value: str) -> None:
    header = encode_header_value(value)
    assert single_value(lambda _: [b" \t" + header.encode() + b" "], "Mcp-Name") == header
    assert decode_header_value("Mcp-Name", header) == value


def test_a_lone_surrogate_has_no_bytes() -> None:
    with pytest.raises(UnicodeEncodeError):
        encode_header_value("\ud800")


@pytest.mark.parametrize(
    "value", ["SGVsbG8=", "=?base64?SGVsbG8=", "SGVsbG8=?=", "=?BASE64?SGVsbG8=?=", "x=?base64?SGVsbG8=?="]
)
def test_what_is_not_marked_as_base64_is_taken_as_it_is(value: str) -> None:
    """2026-07-28, Streamable HTTP §Value Encoding: "These markers are case-sensitive and MUST appear exactly as shown"."""
    assert decode_header_value("Mcp-Name", value) == value


@pytest.mark.parametrize(
    "value",
    [
        "=?base64?SGVsbG8?=",  # no padding
        "=?base64?SGVs!!!bG8=?=",  # not of the alphabet
        "=?base64?SGVsbG9=?=",  # bits to spare that are not zero
        "=?base64?SGVs bG8=?=",
        "=?base64?/w==?=",  # not UTF-8
        "=?base64?7aCA?=",  # a surrogate
        "=?base64?é?=",
    ],
)
def test_what_is_marked_as_base64_and_is_not_is_refused(value: str) -> None:
    """2026-07-28, Streamable HTTP §Server Behavior for Custom Headers."""
    with pytest.raises(HeaderMismatch, match=r"Mcp-Name header value .* is not Base64 of UTF-8"):
        decode_header_value("Mcp-Name", value)


def test_a_header_is_asked_for_by_its_name_in_lower_case() -> None:
    """2026-07-28, Streamable HTTP §Case Sensitivity."""
    headers = {b"mcp-method": [b"tools/list"]}
    assert single_value(lambda name: headers.get(name, []), "Mcp-Method") == "tools/list"
    assert single_value(lambda name: headers.get(name, []), "Mcp-Name") is None


def test_a_header_that_is_empty_is_there() -> None:
    assert single_value(lambda _: [b" "], "Mcp-Name") == ""


def test_a_header_that_comes_twice_is_refused_even_if_it_says_the_same() -> None:
    with pytest.raises(HeaderMismatch, match="Mcp-Name comes 2 times"):
        single_value(lambda _: [b"echo", b"echo"], "Mcp-Name")


@pytest.mark.parametrize("character", [b"\x00", b"\r", b"\n", b"\x1f", b"\x7f", b"\x80", b"\xe9", b"\xff"])
def test_a_character_that_no_header_may_have_is_refused_and_shown(character: bytes) -> None:
    """2026-07-28, Streamable HTTP §Server Validation: "A header value contains invalid characters"."""
    with pytest.raises(HeaderMismatch, match=f"Mcp-Name .* byte 0x{character.hex()} at position 2"):
        single_value(lambda _: [b"  ab" + character + b"cd"], "Mcp-Name")


@pytest.mark.parametrize(
    ("value", "evidence"),
    [
        ("foo", "'foo'"),
        (None, "null"),
        (True, "true"),
        (7, "7"),
        ({"a": 1}, "(an object)"),
        ([1], "(an array)"),
        ("x" * 60, f"'{'x' * 60}'"),
        ("x" * 61, f"'{'x' * 60}…'"),
        (10**80, "1" + "0" * 59 + "…"),
    ],
)
def test_evidence_is_short(value: object, evidence: str) -> None:
    assert shown(value) == evidence
