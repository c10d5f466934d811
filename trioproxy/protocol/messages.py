"""A line to a message: request, notification or response (JSON-RPC 2.0; MCP, Basic §Messages).

A message is parsed once, to learn what it is; its own bytes go on.  So every message here carries `raw`, one line without
its newline, and beside it the few things that a proxy has to know.  Nothing is encoded again: unknown members, the order
of keys, numbers beyond any float and escaped surrogates arrive as they were sent.

Not here: what a method means, whose message it is (`routing`), and what a revision allows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, NamedTuple, TypeAlias

from .errors import InvalidRequest, ParseError
from .json_text import decode, expect_end, scan, skip_space
from .lines import OversizedLine
from .meta_keys import PROTOCOL_VERSION
from .splice import REMOVE, Path, Remove, splice

RequestId: TypeAlias = str | int
ProgressToken: TypeAlias = str | int


class Request(NamedTuple):
    """A message that asks for a response."""

    raw: bytes
    id: RequestId
    method: str
    params: dict[str, Any]

    @property
    def progress_token(self) -> ProgressToken | None:
        """The token under which progress may be reported (Utilities §Progress)."""
        meta = self.params.get("_meta")
        return _token(meta.get("progressToken")) if type(meta) is dict else None

    @property
    def has_modern_claim(self) -> bool:
        """Whether the request says of itself that it is of the era without a handshake."""
        meta = self.params.get("_meta")
        return type(meta) is dict and PROTOCOL_VERSION in meta


class Notification(NamedTuple):
    """A message that asks for nothing."""

    raw: bytes
    method: str
    params: dict[str, Any]

    @property
    def progress_token(self) -> ProgressToken | None:
        """Of `notifications/progress`: which request it is about."""
        return _token(self.params.get("progressToken"))

    @property
    def cancelled_id(self) -> RequestId | None:
        """Of `notifications/cancelled`: which request need not be answered any more (Utilities §Cancellation)."""
        return _token(self.params.get("requestId"))


class Response(NamedTuple):
    """The answer to a request; `id` is None where the answerer could not read the request's."""

    raw: bytes
    id: RequestId | None
    is_error: bool


Message: TypeAlias = Request | Notification | Response


def parse_line(line: bytes) -> Message:
    """Return the one message that `line` is.

    Raises:
      ParseError: not JSON.
      InvalidRequest: JSON, but not a message of JSON-RPC 2.0.
    """
    text = decode(line)
    value, end = scan(text, 0 if text.startswith("{") else skip_space(text, 0))
    if end != len(text):
        expect_end(text, end)
    return _message(line, value)


def parse_body(body: bytes, read_large: Callable[[bytes], Any] | None = None) -> Message | list[Message]:
    """Return the message, or the batch of messages, that an HTTP body is.

    Newlines between tokens become spaces, since a message has to fit on a line; inside a string JSON has none.

    Args:
      read_large: returns the value of JSON, faster than the standard library where there is a lot of it.  It may be
        stricter, and a ValueError of it is no verdict.

    Raises:
      ParseError: not JSON.
      InvalidRequest: JSON, but neither a message nor an array of at least one.
    """
    body = body.strip(b" \t\r\n")
    if body.startswith(b"["):
        return [_on_one_line(message) for message in _split_batch(body)]
    if read_large is not None and len(body) > _LARGE:
        with suppress(ValueError):
            return _on_one_line(_message(body, read_large(body)))
    return _on_one_line(parse_line(body))


def parse_result(response: Response) -> Any:
    """Return the value of a response's `result`, None where there is none.

    Raises:
      ParseError: not JSON; a long response is recognised by its ends, and nobody has looked at the rest.
    """
    text = decode(response.raw)
    value, end = scan(text, skip_space(text, 0))
    expect_end(text, end)
    return value.get("result")


def parse_error(response: Response) -> dict[str, Any]:
    """Return the value of a response's `error`; empty where it is no object.

    Raises:
      ParseError: not JSON, as with `parse_result`.
    """
    text = decode(response.raw)
    error = scan(text, skip_space(text, 0))[0].get("error")
    return error if type(error) is dict else {}


