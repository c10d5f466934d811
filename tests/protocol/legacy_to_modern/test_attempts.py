"""A call that needs input is one call to the client, and several attempts to the server.

2026-07-28, Multi Round-Trip Requests.
"""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from tests.protocol.legacy_to_modern.pair import ALL_CAPABILITIES, ENVELOPE, Pair, encode, values
from trioproxy.protocol.translation import Related, Step

LOGIN = {
    "method": "elicitation/create",
    "params": {
        "mode": "form",
        "message": "Please provide your GitHub username",
        "requestedSchema": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
    },
}
CAPITAL = {
    "method": "sampling/createMessage",
    "params": {
        "messages": [{"role": "user", "content": {"type": "text", "text": "What is the capital of France?"}}],
        "maxTokens": 100,
    },
}
PARIS = {"role": "assistant", "content": {"type": "text", "text": "Paris."}, "model": "m", "stopReason": "endTurn"}
CALL = {"name": "weather", "arguments": {}}


def asking(*, state: str | None = None, **requests: Any) -> dict[str, Any]:
    """Return an InputRequiredResult."""
    members: dict[str, Any] = {"resultType": "input_required"}
    if requests:
        members["inputRequests"] = requests
    return members if state is None else {**members, "requestState": state}


def called(revision: str = "2025-11-25", capabilities: dict[str, Any] | None = None, method: str = "tools/call") -> Pair:
    """Return a client that waits for the answer to a call with id 1."""
    pair = Pair()
    pair.shake_hands(revision, ALL_CAPABILITIES if capabilities is None else capabilities)
    pair.client_says(id=1, method=method, params=CALL)
    return pair


def text_of(step: Step) -> str:
    """Return what a tool that failed says."""
    (response,) = values(step.to_client)
    assert (response["id"], response["result"]["isError"]) == (1, True)
    return str(response["result"]["content"][0]["text"])


# A round


def test_input_requests_become_requests_that_belong_to_the_call() -> None:
    step = called().server_says(id=1, result=asking(github_login=LOGIN, capital_of_france=CAPITAL, state="blob"))
    assert [message.request_id for message in step.to_client if isinstance(message, Related)] == [1, 1]
    assert values(step.to_client) == [
        {**LOGIN, "jsonrpc": "2.0", "id": "trioproxy:2"},
        {**CAPITAL, "jsonrpc": "2.0", "id": "trioproxy:3"},
    ]
    assert step.to_server == ()


def test_once_all_are_answered_the_call_is_made_again_with_the_answers() -> None:
    pair = called()
    pair.server_says(id=1, result=asking(github_login=LOGIN, capital_of_france=CAPITAL, state="blob"))
    assert pair.client_says(id="trioproxy:3", result=PARIS) == Step()
    step = pair.client_says(id="trioproxy:2", result={"action": "accept", "content": {"name": "octocat"}})
    params = {
        **CALL,
        "_meta": {
            **ENVELOPE,
            "io.modelcontextprotocol/clientCapabilities": ALL_CAPABILITIES,
        },
        "inputResponses": {
            "github_login": {"action": "accept", "content": {"name": "octocat"}},
            "capital_of_france": PARIS,
        },
        "requestState": "blob",
    }
    assert values(step.to_server) == [{"jsonrpc": "2.0", "id": "trioproxy:4", "method": "tools/call", "params": params}]


def test_the_answer_to_the_last_attempt_is_that_to_the_call() -> None:
    pair = called()
    pair.server_says(id=1, result=asking(a=LOGIN))
    pair.client_says(id="trioproxy:2", result={"action": "decline"})
    step = pair.server_says(id="trioproxy:3", result={"resultType": "complete", "content": []})
    assert values(step.to_client) == [{"jsonrpc": "2.0", "id": 1, "result": {"content": []}}]


def test_an_error_to_a_later_attempt_is_the_answer_to_the_call() -> None:
    pair = called()
    pair.server_says(id=1, result=asking(a=LOGIN))
    pair.client_says(id="trioproxy:2", result={"action": "decline"})
    step = pair.server_says(id="trioproxy:3", error={"code": -32602, "message": "late"})
    assert values(step.to_client) == [{"jsonrpc": "2.0", "id": 1, "error": {"code": -32602, "message": "late"}}]


def test_states_and_answers_and_questions_keep_their_bytes() -> None:
    pair = called()
    (question,) = pair.server_says(
        b'{"jsonrpc":"2.0","id":1,"result":{"resultType":"input_required","requestState":"\\u0061\\ud800\\/",'
        b'"inputRequests":{"\\u0061":{"params":{"maxTokens":1e999,"messages":[]},"method":"sampling/createMessage"}}}}'
    ).to_client
    assert question == Related(
        b'{"params":{"maxTokens":1e999,"messages":[]},"method":"sampling/createMessage","jsonrpc":"2.0","id":"trioproxy:2"}',
        1,
    )
    (retry,) = pair.client_says(b'{"jsonrpc":"2.0","id":"trioproxy:2","result":{"x": 1e999, "y":"\\ud800"}}').to_server
    assert retry.endswith(b'"inputResponses":{"a":{"x": 1e999, "y":"\\ud800"}},"requestState":"\\u0061\\ud800\\/"}}')


