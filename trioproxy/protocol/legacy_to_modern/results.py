"""Responses of a modern server in the shape that a legacy client can read.

    result          resultType goes; of the results that 2026-07-28, Caching, makes cacheable, ttlMs and cacheScope go too
    DiscoverResult  becomes the InitializeResult (2025-11-25, Lifecycle §Initialization): supportedVersions goes, so do
                    `extensions`, which are of the modern era; serverInfo comes out of `_meta`
    error           -32020 to -32022, which a legacy client would take for a server's own, become -32603 and say what they
                    said (2026-07-28, Basic §Error Codes); all others pass

Of tools see `tools`.  All else in a result passes: members that a legacy client has never heard of do it no harm.
"""

from __future__ import annotations

import json
from typing import Any, Final

from ..errors import (
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    MISSING_CLIENT_CAPABILITY,
    PARSE_ERROR,
    UNSUPPORTED_PROTOCOL_VERSION,
    ChildError,
    ParseError,
    error_response,
)
from ..messages import Request, RequestId, Response, parse_error
from ..meta_keys import SERVER_INFO
from ..revisions import MODERN_REVISION
from ..splice import REMOVE, cut_out, splice
from .introduction import Edits
from .tools import needs_wrap, tool_edits, wrap

_CACHEABLE: Final = frozenset({"tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read"})
_MODERN_CODES: Final = frozenset({HEADER_MISMATCH, MISSING_CLIENT_CAPABILITY, UNSUPPORTED_PROTOCOL_VERSION})


def encode_id(request_id: RequestId) -> bytes:
    """Return a request id as JSON."""
    return json.dumps(request_id).encode()


def empty_response(request: Request) -> bytes:
    """Return the response that says "done" and nothing else."""
    return b'{"jsonrpc":"2.0","id":' + encode_id(request.id) + b',"result":{}}'


class ResultShaper:
    """Brings the results of one client's requests into the old shape, and remembers which tools that concerns."""

    def __init__(self) -> None:
        self._wrapped: set[str] = set()

    def shape(self, response: Response, result: dict[str, Any], request: Request) -> bytes:
        """Return the response to the client's `request`.

        Args:
          result: the response's, decoded.
        """
        edits: Edits = {("result", "resultType"): REMOVE}
        if response.id != request.id:
            edits["id",] = encode_id(request.id)
        if request.method in _CACHEABLE:
            edits["result", "ttlMs"] = edits["result", "cacheScope"] = REMOVE
        if request.method == "tools/list":
            tools = result.get("tools")
            self._note_wrapped(tools)
            edits.update(tool_edits(response.raw, ("result", "tools"), tools))
        elif request.method == "tools/call" and "structuredContent" in result:
            name = request.params.get("name")
            if type(result["structuredContent"]) is not dict or (type(name) is str and name in self._wrapped):
                content = cut_out(response.raw, ("result", "structuredContent"))
                edits["result", "structuredContent"] = wrap(content or b"null")
        return splice(response.raw, edits)

    def _note_wrapped(self, tools: Any) -> None:
        for tool in tools if type(tools) is list else ():
            name = tool.get("name") if type(tool) is dict else None
            if type(name) is str:
                (self._wrapped.add if needs_wrap(tool) else self._wrapped.discard)(name)


def initialize_response(response: Response, result: dict[str, Any], initialize: Request, revision: str, name: str) -> bytes:
    """Return the response to `initialize` that says what the `response` to `server/discover` says.

    Args:
      result: the response's, decoded.
      name: for a server that does not say who it is, which it only "SHOULD".
    """
    edits: Edits = {
        ("id",): encode_id(initialize.id),
        ("result", "protocolVersion"): json.dumps(revision).encode(),
        ("result", "serverInfo"): json.dumps({"name": name, "version": "0"}).encode(),
    }
    for member in ("resultType", "supportedVersions", "ttlMs", "cacheScope"):
        edits["result", member] = REMOVE
    if type(result.get("capabilities")) is dict:
        edits["result", "capabilities", "extensions"] = REMOVE
    else:
        edits["result", "capabilities"] = b"{}"
    meta = result.get("_meta")
    if type(meta) is dict and type(meta.get(SERVER_INFO)) is dict:
        info = cut_out(response.raw, ("result", "_meta", SERVER_INFO))
        edits["result", "serverInfo"] = _with_required_members(info or b"{}", meta[SERVER_INFO], name)
        edits[("result", "_meta") if len(meta) == 1 else ("result", "_meta", SERVER_INFO)] = REMOVE
    return splice(response.raw, edits)


def _with_required_members(raw: bytes, info: dict[str, Any], name: str) -> bytes:
    required = {"name": name, "version": "0"}
    return splice(
        raw, {(key,): json.dumps(value).encode() for key, value in required.items() if type(info.get(key)) is not str}
    )


def read_error(response: Response) -> dict[str, Any]:
    """Return the `error` of an error response; a long one is recognised by its ends, and may turn out to be no JSON."""
    try:
        return parse_error(response)
    except ParseError as broken:
        return {"code": PARSE_ERROR, "message": str(broken)}


def describe(response: Response) -> str:
    """Return what an error response says, in words."""
    error = read_error(response)
    return f"error {error.get('code')}: {error.get('message')}"


def legacy_error(response: Response, request: Request) -> bytes:
    """Return the error response to the client's `request`."""
    edits: Edits = {}
    if response.id != request.id:
        edits["id",] = encode_id(request.id)
    error = read_error(response)
    code = error.get("code")
    if code in _MODERN_CODES:
        edits["error", "code"] = encode_id(INTERNAL_ERROR)
        edits["error", "message"] = json.dumps(_explain(error)).encode()
    try:
        return splice(response.raw, edits) if edits else response.raw
    except ParseError:
        return error_response(ChildError(f"the server's response can't be read: {error['message']}"), request.id)


def _explain(error: dict[str, Any]) -> str:
    data = error.get("data")
    data = data if type(data) is dict else {}
    if error["code"] == MISSING_CLIENT_CAPABILITY:
        missing = data.get("requiredCapabilities")
        names = name_capabilities(missing) if type(missing) is dict else "something that it does not name"
        return f"the server requires of its client what it has not declared, or its revision does not have: {names}"
    return f"the server refuses what revision {MODERN_REVISION} asks of it ({error['code']}): {error.get('message')}"


def name_capabilities(capabilities: dict[str, Any]) -> str:
    """Return capabilities, or those parts of them that matter, in words: "elicitation.url, roots"."""
    names = []
    for name, parts in capabilities.items():
        names += [f"{name}.{part}" for part in parts] if type(parts) is dict and parts else [name]
    return ", ".join(names)
