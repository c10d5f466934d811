"""An HTTP status in the place of an answer, and what is made of it for whoever asked.

"If the server cannot accept it, it MUST return an HTTP error status code … The HTTP response body MAY comprise a JSON-RPC
error response that has no id" (2025-11-25, Transports §Sending Messages).  Such an error goes on with the id of its request;
where there is none, the status and the beginning of the body have to do.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from ..http_client import Headers, HttpClientError, ResponseStream, find_header
from ..protocol.errors import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    MISSING_CLIENT_CAPABILITY,
    SERVER_ERROR,
    UNSUPPORTED_PROTOCOL_VERSION,
    ChildError,
    InvalidRequest,
    ParseError,
    error_response,
)
from ..protocol.messages import RequestId, Response, parse_body, parse_error, replace_response_id

_MAX_BODY: Final = 1024 * 1024
_SHOWN: Final = 300
_MODERN_ERRORS: Final = frozenset(
    {HEADER_MISMATCH, MISSING_CLIENT_CAPABILITY, UNSUPPORTED_PROTOCOL_VERSION, METHOD_NOT_FOUND, INVALID_PARAMS}
)
"""By which a modern server is known: "for unsupported version, unknown method, or header-validation failure"."""
_NAMED_IN_CHALLENGE: Final = re.compile(r'\b(error|scope|resource_metadata)="([^"\\]*)"')


class Refusal(NamedTuple):
    """A response with a status other than success; `where` is whom we asked, for error messages."""

    status: int
    headers: Headers
    body: bytes
    where: str

    @property
    def error(self) -> Response | None:
        """The JSON-RPC error that the body is, if it is one."""
        try:
            message = parse_body(self.body)
        except (ParseError, InvalidRequest):
            return None
        return message if isinstance(message, Response) and message.is_error else None

    @property
    def code(self) -> Any:
        """The code of that error; None where there is none."""
        error = self.error
        return None if error is None else parse_error(error).get("code")

    @property
    def is_of_modern_server(self) -> bool:
        """Whether only a server of 2026-07-28 refuses like that (Streamable HTTP §HTTP+SSE Transport)."""
        return self.code in _MODERN_ERRORS

    @property
    def suggests_http_sse(self) -> bool:
        """Whether the server may be one of the first transport (2025-11-25, Transports §Backwards Compatibility)."""
        return self.status in (400, 404, 405) and not self.is_of_modern_server

    @property
    def says_session_has_expired(self) -> bool:
        """Whether a request that names a session got this because there is no such session any more.

        404, says the specification (2025-11-25, Transports §Session Management, 3).  400 and -32000 is what the examples of
        the TypeScript SDK answer, and what has been made of them.
        """
        if self.status == 404:
            return True
        return self.status == 400 and self.code == SERVER_ERROR and b"session" in self.body.lower()

    def answer(self, request_id: RequestId) -> bytes:
        """Return the response for whoever made the request."""
        error = self.error
        if error is not None and self.status not in (401, 403):
            return error.raw if error.id == request_id else replace_response_id(error, request_id)
        return error_response(ChildError(str(self)), request_id)

    def __str__(self) -> str:
        said = self.body[: 4 * _SHOWN].decode(errors="replace").strip()[:_SHOWN]
        if (error := self.error) is not None and isinstance(message := parse_error(error).get("message"), str):
            said = message[:_SHOWN]
        challenge = find_header(self.headers, b"www-authenticate") or ""
        named = [f"{name} {value[:_SHOWN]}" for name, value in _NAMED_IN_CHALLENGE.findall(challenge)]
        return ": ".join(
            [f"{self.where} answered with HTTP status {self.status}", *([", ".join(named)] if named else []), said]
        )


async def read_refusal(response: ResponseStream, where: str) -> Refusal:
    """Return a response that is none; of a body that is too long, or breaks, nothing is kept."""
    try:
        body = await response.read(_MAX_BODY)
    except HttpClientError:
        body = b""
    return Refusal(response.status, response.headers, body, where)
