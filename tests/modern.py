"""What a client of 2026-07-28 says: requests with their envelopes, and the headers that repeat them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from trioproxy.protocol.envelope import Envelope
from trioproxy.protocol.messages import Request, parse_line

from . import wire
from .wire import Answer

REVISION = "2026-07-28"
RESERVED = "io.modelcontextprotocol/"
SUBSCRIPTION_ID = RESERVED + "subscriptionId"
EXAMPLE_CLIENT = {"name": "ExampleClient", "version": "1.0.0"}
ASKABLE: Mapping[str, Any] = {"elicitation": {}, "sampling": {}, "roots": {}}
"""The capabilities of a client that can be asked everything."""

_NAMED_BY = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}


def request(
    method: str,
    request_id: int | str = 1,
    *,
    capabilities: Mapping[str, Any] = {},
    log_level: str | None = None,
    token: int | str | None = None,
    client: str = "ExampleClient",
    **params: Any,
) -> dict[str, Any]:
    """Return a request with its envelope."""
    meta: dict[str, Any] = {
        RESERVED + "protocolVersion": REVISION,
        RESERVED + "clientInfo": {**EXAMPLE_CLIENT, "name": client},
        RESERVED + "clientCapabilities": dict(capabilities),
    }
    if log_level is not None:
        meta[RESERVED + "logLevel"] = log_level
    if token is not None:
        meta["progressToken"] = token
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": {"_meta": meta, **params}}


def tool_call(tool: str, request_id: int | str = 1, arguments: Any = None, **more: Any) -> dict[str, Any]:
    """Return a `tools/call` with its envelope."""
    return request("tools/call", request_id, name=tool, arguments=arguments or {}, **more)


def listen(request_id: int | str = 1, client: str = "ExampleClient", **wanted: Any) -> dict[str, Any]:
    """Return a `subscriptions/listen` for what is `wanted`."""
    return request("subscriptions/listen", request_id, client=client, notifications=wanted)


def retry(first: dict[str, Any], result: dict[str, Any], request_id: int | str, **answers: Any) -> dict[str, Any]:
    """Return `first` again, with answers to what its `result` asked: one, for every question, or by name."""
    responses = answers or None
    params = {**first["params"], "requestState": result["requestState"]}
    if responses is not None:
        params["inputResponses"] = responses
    return {**first, "id": request_id, "params": params}


def answer_all(first: dict[str, Any], result: dict[str, Any], request_id: int | str, answer: Any) -> dict[str, Any]:
    """Return `first` again, with the same `answer` to every question that its `result` asked."""
    return retry(first, result, request_id, **dict.fromkeys(result["inputRequests"], answer))


def parse(message: dict[str, Any] | bytes) -> tuple[Request, Envelope]:
    """Return a request, given as a value or as bytes, and what its envelope says."""
    parsed = parse_line(message if isinstance(message, bytes) else json.dumps(message).encode())
    assert isinstance(parsed, Request)
    said = {name.removeprefix(RESERVED): value for name, value in parsed.params["_meta"].items()}
    capabilities = said["clientCapabilities"]
    return parsed, Envelope(said["protocolVersion"], said.get("clientInfo"), capabilities, said.get("logLevel"))


def headers(message: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers with which a client posts `message`."""
    chosen = {**wire.JSON_HEADERS, "mcp-protocol-version": REVISION, "mcp-method": message["method"]}
    if message["method"] in _NAMED_BY:
        chosen["mcp-name"] = message["params"][_NAMED_BY[message["method"]]]
    return chosen


async def post(url: str, message: dict[str, Any], **more: str | None) -> Answer:
    """POST a message, and return the whole response; a header of None is left out."""
    return await post_bytes(url, json.dumps(message).encode(), **_with(headers(message), more))


async def post_bytes(url: str, body: bytes, **chosen: str) -> Answer:
    """POST a body as it stands, with these headers and no others."""
    return await wire.request(url, "POST", {name.replace("_", "-"): value for name, value in chosen.items()}, body)


def open_post(url: str, message: dict[str, Any], **more: str | None) -> Any:
    """POST a message and read the response event by event (`async with`); leaving closes it."""
    return wire.open_stream(url, "POST", _with(headers(message), more), json.dumps(message).encode())


def _with(chosen: dict[str, str], more: Mapping[str, str | None]) -> dict[str, str]:
    changed = {**chosen, **{name.replace("_", "-"): value for name, value in more.items()}}
    return {name: value for name, value in changed.items() if value is not None}


def assert_refused(answer: Answer, status: int, code: int, request_id: int | str | None) -> None:
    """Check that an answer is a JSON-RPC error, and for whom."""
    assert (answer.status, answer.headers["content-type"]) == (status, "application/json"), answer
    assert (answer.json["jsonrpc"], answer.json["id"], answer.json["error"]["code"]) == ("2.0", request_id, code)
    assert type(answer.json["id"]) is type(request_id)
    assert answer.json["error"]["message"]
