"""One handshake for all (2025-11-25, Lifecycle §Initialization)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trioproxy.protocol.messages import parse_line, recognise

from ...modern import request as modern_request
from ...puppet import notification, request, response
from .party import INITIALIZED, Party, call, initialize, refused

AGREED = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}}


def asked(number: int = 1, revision: str = "2025-11-25") -> Any:
    capabilities: dict[str, Any] = {
        "roots": {},
        "sampling": {"context": {}, "tools": {}},
        "elicitation": {"form": {}, "url": {}},
    }
    return initialize(number, revision, capabilities=capabilities, clientInfo={"name": "trioproxy", "version": "0"})


def refusal(request_id: int | str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request_id, "error": {"code": -32601, "message": "never heard of it"}}


def test_the_server_is_initialized_once_with_what_any_client_may_be_able_to_do() -> None:
    party = Party("A", "B")
    assert party.say("A", initialize("a", capabilities={"roots": {}, "experimental": {"x": {}}})) == [asked()]
    assert party.hear(response(1, **AGREED)) == ({"A": [response("a", **AGREED)]}, [INITIALIZED])
    assert party.say("A", INITIALIZED) == []
    assert party.both("B", initialize(0)) == ({"B": [response(0, **AGREED)]}, [])
    assert party.say("B", INITIALIZED) == []


def test_who_comes_while_the_server_is_asked_is_answered_with_the_first() -> None:
    party = Party("A", "B", "C")
    assert party.say("A", initialize(0)) == [asked()]
    assert party.say("B", initialize(0)) == []
    assert party.say("C", initialize("c")) == []
    party.leave("A")
    party.leave("C")
    assert party.hear(response(1, **AGREED)) == ({"B": [response(0, **AGREED)]}, [INITIALIZED])


def test_a_client_waits_for_one_handshake_at_a_time() -> None:
    party = Party("A")
    party.say("A", initialize(0))
    said, heard = party.both("A", initialize(1))
    assert heard == []
    assert refused(said["A"][0]) == (-32600, 1)
    assert party.hear(response(1, **AGREED))[0] == {"A": [response(0, **AGREED)]}


def test_the_answer_s_bytes_are_everybody_s() -> None:
    party = Party("A", "B")
    party.say("A", initialize(0))
    answer = b'{"jsonrpc":"2.0","id":%b,"result":{"protocolVersion":"2025-11-25","n":1.0e400,"s" : "\\ud83d"}}'
    party.hear(answer % b"1")
    for name in "AB":
        step = party.sharing.from_client(party.clients[name], parse_line(json.dumps(initialize("x")).encode()), 0)
        assert [said for _, said in step.to_clients] == [answer % b'"x"']


@pytest.mark.parametrize(
    ("agreed", "wanted", "told"),
    [
        ("2025-06-18", "2025-11-25", "2025-06-18"),
        ("2025-06-18", "2025-06-18", "2025-06-18"),
        ("2025-06-18", "2024-11-05", "2024-11-05"),
        ("2025-06-18", "1999-01-01", "2025-06-18"),
        ("2025-06-18", None, "2025-06-18"),
    ],
)
def test_a_later_client_gets_the_older_of_what_it_wants_and_what_was_agreed(agreed: str, wanted: Any, told: str) -> None:
    party = Party("A", "B")
    assert party.say("A", initialize(0)) == [asked()]
    party.hear(response(1, **{**AGREED, "protocolVersion": agreed}))
    (answer,) = party.both("B", initialize(0, wanted))[0]["B"]
    assert answer == response(0, **{**AGREED, "protocolVersion": told})


def test_the_first_client_says_which_revision_is_asked_for() -> None:
    party = Party("A")
    assert party.say("A", initialize(0, "2024-11-05")) == [asked(1, "2024-11-05")]


def test_a_refusal_is_given_to_all_that_wait_and_the_next_asks_anew() -> None:
    """A server that refuses may be one of the modern era: each client has to find that out."""
    party = Party("A", "B", "C")
    party.say("A", initialize("a"))
    party.say("B", initialize("b"))
    assert party.hear(refusal(1)) == ({"A": [refusal("a")], "B": [refusal("b")]}, [])
    assert party.ask("A", modern_request("server/discover")) == 2
    assert party.say("C", initialize("c")) == [asked(3)]
    assert party.hear(response(3, **AGREED)) == ({"C": [response("c", **AGREED)]}, [INITIALIZED])
    assert party.both("A", initialize(0)) == ({"A": [response(0, **AGREED)]}, [])


def test_an_answer_that_can_t_be_read_is_a_refusal() -> None:
    party = Party("A")
    party.say("A", initialize("a"))
    broken = b'{"jsonrpc":"2.0","id":1,"result":' + b"x" * 20_000 + b"}"
    step = party.sharing.from_server(recognise(broken), 0)
    ((_, answer),) = step.to_clients
    assert isinstance(answer, bytes)
    assert b'"id":"a"' in answer
    assert step.to_server == ()
    assert party.say("A", initialize("a")) == [asked(2)]


def test_a_server_that_has_not_answered_yet_is_stuck() -> None:
    party = Party("A")
    assert not party.sharing.is_stuck
    party.say("A", initialize(0))
    assert party.sharing.is_stuck
    party.hear(response(1, **AGREED))
    assert not party.sharing.is_stuck


def test_that_tasks_can_be_listed_is_not_passed_on() -> None:
    party = Party("A")
    party.say("A", initialize(0))
    tasks: dict[str, Any] = {"cancel": {}, "requests": {"tools": {"call": {}}}}
    said, _ = party.hear(response(1, **{**AGREED, "capabilities": {"tasks": {"list": {}, **tasks}}}))
    assert said == {"A": [response(0, **{**AGREED, "capabilities": {"tasks": tasks}})]}


@pytest.mark.parametrize("kind", ["tools", "prompts", "resources"])
def test_changed_lists_are_announced_to_all_that_have_made_a_handshake(kind: str) -> None:
    party = Party("A", "B", "C")
    changed = notification(f"notifications/{kind}/list_changed")
    assert party.tell(changed) == {}
    party.shake_hands("A", "B")
    party.ask("C", modern_request("tools/list"))
    assert party.tell(changed) == {"A": [changed], "B": [changed]}


def test_a_request_before_the_handshake_is_passed_on() -> None:
    party = Party("A")
    assert party.ask("A", request("ping", 1)) == 1
    assert party.ask("A", call(2)) == 2


def test_the_server_s_refusal_keeps_its_code() -> None:
    party = Party("A")
    party.say("A", initialize("a"))
    ((answer,),) = party.hear(refusal(1))[0].values()
    assert refused(answer) == (-32601, "a")
