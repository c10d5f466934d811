"""HTTP with SSE, the transport of the first revision (2024-11-05, Transports §HTTP with SSE).

    GET  /sse                             opens a session; its first event says where to POST
    POST /messages?session_id=…           a message to the server; answered 202, the response is an event

The session is the GET: when it ends, so does the session.  Nothing is kept, and events have no ids.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from ..auth import AuthRequest
from ..config import Config
from ..directory import Directory
from ..exchange import Exchange
from ..large_json import read_large
from ..protocol.errors import MethodNotAllowed, SessionRequired, TrioproxyError, Unavailable
from ..protocol.headers import check_content_type
from ..protocol.messages import Request, parse_body
from ..protocol.sse import encode_endpoint_event
from ..session import Session

_ACCEPTED: Final = ((b"content-type", b"text/plain"),)


class HTTPWithSSE:
    """The endpoints at `--sse-endpoint` and `--message-endpoint`.

    Args:
      message_endpoint: where it is served, if not where the configuration says.
    """

    def __init__(self, config: Config, directory: Directory, message_endpoint: str | None = None) -> None:
        self._config = config
        self._directory = directory
        self._message_endpoint = quote(message_endpoint or config.endpoints.message_endpoint)

    async def listen(self, exchange: Exchange) -> None:
        """Serve the GET: open a session, and carry everything that its server says."""
        if exchange.method != "GET":
            raise MethodNotAllowed(f"{exchange.method} is not served here", headers=((b"allow", b"GET"),))
        session = await self._directory.open(exchange.principal, AuthRequest(exchange.scope), single_stream=True)
        try:
            prefix = exchange.scope["root_path"]
            location = f"{prefix}{self._message_endpoint}?session_id={session.id}"
            with session.attach(session.log.standalone) as cursor:
                await exchange.carry(cursor, first=encode_endpoint_event(location))
        finally:
            session.close(Unavailable("the client has closed its event stream"))

    async def post(self, exchange: Exchange) -> None:
        """Serve the POST: pass a message on."""
        if exchange.method != "POST":
            raise MethodNotAllowed(f"{exchange.method} is not served here", headers=((b"allow", b"POST"),))
        check_content_type(exchange.header(b"content-type"))
        session = self._find_session(exchange)
        body = parse_body(await exchange.read_body(self._config.limits.max_body_size), read_large)
        # Arrays came with the next revision, and were taken as one message each by some servers of this one.
        messages = body if isinstance(body, list) else [body]
        try:
            await session.submit(messages)
        except TrioproxyError as error:
            first = messages[0]
            await exchange.refuse(error, first.id if type(first) is Request else None)
            return
        await exchange.respond(202, b"Accepted", _ACCEPTED)

    def _find_session(self, exchange: Exchange) -> Session:
        values = exchange.query.get("session_id") or exchange.query.get("sessionId")
        if not values:
            raise SessionRequired("session_id is missing: POST to the address that the endpoint event has given")
        return self._directory.find(values[0], exchange.principal, single_stream=True)
