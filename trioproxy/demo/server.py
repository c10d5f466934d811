"""The protocol: lines from the client in, messages for the client out.

A `Server` is driven by `__main__` or by a test, which hand it each line and the time, and write what it returns; there
is no pipe here, and no clock.  It is dual-era (2026-07-28, Versioning §Backward Compatibility): "A request carrying modern
per-request `_meta` is served statelessly according to this revision.  An `initialize` request selects legacy
semantics, scoped to the stdio process."  Both may happen in one process.
"""

from __future__ import annotations

import json
import sys

from .calls import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    LEGACY_RESOURCE_NOT_FOUND,
    LEGACY_REVISIONS,
    LOG_LEVELS,
    METHOD_NOT_FOUND,
    MODERN_REVISION,
    PARSE_ERROR,
    UNSUPPORTED_PROTOCOL_VERSION,
    Call,
    EarlyResult,
    ProtocolError,
    Question,
    failure,
)
from .offers import INSTRUCTIONS, Offers, fit_arguments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .calls import Json, RequestId, Steps

SERVER_INFO = {"name": "trioproxy-demo", "version": "1.0.0"}
CAPABILITIES: Json = {
    "tools": {"listChanged": True},
    "resources": {"subscribe": True, "listChanged": True},
    "prompts": {},
    "completions": {},
    "logging": {},
}

# Keys of `_meta`.
PROTOCOL_VERSION = "io.modelcontextprotocol/protocolVersion"
CLIENT_CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
LOG_LEVEL = "io.modelcontextprotocol/logLevel"
SERVER_INFO_KEY = "io.modelcontextprotocol/serverInfo"
SUBSCRIPTION_ID = "io.modelcontextprotocol/subscriptionId"

# The kinds of change, as the filter of `subscriptions/listen` names them, and how each is told.  Prompts never change
# here: who wants to hear of that finds the kind missing in the acknowledgment.
CHANGES = {
    "toolsListChanged": "notifications/tools/list_changed",
    "resourcesListChanged": "notifications/resources/list_changed",
    "resourceSubscriptions": "notifications/resources/updated",
}

FOREVER = float("inf")


