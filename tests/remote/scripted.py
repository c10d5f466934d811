"""A remote of which the test is the mind: it gets each HTTP request, and says what is answered, byte by byte if need be.

Written on h11 and trio alone, like `wire`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import h11
import trio
import trio.testing

from trioproxy.remote import Remote

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": "i",
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}
INITIALIZE_RESULT = {
    "protocolVersion": "2025-06-18",
    "capabilities": {"tools": {"listChanged": True}, "resources": {"subscribe": True}},
    "serverInfo": {"name": "scripted", "version": "1"},
}


class Exchange:
    """A request that has come, and what is answered to it."""

    def __init__(self, request: h11.Request, body: bytes, stream: trio.SocketStream, http: h11.Connection) -> None:
        self.method = request.method.decode()
        self.target = request.target.decode()
        self.headers = {name.decode(): value.decode("latin-1") for name, value in request.headers}
        self.body = body
        self.is_over = trio.Event()
        self._stream = stream
        self._http = http

    @property
    def message(self) -> Any:
        """What the body says."""
        return json.loads(self.body)

    @property
    def id(self) -> Any:
        """The id of the request that the body is."""
        return self.message["id"]

    async def reply(self, status: int = 200, body: Any = b"", kind: str = "application/json", **headers: str) -> None:
        """Answer; a body that is no bytes is sent as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        await self._begin(status, {"content-length": str(len(data)), **({"content-type": kind} if data else {})}, headers)
        await self._send(h11.Data(data=data))
        await self.end()

    async def result(self, value: Any = None, **headers: str) -> None:
        """Answer the request with a result."""
        await self.reply(200, result(self.id, value), **headers)

    async def refuse(self, status: int, code: int, message: str = "no", request_id: Any = None) -> None:
        """Answer with a status and a JSON-RPC error."""
        await self.reply(status, {"jsonrpc": "2.0", "id": request_id, "error": {"code": code, "message": message}})

    async def open_stream(self, **headers: str) -> None:
        """Answer with a stream of events."""
        await self._begin(200, {"content-type": "text/event-stream"}, headers)

    async def say(self, message: Any, event_id: str | None = None, name: str = "message") -> None:
        """Send a message as an event."""
        event = f"event: {name}\n" + ("" if event_id is None else f"id: {event_id}\n")
        data = message if isinstance(message, str) else json.dumps(message)
        await self.write(f"{event}data: {data}\n\n".encode())

    async def write(self, data: bytes) -> None:
        """Send a piece of the body."""
        await self._send(h11.Data(data=data))

    async def end(self) -> None:
        """End the response; the connection stays."""
        await self._send(h11.EndOfMessage())
        self.is_over.set()

    async def cut(self) -> None:
        """Break the connection."""
        await trio.aclose_forcefully(self._stream)
        self.is_over.set()

    async def wait_left(self) -> None:
        """Return once the client has closed the connection."""
        try:
            while await self._stream.receive_some(1):
                pass
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        self.is_over.set()

    async def _begin(self, status: int, headers: Mapping[str, str], more: Mapping[str, str]) -> None:
        all_headers = {**headers, **{name.replace("_", "-"): value for name, value in more.items()}}
        await self._send(h11.Response(status_code=status, headers=list(all_headers.items())))

    async def _send(self, event: Any) -> None:
        await self._stream.send_all(self._http.send(event) or b"")


