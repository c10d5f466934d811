"""HTTP with SSE, the client's half (2024-11-05, Transports §HTTP with SSE).

A GET opens a stream, whose first event says where to POST: "an endpoint event containing a URI for the client to use for
sending messages".  All that the server says comes on that stream, and the stream is the session: when it breaks, what was in
flight has failed, a new one is opened, for as long as it takes, and the handshake is repeated in it.

The endpoint has to be of the same origin as the stream: what lets us in is nobody else's.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final
from urllib.parse import urljoin, urlsplit

import trio

from ..http_client import CouldNotConnect, Headers, HttpClientError, ResponseStream
from ..protocol.errors import ChildError
from ..protocol.event_stream import EventStream
from ..protocol.messages import Message, Response, parse_line
from ..protocol.own_messages import listen_result
from ..protocol.revival import Memory
from ..protocol.urls import is_http_url, origin, shown_url
from .backoff import Backoff
from .calls import Call, Calls
from .endpoint import Endpoint
from .handshake import repeat_handshake
from .inbox import Inbox
from .reading import EVENT_STREAM, media_type
from .refusals import Refusal, read_refusal
from .settings import RemoteConfig

logger = logging.getLogger("trioproxy.remote")

_POST_HEADERS: Final[Headers] = ((b"content-type", b"application/json"),)
_ENDPOINT_TIME: Final = 10.0
"""Seconds for the first event; what is no such server may keep a stream open and say nothing."""
_RESTORE_TIME: Final = 10.0
"""Seconds for which a message waits for a stream that has broken to be there again."""
_RESTART_TIME: Final = 5.0
"""Seconds for which a message is tried again that could not be sent at all, with the stream still there."""
_EAGER_PAUSE: Final = 0.25
"""Seconds before the next attempt while somebody waits for it."""
_LONG_LIVED: Final = 10.0


class NoEventStream(ChildError):
    """The remote does not speak this transport; `refusal` is what it said, if that was a status of HTTP."""

    def __init__(self, message: str, refusal: Refusal | None = None) -> None:
        super().__init__(message)
        self.refusal = refusal


class HttpSse:
    """The stream of one client with a remote."""

    def __init__(self, endpoint: Endpoint, calls: Calls, inbox: Inbox, config: RemoteConfig, nursery: trio.Nursery) -> None:
        self._endpoint = endpoint
        self._calls = calls
        self._inbox = inbox
        self._config = config
        self._nursery = nursery
        self._memory = Memory()
        self._waiting: set[Call] = set()
        self._post_url: str | None = None
        self._ready = trio.Event()
        self._wanted_by = 0
        self._wanted = trio.lowlevel.ParkingLot()
        self._streams_lost = 0
        self._connection = trio.CancelScope()

    async def connect(self, call: Call | None = None) -> None:
        """Open the stream.

        Args:
          call: for whose sake; as long as it has time, a remote that can't be reached is tried again.

        Raises:
          NoEventStream: the remote has something else there.
          HttpClientError: it can't be reached.
        """
        await self._nursery.start(self._run, call)

    async def ask(self, call: Call) -> Refusal | None:
        """Make a request, and return once it has its answer, or with what HTTP had in its place.

        Raises:
          ChildError: there will be no answer.
          HttpClientError: it could not be sent.
        """
        if not call.is_modern:
            if call.request.method == "initialize":
                self._memory = Memory()
            self._memory.note(call.request)
        refusal = await self._deliver(partial(self._ask, call))
        if refusal is not None and refusal.status == 404:
            # The server doesn't know the session, so that it has not looked at the message.
            refusal = await self._deliver(partial(self._ask, call))
        return refusal

    async def tell(self, message: Message) -> None:
        """Send what has no answer; what becomes of it is for the log only."""
        self._memory.note(message)
        name = "a response" if isinstance(message, Response) else message.method
        try:
            refusal = await self._deliver(partial(self._post, message.raw))
        except (HttpClientError, ChildError) as error:
            logger.warning("%s was not delivered: %s", name, error)
            return
        if refusal is not None:
            logger.warning("%s was not accepted: %s", name, refusal)

    async def close(self) -> None:
        """Nothing is left to say: the stream was the session."""

    # Requests

    async def _deliver(self, attempt: Callable[[], Awaitable[Refusal | None]]) -> Refusal | None:
        """Send a message once there is a stream, and try again where there was no connection: nothing was sent then."""
        backoff = Backoff(longest=1.0)
        give_up_at = trio.current_time() + _RESTART_TIME
        while True:
            await self._wait_ready()
            try:
                return await attempt()
            except CouldNotConnect:
                pause = backoff.pause()
                if trio.current_time() + pause >= give_up_at:
                    raise
            await trio.sleep(pause)

    async def _ask(self, call: Call) -> Refusal | None:
        lost = self._streams_lost
        refusal = await self._post(call.request.raw)
        if refusal is not None and not call.is_done.is_set():
            if refusal.status == 404 and lost == self._streams_lost:
                self._reconnect()
            return refusal
        call.has_departed.set()
        if lost != self._streams_lost:
            self._lose_call(call, "the stream has ended")
        self._waiting.add(call)
        try:
            await call.wait_answered()
        finally:
            self._waiting.discard(call)
        return None

    async def _post(self, raw: bytes) -> Refusal | None:
        url = self._post_url
        if url is None:
            raise ChildError(f"{self._endpoint.shown}: the stream is broken")
        async with self._endpoint.open("POST", _POST_HEADERS, raw, url=url) as response:
            if 200 <= response.status < 300:
                return None
            return await read_refusal(response, shown_url(url))

    async def _wait_ready(self) -> None:
        self._wanted_by += 1
        self._wanted.unpark_all()
        try:
            with trio.move_on_after(_RESTORE_TIME):
                # Waiting yields, even where there is a stream: it may be gone after that.
                while not self._ready.is_set():
                    await self._ready.wait()
                return
        finally:
            self._wanted_by -= 1
        raise ChildError(f"{self._endpoint.shown}: the stream is broken, and there is no other yet")

    # The stream

    async def _run(self, call: Call | None, task_status: trio.TaskStatus[None]) -> None:
        """Keep a stream open.  The first tells whether there is any; all later ones are tried for until they are there."""
        backoff = Backoff()
        trouble = await self._read_once(task_status, call)
        while True:
            self._lose(trouble)
            logger.info("the stream was lost: %s", trouble)
            await self._pause(backoff)
            since = trio.current_time()
            try:
                trouble = await self._read_once(None, None)
            except (HttpClientError, NoEventStream) as error:
                trouble = str(error)
            if trio.current_time() - since > _LONG_LIVED:
                backoff.reset()

    async def _pause(self, backoff: Backoff) -> None:
        """Wait before the next attempt; a pause that has grown while nobody asked is cut short by whoever asks."""
        with trio.move_on_after(backoff.pause()):
            if not self._wanted_by:
                await self._wanted.park()
            await trio.sleep(_EAGER_PAUSE)

    async def _read_once(self, task_status: trio.TaskStatus[None] | None, call: Call | None) -> str:
        """Read one stream to its end, and return why it has ended.

        Raises:
          NoEventStream: it has no endpoint event, or is none.
          HttpClientError: there is no response.
        """
        limit = self._config.connection_timeout or math.inf
        patience = 0.0 if call is None else call.time_limit
        failure: NoEventStream | None = None
        trouble = "it was given up"
        with trio.CancelScope(deadline=trio.current_time() + limit) as self._connection:
            async with self._endpoint.open("GET", [(b"accept", EVENT_STREAM)], patience=patience, call=call) as response:
                if response.status != 200 or media_type(response) != EVENT_STREAM:
                    refusal = await read_refusal(response, self._endpoint.shown)
                    raise NoEventStream(f"no event stream: {refusal}", refusal)
                self._connection.deadline = trio.current_time() + _ENDPOINT_TIME
                async with trio.open_nursery() as nursery:
                    try:
                        await self._read_events(response, task_status, nursery)
                        trouble = "the response ended"
                    except HttpClientError as error:
                        trouble = str(error)
                    except NoEventStream as error:
                        failure = error
                    nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
        if self._post_url is None:
            raise NoEventStream(f"{self._endpoint.shown}: no endpoint event: {trouble}")
        return trouble

    async def _read_events(
        self, response: ResponseStream, task_status: trio.TaskStatus[None] | None, nursery: trio.Nursery
    ) -> None:
        events = EventStream(self._config.max_message_size)
        async for piece in response:
            for event in events.feed(piece):
                if event.name == "endpoint" and isinstance(event.data, bytes) and self._post_url is None:
                    self._post_url = self._resolve(event.data)
                    self._connection.deadline = math.inf
                    if task_status is not None:
                        self._ready.set()
                        task_status.started()
                    else:
                        nursery.start_soon(self._restore)
                elif event.name == "message" and event.data:
                    data = event.data
                    await self._calls.hear(data.replace(b"\n", b" ") if isinstance(data, bytes) else data)

    def _resolve(self, location: bytes) -> str:
        """Return the URL that an endpoint event names.

        Raises:
          NoEventStream: it is none, or somebody else's.
        """
        text = location.decode("latin-1")
        try:
            url = urljoin(self._endpoint.url, text)
        except ValueError:
            url = text
        if not is_http_url(url) or origin(urlsplit(url)) != origin(urlsplit(self._endpoint.url)):
            raise NoEventStream(f"{self._endpoint.shown}: the endpoint event leads elsewhere, to {shown_url(url)[:200]!r}")
        return url

    async def _restore(self) -> None:
        """Repeat the handshake on a new stream."""

        async def ask(call: Call) -> None:
            self._calls.add(call)
            try:
                refusal = await self._ask(call)
            finally:
                self._calls.remove(call)
            if refusal is not None:
                raise ChildError(str(refusal))

        async def tell(line: bytes) -> None:
            await self._post(line)

        if self._memory.initialize is not None:
            try:
                await repeat_handshake(self._memory, self._config.connection_timeout, self._inbox, ask=ask, tell=tell)
            except (HttpClientError, ChildError) as error:
                logger.warning("the session could not be begun anew: %s", error)
                self._reconnect()
                return
        self._ready.set()

    def _reconnect(self) -> None:
        """Give the stream up for another."""
        self._begin_anew()
        self._connection.cancel()

    def _begin_anew(self) -> None:
        # Who waits already goes on to do so.
        if self._ready.is_set():
            self._ready = trio.Event()

    def _lose(self, trouble: str) -> None:
        """End what was in flight on a stream that has broken."""
        self._post_url = None
        self._streams_lost += 1
        self._begin_anew()
        for call in list(self._waiting):
            self._lose_call(call, trouble)

    def _lose_call(self, call: Call, trouble: str) -> None:
        if call.is_done.is_set():
            return
        if call.is_listen:
            # Its client listens again, as after any end.
            self._nursery.start_soon(self._calls.take, parse_line(listen_result(call.request.id)))
        else:
            call.fail(ChildError(f"{self._endpoint.shown}: no answer to {call.request.method}: {trouble}"))