class Server:
    """One process's worth of server: its legacy session if there is one, and the calls in flight of both eras."""

    def __init__(self) -> None:
        self.now = 0.0
        self.outbox: list[Json] = []
        self.offers = Offers(self.publish)
        self.calls: dict[RequestId, Call] = {}
        # The legacy session.  It has begun when it has a revision.
        self.revision = ""
        self.capabilities: Json = {}
        # "If no `logging/setLevel` request has been sent from the client, the server MAY decide."
        self.log_level = "info"
        self.subscriptions: set[str] = set()
        self.questions: dict[int, Call] = {}
        self.questions_sent = 0
        # What each `subscriptions/listen` in flight listens for.
        self.listening: dict[RequestId, Json] = {}

    # What the driver calls.

    def receive(self, line: bytes, now: float) -> list[Json]:
        """Take one line from the client, and return the messages to send.

        Args:
          now: seconds on any clock that never goes back.
        """
        self.now = now
        try:
            message = json.loads(line.decode())
        except (ValueError, RecursionError) as error:
            self.send_error(None, PARSE_ERROR, f"Not JSON: {error}")
        else:
            if isinstance(message, list) and message and self.revision == "2025-03-26":
                # The only revision with batches.  Each member is answered on a line of its own: JSON-RPC 2.0 §6 only
                # recommends ("SHOULD") to gather the answers in an array, and this way the quick don't wait for the slow.
                for member in message:
                    self.sort(member)
            else:
                self.sort(message)
        return self.take_outbox()

    def wake(self, now: float) -> list[Json]:
        """Let every call go on that has waited long enough, and return the messages to send."""
        self.now = now
        for call in sorted(self.calls.values(), key=lambda call: call.due):
            if call.due <= now:
                self.advance(call)
        return self.take_outbox()

    def seconds_to_wait(self, now: float) -> float | None:
        """Return how long until `wake` has something to do, or None if nothing waits for a time."""
        due = min((call.due for call in self.calls.values()), default=FOREVER)
        return None if due == FOREVER else max(0.0, due - now)

    def take_outbox(self) -> list[Json]:
        # Emptied in place: every call holds on to this very list.
        messages = self.outbox[:]
        self.outbox.clear()
        return messages

    # Each message is a request, a notification or a response.

    def sort(self, message: object) -> None:
        match message:
            case {"jsonrpc": "2.0", "method": str(method), "id": request_id} if is_request_id(request_id):
                self.begin(request_id, method, message.get("params", {}))
            case {"jsonrpc": "2.0", "method": str(method)} if "id" not in message:
                # `initialized`, `progress` and `roots/list_changed` oblige us to nothing.
                if method == "notifications/cancelled":
                    self.cancel(message.get("params"))
            case {"jsonrpc": "2.0", "id": question_id} if "result" in message or "error" in message:
                self.take_answer(question_id, message)
            case {"id": request_id} if is_request_id(request_id):
                self.send_error(request_id, INVALID_REQUEST, "Not a JSON-RPC 2.0 message")
            case _:
                self.send_error(None, INVALID_REQUEST, "Not a JSON-RPC 2.0 message")

    def begin(self, request_id: RequestId, method: str, params: object) -> None:
        if request_id in self.calls:
            self.send_error(request_id, INVALID_REQUEST, "A request with this id is still in flight")
        elif not isinstance(params, dict) or not isinstance(params.get("_meta", {}), dict):
            self.send_error(request_id, INVALID_PARAMS, "params and params._meta must be objects")
        else:
            call = Call(request_id, method, params, self.outbox.append)
            call.steps = self.serve(call)
            self.calls[request_id] = call
            self.advance(call)

    def cancel(self, params: object) -> None:
        """End a call without an answer; what isn't in flight (any more) "MAY be ignored"."""
        match params:
            case {"requestId": request_id} if is_request_id(request_id) and request_id in self.calls:
                call = self.calls.pop(request_id)
                if call.question_id is not None:
                    # Nobody will want the answer.
                    del self.questions[call.question_id]
                    self.send("notifications/cancelled", {"requestId": call.question_id})
                if call.steps is not None:
                    call.steps.close()

    def take_answer(self, question_id: object, response: Json) -> None:
        """Resume the call whose question is answered; an answer to anything else comes too late."""
        if not isinstance(question_id, int) or question_id not in self.questions:
            return
        call = self.questions.pop(question_id)
        call.question_id = None
        match response:
            case {"result": {} as result}:
                self.advance(call, result)
            case {"error": {"message": str(message)}}:
                self.advance(call, failure(f"The client could not answer: {message}"))
            case _:
                self.advance(call, failure("The client's answer has neither result nor error."))

    # A call goes from one wait to the next until it is answered.

    def advance(self, call: Call, answer: Json | Exception | None = None) -> None:
        """Run a call's handler up to its next wait, or to its end.

        This is the boundary at which one call may fail without the others.
        """
        assert call.steps is not None
        try:
            if isinstance(answer, Exception):
                step = call.steps.throw(answer)
            elif answer is not None:
                step = call.steps.send(answer)
            else:
                step = next(call.steps)
        except StopIteration as end:
            self.finish(call, end.value)
        except EarlyResult as end:
            self.finish(call, end.result)
        except ProtocolError as refusal:
            del self.calls[call.request_id]
            self.outbox.append({"jsonrpc": "2.0", "id": call.request_id, "error": refusal.error})
        except Exception as error:
            sys.excepthook(type(error), error, error.__traceback__)
            del self.calls[call.request_id]
            self.send_error(call.request_id, INTERNAL_ERROR, "Internal error")
        else:
            if isinstance(step, Question):
                self.questions_sent += 1
                call.due, call.question_id = FOREVER, self.questions_sent
                self.questions[call.question_id] = call
                self.send(step.method, step.params, call.question_id)
            else:
                call.due = self.now + step

    def finish(self, call: Call, result: Json) -> None:
        del self.calls[call.request_id]
        if call.is_modern:
            result = {"resultType": "complete", **result, "_meta": {SERVER_INFO_KEY: SERVER_INFO}}
            if call.method in CACHEABLE and result["resultType"] == "complete":
                # A touch or a leaf may come at any moment, to this process and to no other.
                result |= {"ttlMs": 0, "cacheScope": "private"}
        self.outbox.append({"jsonrpc": "2.0", "id": call.request_id, "result": result})

    def send(self, method: str, params: Json, request_id: int | None = None) -> None:
        """Send a notification, or with a `request_id` a request."""
        head: Json = {"jsonrpc": "2.0"} if request_id is None else {"jsonrpc": "2.0", "id": request_id}
        self.outbox.append(head | {"method": method} | ({"params": params} if params else {}))

    def send_error(self, request_id: RequestId | None, code: int, message: str) -> None:
        self.outbox.append({"jsonrpc": "2.0", "id": request_id, "error": {"code": code, "message": message}})

    def serve(self, call: Call) -> Steps[Json]:
        """The handler of handlers: find out the era, and with it whose method this is."""
        if PROTOCOL_VERSION in call.meta:
            open_envelope(call)
            handler = MODERN_METHODS.get(call.method)
        else:
            if not self.revision and call.method not in ("initialize", "ping"):
                # A modern client that forgot its `_meta` MUST be told so with this code; a legacy one with any.
                raise ProtocolError(INVALID_PARAMS, f"Neither initialized, nor is there params._meta[{PROTOCOL_VERSION!r}]")
            call.revision, call.capabilities, call.log_level = self.revision, self.capabilities, self.log_level
            handler = LEGACY_METHODS.get(call.method)
        if handler is None:
            raise ProtocolError(METHOD_NOT_FOUND, f"Unknown method: {call.method}")
        outcome = handler(self, call)
        return outcome if isinstance(outcome, dict) else (yield from outcome)

    # The methods of both eras.

    def list_tools(self, call: Call) -> Json:
        return whole_list(call, "tools", list(self.offers.definitions.values()))

    def call_tool(self, call: Call) -> Json | Steps[Json]:
        name = call.text_param("name")
        if name not in self.offers.definitions:
            raise ProtocolError(INVALID_PARAMS, f"Unknown tool: {name}")
        try:
            arguments = fit_arguments(self.offers.definitions[name]["inputSchema"], call.object_param("arguments"))
        except ValueError as misfit:
            # Since 2025-11-25 this is for the model to correct, before it was an error of the protocol.
            if call.revision < "2025-11-25":
                raise ProtocolError(INVALID_PARAMS, str(misfit)) from None
            raise failure(str(misfit)) from None
        if call.is_modern:
            call.recall_answers()
        return self.offers.run_tool(call, name, arguments)

    def list_resources(self, call: Call) -> Json:
        return whole_list(call, "resources", self.offers.list_resources())

    def list_resource_templates(self, call: Call) -> Json:
        return whole_list(call, "resourceTemplates", self.offers.list_resource_templates())

    def read_resource(self, call: Call) -> Json:
        uri = call.text_param("uri")
        return {"contents": [{"uri": uri, "mimeType": "text/plain", "text": self.find_resource(call, uri)}]}

    def find_resource(self, call: Call, uri: str) -> str:
        text = self.offers.read_resource(uri)
        if text is None:
            code = INVALID_PARAMS if call.is_modern else LEGACY_RESOURCE_NOT_FOUND
            raise ProtocolError(code, "Resource not found", {"uri": uri})
        return text

    def list_prompts(self, call: Call) -> Json:
        return whole_list(call, "prompts", self.offers.list_prompts())

    def get_prompt(self, call: Call) -> Json:
        return self.offers.get_prompt(call.text_param("name"), call.object_param("arguments"))

    def complete(self, call: Call) -> Json:
        values = self.offers.suggest(call.object_param("ref"), call.object_param("argument"))
        return {"completion": {"values": values, "total": len(values), "hasMore": False}}

    # The legacy session.

    def initialize(self, call: Call) -> Json:
        if self.revision:
            raise ProtocolError(INVALID_REQUEST, "This session is initialized already")
        requested = call.text_param("protocolVersion")
        self.capabilities = call.object_param("capabilities")
        # "Otherwise, the server MUST respond with another protocol version it supports.  This SHOULD be the latest."
        self.revision = requested if requested in LEGACY_REVISIONS else LEGACY_REVISIONS[-1]
        return {
            "protocolVersion": self.revision,
            "capabilities": CAPABILITIES,
            "serverInfo": SERVER_INFO,
            "instructions": INSTRUCTIONS,
        }

    def ping(self, call: Call) -> Json:
        return {}

    def set_level(self, call: Call) -> Json:
        self.log_level = check_level(call.text_param("level"))
        return {}

    def subscribe(self, call: Call) -> Json:
        uri = call.text_param("uri")
        self.find_resource(call, uri)
        self.subscriptions.add(uri)
        return {}

    def unsubscribe(self, call: Call) -> Json:
        self.subscriptions.discard(call.text_param("uri"))
        return {}

    # The modern era.

    def discover(self, call: Call) -> Json:
        return {"supportedVersions": [MODERN_REVISION], "capabilities": CAPABILITIES, "instructions": INSTRUCTIONS}

    def listen(self, call: Call) -> Steps[Json]:
        """Keep a subscription for exactly as long as the call is in flight.

        It ends when the client cancels it, or with the process, whose end needs no announcement: either the client
        has closed our input, and left, or a signal asks us to be quick.
        """
        wanted = call.object_param("notifications")
        honored: Json = {}
        for kind in CHANGES:
            match kind, wanted.get(kind):
                case "resourceSubscriptions", [*uris]:
                    honored[kind] = [uri for uri in uris if isinstance(uri, str) and self.offers.read_resource(uri)]
                case "toolsListChanged" | "resourcesListChanged", True:
                    honored[kind] = True
        acknowledgment = {"_meta": {SUBSCRIPTION_ID: call.request_id}, "notifications": honored}
        self.send("notifications/subscriptions/acknowledged", acknowledgment)
        self.listening[call.request_id] = honored
        try:
            while True:
                yield FOREVER
        finally:
            del self.listening[call.request_id]

    # Changes reach both eras.

    def publish(self, kind: str, uri: str | None) -> None:
        """Tell everybody who wants to know of a change of this `kind`, to the resource `uri` if it is about one."""
        params = {} if uri is None else {"uri": uri}
        if self.revision and (uri is None or uri in self.subscriptions):
            self.send(CHANGES[kind], params)
        for subscription_id, honored in self.listening.items():
            if kind in honored and (uri is None or uri in honored[kind]):
                self.send(CHANGES[kind], {"_meta": {SUBSCRIPTION_ID: subscription_id}, **params})