def recognise(line: bytes) -> Message:
    """Return the message that a line of the child is.

    A long response is told by its first and last members alone, as both families of SDKs write them; parsing a megabyte
    to find one number at its end would be the most expensive thing that we do with it.

    Raises:
      ParseError, InvalidRequest: as `parse_line`.
    """
    if len(line) > _LONG:
        found = _find_response_id(line, line)
        if found is not None:
            return Response(line, *found)
    return parse_line(line)


def slim(message: Message) -> None:
    """Let go of what the params of a large message hold, once it has gone on; `raw` has it all.

    What JSON says in ten megabytes can take Python hundreds, and a call may run for long.
    """
    if len(message.raw) > _LARGE and not isinstance(message, Response):
        for name in message.params.keys() - _KEPT:
            del message.params[name]


def number_request(request: Request, number: int) -> bytes:
    """Return the bytes of a request with a number for its id and, if it has one, for its progress token."""
    raw, ours = request.raw, b"%d" % number
    edits: dict[Path, bytes | Remove] = {("id",): ours}
    if request.progress_token is not None:
        edits[_PROGRESS_TOKEN] = ours
    elif b"progressToken" in raw or _DISGUISED.search(raw):
        # One that is none, or that stands where only some readers look for it, could be another request's number.
        edits[_PROGRESS_TOKEN] = REMOVE
    elif (match := _REQUEST_HEAD.match(raw)) and raw.count(b'"id"') == 1:
        # Nothing else in it could be taken for its id, not even something deep inside.
        start, end = match.span(1)
        return raw[:start] + ours + raw[end:]
    return splice(raw, edits)


def replace_response_id(response: Response, request_id: RequestId) -> bytes:
    """Return the bytes of a response with another id; where they can be told by their ends, the rest is not parsed."""
    raw = response.raw
    match = _RESPONSE_HEAD.match(raw) or (_RESULT_FIRST.match(raw) and _RESPONSE_TAIL.search(raw, len(raw) - _TAIL_SEARCHED))
    new = b"%d" % request_id if type(request_id) is int else json.dumps(request_id).encode()
    if not match:
        return splice(raw, {("id",): new})
    start, end = match.span(1)
    return raw[:start] + new + raw[end:]


def add_to_result(response: Response, members: bytes) -> bytes | None:
    """Return the bytes of a response with more members in its result; None where it would have to be parsed for that."""
    raw = response.raw
    if not (match := _RESULT_START.match(raw)):
        return None
    at = match.end()
    comma = b"" if raw[at : at + 1] == b"}" else b","
    return b"".join((raw[:at], members, comma, raw[at:]))


def find_request_answered(line: OversizedLine) -> RequestId | None:
    """Return the id of the request that an oversized line was to answer, or None where that can't be told."""
    found = _find_response_id(line.head, line.tail)
    return found[0] if found else None


_LARGE: Final = 64 * 1024
_KEPT: Final = frozenset({"_meta", "name", "uri"})
"""The params that say whose a request is, and what it is for."""
_LONG: Final = 16 * 1024
"""From here on looking at both ends is cheaper than parsing: at this size parsing takes some 15 µs."""

_ID: Final = rb'(-?(?:0|[1-9]\d{0,17})|"[^"\\\x00-\x1f\x80-\xff]*")'
# Python SDK: {"jsonrpc":"2.0","id":1,"result":{…}}.  What follows the id tells a response from a request.
_RESPONSE_HEAD: Final = re.compile(
    rb'\s*\{\s*"jsonrpc"\s*:\s*"2\.0"\s*,\s*"id"\s*:\s*' + _ID + rb'\s*,\s*"(result|error)"\s*:'
)
_REQUEST_HEAD: Final = re.compile(rb'\s*\{\s*"jsonrpc"\s*:\s*"2\.0"\s*,\s*"id"\s*:\s*' + _ID + rb'\s*,\s*"method"\s*:')
_PROGRESS_TOKEN: Final = ("params", "_meta", "progressToken")
_DISGUISED: Final = re.compile(rb"\\u00[4-7]")
"""The escape of a letter, which nobody needs; with it a name could be any other and not look like it."""
# TypeScript SDK: {"result":{…},"jsonrpc":"2.0","id":1}.  The last brace closes the message itself, and no brace stands
# between it and the id, so the id is the message's own.
_RESULT_FIRST: Final = re.compile(rb'\s*\{\s*"(result|error)"\s*:')
_RESPONSE_TAIL: Final = re.compile(rb',\s*"jsonrpc"\s*:\s*"2\.0"\s*,\s*"id"\s*:\s*' + _ID + rb"\s*\}\s*$")
_TAIL_SEARCHED: Final = 512
_RESULT_START: Final = re.compile(
    rb'\s*\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*"id"\s*:\s*' + _ID + rb'\s*,\s*)?"result"\s*:\s*\{\s*'
)


