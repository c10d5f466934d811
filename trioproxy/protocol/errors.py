"""What can go wrong, and the one table that says so on the wire.

    TrioproxyError
    ├── ProtocolError             what came breaks a rule; whoever sent it can mend it
    │   ├── ParseError            not JSON
    │   ├── InvalidRequest        JSON, but not a message, or not one that may come here
    │   ├── UnsupportedRevision   of a revision that we don't serve
    │   ├── UnsupportedProtocolVersion, HeaderMismatch, MissingClientCapability, MethodNotFound, InvalidParams
    │   │                         the five of 2026-07-28, by which its clients know a server of their era
    │   ├── SessionRequired       no Mcp-Session-Id where there must be one
    │   ├── SessionNotFound       unknown, ended, or somebody else's: one answer, so that nobody can tell which
    │   ├── EventNotFound         Last-Event-ID names no event that can be replayed
    │   ├── PathNotFound, MethodNotAllowed, NotAcceptable, UnsupportedMediaType
    │   ├── BodyTooLarge, BodyTooSlow
    │   ├── HostRefused, OriginRefused
    │   ├── AuthenticationError   nobody says who it is, or nobody that we know
    │   ├── MalformedCredentials  who it is, is said in a way that can't be read
    │   └── InsufficientScope     we know who it is, and it may not do that
    ├── Unavailable               right, but not now; the same again later may work
    │   ├── TooManySessions
    │   ├── AuthenticationUnavailable  whoever could tell who it is does not
    │   └── ShuttingDown
    ├── ChildError                the stdio server failed
    │   ├── CommandFailed         it could not be started, or ended before it answered anything
    │   ├── ChildExited           it ended
    │   ├── LineTooLong           it wrote a line over the limit
    │   └── RequestTimedOut       it did not answer in time
    ├── ListenError               we can't serve where we were told to
    ├── KeyFileError              the file of API keys can't be used
    └── ForcedEnd                 we were told to stop a second time

The pure half raises these; an endpoint turns one into HTTP with `status_and_code` and nothing else.  Messages carry the
evidence (what came, what was expected, the limit) and no internals: they reach the other side as they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
# The range -32000 to -32099 is the implementation's own (JSON-RPC 2.0 §5.1).  These are as the SDKs have them; -32001 has
# two meanings there as well.
SERVER_ERROR = -32000
REQUEST_TIMED_OUT = -32001
SESSION_NOT_FOUND = -32001
# "Error codes in this sub-range are defined exclusively by the MCP specification" (2026-07-28, Basic §Error Codes).
HEADER_MISMATCH = -32020
MISSING_CLIENT_CAPABILITY = -32021
UNSUPPORTED_PROTOCOL_VERSION = -32022

# "MUST send a WWW-Authenticate header field containing at least one challenge" (RFC 9110 §15.5.2); whoever knows the
# configuration says more (`auth.authenticator`).
_ANY_CHALLENGE = (b"www-authenticate", b'Bearer realm="mcp"')


class TrioproxyError(Exception):
    """Any failure that trioproxy foresees.

    `data` becomes the JSON-RPC error's `data`; `headers` go with the HTTP response.
    """

    def __init__(
        self, message: str, *, data: dict[str, Any] | None = None, headers: tuple[tuple[bytes, bytes], ...] = ()
    ) -> None:
        super().__init__(message)
        self.data = data
        self.headers = headers


class ProtocolError(TrioproxyError):
    """What came breaks a rule of HTTP, JSON-RPC or MCP."""


class ParseError(ProtocolError):
    """The body is not JSON."""


class InvalidRequest(ProtocolError):
    """The body is JSON, but no message, or none that may come here."""


class UnsupportedRevision(ProtocolError):
    """The request is of a revision that we don't serve, by its header or by its `_meta`."""


class UnsupportedProtocolVersion(ProtocolError):
    """A modern request of a revision that we don't serve; `data` says which it is, and which we do."""


class HeaderMismatch(ProtocolError):
    """A header that has to say what the body says is missing, malformed, or says something else."""


class MissingClientCapability(ProtocolError):
    """Only a client that can do more could be served; `data` says what it would have to declare."""


class MethodNotFound(ProtocolError):
    """The revision of the request has no such method."""


class InvalidParams(ProtocolError):
    """The method's parameters, or what goes with them in `_meta`, are not as they have to be."""


class SessionRequired(ProtocolError):
    """A request without Mcp-Session-Id where there must be one."""


class SessionNotFound(ProtocolError):
    """No such session, or no longer."""


class EventNotFound(ProtocolError):
    """The Last-Event-ID names nothing that can be replayed."""


class PathNotFound(ProtocolError):
    """Nothing is served at that path."""


class MethodNotAllowed(ProtocolError):
    """The path knows other methods; `Allow` names them."""


class NotAcceptable(ProtocolError):
    """`Accept` rules out every media type that the answer could have."""


class UnsupportedMediaType(ProtocolError):
    """The body is not declared to be application/json."""


class BodyTooLarge(ProtocolError):
    """The body outgrew the limit."""


class BodyTooSlow(ProtocolError):
    """The body did not arrive in time."""


class HostRefused(ProtocolError):
    """The Host header names a host that we are not."""


class OriginRefused(ProtocolError):
    """The Origin header names a page that may not call us."""


class AuthenticationError(ProtocolError):
    """The request says not who sends it, or its credentials are not good.

    Args:
      error: the code of RFC 6750 §3.1, such as `invalid_token`; empty where there were no credentials.
    """

    def __init__(self, message: str, *, error: str = "") -> None:
        super().__init__(message, headers=(_ANY_CHALLENGE,))
        self.error = error


