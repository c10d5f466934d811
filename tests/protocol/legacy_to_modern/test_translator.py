"""A legacy client takes a modern server for one of its own kind."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from tests.protocol.legacy_to_modern.pair import ALL_CAPABILITIES, ENVELOPE, SERVER, Pair, discover_result, encode, values
from trioproxy.protocol.messages import Response, parse_line
from trioproxy.protocol.translation import Related, Step

PING = b'{"jsonrpc":"2.0","id":"p","method":"ping"}'


# The handshake


def test_initialize_becomes_discover() -> None:
    assert values(Pair().initialize().to_server) == [
        {"jsonrpc": "2.0", "id": "trioproxy:1", "method": "server/discover", "params": {"_meta": ENVELOPE}}
    ]


def test_what_discover_says_becomes_the_initialize_result() -> None:
    pair = Pair()
    pair.initialize("2025-06-18")
    capabilities = {"tools": {"listChanged": True}, "logging": {}, "extensions": {"io.modelcontextprotocol/ui": {}}}
    step = pair.server_says(id="trioproxy:1", result=discover_result(capabilities, instructions="Ask."))
    result = {
        "capabilities": {"tools": {"listChanged": True}, "logging": {}},
        "instructions": "Ask.",
        "protocolVersion": "2025-06-18",
        "serverInfo": SERVER,
    }
    assert (values(step.to_client), step.to_server) == ([{"jsonrpc": "2.0", "id": 0, "result": result}], ())
    assert (pair.translator.is_modern, pair.translator.is_transparent) == (True, False)


@pytest.mark.parametrize(
    ("meta", "info"),
    [
        ({}, {"name": "fallback", "version": "0"}),
        ({"io.modelcontextprotocol/serverInfo": None}, {"name": "fallback", "version": "0"}),
        ({"io.modelcontextprotocol/serverInfo": {"name": "a"}}, {"name": "a", "version": "0"}),
    ],
)
def test_a_server_that_does_not_say_who_it_is_gets_a_name(meta: dict[str, Any], info: dict[str, Any]) -> None:
    pair = Pair()
    pair.initialize()
    (response,) = values(pair.server_says(id="trioproxy:1", result=discover_result(_meta=meta)).to_client)
    assert response["result"]["serverInfo"] == info


def test_an_error_to_discover_is_the_answer_to_initialize_and_the_client_may_try_again() -> None:
    pair = Pair()
    pair.initialize()
    error = {"code": -32000, "message": "not today"}
    assert values(pair.server_says(id="trioproxy:1", error=error).to_client) == [{"jsonrpc": "2.0", "id": 0, "error": error}]
    assert pair.translator.is_modern is None
    (discover,) = values(pair.initialize().to_server)
    assert discover["method"] == "server/discover"


@pytest.mark.parametrize(
    "answer",
    [
        {"error": {"code": -32022, "message": "no", "data": {"supported": ["2027-01-01"], "requested": "2026-07-28"}}},
        {"result": discover_result(supportedVersions=["2027-01-01"])},
    ],
)
def test_a_server_of_other_revisions_is_refused_in_the_way_of_the_handshake(answer: dict[str, Any]) -> None:
    pair = Pair()
    pair.initialize()
    (response,) = values(pair.server_says(id="trioproxy:1", **answer).to_client)
    assert response["error"] == {
        "code": -32602,
        "message": 'Unsupported protocol version: the server supports ["2027-01-01"], and not 2026-07-28',
        "data": {"supported": ["2027-01-01"], "requested": "2025-11-25"},
    }


def test_a_second_initialize_waits_for_nobody() -> None:
    pair = Pair()
    pair.initialize()
    (response,) = values(pair.client_says(id=9, method="initialize", params={}).to_client)
    assert response["error"]["code"] == -32600


def test_a_second_handshake_that_fails_leaves_the_first_as_it_was() -> None:
    pair = Pair()
    pair.shake_hands()
    (discover,) = values(pair.initialize().to_server)
    pair.server_says(id=discover["id"], error={"code": -32000, "message": "not again"})
    (message,) = values(pair.client_says(id=1, method="tools/list").to_server)
    assert message["params"] == {"_meta": ENVELOPE}


def test_after_a_handshake_that_failed_messages_pass_as_they_are() -> None:
    pair = Pair()
    pair.initialize()
    pair.server_says(id="trioproxy:1", error={"code": -32000, "message": "not today"})
    raw = encode(id=1, method="tools/list")
    assert pair.client_says(raw) == Step(to_server=(raw,))


def test_before_initialize_messages_pass_as_they_are_and_a_ping_is_answered() -> None:
    pair = Pair()
    probe = encode(id="d", method="server/discover", params={"_meta": ENVELOPE})
    answer = encode(id="d", result=discover_result())
    assert pair.client_says(probe) == Step(to_server=(probe,))
    assert pair.server_says(answer) == Step(to_client=(answer,))
    assert values(pair.client_says(PING).to_client) == [{"jsonrpc": "2.0", "id": "p", "result": {}}]


# A server of unknown era


def test_a_server_that_takes_part_in_the_handshake_is_left_alone_with_the_client() -> None:
    pair = Pair(tries_handshake=True)
    assert pair.client_says(PING) == Step(to_server=(PING,))
    (initialize,) = pair.initialize().to_server
    assert json.loads(initialize)["method"] == "initialize"
    answer = encode(id=0, result={"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": SERVER})
    assert pair.server_says(answer) == Step(to_client=(answer,))
    assert (pair.translator.is_modern, pair.translator.is_transparent) == (False, True)
    call = encode(id=1, method="tools/call", params={"name": "a"})
    question = encode(id=1, method="roots/list")
    assert pair.client_says(call) == Step(to_server=(call,))
    assert pair.server_says(question) == Step(to_client=(question,))


def test_a_server_that_refuses_the_handshake_is_asked_in_the_modern_way() -> None:
    pair = Pair(tries_handshake=True)
    pair.initialize()
    (discover,) = values(pair.server_says(id=0, error={"code": -32022, "message": "modern"}).to_server)
    assert (discover["id"], discover["method"]) == ("trioproxy:1", "server/discover")
    (response,) = values(pair.server_says(id="trioproxy:1", result=discover_result()).to_client)
    assert (response["id"], response["result"]["serverInfo"]) == (0, SERVER)
    assert (pair.translator.is_modern, pair.translator.is_transparent) == (True, False)


def test_a_server_that_refuses_the_handshake_and_says_nothing_more_is_heard_with_that() -> None:
    """Some servers do not answer what they do not know."""
    pair = Pair(tries_handshake=True)
    pair.initialize()
    refusal = encode(id=0, error={"code": -32602, "message": "no"})
    pair.server_says(refusal)
    assert pair.wait() == Step(to_client=(refusal,))
    assert (pair.now, pair.translator.deadline) == (10.0, math.inf)
    again = encode(id=2, method="initialize", params={"protocolVersion": "2025-06-18"})
    assert pair.client_says(again) == Step(to_server=(again,)), "the client may try again"


def test_a_server_that_refuses_both_is_heard_with_what_it_said_first() -> None:
    pair = Pair(tries_handshake=True)
    pair.initialize()
    refusal = encode(id=0, error={"code": -32603, "message": "broken"})
    pair.server_says(refusal)
    assert pair.server_says(id="trioproxy:1", error={"code": -32601, "message": "what?"}) == Step(to_client=(refusal,))
    assert (pair.translator.is_modern, pair.translator.is_transparent) == (None, False)


def test_what_was_sent_while_the_server_was_tried_is_answered_as_it_is() -> None:
    pair = Pair(tries_handshake=True)
    early = encode(id=7, method="tools/list")
    assert pair.client_says(early) == Step(to_server=(early,))
    pair.initialize()
    pair.server_says(id=0, error={"code": -32602, "message": "no"})
    answer = encode(id=7, error={"code": -32602, "message": "no envelope"})
    assert pair.server_says(answer) == Step(to_client=(answer,))
    assert pair.server_says(answer) == Step()


# Requests


def test_a_request_gets_the_envelope_and_keeps_its_bytes() -> None:
    pair = Pair()
    pair.shake_hands()
    raw = b'{"jsonrpc":"2.0","id":1,"method":"a/b","params":{"n":1e999,"_meta":{"progressToken":"t","v/w":"\\ud800"}}}'
    envelope = json.dumps(ENVELOPE, separators=(",", ":")).encode()
    assert pair.client_says(raw) == Step(to_server=(raw[:-3] + b"," + envelope[1:] + b"}}",))


@pytest.mark.parametrize("params", [b"", b',"params":null', b',"params":{"_meta":null}', b',"params":{"_meta":{}}'])
def test_a_request_without_metadata_gets_it(params: bytes) -> None:
    pair = Pair()
    pair.shake_hands()
    (message,) = values(pair.client_says(b'{"jsonrpc":"2.0","id":1,"method":"tools/list"' + params + b"}").to_server)
    assert message == {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": ENVELOPE}}


def test_the_log_level_goes_with_each_later_request() -> None:
    pair = Pair()
    pair.shake_hands()
    step = pair.client_says(id=1, method="logging/setLevel", params={"level": "warning"})
    assert (values(step.to_client), step.to_server) == ([{"jsonrpc": "2.0", "id": 1, "result": {}}], ())
    (message,) = values(pair.client_says(id=2, method="tools/list").to_server)
    assert message["params"]["_meta"] == {**ENVELOPE, "io.modelcontextprotocol/logLevel": "warning"}


@pytest.mark.parametrize("level", ["loud", None, 3, ["debug"]])
def test_a_level_that_is_none_is_refused(level: Any) -> None:
    pair = Pair()
    pair.shake_hands()
    (response,) = values(pair.client_says(id=1, method="logging/setLevel", params={"level": level}).to_client)
    assert response["error"]["code"] == -32602


@pytest.mark.parametrize("method", ["tasks/get", "tasks/list", "subscriptions/listen", "resources/subscribe"])
def test_what_the_server_can_not_do_for_this_client_is_refused(method: str) -> None:
    pair = Pair()
    pair.shake_hands()
    step = pair.client_says(id=1, method=method, params={"uri": "a:b"})
    assert [response["error"]["code"] for response in values(step.to_client)] == [-32601]
    assert step.to_server == ()


@pytest.mark.parametrize(
    "method", ["notifications/initialized", "notifications/roots/list_changed", "notifications/progress"]
)
def test_the_clients_notifications_stay_here(method: str) -> None:
    pair = Pair()
    pair.shake_hands(server_capabilities={"tools": {"listChanged": True}})
    assert pair.client_says(method=method, params={"progressToken": 1, "progress": 1}) == Step()


def test_a_ping_is_answered_here() -> None:
    pair = Pair()
    pair.shake_hands()
    assert pair.client_says(PING) == Step(to_client=(b'{"jsonrpc":"2.0","id":"p","result":{}}',))


def test_an_id_in_flight_is_not_used_again() -> None:
    pair = Pair()
    pair.shake_hands()
    pair.call()
    (response,) = values(pair.client_says(id=1, method="tools/list").to_client)
    assert response["error"]["code"] == -32600


# Responses


def answer(method: str, result: dict[str, Any], params: dict[str, Any] | None = None) -> Any:
    pair = Pair()
    pair.shake_hands()
    pair.client_says(id=1, method=method, params=params or {})
    (response,) = values(pair.server_says(id=1, result=result).to_client)
    return response["result"]


def test_a_result_loses_what_is_modern_about_it_and_keeps_its_bytes() -> None:
    pair = Pair()
    pair.shake_hands()
    pair.client_says(id=1, method="resources/read", params={"uri": "a:b"})
    raw = (
        b'{"result":{"resultType":"complete","contents":[{"n":1e999,"t":"\\ud800"}],"ttlMs":0,"cacheScope":"public"},'
        b'"jsonrpc":"2.0","id":1}'
    )
    assert pair.server_says(raw) == Step(
        to_client=(b'{"result":{"contents":[{"n":1e999,"t":"\\ud800"}]},"jsonrpc":"2.0","id":1}',)
    )


def test_a_result_without_a_type_is_complete() -> None:
    assert answer("prompts/get", {"messages": []}) == {"messages": []}


def test_a_member_that_has_nothing_to_do_with_caching_stays() -> None:
    assert answer("tools/call", {"resultType": "complete", "content": [], "ttlMs": 3}) == {"content": [], "ttlMs": 3}


@pytest.mark.parametrize(
    ("method", "result"),
    [
        ("tools/call", {"resultType": "task", "task": {}}),
        ("tools/call", {"resultType": 3}),
        ("tools/list", {"resultType": "input_required", "requestState": "a"}),
        ("tools/call", {"resultType": "input_required"}),
        ("tools/call", {"resultType": "input_required", "inputRequests": ["a"], "requestState": "a"}),
        ("tools/call", None),
    ],
)
def test_a_result_that_nobody_can_read_is_an_error(method: str, result: Any) -> None:
    pair = Pair()
    pair.shake_hands()
    pair.client_says(id=1, method=method)
    (response,) = values(pair.server_says(id=1, result=result).to_client)
    assert response["error"]["code"] == -32603


def test_the_specifications_array_of_users_becomes_an_object() -> None:
    result = {"resultType": "complete", "content": [], "structuredContent": [{"id": "1", "name": "Alice"}]}
    assert answer("tools/call", result) == {"content": [], "structuredContent": {"result": [{"id": "1", "name": "Alice"}]}}


def test_what_tools_list_says_of_a_tool_holds_for_its_results() -> None:
    pair = Pair()
    pair.shake_hands()
    schemas = {"either": {"anyOf": [{"type": "object"}, {"type": "null"}]}, "object": {"type": "object"}}
    tools = [{"name": name, "inputSchema": {"type": "object"}, "outputSchema": schema} for name, schema in schemas.items()]
    pair.client_says(id=1, method="tools/list")
    (response,) = values(pair.server_says(id=1, result={"tools": tools}).to_client)
    assert [tool["outputSchema"]["type"] for tool in response["result"]["tools"]] == ["object", "object"]
    contents = []
    for number, name in enumerate(["either", "object"], 2):
        pair.client_says(id=number, method="tools/call", params={"name": name})
        (response,) = values(pair.server_says(id=number, result={"content": [], "structuredContent": {"a": 1}}).to_client)
        contents.append(response["result"]["structuredContent"])
    assert contents == [{"result": {"a": 1}}, {"a": 1}]


@pytest.mark.parametrize(
    ("code", "data", "message"),
    [
        (-32021, {"requiredCapabilities": {"elicitation": {"url": {}}, "roots": {}}}, "elicitation.url, roots"),
        (-32021, None, "something that it does not name"),
        (-32020, None, "(-32020): said"),
        (-32022, {"supported": []}, "(-32022): said"),
    ],
)
def test_an_error_of_the_modern_era_becomes_an_internal_one_that_says_the_same(code: int, data: Any, message: str) -> None:
    pair = Pair()
    pair.shake_hands()
    pair.call()
    (response,) = values(pair.server_says(id=1, error={"code": code, "message": "said", "data": data}).to_client)
    assert (response["error"]["code"], response["error"]["data"]) == (-32603, data)
    assert response["error"]["message"].endswith(message)


@pytest.mark.parametrize("code", [-32602, -32601, -32603, -32002, 0, 42])
def test_any_other_error_passes(code: int) -> None:
    pair = Pair()
    pair.shake_hands()
    pair.client_says(id=1, method="resources/read", params={"uri": "a:b"})
    raw = encode(id=1, error={"code": code, "message": "said"})
    assert pair.server_says(raw) == Step(to_client=(raw,))


@pytest.mark.parametrize(("member", "is_error"), [(b'"result"', False), (b'"error"', True)])
def test_a_response_that_was_told_by_its_ends_and_is_no_json_fails_its_call_alone(member: bytes, is_error: bool) -> None:
    pair = Pair()
    pair.shake_hands()
    pair.call()
    pair.server_says(id=1, result={"resultType": "input_required", "requestState": "a"})
    (retry,) = values(pair.wait().to_server)
    broken = Response(b'{"jsonrpc":"2.0","id":"trioproxy:2",' + member + b":{]}", retry["id"], is_error)
    (response,) = values(pair.translator.from_server(broken, 0).to_client)
    assert (response["id"], response["error"]["code"]) == (1, -32603)
    assert "can't be read: not JSON" in response["error"]["message"]
    assert pair.translator.deadline == math.inf


@pytest.mark.parametrize(
    "raw",
    [
        encode(method="notifications/progress", params={"progressToken": 1, "progress": 0.5}),
        encode(method="notifications/message", params={"level": "info", "data": 1}),
        encode(method="notifications/tools/list_changed"),
        encode(method="notifications/unheard/of"),
    ],
)
def test_notifications_of_no_subscription_pass_as_they_are(raw: bytes) -> None:
    pair = Pair()
    pair.shake_hands()
    assert pair.server_says(raw) == Step(to_client=(raw,))


@pytest.mark.parametrize(
    "raw",
    [
        encode(id=1, method="ping"),
        encode(id=5, result={}),
        encode(id=None, error={"code": -32700, "message": "what?"}),
        encode(method="notifications/cancelled", params={"requestId": 1}),
        encode(method="notifications/cancelled"),
        encode(method="notifications/tools/list_changed", params={"_meta": {"io.modelcontextprotocol/subscriptionId": 1}}),
    ],
)
def test_what_a_modern_server_may_not_say_is_not_heard(raw: bytes) -> None:
    pair = Pair()
    pair.shake_hands()
    assert pair.server_says(raw) == Step()


# Cancellation


def test_a_call_is_cancelled_and_its_late_answer_goes_unheard() -> None:
    pair = Pair()
    pair.shake_hands()
    pair.call()
    raw = encode(method="notifications/cancelled", params={"requestId": 1, "reason": "enough"})
    assert pair.client_says(raw) == Step(to_server=(raw,))
    assert pair.server_says(id=1, result={"content": []}) == Step()
    assert pair.client_says(raw) == Step()


# Time


def test_nothing_is_due_where_nothing_waits() -> None:
    pair = Pair()
    pair.shake_hands(capabilities=ALL_CAPABILITIES)
    pair.call()
    assert pair.translator.deadline == math.inf
    assert pair.translator.wake(1e9) == Step()


# What belongs to a request


def test_what_comes_on_the_stream_of_an_attempt_belongs_to_the_clients_request() -> None:
    """A retry has an id of ours, of which the client knows nothing."""
    pair = Pair()
    pair.shake_hands(capabilities=ALL_CAPABILITIES)
    pair.call()
    log = encode(method="notifications/message", params={"level": "info", "data": "x"})
    assert pair.translator.from_server(parse_line(log), 0, 1) == Step((Related(log, 1),))
    pair.server_says(id=1, result={"resultType": "input_required", "requestState": "s"})
    (retry,) = values(pair.wait().to_server)
    assert retry["id"] != 1
    assert pair.translator.from_server(parse_line(log), 0, retry["id"]) == Step((Related(log, 1),))
    assert pair.translator.from_server(parse_line(log), 0, "gone") == Step((log,))


def test_a_legacy_server_says_itself_what_belongs_to_which_request() -> None:
    pair = Pair(tries_handshake=True)
    pair.initialize()
    log = encode(method="notifications/message", params={"level": "info", "data": "x"})
    assert pair.translator.from_server(parse_line(log), 0, 0) == Step((Related(log, 0),))
    pair.server_says(id=0, result={"protocolVersion": "2025-11-25"})
    assert pair.translator.is_transparent
    assert pair.translator.from_server(parse_line(log), 0, 7) == Step((Related(log, 7),))
