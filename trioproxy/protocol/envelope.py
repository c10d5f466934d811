"""What a modern request says of itself, and whether its headers agree (2026-07-28, Basic §`_meta`; Streamable HTTP).

A request of 2026-07-28 comes without a handshake and brings along what a handshake would have settled: its revision, and
what its client can do.  That is its envelope.  Three headers repeat parts of the request, for those who route by them:

    MCP-Protocol-Version    the revision
    Mcp-Method              the method
    Mcp-Name                what a tool, a prompt or a resource is called by, where the request is for one

Here are the choice between the eras and the checks, in the order in which the first that fails is the answer.

Not here: headers that repeat arguments of a tool (`param_headers`); whether there is such a method or tool, which only the
server knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from .errors import (
    HeaderMismatch,
    InvalidParams,
    InvalidRequest,
    MethodNotFound,
    UnsupportedProtocolVersion,
)
from .header_values import HeaderValues, decode_header_value, shown, single_value
from .messages import Message, Request, Response
from .meta_keys import CLIENT_CAPABILITIES, CLIENT_INFO, LOG_LEVEL, PROTOCOL_VERSION
from .revisions import LEGACY_REVISIONS, MODERN_REVISION, MODERN_REVISIONS

LOG_LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
"""By severity, the least first (Logging §Log Levels)."""

VERSION_HEADER: Final = "MCP-Protocol-Version"
METHOD_HEADER: Final = "Mcp-Method"
NAME_HEADER: Final = "Mcp-Name"

NAMED_BY: Final[Mapping[str, str]] = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    # The extension io.modelcontextprotocol/tasks (SEP-2663 §Streamable HTTP: Routing Headers).
    "tasks/get": "taskId",
    "tasks/update": "taskId",
    "tasks/cancel": "taskId",
}
"""The parameter that Mcp-Name repeats, by method (Streamable HTTP §Standard Request Headers)."""

REMOVED_METHODS: Final = frozenset(
    ("initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe")
)


class Envelope(NamedTuple):
    """What a request says of itself.

    Attributes:
      client_info: None where the client does not say what it is called.
      log_level: None where no log messages are wanted.
    """

    revision: str
    client_info: dict[str, Any] | None
    capabilities: dict[str, Any]
    log_level: str | None


def is_modern(body: Message | list[Message], revision_header: bytes | None, *, has_session: bool) -> bool:
    """Whether the body of a POST is served without a session, as 2026-07-28 has it.

    "A dual-era server selects its behavior from how the client opens" (Versioning §Backward Compatibility).  So the body
    goes before the header, and the first of these that applies decides:

        a message with a claim of its own       modern, `initialize` as well, which that era does not have
        a message within a session              legacy, where a header of another revision is refused
        an `initialize` without a claim         legacy, whatever the header
        no header, or a handshake's revision    legacy
        any other header                        modern, where a request is told that its envelope is missing, or its
                                                revision not served

    Args:
      revision_header: MCP-Protocol-Version.
      has_session: whether the request names a session that exists.

    Raises:
      InvalidRequest: an array or a response, in a modern request: "The body of the HTTP POST MUST be a single JSON-RPC
        request or notification.  The client MUST NOT send JSON-RPC responses" (Streamable HTTP §Sending Messages, 4).
    """
    messages = body if isinstance(body, list) else [body]
    if any(_has_claim(message) for message in messages):
        modern = True
    elif has_session or (type(body) is Request and body.method == "initialize"):
        modern = False
    else:
        modern = revision_header is not None and revision_header.strip(b" \t").decode("latin-1") not in LEGACY_REVISIONS
    if modern and isinstance(body, list | Response):
        came = "an array" if isinstance(body, list) else "a response"
        raise InvalidRequest(f"a POST of {MODERN_REVISION} has a single request or notification; this has {came}")
    return modern


def check_notification_header(values: HeaderValues) -> None:
    """Check the MCP-Protocol-Version of a modern notification, if it has one.

    "Header requirements for notification POSTs are not defined by this revision" (Streamable HTTP §Sending Messages); but
    what is of a revision that is not served can't be accepted.

    Raises:
      UnsupportedProtocolVersion: that revision is not served.
      HeaderMismatch: the header can be read in more than one way.
    """
    revision = single_value(values, VERSION_HEADER)
    if revision is not None:
        _check_served(revision)


def check_envelope(request: Request, values: HeaderValues) -> Envelope:
    """Return the envelope of a modern request, if it is one that the server can be asked.

    A client that contradicts itself is told so before it is told that its revision is not served.

    Raises:
      InvalidParams: the envelope lacks something, or has something of the wrong kind.
      HeaderMismatch: the headers do not say what the body says.
      UnsupportedProtocolVersion: the revision is not served.
      MethodNotFound: the method was left behind in the legacy era.
    """
    said = {name: single_value(values, name) for name in (VERSION_HEADER, METHOD_HEADER, NAME_HEADER)}
    meta = _checked_meta(request.params.get("_meta"))
    _check_same(VERSION_HEADER, said[VERSION_HEADER], meta[PROTOCOL_VERSION])
    _check_same(METHOD_HEADER, said[METHOD_HEADER], request.method)
    if request.method in NAMED_BY:
        name = said[NAME_HEADER]
        name = None if name is None else decode_header_value(NAME_HEADER, name)
        _check_same(NAME_HEADER, name, request.params.get(NAMED_BY[request.method]))
    _check_served(meta[PROTOCOL_VERSION])
    if request.method in REMOVED_METHODS or request.method.startswith("notifications/"):
        raise MethodNotFound(f"Method not found: {MODERN_REVISION} has no request {shown(request.method)}")
    log_level = meta.get(LOG_LEVEL)
    if LOG_LEVEL in meta and log_level not in LOG_LEVELS:
        # Logging §Error Handling: "Invalid log level: -32602".
        raise InvalidParams(f"_meta[{LOG_LEVEL!r}] must be one of {', '.join(LOG_LEVELS)}; this is {shown(log_level)}")
    return Envelope(meta[PROTOCOL_VERSION], meta.get(CLIENT_INFO), meta[CLIENT_CAPABILITIES], log_level)


def missing_capabilities(input_requests: Mapping[str, Any], capabilities: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a client would have to declare, and has not, to be asked all of `input_requests`.

    "Servers MUST NOT send an inputRequests that the client has not declared support for in its capabilities" (Multi
    Round-Trip Requests §Server Requirements).  The answer has the shape of `requiredCapabilities`, and is empty where
    nothing is missing.

    A mode of elicitation is always named, since `{}` would not tell a client of `url` alone what it lacks.  Nothing is asked
    for `includeContext`: without `sampling.context` a server only "SHOULD NOT" use it, and "the client MAY ignore this
    field" (Sampling §Capabilities, §Context Inclusion).
    """
    missing: dict[str, Any] = {}
    for request in input_requests.values():
        needed = _needed_capability(request)
        if needed is not None and not _is_declared(*needed, capabilities):
            capability, part = needed
            parts = missing.setdefault(capability, {})
            if part is not None:
                parts[part] = {}
    return missing


