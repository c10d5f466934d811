"""The handshake that a modern client does not make, and what the server says of itself in it.

A legacy server has to be initialized before it serves anything (2025-11-25, Lifecycle §Initialization).  What a client
would say once, a modern one says with each request (2026-07-28, Basic §`_meta`), so that its first request has all that
`initialize` needs.  What the server answers once, a modern client asks for with `server/discover` (2026-07-28, Discovery).
"""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

from ..errors import ChildError
from ..messages import Request, RequestId, Response, parse_error, parse_result
from ..meta_keys import CLIENT_CAPABILITIES, CLIENT_INFO
from ..outbox import encode
from ..revisions import LATEST_LEGACY_REVISION, LEGACY_REVISIONS, MODERN_REVISIONS
from ..splice import REMOVE, Path, Remove, cut_out, splice
from .results import own_meta

_UNKNOWN_CLIENT: Final = b'{"name":"unknown","version":"0"}'
_COMMON_CAPABILITIES: Final = frozenset({"elicitation", "experimental", "roots", "sampling"})
"""Those that both eras know: `tasks` is of the old one only, extensions are of the new."""


class ServerIntroduction(NamedTuple):
    """What a server says of itself.

    Attributes:
      capabilities: what it can do, decoded.
      declared: the same as JSON, without what the modern era does not have.
      info, instructions: as JSON; None where it says nothing.
    """

    capabilities: dict[str, Any]
    declared: bytes
    info: bytes | None
    instructions: bytes | None


def initialize_params(request: Request) -> bytes:
    """Return the params of the `initialize` that a client would have sent before `request`."""
    meta = request.params.get("_meta")
    meta = meta if type(meta) is dict else {}
    info = meta.get(CLIENT_INFO)
    # Of the old era's clientInfo both members are required.
    is_known = type(info) is dict and type(info.get("name")) is str and type(info.get("version")) is str
    info_json = cut_out(request.raw, ("params", "_meta", CLIENT_INFO)) if is_known else None
    return b'{"protocolVersion":%b,"capabilities":%b,"clientInfo":%b}' % (
        encode(LATEST_LEGACY_REVISION),
        _common_capabilities(request, meta.get(CLIENT_CAPABILITIES)),
        info_json or _UNKNOWN_CLIENT,
    )


def _common_capabilities(request: Request, declared: object) -> bytes:
    raw = cut_out(request.raw, ("params", "_meta", CLIENT_CAPABILITIES))
    if raw is None or type(declared) is not dict:
        return b"{}"
    edits: dict[Path, bytes | Remove] = {(name,): REMOVE for name in declared.keys() - _COMMON_CAPABILITIES}
    roots = declared.get("roots")
    if type(roots) is dict and "listChanged" in roots:
        # No modern client says when its roots change.
        edits["roots", "listChanged"] = REMOVE
    return splice(raw, edits)


def read_introduction(response: Response) -> ServerIntroduction:
    """Return what the server says of itself in its answer to `initialize`.

    Raises:
      ChildError: it refuses, or speaks a revision that we don't.
      ParseError: the response is not JSON.
    """
    if response.is_error:
        error = parse_error(response)
        raise ChildError(f"the server refused the handshake: {error.get('message')} ({json.dumps(error.get('code'))})")
    result = parse_result(response)
    revision = result.get("protocolVersion") if type(result) is dict else None
    if revision not in LEGACY_REVISIONS:
        # "If the client does not support the version in the server's response, it SHOULD disconnect."
        raise ChildError(
            f"the server answered the handshake with revision {revision!r}; known are {', '.join(LEGACY_REVISIONS)}"
        )
    capabilities = result.get("capabilities")
    capabilities = capabilities if type(capabilities) is dict else {}
    declared = cut_out(response.raw, ("result", "capabilities")) if capabilities else None
    info, instructions = result.get("serverInfo"), result.get("instructions")
    return ServerIntroduction(
        capabilities,
        splice(declared or b"{}", {("tasks",): REMOVE}),
        cut_out(response.raw, ("result", "serverInfo")) if type(info) is dict else None,
        cut_out(response.raw, ("result", "instructions")) if type(instructions) is str else None,
    )


def discover_response(request_id: RequestId, server: ServerIntroduction) -> bytes:
    """Return the answer to `server/discover`.

    It may be kept for no time at all: another start of the same server may say something else.
    """
    members = [
        b'"resultType":"complete"',
        b'"supportedVersions":' + encode(MODERN_REVISIONS),
        b'"capabilities":' + server.declared,
        b'"ttlMs":0,"cacheScope":"private"',
    ]
    if server.instructions is not None:
        members.append(b'"instructions":' + server.instructions)
    members += own_meta(server.info)
    return b'{"jsonrpc":"2.0","id":%b,"result":{%b}}' % (encode(request_id), b",".join(members))
