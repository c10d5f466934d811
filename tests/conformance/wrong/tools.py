"""What the server offers: a few tools, for either era, and the answers to requests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import trio

Message = dict[str, Any]
MODERN = "2026-07-28"
LEGACY = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
SERVER_INFO = {"name": "wrong", "version": "1"}
RESERVED = "io.modelcontextprotocol/"


class Refused(Exception):
    """A request that gets an error, and perhaps an HTTP status of its own."""

    def __init__(self, code: Any, message: str = "no", data: Any = None, status: int = 200) -> None:
        super().__init__(message)
        self.status = status
        self.error = {"code": code, "message": message} | ({} if data is None else {"data": data})


@dataclass
class Caller:
    """Who calls, and how to reach them.

    Args:
      tell: sends a notification for this call.
      ask: sends a request, and waits for the result (handshake revisions).
    """

    revision: str
    capabilities: Message
    tell: Callable[[Message], Awaitable[None]]
    ask: Callable[[str, Message], Awaitable[Message]] | None = None


def _schema(required: tuple[str, ...] = (), **properties: Message) -> Message:
    return {"type": "object", "properties": properties, "required": list(required)}


_TOOLS: dict[str, Message] = {
    "echo": _schema(("text",), text={"type": "string"}),
    "count": _schema(("to",), to={"type": "integer"}, delay_ms={"type": "integer"}),
    "ask_name": _schema(),
    "touch": _schema(),
    "grow": _schema(),
    "locate": _schema(
        ("region",),
        region={"type": "string", "x-mcp-header": "Region"},
        limit={"type": "integer", "x-mcp-header": "Limit"},
    ),
}
QUESTION = {"message": "Name?", "requestedSchema": {"type": "object", "properties": {"name": {"type": "string"}}}}


@dataclass
class Offers:
    """The tools, and whom to tell of changes."""

    faults: set[str]
    publish: list[Callable[[str, Message], Awaitable[None]]] = field(default_factory=list)
    unanswered: int = 0
    gives_up: bool = False
    """Whether the tool that asks says in its own words that nobody can be asked, where an error should."""

    def wrong(self, fault: str) -> bool:
        return fault in self.faults

    def list_tools(self) -> list[Message]:
        schemas = dict(_TOOLS)
        if self.wrong("param-headers.names-in-schemas-are-names-of-headers"):
            schemas["other"] = _schema(x={"type": "string", "x-mcp-header": "not a token"})
        if self.wrong("param-headers.names-in-schemas-are-unique"):
            schemas["other"] = _schema(
                x={"type": "string", "x-mcp-header": "Same"}, y={"type": "string", "x-mcp-header": "same"}
            )
        if self.wrong("param-headers.only-primitive-arguments-are-repeated"):
            schemas["other"] = _schema(x={"type": "number", "x-mcp-header": "Number"})
        if self.wrong("param-headers.only-reachable-arguments-are-repeated"):
            schemas["other"] = _schema(x={"type": "array", "items": {"type": "string", "x-mcp-header": "Item"}})
        return [{"name": name, "inputSchema": schema} for name, schema in schemas.items()]

    async def answer(self, caller: Caller, message: Message) -> Message:
        """Return the result of a request.

        Raises:
          Refused: it has none.
        """
        method, params = message["method"], message.get("params") or {}
        if method == "tools/list":
            if self.unanswered > 2 and self.wrong("mrtr.who-is-asked-need-not-answer"):
                raise Refused(-32603, "still waiting for answers")
            return {"tools": self.list_tools()}
        if method == "prompts/list":
            if self.wrong("lifecycle.capabilities-that-are-declared-are-there"):
                raise Refused(-32601)
            return {"prompts": []}
        if method == "prompts/get":
            raise Refused(-32602, "no such prompt")
        if method == "ping" and caller.revision != MODERN:
            return {"pong": True} if self.wrong("ping.a-ping-is-answered-promptly-with-nothing") else {}
        if method == "tools/call":
            return await self._call(caller, params)
        status = 404 if caller.revision == MODERN else 200
        if self.wrong("envelope.an-unknown-method-is-refused-with-404"):
            status = 200
        raise Refused(
            "oops" if self.wrong("messages.errors-have-an-integer-code-and-a-message") else -32601, "?", None, status
        )

    async def _call(self, caller: Caller, params: Message) -> Message:
        name, arguments = params.get("name"), params.get("arguments") or {}
        text = ""
        if name == "echo":
            text = str(arguments.get("text"))
        elif name == "count":
            await self._count(caller, params, arguments)
        elif name == "ask_name":
            return await self._ask_name(caller, params)
        elif name == "touch":
            await self._publish("notifications/resources/updated", {"uri": "demo://counter"})
        elif name == "grow":
            await self._publish("notifications/tools/list_changed", {})
        elif name != "locate":
            if self.wrong("envelope.protocol-errors-are-errors"):
                return _text("no such tool")
            code = -32602
            if self.wrong("envelope.codes-of-the-past-are-not-used"):
                code = -32002
            if self.wrong("envelope.codes-of-implementations-are-not-used"):
                code = -32001
            raise Refused(code, "no such tool")
        return _text(text)

    async def _count(self, caller: Caller, params: Message, arguments: Message) -> None:
        token = (params.get("_meta") or {}).get("progressToken")
        if token is None and self.wrong("progress.no-progress-without-a-token"):
            token = "nobody's"
        elif token is not None and self.wrong("progress.progress-refers-to-the-token-of-its-request"):
            token = f"{token}?"
        if caller.revision == MODERN and self.wrong("envelope.a-server-cancels-nothing"):
            cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "?"}}
            await caller.tell(cancelled)
        for number in range(1, int(arguments.get("to", 1)) + 1):
            await trio.sleep(arguments.get("delay_ms", 1) / 1000)
            if token is not None:
                await caller.tell(self.progress(token, number))

    def progress(self, token: Any, number: int) -> Message:
        params: Message = {"progressToken": token, "progress": number, "message": f"at {number}"}
        if self.wrong("progress.progress-increases"):
            params["progress"] = 1
        if self.wrong("progress.messages-of-progress-are-text"):
            params["message"] = ""
        message: Message = {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}
        if self.wrong("messages.notifications-have-no-id"):
            message["id"] = number + 1000
        return message

    async def _publish(self, method: str, params: Message) -> None:
        for publish in list(self.publish):
            await publish(method, params)

    async def _ask_name(self, caller: Caller, params: Message) -> Message:
        if caller.revision == MODERN:
            return self._require_name(caller, params)
        assert caller.ask is not None
        if "elicitation" not in caller.capabilities and not self.wrong("lifecycle.only-declared-capabilities-are-used"):
            raise Refused(-32602, "nobody to ask")
        answer = await caller.ask("elicitation/create", QUESTION)
        return _text(str(answer.get("action")))

    def _require_name(self, caller: Caller, params: Message) -> Message:
        """The same for a modern client: what is required, or the result once it is there."""
        if "elicitation" not in caller.capabilities:
            if self.gives_up:
                return {**_text("nobody to ask"), "isError": True}
            if self.wrong("envelope.a-capability-that-is-missing-is-named"):
                raise Refused(-32021, status=400)
            if not self.wrong("mrtr.only-what-is-declared-is-asked"):
                raise Refused(-32021, "missing", {"requiredCapabilities": {"elicitation": {}}}, 400)
        answers, state = params.get("inputResponses"), params.get("requestState")
        if state is not None and self.wrong("mrtr.a-state-that-nobody-gave-does-no-harm"):
            return _text("as you say")
        if state not in (None, "opaque"):
            raise Refused(-32602, "no such state")
        if answers and "name" not in answers and self.wrong("mrtr.an-answer-too-many-is-ignored"):
            raise Refused(-32602)
        if answers is not None and set(answers) - {"name"} and self.wrong("mrtr.an-answer-too-many-is-ignored"):
            raise Refused(-32602, "what is that?")
        if answers == {} and self.wrong("mrtr.an-answer-that-is-missing-is-asked-for-again"):
            raise Refused(-32602, "no answer")
        if answers and "name" in answers and not self.wrong("mrtr.an-answer-completes-the-call"):
            fine = isinstance(answers["name"], dict) or self.wrong("mrtr.an-answer-that-is-none-is-refused")
            if not fine:
                raise Refused(-32602, "not an answer")
            self.unanswered -= 1
            return _text("Hello.")
        self.unanswered += 1
        method = "elicitation/create"
        if self.wrong("mrtr.questions-are-of-three-kinds"):
            method = "time/tell"
        result = {
            "resultType": "input_required",
            "inputRequests": {"name": {"method": method, "params": QUESTION}},
            "requestState": "opaque",
        }
        if self.wrong("mrtr.what-is-required-is-said"):
            del result["inputRequests"], result["requestState"]
        return result


def _text(text: str) -> Message:
    return {"content": [{"type": "text", "text": text}]}


def finish(offers: Offers, message: Message, result: Message | None, refused: Refused | None) -> Message:
    """Make a response of a result or a refusal."""
    response: Message = {"jsonrpc": "2.0", "id": message.get("id")}
    if refused is not None:
        response["error"] = refused.error
        if offers.wrong("messages.errors-carry-the-id-of-their-request"):
            response["id"] = None
    else:
        response["result"] = result
    if offers.wrong("messages.messages-are-json-rpc") and message.get("method") == "tools/list":
        del response["jsonrpc"]
    stringly = offers.wrong("messages.responses-carry-the-id-of-their-request")
    if stringly and message.get("method") == "tools/list":
        response["id"] = str(response["id"])
    if offers.wrong("messages.a-response-has-a-result-or-an-error") and message.get("method") == "tools/list":
        response["error"] = {"code": 0, "message": "both"}
    if offers.wrong("messages.messages-are-utf-8"):
        response = _without_accents(response)
    return response


def _without_accents(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_accents(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_without_accents(one) for one in value]
    return value.encode("ascii", "replace").decode() if isinstance(value, str) else value