def _find_response_id(head: bytes, tail: bytes) -> tuple[RequestId, bool] | None:
    if match := _RESPONSE_HEAD.match(head):
        return json.loads(match[1]), match[2] == b"error"
    if (first := _RESULT_FIRST.match(head)) and (match := _RESPONSE_TAIL.search(tail[-_TAIL_SEARCHED:])):
        return json.loads(match[1]), first[1] == b"error"
    return None


def _message(raw: bytes, value: Any) -> Message:
    if type(value) is not dict:
        raise InvalidRequest(f"a message is a JSON object; this is {_kind(value)}")
    if value.get("jsonrpc") != "2.0":
        raise InvalidRequest(f'a message has "jsonrpc": "2.0"; this has {_shorten(value.get("jsonrpc"))}')
    if "method" in value:
        method = value["method"]
        params = value.get("params")
        if type(method) is not str:
            raise InvalidRequest(f"a method is a string; this is {_kind(method)}")
        if params is None:
            params = {}
        elif type(params) is not dict:
            raise InvalidRequest(f"params are an object; these are {_kind(params)}")
        if "id" not in value:
            return Notification(raw, method, params)
        request_id = _token(value["id"])
        if request_id is None:
            raise InvalidRequest(f"a request id is a string or an integer; this is {_kind(value['id'])}")
        return Request(raw, request_id, method, params)
    if "result" in value or "error" in value:
        # "…except in error cases where the ID could not be read due to a malformed request" (2025-11-25, Basic §Responses).
        if "id" not in value and "error" in value:
            return Response(raw, None, is_error=True)
        if "id" not in value:
            raise InvalidRequest("a response has the id of its request; this has none")
        if value["id"] is not None and _token(value["id"]) is None:
            raise InvalidRequest(f"a request id is a string or an integer; this is {_kind(value['id'])}")
        return Response(raw, value["id"], "error" in value)
    raise InvalidRequest('a message has a "method", a "result" or an "error"; this has none of them')


def _on_one_line(message: Message) -> Message:
    raw = message.raw
    if b"\n" not in raw and b"\r" not in raw:
        return message
    # Only now: a newline inside a string is an error, and must not be mended before it is found.
    return message._replace(raw=raw.replace(b"\n", b" ").replace(b"\r", b" "))


def _split_batch(body: bytes) -> list[Message]:
    text = decode(body)
    messages: list[Message] = []
    at = skip_space(text, 1)
    if text[at : at + 1] == "]":
        raise InvalidRequest("a batch has at least one message; this is empty")
    while True:
        value, end = scan(text, at)
        # Each message keeps its own bytes, cut out of the array's.
        messages.append(_message(text[at:end].encode(), value))
        at = skip_space(text, end)
        separator = text[at : at + 1]
        at = skip_space(text, at + 1)
        if separator == "]":
            expect_end(text, at)
            return messages
        if separator != ",":
            raise ParseError(f"not JSON: ',' or ']' expected at character {at - 1} of a batch")


def _token(value: Any) -> str | int | None:
    # `bool` is an `int` to isinstance, but not to JSON.
    return value if type(value) is int or type(value) is str else None


def _kind(value: Any) -> str:
    names = {
        dict: "an object",
        list: "an array",
        str: "a string",
        bool: "a boolean",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), "null")


def _shorten(value: Any) -> str:
    if value is None or isinstance(value, dict | list):
        return "none" if value is None else _kind(value)
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:40] + "…"
