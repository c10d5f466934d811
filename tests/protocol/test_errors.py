"""Every error has one HTTP status and one JSON-RPC code, and tells its evidence and nothing else."""

from __future__ import annotations

import json

import pytest

from trioproxy.protocol import errors
from trioproxy.protocol.errors import (
    ChildError,
    ChildExited,
    ProtocolError,
    TrioproxyError,
    Unavailable,
    error_response,
    status_and_code,
    status_of_code,
)

EVERY_ERROR = sorted(
    (kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, TrioproxyError)),
    key=lambda kind: kind.__name__,
)


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        (errors.ParseError, 400, -32700),
        (errors.InvalidRequest, 400, -32600),
        (errors.UnsupportedRevision, 400, -32000),
        (errors.UnsupportedProtocolVersion, 400, -32022),
        (errors.HeaderMismatch, 400, -32020),
        (errors.MissingClientCapability, 400, -32021),
        (errors.MethodNotFound, 404, -32601),
        (errors.InvalidParams, 400, -32602),
        (errors.SessionRequired, 400, -32000),
        (errors.SessionNotFound, 404, -32001),
        (errors.EventNotFound, 400, -32000),
        (errors.PathNotFound, 404, -32000),
        (errors.MethodNotAllowed, 405, -32000),
        (errors.NotAcceptable, 406, -32000),
        (errors.UnsupportedMediaType, 415, -32000),
        (errors.BodyTooLarge, 413, -32000),
        (errors.BodyTooSlow, 408, -32000),
        (errors.HostRefused, 403, -32000),
        (errors.OriginRefused, 403, -32000),
        (errors.AuthenticationError, 401, -32000),
        (errors.MalformedCredentials, 400, -32000),
        (errors.InsufficientScope, 403, -32000),
        (errors.AuthenticationUnavailable, 503, -32000),
        (errors.TooManySessions, 503, -32000),
        (errors.ShuttingDown, 503, -32000),
        (errors.CommandFailed, 502, -32603),
        (errors.ChildExited, 200, -32603),
        (errors.LineTooLong, 200, -32603),
        (errors.RequestTimedOut, 200, -32001),
        (errors.ListenError, 500, -32603),
        (errors.KeyFileError, 500, -32603),
    ],
)
def test_an_error_has_the_status_and_the_code_that_clients_know(kind: type[TrioproxyError], status: int, code: int) -> None:
    """Transports §Session Management: 400 without a session id, 404 for an ended session; §Security Warning: 403."""
    assert status_and_code(kind("so it is")) == (status, code)


@pytest.mark.parametrize("kind", EVERY_ERROR)
def test_an_error_says_whose_mistake_it_is(kind: type[TrioproxyError]) -> None:
    status, _ = status_and_code(kind("so it is"))
    if issubclass(kind, ProtocolError):
        assert 400 <= status < 500
    elif issubclass(kind, Unavailable):
        assert status == 503
    elif issubclass(kind, ChildError):
        # A call that failed is still an answer, and goes where answers go.
        assert status in (200, 502)
    else:
        assert status == 500


@pytest.mark.parametrize("kind", EVERY_ERROR)
def test_an_error_is_explained_and_drawn_in_the_tree(kind: type[TrioproxyError]) -> None:
    assert kind.__doc__
    assert kind.__name__ in (errors.__doc__ or "")


def test_an_error_without_a_row_of_its_own_is_like_its_ancestor() -> None:
    class NewTrouble(ChildExited):
        """A subclass of somebody else's."""

    assert status_and_code(NewTrouble("so it is")) == status_and_code(ChildExited("so it is"))


@pytest.mark.parametrize("request_id", [None, 0, 7, -1, 10**40, "", "seven", "\ud800", 'a"b\\c'])
def test_an_error_response_has_the_id_of_its_request(request_id: str | int | None) -> None:
    """JSON-RPC 2.0 §5: "If there was an error in detecting the id in the Request object … it MUST be Null"."""
    response = json.loads(error_response(errors.InvalidRequest("so it is"), request_id))
    assert response == {"jsonrpc": "2.0", "id": request_id, "error": {"code": -32600, "message": "so it is"}}


def test_an_error_response_fits_on_a_line_whatever_the_error_says() -> None:
    line = error_response(ChildExited("first\nsecond\r\n\u2028", data={"stderr": ["a\nb", "\ud800"]}), 1)
    assert b"\n" not in line
    assert b"\r" not in line
    assert line.isascii()


def test_an_error_response_carries_the_evidence_as_data() -> None:
    error = ChildExited("the server was killed by SIGKILL", data={"signal": "SIGKILL", "stderr": ["bye"], "restarts": 0})
    assert json.loads(error_response(error, 3))["error"] == {
        "code": -32603,
        "message": "the server was killed by SIGKILL",
        "data": {"signal": "SIGKILL", "stderr": ["bye"], "restarts": 0},
    }


@pytest.mark.parametrize("kind", [errors.AuthenticationError, errors.MalformedCredentials, errors.InsufficientScope])
def test_whoever_is_not_let_in_is_told_how_to_ask(kind: type[TrioproxyError]) -> None:
    """RFC 9110 §15.5.2: a 401 has at least one challenge."""
    assert kind("so it is").headers == ((b"www-authenticate", b'Bearer realm="mcp"'),)


def test_a_missing_scope_is_named_in_the_data() -> None:
    assert errors.InsufficientScope("so it is", scopes=["a", "b"]).data == {
        "error": "insufficient_scope",
        "required_scopes": ["a", "b"],
    }


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (-32601, 404),
        (-32020, 400),
        (-32021, 400),
        (-32022, 400),
        (-32600, 400),
        (-32602, 400),
        (-32700, 400),
        (-32603, 200),
        (-32000, 200),
        (-32002, 200),
        (-32042, 200),
        (0, 200),
        (42, 200),
    ],
)
def test_an_error_of_a_server_has_the_status_that_the_specification_gives_it(code: int, status: int) -> None:
    """2026-07-28, Streamable HTTP §Protocol Version Header, §Server Validation; Basic §`_meta`."""
    assert status_of_code(code) == status


def test_a_modern_error_looks_as_the_specification_shows_it() -> None:
    """The schema's example `UnsupportedProtocolVersionError`."""
    data = {"supported": ["2026-07-28", "2025-11-25"], "requested": "1900-01-01"}
    error = errors.UnsupportedProtocolVersion("Unsupported protocol version", data=data)
    assert json.loads(error_response(error, 1)) == {
        "jsonrpc": "2.0",
        "id": 1,
        "error": {"code": -32022, "message": "Unsupported protocol version", "data": data},
    }
