"""Everything both ways between two transports, until one of them has ended.

    await relay(client, server)

A message is parsed once, to learn what it is, and its own bytes go on.  What is no message goes nowhere: a client is told so
(JSON-RPC 2.0 §5.1), a server's garbage is logged.  An array, which 2025-03-26 has and no other revision, is cut into its
messages; they are answered one by one, which JSON-RPC permits, so that the quick do not wait for the slow.

Whatever the client has asked is answered once: by the server, or by an error when that has ended.  A response that nobody
waits for, such as a late one to a request that was cancelled, is dropped.

Each side is held back while the other does not read.
"""

from __future__ import annotations

import logging
from typing import Final

import trio

from .protocol.errors import ChildError, InvalidRequest, LineTooLong, ParseError, TrioproxyError, error_response
from .protocol.lines import OversizedLine
from .protocol.messages import (
    Message,
    Notification,
    Request,
    RequestId,
    Response,
    find_request_answered,
    parse_body,
    parse_result,
    recognise,
)
from .protocol.own_messages import CANCELLED, LISTEN
from .protocol.revisions import BATCH_REVISION, has_batches
from .protocol.translation import Related
from .transport import Received, Transport

logger = logging.getLogger(__name__)

_SKIPS_SHOWN: Final = 20


async def relay(client: Transport, server: Transport, *, drain_time: float = 0.0) -> None:
    """Pass everything on between a client and its server, until one of the two has ended; its `failure` says how.

    When the server has ended, what the client still waits for has been answered with that error.  Neither transport is
    closed: that is for whoever has opened it.

    Args:
      drain_time: how long, in seconds, a client that has ended is still given the answers that it waits for.
    """
    await _Relay(client, server).run(drain_time)


class _Relay:
    def __init__(self, client: Transport, server: Transport) -> None:
        self._client = client
        self._server = server
        # The ids of requests that are not answered, and their methods.
        self._in_flight: dict[RequestId, str] = {}
        self._answered = trio.Event()
        self._initialize_id: RequestId | None = None
        # Not before a revision is agreed on: `initialize` "MUST NOT be part of a batch" (2025-03-26, Lifecycle).
        self._takes_batches = False
        self._skips = 0

    async def run(self, drain_time: float) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._relay_server, nursery.cancel_scope)
            await self._relay_client()
            with trio.move_on_after(drain_time):
                # A subscription ends of itself never.
                while any(method != LISTEN for method in self._in_flight.values()):
                    self._answered = trio.Event()
                    await self._answered.wait()
            nursery.cancel_scope.cancel()

    # From the client

    async def _relay_client(self) -> None:
        while True:
            try:
                for line in await self._client.receive():
                    self._take_line(line)
                    if self._server.is_congested:
                        await self._server.wait_writable()
                    if self._client.is_congested:
                        # It gets answers from us, and reads none.
                        await self._client.wait_writable()
            except ChildError:
                if self._client.failure is None:
                    # The server's end; whoever reads from it sees to that.
                    await trio.sleep_forever()
                return

    def _take_line(self, line: Received) -> None:
        if isinstance(line, OversizedLine):
            self._answer(LineTooLong(f"a line of {line.length} bytes is over the limit"), None)
            return
        try:
            body = parse_body(line.raw if isinstance(line, Related) else line)
            if isinstance(body, list) and not self._takes_batches:
                raise InvalidRequest(f"a line is one message; only revision {BATCH_REVISION} has arrays of them")
        except (ParseError, InvalidRequest) as error:
            self._answer(error, None)
            return
        for message in body if isinstance(body, list) else [body]:
            self._take_message(message)

    def _take_message(self, message: Message) -> None:
        if isinstance(message, Request):
            if message.id in self._in_flight:
                self._answer(InvalidRequest("a request with this id is in flight"), message.id)
                return
            self._in_flight[message.id] = message.method
            if message.method == "initialize":
                self._initialize_id = message.id
        elif isinstance(message, Notification) and message.method == CANCELLED and message.cancelled_id is not None:
            self._finish(message.cancelled_id)
        try:
            self._server.send_nowait(message.raw)
        except (ParseError, InvalidRequest) as error:
            if isinstance(message, Request):
                self._finish(message.id)
                self._answer(error, message.id)
            else:
                self._skip(f"of the client: {error}", message.raw)

    def _answer(self, error: TrioproxyError, request_id: RequestId | None) -> None:
        self._client.send_nowait(error_response(error, request_id))

    # From the server

    async def _relay_server(self, everything: trio.CancelScope) -> None:
        while True:
            try:
                lines = await self._server.receive()
            except ChildError as failure:
                for request_id in self._in_flight:
                    self._answer(failure, request_id)
                everything.cancel()
                return
            for line in lines:
                self._take_answer(line)
            if self._client.is_congested:
                try:
                    await self._client.wait_writable()
                except ChildError:
                    # Whoever reads from the client hears of its end, too.
                    await trio.sleep_forever()

    def _take_answer(self, line: Received) -> None:
        if isinstance(line, OversizedLine):
            error = LineTooLong(f"the server's answer of {line.length} bytes is over the limit")
            logger.error("%s", error)
            request_id = find_request_answered(line)
            if request_id is not None and self._finish(request_id):
                self._answer(error, request_id)
            return
        raw = line.raw if isinstance(line, Related) else line
        try:
            message = recognise(raw)
        except (ParseError, InvalidRequest) as error:
            self._skip(f"of the server: {error}", raw)
            return
        if isinstance(message, Response):
            if message.id is None or not self._finish(message.id):
                logger.debug("dropped a response that nobody waits for: %s", raw[:200].decode(errors="replace"))
                return
            if message.id == self._initialize_id:
                self._note_revision(message)
        self._client.send_nowait(raw)

    def _note_revision(self, response: Response) -> None:
        """Learn from the answer to `initialize` whether there are batches."""
        self._initialize_id = None
        try:
            result = None if response.is_error else parse_result(response)
        except ParseError:
            return
        revision = result.get("protocolVersion") if isinstance(result, dict) else None
        if isinstance(revision, str):
            self._takes_batches = has_batches(revision)

    def _finish(self, request_id: RequestId) -> bool:
        """Note that a request is answered, or need not be; return whether it was in flight."""
        if self._in_flight.pop(request_id, None) is None:
            return False
        self._answered.set()
        return True

    def _skip(self, why: str, raw: bytes) -> None:
        self._skips += 1
        if self._skips <= _SKIPS_SHOWN or self._skips & (self._skips - 1) == 0:
            logger.warning("skipped line number %d %s: %r", self._skips, why, raw[:200].decode(errors="replace"))
