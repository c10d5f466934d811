"""Media types and the revision, as clients spell them."""

from __future__ import annotations

import pytest

from trioproxy.protocol.errors import NotAcceptable, UnsupportedMediaType, UnsupportedRevision
from trioproxy.protocol.headers import EVENT_STREAM, JSON, check_accept, check_content_type, check_revision
from trioproxy.protocol.revisions import LEGACY_REVISIONS


@pytest.mark.parametrize(
    "value",
    [
        b"application/json",
        b"application/json; charset=utf-8",
        b"application/json;charset=utf-8",
        b"Application/JSON",
        b" application/json ",
    ],
)
def test_a_body_declared_as_json_is_read(value: bytes) -> None:
    check_content_type(value)


@pytest.mark.parametrize(
    "value", [None, b"", b"text/plain", b"application/jsonp", b"application/json-rpc", b"text/plain; a=application/json"]
)
def test_a_body_declared_as_anything_else_is_refused(value: bytes | None) -> None:
    with pytest.raises(UnsupportedMediaType):
        check_content_type(value)


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"application/json, text/event-stream",
        b"text/event-stream, application/json",
        b"application/json,text/event-stream",
        b"text/event-stream;q=0.5 , Application/JSON; q=0.1",
        b"*/*",
        b"application/*, text/*",
        b"text/html, */*;q=0.1",
    ],
)
def test_who_takes_json_and_event_streams_may_post(value: bytes | None) -> None:
    """Transports §Sending Messages, 2; RFC 9110 §12.5.1: no Accept at all means everything."""
    check_accept(value, JSON, EVENT_STREAM)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"application/json",
        b"text/event-stream",
        b"application/*",
        b"text/html",
        b"application/json-seq, text/event-stream",
        b"application/json, text/event-streams",
        b"x-application/json, text/event-stream",
    ],
)
def test_who_rules_one_of_them_out_is_told_which_were_needed(value: bytes) -> None:
    with pytest.raises(NotAcceptable, match="application/json and text/event-stream"):
        check_accept(value, JSON, EVENT_STREAM)


def test_only_what_is_needed_is_asked_for() -> None:
    check_accept(b"text/event-stream", EVENT_STREAM)
    check_accept(b"application/json", JSON)
    with pytest.raises(NotAcceptable, match=r"admit text/event-stream; this is 'application/json'"):
        check_accept(b"application/json", EVENT_STREAM)


def test_who_has_to_say_what_it_accepts_and_does_not_is_refused() -> None:
    """2026-07-28, Streamable HTTP §Sending Messages, 2: "The client MUST include an Accept header"."""
    with pytest.raises(NotAcceptable, match="admit application/json and text/event-stream; this is none"):
        check_accept(None, JSON, EVENT_STREAM, is_required=True)
    with pytest.raises(NotAcceptable, match="this is 'application/json'"):
        check_accept(b"application/json", JSON, EVENT_STREAM, is_required=True)
    check_accept(b"application/json, text/event-stream", JSON, EVENT_STREAM, is_required=True)
    check_accept(b"*/*", JSON, EVENT_STREAM, is_required=True)


@pytest.mark.parametrize("revision", LEGACY_REVISIONS)
def test_any_revision_with_a_handshake_may_be_named(revision: str) -> None:
    check_revision(revision.encode())


def test_a_request_without_the_header_is_of_the_revision_that_was_agreed_on() -> None:
    """2025-06-18, Transports §Protocol Version Header."""
    check_revision(None)


@pytest.mark.parametrize("value", [b"", b"2026-07-28", b"2025-06-19", b"DRAFT", b"2025-06-18, 2025-06-18", b"\xff"])
def test_a_revision_that_is_not_served_is_refused_with_those_that_are(value: bytes) -> None:
    """2025-06-18, Transports §Protocol Version Header: "it MUST respond with 400 Bad Request"."""
    with pytest.raises(UnsupportedRevision) as raised:
        check_revision(value)
    assert all(revision in str(raised.value) for revision in LEGACY_REVISIONS)


def test_a_refusal_shows_what_came_but_not_at_length() -> None:
    for check in (check_content_type, check_revision, lambda value: check_accept(value, JSON)):
        with pytest.raises((NotAcceptable, UnsupportedMediaType, UnsupportedRevision)) as raised:
            check(b"x" * 10_000)
        assert "xxxx" in str(raised.value)
        assert len(str(raised.value)) < 250
