"""One HTTP exchange over ASGI: a bounded body in, one JSON body or a stream of events out.

Everything here races the client's leaving.  A body has a limit in bytes, and one in time that the connection keeps; a
stream watches for the disconnect while it is silent, and says something every KEEP_ALIVE_TIME so that proxies in between,
and the socket itself, notice when nobody is there.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property
from typing import Any, Final, Protocol
from urllib.parse import parse_qs

import trio

from .auth import Principal
from .connection import AT_ONCE
from .cursor import Cursor
from .protocol.errors import BodyTooLarge, TrioproxyError, error_response, status_and_code
from .protocol.messages import RequestId
from .protocol.sse import KEEP_ALIVE, encode_messages, encode_priming_event

OPENING: Final = b": open\n\n"
"""What a stream begins with where there is nothing to say yet: a comment, which no client minds.

Without it the client would see no response at all, since the head goes out with the first piece of the body."""
KEEP_ALIVE_TIME: Final = 15.0
"""Seconds of silence after which a stream gets a comment."""
RETRY_MS: Final = 1000
"""How long a client is to wait before it resumes a stream."""
_SEND_SIZE: Final = 1024 * 1024
"""Bytes that are sent at a time.  Events that wait are sent together, since for small ones a send is what costs."""

Headers = Sequence[tuple[bytes, bytes]]

_JSON: Final = (b"content-type", b"application/json")
_EVENT_STREAM: Final = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    # nginx would collect events before it passes them on.
    (b"x-accel-buffering", b"no"),
)


class Source(Protocol):
    """What a stream of events is made from.

    Attributes:
      interrupt: called if the source is at its end while its client has yet to take what was sent.
    """

    interrupt: Callable[[], None] | None

    @property
    def is_at_end(self) -> bool:
        """Whether there is nothing more to be read."""

    async def read(self) -> tuple[int, list[bytes]]:
        """Return the next messages, and the number of the first; none mean the end."""

    def note_sent(self, *, with_ids: bool) -> None:
        """The client has taken part of what was read."""


class ClientLeft(Exception):
    """The client has disconnected before its request was complete; there is nobody to answer."""


class Exchange:
    """One request and its response.

    Attributes:
      common_headers: what any response to this request has, whatever else it has.
      refusal: the status and the kind of error that it was refused with, if it was.
    """

    def __init__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        self.method: Final[str] = scope["method"]
        self.path: Final[str] = scope["path"]
        self.scope: Final = scope
        self.principal: Principal | None = None  # who sends it, where anybody is asked
        self.common_headers: Headers = ()
        self._at_once: dict[str, Any] | None = scope.get("extensions", {}).get(AT_ONCE)
        self.refusal: tuple[int, type[TrioproxyError]] | None = None
        self._receive = receive
        self._send = send
        headers: dict[bytes, bytes] = dict(scope["headers"])
        self._are_single: Final = len(headers) == len(scope["headers"])  # no name comes twice
        self._headers: Final = headers if self._are_single else _combined(scope["headers"])

    def header(self, name: bytes) -> bytes | None:
        """Return a request header by its name in lower case."""
        return self._headers.get(name)

    def header_values(self, name: bytes) -> list[bytes]:
        """Return every value of a request header by its name in lower case."""
        if self._are_single:
            return [self._headers[name]] if name in self._headers else []
        return [value for key, value in self.scope["headers"] if key == name]

    @cached_property
    def query(self) -> dict[str, list[str]]:
        """The parameters of the query string."""
        return parse_qs(self.scope["query_string"].decode("latin-1"))

    # In

    async def read_body(self, limit: int | None) -> bytes:
        """Return the whole body.

        Raises:
          BodyTooLarge: as its name says.
          ClientLeft: the rest of it will not come.
        """
        announced = self._headers.get(b"content-length")
        if limit is not None and announced is not None and int(announced) > limit:
            raise BodyTooLarge(f"a body of {int(announced)} bytes, over the limit of {limit}")
        pieces: list[bytes] = []
        size = 0
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientLeft
            pieces.append(message["body"])
            size += len(message["body"])
            if limit is not None and size > limit:
                raise BodyTooLarge(f"a body of more than {limit} bytes, which is the limit")
            more = message["more_body"]
        return b"".join(pieces)

    async def wait_disconnect(self) -> None:
        """Return once the client has left.  The body must have been read before."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def run_while_connected(self, work: Callable[[], Awaitable[object]]) -> None:
        """Run `work`, and cancel it if the client leaves.

        Raises:
          ClientLeft: it has left.
          Exception: whatever `work` raises, as it is.
        """
        outcome: Exception | None = ClientLeft()
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                await self.wait_disconnect()
                nursery.cancel_scope.cancel()

            nursery.start_soon(watch)
            try:
                await work()
                outcome = None
            except Exception as error:
                # Raised below; here the nursery would wrap it in a group.
                outcome = error
            nursery.cancel_scope.cancel()
        if outcome is not None:
            raise outcome

    # Out

    async def respond(self, status: int, body: bytes = b"", headers: Headers = ()) -> None:
        """Send a whole response."""
        # "A server MUST NOT send a Content-Length header field in any response with a status code of … 204" (RFC 9110 §8.6).
        length = () if status == 204 else ((b"content-length", b"%d" % len(body)),)
        all_headers = [*headers, *self.common_headers, *length]
        await self._send({"type": "http.response.start", "status": status, "headers": all_headers})
        await self._send({"type": "http.response.body", "body": body})

    @property
    def can_answer_at_once(self) -> bool:
        """Whether there is `answer_at_once`."""
        return self._at_once is not None

    def answer_at_once(self, body: bytes, headers: Headers = ()) -> None:
        """Send one JSON body from whichever task has it, as far as that takes no waiting; `finish` sends the rest."""
        assert self._at_once is not None
        all_headers = [_JSON, *headers, *self.common_headers, (b"content-length", b"%d" % len(body))]
        self._at_once["answer"](200, all_headers, body)

    async def finish(self) -> None:
        """Send what `answer_at_once` has left."""
        assert self._at_once is not None
        await self._at_once["flush"]()

    async def respond_json(self, status: int, body: bytes, headers: Headers = ()) -> None:
        """Send one JSON body."""
        await self.respond(status, body, (_JSON, *headers))

    async def respond_value(self, status: int, value: object, headers: Headers = ()) -> None:
        """Send one value as JSON."""
        await self.respond_json(status, json.dumps(value, separators=(",", ":")).encode(), headers)

    async def refuse(self, error: TrioproxyError, request_id: RequestId | None = None) -> None:
        """Send an error as a JSON-RPC error response, with the HTTP status that the table has for it.

        Where that is a success, since the error is one of an accepted request, it is 502: this one was not accepted.
        """
        status, _ = status_and_code(error)
        status = status if status >= 400 else 502
        self.refusal = status, type(error)
        await self.respond_json(status, error_response(error, request_id), error.headers)

    async def carry(
        self, source: Source, *, id_prefix: bytes | None = None, first: bytes = b"", headers: Headers = ()
    ) -> None:
        """Send what a source has as events, until it is at its end, or the client leaves.

        Args:
          id_prefix: what the events' ids begin with; None for events without.
          first: what to send before any event, such as the priming event.
        """
        all_headers = [*_EVENT_STREAM, *headers, *self.common_headers]
        await self._send({"type": "http.response.start", "status": 200, "headers": all_headers})
        try:
            async with trio.open_nursery() as nursery:

                async def watch() -> None:
                    await self.wait_disconnect()
                    nursery.cancel_scope.cancel()

                nursery.start_soon(watch)
                source.interrupt = nursery.cancel_scope.cancel
                if first:
                    await self._send({"type": "http.response.body", "body": first, "more_body": True})
                while not source.is_at_end:
                    with trio.move_on_after(KEEP_ALIVE_TIME) as silence:
                        number, messages = await source.read()
                    if silence.cancelled_caught:
                        await self._send({"type": "http.response.body", "body": KEEP_ALIVE, "more_body": True})
                    else:
                        await self._send_events(source, messages, number, id_prefix)
                await self._send({"type": "http.response.body", "body": b"", "more_body": False})
                nursery.cancel_scope.cancel()
        except* OSError:
            # The client has left while something was being sent to it (ASGI); it may come back for the rest.
            pass

    async def _send_events(self, source: Source, messages: list[bytes], number: int, id_prefix: bytes | None) -> None:
        events = encode_messages(messages, id_prefix, number)
        for start in range(0, len(events), _SEND_SIZE):
            piece = events[start : start + _SEND_SIZE] if len(events) > _SEND_SIZE else events
            await self._send({"type": "http.response.body", "body": piece, "more_body": True})
            source.note_sent(with_ids=id_prefix is not None)


def priming(cursor: Cursor) -> bytes:
    """Return the priming event of a stream, with the id of what was last sent on it; from then on it can be resumed."""
    stream = cursor.stream
    stream.is_announced = True
    return encode_priming_event(stream.id_prefix + b"%d" % (cursor.position - 1), RETRY_MS)


def _combined(headers: Headers) -> dict[bytes, bytes]:
    """Return headers by name; of those that come more than once, all values in a row (RFC 9110 §5.3)."""
    combined: dict[bytes, bytes] = {}
    for name, value in headers:
        combined[name] = combined[name] + b", " + value if name in combined else value
    return combined
