"""A log message reaches the one request that asked for it, and no other (2026-07-28, Logging)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.protocol.modern_to_legacy.desk import FORM, NOTHING, Desk, Said, error_codes, to_server


def set_level(number: int, level: str) -> dict[str, Any]:
    return {"id": f"trioproxy:{number}", "method": "logging/setLevel", "params": {"level": level}}


def call(request_id: int) -> dict[str, Any]:
    return {"id": request_id, "method": "tools/call", "params": {"name": "a"}}


def log(desk: Desk, level: str = "error") -> list[Any]:
    """Let the server log something, and return the requests that it is delivered to."""
    message = {"level": level, "logger": "database", "data": {"error": "Connection failed"}}
    said = desk.server(method="notifications/message", params=message)
    assert said == Said(
        [{"jsonrpc": "2.0", "method": "notifications/message", "params": message}] * len(said.related), [], said.related
    )
    return said.related


def test_a_request_that_asks_for_log_messages_gets_them_and_the_server_is_told_first() -> None:
    desk = Desk()
    assert desk.ask(1, log_level="info") == to_server(set_level(2, "info"), call(1))
    assert desk.server(id="trioproxy:2", result={}) == NOTHING
    assert log(desk, "info") == [1]
    desk.server(id=1, result={})
    assert log(desk, "info") == []


def test_a_request_that_does_not_ask_gets_none() -> None:
    """ "The server MUST NOT emit `notifications/message` for a request that does not include this field"."""
    desk = Desk()
    assert desk.ask(1) == to_server(call(1))
    assert log(desk) == []


@pytest.mark.parametrize(
    ("level", "is_delivered"),
    [("debug", False), ("notice", False), ("warning", True), ("error", True), ("emergency", True), ("?", False), (7, False)],
)
def test_messages_below_the_level_asked_for_are_dropped(level: Any, is_delivered: bool) -> None:
    desk = Desk()
    desk.ask(1, log_level="warning")
    assert log(desk, level) == ([1] if is_delivered else [])


def test_the_server_logs_as_much_as_the_most_curious_request_wants() -> None:
    desk = Desk()
    assert desk.ask(1, log_level="warning") == to_server(set_level(2, "warning"), call(1))
    assert desk.ask(2, log_level="debug") == to_server(set_level(3, "debug"), call(2))
    assert desk.ask(3, log_level="error") == to_server(call(3))
    desk.server(id=2, result={})
    assert desk.ask(4, log_level="error") == to_server(set_level(4, "warning"), call(4))
    for request_id in (1, 3, 4):
        desk.server(id=request_id, result={})
    assert desk.ask(5) == to_server(call(5))
    assert desk.ask(6, log_level="warning") == to_server(call(6))


def test_with_two_requests_that_ask_nothing_says_whose_a_message_is() -> None:
    desk = Desk()
    desk.ask(1, log_level="info")
    desk.ask(2)
    assert log(desk) == [1]
    desk.ask(3, log_level="info")
    assert log(desk) == []
    desk.server(id=1, result={})
    assert log(desk) == [3]


def test_a_server_that_does_not_log_is_not_told_to() -> None:
    desk = Desk({"tools": {}})
    assert desk.ask(1, log_level="debug") == to_server(call(1))
    assert log(desk) == [1]


def test_a_server_that_can_not_set_its_level_serves_the_request_all_the_same() -> None:
    desk = Desk()
    desk.ask(1, log_level="debug")
    assert desk.server(id="trioproxy:2", error={"code": -32601, "message": "Method not found"}) == NOTHING
    assert log(desk) == [1]


@pytest.mark.parametrize("method", ["tools/call", "server/discover", "subscriptions/listen"])
@pytest.mark.parametrize("level", ["loud", "INFO", 3, ["info"], {}])
def test_a_level_that_there_is_not_is_refused(method: str, level: Any) -> None:
    """§Error Handling: "Invalid log level: -32602"."""
    desk = Desk()
    said = desk.ask(1, method, {"notifications": {}}, log_level=level)
    assert said.to_server == []
    assert error_codes(said.to_client) == [(1, -32602)]
    assert desk.translator.calls == 0


def test_messages_of_a_parked_call_are_dropped_and_its_retry_gets_what_it_asks_for() -> None:
    desk = Desk()
    forms: dict[str, Any] = {"elicitation": {}}
    desk.ask(1, log_level="error", capabilities=forms)
    desk.server(id="q", method="elicitation/create", params=FORM)
    desk.wait(0.02)
    assert log(desk) == []
    desk.ask(2, log_level="error")
    # It may be the parked call's.
    assert log(desk) == []
    desk.server(id=2, result={})
    said = desk.retry(3, "state-1", {"input-1": {"action": "cancel"}}, log_level="info", capabilities=forms)
    assert said.to_server[0] == {"jsonrpc": "2.0", **set_level(3, "info")}
    assert said.to_server[1]["id"] == "q"
    assert log(desk, "info") == [3]


def test_a_retry_that_does_not_ask_gets_none() -> None:
    desk = Desk()
    desk.ask(1, log_level="debug", capabilities={"elicitation": {}})
    desk.server(id="q", method="elicitation/create", params=FORM)
    desk.wait(0.02)
    desk.retry(2, "state-1", {"input-1": {"action": "cancel"}})
    assert log(desk) == []


def test_a_message_that_comes_on_the_stream_of_a_request_is_for_that_request() -> None:
    """However many ask: over HTTP each response has a stream of its own."""
    desk = Desk()
    desk.ask(1, log_level="info")
    desk.ask(2, log_level="info")
    desk.ask(3)
    params = {"level": "error", "data": "broken"}
    assert desk.server_about(2, method="notifications/message", params=params).related == [2]
    assert desk.server_about(1, method="notifications/message", params=params).related == [1]
    assert desk.server_about(3, method="notifications/message", params=params) == NOTHING
    assert desk.server_about("gone", method="notifications/message", params=params) == NOTHING