def test_each_round_has_its_own_answers_and_state() -> None:
    pair = called()
    pair.server_says(id=1, result=asking(a=LOGIN, state="first"))
    pair.client_says(id="trioproxy:2", result={"action": "cancel"})
    pair.server_says(id="trioproxy:3", result=asking(b=CAPITAL))
    (retry,) = values(pair.client_says(id="trioproxy:4", result=PARIS).to_server)
    assert retry["params"]["inputResponses"] == {"b": PARIS}
    assert "requestState" not in retry["params"]


def test_the_progress_token_stays_the_clients_own() -> None:
    pair = Pair()
    pair.shake_hands(capabilities=ALL_CAPABILITIES)
    pair.client_says(id=1, method="prompts/get", params={"name": "a", "_meta": {"progressToken": "t"}})
    pair.server_says(id=1, result=asking(a=LOGIN))
    (retry,) = values(pair.client_says(id="trioproxy:2", result={"action": "cancel"}).to_server)
    assert retry["params"]["_meta"]["progressToken"] == "t"


def test_a_response_to_no_question_is_dropped() -> None:
    pair = called()
    pair.server_says(id=1, result=asking(a=LOGIN, b=LOGIN))
    for request_id in ["trioproxy:1", 2, 1]:
        assert pair.client_says(id=request_id, result={}) == Step()
    pair.client_says(id="trioproxy:2", result={})
    assert pair.client_says(id="trioproxy:2", result={}) == Step()


def test_a_client_whose_ids_look_like_ours_confuses_nobody() -> None:
    pair = called()
    (first,) = values(pair.client_says(id="trioproxy:3", method="tools/call", params=CALL).to_server)
    assert first["id"] == "trioproxy:2"
    pair.server_says(id=1, result=asking(state="s"))
    (retry,) = values(pair.wait().to_server)
    assert retry["id"] == "trioproxy:3"
    step = pair.server_says(id="trioproxy:2", result={"content": []})
    assert values(step.to_client) == [{"jsonrpc": "2.0", "id": "trioproxy:3", "result": {"content": []}}]


# What a question looks like to an older client


@pytest.mark.parametrize(("revision", "mode"), [("2025-06-18", {}), ("2025-11-25", {"mode": "form"})])
def test_a_form_has_a_mode_only_where_there_are_modes(revision: str, mode: dict[str, str]) -> None:
    (question,) = values(called(revision).server_says(id=1, result=asking(a=LOGIN)).to_client)
    assert question["params"] == {**{k: v for k, v in LOGIN["params"].items() if k != "mode"}, **mode}  # type: ignore[attr-defined]


def test_a_url_gets_an_elicitation_id() -> None:
    url = {"method": "elicitation/create", "params": {"mode": "url", "message": "m", "url": "https://example.com"}}
    (question,) = values(called().server_says(id=1, result=asking(a=url)).to_client)
    assert question["params"] == {
        "mode": "url",
        "message": "m",
        "url": "https://example.com",
        "elicitationId": "unguessable",
    }


@pytest.mark.parametrize("method", ["roots/list", "elicitation/create", "sampling/createMessage"])
def test_a_question_without_params_gets_none(method: str) -> None:
    (question,) = values(called().server_says(id=1, result=asking(a={"method": method})).to_client)
    assert question == {"jsonrpc": "2.0", "id": "trioproxy:2", "method": method}


