"""Streamable HTTP for the revisions with a handshake (2025-03-26, 2025-06-18, 2025-11-25; Transports §Streamable HTTP).

    POST     messages to the server; a request is answered with one JSON body or a stream of events
    GET      what the server says of its own accord, or a broken stream resumed with Last-Event-ID
    DELETE   the end of the session

**One body or a stream?**  A request whose answer comes within ANSWER_AT_ONCE and before anything else is answered as one
JSON body.  Otherwise the response becomes a stream, and for a client of 2025-11-25 or later it opens with a priming event,
so that whatever takes longer can be resumed from the first moment on.  What is answered at once could be lost together with
its connection, as with any request over HTTP; the time in which that can happen is that short.

Not here: 2026-07-28.  Its messages, which come to the same endpoint, are told by their bodies and handed to `modern`; with
`--no-modern` its requests are refused in a way that makes a client fall back to `initialize`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, TypeAlias

from ..auth import AuthRequest
from ..config import Config
from ..cursor import Cursor
from ..directory import Directory
from ..exchange import OPENING, Exchange, priming
from ..large_json import read_large
from ..protocol.envelope import is_modern
from ..protocol.errors import (
    EventNotFound,
    InvalidRequest,
    MethodNotAllowed,
    SessionRequired,
    TrioproxyError,
    Unavailable,
    UnsupportedRevision,
)
from ..protocol.headers import EVENT_STREAM, JSON, check_accept, check_content_type, check_revision
from ..protocol.messages import Message, Notification, Request, Response, parse_body
from ..protocol.revisions import (
    BATCH_REVISION,
    MODERN_REVISION,
    MODERN_REVISIONS,
    has_batches,
    has_priming_events,
)
from ..session import Session

ANSWER_AT_ONCE: Final = 0.05
"""Seconds in which a lone answer is sent as one JSON body.

