"""Requests of several clients in one server: each gets its own answers, whatever ids and tokens the others use."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trioproxy.protocol.errors import LineTooLong
from trioproxy.protocol.messages import parse_line, recognise
from trioproxy.protocol.sharing import flights
from trioproxy.protocol.translation import Related

from ...modern import SUBSCRIPTION_ID, listen
from ...modern import request as modern_request
from ...puppet import notification, progress, request, response
from .party import Party, call, cancelled

LINGER_TIME = 10


def test_two_clients_may_use_the_same_id_at_the_same_time() -> None:
    party = Party("A", "B")
    assert party.say("A", call(7, of="A")) == [call(1, of="A")]
    assert party.say("B", call(7, of="B")) == [call(2, of="B")]
    assert party.tell(response(2, of="B")) == {"B": [response(7, of="B")]}
    assert party.tell(response(1, of="A")) == {"A": [response(7, of="A")]}


@pytest.mark.parametrize("request_id", [1, "1", 0, -5, 10**30, "", 'a "quoted" id', "\N{SNOWMAN}", "\ud83d"])
def test_an_id_is_restored_with_its_type(request_id: int | str) -> None:
    party = Party("A")
    (answer,) = party.tell(response(party.ask("A", call(request_id))))["A"]
    assert answer == response(request_id)
    assert type(answer["id"]) is type(request_id)


def test_a_request_and_its_answer_pass_as_they_are_but_for_the_id() -> None:
    party = Party("A")
    odd = b'{"jsonrpc":"2.0","id":%b,"method":"x","params":{"n":1.0e400,"s":"\\ud83d","b":[1 , 2]},"more":null}'
    step = party.sharing.from_client(party.clients["A"], parse_line(odd % b'"me"'), 0)
    assert step.to_server == (odd % b"1",)
    answer = b'{"jsonrpc":"2.0","id":%b,"result":{"n":1.0e400,"s":"\\ud83d"},"more":null}'
    step = party.sharing.from_server(parse_line(answer % b"1"), 0)
    assert step.to_clients == ((party.clients["A"], answer % b'"me"'),)


def test_progress_goes_to_whoever_has_asked_for_it() -> None:
    party = Party("A", "B")
    assert party.say("A", call(1, token="t")) == [call(1, token=1)]
    assert party.say("B", call(1, token="t")) == [call(2, token=2)]
    assert party.tell(progress(2, 5)) == {"B": [progress("t", 5)]}
    assert party.tell(progress(1, 6)) == {"A": [progress("t", 6)]}
    assert party.tell(progress("t")) == {}
    assert party.tell(progress(3)) == {}
    assert party.skipped == {"unrelated": 2}


def test_progress_that_its_client_has_not_asked_for_is_dropped() -> None:
    party = Party("A")
    assert party.tell(progress(party.ask("A", call(1)))) == {}


@pytest.mark.parametrize(
    "meta",
    [
        b'"_meta":{"progressToken":1},"_meta":{}',
        b'"_meta":{"progressToken":1.0}',
        b'"_meta":{"\\u0070rogressToken":1},"_meta":{}',
        b'"_meta":{"progressToken":true}',
        b'"_meta":{"progressToken":1,"progressToken":"x"}',
    ],
)
def test_no_client_can_have_the_server_report_to_another(meta: bytes) -> None:
    """What other readers of JSON would take for a token must not be the number of somebody else's request."""
    party = Party("A", "B")
    assert party.ask("A", call(1, token="t")) == 1
    line = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{' + meta + b"}}"
    (sent,) = party.sharing.from_client(party.clients["B"], parse_line(line), 0).to_server
    assert b"rogressToken" not in sent or sent.count(b'rogressToken":2') == sent.count(b"rogressToken")


def test_a_cancellation_names_the_request_as_the_server_knows_it() -> None:
    party = Party("A", "B")
    party.ask("A", call("c"))
    party.ask("B", call("c"))
    assert party.say("B", cancelled("c")) == [cancelled(2)]
    assert party.say("B", cancelled("d")) == []
    assert party.say("A", cancelled(2)) == []
    assert party.skipped == {"unexpected": 2}


def test_the_answer_to_a_cancelled_request_still_reaches_its_client_for_a_while() -> None:
    party = Party("A")
    for request_id in (1, 2):
        party.ask("A", call(request_id))
        party.say("A", cancelled(request_id))
    party.now += LINGER_TIME - 0.001
    assert party.tell(response(1)) == {"A": [response(1)]}
    party.now += 0.001
    assert party.tell(response(2)) == {}
    assert party.skipped == {"late": 1}


def test_who_leaves_has_cancelled_its_requests_and_hears_no_answers() -> None:
    party = Party("A", "B")
    party.ask("A", call(1))
    party.ask("B", call(1))
    party.ask("A", call(2))
    party.say("A", cancelled(2))
    heard = party.leave("A")
    assert [(message["method"], message["params"]["requestId"]) for message in heard] == [("notifications/cancelled", 1)]
    assert party.tell(response(1)) == {}
    assert party.tell(response(3)) == {}
    assert party.tell(response(2)) == {"B": [response(1)]}


def test_an_answer_to_no_request_goes_to_nobody() -> None:
    party = Party("A")
    party.ask("A", call(1))
    for odd in (response(2), response("1"), {"jsonrpc": "2.0", "id": None, "error": {"code": 1, "message": ""}}):
        assert party.tell(odd) == {}
    assert party.tell(response(1)) == {"A": [response(1)]}
    assert party.tell(response(1)) == {}
    assert party.skipped == {"late": 4}


def test_a_response_that_turns_out_to_be_no_json_fails_its_request_alone() -> None:
    party = Party("A", "B")
    party.ask("A", call("a"))
    party.ask("B", call("b"))
    broken = b'{"jsonrpc":"2.0","id":1,"error":' + b"x" * 20_000 + b"}"
    ((client, answer),) = party.sharing.from_server(recognise(broken), 0).to_clients
    assert client is party.clients["A"]
    assert isinstance(answer, bytes)
    assert json.loads(answer)["id"] == "a"
    assert json.loads(answer)["error"]["code"] == -32603


def test_a_response_over_the_limit_fails_its_request_alone() -> None:
    party = Party("A")
    party.ask("A", call("a"))
    step = party.sharing.lose_response(1, LineTooLong("a line of 5 bytes"), 0)
    ((_, answer),) = step.to_clients
    assert isinstance(answer, bytes)
    assert json.loads(answer)["id"] == "a"
    assert json.loads(answer)["error"] == {"code": -32603, "message": "a line of 5 bytes"}


def test_one_client_s_requests_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flights, "MAX_IN_FLIGHT", 2)
    party = Party("A", "B")
    party.ask("A", call(1))
    party.ask("A", listen(2))
    said, heard = party.both("A", call(3))
    assert heard == []
    assert said["A"][0]["id"] == 3
    assert "limit" in said["A"][0]["error"]["message"]
    assert party.ask("B", call(1)) == 3
    party.tell(response(1))
    assert party.ask("A", call(3)) == 4


