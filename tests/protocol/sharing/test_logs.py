"""Who hears the server's log, and how much it logs (Logging, of both eras)."""

from __future__ import annotations

from typing import Any

from ...modern import request as modern_request
from ...puppet import notification, request, response
from .party import Party, call


def set_level(level: Any, request_id: int | str = 1) -> Any:
    return request("logging/setLevel", request_id, level=level)


def log(level: Any = "info") -> Any:
    return notification("notifications/message", level=level, data="…")


def seated(*names: str) -> Party:
    party = Party(*names)
    party.shake_hands(*names)
    return party


def test_a_log_message_goes_to_those_whose_requests_are_running() -> None:
    party = seated("A", "B", "C")
    assert party.tell(log()) == {}
    party.ask("A", call(1))
    assert party.tell(log()) == {"A": [log()]}
    party.ask("B", call(1))
    assert party.tell(log()) == {"A": [log()], "B": [log()]}
    party.tell(response(2))
    assert party.tell(log()) == {"B": [log()]}
    assert party.skipped == {"unrelated": 1}


def test_each_hears_what_is_severe_enough_for_it() -> None:
    party = seated("A", "B", "C")
    party.tell(response(party.ask("A", set_level("error"))))
    party.tell(response(party.ask("B", set_level("debug"))))
    for name in "ABC":
        party.ask(name, call(1))
    assert party.tell(log("info")) == {"B": [log("info")], "C": [log("info")]}
    assert sorted(party.tell(log("error"))) == ["A", "B", "C"]
    assert sorted(party.tell(log("alert"))) == ["A", "B", "C"]
    assert sorted(party.tell(log("nobody knows"))) == ["A", "B", "C"]


def test_the_server_logs_as_much_as_the_most_curious_wants() -> None:
    party = seated("A", "B")
    assert party.say("A", set_level("warning")) == [set_level("warning", 2)]
    assert party.tell(response(2)) == {"A": [response(1)]}
    assert party.both("B", set_level("error", "b")) == ({"B": [response("b")]}, [])
    assert party.say("B", set_level("debug")) == [set_level("debug", 3)]
    assert party.both("A", set_level("info", "a")) == ({"A": [response("a")]}, [])
    assert party.say("B", set_level("alert", "b")) == [set_level("info", 4)]
    assert party.tell(response(4)) == {"B": [response("b")]}


def test_when_the_most_curious_leaves_the_server_logs_less() -> None:
    party = seated("A", "B", "C")
    party.ask("A", set_level("debug"))
    party.both("B", set_level("error"))
    assert party.leave("C") == []
    (_, heard) = party.leave("A")
    assert heard == set_level("error", heard["id"])
    assert party.tell(response(heard["id"])) == {}
    assert party.leave("B") == []


def test_a_level_that_the_server_refuses_is_not_set() -> None:
    party = seated("A", "B")
    error = {"code": -32601, "message": "Method not found"}
    number = party.ask("A", set_level("error"))
    assert party.tell({"jsonrpc": "2.0", "id": number, "error": error}) == {
        "A": [{"jsonrpc": "2.0", "id": 1, "error": error}]
    }
    party.ask("A", call(1))
    assert party.tell(log()) == {"A": [log()]}
    assert party.ask("B", set_level("error")) == 4


def test_what_is_no_level_is_the_server_s_to_refuse() -> None:
    party = seated("A")
    levels: tuple[Any, ...] = ("loud", 5, None, [])
    for level in levels:
        (heard,) = party.say("A", set_level(level))
        assert heard == set_level(level, heard["id"])


# 2026-07-28


def test_clients_without_a_handshake_hear_what_only_one_of_them_can_have_asked_for() -> None:
    party = Party("A", "B")
    party.ask("A", modern_request("tools/call", 1))
    assert party.tell(log()) == {}
    party.ask("B", modern_request("tools/call", 1, log_level="info"))
    assert party.tell(log()) == {"B": [log()]}
    party.ask("A", modern_request("tools/call", 2, log_level="info"))
    assert party.tell(log()) == {}
    party.tell(response(3))
    assert party.tell(log()) == {"B": [log()]}
