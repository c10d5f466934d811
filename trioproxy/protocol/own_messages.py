"""The few messages that the proxy writes itself, in place of a client or a server that did not.

Everything else that passes is somebody's own bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from .errors import METHOD_NOT_FOUND
from .messages import Request, RequestId, Response, parse_error, parse_line, parse_result
from .meta_keys import CLIENT_CAPABILITIES, CLIENT_INFO, PROTOCOL_VERSION, SUBSCRIPTION_ID
from .revisions import MODERN_REVISION

CANCELLED: Final = "notifications/cancelled"
DISCOVER: Final = "server/discover"
LISTEN: Final = "subscriptions/listen"
_UNSUPPORTED_PROTOCOL_VERSION: Final = -32022
_MODERN_ERRORS: Final = (-32020, -32021)
_REQUEST_CANCELLED: Final = -32800
"""The code with which a cancelled request's stream is ended; the Python SDK's, since the specification has none."""
_SELF: Final = {"name": "trioproxy", "version": "0"}


def initialize_request(revision: str) -> bytes:
    """Open a handshake for a client that made none (Lifecycle §Initialization)."""
    params = {"protocolVersion": revision, "capabilities": {}, "clientInfo": _SELF}
    return _encode({"jsonrpc": "2.0", "id": "trioproxy-initialize", "method": "initialize", "params": params})


def initialized_notification() -> bytes:
    """End it."""
    return _encode({"jsonrpc": "2.0", "method": "notifications/initialized"})


def cancelled_notification(request_id: RequestId, reason: str) -> bytes:
    """Tell a server that its answer is no longer waited for (Utilities §Cancellation)."""
    return _encode({"jsonrpc": "2.0", "method": CANCELLED, "params": {"requestId": request_id, "reason": reason}})


def cancelled_response(request_id: RequestId) -> bytes:
    """End a request that its client has cancelled."""
    error = {"code": _REQUEST_CANCELLED, "message": "Request cancelled"}
    return _encode({"jsonrpc": "2.0", "id": request_id, "error": error})


def refusal(request: Request) -> bytes:
    """Answer a server's request for a client that can't be asked; a ping needs no client."""
    if request.method == "ping":
        return _encode({"jsonrpc": "2.0", "id": request.id, "result": {}})
    message = f"{request.method}: without a session there is nobody who could be asked"
    return _encode({"jsonrpc": "2.0", "id": request.id, "error": {"code": METHOD_NOT_FOUND, "message": message}})


def ping_request() -> bytes:
    """Ask a server whether it is there (Utilities §Ping)."""
    return _encode({"jsonrpc": "2.0", "id": "trioproxy-ping", "method": "ping"})


def listen_result(request_id: RequestId) -> bytes:
    """End a subscription gracefully, in the server's stead (2026-07-28, Subscriptions §Graceful Closure)."""
    result = {"resultType": "complete", "_meta": {SUBSCRIPTION_ID: request_id}}
    return _encode({"jsonrpc": "2.0", "id": request_id, "result": result})


def modern_request(method: str, params: Mapping[str, object], meta: Mapping[str, object]) -> bytes:
    """Ask a server of 2026-07-28 something of our own; what `meta` doesn't say of the client is said of us."""
    ours = {
        PROTOCOL_VERSION: MODERN_REVISION,
        CLIENT_INFO: _SELF,
        CLIENT_CAPABILITIES: {},
    }
    return _encode({"jsonrpc": "2.0", "id": method, "method": method, "params": {**params, "_meta": {**ours, **meta}}})


def is_modern_answer(answer: bytes) -> bool:
    """Whether what a server says to `server/discover` is what a modern one says (2026-07-28, Transports §stdio).

    That is a DiscoverResult, or "a recognized modern JSON-RPC error"; of those that say which revisions are served, one
    that is served here must be among them.
    """
    response = parse_line(answer)
    if type(response) is not Response:
        return False
    if response.is_error:
        error = parse_error(response)
        code, data = error.get("code"), error.get("data")
        if code == _UNSUPPORTED_PROTOCOL_VERSION:
            supported = data.get("supported") if isinstance(data, dict) else None
            return isinstance(supported, list) and MODERN_REVISION in supported
        return code in _MODERN_ERRORS
    result = parse_result(response)
    supported = result.get("supportedVersions") if isinstance(result, dict) else None
    return isinstance(supported, list) and MODERN_REVISION in supported


def _encode(message: Mapping[str, object]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()