# 2026-07-28


def stamped(method: str, subscription: int | str, **params: Any) -> dict[str, Any]:
    return notification(method, _meta={SUBSCRIPTION_ID: subscription}, **params)


def test_what_a_subscription_brings_goes_to_whoever_listens() -> None:
    """2026-07-28, Subscriptions: the id of the request is in all that is said for it."""
    party = Party("A", "B")
    assert party.ask("A", listen("s")) == 1
    assert party.ask("B", listen(1)) == 2
    for method in ("notifications/subscriptions/acknowledged", "notifications/tools/list_changed"):
        assert party.tell(stamped(method, 1)) == {"A": [stamped(method, "s")]}
        assert party.tell(stamped(method, 2)) == {"B": [stamped(method, 1)]}
        assert party.tell(stamped(method, 3)) == {}
        assert party.tell(stamped(method, "s")) == {}
    ended = {"resultType": "complete"}
    assert party.tell(response(2, **ended, _meta={SUBSCRIPTION_ID: 2})) == {
        "B": [response(1, **ended, _meta={SUBSCRIPTION_ID: 1})]
    }
    assert party.tell(stamped("notifications/tools/list_changed", 2)) == {}


def test_a_subscription_that_the_server_tears_down_is_its_client_s() -> None:
    """2026-07-28, Cancellation; the result that SHOULD follow may come or not."""
    party = Party("A", "B")
    party.ask("A", listen("s"))
    party.ask("B", modern_request("tools/list", 1))
    assert party.tell(cancelled(1)) == {"A": [cancelled("s")]}
    assert party.tell(cancelled(2)) == {}
    assert party.tell(response(1, _meta={SUBSCRIPTION_ID: 1})) == {"A": [response("s", _meta={SUBSCRIPTION_ID: "s"})]}


