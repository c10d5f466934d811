"""The requests that a remote is to answer, and to whom each message of its goes.

A response is that of the request whose stream it came on, or of the one whose id it has, whatever it came on: servers that
answer on another stream than they should are still understood.  Everything else goes to the client as it is.

    a response                the client, once for each request; its request is over
    progress                  the client; the time of its request begins anew
    a request, another        the client; where it `relates`, with the request on whose stream it came
    notification
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from typing import Final

import trio

from ..protocol.errors import ChildError, InvalidRequest, LineTooLong, ParseError
from ..protocol.lines import OversizedLine
from ..protocol.messages import (
    Message,
    Notification,
    ProgressToken,
    Request,
    RequestId,
    Response,
    find_request_answered,
    recognise,
    replace_response_id,
)
from ..protocol.own_messages import LISTEN
from ..protocol.routing import PROGRESS
from ..protocol.translation import Related
from .inbox import Inbox

logger = logging.getLogger("trioproxy.remote")

_GARBAGE_SHOWN: Final = 200


class Call:
    """A request on its way.

    Args:
      time_limit: seconds for the answer; infinity for no limit.
      is_own: it was made by us, and its answer is not for the client.

    Attributes:
      scope: all that is done for it; ends it when cancelled.
      trouble: why the last attempt to reach the remote has failed; empty when there is a connection, or nothing was tried.
      has_departed: the remote has begun to answer, or will do so elsewhere.
      answer: the response, once there is one.
      is_done: nothing more is waited for: there is an answer, or a `failure`.
      has_ended: nothing more is done for it, whether or not there has been an answer.
      is_cancelled: the client does not want the answer any more.
      on_answer: hears the answer before the client does.
    """

    def __init__(self, request: Request, time_limit: float | None, *, is_own: bool = False) -> None:
        self.request: Final = request
        self.time_limit: Final = math.inf if time_limit is None else time_limit
        self.is_own: Final = is_own
        self.scope: Final = trio.CancelScope(deadline=trio.current_time() + self.time_limit)
        self.trouble = ""
        self.has_departed: Final = trio.Event()
        self.is_done: Final = trio.Event()
        self.has_ended: Final = trio.Event()
        self.answer: Response | None = None
        self.failure: ChildError | None = None
        self.is_cancelled = False
        self.on_answer: Callable[[Response], None] | None = None

    @property
    def is_modern(self) -> bool:
        """Whether it is of the era without a handshake."""
        return self.request.has_modern_claim

    @property
    def is_listen(self) -> bool:
        """Whether it is a subscription, which has all the time in the world."""
        return self.request.method == LISTEN and self.is_modern

    def extend(self) -> None:
        """Let its time begin anew: there is progress."""
        if not self.is_cancelled:
            self.scope.deadline = trio.current_time() + self.time_limit

    def fail(self, failure: ChildError) -> None:
        """Wait for no answer any more."""
        if not self.is_done.is_set():
            self.failure = failure
            self.is_done.set()

    async def wait_answered(self) -> None:
        """Return once there is an answer.

        Raises:
          ChildError: there will be none.
        """
        await self.is_done.wait()
        if self.failure is not None:
            raise self.failure


class Calls:
    """The requests in flight.

    Args:
      relates: what comes on the stream of a request, and neither answers it nor has its progress token, is delivered as
        `Related`.
    """

    def __init__(self, inbox: Inbox, *, relates: bool = False) -> None:
        self._inbox = inbox
        self._relates = relates
        self._by_id: dict[RequestId, Call] = {}
        self._by_token: dict[ProgressToken, Call] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Call]:
        return iter(list(self._by_id.values()))

    def find(self, request_id: RequestId | None) -> Call | None:
        """Return the call whose request has that id."""
        return None if request_id is None else self._by_id.get(request_id)

    def add(self, call: Call) -> None:
        """Know a call by its id and its progress token."""
        self._by_id[call.request.id] = call
        if (token := call.request.progress_token) is not None:
            self._by_token[token] = call

    def remove(self, call: Call) -> None:
        """Forget a call."""
        if self._by_id.get(call.request.id) is call:
            del self._by_id[call.request.id]
        if (token := call.request.progress_token) is not None and self._by_token.get(token) is call:
            del self._by_token[token]

    async def hear(self, raw: bytes | OversizedLine, call: Call | None = None) -> None:
        """Take a message of the remote.

        Args:
          call: on whose stream it came; None for a stream that is nobody's.
        """
        if isinstance(raw, OversizedLine):
            self._hear_oversized(raw, call)
            return
        try:
            message = recognise(raw)
        except (ParseError, InvalidRequest) as error:
            logger.warning("skipped, %s: %s", error, raw[:_GARBAGE_SHOWN].decode(errors="replace"))
            return
        await self.take(message, call)

    async def take(self, message: Message, call: Call | None = None) -> None:
        """Take a message of the remote that has been parsed."""
        if isinstance(message, Response):
            answered = call if call and message.id in (None, call.request.id) else self.find(message.id)
            if answered is None or answered.is_done.is_set():
                logger.warning("skipped, a response to %r, which nobody waits for", message.id)
            else:
                await self.conclude(answered, message)
            return
        is_progress = type(message) is Notification and message.method == PROGRESS
        if is_progress and (token := message.progress_token) is not None and token in self._by_token:
            self._by_token[token].extend()
        if self._relates and call is not None and not (is_progress or call.is_own):
            await self._inbox.put(Related(message.raw, call.request.id))
        else:
            await self._inbox.put(message.raw)

    async def conclude(self, call: Call, answer: Response) -> None:
        """Give a call its answer."""
        call.answer = answer
        if call.on_answer is not None:
            call.on_answer(answer)
        if not call.is_own:
            request_id = call.request.id
            await self._inbox.put(answer.raw if answer.id is not None else replace_response_id(answer, request_id))
        call.is_done.set()

    def _hear_oversized(self, line: OversizedLine, call: Call | None) -> None:
        error = LineTooLong(f"the server sent a message of {line.length} bytes, over the limit")
        request_id = find_request_answered(line)
        is_response = request_id is not None or b'"method"' not in line.head[:_GARBAGE_SHOWN]
        answered = call if call and is_response and request_id in (None, call.request.id) else self.find(request_id)
        if answered is not None:
            answered.fail(error)
        logger.warning("%s", error)
