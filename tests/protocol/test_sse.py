"""What an EventSource makes of our events is what we meant."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from trioproxy.protocol.sse import KEEP_ALIVE, encode_endpoint_event, encode_messages, encode_priming_event


def read_as_a_browser_does(stream: bytes) -> list[dict[str, str]]:
    """Parse an event stream (HTML standard §Parsing an event stream), events without data included."""
    events: list[dict[str, str]] = []
    event: dict[str, str] = {}
    for line in stream.decode().replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        name, colon, value = line.partition(":")
        if not line:
            if event:
                events.append(event)
            event = {}
        elif name:
            value = value.removeprefix(" ") if colon else ""
            event[name] = event["data"] + "\n" + value if name == "data" and "data" in event else value
    assert not event, "a stream ends with an empty line"
    return events


def test_messages_become_events_with_ids_that_count() -> None:
    assert encode_messages([b'{"a":1}', b'{"b":2}'], b"tag-4-", 9) == (
        b'event: message\nid: tag-4-9\ndata: {"a":1}\n\nevent: message\nid: tag-4-10\ndata: {"b":2}\n\n'
    )


def test_an_id_may_be_of_any_text() -> None:
    assert encode_messages([b"{}"], b"100%d-", 9) == b"event: message\nid: 100%d-9\ndata: {}\n\n"


def test_messages_have_no_ids_where_nothing_can_be_resumed() -> None:
    """2024-11-05, Transports §HTTP with SSE: "Server messages are sent as SSE message events"."""
    assert encode_messages([b"{}"]) == b"event: message\ndata: {}\n\n"


def test_a_priming_event_has_an_id_and_no_data() -> None:
    """2025-11-25, Transports §Sending Messages: "an SSE event consisting of an event ID and an empty data field"."""
    event = encode_priming_event(b"tag-4-0", 1500)
    assert read_as_a_browser_does(event) == [{"id": "tag-4-0", "retry": "1500", "data": ""}]


def test_the_endpoint_event_says_where_to_post() -> None:
    """2024-11-05, Transports §HTTP with SSE."""
    event = encode_endpoint_event("/messages?session_id=x")
    assert read_as_a_browser_does(event) == [{"event": "endpoint", "data": "/messages?session_id=x"}]


def test_a_keep_alive_is_no_event() -> None:
    assert read_as_a_browser_does(KEEP_ALIVE) == []


def test_a_carriage_return_between_tokens_does_not_cut_a_message() -> None:
    """HTML standard §Parsing: a lone CR ends a line, too."""
    event = encode_messages([b'{"a":\r1}\r'], b"t-0-", 1)
    (read,) = read_as_a_browser_does(event)
    assert json.loads(read["data"]) == {"a": 1}


@settings(derandomize=True, max_examples=150, deadline=None)
@given(
    texts=st.lists(st.text(), max_size=4),
    number=st.integers(1, 10**9),
    space=st.sampled_from(["", " ", "\r", "\t", "\r\r "]),
)
def test_any_message_arrives_as_it_was(texts: list[str], number: int, space: str) -> None:
    messages = [f'{{"text":{space}{json.dumps(t, ensure_ascii=False)}{space}}}'.encode() for t in texts]
    read = read_as_a_browser_does(encode_messages(messages, b"t-1-", number))
    assert [json.loads(event["data"])["text"] for event in read] == texts
    assert [event["id"] for event in read] == [f"t-1-{number + n}" for n in range(len(texts))]
