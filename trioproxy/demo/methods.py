"""The methods that a client may call, in either era, and the notifications that follow from them.

A dual-era server (2026-07-28, Versioning §Backward Compatibility) decides request by request: "A request carrying modern
per-request `_meta` is served statelessly according to this revision.  An `initialize` request selects legacy semantics,
scoped to the stdio process."  Both may happen in one process.
"""

from __future__ import annotations

from .. import __version__
from .calls import (
    FOREVER,
    INVALID_PARAMS,
    INVALID_REQUEST,
    LEGACY_RESOURCE_NOT_FOUND,
    LEGACY_REVISIONS,
    LOG_LEVELS,
    METHOD_NOT_FOUND,
    MODERN_REVISION,
    UNSUPPORTED_PROTOCOL_VERSION,
    EarlyResult,
    ProtocolError,
    failure,
)
from .offers import INSTRUCTIONS, Offers, fit_arguments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .calls import Call, Json, RequestId, Steps

SERVER_INFO = {"name": "trioproxy-demo", "version": __version__}
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


class Methods:
    """The methods, with the state that they share: what is on offer, the legacy session, who listens.

    Args:
      send: takes each notification that belongs to no call.
    """

    def __init__(self, send: Callable[[Json], None]) -> None:
        self.send = send
        self.offers = Offers(self.publish)
        # The legacy session.  It has begun when it has a revision.
        self.revision = ""
        self.capabilities: Json = {}
        # "If no `logging/setLevel` request has been sent from the client, the server MAY decide."
        self.log_level = "info"
        self.subscriptions: set[str] = set()
        # What each `subscriptions/listen` in flight listens for.
        self.listening: dict[RequestId, Json] = {}

    def serve(self, call: Call) -> Steps[Json]:
        """Find out the era, and with it whose method this is; run that, and dress its result as the era demands.

        Raises:
          ProtocolError: the request can't be served.
        """
        if PROTOCOL_VERSION in call.meta:
            open_envelope(call)
            handler = MODERN_METHODS.get(call.method)
        else:
            if not self.revision and call.method not in ("initialize", "ping"):
                # A modern client that forgot its `_meta` MUST be told so with this code, a legacy one with any.
                raise ProtocolError(INVALID_PARAMS, f"Neither initialized nor with {PROTOCOL_VERSION!r} in params._meta")
            call.revision, call.capabilities, call.log_level = self.revision, self.capabilities, self.log_level
            handler = LEGACY_METHODS.get(call.method)
        if handler is None:
            raise ProtocolError(METHOD_NOT_FOUND, f"Unknown method: {call.method}")
        try:
            outcome = handler(self, call)
            result = outcome if isinstance(outcome, dict) else (yield from outcome)
        except EarlyResult as end:
            result = end.result
        if not call.is_modern:
            return result
        always: Json = {"resultType": "complete", "_meta": {SERVER_INFO_KEY: SERVER_INFO}}
        result = always | result
        if call.method in CACHEABLE:
            # A touch or a leaf may come at any moment, to this process and to no other.
            result |= {"ttlMs": 0, "cacheScope": "private"}
        return result

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
        self.notify("notifications/subscriptions/acknowledged", acknowledgment)
        self.listening[call.request_id] = honored
        try:
            while True:
                yield FOREVER
        finally:
            del self.listening[call.request_id]

    # Changes reach both eras.

    def notify(self, method: str, params: Json) -> None:
        self.send({"jsonrpc": "2.0", "method": method} | ({"params": params} if params else {}))

    def publish(self, kind: str, uri: str | None) -> None:
        """Tell everybody who wants to know of a change of this `kind`, to the resource `uri` if it is about one."""
        params = {} if uri is None else {"uri": uri}
        if self.revision and (uri is None or uri in self.subscriptions):
            self.notify(CHANGES[kind], params)
        for subscription_id, honored in self.listening.items():
            if kind in honored and (uri is None or uri in honored[kind]):
                self.notify(CHANGES[kind], {"_meta": {SUBSCRIPTION_ID: subscription_id}, **params})


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
      ProtocolError: the client asks for a next page, with a cursor that we can't have given.
    """
    if "cursor" in call.params:
        raise ProtocolError(INVALID_PARAMS, "Unknown cursor: these lists have one page")
    return {key: items}


BOTH_ERAS: dict[str, Callable[[Methods, Call], Json | Steps[Json]]] = {
    "tools/list": Methods.list_tools,
    "tools/call": Methods.call_tool,
    "resources/list": Methods.list_resources,
    "resources/templates/list": Methods.list_resource_templates,
    "resources/read": Methods.read_resource,
    "prompts/list": Methods.list_prompts,
    "prompts/get": Methods.get_prompt,
    "completion/complete": Methods.complete,
}
LEGACY_METHODS = BOTH_ERAS | {
    "initialize": Methods.initialize,
    "ping": Methods.ping,
    "logging/setLevel": Methods.set_level,
    "resources/subscribe": Methods.subscribe,
    "resources/unsubscribe": Methods.unsubscribe,
}
MODERN_METHODS = BOTH_ERAS | {
    "server/discover": Methods.discover,
    "subscriptions/listen": Methods.listen,
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