def test_a_server_s_message_that_is_known_to_belong_to_a_request_still_does() -> None:
    party = Party("A", "B")
    party.ask("A", call("a"))
    party.ask("B", call("b"))
    step = party.sharing.relate(Related(b"{}", 2))
    assert step.to_clients == ((party.clients["B"], Related(b"{}", "b")),)
    assert party.sharing.relate(Related(b"{}", 3)).to_clients == ()


# What says nothing of whom it is for


def test_a_notification_that_nobody_knows_goes_to_the_only_client_whose_request_is_running() -> None:
    party = Party("A", "B")
    odd = notification("notifications/odd", secret="A's")
    assert party.tell(odd) == {}
    party.ask("B", listen(5))
    party.ask("A", call(1))
    party.ask("A", call(2))
    assert party.tell(odd) == {"A": [odd]}
    party.ask("B", call(1))
    assert party.tell(odd) == {}
    party.tell(response(4))
    assert party.tell(odd) == {"A": [odd]}
    assert party.skipped == {"unrelated": 2}


def test_what_a_cancelled_request_may_have_caused_is_shown_to_nobody_else() -> None:
    """The server may go on with it for a while; it may be of a client that has left."""
    party = Party("A", "B")
    party.ask("A", call(1))
    party.ask("B", call(1))
    party.leave("A")
    odd = notification("notifications/odd")
    assert party.tell(odd) == {}
    party.now += LINGER_TIME
    assert party.tell(odd) == {"B": [odd]}


def test_a_client_s_notifications_pass_as_they_are() -> None:
    party = Party("A")
    for method in ("notifications/odd", "notifications/message"):
        assert party.say("A", notification(method, requestId=1)) == [notification(method, requestId=1)]


@pytest.mark.parametrize("method", ["roots/list_changed", "tasks/status", "initialized"])
def test_a_client_does_not_speak_for_all(method: str) -> None:
    assert Party("A").say("A", notification(f"notifications/{method}")) == []


def test_a_ping_of_either_side_is_answered() -> None:
    party = Party("A")
    assert party.ask("A", request("ping", 5)) == 1
    assert party.tell(response(1)) == {"A": [response(5)]}
    assert party.hear(request("ping", "p")) == ({}, [{"jsonrpc": "2.0", "id": "p", "result": {}}])


@pytest.mark.parametrize("method", ["initialize", "resources/unsubscribe", "logging/setLevel", "tasks/cancel"])
def test_what_is_looked_at_when_it_is_asked_for_does_not_get_past_as_a_notification(method: str) -> None:
    """Some servers look at the method alone, and would take it for a request of all."""
    party = Party("A")
    party.shake_hands("A")
    assert party.say("A", notification(method, taskId="theirs", uri="file:///theirs", level="debug")) == []
    assert party.skipped == {"unexpected": 1}
