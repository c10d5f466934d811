"""Streamable HTTP with a handshake, the client's half (2025-03-26, 2025-06-18, 2025-11-25; Transports §Streamable HTTP).

Each message of the client is a POST.  What comes back on the stream of a request is handed on as it comes; the answer ends
it.  A stream that breaks before that is resumed, where its events have ids; where they have none, that one request fails,
since nobody can know how much of it was done.

A session that has expired is begun anew, once for all who hear of it, and what was refused with it is sent again: a server
that does not know the session has not looked at the message.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

import trio

from ..http_client import Headers, HttpClientError, ResponseStream, find_header
from ..protocol.envelope import VERSION_HEADER
from ..protocol.errors import ChildError, ParseError
from ..protocol.lines import OversizedLine
from ..protocol.messages import Message, Notification, Response, parse_result
from ..protocol.revival import Memory
from .backoff import Backoff
from .calls import Call, Calls
from .endpoint import Endpoint
from .handshake import repeat_handshake
from .inbox import Inbox
from .reading import EVENT_STREAM, Reader, media_type
from .refusals import Refusal, read_refusal
from .settings import RemoteConfig

logger = logging.getLogger("trioproxy.remote")

SESSION_HEADER: Final = b"mcp-session-id"
POST_HEADERS: Final[Headers] = (
    (b"content-type", b"application/json"),
    (b"accept", b"application/json, text/event-stream"),
)
RESTART_TIME: Final = 5.0
"""Seconds for which a message is tried again that could not be sent at all: servers are restarted."""
_STREAM_TIME: Final = 1.0
"""Seconds for the standalone stream to open; some servers say nothing of it before they have something to send."""
_GOODBYE_TIME: Final = 2.0
_LONG_LIVED: Final = 10.0
"""Seconds after which a stream that ends was no failure."""
SAFE_METHODS: Final = frozenset(
    {
        "initialize",
        "ping",
        "server/discover",
        "tools/list",
        "prompts/list",
        "resources/list",
        "resources/templates/list",
        "logging/setLevel",
    }
)
"""Requests that do no harm if they are made twice."""


class Session:
    """What one handshake has led to.

    Attributes:
      headers: go with everything that is said in it.
      has_stream: its standalone stream is open, or will be again.
      is_heard: that stream has been open once, or there was none to be had.
      scope: of that stream.
    """

    def __init__(self, session_id: str | None, revision: str | None) -> None:
        self.id = session_id
        self.scope = trio.CancelScope()
        self.has_stream = False
        self.is_heard = trio.Event()
        self.headers: list[tuple[bytes, bytes]] = []
        if session_id is not None:
            self.headers.append((SESSION_HEADER, session_id.encode("latin-1")))
        if revision is not None and revision.isascii() and revision.isprintable():
            self.headers.append((VERSION_HEADER.lower().encode(), revision.encode()))


class StreamableHttp:
    """The session of one client with a remote.

    Args:
      nursery: for the standalone stream, which outlives the request that opens it.
      on_proven: called when the remote has shown that it speaks this transport.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        calls: Calls,
        inbox: Inbox,
        config: RemoteConfig,
        nursery: trio.Nursery,
        on_proven: Callable[[], None],
    ) -> None:
        self._endpoint = endpoint
        self._calls = calls
        self._inbox = inbox
        self._config = config
        self._nursery = nursery
        self._on_proven = on_proven
        self._memory = Memory()
        self._session = Session(None, None)
        self._renewing = trio.Lock()

    # From the client

    async def ask(self, call: Call) -> Refusal | None:
        """Make a request, and return once it has its answer, or with what HTTP had in its place.

        Raises:
          ChildError: there will be no answer.
          HttpClientError: it could not be sent, or what came was no HTTP.
        """
        request = call.request
        if request.method == "initialize":
            return await self._begin(call)
        self._memory.note(request)
        session = self._session
        refusal = await self._post(call, session)
        if refusal is None or session.id is None or not refusal.says_session_has_expired:
            return refusal
        return await self._post(call, await self._renew(session))

    async def tell(self, message: Message) -> None:
        """Send what has no answer; what becomes of it is for the log only."""
        self._memory.note(message)
        session = self._session
        try:
            refusal = await self._post_silent(message.raw, session)
            if refusal and session.id and refusal.says_session_has_expired and not isinstance(message, Response):
                # Of a response the question is lost together with the session.
                session = await self._renew(session)
                refusal = await self._post_silent(message.raw, session)
        except (HttpClientError, ChildError) as error:
            logger.warning("%s was not delivered: %s", _name(message), error)
            return
        if refusal is not None:
            logger.warning("%s was not accepted: %s", _name(message), refusal)
        elif type(message) is Notification and message.method == "notifications/initialized":
            await self._open_stream(session)

    async def close(self) -> None:
        """End the session: "Clients that no longer need a particular session SHOULD send an HTTP DELETE"."""
        if self._session.id is None:
            return
        with trio.move_on_after(_GOODBYE_TIME):
            try:
                async with self._endpoint.open("DELETE", self._session.headers):
                    pass
            except HttpClientError as error:
                logger.info("the session was not ended: %s", error)

    # The handshake

    async def _begin(self, call: Call) -> Refusal | None:
        self._memory = Memory()
        self._memory.note(call.request)
        self._session.scope.cancel()

        def enter(session: Session) -> None:
            self._session = session

        return await self._post(call, Session(None, None), on_session=enter, patience=call.time_limit)

    async def _renew(self, old: Session) -> Session:
        """Return the session that has taken the place of `old`.

        Raises:
          ChildError, HttpClientError: there is none.
        """
        async with self._renewing:
            if self._session is not old:
                return self._session
            if self._memory.initialize is None:
                raise ChildError(f"{self._endpoint.shown}: the session has expired, and there was no handshake")
            new = Session(None, None)

            def enter(session: Session) -> None:
                nonlocal new
                new = session

            async def ask(call: Call) -> None:
                refusal = await self._post(call, new, on_session=enter if call.request.method == "initialize" else None)
                if refusal is not None and call.request.method == "initialize":
                    raise ChildError(str(refusal))

            async def tell(line: bytes) -> None:
                await self._post_silent(line, new)

            await repeat_handshake(self._memory, self._config.connection_timeout, self._inbox, ask=ask, tell=tell)
            old.scope.cancel()
            self._session = new
            if self._memory.is_complete:
                await self._open_stream(new)
            return new

    # Requests and their answers

    async def _post(
        self,
        call: Call,
        session: Session,
        *,
        on_session: Callable[[Session], None] | None = None,
        patience: float = RESTART_TIME,
    ) -> Refusal | None:
        reader = Reader(self._config.max_message_size)
        headers = [*POST_HEADERS, *session.headers]
        is_safe = call.request.method in SAFE_METHODS
        async with self._endpoint.open(
            "POST", headers, call.request.raw, is_safe=is_safe, patience=patience, call=call
        ) as response:
            if not 200 <= response.status < 300:
                return await read_refusal(response, self._endpoint.shown)
            self._on_proven()
            call.has_departed.set()
            if on_session is not None:
                session = Session(find_header(response.headers, SESSION_HEADER), None)
                call.on_answer = _entering(session.id, on_session)
            is_elsewhere = response.status == 202 or not media_type(response)
            trouble = "" if is_elsewhere else await self._read(reader, response, call)
        if is_elsewhere and not call.is_done.is_set() and not session.has_stream:
            raise ChildError(f"{self._endpoint.shown} answered with HTTP status {response.status} and no message")
        if not is_elsewhere:
            await self._resume(call, session, reader, trouble)
        await call.wait_answered()
        return None

    async def _read(self, reader: Reader, response: ResponseStream, call: Call) -> str:
        """Read a stream of `call`, and return why it ended."""

        async def hear(raw: bytes | OversizedLine) -> bool:
            await self._calls.hear(raw, call)
            return call.is_done.is_set()

        try:
            await reader.read(response, hear)
        except HttpClientError as error:
            return str(error)
        return "the response ended"

    async def _resume(self, call: Call, session: Session, reader: Reader, trouble: str) -> None:
        """Read on where a stream was broken off, until there is an answer (Transports §Resumability and Redelivery).

        Raises:
          ChildError: that is impossible.
        """
        backoff = Backoff()
        while not call.is_done.is_set():
            lost = f"{self._endpoint.shown}: no answer to {call.request.method}: {trouble}"
            if not reader.last_event_id:
                raise ChildError(lost)
            if reader.has_heard:
                backoff.reset()
            await trio.sleep(backoff.pause(reader.retry_ms))
            reader.has_heard = False
            try:
                async with self._open_get(session, reader) as response:
                    if response.status == 200 and media_type(response) == EVENT_STREAM:
                        trouble = await self._read(reader, response, call)
                        continue
                    refusal = await read_refusal(response, self._endpoint.shown)
            except HttpClientError as error:
                trouble = str(error)
                continue
            trouble = str(refusal)
            if refusal.status < 500 and refusal.status != 429:
                raise ChildError(f"{lost}, and it can't be resumed: {refusal}")

    async def _post_silent(self, raw: bytes, session: Session) -> Refusal | None:
        headers = [*POST_HEADERS, *session.headers]
        async with self._endpoint.open("POST", headers, raw, patience=RESTART_TIME) as response:
            if 200 <= response.status < 300:
                return None
            return await read_refusal(response, self._endpoint.shown)

    # The standalone stream

    def _open_get(self, session: Session, reader: Reader) -> Any:
        resume = [(b"last-event-id", reader.last_event_id)] if reader.last_event_id else []
        return self._endpoint.open("GET", [(b"accept", EVENT_STREAM), *session.headers, *resume])

    async def _open_stream(self, session: Session) -> None:
        """Listen to what belongs to no request, and return once that has begun.

        Where a server asks something before, nobody hears it, and the call for which it asks waits for ever.
        """
        if not session.has_stream:
            session.has_stream = True
            self._nursery.start_soon(self._stand, session)
        with trio.move_on_after(_STREAM_TIME):
            await session.is_heard.wait()

    async def _stand(self, session: Session) -> None:
        """Listen for as long as the session lasts."""
        has_expired = False
        with session.scope:
            has_expired = await self._listen(session)
        session.has_stream = False
        session.is_heard.set()
        backoff = Backoff()
        while has_expired and self._session is session:
            try:
                await self._renew(session)
            except (HttpClientError, ChildError) as error:
                logger.warning("the session has expired, and there is no other yet: %s", error)
                await trio.sleep(backoff.pause())

    async def _listen(self, session: Session) -> bool:
        """Return whether the session has expired; otherwise there is no stream in it."""
        reader = Reader(self._config.max_message_size)
        backoff = Backoff()
        while True:
            since = trio.current_time()
            reader.has_heard = False
            trouble = await self._listen_once(session, reader)
            if isinstance(trouble, bool):
                return trouble
            if reader.has_heard or trio.current_time() - since > _LONG_LIVED:
                backoff.reset()
            logger.debug("the standalone stream: %s", trouble)
            await trio.sleep(backoff.pause(reader.retry_ms))

    async def _listen_once(self, session: Session, reader: Reader) -> str | bool:
        """Return why the stream has ended; where there will be no other, whether the session has expired."""

        async def hear(raw: bytes | OversizedLine) -> bool:
            await self._calls.hear(raw)
            return False

        try:
            async with self._open_get(session, reader) as response:
                session.is_heard.set()
                if response.status == 200 and media_type(response) == EVENT_STREAM:
                    await reader.read(response, hear)
                    return "the response ended"
                refusal = await read_refusal(response, self._endpoint.shown)
        except HttpClientError as error:
            session.is_heard.set()
            return str(error)
        if refusal.status == 405 or 200 <= refusal.status < 300:
            # "or else return HTTP 405 Method Not Allowed, indicating that the server does not offer an SSE stream".
            return False
        return True if session.id is not None and refusal.says_session_has_expired else str(refusal)


def _entering(session_id: str | None, on_session: Callable[[Session], None]) -> Callable[[Response], None]:
    """Return what enters the session that the answer to an `initialize` opens."""

    def enter(answer: Response) -> None:
        if not answer.is_error:
            on_session(Session(session_id, _revision(answer)))

    return enter


def _revision(answer: Response) -> str | None:
    try:
        result = None if answer.is_error else parse_result(answer)
    except ParseError:
        return None
    revision = result.get("protocolVersion") if isinstance(result, dict) else None
    return revision if isinstance(revision, str) else None


def _name(message: Message) -> str:
    return "a response" if isinstance(message, Response) else message.method
