"""Responses of a legacy server in the shape that a modern client expects (2026-07-28, Basic §Responses, Caching).

result          gets resultType, and serverInfo in its `_meta`; the results that Caching names get ttlMs and cacheScope,
                which promise nothing; of a tool goes `execution`, which is about tasks of the old era
error -32002    "resource not found" has become -32602, and names the resource
error -32042    "URL elicitation required" has become a result that asks for input: `url_elicitations`
other errors    from -32020 to -32099 are the modern specification's own; a legacy server means something else by them,
                and they become -32603
"""

from __future__ import annotations

import re
from typing import Any, Final

from ..errors import INTERNAL_ERROR, INVALID_PARAMS
from ..messages import Request, Response, add_to_result, parse_error, parse_result, replace_response_id
from ..meta_keys import SERVER_INFO
from ..outbox import encode
from ..splice import REMOVE, Path, Remove, cut_out, splice

_CACHEABLE: Final = frozenset({"tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read"})
_RESOURCE_NOT_FOUND: Final = -32002
_URL_ELICITATION_REQUIRED: Final = -32042
_RESERVED_CODES: Final = range(-32099, -32019)

_OURS: Final = (b"resultType", b"ttlMs", b"cacheScope", b"_meta")
_DISGUISED: Final = re.compile(rb"\\u00[4-7]")
"""The escape of a letter, which nobody needs; with it a member could be ours and not look like it."""
_NO_PROMISE: Final = (b'"ttlMs":0', b'"cacheScope":"private"')

_Edits = dict[Path, bytes | Remove]


def modern_response(response: Response, request: Request, server_info: bytes | None) -> bytes:
    """Return the response to the client's `request`, whose id may be another than that of the server's response.

    Raises:
      ParseError: the response is not JSON.
    """
    if not response.is_error and (raw := _complete_at_once(response, request, server_info)) is not None:
        return raw if response.id == request.id else replace_response_id(response._replace(raw=raw), request.id)
    edits: _Edits = {} if response.id == request.id else {("id",): encode(request.id)}
    edits |= _error_edits(response, request) if response.is_error else _result_edits(response, request, server_info)
    return splice(response.raw, edits) if edits else response.raw


def _complete_at_once(response: Response, request: Request, server_info: bytes | None) -> bytes | None:
    """Return the completed result where nothing in it has to change, as in nearly all: ours is put before the rest.

    That takes no parsing, which for a megabyte would take longer than all else that is done with it.
    """
    if (
        any(name in response.raw for name in _OURS)
        or _DISGUISED.search(response.raw)
        or (request.method == "tools/list" and b"execution" in response.raw)
    ):
        return None
    members = [b'"resultType":"complete"', *own_meta(server_info)]
    if request.method in _CACHEABLE:
        members += _NO_PROMISE
    return add_to_result(response, b",".join(members))


def _result_edits(response: Response, request: Request, server_info: bytes | None) -> _Edits:
    edits: _Edits = {("result", "resultType"): b'"complete"'}
    if request.method in _CACHEABLE:
        # "Servers MUST include caching hints"; of a server that gives none nothing is known.
        edits["result", "ttlMs"] = b"0"
        edits["result", "cacheScope"] = b'"private"'
    if server_info is not None:
        edits["result", "_meta", SERVER_INFO] = server_info
    for path in [path for path in edits if path[-1] != "resultType" and _has(response.raw, path)]:
        del edits[path]
    if request.method == "tools/list" and b"execution" in response.raw:
        edits |= {("result", "tools", index, "execution"): REMOVE for index in _find_executions(parse_result(response))}
    return edits


def _has(raw: bytes, path: Path) -> bool:
    # Most results have none of these, which a search tells sooner than a parse.  A name that it misses, because it is
    # spelled with escapes, is found by `splice`, and its value replaced.
    return str(path[-1]).rpartition("/")[2].encode() in raw and cut_out(raw, path) is not None


def _find_executions(result: Any) -> list[int]:
    tools = result.get("tools") if type(result) is dict else None
    return [i for i, tool in enumerate(tools if type(tools) is list else ()) if type(tool) is dict and "execution" in tool]


def _error_edits(response: Response, request: Request) -> _Edits:
    error = parse_error(response)
    code, data, uri = error.get("code"), error.get("data"), request.params.get("uri")
    if type(code) is not int:
        return {}
    if code == _RESOURCE_NOT_FOUND:
        edits: _Edits = {("error", "code"): encode(INVALID_PARAMS)}
        if type(uri) is str and (data is None or (type(data) is dict and "uri" not in data)):
            edits["error", "data", "uri"] = encode(uri)
        return edits
    return {("error", "code"): encode(INTERNAL_ERROR)} if code in _RESERVED_CODES else {}


def own_meta(server_info: bytes | None) -> list[bytes]:
    """Return the `_meta` of a result that we give in the server's place, as a member; none where the server has no name."""
    return [] if server_info is None else [b'"_meta":{%b:%b}' % (encode(SERVER_INFO), server_info)]


def url_elicitations(response: Response) -> list[tuple[bytes, dict[str, Any]]]:
    """Return the params of each elicitation that the server wants completed before it is asked again, as JSON and decoded.

    2025-11-25, Elicitation §URL Elicitation Required Error.  There are none where the response says anything else.

    Raises:
      ParseError: the response is not JSON.
    """
    if not response.is_error or b"-32042" not in response.raw:
        return []
    error = parse_error(response)
    data = error.get("data")
    if error.get("code") != _URL_ELICITATION_REQUIRED or type(data) is not dict:
        return []
    found = data.get("elicitations")
    found = found if type(found) is list else []
    elicitations = []
    for index, elicitation in enumerate(found):
        raw = cut_out(response.raw, ("error", "data", "elicitations", index))
        if raw is not None and type(elicitation) is dict and type(elicitation.get("url")) is str:
            elicitations.append((splice(raw, {("mode",): b'"url"'}), {**elicitation, "mode": "url"}))
    return elicitations
