"""A legacy server looks like a modern one, from the first request on."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.protocol.depths import depths_about_the_limit
from tests.protocol.modern_to_legacy.desk import (
    NOTHING,
    OWN_META,
    SERVER_INFO,
    Desk,
    error_codes,
    line,
    modern_request,
    to_client,
    to_server,
)
from trioproxy.protocol.errors import InvalidRequest, ParseError
from trioproxy.protocol.messages import parse_line
from trioproxy.protocol.modern_to_legacy import ModernToLegacy

INITIALIZE = {
    "id": "trioproxy:1",
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {"roots": {}},
        "clientInfo": {"name": "new", "version": "2"},
    },
}
INITIALIZED = {"method": "notifications/initialized"}


def test_the_first_request_opens_the_handshake_and_requests_wait_for_its_end() -> None:
    """2025-11-25, Lifecycle §Initialization."""
    desk = Desk(is_open=False)
    assert desk.ask(1, "tools/list", capabilities={"roots": {}}) == to_server(INITIALIZE)
    assert desk.ask(2, "tools/call", {"name": "b"}, capabilities={"sampling": {}}) == NOTHING
    assert desk.ask("3", "server/discover") == NOTHING
    said = desk.introduce({"tools": {}})
    assert said.to_server == [
        {"jsonrpc": "2.0", **INITIALIZED},
        {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "b"}},
    ]
    assert [message["id"] for message in said.to_client] == ["3"]
    assert desk.ask(4, "prompts/list") == to_server({"id": 4, "method": "prompts/list", "params": {}})


def test_a_server_is_discovered_without_being_asked_again() -> None:
    desk = Desk({"tools": {}, "tasks": {}})
    result = {
        "resultType": "complete",
        "supportedVersions": ["2026-07-28"],
        "capabilities": {"tools": {}},
        "ttlMs": 0,
        "cacheScope": "private",
        "_meta": {"io.modelcontextprotocol/serverInfo": SERVER_INFO},
    }
    assert desk.ask(1, "server/discover") == to_client({"id": 1, "result": result})
    assert desk.translator.capabilities == {"tools": {}, "tasks": {}}


@pytest.mark.parametrize(
    "answer",
    [
        {"error": {"code": -32602, "message": "Unsupported protocol version"}},
        {"result": {"protocolVersion": "1999-01-01", "capabilities": {}}},
        {"result": []},
    ],
)
def test_a_server_that_refuses_the_handshake_answers_nobody(answer: dict[str, Any]) -> None:
    desk = Desk(is_open=False)
    desk.ask(1)
    desk.ask(2, "subscriptions/listen", {"notifications": {}})
    assert (desk.translator.is_refused, desk.translator.capabilities) == (False, {})
    said = desk.server(id="trioproxy:1", **answer)
    assert said.to_server == []
    assert error_codes(said.to_client) == [(1, -32603), (2, -32603)]
    later = desk.ask(3, "server/discover")
    assert error_codes(later.to_client) == [(3, -32603)]
    assert later.to_client[0]["error"] == said.to_client[0]["error"]
    assert "handshake" in later.to_client[0]["error"]["message"]
    assert (desk.translator.is_refused, desk.translator.calls) == (True, 0)


def test_a_request_that_is_cancelled_while_it_waits_for_the_handshake_is_not_sent() -> None:
    desk = Desk(is_open=False)
    desk.ask(1)
    desk.ask(2)
    assert desk.cancel(1) == NOTHING
    assert desk.translator.calls == 1
    assert [message.get("id") for message in desk.introduce().to_server] == [None, 2]


def test_what_the_server_says_during_the_handshake_is_nobodys() -> None:
    """It may ping and log then (2025-11-25, Lifecycle §Initialization), and some ask for roots at once."""
    desk = Desk(is_open=False)
    desk.ask(1, capabilities={"roots": {}}, log_level="debug")
    assert desk.server(id=0, method="ping") == to_server({"id": 0, "result": {}})
    assert desk.server(method="notifications/message", params={"level": "error", "data": "x"}) == NOTHING
    assert error_codes(desk.server(id=1, method="roots/list").to_server) == [(1, -32601)]


def test_the_envelope_is_taken_off_and_every_other_byte_stays() -> None:
    desk = Desk()
    raw = (
        b'{"method":"tools/call","params":{"_meta":{"traceparent":"00-0af7-01","io.modelcontextprotocol/protocolVersion":'
        b'"2026-07-28","com.example/n": 1e999,"io.modelcontextprotocol/clientCapabilities":{},"progressToken":"\\ud800",'
        b'"io.modelcontextprotocol/logLevel":"error"},"name":"a","arguments":{"n":12345678901234567890123}},"jsonrpc":"2.0",'
        b'"id":7}'
    )
    step = desk.translator.from_client(parse_line(raw), 0)
    assert step.to_server[-1] == (
        b'{"method":"tools/call","params":{"_meta":{"traceparent":"00-0af7-01","com.example/n": 1e999,'
        b'"progressToken":"\\ud800"},"name":"a","arguments":{"n":12345678901234567890123}},"jsonrpc":"2.0","id":7}'
    )


def test_answers_without_a_state_go_nowhere() -> None:
    """There was no question."""
    desk = Desk()
    said = desk.ask(1, params={"name": "a", "inputResponses": {"input-1": {}}})
    assert said == to_server({"id": 1, "method": "tools/call", "params": {"name": "a"}})


@pytest.mark.parametrize(
    "method",
    [
        "initialize",
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "resources/unsubscribe",
        "tasks/list",
        "tasks/get",
        "tasks/result",
        "tasks/cancel",
    ],
)
def test_a_method_that_the_modern_era_left_behind_does_not_reach_the_server(method: str) -> None:
    said = Desk().ask(1, method)
    assert said.to_server == []
    assert error_codes(said.to_client) == [(1, -32601)]


def test_a_method_that_nobody_knows_is_the_servers_to_refuse() -> None:
    desk = Desk()
    assert desk.ask(1, "vendor/own") == to_server({"id": 1, "method": "vendor/own", "params": {}})
    error = {"id": 1, "error": {"code": -32601, "message": "Method not found"}}
    assert desk.server(**error) == to_client(error)


def test_a_response_gets_what_its_era_requires() -> None:
    desk = Desk()
    desk.ask(1)
    result = {"content": [{"type": "text", "text": "Paris"}]}
    assert desk.server(id=1, result=result) == to_client(
        {"id": 1, "result": {**result, "resultType": "complete", "_meta": OWN_META}}
    )


def test_a_response_that_is_broken_in_the_middle_ends_its_call_alone() -> None:
    desk = Desk()
    desk.ask(1)
    desk.ask(2)
    said = desk.server_line(b'{"jsonrpc":"2.0","id":1,"result":{"_meta":' + b" " * 20_000 + b"}}")
    assert error_codes(said.to_client) == [(1, -32603)]
    assert len(desk.server(id=2, result={}).to_client) == 1


def test_a_response_that_nobody_waits_for_goes_nowhere() -> None:
    desk = Desk()
    desk.ask(1)
    for request_id in (2, "1", None, "trioproxy:1"):
        assert desk.server(id=request_id, result={}) == NOTHING
    assert desk.server(error={"code": -32700, "message": "?"}) == NOTHING
    assert len(desk.server(id=1, result={}).to_client) == 1
    assert desk.server(id=1, result={}) == NOTHING


def test_a_cancellation_reaches_the_server_and_its_late_response_nobody() -> None:
    """2026-07-28, Cancellation §Transport-Specific Cancellation."""
    desk = Desk()
    desk.ask(1)
    cancellation = {"method": "notifications/cancelled", "params": {"requestId": 1, "reason": "User requested cancellation"}}
    assert desk.client(line(**cancellation)) == to_server(cancellation)
    assert desk.server(id=1, result={}) == NOTHING
    assert desk.client(line(**cancellation)) == NOTHING
    assert desk.cancel("1") == NOTHING
    assert desk.client(line(method="notifications/cancelled")) == NOTHING


@pytest.mark.parametrize(
    "method", ["notifications/initialized", "notifications/roots/list_changed", "notifications/progress"]
)
def test_whatever_else_a_client_says_goes_nowhere(method: str) -> None:
    assert Desk().client(line(method=method, params={"progressToken": 1, "progress": 1})) == NOTHING


def test_a_client_is_not_asked_and_so_does_not_answer() -> None:
    assert Desk().client(line(id=1, result={})) == NOTHING


def test_a_ping_is_answered_at_once() -> None:
    """2025-11-25, Ping: "The receiver MUST respond promptly with an empty response"."""
    desk = Desk()
    assert desk.server(id="p", method="ping") == to_server({"id": "p", "result": {}})


@pytest.mark.parametrize(
    "method", ["notifications/elicitation/complete", "notifications/tasks/status", "notifications/vendor", "x"]
)
def test_a_notification_that_the_modern_era_does_not_have_goes_nowhere(method: str) -> None:
    desk = Desk()
    desk.ask(1)
    assert desk.server(method=method, params={"elicitationId": "e"}) == NOTHING


@pytest.mark.parametrize("token", [7, "seven"])
def test_progress_belongs_to_the_call_whose_token_it_carries_as_long_as_it_lasts(token: int | str) -> None:
    desk = Desk()
    desk.ask(1, progressToken=token)
    progress = {"method": "notifications/progress", "params": {"progressToken": token, "progress": 1}}
    assert desk.server(**progress) == to_client(progress)
    assert desk.server(method="notifications/progress", params={"progressToken": "other", "progress": 1}) == NOTHING
    assert desk.server(method="notifications/progress", params={"progress": 1}) == NOTHING
    desk.server(id=1, result={})
    assert desk.server(**progress) == NOTHING


def test_an_id_can_not_be_that_of_two_requests_in_flight() -> None:
    """Basic §Requests."""
    desk = Desk(is_open=False)
    desk.ask(1)
    with pytest.raises(InvalidRequest, match="1"):
        desk.ask(1, "server/discover")
    desk.introduce()
    desk.ask("listen", "subscriptions/listen", {"notifications": {}})
    for request_id in (1, "listen"):
        with pytest.raises(InvalidRequest):
            desk.ask(request_id)
    desk.server(id=1, result={})
    assert len(desk.ask(1).to_server) == 1
    assert len(desk.ask("1").to_server) == 1


def test_calls_are_counted_until_they_are_answered_and_subscriptions_are_not() -> None:
    desk = Desk(is_open=False)
    desk.ask(1)
    desk.ask(2, "server/discover")
    desk.ask(3, "subscriptions/listen", {"notifications": {}})
    assert desk.translator.calls == 2
    desk.introduce()
    assert desk.translator.calls == 1
    desk.ask(4, "tools/list")
    desk.server(id=1, result={})
    assert desk.translator.calls == 1
    desk.cancel(4)
    assert desk.translator.calls == 0


def test_a_translator_that_waits_for_nothing_has_no_deadline_and_is_never_transparent() -> None:
    translator = ModernToLegacy(lambda: "state")
    assert (translator.deadline, translator.is_transparent, translator.holds("state")) == (math.inf, False, False)


def test_a_request_that_can_just_be_read_is_not_nested_too_deeply_to_be_answered() -> None:
    """How deep that is depends on the stack, so that every depth about there is tried."""
    desk = Desk()
    raw = modern_request(0, "tools/call", {"name": "a", "arguments": 0}).raw

    def nested(value: bytes) -> bytes:
        return raw.replace(b'"arguments": 0', b'"arguments": ' + value)

    read = 0
    for number, depth in enumerate(depths_about_the_limit(nested)):
        line = nested(b"[" * depth + b"]" * depth).replace(b'"id": 0', b'"id": %d' % number)
        try:
            message = parse_line(line)
        except ParseError:
            break
        step = desk.translator.from_client(message, 0)
        assert len(step.to_server) + len(step.to_client) == 1
        read += 1
    assert 0 < read < 300
    assert len(desk.ask("after").to_server) == 1
