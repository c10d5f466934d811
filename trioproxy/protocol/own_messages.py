"""The few messages that the proxy writes itself, in place of a client or a server that did not.

Everything else that passes is somebody's own bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from .errors import METHOD_NOT_FOUND
from .messages import Request, RequestId

CANCELLED: Final = "notifications/cancelled"
_REQUEST_CANCELLED: Final = -32800
"""The code with which a cancelled request's stream is ended; the Python SDK's, since the specification has none."""


def initialize_request(revision: str) -> bytes:
    """Open a handshake for a client that made none (Lifecycle §Initialization)."""
    params = {"protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "trioproxy", "version": "0"}}
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


def _encode(message: Mapping[str, object]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()
