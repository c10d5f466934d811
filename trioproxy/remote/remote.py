"""One remote for one client: which way its messages take, in which order, and what becomes of each request.

Which transport a remote speaks shows in how it takes the first request (2025-11-25, Transports §Backwards Compatibility; the
same in 2026-07-28, Streamable HTTP §HTTP+SSE Transport).  Whoever makes that request finds it out; the others wait.
"""

from __future__ import annotations

import logging
import math
import os
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Final

import trio

from ..http_client import HttpClientError, open_http_client
from ..http_proxies import Proxies
from ..protocol.errors import (
    ChildError,
    InvalidRequest,
    RequestTimedOut,
    TrioproxyError,
    Unavailable,
    error_response,
)
from ..protocol.messages import Message, Notification, Request, Response, parse_line, slim
from ..protocol.own_messages import CANCELLED, cancelled_notification
from ..transport import Received
from .calls import Call, Calls
from .credentials import Credentials
from .endpoint import Endpoint
from .http_sse import HttpSse, NoEventStream
from .inbox import Inbox
from .modern import ModernHttp
from .refusals import Refusal
from .settings import RemoteConfig
from .streamable_http import StreamableHttp

logger = logging.getLogger("trioproxy.remote")

MAX_QUEUED: Final = 1024 * 1024
"""Bytes that wait to be sent, beyond which senders wait."""
MAX_CALLS: Final = 256
"""Requests that are with the remote at a time, each of which takes a connection; others wait."""
_MAX_LISTENS: Final = 1024
_MAX_TELLING: Final = 32
_TELL_TIME: Final = 30.0
"""Seconds for a notification to be delivered."""
_ORDER_TIME: Final = 5.0
"""Seconds for which what comes after a notification, or one of the following requests, waits for it."""
_SETTLING: Final = frozenset({"logging/setLevel", "resources/subscribe", "resources/unsubscribe"})
"""Requests on which it depends what the server says after them: each POST may overtake the one before."""
_DEPARTURE_TIME: Final = 0.25
"""Seconds for which a cancellation waits until its request has been sent, which shows in nothing but the answer."""
_CANCEL_TIME: Final = 10.0
"""Seconds for a server to answer a request after it was cancelled; most don't."""


@asynccontextmanager
async def open_remote(
    remote: str | RemoteConfig,
    *,
    user_id: str | None = None,
    credentials: Credentials | None = None,
    relates: bool = False,
) -> AsyncIterator[Remote]:
    """Be a client of the server at a URL, for as long as the block runs.

    Nothing is asked before something is sent.  When the block has ended, so have the session, which takes two seconds at
    most, and all connections.  Proxies are those of the environment (`HTTPS_PROXY` and its like).

    Args:
      user_id: sent as `x-user-id`.
      credentials: what lets us in, beside the headers of the configuration; None for what its `sign_in` says.
      relates: a message that came on the stream of a request says so (`Related`), where nothing in it does.

    Raises:
      HttpClientError: the file with the CA certificates can't be used.
      ConfigError: there is to be a sign-in, and others could listen.
    """
    config = RemoteConfig(remote) if isinstance(remote, str) else remote
    if user_id is not None:
        config = replace(config, user_id=user_id)
    proxies = Proxies.from_environment(os.environ)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(
            open_http_client(verify=config.verify, ca_file=config.ca_file, proxies=proxies)
        )
        if credentials is None and config.sign_in is not None:
            # Most remotes want none, and it brings a server for the browser to come back to.
            from .sign_in import open_sign_in

            credentials = await stack.enter_async_context(open_sign_in(config, client))
        opened: Remote | None = None
        try:
            async with trio.open_nursery() as nursery:
                opened = Remote(Endpoint(client, config, credentials), config, nursery, relates=relates)
                nursery.start_soon(opened._dispatch)
                yield opened
                nursery.cancel_scope.cancel()
        finally:
            if opened is not None:
                with trio.CancelScope(shield=True):
                    await opened._say_goodbye()