class MalformedCredentials(ProtocolError):
    """The credentials come twice, or are none that HTTP knows."""

    def __init__(self, message: str) -> None:
        super().__init__(message, headers=(_ANY_CHALLENGE,))


class InsufficientScope(ProtocolError):
    """Whoever it is, it would need more rights.

    Args:
      scopes: all that the request needs, so that a client can ask for them at once.
    """

    def __init__(self, message: str, *, scopes: Iterable[str] = ()) -> None:
        self.scopes = tuple(scopes)
        data = {"error": "insufficient_scope", "required_scopes": list(self.scopes)}
        super().__init__(message, data=data, headers=(_ANY_CHALLENGE,))


class Unavailable(TrioproxyError):
    """Nothing is wrong with the request; the same again later may work."""

    def __init__(self, message: str) -> None:
        super().__init__(message, headers=((b"retry-after", b"5"),))


class TooManySessions(Unavailable):
    """As many sessions are open as may be."""


class AuthenticationUnavailable(Unavailable):
    """Whoever could tell whether the credentials are good does not say; so they don't count."""


class ShuttingDown(Unavailable):
    """The proxy is about to stop."""


class ChildError(TrioproxyError):
    """The stdio server failed."""


class CommandFailed(ChildError):
    """The command could not be started, or ended before it had answered anything."""


class ChildExited(ChildError):
    """The child has ended, and so has what depended on it."""


class LineTooLong(ChildError):
    """The child wrote a line over the limit; what it wrote is lost."""


class RequestTimedOut(ChildError):
    """The child did not answer within the time that a request has."""


class ListenError(TrioproxyError):
    """We can't serve where, or with the certificate that, we were told to."""


class KeyFileError(TrioproxyError):
    """The file of API keys can't be read, or holds something that is no key."""


class ForcedEnd(TrioproxyError):
    """We were told to stop a second time, and did not wait for anything."""


_STATUS_AND_CODE: dict[type[TrioproxyError], tuple[int, int]] = {
    ParseError: (400, PARSE_ERROR),
    InvalidRequest: (400, INVALID_REQUEST),
    # Not -32022: a client that probes for 2026-07-28 takes that for a modern server's answer, and must not.
    UnsupportedRevision: (400, SERVER_ERROR),
    UnsupportedProtocolVersion: (400, UNSUPPORTED_PROTOCOL_VERSION),
    HeaderMismatch: (400, HEADER_MISMATCH),
    MissingClientCapability: (400, MISSING_CLIENT_CAPABILITY),
    MethodNotFound: (404, METHOD_NOT_FOUND),
    InvalidParams: (400, INVALID_PARAMS),
    SessionRequired: (400, SERVER_ERROR),
    SessionNotFound: (404, SESSION_NOT_FOUND),
    EventNotFound: (400, SERVER_ERROR),
    PathNotFound: (404, SERVER_ERROR),
    MethodNotAllowed: (405, SERVER_ERROR),
    NotAcceptable: (406, SERVER_ERROR),
    UnsupportedMediaType: (415, SERVER_ERROR),
    BodyTooLarge: (413, SERVER_ERROR),
    BodyTooSlow: (408, SERVER_ERROR),
    HostRefused: (403, SERVER_ERROR),
    OriginRefused: (403, SERVER_ERROR),
    # Authorization §Error Handling: 401, 403, and 400 for a "malformed authorization request".
    AuthenticationError: (401, SERVER_ERROR),
    MalformedCredentials: (400, SERVER_ERROR),
    InsufficientScope: (403, SERVER_ERROR),
    ProtocolError: (400, INVALID_REQUEST),
    Unavailable: (503, SERVER_ERROR),
    RequestTimedOut: (200, REQUEST_TIMED_OUT),
    CommandFailed: (502, INTERNAL_ERROR),
    ChildError: (200, INTERNAL_ERROR),
    TrioproxyError: (500, INTERNAL_ERROR),
}


def status_and_code(error: TrioproxyError) -> tuple[int, int]:
    """Return the HTTP status and the JSON-RPC code of `error`, or of its nearest ancestor in the table."""
    return next(_STATUS_AND_CODE[kind] for kind in type(error).__mro__ if kind in _STATUS_AND_CODE)


_STATUS_OF_CODE: dict[int, int] = {
    # "it MUST respond with 404 Not Found and a JSON-RPC error with code -32601" (§Protocol Version Header)
    METHOD_NOT_FOUND: 404,
    # "servers MUST return HTTP status 400 Bad Request" (§Server Validation)
    HEADER_MISMATCH: 400,
    # "On HTTP, the response status MUST be 400 Bad Request" (Basic §`_meta`): for a missing capability and a missing field.
    MISSING_CLIENT_CAPABILITY: 400,
    INVALID_PARAMS: 400,
    # "it MUST respond with 400 Bad Request and an UnsupportedProtocolVersionError" (§Protocol Version Header)
    UNSUPPORTED_PROTOCOL_VERSION: 400,
    # Of these it says nothing; 400 is what HTTP has for a request that can't be read.
    PARSE_ERROR: 400,
    INVALID_REQUEST: 400,
}


def status_of_code(code: int) -> int:
    """Return the HTTP status of a server's error response that is sent as one JSON body (2026-07-28, Streamable HTTP).

    An error of which the specification says nothing is an answer like any other: 200.
    """
    return _STATUS_OF_CODE.get(code, 200)


def error_response(error: TrioproxyError, request_id: str | int | None) -> bytes:
    """Return `error` as a JSON-RPC error response to `request_id`, which is None where it can't be known."""
    _, code = status_and_code(error)
    body: dict[str, Any] = {"code": code, "message": str(error)}
    if error.data is not None:
        body["data"] = error.data
    return json.dumps({"jsonrpc": "2.0", "id": request_id, "error": body}, separators=(",", ":")).encode()
