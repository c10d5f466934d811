"""Whom the server's questions are for: one client that can be told, or nobody (2025-11-25, Sampling, Elicitation, Roots)."""

from __future__ import annotations

from typing import Any

import pytest

from trioproxy.protocol.sharing import questions

from ...modern import listen
from ...modern import request as modern_request
from ...puppet import notification, progress, request, response
from .party import EVERYTHING, Party, call, cancelled, refused

SAMPLE = request("sampling/createMessage", "q", messages=[], maxTokens=1)
ROOTS = request("roots/list", "q")
FORM = request("elicitation/create", "q", message="?", requestedSchema={"type": "object", "properties": {}})
URL = request("elicitation/create", "q", mode="url", url="https://x.example/", message="?", elicitationId="e")


def two(**capabilities: Any) -> Party:
    """Return a party of two, of whom A has a request running."""
    party = Party("A", "B")
    party.shake_hands("A", "B", **(capabilities or EVERYTHING))
    party.ask("A", call(1))
    return party


@pytest.mark.parametrize("question", [SAMPLE, ROOTS, FORM, URL])
def test_a_question_is_for_the_only_client_whose_request_is_running(question: Any) -> None:
    party = two()
    assert party.tell(question) == {"A": [question]}
    assert party.say("A", response("q", is_answered=True)) == [response("q", is_answered=True)]


def refuse(party: Party, question: Any = SAMPLE) -> str:
    """Have a question refused, and return why."""
    said, (answer,) = party.hear(question)
    assert said == {}
    assert refused(answer) == (-32601, question["id"])
    why: str = answer["error"]["message"]
    return why


def test_a_question_that_could_be_anybody_s_is_refused() -> None:
    party = two()
    party.ask("B", call(1))
    assert "could be about a request of any of 2 clients" in refuse(party)
    party.tell(response(3))
    assert party.tell(SAMPLE) == {"A": [SAMPLE]}


def test_a_question_that_is_nobody_s_is_refused() -> None:
    party = two()
    party.tell(response(2))
    assert "nobody's request is running" in refuse(party)
    party.ask("B", listen(1))
    assert "nobody's request is running" in refuse(party)
    assert party.skipped == {"refused": 2}


def test_a_question_about_a_request_of_somebody_who_has_left_is_refused() -> None:
    party = two()
    party.leave("A")
    assert "has left" in refuse(party)
    party.ask("B", call(1))
    assert "any of 2 clients" in refuse(party)


def test_a_client_without_a_handshake_can_t_be_asked() -> None:
    party = Party("A")
    party.ask("A", modern_request("tools/call", capabilities=EVERYTHING))
    assert "has made no handshake" in refuse(party)


@pytest.mark.parametrize(
    ("declared", "question", "missing"),
    [
        ({"roots": {}}, SAMPLE, "sampling"),
        ({"roots": {}}, FORM, "elicitation"),
        ({"sampling": {}}, ROOTS, "roots"),
        ({"elicitation": {}}, URL, '"url"'),
        ({"elicitation": {"url": {}}}, FORM, '"form"'),
        ({"sampling": {}}, {**SAMPLE, "params": {"tools": [], "messages": []}}, '"tools"'),
    ],
)
def test_a_client_is_not_asked_what_it_has_not_declared(declared: Any, question: Any, missing: str) -> None:
    """The server can't know: it was told of everything that any client may declare."""
    assert missing in refuse(two(**declared), question)


def test_an_answer_counts_only_if_it_comes_from_whoever_was_asked() -> None:
    party = two()
    party.tell(SAMPLE)
    assert party.say("B", response("q", forged=True)) == []
    assert party.say("A", response("p")) == []
    assert party.say("A", response("q")) == [response("q")]
    assert party.say("A", response("q")) == []
    assert party.skipped == {"unexpected": 3}


def test_a_client_that_leaves_has_not_answered() -> None:
    party = two()
    party.tell(SAMPLE)
    _, answer = party.leave("A")
    assert refused(answer) == (-32603, "q")
    assert "has left" in answer["error"]["message"]


def test_a_question_that_is_taken_back_is_taken_back_from_whoever_was_asked() -> None:
    party = two()
    party.tell(SAMPLE)
    assert party.tell(cancelled("p")) == {}
    assert party.tell(cancelled("q")) == {"A": [cancelled("q")]}
    assert party.say("A", response("q")) == []


def test_who_was_asked_may_report_how_it_gets_on() -> None:
    party = two()
    party.tell({**SAMPLE, "params": {**SAMPLE["params"], "_meta": {"progressToken": 2}}})
    assert party.say("B", progress(2)) == []
    assert party.say("A", progress(3)) == []
    assert party.say("A", progress(2)) == [progress(2)]
    party.say("A", response("q"))
    assert party.say("A", progress(2)) == []


def test_a_second_question_of_the_same_id_is_refused() -> None:
    party = two()
    party.tell(SAMPLE)
    assert "not answered yet" in refuse(party, ROOTS)
    assert party.say("A", response("q")) == [response("q")]


def test_open_questions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "MAX_OPEN", 1)
    party = two()
    party.tell(SAMPLE)
    assert "the limit" in refuse(party, request("roots/list", 5))


# Elicitations out of band


def completed(elicitation: str = "e") -> Any:
    return notification("notifications/elicitation/complete", elicitationId=elicitation)


def test_that_an_elicitation_is_complete_is_told_to_whoever_was_asked() -> None:
    party = two()
    assert party.tell(completed()) == {}
    party.tell(URL)
    party.say("A", response("q", action="accept"))
    party.tell(response(2))
    party.ask("B", call(1))
    assert party.tell(completed("f")) == {}
    assert party.tell(completed()) == {"A": [completed()]}
    assert party.tell(completed()) == {}


def test_and_to_whose_request_has_failed_for_want_of_it() -> None:
    """2025-11-25, Elicitation §URL Elicitation Required Error."""
    party = two()
    party.ask("B", call(1))
    data = {"elicitations": [{"mode": "url", "elicitationId": "e", "url": "https://x.example/", "message": "?"}]}
    error = {"code": -32042, "message": "sign in first", "data": data}
    assert party.tell({"jsonrpc": "2.0", "id": 3, "error": error}) == {"B": [{"jsonrpc": "2.0", "id": 1, "error": error}]}
    assert party.tell(completed()) == {"B": [completed()]}


@pytest.mark.parametrize("data", [None, 5, {}, {"elicitations": 5}, {"elicitations": [5, {}, {"elicitationId": 5}]}])
def test_an_error_that_names_no_elicitation_is_an_error(data: Any) -> None:
    party = two()
    error = {"code": -32042, "message": "sign in first", "data": data}
    assert party.tell({"jsonrpc": "2.0", "id": 2, "error": error}) == {"A": [{"jsonrpc": "2.0", "id": 1, "error": error}]}


def test_elicitations_that_may_be_completed_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "MAX_COMPLETIONS", 1)
    party = two()
    for elicitation in ("e", "f"):
        party.tell({**URL, "params": {**URL["params"], "elicitationId": elicitation}})
        party.say("A", response("q"))
    assert party.tell(completed("e")) == {}
    assert party.tell(completed("f")) == {"A": [completed("f")]}


def test_a_client_that_has_left_hears_of_no_completion() -> None:
    party = two()
    party.tell(URL)
    party.leave("A")
    assert party.tell(completed()) == {}
