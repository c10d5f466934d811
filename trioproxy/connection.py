"""One TCP connection: HTTP/1.1 in, ASGI out (RFC 9112; ASGI HTTP 2.4).

    the connection's task:   read a head → run the application → next

Hypercorn serves a connection with a task that reads and pushes, and a task per request that is pushed to, through a
channel.  Between the two stand the faults that a public server can't have: the reader blocks on a full channel and no
longer sees the client leave; a response that comes before the end of the request waits for ever; two tasks close one
socket and one of them dies of it, taking the whole server along.

Here the application runs in the connection's own task and *pulls*: `receive` reads the socket.  Nothing is queued, so that
TCP itself slows down a client that sends faster than it is read; an early answer simply stops reading; and who waits for
`http.disconnect` waits for the socket.  It is also less work: no task, no channel and one write for an answer.

What stays hypercorn's: its configuration and limits, its TLS, its worker context, the application's wrapper, and the
`TCPServer` that this one is.  HTTP/2, h2c and WebSocket are not served; MCP has no use for them.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from email.utils import formatdate
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote

import h11
import trio
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.utils import parse_socket_addr

logger = logging.getLogger("trioproxy.connection")

READ_SIZE: Final = 64 * 1024
HEAD_TIME: Final = 10.0
"""Seconds for a request's head to arrive once it has begun to."""
SEND_TIME: Final = 30.0
"""Seconds for a client to take at least some of what is being sent to it."""
LINGER_TIME: Final = 2.0
"""Seconds in which what a client still sends after its early answer is thrown away, so that it gets to read the answer."""
_SWEEP_TIME: Final = 1.0
_MAX_READ_AHEAD: Final = 64 * 1024
"""Bytes of further requests that are read while a response runs; they are read at all to see the client leave."""
_WRITE_SIZE: Final = 256 * 1024


class ClientGone(OSError):
    """The client has closed the connection, or has stopped reading (ASGI: "servers should raise an OSError")."""


class Worker(WorkerContext):
    """What the connections of one listener share: hypercorn's `terminated` event, and one clock."""

    def __init__(self) -> None:
        super().__init__(None)
        self.connections: set[Connection] = set()

    async def sweep(self) -> None:
        """Close the connections whose next request is overdue.

        One task looks at all of them; with a timer each, starting and stopping it cost more than parsing a request.
        """
        while True:
            await trio.sleep(_SWEEP_TIME)
            now = trio.current_time()
            for connection in self.connections:
                if connection.deadline <= now:
                    connection.close_if_idle()

    async def terminate_idle(self) -> None:
        """Let the connections without a request end now, and the others with their request."""
        await self.terminated.set()
        for connection in self.connections:
            connection.close_if_idle()


