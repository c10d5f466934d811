"""One TCP connection: HTTP/1.1 in, ASGI out (RFC 9112; ASGI HTTP 2.4).

    the connection's task:   read a head → run the application → next

Hypercorn serves a connection with a task that reads and pushes, and a task per request that is pushed to, through a
channel.  Between the two stand the faults that a public server can't have: the reader blocks on a full channel and no
longer sees the client leave; a response that comes before the end of the request waits for ever; two tasks close one
socket and one of them dies of it, taking the whole server along.

Here the application runs in the connection's own task and *pulls*: `receive` reads the socket.  Nothing is queued, so that
TCP itself slows down a client that sends faster than it is read; an early answer simply stops reading; and who waits for
`http.disconnect` waits for the socket.  It is also less work: no task, no channel and one write for an answer.

A *plain* request (`heads`), and an answer that is whole when it begins, pass without h11, which has read and written their
heads once and is not asked again.  Everything else is h11's; where it turns out to be so only on the way, as when an answer
becomes a stream, h11 is brought to where it would be, and goes on (`_let_h11`).

What stays hypercorn's: its configuration and limits, its TLS, its worker context, the application's wrapper, and the
`TCPServer` that this one is.  HTTP/2, h2c and WebSocket are not served; MCP has no use for them.
"""

from __future__ import annotations

import logging
import math
import os
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from email.utils import formatdate
from functools import lru_cache
from typing import Any, Final

import h11
import trio
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.utils import parse_socket_addr

from .gather import drop, gather
from .heads import Head, Headers, pretend_plain, write_plain
from .protocol.errors import BodyTooSlow, InvalidRequest, TrioproxyError, error_response, status_and_code
from .worker import Worker

logger = logging.getLogger("trioproxy.connection")

AT_ONCE: Final = "trioproxy.at_once"
"""An ASGI extension of ours: a whole response sent by whoever has it, in whichever task that is."""
READ_SIZE: Final = 64 * 1024
_PIECE_SIZE: Final = 256 * 1024
HEAD_TIME: Final = 10.0
"""Seconds for a request's head to arrive once it has begun to."""
BODY_TIME: Final = 60.0
"""Seconds for the rest of a request's body to arrive, from when the application begins to wait for it."""
SEND_TIME: Final = 30.0
"""Seconds for a client to take at least some of what is being sent to it."""
LINGER_TIME: Final = 2.0
"""Seconds in which what a client still sends after its early answer is thrown away, so that it gets to read the answer."""
_MAX_READ_AHEAD: Final = 64 * 1024
"""Bytes of further requests that are read while a response runs; they are read at all to see the client leave."""
_TLS_WRITE_SIZE: Final = 64 * 1024
_REASON_SHOWN: Final = 200
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})
_UNREAD: Final = frozenset({h11.SEND_BODY, h11.ERROR})
_QUOTED_LINE: Final = re.compile(r"(illegal (?:header|request) line): .*", re.DOTALL)


class ClientGone(OSError):
    """The client has closed the connection, or has stopped reading (ASGI: "servers should raise an OSError")."""


