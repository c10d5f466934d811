"""What the proxy says itself are messages like any other, each on one line."""

from __future__ import annotations

import json

import pytest

from trioproxy.protocol.messages import Notification, Request, RequestId, Response, parse_line, parse_result
from trioproxy.protocol.own_messages import (
    cancelled_notification,
    cancelled_response,
    initialize_request,
    initialized_notification,
    refusal,
)


def test_a_handshake_is_a_request_with_all_that_it_must_have_and_a_notification() -> None:
    """Lifecycle §Initialization: protocol version, capabilities and client information."""
    request = parse_line(initialize_request("2025-06-18"))
    assert isinstance(request, Request)
    assert request.method == "initialize"
    assert request.params["protocolVersion"] == "2025-06-18"
    assert request.params["capabilities"] == {}
    assert request.params["clientInfo"].keys() == {"name", "version"}
    assert parse_line(initialized_notification()) == Notification(
        initialized_notification(), "notifications/initialized", {}
    )


@pytest.mark.parametrize("request_id", [0, 10**40, "", "a\nb", "\ud800"])
def test_a_cancellation_names_its_request_whatever_it_is_called(request_id: RequestId) -> None:
    """Utilities §Cancellation."""
    line = cancelled_notification(request_id, "it took\ntoo long")
    message = parse_line(line)
    assert isinstance(message, Notification)
    assert message.cancelled_id == request_id
    assert b"\n" not in line


@pytest.mark.parametrize("request_id", [0, 10**40, "", "a\nb", "\ud800"])
def test_a_cancelled_request_is_answered_with_an_error(request_id: RequestId) -> None:
    line = cancelled_response(request_id)
    assert parse_line(line) == Response(line, request_id, True)
    assert json.loads(line)["error"] == {"code": -32800, "message": "Request cancelled"}


def test_a_ping_is_answered_for_a_client_and_anything_else_refused() -> None:
    """Utilities §Ping: "The receiver MUST respond promptly with an empty response"."""
    ping = parse_line(refusal(Request(b"", 7, "ping", {})))
    assert isinstance(ping, Response)
    assert (ping.id, ping.is_error, parse_result(ping)) == (7, False, {})
    question = refusal(Request(b"", "q", "sampling/createMessage", {}))
    assert json.loads(question)["id"] == "q"
    assert json.loads(question)["error"]["code"] == -32601
