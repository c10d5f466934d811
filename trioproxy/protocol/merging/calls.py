"""Each request of a client to the server that it is for.

    tools/call, prompts/get              whose tool or prompt it is, under the name that the server knows
    resources/read, …/(un)subscribe      whose resource or template the URI is of; else all are asked, in their order
    completion/complete                  whose prompt or template the reference names
    anything else                        all are asked, in their order, until one knows the method

The client's own ids and progress tokens serve: they are unique for the client, and so for each server.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ..errors import (
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    ChildError,
    InvalidParams,
    MethodNotFound,
    ParseError,
    TrioproxyError,
)
from ..messages import Notification, ProgressToken, Request, RequestId, Response, parse_error
from ..outbox import encode
from ..splice import Path, splice
from .catalogue import PROMPTS, RESOURCES, TEMPLATES, TOOLS, Catalogue, Kind
from .members import Member, describe_absence
from .names import matches
from .switchboard import Switchboard

_RESOURCE_NOT_FOUND: Final = -32002
_UNKNOWN: Final = (METHOD_NOT_FOUND, INVALID_PARAMS, _RESOURCE_NOT_FOUND, 0)
"""Codes of a server that has no such thing; 0 is that of the Python SDK before 2."""
_NAMED: Final[Mapping[str, Kind]] = {"tools/call": TOOLS, "prompts/get": PROMPTS}
_SUBSCRIBE: Final = "resources/subscribe"
_UNSUBSCRIBE: Final = "resources/unsubscribe"
_LOCATED: Final = frozenset({"resources/read", _SUBSCRIBE, _UNSUBSCRIBE})
_COMPLETE: Final = "completion/complete"


class _Call:
    """A request that is not answered yet.

    Attributes:
      server: who works on it; None while it is not known who is to.
      others: who is asked next, if that one has no such thing.
      refusal: what the first of them has said.
    """

    __slots__ = ("others", "refusal", "request", "server")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.server: str | None = None
        self.others: list[str] = []
        self.refusal: bytes | None = None


class MergedCalls:
    """The requests of the client that are for one server."""

    def __init__(
        self, switchboard: Switchboard, members: Mapping[str, Member], catalogues: Mapping[Kind, Catalogue]
    ) -> None:
        self._switchboard = switchboard
        self._members = members
        self._catalogues = catalogues
        self._calls: dict[RequestId, _Call] = {}
        # Where a URI has been subscribed to, there it is unsubscribed.
        self._subscribed: dict[str, str] = {}

    def __contains__(self, request_id: RequestId) -> bool:
        """Whether a request of this id is not answered yet."""
        return request_id in self._calls

    def make(self, request: Request) -> None:
        """Send a request to whom it is for."""
        self._calls[request.id] = call = _Call(request)
        params = request.params
        if request.method in _NAMED:
            self._make_named(call, _NAMED[request.method], ("name",), params.get("name"))
        elif request.method in _LOCATED:
            self._make_located(call, params.get("uri"))
        elif request.method == _COMPLETE:
            ref = params.get("ref")
            ref = ref if type(ref) is dict else {}
            if ref.get("type") == "ref/prompt":
                self._make_named(call, PROMPTS, ("ref", "name"), ref.get("name"))
            else:
                self._make_located(call, ref.get("uri"))
        else:
            self._ask_in_order(call, [member.name for member in self._members.values() if member.is_present])

    def take_response(self, server: str, response: Response) -> None:
        """Answer the client, or ask the next; a response that nobody waits for goes nowhere."""
        call = None if response.id is None else self._calls.get(response.id)
        if call is None or call.server != server:
            return
        if response.is_error and call.others and _is_unknown(response):
            call.refusal = call.refusal or response.raw
            self._send(call, call.others.pop(0))
            return
        del self._calls[call.request.id]
        if not response.is_error:
            self._remember(call.request, server)
        self._switchboard.to_client(call.refusal if response.is_error and call.refusal else response.raw)

    def cancel(self, notification: Notification) -> None:
        """Tell whoever works on it that a request need not be answered."""
        request_id = notification.cancelled_id
        call = None if request_id is None else self._calls.pop(request_id, None)
        if call is not None and call.server is not None:
            self._switchboard.to_server(call.server, notification.raw)

    def owns_token(self, server: str, token: ProgressToken | None) -> bool:
        """Whether a server works on a request under this progress token."""
        return token is not None and any(
            call.server == server and call.request.progress_token == token for call in self._calls.values()
        )

    def drop(self, server: str, reason: TrioproxyError) -> None:
        """Answer all that a server has ended without answering."""
        for call in [call for call in self._calls.values() if call.server == server]:
            self._fail(call, reason)

    # Whose it is

    def _make_named(self, call: _Call, kind: Kind, path: Path, name: Any) -> None:
        if type(name) is not str:
            self._fail(call, InvalidParams(f"{call.request.method}: params.{'.'.join(map(str, path))} is a string"))
        elif not self._send_named(call, kind, path, name):
            # It may be new, or nobody has asked for the list yet.
            self._gather(kind, lambda: self._make_late(call, kind, path, name))

    def _make_late(self, call: _Call, kind: Kind, path: Path, name: str) -> None:
        if self._calls.get(call.request.id) is not call or self._send_named(call, kind, path, name):
            return
        absence = describe_absence(self._members.values())
        # "Unknown tools" are a protocol error, and -32602 in the example (2025-11-25, Tools §Error Handling).
        what = f"Unknown {kind.capability.removesuffix('s')}: {name}"
        self._fail(call, InvalidParams(f"{what} (not there: {absence})" if absence else what))

    def _send_named(self, call: _Call, kind: Kind, path: Path, name: str) -> bool:
        owned = self._catalogues[kind].find_owner(name)
        if owned is None:
            return False
        server, original = owned
        if not self._members[server].is_present:
            self._fail(call, ChildError(f"{server} is not there: {self._members[server].absence}"))
        else:
            self._send(call, server, None if original == name else (("params", *path), original))
        return True

    def _make_located(self, call: _Call, uri: Any) -> None:
        if type(uri) is not str:
            self._fail(call, InvalidParams(f"{call.request.method}: the URI of a resource is a string"))
        elif call.request.method == _UNSUBSCRIBE and self._can(self._subscribed.get(uri), "resources"):
            self._send(call, self._subscribed[uri])
        elif not self._catalogues[RESOURCES].was_gathered or not self._catalogues[TEMPLATES].was_gathered:
            self._gather(RESOURCES, lambda: self._gather(TEMPLATES, lambda: self._locate(call, uri)))
        else:
            self._locate(call, uri)

    def _locate(self, call: _Call, uri: str) -> None:
        if self._calls.get(call.request.id) is not call:
            return
        capability = "completions" if call.request.method == _COMPLETE else "resources"
        able = [member.name for member in self._members.values() if member.can(capability)]
        listed = [server for server, known in self._catalogues[RESOURCES].owners() if known == uri]
        templates = self._catalogues[TEMPLATES].owners()
        likely = [server for server, template in templates if template == uri or matches(template, uri)]
        order = dict.fromkeys(server for server in (*listed, *likely, *able) if server in able)
        # Who lists it has it: what that says is the answer.
        self._ask_in_order(call, listed[:1] if listed and listed[0] in able else list(order))

    def _ask_in_order(self, call: _Call, servers: list[str]) -> None:
        if not servers:
            absence = describe_absence(self._members.values())
            why = f"{call.request.method}: no server that is there has this"
            self._fail(call, MethodNotFound(f"{why} (not there: {absence})" if absence else why))
            return
        call.others = servers[1:]
        self._send(call, servers[0])

    def _gather(self, kind: Kind, then: Callable[[], None]) -> None:
        able = [member.name for member in self._members.values() if member.can(kind.capability)]
        self._catalogues[kind].gather(able, then)

    def _can(self, server: str | None, capability: str) -> bool:
        return server is not None and self._members[server].can(capability)

    # What becomes of it

    def _send(self, call: _Call, server: str, renamed: tuple[Path, str] | None = None) -> None:
        call.server = server
        raw = call.request.raw
        self._switchboard.to_server(server, raw if renamed is None else splice(raw, {renamed[0]: encode(renamed[1])}))

    def _fail(self, call: _Call, error: TrioproxyError) -> None:
        del self._calls[call.request.id]
        self._switchboard.refuse(call.request.id, error)

    def _remember(self, request: Request, server: str) -> None:
        uri = request.params.get("uri")
        if type(uri) is not str:
            return
        if request.method == _SUBSCRIBE:
            self._subscribed[uri] = server
        elif request.method == _UNSUBSCRIBE:
            self._subscribed.pop(uri, None)


def _is_unknown(response: Response) -> bool:
    try:
        return parse_error(response).get("code") in _UNKNOWN
    except ParseError:
        return False