def is_request_id(value: object) -> bool:
    # To Python True equals 1, and would name the same request.
    return isinstance(value, str | int) and not isinstance(value, bool)


def check_level(level: Any) -> str:
    """Return `level` if it is one.

    Raises:
      ProtocolError: it isn't.
    """
    if level not in LOG_LEVELS:
        raise ProtocolError(INVALID_PARAMS, f"A log level is one of {', '.join(LOG_LEVELS)}")
    return str(level)


def open_envelope(call: Call) -> None:
    """Take from a modern request's `_meta` what an earlier era took from the session.

    Raises:
      ProtocolError: the envelope is incomplete, or of a revision that we don't speak.
    """
    version, capabilities = call.meta[PROTOCOL_VERSION], call.meta.get(CLIENT_CAPABILITIES)
    if not isinstance(version, str):
        raise ProtocolError(INVALID_PARAMS, f"params._meta[{PROTOCOL_VERSION!r}] must be a string")
    if not isinstance(capabilities, dict):
        raise ProtocolError(INVALID_PARAMS, f"params._meta[{CLIENT_CAPABILITIES!r}] must be an object")
    if version != MODERN_REVISION:
        data = {"supported": [MODERN_REVISION], "requested": version}
        raise ProtocolError(UNSUPPORTED_PROTOCOL_VERSION, "Unsupported protocol version", data)
    call.revision, call.capabilities = version, capabilities
    if LOG_LEVEL in call.meta:
        call.log_level = check_level(call.meta[LOG_LEVEL])