def _has_claim(message: Message) -> bool:
    if isinstance(message, Response):
        return False
    meta = message.params.get("_meta")
    return type(meta) is dict and PROTOCOL_VERSION in meta


def _checked_meta(meta: Any) -> dict[str, Any]:
    if type(meta) is not dict:
        raise InvalidParams(f"params._meta must be an object with {PROTOCOL_VERSION!r} and {CLIENT_CAPABILITIES!r}")
    missing = [key for key in (PROTOCOL_VERSION, CLIENT_CAPABILITIES) if key not in meta]
    if missing:
        raise InvalidParams(f"params._meta lacks {' and '.join(map(repr, missing))}")
    for key, kind, name in (
        (PROTOCOL_VERSION, str, "a string"),
        (CLIENT_CAPABILITIES, dict, "an object"),
        (CLIENT_INFO, dict, "an object"),
    ):
        if key in meta and type(meta[key]) is not kind:
            raise InvalidParams(f"_meta[{key!r}] must be {name}; this is {shown(meta[key])}")
    return meta


def _check_same(header: str, said: str | None, in_body: Any) -> None:
    if said is None:
        raise HeaderMismatch(f"Header mismatch: {header} header is missing; the body value is {shown(in_body)}")
    if said != in_body:
        raise HeaderMismatch(
            f"Header mismatch: {header} header value {shown(said)} does not match body value {shown(in_body)}"
        )


def _check_served(revision: str) -> None:
    if revision not in MODERN_REVISIONS:
        data = {"supported": list(MODERN_REVISIONS), "requested": revision}
        raise UnsupportedProtocolVersion(
            f"Unsupported protocol version {shown(revision)}; supported: {', '.join(MODERN_REVISIONS)}", data=data
        )


def _needed_capability(request: Any) -> tuple[str, str | None] | None:
    """Return the capability that an input request needs, and the part of it, if it has parts."""
    if type(request) is not dict:
        return None
    params = request.get("params")
    params = params if type(params) is dict else {}
    match request.get("method"):
        case "elicitation/create":
            # "Clients MUST treat requests without a mode field as form mode" (Elicitation §Elicitation Requests).
            mode = params.get("mode")
            return "elicitation", mode if type(mode) is str else "form"
        case "sampling/createMessage":
            # "The client MUST return an error if this field is provided but sampling.tools is not declared" (schema).
            has_tools = any(params.get(name) is not None for name in ("tools", "toolChoice"))
            return "sampling", "tools" if has_tools else None
        case "roots/list":
            return "roots", None
    return None


def _is_declared(capability: str, part: str | None, capabilities: Mapping[str, Any]) -> bool:
    declared = capabilities.get(capability)
    if type(declared) is not dict:
        return False
    if part == "form":
        # "An empty capabilities object is equivalent to declaring support for form mode only" (Elicitation §Capabilities).
        return declared.get("form") is not None or declared.get("url") is None
    return part is None or declared.get(part) is not None
