"""A legacy server's response has all that a modern one must have, and otherwise its own bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.protocol.modern_to_legacy.desk import SERVER_INFO, line, modern_request
from trioproxy.protocol.errors import ParseError
from trioproxy.protocol.messages import Response, recognise
from trioproxy.protocol.modern_to_legacy.results import modern_response, url_elicitations

INFO = json.dumps(SERVER_INFO).encode()
META = {"io.modelcontextprotocol/serverInfo": SERVER_INFO}


def response(raw: bytes) -> Response:
    message = recognise(raw)
    assert isinstance(message, Response)
    return message


def complete(method: str, result: Any) -> Any:
    raw = modern_response(response(line(id=1, result=result)), modern_request(1, method), INFO)
    return json.loads(raw)["result"]


def fail(method: str, error: Any, params: dict[str, Any] | None = None) -> Any:
    raw = modern_response(response(line(id=1, error=error)), modern_request(1, method, params), INFO)
    return json.loads(raw)["error"]


@pytest.mark.parametrize("method", ["tools/call", "prompts/get", "completion/complete", "vendor/own"])
def test_a_result_is_complete_and_says_whose_it_is(method: str) -> None:
    """Basic §Responses: "The result MUST include a resultType field"; servers "SHOULD" say who they are."""
    assert complete(method, {"content": []}) == {"content": [], "resultType": "complete", "_meta": META}


@pytest.mark.parametrize(
    "method", ["tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read"]
)
def test_a_result_that_could_be_cached_says_how_long_and_for_whom(method: str) -> None:
    """Caching §Cacheable Results: "Servers MUST include caching hints"; here they promise nothing."""
    hints = {"ttlMs": 0, "cacheScope": "private"}
    assert complete(method, {"x": []}) == {"x": [], "resultType": "complete", "_meta": META, **hints}


def test_what_a_server_says_already_it_is_not_made_to_say() -> None:
    said = {"ttlMs": 5, "cacheScope": "public", "_meta": {"a": 1, "io.modelcontextprotocol/serverInfo": {"name": "x"}}}
    assert complete("tools/list", {"tools": [], **said}) == {"tools": [], "resultType": "complete", **said}


def test_what_a_text_happens_to_say_is_nothing_that_the_server_says() -> None:
    text = 'my "ttlMs", "cacheScope", "serverInfo" and "execution"'
    assert complete("resources/read", {"contents": [text]}) == {
        "contents": [text],
        "resultType": "complete",
        "ttlMs": 0,
        "cacheScope": "private",
        "_meta": META,
    }


def test_members_in_disguise_are_not_said_twice() -> None:
    raw = b'{"jsonrpc":"2.0","id":1,"result":{"tools":[],"t\\u0074lMs":7}}'
    translated = modern_response(response(raw), modern_request(1, "tools/list"), None)
    assert translated == (
        b'{"jsonrpc":"2.0","id":1,"result":{"tools":[],"t\\u0074lMs":0,"resultType":"complete","cacheScope":"private"}}'
    )


def test_a_server_without_a_name_stays_without() -> None:
    raw = modern_response(response(line(id=1, result={})), modern_request(1, "tools/call"), None)
    assert json.loads(raw)["result"] == {"resultType": "complete"}


def test_a_server_can_not_claim_another_type_of_result() -> None:
    assert complete("tools/call", {"resultType": "input_required"})["resultType"] == "complete"


@pytest.mark.parametrize("result", [None, 1, "x"])
def test_a_result_that_is_no_object_becomes_one(result: Any) -> None:
    assert complete("tools/call", result) == {"resultType": "complete", "_meta": META}


def test_what_tools_say_about_tasks_goes() -> None:
    """`execution` is 2025-11-25's (Tasks), and so is what it allows."""
    tools = [
        {"name": "a", "execution": {"taskSupport": "optional"}, "inputSchema": {"properties": {"execution": {}}}},
        {"name": "execution"},
        "?",
        {"name": "b", "execution": {"taskSupport": "required"}},
    ]
    assert complete("tools/list", {"tools": tools})["tools"] == [
        {"name": "a", "inputSchema": {"properties": {"execution": {}}}},
        {"name": "execution"},
        "?",
        {"name": "b"},
    ]
    assert complete("tools/call", {"tools": tools})["tools"] == tools
    assert complete("tools/list", {"tools": "execution"})["tools"] == "execution"


def test_the_rest_of_a_response_keeps_its_bytes() -> None:
    raw = b'{"result":{"n": 1e999,"s":"\\ud800", "u":"\xc3\xa9","b":12345678901234567890123},"jsonrpc":"2.0","id":1}'
    assert modern_response(response(raw), modern_request("x", "tools/call"), None) == (
        b'{"result":{"resultType":"complete","n": 1e999,"s":"\\ud800", "u":"\xc3\xa9","b":12345678901234567890123},'
        b'"jsonrpc":"2.0","id":"x"}'
    )