Measured: a call that does no work of its own takes a server on the Python SDK one to three milliseconds, and a stream costs
a tenth of the latency and a third of the calls a second.  So nearly every such call falls on the cheap side, and nobody
waits noticeably longer for the sign that a call is running."""
_MAX_BATCH: Final = 1000


ServeModern: TypeAlias = Callable[[Exchange, Request | Notification], Awaitable[None]]


class StreamableHTTP:
    """The endpoint at `--stream-endpoint`.

    Args:
      serve_modern: serves a message of 2026-07-28; None where that revision is not served.
    """

    def __init__(self, config: Config, directory: Directory, serve_modern: ServeModern | None = None) -> None:
        self._config = config
        self._directory = directory
        self._serve_modern = serve_modern
        self._json_only = config.json_response

    async def __call__(self, exchange: Exchange) -> None:
        """Serve one exchange."""
        if exchange.method in ("GET", "DELETE") and self._serve_modern is not None and _names_modern(exchange):
            # 2026-07-28, Transports §Earlier Streamable HTTP Revisions: "respond with 405 Method Not Allowed".
            raise MethodNotAllowed(f"{MODERN_REVISION} has no {exchange.method}", headers=((b"allow", b"POST"),))
        if exchange.method == "POST":
            await self._post(exchange)
        elif exchange.method == "GET" and not self._config.stateless:
            await self._get(exchange)
        elif exchange.method == "DELETE" and not self._config.stateless:
            await self._delete(exchange)
        else:
            allowed = "POST" if self._config.stateless else "GET, POST, DELETE"
            raise MethodNotAllowed(f"{exchange.method} is not served here", headers=((b"allow", allowed.encode()),))

    # POST

    async def _post(self, exchange: Exchange) -> None:
        check_accept(exchange.header(b"accept"), *((JSON,) if self._json_only else (JSON, EVENT_STREAM)))
        check_content_type(exchange.header(b"content-type"))
        body = parse_body(await exchange.read_body(self._config.limits.max_body_size), read_large)
        is_batch = isinstance(body, list)
        messages = body if isinstance(body, list) else [body]
        first = messages[0]
        try:
            if self._serve_modern is not None and self._is_modern(exchange, body):
                assert isinstance(first, Request | Notification)
                await self._serve_modern(exchange, first)
            elif self._config.stateless:
                await self._answer_without_session(exchange, messages, is_batch=is_batch)
            elif type(first) is Request and first.method == "initialize" and not is_batch:
                await self._initialize(exchange, first)
            else:
                await self._pass_on(exchange, messages, is_batch=is_batch)
        except TrioproxyError as error:
            # "Error responses … MUST include the same ID as the request" (Basic §Responses), as far as there is one.
            await exchange.refuse(error, first.id if type(first) is Request and not is_batch else None)

    def _is_modern(self, exchange: Exchange, body: Message | list[Message]) -> bool:
        # One that is unknown is to be told so: 404.
        has_session = exchange.header(b"mcp-session-id") is not None
        return is_modern(body, exchange.header(b"mcp-protocol-version"), has_session=has_session)

    async def _initialize(self, exchange: Exchange, request: Request) -> None:
        _refuse_modern([request])
        if exchange.header(b"mcp-session-id") is not None:
            # Who has a session can't open another within it.  Who had one gets 404, and is to begin "a new session by
            # sending a new InitializeRequest without a session ID attached" (Transports §Session Management, 4).
            self._find_session(exchange)
            raise InvalidRequest("the session is initialized already")
        session = await self._directory.open(exchange.principal, AuthRequest(exchange.scope), mixes=not self._json_only)
        try:
            stream = await session.submit([request])
            assert stream is not None
            with session.attach(stream) as cursor:
                await self._answer(exchange, session, cursor, ((b"mcp-session-id", session.id.encode()),))
        except BaseException:
            # Nobody has learnt of the session.
            session.close(Unavailable("the session was not opened"))
            raise
        if session.is_refused:
            session.close(Unavailable("the server refused the handshake"))

    async def _pass_on(self, exchange: Exchange, messages: list[Message], *, is_batch: bool) -> None:
        session = self._find_session(exchange, messages)
        check_revision(exchange.header(b"mcp-protocol-version"))
        if is_batch:
            self._check_batch(messages, session.revision)
        stream = await session.submit(messages)
        if stream is None:
            # "If the input consists solely of (any number of) JSON-RPC responses or notifications … 202 Accepted".
            await exchange.respond(202)
            return
        with session.attach(stream) as cursor:
            await self._answer(exchange, session, cursor, is_batch=is_batch)

    def _check_batch(self, messages: list[Message], revision: str) -> None:
        if not has_batches(revision):
            raise InvalidRequest(f"revision {revision} has no batches: a body is one message, not an array")
        if len(messages) > _MAX_BATCH:
            raise InvalidRequest(f"a batch of {len(messages)} messages, over the limit of {_MAX_BATCH}")
        if any(type(message) is Request and message.method == "initialize" for message in messages):
            # 2025-03-26, Lifecycle §Initialization: "MUST NOT be part of a JSON-RPC batch".
            raise InvalidRequest("initialize may not be part of a batch")
        kinds = {type(message) is Response for message in messages}
        if len(kinds) == 2:
            raise InvalidRequest("a batch holds either responses, or requests and notifications")

    async def _answer(
        self,
        exchange: Exchange,
        session: Session,
        cursor: Cursor,
        headers: tuple[tuple[bytes, bytes], ...] = (),
        *,
        is_batch: bool = False,
    ) -> None:
        """Answer with what the stream carries: as one body where that will do, else as a stream."""
        answers: list[bytes] = []
        # The head of the answer to `initialize` depends on what it says.
        at_once = exchange.can_answer_at_once and not (is_batch or headers)
        answered = await cursor.wait_answer(ANSWER_AT_ONCE, exchange.answer_at_once if at_once else None)
        if cursor.is_answered:
            session.log.forget(cursor.stream)
            await exchange.finish()
            return
        if answered and (self._json_only or not is_batch):
            _, answers = await cursor.read()
        elif self._json_only:
            answers = await self._collect(exchange, cursor)
        if session.is_refused or session.has_ended:
            # There is no session whose id could be told.
            headers = ()
        if answers:
            session.log.forget(cursor.stream)
            await exchange.respond_json(200, b"[%b]" % b",".join(answers) if is_batch else answers[0], headers)
            return
        # Without sessions nothing can be resumed, and an id would promise that it can.
        keeps = session.log.keeps_sent and not self._config.stateless
        # Without an opening the client would see no response at all until the server says something.
        first = b"" if cursor.has_something else OPENING
        if keeps and has_priming_events(session.revision):
            first = priming(cursor)
        await exchange.carry(cursor, id_prefix=cursor.stream.id_prefix if keeps else None, first=first, headers=headers)

    async def _collect(self, exchange: Exchange, cursor: Cursor) -> list[bytes]:
        """Return all the answers that the stream will carry."""
        answers: list[bytes] = []

        async def collect() -> None:
            while not cursor.is_at_end:
                answers.extend((await cursor.read())[1])

        await exchange.run_while_connected(collect)
        return answers

    # GET and DELETE

    async def _get(self, exchange: Exchange) -> None:
        check_accept(exchange.header(b"accept"), EVENT_STREAM)
        session = self._find_session(exchange)
        check_revision(exchange.header(b"mcp-protocol-version"))
        keeps = session.log.keeps_sent
        stream, position = session.log.standalone, None
        last_event_id = exchange.header(b"last-event-id")
        if last_event_id:
            if not keeps:
                raise EventNotFound("streams can't be resumed here: the event store is off")
            stream, position = session.log.find(last_event_id.decode("latin-1"))
            if self._json_only and stream is not session.log.standalone:
                raise EventNotFound("the answers to requests are no streams here, and can't be resumed")
        with session.attach(stream, position) as cursor:
            first = priming(cursor) if keeps and has_priming_events(session.revision) else OPENING
            await exchange.carry(cursor, id_prefix=stream.id_prefix if keeps else None, first=first)

    async def _delete(self, exchange: Exchange) -> None:
        session = self._find_session(exchange)
        check_revision(exchange.header(b"mcp-protocol-version"))
        session.close(Unavailable("the client has ended the session"))
        await exchange.respond(204)

    def _find_session(self, exchange: Exchange, messages: list[Message] | None = None) -> Session:
        session_id = exchange.header(b"mcp-session-id")
        if session_id is not None:
            return self._directory.find(session_id.decode("latin-1"), exchange.principal)
        _refuse_modern(messages or ())
        raise SessionRequired("Mcp-Session-Id is missing: begin with initialize, and send the id that it returns")

    # Without sessions

    async def _answer_without_session(self, exchange: Exchange, messages: list[Message], *, is_batch: bool) -> None:
        """Serve one POST with a child of its own, which is gone when the response is."""
        header = exchange.header(b"mcp-protocol-version")
        check_revision(header)
        _refuse_modern(messages)
        # "the server SHOULD assume protocol version 2025-03-26" (Transports §Protocol Version Header).
        revision = BATCH_REVISION if header is None else header.decode()
        if is_batch:
            self._check_batch(messages, revision)
        if not any(type(message) is Request for message in messages):
            # There is no server that it could be meant for.
            await exchange.respond(202)
            return
        session = await self._directory.open(
            exchange.principal, AuthRequest(exchange.scope), mixes=not self._json_only, declines=True
        )
        try:
            if not (type(messages[0]) is Request and messages[0].method == "initialize"):
                await exchange.run_while_connected(partial(session.shake_hands, revision))
            stream = await session.submit(messages)
            assert stream is not None
            with session.attach(stream) as cursor:
                await self._answer(exchange, session, cursor, is_batch=is_batch)
        finally:
            session.close(Unavailable("the request is answered"))


def _names_modern(exchange: Exchange) -> bool:
    revision = exchange.header(b"mcp-protocol-version")
    return revision is not None and revision.decode("latin-1") in MODERN_REVISIONS


def _refuse_modern(messages: Sequence[Message]) -> None:
    """Refuse what belongs to 2026-07-28, so that its client falls back to the handshake.

    2026-07-28, Versioning §Backward Compatibility: a client "inspect[s] the body of a 400 Bad Request"; a "recognized
    modern JSON-RPC error … identifies a modern server", "anything else identifies a legacy server".
    """
    if any(type(message) is Request and message.has_modern_claim for message in messages):
        raise UnsupportedRevision("this server speaks the revisions with a handshake: begin with initialize")