class Connection(TCPServer):
    """A connection, from accept to close."""

    context: Worker

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=self.config.h11_max_incomplete_size)
        # Hypercorn's types name every kind of ASGI message; ours are the few of HTTP.
        self._application: Any = self.app
        self.deadline = math.inf  # for what the client owes us: the head of the next request, the rest of a body
        self._body_deadline: float | None = None  # of the request that is being served, once its body is waited for
        self._is_idle = False  # waiting for a request
        self._is_expired = False
        self._scope_of_life = trio.CancelScope()
        self._fd = -1
        self._malformed: str | None = None  # what was wrong with a request's body
        self._begun: tuple[int, Headers] | None = None  # a response, held back until its first bytes of body
        self._answer_started = False
        self._unsent = b""  # of an answer that was sent at once
        self._is_head = False  # the request is HEAD
        self._is_plain = False  # h11 has not seen the request that is served
        self._remaining = 0  # of the body of a plain request, to be handed over
        self._piece = b""  # the first of it, which has come with its head
        self._owes_end = False  # `receive` is still to say that the request has no body
        self._lost = False
        self._socket: Any = None
        self._tls = False
        self._scope: dict[str, Any] = {}

    async def run(self) -> None:
        """Serve requests, one after the other, until either side has had enough.

        This is a boundary: whatever a client does, and whatever the application does with it, ends this connection at
        most.
        """
        try:
            await self._shake_hands()
            self.context.connections.add(self)
            with self._scope_of_life:
                await self._serve()
            if self._is_expired:
                await self._refuse(BodyTooSlow("the request did not arrive in time"))
                await self._linger()
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        except Exception:
            logger.exception("a connection failed")
        finally:
            self.context.connections.discard(self)
            is_sound = not self._lost
            # The number of our socket is soon another's, and the application may have kept `send`.
            self._lost = True
            await self._say_goodbye(is_sound)

    async def _say_goodbye(self, is_sound: bool) -> None:
        if self._tls and is_sound:
            # "Servers MUST attempt to initiate an exchange of closure alerts" (RFC 9112 §9.8), but who doesn't read
            # shall not hold us.
            with trio.move_on_after(1, shield=True), suppress(OSError, trio.BrokenResourceError, trio.ClosedResourceError):
                await self.stream.aclose()
        await trio.aclose_forcefully(self.stream)

    async def _shake_hands(self) -> None:
        transport: Any = self.stream
        if isinstance(self.stream, trio.SSLStream):
            transport = self.stream.transport_stream
            try:
                with trio.fail_after(self.config.ssl_handshake_timeout):
                    await self.stream.do_handshake()
            except trio.TooSlowError:
                raise ClientGone("no TLS handshake in time") from None
            self._tls = True
        self._socket = transport.socket
        self._fd = self._socket.fileno()
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "scheme": "https" if self._tls else "http",
            "client": parse_socket_addr(self._socket.family, self._socket.getpeername()),
            "server": parse_socket_addr(self._socket.family, self._socket.getsockname()),
            "root_path": "",
            # TLS may have to wait before it can write.
            "extensions": {} if self._tls else {AT_ONCE: {"answer": self._answer_at_once, "flush": self._flush}},
        }

    async def _serve(self) -> None:
        http = self._http
        while (head := await self._next_request()) is not None:
            await self._answer(head)
            if self._lost or self.context.terminated.is_set():
                break
            if self._is_plain:
                # It has had its whole answer, or h11 would have taken over.
                continue
            if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
                break
            http.start_next_cycle()
        await self._linger()

    # Requests

    async def _next_request(self) -> Head | None:
        """Return the next request's head; None if there is none to come, or none that can be served."""
        http = self._http
        # Time that was up in the last moment of a request that has been answered is not to be complained of.
        self._is_expired = self._is_head = self._is_plain = False
        event: Any = None
        refusal: tuple[TrioproxyError, int] | None = None
        try:
            event = http.next_event()
            if event is h11.NEED_DATA:
                self._is_idle = True
                self.deadline = trio.current_time() + self.config.keep_alive_timeout
                while event is h11.NEED_DATA and not self.context.terminated.is_set():
                    data = await self._read()
                    if not http.trailing_data[0] and (plain := self.context.heads.find(data)):
                        self._is_idle = False
                        self.deadline = math.inf
                        return self._begin_plain(*plain)
                    http.receive_data(data)
                    # However slowly it drips, a head has one deadline from its first byte.
                    self.deadline = min(self.deadline, trio.current_time() + HEAD_TIME)
                    event = http.next_event()
                self._is_idle = False
                self.deadline = math.inf
            else:
                # It came along with the one before.  Who sends thousands at once shall not be the only one served.
                await trio.lowlevel.checkpoint()
            if type(event) is not h11.Request:
                return None
            self._is_head = event.method == b"HEAD"
            refusal = self._look_at(event)
        except h11.RemoteProtocolError as error:
            self._is_idle = False
            self.deadline = math.inf
            refusal = InvalidRequest(_reason(error)), error.error_status_hint
        if refusal is not None:
            await self._refuse(*refusal)
            return None
        return Head.of(event)

    def _begin_plain(self, head: Head, length: int, piece: bytes) -> Head:
        self._is_plain = True
        self._owes_end = not length
        self._remaining, self._piece = length, piece
        return head

    def _let_h11(self) -> None:
        """Let h11 see to a plain request from here on, since its answer will be no plain one."""
        if self._is_plain:
            self._is_plain = False
            pretend_plain(self._http, self._remaining)
            piece, self._piece = self._piece, b""
            if piece:
                self._http.receive_data(piece)

    def _look_at(self, request: h11.Request) -> tuple[TrioproxyError, int] | None:
        """Note whether a body will follow; return what is wrong with the request though h11 accepts it, and a status."""
        headers = request.headers.raw_items()
        framing = [value for name, value in headers if name.lower() in _FRAMING]
        if len(framing) > 1:
            # The stuff of request smuggling (RFC 9112 §6.1).  h11 has refused or joined two of the same name.
            return InvalidRequest("Content-Length and Transfer-Encoding exclude each other"), 400
        version = request.http_version
        if version != b"1.1":
            if not version.startswith(b"1."):
                return InvalidRequest(f"HTTP/{version.decode()} is not spoken here, but HTTP/1.1 is"), 505
            if version > b"1.1" and not any(name.lower() == b"host" for name, _ in headers):
                return InvalidRequest("Missing mandatory Host: header"), 400
        self._owes_end = not framing or not framing[0].strip(b"0")
        if self._owes_end:
            # Else the request would look unfinished to whoever answers without reading its body.
            self._http.next_event()
        return None

    async def _read(self, size: int = READ_SIZE) -> bytes:
        """Return the next bytes, at most so many; b"" at the end."""
        data: bytes | None = None
        while data is None:
            if self._tls:
                data = bytes(await self.stream.receive_some(size))
            else:
                # In this order there is one round of the scheduler and one system call for each piece.
                await trio.lowlevel.wait_readable(self._fd)
                try:
                    data = os.read(self._fd, size)
                except BlockingIOError:
                    continue
        self.context.metrics.received += len(data)
        return data

    def close_if_idle(self) -> None:
        """End the connection if it waits for a request."""
        if self._is_idle:
            self._scope_of_life.cancel()

    def expire(self) -> None:
        """End the connection, since what it waits for has not come in time."""
        # A client that has not begun a request will not expect an answer to one.
        self._is_expired = not self._is_idle or bool(self._http.trailing_data[0])
        self._scope_of_life.cancel()

    async def _answer(self, head: Head) -> None:
        self._answer_started = False
        self._begun = None
        self._body_deadline = None
        scope = {
            **self._scope,
            "http_version": head.version,
            "method": head.method,
            "path": head.path,
            "raw_path": head.raw_path,
            "query_string": head.query,
            # The application's own, since the head may be remembered.
            "headers": [*head.headers],
            "state": {},
        }
        try:
            await self._application(scope, self._receive, self._send, None, None)
        except* ClientGone:
            self._lost = True
        except* Exception:
            # One exchange may fail without the others.
            logger.exception("%s %s failed", scope["method"], scope["path"])
        if self._unsent:
            # Else the next answer would be taken for the rest of this one.
            with suppress(ClientGone):
                await self._flush()
        if not self._answer_started:
            await self._refuse(InvalidRequest(self._malformed) if self._malformed else TrioproxyError("the server failed"))

    async def _refuse(self, error: TrioproxyError, status: int | None = None) -> None:
        """Answer what never reached the application, or what it left without an answer; no other request follows."""
        if self._is_plain and self._answer_started:
            return
        self._let_h11()
        if self._lost or self._http.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            return
        if status is None:
            status, _ = status_and_code(error)
        self.context.metrics.refusals.add(str(status), type(error).__name__)
        body = error_response(error, None)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        pieces = [self._http.send(h11.Response(status_code=status, headers=[*headers, (b"connection", b"close"), _date()]))]
        if not self._is_head:
            pieces.append(self._http.send(h11.Data(data=body)))
        pieces.append(self._http.send(h11.EndOfMessage()))
        with suppress(ClientGone):
            await self._write(pieces)

    async def _receive(self) -> dict[str, Any]:
        """ASGI's `receive`: what has come of the body, and after its end the client's leaving."""
        http = self._http
        if self._is_plain and self._remaining and not self._lost:
            return await self._receive_plain()
        if self._owes_end:
            self._owes_end = False
            return {"type": "http.request", "body": b"", "more_body": False}
        if self._is_plain and self._answer_started:
            return {"type": "http.disconnect"}
        self._let_h11()
        pieces: list[bytes] = []
        while http.their_state is h11.SEND_BODY and not self._lost:
            try:
                event = http.next_event()
                if type(event) is h11.Data:
                    pieces.append(event.data)
                elif type(event) is h11.EndOfMessage or pieces:
                    more = type(event) is not h11.EndOfMessage
                    return {"type": "http.request", "body": b"".join(pieces), "more_body": more}
                else:
                    if http.they_are_waiting_for_100_continue:
                        await self._write([http.send(h11.InformationalResponse(status_code=100, headers=[]))])
                    http.receive_data(await self._read_body())
            except h11.RemoteProtocolError as error:
                self._malformed = _reason(error)
                return {"type": "http.disconnect"}
            except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
                self._lost = True
        await self._wait_gone()
        return {"type": "http.disconnect"}

    async def _receive_plain(self) -> dict[str, Any]:
        """The same for a body of so many bytes, of which no more is read than there is: what follows is another request."""
        piece, self._piece = self._piece, b""
        try:
            piece = piece or await self._read_body(min(self._remaining, _PIECE_SIZE))
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            self._lost = True
            return {"type": "http.disconnect"}
        if not self._is_plain:
            # Another task has begun to answer meanwhile, and what is still to come was left to h11.
            self._http.receive_data(piece)
            return await self._receive()
        if not piece:
            self._malformed = f"the body ended {self._remaining} bytes before it was announced to"
            return {"type": "http.disconnect"}
        self._remaining -= len(piece)
        return {"type": "http.request", "body": piece, "more_body": self._remaining > 0}

    async def _read_body(self, size: int = READ_SIZE) -> bytes:
        # Whoever sweeps the connections enforces it: a scope for each body would cost as much as parsing its head.
        if self._body_deadline is None:
            self._body_deadline = trio.current_time() + BODY_TIME
        self.deadline = self._body_deadline
        try:
            return await self._read(size)
        finally:
            self.deadline = math.inf

    async def _wait_gone(self) -> None:
        """Return once the client has closed its side."""
        with suppress(OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            while not self._lost and self._malformed is None:
                if len(self._http.trailing_data[0]) > _MAX_READ_AHEAD:
                    # Somebody sends requests faster than they are served.  Whether they leave is told by the next write.
                    await trio.sleep_forever()
                data = await self._read()
                self._http.receive_data(data)
                if not data:
                    break
        self._lost = self._lost or self._malformed is None

    # Responses

    async def _send(self, message: dict[str, Any]) -> None:
        """ASGI's `send`.

        Raises:
          ClientGone: there is nobody to send it to any more.
        """
        if self._lost:
            raise ClientGone("the client has closed the connection")
        if message["type"] == "http.response.start":
            # ASGI allows pairs to be lists; what is cached has to be hashable.
            self._begun = message["status"], [*map(tuple, message.get("headers", ()))]
            return
        await self._write(self._render(message.get("body", b""), more=message.get("more_body", False)))

    def _render(self, body: bytes, *, more: bool) -> Sequence[bytes]:
        """Return the next piece of the response, which opens with its head."""
        begun, self._begun = self._begun, None
        if self._is_plain:
            if self._answer_started:
                raise RuntimeError("the response is complete")
            if begun is not None and not (more or self._remaining or self.context.terminated.is_set()):
                whole = write_plain(*begun, _date(), body)
                if whole is not None:
                    self._answer_started = True
                    return [whole]
            self._let_h11()
        pieces = [] if begun is None else [self._start(*begun)]
        if body and not self._is_head:
            pieces += self._http.send_with_data_passthrough(h11.Data(data=body)) or ()
        if not more:
            pieces += self._http.send_with_data_passthrough(h11.EndOfMessage()) or ()
        return pieces

    def _start(self, status: int, headers: Headers) -> bytes:
        headers = [*headers, _date()]
        if self._http.their_state in _UNREAD or self.context.terminated.is_set():
            # The rest of the body will not be read, so that nothing else can be on this connection.
            headers.append((b"connection", b"close"))
        head = self._http.send(_response(status, tuple(headers)))
        self._answer_started = True
        return head

    def _answer_at_once(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a whole response as far as the socket takes it now; `_flush` sends the rest.

        Whoever has the answer need not wait until the connection's task gets its turn; the client is spared a round of the
        scheduler.  What goes wrong is told by `_flush`, to the task whose connection it is.
        """
        if self._lost:
            return
        self._begun = status, headers
        pieces = self._render(body, more=False)
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        try:
            self._unsent = data[os.write(self._fd, data) :]
            self.context.metrics.sent += len(data) - len(self._unsent)
        except OSError:
            # Perhaps it is only that the socket is full.
            self._unsent = data

    async def _flush(self) -> None:
        """Send what `_answer_at_once` could not.

        Raises:
          ClientGone: there is nobody to send it to any more.
        """
        if self._lost:
            raise ClientGone("the client has closed the connection")
        unsent, self._unsent = self._unsent, b""
        if unsent:
            await self._write([unsent])

    async def _write(self, pieces: Sequence[bytes]) -> None:
        """Send all of `pieces`.

        A write that was cancelled, or that the client did not take, leaves the stream of bytes broken off somewhere:
        the connection is lost then.

        Raises:
          ClientGone: the client is gone, or has not taken anything for SEND_TIME.
        """
        rest = gather(pieces)
        self.context.metrics.sent += sum(map(len, rest))
        try:
            if self._tls:
                await self._write_tls(rest[0] if len(rest) == 1 else memoryview(b"".join(rest)))
                return
            while rest:
                # What the kernel takes at once, and that is nearly everything, costs no round of the scheduler.
                try:
                    drop(rest, os.writev(self._fd, rest))
                    if not rest:
                        return
                except BlockingIOError:
                    pass
                with trio.fail_after(SEND_TIME):
                    await trio.lowlevel.wait_writable(self._fd)
        except trio.TooSlowError:
            self._lost = True
            raise ClientGone(f"the client has read nothing for {SEND_TIME:g} s") from None
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            self._lost = True
            raise ClientGone("the client has closed the connection") from None
        except trio.Cancelled:
            self._lost = True
            raise

    async def _write_tls(self, rest: memoryview) -> None:
        while rest:
            with trio.fail_after(SEND_TIME):
                await self.stream.send_all(rest[:_TLS_WRITE_SIZE])
            rest = rest[_TLS_WRITE_SIZE:]

    async def _linger(self) -> None:
        """After the last answer on a connection: let the client read it, though it may still be sending.

        To close a socket with unread data on it is to reset the connection, and the answer is lost with it (RFC 9112
        §9.6).
        """
        http = self._http
        if self._lost or (http.their_state not in _UNREAD and not http.trailing_data[0]):
            return
        transport: Any = self.stream.transport_stream if self._tls else self.stream
        with trio.move_on_after(LINGER_TIME):
            await transport.send_eof()
            while await transport.receive_some(READ_SIZE):
                pass


def _reason(error: h11.RemoteProtocolError) -> str:
    """Return what h11 objects to, without the line that it quotes: there may be a key in it."""
    return _QUOTED_LINE.sub(r"\1", str(error))[:_REASON_SHOWN]


@lru_cache(maxsize=256)
def _response(status: int, headers: tuple[tuple[bytes, bytes], ...]) -> h11.Response:
    """Return a response's head; h11 takes longer to check one than to send it, and most are like one before."""
    return h11.Response(status_code=status, headers=list(headers))


_dated: tuple[int, tuple[bytes, bytes]] = (0, (b"date", b""))


def _date() -> tuple[bytes, bytes]:
    """Return the Date header, which changes once a second and takes longer to format than to look up."""
    global _dated
    now = int(time.time())
    if _dated[0] != now:
        _dated = (now, (b"date", formatdate(now, usegmt=True).encode()))
    return _dated[1]