class Scripted:
    """A server that listens, or does not."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._scope = trio.CancelScope()
        self._came, self._next = trio.open_memory_channel[Exchange](100)
        self._passed_over: list[Exchange] = []
        self._port = 0

    @property
    def url(self) -> str:
        """Where it is, or was, or will be."""
        return f"http://127.0.0.1:{self._port}/mcp"

    async def start(self) -> None:
        """Listen, on the same port as before."""
        (listener,) = await trio.open_tcp_listeners(self._port, host="127.0.0.1")
        self._port = listener.socket.getsockname()[1]
        self._scope = trio.CancelScope()
        self._nursery.start_soon(self._serve, listener, self._scope)

    async def stop(self) -> None:
        """End, and all connections with it, as if killed."""
        self._scope.cancel()
        await trio.testing.wait_all_tasks_blocked(0.01)

    async def next(self, method: str | None = None) -> Exchange:
        """Return the next request, or the next of an HTTP method; what it passes over comes later."""
        for exchange in self._passed_over:
            if method in (None, exchange.method):
                self._passed_over.remove(exchange)
                return exchange
        while method not in (None, (exchange := await self._next.receive()).method):
            self._passed_over.append(exchange)
        return exchange

    @property
    def is_quiet(self) -> bool:
        """Whether there is no request that the test has not seen."""
        return not self._passed_over and self._next.statistics().current_buffer_used == 0

    async def _serve(self, listener: trio.SocketListener, scope: trio.CancelScope) -> None:
        with scope:
            async with listener:
                await trio.serve_listeners(self._talk, [listener])

    async def _talk(self, stream: trio.SocketStream) -> None:
        async with stream:
            http = h11.Connection(h11.SERVER)
            try:
                while (exchange := await self._read(stream, http)) is not None:
                    await self._came.send(exchange)
                    await exchange.is_over.wait()
                    if http.our_state is not h11.DONE:
                        return
                    http.start_next_cycle()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass

    async def _read(self, stream: trio.SocketStream, http: h11.Connection) -> Exchange | None:
        request: h11.Request | None = None
        body = b""
        while not isinstance(event := http.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                http.receive_data(bytes(await stream.receive_some(65536)))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            else:
                return None
        assert request is not None
        return Exchange(request, body, stream, http)


@asynccontextmanager
async def open_scripted(*, listens: bool = True) -> AsyncIterator[Scripted]:
    """Run a scripted server for as long as the block runs."""
    async with trio.open_nursery() as nursery:
        server = Scripted(nursery)
        await server.start()
        if not listens:
            await server.stop()
        yield server
        nursery.cancel_scope.cancel()


class Client:
    """What a client says to a remote, and hears of it."""

    def __init__(self, remote: Remote) -> None:
        self.remote = remote
        self._heard: list[bytes] = []

    def send(self, *messages: Any) -> None:
        """Send messages, given as values or as bytes."""
        for message in messages:
            self.remote.send_nowait(message if isinstance(message, bytes) else json.dumps(message).encode())

    async def hear_line(self) -> bytes:
        """Return the next message as bytes."""
        while not self._heard:
            for message in await self.remote.receive():
                assert isinstance(message, bytes)
                self._heard.append(message)
        return self._heard.pop(0)

    async def hear(self) -> Any:
        """Return the next message as a value."""
        return json.loads(await self.hear_line())

    async def hear_error(self, request_id: Any) -> str:
        """Return the message of the error that answers a request."""
        message = await self.hear()
        assert message["id"] == request_id, message
        text: str = message["error"]["message"]
        return text


def request(request_id: Any, method: str = "tools/call", token: Any = None, **params: Any) -> dict[str, Any]:
    """Return a request of the legacy era."""
    meta = {} if token is None else {"_meta": {"progressToken": token}}
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": {**meta, **params}}


def notification(method: str, **params: Any) -> dict[str, Any]:
    """Return a notification."""
    return {"jsonrpc": "2.0", "method": method, "params": params}


def result(request_id: Any, value: Any = None) -> dict[str, Any]:
    """Return a response."""
    return {"jsonrpc": "2.0", "id": request_id, "result": {} if value is None else value}


async def shake_hands(server: Scripted, client: Client, session_id: str | None = "s1") -> Exchange:
    """Make a handshake on both sides; return the request for the standalone stream, which is not answered yet."""
    client.send(INITIALIZE)
    headers = {} if session_id is None else {"mcp_session_id": session_id}
    await (await server.next("POST")).result(INITIALIZE_RESULT, **headers)
    assert (await client.hear())["id"] == "i"
    client.send(INITIALIZED)
    await (await server.next("POST")).reply(202)
    return await server.next("GET")
