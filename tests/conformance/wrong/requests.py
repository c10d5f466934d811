"""The revision without a handshake: each POST is looked at by itself."""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any

import trio

from .http import Exchange
from .sessions import answer
from .tools import MODERN, QUESTION, RESERVED, SERVER_INFO, Caller, Message, Refused, finish

if TYPE_CHECKING:
    from .world import World

_NAMED_BY = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_REPEATED = {"region": "mcp-param-region", "limit": "mcp-param-limit"}


async def post(world: World, x: Exchange) -> None:
    """POST of a modern client."""
    if world.wrong("posts.the-endpoint-takes-post"):
        await x.answer(405, None, {"allow": "GET"})
        return
    try:
        message = json.loads(x.body)
    except ValueError:
        message = None
    if not isinstance(message, dict):
        status = 200 if world.wrong("posts.what-cannot-be-accepted-gets-an-http-error") else 400
        await x.answer(status, {"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "?"}})
    elif "method" not in message:
        await x.answer(400, {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "no responses here"}})
    elif "id" not in message:
        answered = "no-such-thing" in message["method"] and world.wrong("messages.notifications-get-no-response")
        wrong = answered or world.wrong("posts.a-notification-is-answered-with-202")
        await x.answer(200 if wrong else 202, {"jsonrpc": "2.0", "id": 0, "result": {}} if wrong else None)
    else:
        try:
            _look_at_connection(world, x, message)
            _look_at_body(world, x, message)
            _look_at_headers(world, x, message)
            await _serve(world, x, message)
        except Refused as refused:
            await x.answer(refused.status, finish(world.offers, message, None, refused))


def _look_at_connection(world: World, x: Exchange, message: Message) -> None:
    if world.wrong("envelope.connections-do-not-matter"):
        first = world.memory.setdefault("connection", x.memory)
        if first is not x.memory:
            raise Refused(-32600, "another connection", None, 400)
    if world.wrong("envelope.each-request-stands-alone"):
        given = (message.get("params") or {}).get("_meta") or x.memory.get("meta")
        if given is not None:
            message.setdefault("params", {})["_meta"] = x.memory.setdefault("meta", given)


def _look_at_body(world: World, x: Exchange, message: Message) -> None:
    meta = (message.get("params") or {}).get("_meta")
    if message["method"] == "initialize" and not isinstance(meta, dict):
        if world.wrong("envelope.initialize-is-answered-with-the-versions-that-are-supported"):
            raise Refused(-32601, "no such method", None, 404)
        raise Refused(-32022, "unsupported", {"supported": [MODERN]}, 400)
    for name in ("protocolVersion", "clientCapabilities"):
        if not isinstance(meta, dict) or RESERVED + name not in meta:
            if isinstance(meta, dict) and world.wrong("envelope.a-missing-field-is-refused"):
                continue
            raise Refused(-32602, f"no {name}", None, 400)


def _look_at_headers(world: World, x: Exchange, message: Message) -> None:
    params = message["params"]
    version, header = params["_meta"].get(RESERVED + "protocolVersion", MODERN), x.headers.get("mcp-protocol-version")
    versions = [value for name, value in x.all_headers if name == "mcp-protocol-version"]
    if len(set(versions)) > 1 and not world.wrong("headers.a-version-that-is-sent-twice-is-refused"):
        raise _mismatch("versions")
    if len(versions) == 1 and header != version and not world.wrong("headers.a-version-that-differs-is-refused"):
        raise _mismatch("version")
    if header is None and not world.wrong("headers.a-missing-version-is-refused"):
        raise _mismatch("no version")
    if version != MODERN:
        if world.wrong("envelope.an-unsupported-version-is-refused-with-those-that-are"):
            raise Refused(-32022, "unsupported", None, 400)
        raise Refused(-32022, "unsupported", {"supported": [MODERN], "requested": version}, 400)
    shouted = world.wrong("headers.names-of-headers-have-no-case") and "mcp-method" not in x.raw_names
    method = None if shouted else x.headers.get("mcp-method")
    _compare(world, "method", method, message["method"])
    key = _NAMED_BY.get(message["method"])
    if key and key in params:
        name = x.headers.get("mcp-name")
        if not world.wrong("headers.an-encoded-name-is-decoded"):
            loud = world.wrong("headers.the-marks-of-an-encoded-name-are-exact")
            name = _decode(name.replace("=?BASE64?", "=?base64?") if name and loud else name)
        _compare(world, "name", name, params[key])
    if params.get("name") == "locate":
        for argument, name in _REPEATED.items():
            _compare_argument(world, x.headers.get(name), (params.get("arguments") or {}).get(argument))


def _compare(world: World, what: str, header: str | None, value: Any) -> None:
    if header is None:
        if not world.wrong(f"headers.a-missing-{what}-is-refused"):
            raise _mismatch(f"no {what}")
    elif header != value and not world.wrong(f"headers.a-{what}-that-differs-is-refused"):
        raise _mismatch(what)


def _compare_argument(world: World, header: str | None, value: Any) -> None:
    if header is None:
        needed = value is not None or world.wrong("param-headers.what-is-not-there-needs-no-header")
        if needed and not world.wrong("param-headers.a-missing-value-is-refused"):
            raise _mismatch("no header")
        return
    decoded = header if world.wrong("param-headers.an-encoded-value-is-decoded") else _decode(header)
    if decoded is None or not decoded.isprintable() or (decoded == header and not header.isascii()):
        if world.wrong("param-headers.invalid-characters-are-refused"):
            return
        raise _mismatch("characters")
    same = decoded == str(value)
    if isinstance(value, int) and not world.wrong("param-headers.integers-are-compared-as-numbers"):
        try:
            same = float(decoded) == value
        except ValueError:
            same = False
    if not same and not world.wrong("param-headers.a-value-that-differs-is-refused"):
        raise _mismatch("value")


def _decode(value: str | None) -> str | None:
    if value is None or not (value.startswith("=?base64?") and value.endswith("?=")):
        return value
    try:
        return base64.b64decode(value[9:-2], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def _mismatch(what: str) -> Refused:
    return Refused(-32020, f"mismatch: {what}", None, 400)


async def _serve(world: World, x: Exchange, message: Message) -> None:
    method, params = message["method"], message["params"]
    capabilities = params["_meta"].get(RESERVED + "clientCapabilities") or {}
    streaming = method == "tools/call" and params.get("name") == "count"
    asks_outright = params.get("name") == "ask_name" and world.wrong("envelope.a-server-makes-no-requests")
    if method == "subscriptions/listen":
        await _listen(world, x, message)
        return
    headers = {"x-accel-buffering": "no"}
    if world.wrong("envelope.streams-are-not-buffered"):
        headers = {}
    if streaming or asks_outright:
        await x.open_stream(headers)

    async def tell(notification: Message) -> None:
        await x.event(notification)
        if world.wrong("posts.a-stream-carries-what-relates-to-its-request"):
            for other in world.modern_streams - {x}:
                await other.event(notification)
        if world.wrong("subscriptions.calls-are-not-reported-on-a-subscription"):
            for publish in world.offers.publish:
                await publish(notification["method"], notification["params"])

    if asks_outright:
        await tell({"jsonrpc": "2.0", "id": "early", "method": "elicitation/create", "params": QUESTION})
    if streaming:
        world.modern_streams.add(x)
    try:
        response = await _answer(world, Caller(MODERN, capabilities, tell), message)
    finally:
        world.modern_streams.discard(x)
    status = response.pop("_status", 200)
    extra = {"mcp-session-id": "unasked"} if world.wrong("envelope.what-only-older-clients-send-is-ignored") else {}
    if streaming or asks_outright:
        await _last_event(world, x, message, response)
    elif world.wrong("posts.a-request-is-answered-with-json-or-a-stream"):
        await x.answer(status, json.dumps(response).encode(), {"content-type": "text/plain"})
    elif world.wrong("mrtr.keys-of-questions-are-unique") and "inputRequests" in (response.get("result") or {}):
        body = json.dumps(response).replace('"inputRequests": {', '"inputRequests": {"name": {}, ')
        await x.answer(status, body.encode(), {"content-type": "application/json"})
    else:
        await x.answer(status, response, extra)


async def _last_event(world: World, x: Exchange, message: Message, response: Message) -> None:
    if not world.wrong("posts.a-stream-brings-the-response"):
        await x.event(response)
    token = ((message.get("params") or {}).get("_meta") or {}).get("progressToken")
    if token is not None and world.wrong("progress.progress-stops-with-the-response"):
        await x.event(world.offers.progress(token, 999))
    if world.wrong("posts.a-stream-ends-with-the-response"):
        await trio.sleep_forever()
    await x.end_stream()


async def _answer(world: World, caller: Caller, message: Message) -> Message:
    if message["method"] == "server/discover":
        result = {
            "supportedVersions": [MODERN],
            "capabilities": {"tools": {}, "prompts": {}, "extensions": {"com.example/thing": {}}},
            "ttlMs": 0,
            "cacheScope": "private",
        }
        if world.wrong("discovery.a-server-can-be-discovered"):
            result["supportedVersions"] = MODERN
        if world.wrong("discovery.extensions-have-a-prefix"):
            result["capabilities"] = {"tools": {}, "extensions": {"thing": {}}}
        response = finish(world.offers, message, result, None)
    else:
        response = await answer(world, caller, message)
    if "result" in response:
        result = response["result"]
        result.setdefault("resultType", "complete")
        if world.wrong("envelope.only-three-methods-ask-for-input") and message["method"] == "tools/list":
            result["resultType"] = "input_required"
        if world.wrong("envelope.results-have-a-type"):
            del result["resultType"]
        if world.wrong("envelope.result-types-are-known"):
            result["resultType"] = "perhaps"
        unnamed = "discovery.a-server-names-itself" if message["method"] == "server/discover" else ""
        if not world.wrong(unnamed) and not world.wrong("envelope.results-name-the-server"):
            result["_meta"] = {RESERVED + "serverInfo": SERVER_INFO}
    return response


async def _listen(world: World, x: Exchange, message: Message) -> None:
    """A subscription, for as long as its connection lasts."""
    wanted = message["params"]["notifications"]
    subscription_id = message["id"]
    if world.wrong("subscriptions.a-subscription-is-known-by-the-id-of-its-request"):
        subscription_id = str(subscription_id)
    meta = {RESERVED + "subscriptionId": subscription_id}
    names = {
        "notifications/tools/list_changed": "toolsListChanged",
        "notifications/resources/updated": "resourceSubscriptions",
    }

    async def publish(method: str, params: Message) -> None:
        heard = bool(wanted.get(names.get(method, ""))) and not world.wrong("subscriptions.a-change-is-heard-of")
        if heard or (method in names and world.wrong("subscriptions.nothing-is-heard-of-that-was-not-asked-for")):
            await x.event({"jsonrpc": "2.0", "method": method, "params": {**params, "_meta": meta}})
        elif method not in names:
            await x.event({"jsonrpc": "2.0", "method": method, "params": params})

    async def publish_while_there(method: str, params: Message) -> None:
        # A client that has left is noticed when there is next something to tell.
        try:
            await publish(method, params)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            world.offers.publish.remove(publish_while_there)

    await x.open_stream({"x-accel-buffering": "no"})
    if world.wrong("subscriptions.a-subscription-is-acknowledged-first"):
        await publish("notifications/tools/list_changed", {})
    granted = {name: value for name, value in wanted.items() if name in names.values()}
    acknowledged = {"_meta": meta, "notifications": granted}
    await x.event({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": acknowledged})
    world.offers.publish.append(publish_while_there)
    await trio.sleep_forever()
