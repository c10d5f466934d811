"""What is made of a status that is no success."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trioproxy.http_client import Headers
from trioproxy.remote.refusals import Refusal


def refusal(status: int, body: Any = b"", headers: Headers = ()) -> Refusal:
    return Refusal(status, headers, body if isinstance(body, bytes) else json.dumps(body).encode(), "http://a/mcp")


def error(code: int, request_id: Any = None, message: str = "m") -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request_id, "error": {"code": code, "message": message}}


def test_an_error_goes_on_with_the_id_of_its_request() -> None:
    body = b'{"jsonrpc":"2.0","id":null,"error":{"code":-1,"message":"m","data":1e400}}'
    assert refusal(400, body).answer("x") == body.replace(b"null", b'"x"')
    assert refusal(400, error(-1, 7)).answer(7) == json.dumps(error(-1, 7)).encode()
    assert json.loads(refusal(400, {"jsonrpc": "2.0", "error": {"code": -1, "message": "m"}}).answer(7))["id"] == 7


@pytest.mark.parametrize("body", [b"", b"\xff", b"<p>", b"[]", b'{"a":1}', {"jsonrpc": "2.0", "id": 1, "result": {}}])
def test_what_is_no_error_is_told_in_ours(body: Any) -> None:
    answer = json.loads(refusal(502, body).answer(1))
    assert (answer["id"], answer["error"]["code"]) == (1, -32603)
    assert answer["error"]["message"].startswith("http://a/mcp answered with HTTP status 502: ")


def test_who_is_not_let_in_hears_what_would_be_needed() -> None:
    challenge = b'Bearer realm="r", error="insufficient_scope", scope="x y", resource_metadata="https://b/meta"'
    answer = json.loads(refusal(403, error(-32000, 1, "no"), [(b"www-authenticate", challenge)]).answer(1))
    assert answer["error"]["message"] == (
        "http://a/mcp answered with HTTP status 403: error insufficient_scope, scope x y, "
        "resource_metadata https://b/meta: no"
    )


@pytest.mark.parametrize(
    ("status", "body", "suggests"),
    [
        (400, b"", True),
        (404, b"not found", True),
        (405, b"", True),
        (400, error(-32000), True),
        (400, error(-32022), False),
        (404, error(-32601), False),
        (400, error(-32602), False),
        (401, b"", False),
        (500, b"", False),
    ],
)
def test_a_remote_may_be_of_the_first_transport_unless_it_is_a_modern_one(status: int, body: Any, suggests: bool) -> None:
    assert refusal(status, body).suggests_http_sse == suggests


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (404, b"", True),
        (404, error(-32001), True),
        (400, error(-32000, message="Bad Request: No valid session ID provided"), True),
        (400, error(-32600, message="session"), False),
        (400, error(-32000, message="other"), False),
        (400, b"session", False),
        (500, error(-32000, message="session"), False),
    ],
)
def test_a_session_has_expired_where_the_server_says_so(status: int, body: Any, says: bool) -> None:
    assert refusal(status, body).says_session_has_expired == says
