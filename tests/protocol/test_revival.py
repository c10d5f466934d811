"""What a new server is told of a session, and what the client is told of the new server."""

from __future__ import annotations

import json
from typing import Any

from trioproxy.protocol.messages import Response, parse_line
from trioproxy.protocol.revival import Memory, changes


def line(**members: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **members}).encode()


def remember(*messages: bytes) -> Memory:
    memory = Memory()
    for message in messages:
        memory.note(parse_line(message))
    return memory


INITIALIZE = line(id=0, method="initialize", params={"protocolVersion": "2025-11-25"})
INITIALIZED = line(method="notifications/initialized")


def test_without_a_whole_handshake_there_is_nothing_to_go_on_with() -> None:
    assert not remember().is_complete
    assert not remember(INITIALIZE).is_complete
    assert not remember(INITIALIZED).is_complete
    memory = remember(INITIALIZE, INITIALIZED)
    assert memory.is_complete
    assert memory.initialize == parse_line(INITIALIZE)
    assert memory.rest() == [(None, INITIALIZED)]


def test_the_last_level_and_the_subscriptions_that_hold_are_said_again_under_ids_of_our_own() -> None:
    memory = remember(
        INITIALIZE,
        INITIALIZED,
        line(id=1, method="logging/setLevel", params={"level": "debug"}),
        line(id=2, method="resources/subscribe", params={"uri": "a:"}),
        line(id=3, method="resources/subscribe", params={"uri": "b:", "n": [1, 2]}),
        line(id=4, method="resources/unsubscribe", params={"uri": "a:"}),
        line(id=5, method="logging/setLevel", params={"level": "error"}),
        line(id=6, method="tools/call", params={"name": "x"}),
        line(id=7, result={}),
    )
    ids, lines = zip(*memory.rest(), strict=True)
    assert ids == (None, "trioproxy:again-0", "trioproxy:again-1")
    assert [json.loads(text) for text in lines] == [
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": ids[1], "method": "logging/setLevel", "params": {"level": "error"}},
        {"jsonrpc": "2.0", "id": ids[2], "method": "resources/subscribe", "params": {"uri": "b:", "n": [1, 2]}},
    ]


def test_the_client_hears_of_the_lists_whose_changes_are_announced() -> None:
    def told(capabilities: Any) -> list[str]:
        response = parse_line(line(id=0, result={"capabilities": capabilities}))
        assert isinstance(response, Response)
        return [json.loads(message)["method"] for message in changes(response)]

    assert told({"tools": {"listChanged": True}, "prompts": {}, "resources": {"listChanged": True, "subscribe": True}}) == [
        "notifications/tools/list_changed",
        "notifications/resources/list_changed",
    ]
    assert told({"tools": {"listChanged": False}}) == []
    assert told(None) == []