def test_so_does_that_of_one_that_has_members_of_ours_already() -> None:
    raw = b'{"result":{"n": 1e999,"s":"\\ud800","_meta":{"a":1.10}},"jsonrpc":"2.0","id":1}'
    assert modern_response(response(raw), modern_request("x", "tools/call"), b"{}") == (
        b'{"result":{"n": 1e999,"s":"\\ud800","_meta":{"a":1.10,"io.modelcontextprotocol/serverInfo":{}},'
        b'"resultType":"complete"},"jsonrpc":"2.0","id":"x"}'
    )


def test_a_resource_that_is_not_found_is_an_invalid_parameter_and_is_named() -> None:
    """Basic §Error Codes: implementations "MUST NOT emit" -32002, which -32602 has replaced."""
    uri = "file:///nowhere"
    error = {"code": -32002, "message": "Resource not found"}
    mended = {"code": -32602, "message": "Resource not found", "data": {"uri": uri}}
    assert fail("resources/read", error, {"uri": uri}) == mended
    assert fail("resources/read", {**error, "data": None}, {"uri": uri}) == mended
    assert fail("resources/read", {**error, "data": {"x": 1}}, {"uri": uri}) == {**mended, "data": {"x": 1, "uri": uri}}
    assert fail("resources/read", {**error, "data": {"uri": "y"}}, {"uri": uri}) == {**mended, "data": {"uri": "y"}}
    assert fail("resources/read", {**error, "data": "text"}, {"uri": uri}) == {**mended, "data": "text"}
    assert fail("tools/call", error) == {"code": -32602, "message": "Resource not found"}


@pytest.mark.parametrize("code", [-32020, -32021, -32022, -32042, -32050, -32099])
def test_a_code_that_the_modern_specification_has_for_itself_is_an_internal_error(code: int) -> None:
    """Basic §Error Codes: "Implementations MUST NOT emit any code from this sub-range that is not defined"."""
    error = {"code": code, "message": "m", "data": [1]}
    assert fail("tools/call", error) == {"code": -32603, "message": "m", "data": [1]}


@pytest.mark.parametrize("code", [0, 1, -32000, -32001, -32019, -32100, -32600, -32601, -32602, -32603, -32700, "x"])
def test_any_other_error_passes_as_it_is(code: Any) -> None:
    raw = line(id=1, error={"code": code, "message": "m"})
    assert modern_response(response(raw), modern_request(1, "tools/call"), INFO) == raw


def test_an_error_that_is_none_passes_as_it_is() -> None:
    raw = line(id=1, error="no")
    assert modern_response(response(raw), modern_request(1, "tools/call"), INFO) == raw


def test_a_response_that_is_broken_in_the_middle_is_found_out() -> None:
    """Where it has to be parsed; else it is told by its ends, as everywhere."""
    raw = b'{"jsonrpc":"2.0","id":1,"result":{"_meta":' + b" " * 20_000 + b"}}"
    with pytest.raises(ParseError):
        modern_response(response(raw), modern_request(1, "tools/call"), INFO)


ELICITATION = {
    "mode": "url",
    "elicitationId": "550e8400-e29b-41d4-a716-446655440000",
    "url": "https://mcp.example.com/connect?elicitationId=550e8400-e29b-41d4-a716-446655440000",
    "message": "Authorization is required to access your Example Co files.",
}


def test_an_error_can_be_a_list_of_urls_to_visit() -> None:
    """2025-11-25, Elicitation §URL Elicitation Required Error, its example."""
    error = {
        "code": -32042,
        "message": "This request requires more information.",
        "data": {"elicitations": [ELICITATION, {"url": "https://x"}, {"message": "no url"}, 7]},
    }
    found = url_elicitations(response(line(id=2, error=error)))
    assert [decoded for _, decoded in found] == [ELICITATION, {"url": "https://x", "mode": "url"}]
    assert [json.loads(raw) for raw, _ in found] == [ELICITATION, {"url": "https://x", "mode": "url"}]


@pytest.mark.parametrize(
    "members",
    [
        {"error": {"code": -32042, "message": "m"}},
        {"error": {"code": -32042, "message": "m", "data": {"elicitations": []}}},
        {"error": {"code": -32042, "message": "m", "data": {"elicitations": {"url": "u"}}}},
        {"error": {"code": -32042, "message": "m", "data": [{"url": "u"}]}},
        {"error": {"code": 1, "message": "-32042", "data": {"elicitations": [ELICITATION]}}},
        {"error": "-32042"},
        {"result": {"code": -32042, "data": {"elicitations": [ELICITATION]}}},
    ],
)
def test_anything_else_is_none(members: Any) -> None:
    assert url_elicitations(response(line(id=2, **members))) == []