class Remote:
    """A server at a URL; a `Transport`."""

    def __init__(self, endpoint: Endpoint, config: RemoteConfig, nursery: trio.Nursery, *, relates: bool = False) -> None:
        self._config = config
        self._endpoint = endpoint
        self._nursery = nursery
        self._inbox = Inbox()
        self._calls = Calls(self._inbox, relates=relates)
        self._queue: deque[Message] = deque()
        self._queued = 0
        self._filled = trio.lowlevel.ParkingLot()
        self._eased = trio.lowlevel.ParkingLot()
        self._calling = trio.CapacityLimiter(MAX_CALLS)
        self._telling = trio.CapacityLimiter(_MAX_TELLING)
        self._legacy = StreamableHttp(endpoint, self._calls, self._inbox, config, nursery, self._settle_on_http)
        self._modern = ModernHttp(endpoint, self._calls, self._inbox, config, self._settle_on_http)
        self._sse = HttpSse(endpoint, self._calls, self._inbox, config, nursery)
        self._speaks_http = config.transport == "http-only"
        self._speaks_sse = False
        self._is_trying = False
        self._tried = trio.lowlevel.ParkingLot()

    # The transport

    def send_nowait(self, message: bytes) -> None:
        """Queue one message for the remote.

        Raises:
          ParseError, InvalidRequest: it is none.
        """
        self._queue.append(parse_line(message))
        self._queued += len(message)
        self._filled.unpark()

    @property
    def is_congested(self) -> bool:
        """Whether more than MAX_QUEUED bytes wait to be sent, or more than MAX_CALLS requests to be answered."""
        return self._queued > MAX_QUEUED or self._calling.statistics().tasks_waiting > 0

    async def wait_writable(self) -> None:
        """Return once the remote has taken enough of what waits for it."""
        while self.is_congested:
            await self._eased.park()

    async def receive(self) -> Sequence[Received]:
        """Return the next messages of the remote, at least one.  Cancelling it loses nothing."""
        return await self._inbox.take()

    @property
    def failure(self) -> ChildError | None:
        """None: a remote may be away, and does not end."""
        return None

    # The client's messages, in their order

    async def _dispatch(self) -> None:
        while True:
            while not self._queue:
                await self._filled.park()
            message = self._queue.popleft()
            self._queued -= len(message.raw)
            self._eased.unpark_all()
            if type(message) is Request:
                call = self._start(message)
                if call is not None and message.method in _SETTLING and not call.is_modern:
                    with trio.move_on_after(_ORDER_TIME):
                        await call.has_ended.wait()
            elif type(message) is Notification and (cancelled := self._find_cancelled(message)) is not None:
                self._cancel(cancelled, message)
            else:
                has_arrived = trio.Event()
                self._nursery.start_soon(self._tell, message, has_arrived)
                if type(message) is Notification:
                    with trio.move_on_after(_ORDER_TIME):
                        await has_arrived.wait()

    def _start(self, request: Request) -> Call | None:
        limit = self._config.request_timeout
        if request.method in ("initialize", "server/discover"):
            limit = self._config.connection_timeout
        call = Call(request, limit)
        if call.is_listen:
            call.scope.deadline = math.inf
        other = self._calls.find(request.id)
        if other is not None and not other.is_cancelled:
            error: TrioproxyError = InvalidRequest(f"request id {request.id!r} is that of another request in flight")
        elif call.is_listen and sum(listen.is_listen for listen in self._calls) >= _MAX_LISTENS:
            error = Unavailable(f"{_MAX_LISTENS} subscriptions are open, the limit")
        else:
            if not call.is_modern:
                slim(request)
            self._calls.add(call)
            self._nursery.start_soon(self._run, call)
            return call
        self._inbox.put_nowait(error_response(error, request.id))
        return None

    def _find_cancelled(self, notification: Notification) -> Call | None:
        return self._calls.find(notification.cancelled_id) if notification.method == CANCELLED else None

    def _cancel(self, call: Call, notification: Notification) -> None:
        call.is_cancelled = True
        if call.is_modern and not self._speaks_sse:
            # "closing the SSE response stream is itself the cancellation signal" (2026-07-28, Streamable HTTP).
            call.scope.cancel()
            return
        call.scope.deadline = min(call.scope.deadline, trio.current_time() + _CANCEL_TIME)
        self._nursery.start_soon(self._tell_departed, call, notification)

    async def _tell_departed(self, call: Call, notification: Notification) -> None:
        with trio.move_on_after(_DEPARTURE_TIME):
            await call.has_departed.wait()
        await self._tell(notification, trio.Event())

    async def _tell(self, message: Message, has_arrived: trio.Event) -> None:
        async with self._telling:
            with trio.move_on_after(_TELL_TIME) as scope:
                await (self._sse if self._speaks_sse else self._legacy).tell(message)
        if scope.cancelled_caught:
            name = "a response" if isinstance(message, Response) else message.method
            logger.warning("%s was not delivered within %g s", name, _TELL_TIME)
        has_arrived.set()

    # Requests

    async def _run(self, call: Call) -> None:
        """Make a request; whatever happens, its client hears of it."""
        failure: TrioproxyError | None = None
        refusal: Refusal | None = None
        try:
            with call.scope:
                if call.is_listen:
                    refusal = await self._ask(call)
                else:
                    async with self._calling:
                        refusal = await self._ask(call)
        except HttpClientError as error:
            failure = ChildError(str(error))
        except TrioproxyError as error:
            failure = error
        finally:
            self._calls.remove(call)
            call.has_ended.set()
            self._eased.unpark_all()
        request = call.request
        if (call.is_done.is_set() and call.failure is None) or call.is_cancelled:
            return
        if refusal is not None:
            answer = refusal.answer(request.id)
        elif failure is not None:
            answer = error_response(failure, request.id)
        else:
            failure = self._expired(call)
            answer = error_response(failure, request.id)
            if request.method != "initialize" and (self._speaks_sse or not call.is_modern):
                self.send_nowait(cancelled_notification(request.id, str(failure)))
        if failure is not None:
            logger.warning("%s %r: %s", request.method, request.id, failure)
        self._inbox.put_nowait(answer)

    def _expired(self, call: Call) -> TrioproxyError:
        """Say what was missing when a call's time was over: an answer, or a remote."""
        limit = f"within {call.time_limit:g} s"
        if call.trouble:
            return ChildError(f"{self._endpoint.shown} was not reached {limit}; the last attempt: {call.trouble}")
        return RequestTimedOut(f"{self._endpoint.shown} did not answer {limit}")

    async def _ask(self, call: Call) -> Refusal | None:
        while not (self._speaks_http or self._speaks_sse):
            if self._is_trying:
                await self._tried.park()
                continue
            self._is_trying = True
            try:
                return await self._try(call)
            finally:
                self._is_trying = False
                self._tried.unpark_all()
        if self._speaks_sse:
            return await self._sse.ask(call)
        return await self._ask_http(call)

    async def _ask_http(self, call: Call) -> Refusal | None:
        return await (self._modern if call.is_modern else self._legacy).ask(call)

    # The transport is found out

    def _settle_on_http(self) -> None:
        self._speaks_http = True
        self._tried.unpark_all()

    async def _try(self, call: Call) -> Refusal | None:
        """Make the first request, which finds out how the remote is spoken to."""
        if self._config.transport in ("sse-first", "sse-only"):
            try:
                await self._sse.connect(call)
            except NoEventStream as error:
                is_over = error.refusal is not None and error.refusal.status >= 500
                if self._config.transport == "sse-only" or is_over:
                    raise
                logger.info("%s; Streamable HTTP is tried", error)
                return await self._ask_http(call)
            self._speaks_sse = True
            return await self._sse.ask(call)
        refusal = await self._ask_http(call)
        if refusal is None or self._speaks_http or not refusal.suggests_http_sse:
            return refusal
        try:
            await self._sse.connect()
        except (NoEventStream, HttpClientError) as error:
            logger.info("no HTTP with SSE either: %s", error)
            return refusal
        self._speaks_sse = True
        self._tried.unpark_all()
        return await self._sse.ask(call)

    # The end

    async def _say_goodbye(self) -> None:
        await self._legacy.close()
