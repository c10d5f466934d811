"""A modern server, made to look like a legacy one to one legacy client.

The server speaks 2026-07-28 and nothing else; the client speaks a revision with a handshake, and is the only one.

    what the client sends               what the server gets
    ────────────────────────────────    ──────────────────────────────────────────────────────────────────────
    initialize                          server/discover; its result becomes the InitializeResult
    notifications/initialized           subscriptions/listen, for what the server's capabilities say it notifies of
    resources/subscribe, …/unsubscribe  the next subscriptions/listen (`listening`)
    ping, logging/setLevel              nothing: answered here; the level goes with each later request
    tasks/*, subscriptions/listen       nothing: the one was never offered, the other is not of the client's era
    any other request                   the same bytes, and the envelope in its `_meta` (`introduction`)
    notifications/cancelled             the same, about the attempt that is under way
    any other notification              nothing: the modern era has none (2026-07-28, schema §ClientNotification)

    what the server sends               what the client gets
    ────────────────────────────────    ──────────────────────────────────────────────────────────────────────
    a result, an error                  the same in the old shape (`results`, `tools`)
    input_required                      requests of the server's own; their answers go with the next attempt (`attempts`)
    a notification of a listen          the same without its subscription id
    any other notification              the same bytes: progress, logs
    a request                           nothing: a server "MUST NOT write JSON-RPC requests" (2026-07-28, Transports §stdio)

Where the era of the server is unknown, the client's own handshake finds it out.  Until then, and for ever if the server
takes part in it, every message passes as it is.

Not here: how long a call may take.  Who makes it cancels it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from ..envelope import LOG_LEVELS
from ..errors import (
    UNSUPPORTED_PROTOCOL_VERSION,
    ChildError,
    InvalidParams,
    InvalidRequest,
    MethodNotFound,
    ParseError,
    error_response,
)
from ..messages import Message, Request, RequestId, Response, parse_result
from ..own_messages import CANCELLED
from ..revisions import MODERN_REVISION
from ..splice import splice
from ..translation import Related, Step
from .attempts import OWN_PREFIX, Calls
from .introduction import Introduction, read_introduction
from .listening import SUBSCRIBE, Listening, subscription_id
from .results import (
    describe,
    empty_response,
    encode_id,
    initialize_response,
    legacy_error,
    read_error,
)


class LegacyToModern:
    """The translator for one legacy client, be it a session or the host of a stdio server.

    Args:
      name: what to call a server that does not say who it is.
      new_id: returns a string that nobody can guess.
      tries_handshake: the server's era is unknown.
      probe_time: how long, in seconds, a server that has refused the handshake may take to show that it is a modern one.

    Attributes:
      is_transparent: from now on every message passes as it is.
      is_modern: what the server turned out to be; None until then.
    """

    def __init__(
        self, name: str, new_id: Callable[[], str], *, tries_handshake: bool = False, probe_time: float = 10.0
    ) -> None:
        self.is_transparent = False
        self.is_modern: bool | None = None
        self._name = name
        self._tries_handshake = tries_handshake
        self._probe_time = probe_time
        self._probe_ends = math.inf
        self._ids_used = 0
        # The client's `initialize` while it is not answered; what the server said to it, if it was asked and refused; and
        # the request to the server that answers it now.
        self._initialize: Request | None = None
        self._refusal: Response | None = None
        self._discover_id: str | None = None
        # From `initialize` on, when the server is known not to take it.  Before that nothing is translated.
        self._introduction: Introduction | None = None
        self._untranslated: set[RequestId] = set()
        self._listening: Listening | None = None
        self._log_level: str | None = None
        self._calls = Calls(self._new_request_id, new_id)

    @property
    def deadline(self) -> float:
        """When `wake` is to be called next; infinity when nothing waits."""
        listening = self._listening.deadline if self._listening else math.inf
        return min(self._calls.deadline, listening, self._probe_ends)

    def from_client(self, message: Message, now: float) -> Step:
        """Take a message of the client."""
        if self.is_transparent:
            return Step(to_server=(message.raw,))
        if type(message) is Request and message.method == "initialize":
            return self._begin_handshake(message)
        if self._introduction is None:
            return self._pass_on(message)
        if isinstance(message, Request):
            return self._take_request(message, self._introduction, now)
        if isinstance(message, Response):
            return self._calls.take_answer(message)
        if message.method == CANCELLED and message.cancelled_id is not None:
            if self._listening:
                self._listening.withdraw(message.cancelled_id)
            return self._calls.cancel(message, message.cancelled_id)
        if message.method == "notifications/initialized" and self._listening:
            return self._listening.start(now)
        return Step()

    def from_server(self, message: Message, now: float, request_id: RequestId | None = None) -> Step:
        """Take a message of the server; `request_id` as the server knows it, where the message belongs to a request."""
        passed = Step(to_client=(message.raw if request_id is None else Related(message.raw, request_id),))
        if self.is_transparent:
            return passed
        if isinstance(message, Response):
            return self._take_response(message, now)
        if self._introduction is None:
            return passed
        if isinstance(message, Request):
            return Step()
        if message.method == CANCELLED:
            # "Servers MUST NOT send notifications/cancelled for any other purpose" than to end a listen (Cancellation).
            listen_id = message.cancelled_id
            if self._listening and listen_id is not None and self._listening.owns(listen_id):
                return self._listening.end(listen_id, "it has cancelled the subscription", now)
            return Step()
        if subscription_id(message) is not None:
            return self._listening.hear(message, now) if self._listening else Step()
        its_request = None if request_id is None else self._calls.find_request(request_id)
        return Step(to_client=(message.raw if its_request is None else Related(message.raw, its_request),))

    def wake(self, now: float) -> Step:
        """Make the attempts that are due, and open again what has ended."""
        refusal = self._give_up_probe() if self._probe_ends <= now else Step()
        return _join(refusal, self._calls.wake(now), self._listening.wake(now) if self._listening else Step())

    # The handshake

    def _begin_handshake(self, request: Request) -> Step:
        if self._initialize is not None:
            error = InvalidRequest(f"initialize {json.dumps(self._initialize.id)} is not answered yet")
            return Step(to_client=(error_response(error, request.id),))
        self._initialize = request
        if self._tries_handshake and self.is_modern is None:
            return Step(to_server=(request.raw,))
        return self._discover(request)

    def _discover(self, initialize: Request) -> Step:
        self._introduction = read_introduction(initialize)
        self._discover_id = self._new_request_id()
        raw = b'{"jsonrpc":"2.0","id":' + encode_id(self._discover_id) + b',"method":"server/discover"}'
        return Step(to_server=(splice(raw, self._introduction.edits()),))

    def _end_trial(self, initialize: Request, response: Response, now: float) -> Step:
        if response.is_error:
            self._refusal = response
            self._probe_ends = now + self._probe_time
            return self._discover(initialize)
        self._initialize = None
        self.is_transparent = True
        self.is_modern = False
        return Step(to_client=(response.raw,))

    def _give_up_probe(self) -> Step:
        """A server that takes no handshake and does not know `server/discover` either: let the client hear what it said."""
        assert self._refusal is not None
        refusal, self._refusal = self._refusal, None
        self._initialize = self._discover_id = self._introduction = None
        self._probe_ends = math.inf
        return Step(to_client=(refusal.raw,))

    def _end_handshake(self, initialize: Request, introduction: Introduction, response: Response, result: Any) -> Step:
        refusal, self._refusal = self._refusal, None
        self._initialize = self._discover_id = None
        self._probe_ends = math.inf
        versions = result.get("supportedVersions") if type(result) is dict else None
        if type(versions) is list and MODERN_REVISION in versions:
            self.is_modern = True
            capabilities = result.get("capabilities")
            former = self._listening.close() if self._listening else Step()
            self._listening = Listening(
                introduction, capabilities if type(capabilities) is dict else {}, self._new_request_id
            )
            answer = initialize_response(response, result, initialize, introduction.revision, self._name)
            return _join(former, Step(to_client=(answer,)))
        if not self.is_modern:
            # As if it had never been said: the client may try again.
            self._introduction = None
        if refusal is not None:
            return Step(to_client=(refusal.raw,))
        return Step(to_client=(_refuse_handshake(initialize, response, versions),))

    # The client's messages

    def _pass_on(self, message: Message) -> Step:
        """Pass on what comes before `initialize`, or while the server is tried."""
        if type(message) is Request:
            if message.method == "ping" and not self._tries_handshake:
                return Step(to_client=(empty_response(message),))
            self._untranslated.add(message.id)
        return Step(to_server=(message.raw,))

    def _take_request(self, request: Request, introduction: Introduction, now: float) -> Step:
        method = request.method
        if method == "ping":
            return Step(to_client=(empty_response(request),))
        if method == "logging/setLevel":
            return self._set_level(request)
        if method in (SUBSCRIBE, "resources/unsubscribe"):
            if self._listening:
                return self._listening.change(request, now)
            error = error_response(InvalidRequest(f"{method} before the answer to initialize"), request.id)
            return Step(to_client=(error,))
        if method.startswith("tasks/") or method == "subscriptions/listen":
            message = f"{method}: the server has no such method in revision {introduction.revision}"
            return Step(to_client=(error_response(MethodNotFound(message), request.id),))
        return self._calls.make(request, introduction, self._log_level)

    def _set_level(self, request: Request) -> Step:
        level = request.params.get("level")
        if level not in LOG_LEVELS:
            error = InvalidParams(f"level is one of {', '.join(LOG_LEVELS)}; this is {json.dumps(level)}")
            return Step(to_client=(error_response(error, request.id),))
        self._log_level = level
        return Step(to_client=(empty_response(request),))

    # The server's responses

    def _take_response(self, response: Response, now: float) -> Step:
        is_listen = self._listening is not None and self._listening.owns(response.id)
        is_discovery = self._discover_id is not None and self._discover_id == response.id
        if not (is_listen or is_discovery or self._calls.awaits(response)):
            return self._take_untranslated(response, now)
        result = None
        if not response.is_error:
            try:
                result = parse_result(response)
            except ParseError as broken:
                error = ChildError(f"the server's response can't be read: {broken}")
                response = Response(error_response(error, response.id), response.id, is_error=True)
        if is_discovery and self._initialize and self._introduction:
            return self._end_handshake(self._initialize, self._introduction, response, result)
        if is_listen and self._listening:
            return self._listening.end(response.id, describe(response) if response.is_error else "it has ended", now)
        return self._calls.conclude(response, result, now)

    def _take_untranslated(self, response: Response, now: float) -> Step:
        """Take a response to what has passed as it is, or to what nobody asks for any more."""
        if self._initialize and self._introduction is None and response.id == self._initialize.id:
            return self._end_trial(self._initialize, response, now)
        if self._introduction is None or response.id in self._untranslated:
            self._untranslated -= {response.id}
            return Step(to_client=(response.raw,))
        # "The client SHOULD ignore any response to the cancelled request that arrives afterward" (Cancellation).
        return Step()

    def _new_request_id(self) -> str:
        self._ids_used += 1
        return f"{OWN_PREFIX}{self._ids_used}"


def _join(*steps: Step) -> Step:
    return Step(
        tuple(message for step in steps for message in step.to_client),
        tuple(message for step in steps for message in step.to_server),
    )


def _refuse_handshake(initialize: Request, response: Response, versions: Any) -> bytes:
    """Return the error that answers `initialize` when `server/discover` brought none of our revisions, or an error."""
    if response.is_error:
        error = read_error(response)
        if error.get("code") != UNSUPPORTED_PROTOCOL_VERSION:
            return legacy_error(response, initialize)
        data = error.get("data")
        versions = data.get("supported") if type(data) is dict else None
    # The code and the data of the example in 2025-11-25, Lifecycle §Error Handling.
    asked = initialize.params.get("protocolVersion")
    message = f"Unsupported protocol version: the server supports {json.dumps(versions)}, and not {MODERN_REVISION}"
    return error_response(InvalidParams(message, data={"supported": versions, "requested": asked}), initialize.id)
