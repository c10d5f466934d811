"""Who hears of which resources (2025-11-25, Resources §Subscriptions)."""

from __future__ import annotations

from typing import Any

import pytest

from trioproxy.protocol.sharing import subscriptions

from ...puppet import notification, request, response
from .party import Party

FILE = "file:///a"


def subscribe(request_id: int | str = 1, uri: Any = FILE) -> Any:
    return request("resources/subscribe", request_id, uri=uri)


def unsubscribe(request_id: int | str = 1, uri: Any = FILE) -> Any:
    return request("resources/unsubscribe", request_id, uri=uri)


def updated(uri: Any = FILE) -> Any:
    return notification("notifications/resources/updated", uri=uri)


def agree(party: Party, name: str, message: Any) -> None:
    """Let the server do as it is asked."""
    assert party.tell(response(party.ask(name, message))) == {name: [response(message["id"])]}


def test_the_server_hears_of_the_first_that_subscribes_and_of_the_last_that_does_not() -> None:
    party = Party("A", "B")
    agree(party, "A", subscribe())
    assert party.both("B", subscribe("b")) == ({"B": [response("b")]}, [])
    assert party.both("A", unsubscribe("a")) == ({"A": [response("a")]}, [])
    agree(party, "B", unsubscribe())
    agree(party, "B", subscribe())


def test_who_has_subscribed_hears_of_it_and_nobody_else() -> None:
    party = Party("A", "B", "C")
    party.shake_hands("A", "B", "C")
    agree(party, "A", subscribe())
    agree(party, "B", subscribe(1, "file:///b"))
    assert party.tell(updated()) == {"A": [updated()]}
    assert party.tell(updated("file:///b")) == {"B": [updated("file:///b")]}
    assert party.tell(updated("file:///c")) == {}
    party.both("B", subscribe())
    assert party.tell(updated()) == {"A": [updated()], "B": [updated()]}
    party.both("A", unsubscribe())
    assert party.tell(updated()) == {"B": [updated()]}
    assert party.tell(updated(5)) == {}


@pytest.mark.parametrize(
    ("uri", "is_heard"),
    [("file:///a/b", True), ("file:///a#b", True), ("file:///a?b", True), ("file:///ab", False), ("file:///", False)],
)
def test_a_sub_resource_belongs_to_what_was_subscribed_to(uri: str, is_heard: bool) -> None:
    party = Party("A")
    agree(party, "A", subscribe())
    assert party.tell(updated(uri)) == ({"A": [updated(uri)]} if is_heard else {})


def test_while_the_server_has_not_agreed_each_client_asks_for_itself() -> None:
    party = Party("A", "B")
    assert party.ask("A", subscribe()) == 1
    assert party.ask("B", subscribe()) == 2
    error = {"code": -32002, "message": "Resource not found"}
    assert party.tell({"jsonrpc": "2.0", "id": 1, "error": error}) == {"A": [{"jsonrpc": "2.0", "id": 1, "error": error}]}
    assert party.tell(updated()) == {"B": [updated()]}
    party.tell(response(2))
    assert party.both("A", subscribe()) == ({"A": [response(1)]}, [])


def test_to_subscribe_twice_is_to_subscribe_once() -> None:
    party = Party("A", "B")
    agree(party, "A", subscribe())
    party.both("A", subscribe())
    party.both("B", subscribe())
    assert party.tell(updated()) == {"A": [updated()], "B": [updated()]}
    party.both("B", unsubscribe())
    agree(party, "A", unsubscribe())
    assert party.tell(updated()) == {}


def test_who_has_not_subscribed_can_t_end_what_others_have() -> None:
    party = Party("A", "B")
    agree(party, "A", subscribe())
    assert party.both("B", unsubscribe()) == ({"B": [response(1)]}, [])
    assert party.tell(updated()) == {"A": [updated()]}
    agree(party, "B", unsubscribe(1, "file:///b"))


def test_who_leaves_releases_what_only_it_has_subscribed_to() -> None:
    party = Party("A", "B")
    agree(party, "A", subscribe())
    party.both("B", subscribe())
    agree(party, "A", subscribe(1, "file:///b"))
    (heard,) = party.leave("A")
    assert heard == unsubscribe(heard["id"], "file:///b")
    assert party.tell(response(heard["id"])) == {}
    assert party.tell(updated()) == {"B": [updated()]}


def test_who_leaves_before_the_server_has_agreed_releases_it_too() -> None:
    party = Party("A", "B")
    number = party.ask("A", subscribe())
    _, heard = party.leave("A")
    assert heard == unsubscribe(heard["id"])
    party.tell(response(number))
    assert party.ask("B", subscribe()) == heard["id"] + 1


def test_what_is_no_uri_is_the_server_s_to_refuse() -> None:
    party = Party("A")
    assert party.ask("A", subscribe(1, 5)) == 1
    assert party.ask("A", unsubscribe(2, None)) == 2


def test_subscriptions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "MAX_SUBSCRIPTIONS", 1)
    party = Party("A", "B")
    agree(party, "A", subscribe())
    (answer,) = party.both("A", subscribe("x", "file:///b"))[0]["A"]
    assert answer["id"] == "x"
    assert "the limit" in answer["error"]["message"]
    assert party.both("A", subscribe("y")) == ({"A": [response("y")]}, [])
    agree(party, "B", subscribe(1, "file:///b"))
    agree(party, "A", unsubscribe())
    assert party.both("A", subscribe("x", "file:///b")) == ({"A": [response("x")]}, [])
