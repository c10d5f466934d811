"""A message is recognised for what it is, and its own bytes go on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trioproxy.protocol.errors import InvalidRequest, ParseError
from trioproxy.protocol.lines import OversizedLine
from trioproxy.protocol.messages import (
    Notification,
    Request,
    RequestId,
    Response,
    find_request_answered,
    number_request,
    parse_body,
    parse_line,
    parse_result,
    recognise,
    slim,
)

PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
NOTE = b'{"jsonrpc":"2.0","method":"notifications/x","params":{"a":1}}'
ANSWER = b'{"jsonrpc":"2.0","id":"a","result":{}}'
REFUSAL = b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"?"}}'

NO_MESSAGES = {
    b"[]": "this is an array",
    b'"ping"': "this is a string",
    b"1": "this is a number",
    b"true": "this is a boolean",
    b"null": "this is null",
    b"{}": "this has none",
    b'{"jsonrpc":2.0,"id":1,"method":"ping"}': "this has 2.0",
    b'{"jsonrpc":"1.0","id":1,"method":"ping"}': 'this has "1.0"',
    b'{"jsonrpc":{"a":[]},"id":1,"method":"ping"}': "this has an object",
    b'{"id":1,"method":"ping"}': "this has none",
    b'{"jsonrpc":"2.0","id":1}': "none of them",
    b'{"jsonrpc":"2.0","id":null,"method":"ping"}': "this is null",
    b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}': "this is a number",
    b'{"jsonrpc":"2.0","id":true,"method":"ping"}': "this is a boolean",
    b'{"jsonrpc":"2.0","id":[1],"method":"ping"}': "this is an array",
    b'{"jsonrpc":"2.0","id":1,"method":7}': "this is a number",
    b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}': "these are an array",
    b'{"jsonrpc":"2.0","result":{}}': "this has none",
    b'{"jsonrpc":"2.0","id":{},"result":{}}': "this is an object",
}
NO_JSON = [
    b"",
    b" ",
    b"Server started",
    b'{"jsonrpc":"2.0","id":1,"method":"ping"',
    b'{"jsonrpc":"2.0","id":1,"method":"ping"}}',
    b'{"jsonrpc":"2.0","id":1,"method":"ping",}',
    b'{"jsonrpc":"2.0","id":1,"method":"pi\xffng"}',
    b'{"jsonrpc":"2.0","id":NaN,"method":"ping"}',
    b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":-Infinity}}',
    b"\xef\xbb\xbf" + PING,
    b'{"jsonrpc":"2.0","id":01,"method":"ping"}',
    b"{'jsonrpc':'2.0'}",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    # An integer too long for `int`, and then a mistake.
    b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":%b,}}' % (b"9" * 5000),
    b'{"a":%b,"b":%b' % (b"9" * 5000, b"[" * 100_000),
]


def test_a_request_a_notification_and_a_response_are_told_apart() -> None:
    """JSON-RPC 2.0 §4, §4.1, §5."""
    assert parse_line(PING) == Request(PING, 1, "ping", {})
    assert parse_line(NOTE) == Notification(NOTE, "notifications/x", {"a": 1})
    assert parse_line(ANSWER) == Response(ANSWER, "a", False)
    assert parse_line(REFUSAL) == Response(REFUSAL, None, True)


@pytest.mark.parametrize("line", NO_MESSAGES)
def test_what_is_no_message_is_refused_by_what_it_is_instead(line: bytes) -> None:
    with pytest.raises(InvalidRequest) as raised:
        parse_line(line)
    assert NO_MESSAGES[line] in str(raised.value)


@pytest.mark.parametrize("line", NO_JSON, ids=lambda line: repr(line[:30]))
def test_what_is_not_json_is_refused_as_that(line: bytes) -> None:
    """JSON-RPC 2.0 §5.1: -32700, "Invalid JSON was received"."""
    with pytest.raises(ParseError):
        parse_line(line)
    with pytest.raises(ParseError):
        parse_body(line)


def test_what_is_refused_is_shown_but_not_at_length() -> None:
    with pytest.raises(InvalidRequest) as raised:
        parse_line(json.dumps({"jsonrpc": "x" * 10_000}).encode())
    assert len(str(raised.value)) < 120


@pytest.mark.parametrize(
    "raw",
    [
        b'{"jsonrpc":"2.0","id":123456789012345678901234567890,"method":"x"}',
        b'{"id":"\\ud800","jsonrpc":"2.0","method":"x","params":{"s":"\\udfff\\u0000"}}',
        b'{"method":"x","params":{"n":1.50,"e":1E400,"z":-0,"i":%b},"jsonrpc":"2.0","id":7}' % (b"8" * 5000),
        b'{"jsonrpc":"2.0","id":1,"method":"x","unknown":[1,{"a":null}],"params":{"b":1,"a":2}}',
        ' { "jsonrpc" : "2.0" , "id" : "ü" , "method" : "größe" } \r'.encode(),
        b'{"jsonrpc":"2.0","id":1,"id":2,"method":"x"}',
        b'{"jsonrpc":"2.0","id":"\xe2\x80\xa8","method":"x"}',
        b'{"jsonrpc":"2.0","id":1,"method":"x","params":null}',
    ],
)
def test_a_message_keeps_its_bytes_whatever_is_in_it(raw: bytes) -> None:
    assert parse_line(raw).raw == raw
    body = parse_body(raw)
    assert isinstance(body, Request)
    assert body.raw == raw.strip()


@pytest.mark.parametrize("request_id", [0, -1, 10**40, "", "a", "1", "\ud800", 'a"b'])
def test_an_id_keeps_its_type_and_value(request_id: RequestId) -> None:
    """Basic §Requests: "MUST include a string or integer ID"; 1 and "1" are two."""
    message = parse_line(json.dumps({"jsonrpc": "2.0", "id": request_id, "method": "x"}).encode())
    assert isinstance(message, Request)
    assert message.id == request_id
    assert type(message.id) is type(request_id)


@pytest.mark.parametrize("token", [0, 5, "five", ""])
def test_a_request_and_its_progress_carry_the_same_token(token: str | int) -> None:
    """Utilities §Progress: `_meta.progressToken` of the request, `progressToken` of the notification."""
    asked = {"jsonrpc": "2.0", "id": 1, "method": "x", "params": {"_meta": {"progressToken": token}}}
    told = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": 1}}
    request, notification = (parse_line(json.dumps(m).encode()) for m in (asked, told))
    assert isinstance(request, Request)
    assert isinstance(notification, Notification)
    assert request.progress_token == notification.progress_token == token


@pytest.mark.parametrize("params", [{}, {"_meta": None}, {"_meta": [1]}, {"_meta": {"progressToken": True}}, {"_meta": {}}])
def test_a_request_without_a_proper_token_has_none(params: dict[str, Any]) -> None:
    request = parse_line(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "x", "params": params}).encode())
    assert isinstance(request, Request)
    assert request.progress_token is None
    assert not request.has_modern_claim


def test_a_request_of_the_modern_era_says_so() -> None:
    """2026-07-28, Basic §General fields: the revision stands in `_meta`."""
    params = {"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}}
    request = parse_line(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "x", "params": params}).encode())
    assert isinstance(request, Request)
    assert request.has_modern_claim


def test_a_cancellation_names_its_request() -> None:
    """Utilities §Cancellation."""
    line = b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"r"}}'
    message = parse_line(line)
    assert isinstance(message, Notification)
    assert message.cancelled_id == "r"


# Bodies


def test_a_body_over_several_lines_becomes_one_line() -> None:
    """Transports §stdio: messages "MUST NOT contain embedded newlines"."""
    pretty = json.dumps(json.loads(NOTE), indent=2).replace("\n", "\r\n").encode()
    message = parse_body(b"\n" + pretty + b"\n")
    assert isinstance(message, Notification)
    assert b"\n" not in message.raw
    assert b"\r" not in message.raw
    assert json.loads(message.raw) == json.loads(NOTE)


@pytest.mark.parametrize("newline", [b"\n", b"\r", b"\t"])
def test_a_newline_inside_a_string_is_refused_and_not_mended(newline: bytes) -> None:
    """RFC 8259 §7: control characters in a string must be escaped; another text than the one sent may not go on."""
    with pytest.raises(ParseError):
        parse_body(b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"text":"a' + newline + b'b"}}')


def test_a_batch_is_taken_apart_and_each_message_keeps_its_bytes() -> None:
    """2025-03-26, Basic §Batching."""
    messages = [b'{ "jsonrpc":"2.0", "id":1, "method":"\\ud800\xc3\xbc]," }', NOTE]
    body = b" [ \n" + b" ,\r\n ".join(messages) + b"\t]\n"
    batch = parse_body(body)
    assert isinstance(batch, list)
    assert [message.raw for message in batch] == messages


def test_a_batch_of_messages_over_several_lines_becomes_one_line_each() -> None:
    body = json.dumps([json.loads(PING), json.loads(NOTE)], indent=1).encode()
    batch = parse_body(body)
    assert isinstance(batch, list)
    assert [json.loads(message.raw) for message in batch] == [json.loads(PING), json.loads(NOTE)]
    assert not any(b"\n" in message.raw for message in batch)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"[]", InvalidRequest),
        (b"[1]", InvalidRequest),
        (b"[" + PING + b",[]]", InvalidRequest),
        (b"[" + PING, ParseError),
        (b"[" + PING + b",", ParseError),
        (b"[" + PING + b",]", ParseError),
        (b"[," + PING + b"]", ParseError),
        (b"[" + PING + PING + b"]", ParseError),
        (b"[" + PING + b"]]", ParseError),
        (b"[" + PING + b"] " + PING, ParseError),
        (b"[", ParseError),
    ],
)
def test_a_broken_batch_is_refused_as_a_whole(body: bytes, error: type[Exception]) -> None:
    """2025-03-26, Basic §Batching; JSON-RPC 2.0 §6: an empty array is an invalid request."""
    with pytest.raises(error):
        parse_body(body)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
IDS = st.integers() | st.text()


@settings(derandomize=True, max_examples=150, deadline=None)
@given(
    request_id=IDS,
    method=st.text(),
    params=st.dictionaries(st.text(), JSON_VALUES, max_size=3),
    is_ascii=st.booleans(),
    indent=st.sampled_from([None, 2]),
)
def test_any_request_is_read_as_it_was_written(
    request_id: RequestId, method: str, params: dict[str, Any], is_ascii: bool, indent: int | None
) -> None:
    value = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}
    body = json.dumps(value, ensure_ascii=is_ascii, indent=indent).encode("utf-8", "replace")
    message = parse_body(body)
    assert isinstance(message, Request)
    assert (message.id, message.method, message.params) == (request_id, method, params)
    assert json.loads(message.raw) == value
    assert b"\n" not in message.raw
    assert parse_body(b"[" + body + b"," + body + b"]") == [message, message]


@settings(derandomize=True, max_examples=300, deadline=None)
@given(st.binary(max_size=60) | st.text('[]{}",:0123456789.eE-+tfnull \n\\u', max_size=60).map(str.encode))
def test_no_bytes_whatever_raise_anything_but_a_protocol_error(data: bytes) -> None:
    for parse in (parse_line, parse_body, recognise):
        try:
            parse(data)
        except (ParseError, InvalidRequest):
            continue


# Long lines of a child

LONG = "x" * 20_000


@pytest.mark.parametrize("request_id", [0, 1, -1, 999_999_999_999_999_999, 10**40, "", "a", "ü", 'a"b', "\ud800"])
@pytest.mark.parametrize("member", ["result", "error"])
@pytest.mark.parametrize("order", ["id first", "id last", "id in the middle"])
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_a_long_response_is_recognised_however_it_was_written(
    request_id: RequestId, member: str, order: str, separators: tuple[str, str]
) -> None:
    """The Python SDK writes the id before the result, the TypeScript SDK after it."""
    body = {"content": [{"text": LONG + '","jsonrpc":"2.0","id":66}', "id": 55}], "error": 1, "id": 44}
    members: dict[str, Any] = {"jsonrpc": "2.0", "id": request_id, member: body}
    names = {
        "id first": ["jsonrpc", "id", member],
        "id last": [member, "jsonrpc", "id"],
        "id in the middle": [member, "id", "jsonrpc"],
    }[order]
    line = json.dumps({name: members[name] for name in names}, separators=separators).encode()
    assert recognise(line) == Response(line, request_id, member == "error")
    assert find_request_answered(OversizedLine(line[:4096], line[-4096:], len(line))) in (request_id, None)


@pytest.mark.parametrize(
    ("head", "tail", "request_id"),
    [
        (b'{"jsonrpc":"2.0","id":7,"result":{"text":"', b'"}}', 7),
        (b'{"jsonrpc": "2.0", "id": "seven", "error": {"text":"', b'"}}', "seven"),
        (b'{"result":{"text":"', b'"},"jsonrpc":"2.0","id":7}', 7),
        (b'{"result":{"text":"', b'"},"jsonrpc":"2.0","id":7}  \r', 7),
        # A request, a notification, a member of something inside, or no JSON: nobody's answer.
        (b'{"jsonrpc":"2.0","id":7,"method":"sampling/createMessage","params":{"text":"', b'"}}', None),
        (b'{"jsonrpc":"2.0","method":"x","params":{"text":"', b'","jsonrpc":"2.0","id":7}}', None),
        (b'{"result":{"text":"', b'","jsonrpc":"2.0","id":7}}', None),
        (b'{"jsonrpc":"2.0","id":07,"result":{"text":"', b'"}}', None),
        (b'{"jsonrpc":"2.0","id":null,"error":{"text":"', b'"}}', None),
        (b"\xff" * 50, b"\xff" * 50, None),
    ],
)
def test_the_request_that_an_oversized_line_answers_is_known_by_either_end(
    head: bytes, tail: bytes, request_id: RequestId | None
) -> None:
    assert find_request_answered(OversizedLine(head, tail, 10**9)) == request_id


def test_a_long_line_that_is_no_response_is_parsed_like_any_other() -> None:
    asked = {"jsonrpc": "2.0", "id": 7, "method": "sampling/createMessage", "params": {"text": LONG}}
    line = json.dumps(asked).encode()
    assert recognise(line) == parse_line(line)
    with pytest.raises(ParseError):
        recognise(b"x" * 20_000)
    with pytest.raises(ParseError):
        recognise(b'{"jsonrpc":"2.0","id":01,"result":"%b"}' % LONG.encode())


@settings(derandomize=True, max_examples=150, deadline=None)
@given(request_id=IDS, result=JSON_VALUES, member=st.sampled_from(["result", "error"]), id_first=st.booleans())
def test_the_ends_of_a_response_tell_what_the_whole_of_it_does(
    request_id: RequestId, result: Any, member: str, id_first: bool
) -> None:
    envelope = {"jsonrpc": "2.0", "id": request_id}
    body = {member: [LONG, result]}
    line = json.dumps({**envelope, **body} if id_first else {**body, **envelope}).encode()
    assert recognise(line) == parse_line(line)


def test_the_result_of_a_response_is_read_when_it_is_asked_for() -> None:
    assert parse_result(Response(b' {"jsonrpc":"2.0","id":1,"result":{"a":[1]}}\r', 1, False)) == {"a": [1]}
    assert parse_result(Response(REFUSAL, None, True)) is None
    with pytest.raises(ParseError):
        parse_result(Response(b'{"jsonrpc":"2.0","id":1,"result":{"a":[1]}', 1, False))


def test_a_large_message_that_has_gone_on_keeps_its_bytes_and_who_it_is_for() -> None:
    """Three megabytes of brackets would take two hundred in Python, for as long as the call runs."""
    nest = b"[" + b"[]," * 30_000 + b"0]"
    meta = b'"_meta":{"progressToken":7}'
    raw = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":%b,%b}}' % (nest, meta)
    message = parse_line(raw)
    slim(message)
    assert message == Request(raw, 1, "tools/call", {"name": "x", "_meta": {"progressToken": 7}})
    small = parse_line(b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"arguments":{"a":1}}}')
    slim(small)
    assert isinstance(small, Request)
    assert small.params == {"arguments": {"a": 1}}


@pytest.mark.parametrize(
    ("came", "goes"),
    [
        (b'"params":{"_meta":{"progressToken":1},"_meta":{}}', b'"params":{"_meta":{},"_meta":{}}'),
        (b'"params":{"_meta":{"\\u0070rogressToken":1},"_meta":{}}', b'"params":{"_meta":{},"_meta":{}}'),
        (b'"params":{"_meta":{"progressToken":1}},"params":{}', b'"params":{"_meta":{}},"params":{}'),
        (b'"params":{"_meta":{"progressToken":1.0}}', b'"params":{"_meta":{}}'),
        (b'"params":{"progressToken":1}', b'"params":{"progressToken":1}'),
        (b'"params":{"_meta":{"progressToken":"a"},"_meta":{"progressToken":"b"}}', None),
    ],
)
def test_no_progress_token_but_ours_is_left_wherever_a_reader_may_look_for_one(came: bytes, goes: bytes | None) -> None:
    """Of a member that comes twice, which one counts is up to the reader (RFC 8259 §4)."""
    request = parse_line(b'{"jsonrpc":"2.0","id":5,"method":"x",%b}' % came)
    assert type(request) is Request
    goes = goes or b'"params":{"_meta":{"progressToken":9},"_meta":{"progressToken":9}}'
    assert number_request(request, 9) == b'{"jsonrpc":"2.0","id":9,"method":"x",%b}' % goes
