"""A server of unknown era, made to look like a modern one: it is asked which it is.

"A client that supports both […] SHOULD probe with `server/discover` before sending any other request" (2026-07-28,
Transports §stdio, Backward Compatibility).  The client's own `server/discover` is the probe where it sends one first; else
one is made in its name, and what the client sends meanwhile waits.  What the server says to it decides:

    a DiscoverResult, or an error of the modern era      the server is modern: everything passes as it is
    anything else, or nothing for `probe_time`           it is a legacy one, and `modern_to_legacy` speaks to it

The client's probe is answered by whichever it turns out to be.
"""

from __future__ import annotations

import math
from typing import Final

from .errors import InvalidRequest, ParseError, ProtocolError, error_response
from .messages import Message, Notification, Request, RequestId, Response, parse_line
from .modern_to_legacy import ModernToLegacy
from .own_messages import CANCELLED, DISCOVER, is_modern_answer, modern_request
from .splice import REMOVE, cut_out, splice
from .translation import Related, Step

PROBE_ID: Final = "trioproxy:probe"


class ModernToUnknown:
    """The translator for one server, of which the era is found out by its first request.

    Args:
      legacy: speaks to the server if that is a legacy one.
      probe_time: how long, in seconds, the server may take to answer.

    Attributes:
      is_modern: what the server turned out to be; None until then.
    """

    def __init__(self, legacy: ModernToLegacy, *, probe_time: float = 10.0) -> None:
        self.is_modern: bool | None = None
        self._legacy = legacy
        self._probe_time = probe_time
        self._probe_ends = math.inf
        self._probe_id: RequestId | None = None
        # What the client asks meanwhile, as it was written; its own probe is the first.
        self._waiting: dict[RequestId, bytes] = {}

    @property
    def is_transparent(self) -> bool:
        """Whether the server is known to be a modern one."""
        return self.is_modern is True

    @property
    def is_refused(self) -> bool:
        """Whether the server takes part in neither era, and every request fails with it."""
        return self.is_modern is False and self._legacy.is_refused

    @property
    def deadline(self) -> float:
        """When the probe has taken too long, or what the translator to the legacy era waits for is due."""
        return self._legacy.deadline if self.is_modern is False else self._probe_ends

    def from_client(self, message: Message, now: float) -> Step:
        """Take a message of the client.

        Raises:
          InvalidRequest, ParseError: as `ModernToLegacy` does.
        """
        if self.is_modern is not None:
            return Step(to_server=(message.raw,)) if self.is_modern else self._legacy.from_client(message, now)
        if type(message) is Notification and message.method == CANCELLED and message.cancelled_id is not None:
            self._waiting.pop(message.cancelled_id, None)
        if type(message) is not Request:
            return Step()
        if message.id in self._waiting:
            raise InvalidRequest(f"request id {message.id!r} is that of another request in flight")
        self._waiting[message.id] = message.raw
        if self._probe_id is not None:
            return Step()
        self._probe_ends = now + self._probe_time
        if message.method == DISCOVER and message.has_modern_claim:
            self._probe_id = message.id
            return Step(to_server=(message.raw,))
        self._probe_id = PROBE_ID
        return Step(to_server=(_probe_for(message),))

    def from_server(self, message: Message, now: float, request_id: RequestId | None = None) -> Step:
        """Take a message of the server.

        Raises:
          ParseError: as `ModernToLegacy` does.
        """
        if self.is_modern is not None:
            if self.is_modern:
                return Step((message.raw if request_id is None else Related(message.raw, request_id),))
            return self._legacy.from_server(message, now, request_id)
        if type(message) is Response and self._probe_id is not None and message.id == self._probe_id:
            return self._conclude(message, now)
        # A server that speaks before it is asked is none of the modern era, and nobody of the modern era would hear it.
        return Step()

    def wake(self, now: float) -> Step:
        """Take a server that does not answer the probe for a legacy one, or do what is due for a legacy server."""
        if self.is_modern is False:
            return self._legacy.wake(now)
        return self._settle(False, None, now) if self._probe_ends <= now else Step()

    def _conclude(self, answer: Response, now: float) -> Step:
        try:
            is_modern = is_modern_answer(answer.raw)
        except ParseError:
            is_modern = False
        return self._settle(is_modern, answer, now)

    def _settle(self, is_modern: bool, answer: Response | None, now: float) -> Step:
        self.is_modern = is_modern
        self._probe_ends = math.inf
        waiting, self._waiting = self._waiting, {}
        if is_modern and answer is not None:
            # A client that has cancelled its own probe is not told.
            is_awaited = waiting.pop(answer.id or PROBE_ID, None) is not None
            return Step((answer.raw,) if is_awaited else (), tuple(waiting.values()))
        to_client: list[bytes | Related] = []
        to_server: list[bytes] = []
        for request_id, raw in waiting.items():
            try:
                # Parsed anew: what a large message holds may have been let go of meanwhile.
                step = self._legacy.from_client(parse_line(raw), now)
            except ProtocolError as error:
                to_client.append(error_response(error, request_id))
            else:
                to_client += step.to_client
                to_server += step.to_server
        return Step(tuple(to_client), tuple(to_server))


def _probe_for(request: Request) -> bytes:
    """Return the `server/discover` that the client of `request` might have sent, with the envelope of that."""
    probe = modern_request(DISCOVER, {}, {})
    envelope = cut_out(request.raw, ("params", "_meta")) if request.has_modern_claim else None
    probe = splice(probe, {("id",): b'"%b"' % PROBE_ID.encode()})
    if envelope is None:
        return probe
    # Its progress token is that of another request.
    return splice(probe, {("params", "_meta"): splice(envelope, {("progressToken",): REMOVE})})