def whole_list(call: Call, key: str, items: list[Json]) -> Json:
    """Return a list in its only page.

    Raises:
      ProtocolError: the client asks for the next page; as we give out no cursors, "invalid cursors SHOULD result in" it.
    """
    if "cursor" in call.params:
        raise ProtocolError(INVALID_PARAMS, "Unknown cursor: these lists have one page")
    return {key: items}


BOTH_ERAS: dict[str, Callable[[Server, Call], Json | Steps[Json]]] = {
    "tools/list": Server.list_tools,
    "tools/call": Server.call_tool,
    "resources/list": Server.list_resources,
    "resources/templates/list": Server.list_resource_templates,
    "resources/read": Server.read_resource,
    "prompts/list": Server.list_prompts,
    "prompts/get": Server.get_prompt,
    "completion/complete": Server.complete,
}
LEGACY_METHODS = BOTH_ERAS | {
    "initialize": Server.initialize,
    "ping": Server.ping,
    "logging/setLevel": Server.set_level,
    "resources/subscribe": Server.subscribe,
    "resources/unsubscribe": Server.unsubscribe,
}
MODERN_METHODS = BOTH_ERAS | {
    "server/discover": Server.discover,
    "subscriptions/listen": Server.listen,
}

# "Servers MUST include caching hints on results ... returned by the following operations" (2026-07-28, Caching).
CACHEABLE = {
    "server/discover",
    "tools/list",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
    "resources/read",
}