def test_what_sampling_has_of_tools_takes_the_old_shape() -> None:
    tool = {"name": "a", "inputSchema": {"type": "object"}, "outputSchema": {"type": "null"}}
    sampling = {"method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 1, "tools": [tool]}}
    (question,) = values(called().server_says(id=1, result=asking(a=sampling)).to_client)
    assert question["params"]["tools"][0]["outputSchema"]["type"] == "object"


# Questions that can't be asked

URL = {"method": "elicitation/create", "params": {"mode": "url", "url": "https://example.com", "message": "m"}}
TOOLS = {"method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 1, "tools": []}}
ROOTS = {"method": "roots/list"}


@pytest.mark.parametrize(
    ("revision", "capabilities", "request_", "missing"),
    [
        ("2025-11-25", {}, LOGIN, "elicitation.form"),
        ("2025-03-26", ALL_CAPABILITIES, LOGIN, "elicitation.form"),
        ("2025-11-25", {"elicitation": {}}, URL, "elicitation.url"),
        ("2025-06-18", ALL_CAPABILITIES, URL, "elicitation.url"),
        ("2025-11-25", {}, CAPITAL, "sampling"),
        ("2025-11-25", {"sampling": {}}, TOOLS, "sampling.tools"),
        ("2025-06-18", ALL_CAPABILITIES, TOOLS, "sampling.tools"),
        ("2025-11-25", {}, ROOTS, "roots"),
    ],
)
def test_a_client_is_asked_nothing_where_it_can_not_be_asked_all(
    revision: str, capabilities: dict[str, Any], request_: Any, missing: str
) -> None:
    pair = called(revision, {"roots": {}, **capabilities} if request_ is not ROOTS else capabilities)
    step = pair.server_says(id=1, result=asking(a=ROOTS, b=request_))
    assert step.to_server == ()
    assert text_of(step) == (
        f"the server asks its client for what that has not declared, or revision {revision} does not have: {missing}"
    )


@pytest.mark.parametrize("request_", [{"method": "tools/call"}, {"method": 3}, "x", None])
def test_a_client_is_asked_nothing_that_is_no_question(request_: Any) -> None:
    assert "the server asks its client for" in text_of(called().server_says(id=1, result=asking(a=request_)))


@pytest.mark.parametrize("method", ["prompts/get", "resources/read"])
def test_where_no_tool_is_called_it_is_an_error(method: str) -> None:
    (response,) = values(called(capabilities={}, method=method).server_says(id=1, result=asking(a=LOGIN)).to_client)
    assert (response["id"], response["error"]["code"]) == (1, -32603)


def test_an_error_of_the_client_ends_the_call_and_its_other_questions() -> None:
    pair = called()
    pair.server_says(id=1, result=asking(a=LOGIN, b=CAPITAL, c=ROOTS))
    pair.client_says(id="trioproxy:2", result={"action": "cancel"})
    step = pair.client_says(id="trioproxy:3", error={"code": -1, "message": "User rejected sampling request"})
    withdrawal, response = step.to_client
    assert isinstance(withdrawal, Related)
    assert withdrawal.request_id == 1
    assert json.loads(withdrawal.raw)["params"]["requestId"] == "trioproxy:4"
    assert text_of(Step((response,))) == (
        "the client refuses what the server asks for: error -1: User rejected sampling request"
    )
    assert pair.client_says(id="trioproxy:4", result={"roots": []}) == Step()


def test_a_server_may_ask_ten_times_and_no_more() -> None:
    pair = called()
    attempt: str | int = 1
    for _ in range(10):
        (question,) = values(pair.server_says(id=attempt, result=asking(a=ROOTS)).to_client)
        (retry,) = values(pair.client_says(id=question["id"], result={"roots": []}).to_server)
        attempt = retry["id"]
    assert "11" in text_of(pair.server_says(id=attempt, result=asking(a=ROOTS)))


# Rounds in which nothing is asked


def test_a_state_alone_is_handed_back_after_a_pause_that_grows() -> None:
    pair = called()
    attempt: str | int = 1
    pauses = []
    for number in range(5):
        before = pair.now
        requests: dict[str, Any] = {} if number % 2 else {"inputRequests": {}}
        result = {"resultType": "input_required", "requestState": f"s{number}", **requests}
        assert pair.server_says(id=attempt, result=result) == Step()
        assert pair.translator.wake(pair.now) == Step()
        (retry,) = values(pair.wait().to_server)
        assert retry["params"]["requestState"] == f"s{number}"
        assert "inputResponses" not in retry["params"]
        pauses.append(round(pair.now - before, 6))
        attempt = retry["id"]
    assert pauses == [0.05, 0.1, 0.2, 0.25, 0.25]
    assert pair.translator.deadline == math.inf


def test_several_calls_pause_at_the_same_time() -> None:
    pair = called()
    pair.client_says(id=2, method="tools/call", params=CALL)
    pair.server_says(id=1, result=asking(state="one"))
    pair.now = 0.01
    pair.server_says(id=2, result=asking(state="two"))
    assert pair.translator.deadline == 0.05
    step = pair.translator.wake(0.07)
    assert [message["params"]["requestState"] for message in values(step.to_server)] == ["one", "two"]


# Cancellation


def cancel() -> bytes:
    return encode(method="notifications/cancelled", params={"requestId": 1, "reason": "enough"})


def test_a_later_attempt_is_cancelled_under_its_own_id() -> None:
    pair = called()
    pair.server_says(id=1, result=asking(state="s"))
    pair.wait()
    step = pair.client_says(cancel())
    assert values(step.to_server) == [
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "trioproxy:2", "reason": "enough"}}
    ]
    assert pair.server_says(id="trioproxy:2", result={"content": []}) == Step()


def test_the_questions_of_a_cancelled_call_are_withdrawn() -> None:
    pair = called()
    pair.server_says(id=1, result=asking(a=LOGIN, b=CAPITAL))
    pair.client_says(id="trioproxy:2", result={"action": "cancel"})
    step = pair.client_says(cancel())
    assert step.to_server == ()
    (withdrawal,) = values(step.to_client)
    assert (withdrawal["method"], withdrawal["params"]["requestId"]) == ("notifications/cancelled", "trioproxy:3")
    assert pair.client_says(id="trioproxy:3", result=PARIS) == Step()


def test_a_cancelled_call_that_paused_is_not_made_again() -> None:
    pair = called()
    pair.server_says(id=1, result=asking(state="s"))
    assert pair.client_says(cancel()) == Step()
    assert (pair.translator.deadline, pair.translator.wake(1)) == (math.inf, Step())
