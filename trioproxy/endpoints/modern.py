"""Streamable HTTP of 2026-07-28: every request stands for itself (Transports §Streamable HTTP).

    POST     one request, answered with one JSON body or a stream of events; or a notification, accepted and dropped

There are no sessions, nothing to resume, and no other method.  A response that the client closes is a request cancelled.

**One body or a stream?**  One body, if the answer is the first thing that the server says and says within STREAM_AFTER: an
error can have the status then that the revision wants it to have.  Otherwise a stream.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Final

from ..config import Config
from ..exchange import OPENING, Exchange
from ..metrics import Metrics
from ..modern_children import ModernChildren
from ..protocol.envelope import check_envelope, check_notification_header
from ..protocol.errors import status_of_code
from ..protocol.headers import EVENT_STREAM, JSON, check_accept
from ..protocol.messages import Notification, Request, Response, parse_error, recognise
from ..protocol.own_messages import LISTEN

STREAM_AFTER: Final = 15.0
"""Seconds after which a stream begins, so that a proxy in between sees that something is going on."""


class Modern:
    """What the endpoint at `--stream-endpoint` does with modern messages."""

    def __init__(self, config: Config, children: ModernChildren, metrics: Metrics) -> None:
        self._json_only = config.json_response
        self._metrics = metrics
        self._children = children

    async def serve(self, exchange: Exchange, message: Request | Notification) -> None:
        """Serve a POST whose body is read.

        Raises:
          TrioproxyError: it is not served.
        """
        # "The server MUST return either application/json … or text/event-stream": a subscription is always a stream.
        is_listen = type(message) is Request and message.method == LISTEN
        only_answer = self._json_only and not is_listen
        check_accept(exchange.header(b"accept"), *((JSON,) if only_answer else (JSON, EVENT_STREAM)), is_required=True)
        if type(message) is Notification:
            # "This revision of the core protocol defines no client-to-server notifications over Streamable HTTP."
            check_notification_header(exchange.header_values)
            await exchange.respond(202)
            return
        assert type(message) is Request
        envelope = check_envelope(message, exchange.header_values)
        async with self._children.open_call(
            message, envelope, exchange.header_values, exchange.principal, only_answer=only_answer
        ) as call:
            try:
                at_once = exchange.can_answer_at_once and not is_listen
                if not await call.wait_briefly(exchange.answer_at_once if at_once else None) and not call.is_sent:
                    await exchange.run_while_connected(partial(call.wait, math.inf if only_answer else STREAM_AFTER))
                if call.is_sent:
                    await exchange.finish()
                elif call.answer is not None and (call.is_error or not is_listen):
                    await exchange.respond_json(_status(call.answer) if call.is_error else 200, call.answer)
                else:
                    await exchange.carry(call, first=b"" if await call.wait(0) else OPENING)
            finally:
                self._metrics.note_call("modern", message.method, call.outcome, call.seconds)


def _status(error: bytes) -> int:
    """Return the status of an error response that is the whole answer."""
    response = recognise(error)
    assert type(response) is Response
    code = parse_error(response).get("code")
    return status_of_code(code) if type(code) is int else 200
