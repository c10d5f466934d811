"""Which era a request is of, what it says of itself, and whether its headers say the same."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trioproxy.protocol.envelope import (
    LOG_LEVELS,
    Envelope,
    check_envelope,
    check_notification_header,
    is_modern,
    missing_capabilities,
)
from trioproxy.protocol.errors import (
    HeaderMismatch,
    InvalidParams,
    InvalidRequest,
    MethodNotFound,
    UnsupportedProtocolVersion,
    error_response,
)
from trioproxy.protocol.header_values import HeaderValues
from trioproxy.protocol.messages import Message, Request, parse_line
from trioproxy.protocol.revisions import LEGACY_REVISIONS

VERSION = "io.modelcontextprotocol/protocolVersion"
CLIENT = "io.modelcontextprotocol/clientInfo"
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
LOG_LEVEL = "io.modelcontextprotocol/logLevel"

# 2026-07-28, Streamable HTTP §Standard Request Headers.
META = {VERSION: "2026-07-28", CLIENT: {"name": "ExampleClient", "version": "1.0.0"}, CAPABILITIES: {}}
TOOLS_CALL = {"name": "get_weather", "arguments": {"location": "Seattle, WA"}}
RESOURCES_READ = {"uri": "file:///projects/myapp/config.json"}


def request(method: str, params: dict[str, Any] | None = None, **changes: Any) -> Request:
    """A modern request; `changes` to its `_meta` come under their last names, and `...` takes one away."""
    meta = {key: value for key, value in META.items() if key.rpartition("/")[2] not in changes}
    meta |= {f"io.modelcontextprotocol/{name}": value for name, value in changes.items() if value is not ...}
    return Request(b"", 1, method, {**(params or {}), "_meta": meta})


def sent(*, version: bytes | None = b"2026-07-28", method: bytes | None, name: bytes | None = None) -> HeaderValues:
    headers = {b"mcp-protocol-version": version, b"mcp-method": method, b"mcp-name": name}
    return lambda wanted: [value for key, value in headers.items() if key == wanted and value is not None]


def body(**members: Any) -> Message:
    return parse_line(json.dumps({"jsonrpc": "2.0", **members}).encode())


# The choice between the eras

CLAIM = {"_meta": META}
RESPONSE = {"id": 1, "result": {}}
NON_HANDSHAKES = [b"2026-07-28", b"2099-01-01", b"2025-06-19", b"DRAFT", b"", b"\xff", b"2025-06-18, 2025-06-18"]
HANDSHAKES = [None, *(revision.encode() for revision in LEGACY_REVISIONS), b" 2025-11-25 "]


@pytest.mark.parametrize("method", ["tools/list", "initialize", "no/such"])
@pytest.mark.parametrize("header", [*HANDSHAKES, *NON_HANDSHAKES])
@pytest.mark.parametrize("has_session", [False, True])
def test_a_request_with_an_envelope_is_modern_whatever_its_headers_say(
    method: str, header: bytes | None, has_session: bool
) -> None:
    """Versioning §Backward Compatibility: "A request carrying modern per-request _meta is served statelessly"."""
    assert is_modern(body(id=1, method=method, params=CLAIM), header, has_session=has_session)


@pytest.mark.parametrize("header", [*HANDSHAKES, *NON_HANDSHAKES])
def test_an_initialize_without_an_envelope_is_legacy_whatever_its_header_says(header: bytes | None) -> None:
    """Versioning §Backward Compatibility: "An initialize request selects legacy semantics"."""
    assert not is_modern(body(id=1, method="initialize", params={"_meta": {}}), header, has_session=False)


@pytest.mark.parametrize("members", [{"id": 1, "method": "ping"}, {"method": "notifications/cancelled"}])
def test_what_has_no_envelope_goes_by_its_header(members: dict[str, Any]) -> None:
    for header in HANDSHAKES:
        assert not is_modern(body(**members), header, has_session=False)
    for header in NON_HANDSHAKES:
        assert is_modern(body(**members), header, has_session=False)


@pytest.mark.parametrize("members", [{"id": 1, "method": "ping"}, {"method": "notifications/cancelled"}, RESPONSE])
@pytest.mark.parametrize("header", [*HANDSHAKES, *NON_HANDSHAKES])
def test_what_belongs_to_a_session_is_legacy_whatever_its_header_says(members: dict[str, Any], header: bytes | None) -> None:
    """A session refuses a revision that is not its own with 400 itself (2025-06-18, §Protocol Version Header)."""
    assert not is_modern(body(**members), header, has_session=True)


@pytest.mark.parametrize("header", HANDSHAKES)
def test_arrays_and_responses_are_legacy(header: bytes | None) -> None:
    assert not is_modern(body(**RESPONSE), header, has_session=False)
    assert not is_modern([body(id=1, method="ping")], header, has_session=False)


@pytest.mark.parametrize("header", NON_HANDSHAKES)
def test_arrays_and_responses_are_nothing_that_a_modern_client_may_send(header: bytes) -> None:
    """Streamable HTTP §Sending Messages, 4: "The client MUST NOT send JSON-RPC responses"."""
    with pytest.raises(InvalidRequest, match="this has a response"):
        is_modern(body(**RESPONSE), header, has_session=False)
    with pytest.raises(InvalidRequest, match="this has an array"):
        is_modern([body(id=1, method="ping")], header, has_session=False)


def test_an_envelope_within_an_array_is_nothing_that_anybody_serves() -> None:
    batch = [body(id=1, method="ping"), body(id=2, method="tools/list", params=CLAIM)]
    for has_session in (False, True):
        with pytest.raises(InvalidRequest, match="this has an array"):
            is_modern(batch, b"2025-03-26", has_session=has_session)


def test_a_notification_with_an_envelope_is_modern() -> None:
    assert is_modern(body(method="notifications/cancelled", params=CLAIM), None, has_session=False)


@pytest.mark.parametrize(
    "meta", [None, [], "2026-07-28", {VERSION.lower(): "2026-07-28"}, {"protocolVersion": "2026-07-28"}]
)
def test_what_only_resembles_an_envelope_is_none(meta: Any) -> None:
    assert not is_modern(body(id=1, method="tools/list", params={"_meta": meta}), None, has_session=False)


# Notifications


@pytest.mark.parametrize("version", [None, b"2026-07-28", b" 2026-07-28 "])
def test_a_notification_of_a_revision_that_is_served_is_accepted(version: bytes | None) -> None:
    """Streamable HTTP §Sending Messages: "header requirements for notification POSTs are not defined"."""
    check_notification_header(sent(version=version, method=None))


@pytest.mark.parametrize("version", ["2099-01-01", "2025-11-25", ""])
def test_a_notification_of_any_other_is_not(version: str) -> None:
    with pytest.raises(UnsupportedProtocolVersion) as raised:
        check_notification_header(sent(version=version.encode(), method=None))
    assert raised.value.data == {"supported": ["2026-07-28"], "requested": version}


# The envelope


@pytest.mark.parametrize(
    ("asked", "headers"),
    [
        (request("tools/call", TOOLS_CALL), sent(method=b"tools/call", name=b"get_weather")),
        (request("resources/read", RESOURCES_READ), sent(method=b"resources/read", name=RESOURCES_READ["uri"].encode())),
        (request("tools/list"), sent(method=b"tools/list")),
        (request("server/discover"), sent(method=b"server/discover")),
    ],
)
def test_the_requests_of_the_specification_pass(asked: Request, headers: HeaderValues) -> None:
    """Streamable HTTP §Standard Request Headers."""
    assert check_envelope(asked, headers) == Envelope("2026-07-28", {"name": "ExampleClient", "version": "1.0.0"}, {}, None)


def test_an_envelope_says_what_the_client_can_do_and_which_messages_it_wants() -> None:
    asked = request("tools/list", clientCapabilities={"elicitation": {"url": {}}}, clientInfo=..., logLevel="warning")
    assert check_envelope(asked, sent(method=b"tools/list")) == Envelope(
        "2026-07-28", None, {"elicitation": {"url": {}}}, "warning"
    )


@pytest.mark.parametrize("method", ["no/such", "vendor/thing", "", "logging/setlevel", "Ping"])
def test_whether_there_is_a_method_is_for_the_server_to_say(method: str) -> None:
    assert check_envelope(request(method), sent(method=method.encode())).revision == "2026-07-28"


@pytest.mark.parametrize(
    ("meta", "told"),
    [
        (None, f"must be an object with '{VERSION}' and '{CAPABILITIES}'"),
        ([], "must be an object"),
        ({}, f"lacks '{VERSION}' and '{CAPABILITIES}'"),
        ({CAPABILITIES: {}}, f"lacks '{VERSION}'"),
        ({VERSION: "2026-07-28"}, f"lacks '{CAPABILITIES}'"),
        ({VERSION: 20260728, CAPABILITIES: {}}, "must be a string; this is 20260728"),
        ({VERSION: None, CAPABILITIES: {}}, "must be a string; this is null"),
        ({VERSION: "2026-07-28", CAPABILITIES: []}, "must be an object; this is (an array)"),
        ({VERSION: "2026-07-28", CAPABILITIES: None}, "must be an object; this is null"),
        ({VERSION: "2026-07-28", CAPABILITIES: {}, CLIENT: "me"}, "must be an object; this is 'me'"),
    ],
)
def test_an_envelope_that_lacks_something_is_told_what(meta: Any, told: str) -> None:
    """Basic §`_meta`: "A request missing any required field is malformed; the server MUST reject it with … -32602"."""
    with pytest.raises(InvalidParams) as raised:
        check_envelope(Request(b"", 1, "tools/list", {"_meta": meta}), sent(method=b"tools/list"))
    assert told in str(raised.value)


def test_a_request_without_any_envelope_is_told_so_before_its_headers_are_looked_at() -> None:
    with pytest.raises(InvalidParams, match=r"params\._meta must be an object"):
        check_envelope(Request(b"", 1, "tools/list", {}), sent(version=b"2099-01-01", method=None))


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        (sent(version=None, method=b"tools/list"), "MCP-Protocol-Version header is missing; the body value is '2026-07-28'"),
        (
            sent(version=b"2025-11-25", method=b"tools/list"),
            "MCP-Protocol-Version header value '2025-11-25' does not match body value '2026-07-28'",
        ),
        (sent(method=None), "Mcp-Method header is missing; the body value is 'tools/list'"),
        (sent(method=b"prompts/list"), "Mcp-Method header value 'prompts/list' does not match body value 'tools/list'"),
        (sent(method=b"TOOLS/LIST"), "Mcp-Method header value 'TOOLS/LIST' does not match body value 'tools/list'"),
        (sent(method=b"=?base64?dG9vbHMvbGlzdA==?="), "does not match body value 'tools/list'"),
        (sent(method=b"tools/\xe9"), "Mcp-Method has a character that is invalid in a header"),
    ],
)
def test_a_header_that_does_not_say_what_the_body_says_is_refused(headers: HeaderValues, told: str) -> None:
    """Streamable HTTP §Server Validation; only Mcp-Name and Mcp-Param-… may be Base64."""
    with pytest.raises(HeaderMismatch) as raised:
        check_envelope(request("tools/list"), headers)
    assert told in str(raised.value)


def test_a_mismatch_is_told_in_the_words_of_the_specification() -> None:
    """Streamable HTTP §Server Validation, "Example error response"."""
    with pytest.raises(HeaderMismatch) as raised:
        check_envelope(request("tools/call", {"name": "bar"}), sent(method=b"tools/call", name=b"foo"))
    assert json.loads(error_response(raised.value, 1)) == {
        "jsonrpc": "2.0",
        "id": 1,
        "error": {
            "code": -32020,
            "message": "Header mismatch: Mcp-Name header value 'foo' does not match body value 'bar'",
        },
    }


@pytest.mark.parametrize(
    ("method", "parameter"),
    [
        ("tools/call", "name"),
        ("prompts/get", "name"),
        ("resources/read", "uri"),
        ("tasks/get", "taskId"),
        ("tasks/update", "taskId"),
        ("tasks/cancel", "taskId"),
    ],
)
@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("echo", b"echo"),
        ("echo", b"  echo  "),
        ("echo", b"=?base64?ZWNobw==?="),
        ("Привет", b"=?base64?0J/RgNC40LLQtdGC?="),
        (" padded ", b"=?base64?IHBhZGRlZCA=?="),
    ],
)
def test_a_name_may_be_plain_or_base64(method: str, parameter: str, name: str, header: bytes) -> None:
    """Streamable HTTP §Standard Request Headers, §Value Encoding; SEP-2663 for tasks."""
    asked = request(method, {parameter: name})
    assert check_envelope(asked, sent(method=method.encode(), name=header)).revision == "2026-07-28"


@pytest.mark.parametrize(
    ("name", "header", "told"),
    [
        ("echo", None, "Mcp-Name header is missing; the body value is 'echo'"),
        (None, None, "Mcp-Name header is missing; the body value is null"),
        ("echo", b"", "Mcp-Name header value '' does not match body value 'echo'"),
        ("echo", b"Echo", "does not match body value 'echo'"),
        ("echo", b"=?base64?ZWNobw?=", "is not Base64 of UTF-8"),
        ("echo", b"=?BASE64?ZWNobw==?=", "does not match"),
        ("\xe9", b"\xe9", "a character that is invalid in a header, byte 0xe9"),
        (" padded ", b" padded ", "header value 'padded' does not match body value ' padded '"),
        (7, b"7", "does not match body value 7"),
        (None, b"null", "does not match body value null"),
        ("x" * 10_000, b"y" * 10_000, "yyy…' does not match body value 'xxx"),
    ],
)
def test_a_name_that_is_not_the_one_in_the_body_is_refused(name: Any, header: bytes | None, told: str) -> None:
    with pytest.raises(HeaderMismatch) as raised:
        check_envelope(request("tools/call", {"name": name}), sent(method=b"tools/call", name=header))
    assert told in str(raised.value)
    assert len(str(raised.value)) < 250


def test_a_name_of_a_request_that_has_none_is_of_no_interest() -> None:
    assert check_envelope(request("tools/list"), sent(method=b"tools/list", name=b"echo")).revision == "2026-07-28"


@pytest.mark.parametrize("twice", ["MCP-Protocol-Version", "Mcp-Method", "Mcp-Name"])
def test_a_header_that_comes_twice_is_refused_before_anything_else(twice: str) -> None:
    def values(name: bytes) -> list[bytes]:
        return [b"same", b"same"] if name == twice.lower().encode() else []

    with pytest.raises(HeaderMismatch, match=f"{twice} comes 2 times"):
        check_envelope(Request(b"", 1, "tools/list", {}), values)


@pytest.mark.parametrize("revision", ["1900-01-01", "2025-11-25", "DRAFT", ""])
def test_a_revision_that_is_not_served_is_refused_with_those_that_are(revision: str) -> None:
    """Versioning §Protocol Version Negotiation: "listing the versions it does support"."""
    with pytest.raises(UnsupportedProtocolVersion, match="Unsupported protocol version") as raised:
        check_envelope(
            request("tools/list", protocolVersion=revision), sent(version=revision.encode(), method=b"tools/list")
        )
    assert raised.value.data == {"supported": ["2026-07-28"], "requested": revision}


def test_a_client_that_contradicts_itself_is_told_so_before_its_revision_is_looked_at() -> None:
    with pytest.raises(HeaderMismatch, match="'1900-01-01' does not match body value '1900-01-02'"):
        check_envelope(
            request("tools/list", protocolVersion="1900-01-02"), sent(version=b"1900-01-01", method=b"tools/list")
        )


@pytest.mark.parametrize(
    "method",
    [
        "initialize",
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "resources/unsubscribe",
        "notifications/initialized",
        "notifications/cancelled",
    ],
)
def test_a_method_of_the_legacy_era_is_not_found(method: str) -> None:
    """Streamable HTTP §Protocol Version Header: "404 Not Found and a JSON-RPC error with code -32601"."""
    with pytest.raises(MethodNotFound, match=f"Method not found: 2026-07-28 has no request '{method}'"):
        check_envelope(request(method), sent(method=method.encode()))


@pytest.mark.parametrize("level", LOG_LEVELS)
def test_every_log_level_may_be_asked_for(level: str) -> None:
    assert check_envelope(request("tools/list", logLevel=level), sent(method=b"tools/list")).log_level == level


@pytest.mark.parametrize("level", ["warn", "DEBUG", "", 3, None, {}, ["debug"]])
def test_what_is_no_log_level_is_refused_with_those_that_are(level: Any) -> None:
    """Logging §Error Handling."""
    with pytest.raises(
        InvalidParams, match="must be one of debug, info, notice, warning, error, critical, alert, emergency"
    ):
        check_envelope(request("tools/list", logLevel=level), sent(method=b"tools/list"))


# What a client would have to declare

FORM = {"method": "elicitation/create", "params": {"message": "Who?", "requestedSchema": {"type": "object"}}}
NAMED_FORM = {"method": "elicitation/create", "params": {"mode": "form", "message": "Who?"}}
URL = {"method": "elicitation/create", "params": {"mode": "url", "url": "https://example.com", "message": "There"}}
VOICE = {"method": "elicitation/create", "params": {"mode": "voice"}}
SAMPLING = {"method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 100}}
TOOL_SAMPLING = {"method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 100, "tools": []}}
CHOICE_SAMPLING = {"method": "sampling/createMessage", "params": {"toolChoice": {"mode": "auto"}}}
CONTEXT_SAMPLING = {"method": "sampling/createMessage", "params": {"includeContext": "thisServer"}}
ROOTS = {"method": "roots/list"}


@pytest.mark.parametrize(
    ("question", "declared"),
    [
        (FORM, {"elicitation": {}}),
        (FORM, {"elicitation": {"form": {}}}),
        (FORM, {"elicitation": {"form": {}, "url": {}}}),
        (FORM, {"elicitation": {"url": None}}),
        (NAMED_FORM, {"elicitation": {}}),
        (URL, {"elicitation": {"url": {}}}),
        (VOICE, {"elicitation": {"voice": {}}}),
        (SAMPLING, {"sampling": {}}),
        (SAMPLING, {"sampling": {"tools": {}}}),
        (TOOL_SAMPLING, {"sampling": {"tools": {}}}),
        (CHOICE_SAMPLING, {"sampling": {"tools": {}}}),
        (CONTEXT_SAMPLING, {"sampling": {}}),
        (ROOTS, {"roots": {}}),
        (ROOTS, {"roots": {"listChanged": True}}),
    ],
)
def test_a_client_can_be_asked_what_it_declares(question: Any, declared: dict[str, Any]) -> None:
    """Elicitation, Sampling and Roots §Capabilities."""
    assert missing_capabilities({"question": question}, declared) == {}


@pytest.mark.parametrize(
    ("question", "declared", "missing"),
    [
        (FORM, {}, {"elicitation": {"form": {}}}),
        (FORM, {"elicitation": None}, {"elicitation": {"form": {}}}),
        (FORM, {"elicitation": {"url": {}}}, {"elicitation": {"form": {}}}),
        (URL, {}, {"elicitation": {"url": {}}}),
        (URL, {"elicitation": {}}, {"elicitation": {"url": {}}}),
        (URL, {"elicitation": {"form": {}}}, {"elicitation": {"url": {}}}),
        (VOICE, {"elicitation": {"form": {}, "url": {}}}, {"elicitation": {"voice": {}}}),
        (SAMPLING, {"elicitation": {}}, {"sampling": {}}),
        (TOOL_SAMPLING, {}, {"sampling": {"tools": {}}}),
        (TOOL_SAMPLING, {"sampling": {}}, {"sampling": {"tools": {}}}),
        (CHOICE_SAMPLING, {"sampling": {"context": {}}}, {"sampling": {"tools": {}}}),
        (ROOTS, {}, {"roots": {}}),
        (ROOTS, {"roots": True}, {"roots": {}}),
    ],
)
def test_what_it_does_not_declare_is_missing(question: Any, declared: dict[str, Any], missing: dict[str, Any]) -> None:
    """Basic §`_meta`: a "`data.requiredCapabilities` [that] lists the missing capabilities"."""
    assert missing_capabilities({"question": question}, declared) == missing


def test_what_is_missing_for_several_questions_comes_together() -> None:
    questions = {"a": FORM, "b": URL, "c": SAMPLING, "d": TOOL_SAMPLING, "e": ROOTS, "f": SAMPLING}
    assert missing_capabilities(questions, {}) == {
        "elicitation": {"form": {}, "url": {}},
        "sampling": {"tools": {}},
        "roots": {},
    }
    assert missing_capabilities(questions, {"elicitation": {}, "roots": {}}) == {
        "elicitation": {"url": {}},
        "sampling": {"tools": {}},
    }
    assert missing_capabilities({}, {}) == {}


@pytest.mark.parametrize(
    "question", [None, "roots/list", {}, {"method": 5}, {"method": "vendor/ask"}, {"method": ["roots/list"]}]
)
def test_a_question_that_no_capability_stands_for_needs_none(question: Any) -> None:
    assert missing_capabilities({"question": question}, {}) == {}


@pytest.mark.parametrize("params", [None, [], "url", {"mode": None}, {"mode": 5}])
def test_an_elicitation_of_no_known_mode_is_a_form(params: Any) -> None:
    """Elicitation §Elicitation Requests: "Clients MUST treat requests without a mode field as form mode"."""
    question = {"method": "elicitation/create", "params": params}
    assert missing_capabilities({"question": question}, {}) == {"elicitation": {"form": {}}}
