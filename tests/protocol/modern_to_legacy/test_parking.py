"""A legacy server asks in the middle of a call; a modern client answers by calling again (Multi Round-Trip Requests)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.protocol.modern_to_legacy.desk import (
    FORM,
    NOTHING,
    OWN_META,
    SAMPLING,
    Desk,
    Said,
    envelope,
    error_codes,
    line,
    modern_request,
    to_client,
    to_server,
)
from trioproxy.protocol.messages import Request, parse_line
from trioproxy.protocol.modern_to_legacy.parking import fingerprint, question_of

EVERYTHING: dict[str, Any] = {"elicitation": {"form": {}, "url": {}}, "sampling": {"tools": {}, "context": {}}, "roots": {}}
ACCEPT = {"action": "accept", "content": {"name": "octocat"}}
ANSWER = {"role": "assistant", "content": {"type": "text", "text": "Paris"}, "model": "m", "stopReason": "endTurn"}
URL_PARAMS = {"mode": "url", "message": "Log in", "url": "https://mcp.example.com/connect"}


class CallingDesk(Desk):
    """A desk with one call, number 1, in flight."""

    def __init__(self, capabilities: dict[str, Any] | None = None, method: str = "tools/call", **said: Any) -> None:
        super().__init__()
        self.capabilities = EVERYTHING if capabilities is None else capabilities
        self.ask(1, method, capabilities=self.capabilities, **said)

    def question(self, question_id: Any, method: str = "elicitation/create", params: Any = FORM) -> Said:
        return self.server(**({"id": question_id, "method": method} | ({} if params is None else {"params": params})))

    def park(self, *question_ids: Any) -> str:
        """Let the server ask a form for each id, and return the state that the client gets."""
        for question_id in question_ids:
            assert self.question(question_id) == NOTHING
        (response,) = self.wait(0.02).to_client
        return str(response["result"]["requestState"])


def input_required(request_id: Any, state: str, **requests: Any) -> dict[str, Any]:
    requests = {key.replace("_", "-"): value for key, value in requests.items()}
    members = {"inputRequests": requests, "requestState": state, "_meta": OWN_META}
    return {"id": request_id, "result": {"resultType": "input_required", **members}}


def elicit(params: Any = FORM) -> dict[str, Any]:
    return {"method": "elicitation/create", "params": params}


def refusal(said: Said) -> tuple[Any, int]:
    """Return id and code of the one response, an error that follows for the client, and nothing else."""
    assert (said.to_server, said.related) == ([], [])
    (code,) = error_codes(said.to_client)
    return code


def test_a_question_becomes_the_answer_to_the_call_and_the_retry_the_answer_to_the_question() -> None:
    """§Core Types; the server never hears that there were two requests."""
    desk = CallingDesk()
    assert desk.question(0, "sampling/createMessage", SAMPLING) == NOTHING
    asked = {"method": "sampling/createMessage", "params": SAMPLING}
    assert desk.wait(0.02) == to_client(input_required(1, "state-1", input_1=asked))
    assert desk.retry(2, "state-1", {"input-1": ANSWER}) == to_server({"id": 0, "result": ANSWER})
    assert desk.server(id=1, result={"content": []}) == to_client(
        {"id": 2, "result": {"content": [], "resultType": "complete", "_meta": OWN_META}}
    )
    assert desk.translator.calls == 0


def test_questions_that_come_together_are_asked_together() -> None:
    desk = CallingDesk()
    assert desk.question(0) == NOTHING
    assert desk.wait(0.019) == NOTHING
    assert desk.question("0", "roots/list", None) == NOTHING
    assert desk.wait(0.001) == to_client(input_required(1, "state-1", input_1=elicit(), input_2={"method": "roots/list"}))
    answers = {"input-2": {"roots": []}, "input-1": ACCEPT, "more": {}}
    assert desk.retry(2, "state-1", answers) == to_server({"id": 0, "result": ACCEPT}, {"id": "0", "result": {"roots": []}})


@pytest.mark.parametrize("method", ["tools/call", "prompts/get", "resources/read"])
def test_three_methods_may_ask(method: str) -> None:
    """§Supported Requests."""
    desk = CallingDesk(method=method)
    desk.park(0)
    assert desk.translator.holds("state-1")


@pytest.mark.parametrize("method", ["tools/list", "completion/complete", "vendor/own"])
def test_others_may_not(method: str) -> None:
    desk = CallingDesk(method=method)
    assert error_codes(desk.question(0).to_server) == [(0, -32601)]
    assert desk.wait(1) == NOTHING


def test_a_question_outside_any_call_is_refused() -> None:
    said = Desk().server(id=0, method="roots/list")
    assert error_codes(said.to_server) == [(0, -32601)]
    assert "no call is in flight" in said.to_server[0]["error"]["message"]


def test_a_question_during_several_calls_is_refused_since_it_could_be_about_any() -> None:
    desk = CallingDesk()
    desk.ask(2, "tools/list")
    desk.ask(3, capabilities=EVERYTHING)
    said = desk.question(0)
    assert (error_codes(said.to_server), said.to_client) == ([(0, -32601)], [])
    assert "2 calls are in flight" in said.to_server[0]["error"]["message"]
    desk.server(id=1, result={})
    assert desk.question(1) == NOTHING
    assert [message["id"] for message in desk.wait(0.02).to_client] == [3]


def test_a_question_that_comes_on_the_stream_of_a_call_is_about_that_call() -> None:
    """However many run: over HTTP each response has a stream of its own."""
    desk = CallingDesk()
    desk.ask(2, capabilities=EVERYTHING)
    assert desk.server_about(2, id="q", method="elicitation/create", params=FORM) == NOTHING
    assert desk.wait(0.02) == to_client(input_required(2, "state-1", input_1=elicit()))
    assert error_codes(desk.server_about("gone", id="r", method="elicitation/create", params=FORM).to_server) == [
        ("r", -32601)
    ]


def test_a_parked_call_is_in_flight_as_well() -> None:
    desk = CallingDesk()
    desk.park(0)
    desk.ask(2, capabilities=EVERYTHING)
    assert error_codes(desk.question(1).to_server) == [(1, -32601)]


def test_a_request_of_the_server_that_is_no_question_is_refused() -> None:
    assert error_codes(CallingDesk().question(0, "tasks/list").to_server) == [(0, -32601)]


def test_a_question_keeps_its_bytes_but_for_what_the_modern_era_does_not_have() -> None:
    """`elicitationId` and `task` are 2025-11-25's; progress on a question can't be reported any more."""
    raw = (
        b'{"jsonrpc":"2.0","id":0,"method":"elicitation/create","params":{"mode":"url","elicitationId":"e","url":"u",'
        b'"task":{"ttl":1},"n": 1e999,"_meta":{"progressToken":1,"s":"\\ud800"}}}'
    )
    message = parse_line(raw)
    assert isinstance(message, Request)
    assert question_of(message).raw == (
        b'{"method":"elicitation/create","params":{"mode":"url","url":"u","n": 1e999,"_meta":{"s":"\\ud800"}}}'
    )
    only_progress = parse_line(line(id=0, method="roots/list", params={"_meta": {"progressToken": 1}}))
    assert isinstance(only_progress, Request)
    assert question_of(only_progress).raw == b'{"method":"roots/list","params":{}}'


def test_an_answer_keeps_its_bytes() -> None:
    desk = CallingDesk()
    desk.park(0)
    answers = b'{"input-1":{"action":"accept", "content":{"n":1e999,"s":"\\ud800","b":12345678901234567}}}'
    params = b'{"requestState":"state-1","inputResponses":%b,"name":"a","_meta":%b}' % (
        answers,
        json.dumps(envelope()).encode(),
    )
    retry = parse_line(b'{"jsonrpc":"2.0","id":2,"method":"tools/call","params":%b}' % params)
    assert desk.translator.from_client(retry, desk.now).to_server == (
        b'{"jsonrpc":"2.0","id":0,"result":{"action":"accept", "content":{"n":1e999,"s":"\\ud800","b":12345678901234567}}}',
    )


def test_a_call_can_ask_again_and_again() -> None:
    desk = CallingDesk()
    for number in range(1, 4):
        assert desk.park(f"q{number}") == f"state-{number}"
        said = desk.retry(number + 1, f"state-{number}", {f"input-{number}": ACCEPT}, capabilities=EVERYTHING)
        assert said == to_server({"id": f"q{number}", "result": ACCEPT})
    assert [message["id"] for message in desk.server(id=1, result={}).to_client] == [4]


def test_what_is_not_answered_is_asked_again() -> None:
    """§Error Handling: "a new InputRequiredResult requesting the missing information again"."""
    desk = CallingDesk()
    desk.park("a", "b")
    said = desk.retry(2, "state-1", {"input-2": ACCEPT}, capabilities=EVERYTHING)
    assert said == Said(
        to_client(input_required(2, "state-2", input_1=elicit())).to_client,
        to_server({"id": "b", "result": ACCEPT}).to_server,
        [],
    )
    assert not desk.translator.holds("state-1")
    assert desk.retry(3, "state-2", capabilities=EVERYTHING) == to_client(input_required(3, "state-3", input_1=elicit()))
    assert desk.retry(4, "state-3", {"input-1": ACCEPT}) == to_server({"id": "a", "result": ACCEPT})


def test_a_question_that_comes_while_the_call_is_parked_waits_for_the_retry() -> None:
    desk = CallingDesk()
    desk.park("a")
    assert desk.question("b", "roots/list", None) == NOTHING
    assert desk.wait(1) == NOTHING
    said = desk.retry(2, "state-1", {"input-1": ACCEPT}, capabilities=EVERYTHING)
    assert said.to_server == [{"jsonrpc": "2.0", "id": "a", "result": ACCEPT}]
    assert said.to_client == to_client(input_required(2, "state-2", input_2={"method": "roots/list"})).to_client


def test_a_response_that_comes_while_the_call_is_parked_waits_for_the_retry() -> None:
    desk = CallingDesk()
    desk.park("a", "b")
    assert desk.server(id=1, result={"content": []}) == NOTHING
    assert desk.server(id=1, result={"content": ["another"]}) == NOTHING
    assert desk.translator.calls == 1
    # Nobody can be asked any more.
    assert error_codes(desk.question("c").to_server) == [("c", -32601)]
    said = desk.retry(2, "state-1", {"input-1": ACCEPT})
    assert said.to_server[0] == {"jsonrpc": "2.0", "id": "a", "result": ACCEPT}
    assert error_codes(said.to_server[1:]) == [("b", -32603)]
    assert [(message["id"], message["result"]["content"]) for message in said.to_client] == [(2, [])]
    assert desk.translator.calls == 0


def test_a_server_that_does_not_wait_for_its_answer_does_not_get_one_asked() -> None:
    desk = CallingDesk()
    desk.question("a")
    said = desk.server(id=1, result={})
    assert error_codes(said.to_server) == [("a", -32603)]
    assert [message["id"] for message in said.to_client] == [1]
    assert desk.wait(1) == NOTHING


def test_a_question_that_the_server_withdraws_is_not_asked() -> None:
    desk = CallingDesk()
    desk.question("a")
    assert desk.server(method="notifications/cancelled", params={"requestId": "a"}) == NOTHING
    assert desk.server(method="notifications/cancelled", params={"requestId": "b"}) == NOTHING
    assert desk.server(method="notifications/cancelled") == NOTHING
    assert desk.wait(1) == NOTHING
    assert desk.park("b", "c") == "state-1"
    desk.server(method="notifications/cancelled", params={"requestId": "b"})
    answers = {"input-2": ACCEPT, "input-3": ACCEPT}
    assert desk.retry(2, "state-1", answers) == to_server({"id": "c", "result": ACCEPT})


BAD_STATES = ["state-2", "state-", "", None, 1, {"state-1": 1}, ["state-1"]]


@pytest.mark.parametrize("state", BAD_STATES)
def test_a_state_that_is_not_the_calls_is_refused_and_the_call_stays_parked(state: Any) -> None:
    """§Server Requirements: servers "MUST reject state that fails verification"."""
    desk = CallingDesk()
    desk.park(0)
    said = desk.retry(2, state, {"input-1": ACCEPT})
    assert refusal(said) == (2, -32602)
    assert said.to_client[0]["error"]["message"] == "Invalid or expired requestState"
    assert desk.retry(3, "state-1", {"input-1": ACCEPT}) == to_server({"id": 0, "result": ACCEPT})


@pytest.mark.parametrize("method", ["tools/call", "tools/list", "server/discover", "subscriptions/listen", "vendor/own"])
def test_a_state_where_nothing_is_parked_is_refused(method: str) -> None:
    """A legacy server has no states of its own."""
    said = Desk().ask(2, method, {"name": "a", "requestState": "state-1", "notifications": {}})
    assert refusal(said) == (2, -32602)


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("prompts/get", {"name": "a"}),
        ("tools/list", {"name": "a"}),
        ("tools/call", {"name": "b"}),
        ("tools/call", {"name": "a", "arguments": {}}),
        ("tools/call", {}),
    ],
)
def test_a_state_on_another_request_is_refused_and_the_call_stays_parked(method: str, params: dict[str, Any]) -> None:
    """§Server Requirements: "rejecting state presented on a request that does not match"."""
    desk = CallingDesk()
    desk.park(0)
    answers = {"requestState": "state-1", "inputResponses": {"input-1": ACCEPT}}
    assert refusal(desk.ask(2, method, {**params, **answers})) == (2, -32602)
    assert desk.retry(3, "state-1", {"input-1": ACCEPT}) == to_server({"id": 0, "result": ACCEPT})


def test_a_state_is_good_for_one_retry() -> None:
    desk = CallingDesk()
    desk.park(0)
    desk.retry(2, "state-1", {"input-1": ACCEPT})
    assert not desk.translator.holds("state-1")
    assert refusal(desk.retry(3, "state-1", {"input-1": ACCEPT})) == (3, -32602)


def test_the_same_request_is_the_same_however_it_is_written() -> None:
    one = modern_request(1, "tools/call", {"name": "a", "arguments": {"x": [1], "y": "\ud800"}}, progressToken=1)
    raw = b'{"id":2,"jsonrpc":"2.0","method":"tools/call","params":{"arguments" : {"y":"\\uD800","x":[1]},"name":"\\u0061"}}'
    other = parse_line(raw)
    assert isinstance(other, Request)
    assert fingerprint(one) == fingerprint(other)


@pytest.mark.parametrize("answers", [[], "x", 7, None, {"input-1": 1}, {"input-1": ACCEPT, "other": None}])
def test_answers_that_are_none_are_refused_and_the_call_stays_parked(answers: Any) -> None:
    """§Error Handling: "Servers SHOULD validate that the data provided by the client is a valid InputResponses object"."""
    desk = CallingDesk()
    desk.park(0)
    params = {"name": "a", "requestState": "state-1", "inputResponses": answers}
    assert refusal(desk.ask(2, params=params)) == (2, -32602)
    assert desk.retry(3, "state-1", {"input-1": ACCEPT}) == to_server({"id": 0, "result": ACCEPT})


def test_two_calls_can_be_parked_and_each_state_is_for_its_own() -> None:
    desk = CallingDesk()
    one = desk.park("a")
    desk.server(id=1, result={"content": ["one"]})
    desk.ask(2, params={"name": "b"}, capabilities=EVERYTHING)
    two = desk.park("b")
    assert refusal(desk.retry(3, two)) == (3, -32602)
    assert desk.retry(4, one).to_client[0]["result"]["content"] == ["one"]
    assert desk.translator.holds(two)


MISSING = [
    ({}, "elicitation/create", FORM, {"elicitation": {"form": {}}}),
    ({"elicitation": {"url": {}}}, "elicitation/create", {**FORM, "mode": "form"}, {"elicitation": {"form": {}}}),
    ({"elicitation": {}}, "elicitation/create", {**URL_PARAMS, "elicitationId": "e"}, {"elicitation": {"url": {}}}),
    ({"elicitation": {}}, "sampling/createMessage", SAMPLING, {"sampling": {}}),
    ({"sampling": {}}, "sampling/createMessage", {**SAMPLING, "tools": []}, {"sampling": {"tools": {}}}),
    ({"sampling": {}}, "roots/list", None, {"roots": {}}),
]


@pytest.mark.parametrize(("declared", "method", "params", "missing"), MISSING)
def test_a_call_that_asks_what_its_client_can_not_be_asked_ends(
    declared: dict[str, Any], method: str, params: Any, missing: dict[str, Any]
) -> None:
    """Basic §`_meta`: MissingRequiredClientCapabilityError."""
    desk = CallingDesk(declared)
    said = desk.question("q", method, params)
    assert said.to_server[0]["method"] == "notifications/cancelled"
    assert said.to_server[0]["params"]["requestId"] == 1
    assert error_codes(said.to_server[1:]) == [("q", -32601)]
    assert error_codes(said.to_client) == [(1, -32021)]
    assert said.to_client[0]["error"]["data"] == {"requiredCapabilities": missing}
    assert desk.server(id=1, result={}) == NOTHING
    assert desk.translator.calls == 0


@pytest.mark.parametrize(("declared", "method", "params", "missing"), MISSING)
def test_a_client_that_declares_what_is_missing_is_asked(
    declared: dict[str, Any], method: str, params: Any, missing: dict[str, Any]
) -> None:
    desk = CallingDesk({**declared, **missing})
    assert desk.question("q", method, params) == NOTHING
    assert desk.wait(0.02).to_client[0]["result"]["resultType"] == "input_required"


def test_one_question_that_can_not_be_asked_takes_the_others_with_it() -> None:
    desk = CallingDesk({"elicitation": {}})
    desk.question("a")
    said = desk.question("b", "roots/list", None)
    assert error_codes(said.to_server[1:]) == [("a", -32601), ("b", -32601)]
    assert error_codes(said.to_client) == [(1, -32021)]
    assert desk.wait(1) == NOTHING


def test_capabilities_are_those_of_the_attempt_that_would_be_asked() -> None:
    """Basic §Statelessness: no state "should be inferred from previous requests"."""
    desk = CallingDesk({"elicitation": {}})
    desk.park("a")
    desk.question("b", "roots/list", None)
    said = desk.retry(2, "state-1", {"input-1": ACCEPT}, capabilities={"roots": {}})
    assert said.to_client[0]["result"]["inputRequests"] == {"input-2": {"method": "roots/list"}}
    said = desk.retry(3, "state-2", capabilities={"elicitation": {}})
    assert error_codes(said.to_client) == [(3, -32021)]
    assert said.to_server[0]["params"]["requestId"] == 1


def test_a_cancelled_attempt_is_cancelled_under_the_id_that_the_server_knows() -> None:
    desk = CallingDesk()
    desk.park("a")
    assert desk.cancel(1) == NOTHING
    desk.retry(2, "state-1", {"input-1": ACCEPT})
    cancellation = {"method": "notifications/cancelled", "params": {"requestId": 1}}
    assert desk.cancel(1) == NOTHING
    assert desk.cancel(2) == to_server(cancellation)
    assert desk.server(id=1, result={}) == NOTHING


def test_a_call_that_is_cancelled_while_its_questions_are_gathered_asks_nobody() -> None:
    desk = CallingDesk()
    desk.question("a")
    said = desk.cancel(1)
    assert said.to_server[0] == {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
    assert error_codes(said.to_server[1:]) == [("a", -32603)]
    assert desk.wait(1) == NOTHING


def test_progress_is_that_of_the_attempt_that_waits() -> None:
    """Progress §Behavior Requirements: tokens "were provided in an active request"."""
    desk = CallingDesk(progressToken="first")

    def progress(token: Any) -> dict[str, Any]:
        return {"method": "notifications/progress", "params": {"progressToken": token, "progress": 0.5}}

    desk.question("a")
    assert desk.server(**progress("first")) == to_client(progress("first"))
    desk.wait(0.02)
    assert desk.server(**progress("first")) == NOTHING
    desk.retry(2, "state-1", {"input-1": ACCEPT}, capabilities=EVERYTHING, progressToken=2)
    assert desk.server(**progress("first")) == to_client(progress(2))
    assert desk.server(**progress(2)) == NOTHING
    desk.park("b")
    desk.retry(3, "state-2", {"input-2": ACCEPT})
    assert desk.server(**progress("first")) == NOTHING


def test_a_client_that_does_not_come_back_is_not_waited_for() -> None:
    desk = CallingDesk(progressToken="t")
    desk.park("a", "b")
    assert desk.wait(599.9) == NOTHING
    said = desk.wait(0.1)
    assert said.to_client == []
    assert said.to_server[0]["params"]["requestId"] == 1
    assert error_codes(said.to_server[1:]) == [("a", -32603), ("b", -32603)]
    assert (desk.translator.calls, desk.translator.holds("state-1")) == (0, False)
    assert desk.server(id=1, result={}) == NOTHING
    assert refusal(desk.retry(2, "state-1", {"input-1": ACCEPT})) == (2, -32602)


def test_a_parked_call_whose_questions_are_all_withdrawn_is_not_kept_for_ever() -> None:
    desk = CallingDesk()
    desk.park("a")
    desk.server(method="notifications/cancelled", params={"requestId": "a"})
    assert [message["method"] for message in desk.wait(600).to_server] == ["notifications/cancelled"]
    assert desk.translator.calls == 0


def test_a_call_that_the_server_has_answered_is_not_cancelled_when_its_time_is_over() -> None:
    desk = CallingDesk()
    desk.park("a")
    desk.server(id=1, result={})
    assert error_codes(desk.wait(600).to_server) == [("a", -32603)]


def test_each_round_has_the_whole_time() -> None:
    desk = CallingDesk()
    desk.park("a")
    desk.wait(599)
    desk.retry(2, "state-1", capabilities=EVERYTHING)
    assert desk.wait(599) == NOTHING
    assert desk.translator.holds("state-2")


ELICITATIONS = [{**URL_PARAMS, "elicitationId": "e1"}, {**URL_PARAMS, "url": "https://x", "elicitationId": "e2"}]
URLS_REQUIRED = {"code": -32042, "message": "Log in first.", "data": {"elicitations": ELICITATIONS}}


def require_urls(desk: Desk, request_id: Any = 1) -> Said:
    return desk.server(id=request_id, error=URLS_REQUIRED)


def test_urls_that_the_server_requires_are_asked_for_and_the_call_is_made_anew() -> None:
    """2025-11-25, Elicitation §URL Elicitation Required Error; the server has ended the call itself."""
    desk = CallingDesk()
    asked = {"input_1": elicit(URL_PARAMS), "input_2": elicit({**URL_PARAMS, "url": "https://x"})}
    assert require_urls(desk) == to_client(input_required(1, "state-1", **asked))
    assert desk.translator.calls == 1
    said = desk.retry(2, "state-1", {"input-1": {"action": "accept"}}, capabilities=EVERYTHING)
    assert said == to_client(input_required(2, "state-2", input_2=asked["input_2"]))
    said = desk.retry(3, "state-2", {"input-2": {"action": "accept"}}, capabilities=EVERYTHING, progressToken=9)
    again = {"name": "a", "_meta": {"progressToken": 9}}
    assert said == to_server({"id": 3, "method": "tools/call", "params": again})
    assert len(desk.server(method="notifications/progress", params={"progressToken": 9, "progress": 1}).to_client) == 1
    assert [message["id"] for message in desk.server(id=3, result={}).to_client] == [3]


@pytest.mark.parametrize("answer", [{"action": "decline"}, {"action": "cancel"}, {}])
def test_urls_that_the_user_declines_leave_the_server_with_its_refusal(answer: dict[str, Any]) -> None:
    """Made again the call would only be refused again, and the user asked for ever."""
    desk = CallingDesk()
    require_urls(desk)
    said = desk.retry(2, "state-1", {"input-1": {"action": "accept"}, "input-2": answer})
    assert refusal(said) == (2, -32603)
    assert "Log in first." in said.to_client[0]["error"]["message"]
    assert desk.translator.calls == 0


def test_urls_are_not_asked_of_a_client_that_opens_none() -> None:
    said = require_urls(CallingDesk({"elicitation": {}}))
    assert refusal(said) == (1, -32021)
    assert said.to_client[0]["error"]["data"] == {"requiredCapabilities": {"elicitation": {"url": {}}}}


def test_urls_that_are_required_while_the_call_is_parked_are_asked_for_at_the_retry() -> None:
    desk = CallingDesk()
    desk.park("a")
    assert require_urls(desk) == NOTHING
    said = desk.retry(2, "state-1", {"input-1": ACCEPT}, capabilities=EVERYTHING)
    assert said.to_server == [{"jsonrpc": "2.0", "id": "a", "result": ACCEPT}]
    assert said.to_client[0]["result"]["inputRequests"].keys() == {"input-2", "input-3"}
    # That call is over, and can't ask any more.
    assert error_codes(desk.question("b").to_server) == [("b", -32601)]


def test_urls_that_are_required_of_a_method_that_can_not_ask_are_an_internal_error() -> None:
    assert refusal(require_urls(CallingDesk(method="tools/list"))) == (1, -32603)


def test_a_server_that_requires_urls_and_is_not_listened_to_needs_no_cancellation() -> None:
    desk = CallingDesk()
    require_urls(desk)
    assert desk.wait(600) == NOTHING
    assert (desk.translator.calls, desk.translator.holds("state-1")) == (0, False)