class Connection(TCPServer):
    """A connection, from accept to close."""

    context: Worker

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=self.config.h11_max_incomplete_size)
        # Hypercorn's types name every kind of ASGI message; ours are the few of HTTP.
        self._application: Any = self.app
        self.deadline = math.inf  # for the head of the next request
        self._scope_of_life = trio.CancelScope()
        self._fd = -1
        self._malformed: str | None = None  # what was wrong with a request's body
        self._head: list[bytes] = []  # of a response, held back until its first bytes of body
        self._answer_started = False
        self._request: h11.Request | None = None
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
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        except Exception:
            logger.exception("a connection failed")
        finally:
            self.context.connections.discard(self)
            # `aclose` sends TLS's goodbye and waits for it to be taken; who doesn't read shall not hold us.
            with trio.move_on_after(1, shield=True):
                await self.stream.aclose()

    async def _shake_hands(self) -> None:
        transport: Any = self.stream
        if isinstance(self.stream, trio.SSLStream):
            self._tls = True
            transport = self.stream.transport_stream
            try:
                with trio.fail_after(self.config.ssl_handshake_timeout):
                    await self.stream.do_handshake()
            except trio.TooSlowError:
                raise ClientGone("no TLS handshake in time") from None
        self._socket = transport.socket
        self._fd = self._socket.fileno()
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "scheme": "https" if self._tls else "http",
            "client": parse_socket_addr(self._socket.family, self._socket.getpeername()),
            "server": parse_socket_addr(self._socket.family, self._socket.getsockname()),
            "root_path": "",
            "extensions": {},
        }

    async def _serve(self) -> None:
        while (request := await self._next_request()) is not None:
            await self._answer(request)
            http = self._http
            if http.our_state is not h11.DONE or http.their_state is not h11.DONE or self._lost:
                break
            if self.context.terminated.is_set():
                break
            http.start_next_cycle()
        await self._linger()

    # Requests

    async def _next_request(self) -> h11.Request | None:
        """Return the next request's head; None if there is none to come, or none that can be served."""
        http = self._http
        self.deadline = trio.current_time() + self.config.keep_alive_timeout
        try:
            while (event := http.next_event()) is h11.NEED_DATA:
                if self.context.terminated.is_set():
                    return None
                http.receive_data(await self._read())
                # However slowly it drips, a head has one deadline from its first byte.
                self.deadline = min(self.deadline, trio.current_time() + HEAD_TIME)
        except h11.RemoteProtocolError as error:
            await self._refuse(error.error_status_hint, str(error))
            return None
        self.deadline = math.inf
        if type(event) is not h11.Request:
            return None
        if _is_ambiguous(event):
            await self._refuse(400, "Content-Length and Transfer-Encoding exclude each other")
            return None
        return event

    async def _read(self) -> bytes:
        """Return the next bytes, b"" at the end."""
        if self._tls:
            return bytes(await self.stream.receive_some(READ_SIZE))
        while True:
            # In this order there is one round of the scheduler and one system call for each piece.
            await trio.lowlevel.wait_readable(self._fd)
            try:
                return os.read(self._fd, READ_SIZE)
            except BlockingIOError:
                continue

    def close_if_idle(self) -> None:
        """End the connection if it waits for a request."""
        if self.deadline < math.inf:
            self._scope_of_life.cancel()

    async def _answer(self, request: h11.Request) -> None:
        self._request = request
        self._answer_started = False
        path, _, query = request.target.partition(b"?")
        scope = {
            **self._scope,
            "http_version": request.http_version.decode(),
            "method": request.method.decode().upper(),
            "path": unquote(path.decode("latin-1")),
            "raw_path": path,
            "query_string": query,
            "headers": list(request.headers),
            "state": {},
        }
        try:
            await self._application(scope, self._receive, self._send, None, None)
        except* ClientGone:
            self._lost = True
        except* Exception:
            # One exchange may fail without the others.
            logger.exception("%s %s failed", scope["method"], scope["path"])
        if not self._answer_started and not self._lost:
            await self._refuse(*((400, self._malformed) if self._malformed else (500, "the server failed")))

    async def _refuse(self, status: int, reason: str) -> None:
        """Answer what never reached the application, or what it left without an answer; no other request follows."""
        if self._http.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            return
        body = reason.encode()
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
        pieces = [self._http.send(h11.Response(status_code=status, headers=[*headers, (b"connection", b"close"), _date()]))]
        if not self._is_head():
            pieces.append(self._http.send(h11.Data(data=body)))
        pieces.append(self._http.send(h11.EndOfMessage()))
        with suppress(ClientGone):
            await self._write(pieces)

    def _is_head(self) -> bool:
        return self._request is not None and self._request.method == b"HEAD"

    async def _receive(self) -> dict[str, Any]:
        """ASGI's `receive`: what has come of the body, and after its end the client's leaving."""
        http = self._http
        pieces: list[bytes] = []
        while http.their_state is h11.SEND_BODY:
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
                    http.receive_data(await self._read())
            except h11.RemoteProtocolError as error:
                self._malformed = str(error)
                return {"type": "http.disconnect"}
            except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
                self._lost = True
        await self._wait_gone()
        return {"type": "http.disconnect"}

    async def _wait_gone(self) -> None:
        """Return once the client has closed its side."""
        read_ahead = 0
        with suppress(OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            while not self._lost and self._malformed is None:
                if read_ahead > _MAX_READ_AHEAD:
                    # Somebody sends requests faster than they are served.  Whether they leave is told by the next write.
                    await trio.sleep_forever()
                data = await self._read()
                self._http.receive_data(data)
                read_ahead += len(data)
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
        http = self._http
        if message["type"] == "http.response.start":
            headers = [*message.get("headers", ()), _date()]
            if http.their_state is h11.SEND_BODY or self.context.terminated.is_set():
                # The rest of the body will not be read, so that nothing else can be on this connection.
                headers.append((b"connection", b"close"))
            self._head = [http.send(_response(message["status"], tuple(headers)))]
            self._answer_started = True
            return
        pieces, self._head = self._head, []
        body = message.get("body", b"")
        if body and not self._is_head():
            pieces += http.send_with_data_passthrough(h11.Data(data=body)) or ()
        if not message.get("more_body", False):
            pieces += http.send_with_data_passthrough(h11.EndOfMessage()) or ()
        await self._write(pieces)

    async def _write(self, pieces: Sequence[bytes]) -> None:
        """Send all of `pieces`.

        A write that was cancelled, or that the client did not take, leaves the stream of bytes broken off somewhere:
        the connection is lost then.

        Raises:
          ClientGone: the client is gone, or has not taken anything for SEND_TIME.
        """
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        rest = memoryview(data)
        if not self._tls:
            # What the kernel takes at once, and that is nearly everything, costs no round of the scheduler.
            try:
                rest = rest[os.write(self._fd, data) :]
            except BlockingIOError:
                pass
            except OSError:
                self._lost = True
                raise ClientGone("the client has closed the connection") from None
        if not rest:
            return
        self._lost = True
        try:
            while rest:
                with trio.fail_after(SEND_TIME):
                    await self.stream.send_all(rest[:_WRITE_SIZE])
                rest = rest[_WRITE_SIZE:]
        except trio.TooSlowError:
            raise ClientGone(f"the client has read nothing for {SEND_TIME:g} s") from None
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            raise ClientGone("the client has closed the connection") from None
        self._lost = False

    async def _linger(self) -> None:
        """After an answer that came before the end of the request: let the client read it.

        To close a socket with unread data on it is to reset the connection, and the answer is lost with it.
        """
        if self._lost or self._tls or self._http.their_state not in {h11.SEND_BODY, h11.ERROR}:
            return
        with trio.move_on_after(LINGER_TIME):
            await self.stream.send_eof()
            while await self.stream.receive_some(READ_SIZE):
                pass


def _is_ambiguous(request: h11.Request) -> bool:
    """Whether a request says twice, in different ways, how long it is: the stuff of request smuggling (RFC 9112 §6.1)."""
    names = [name for name, _ in request.headers]
    return b"transfer-encoding" in names and b"content-length" in names


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
