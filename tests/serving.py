"""Listeners with small applications, and clients that write bytes as they like."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import h11
import trio

from tests import wire
from trioproxy.config import ListenConfig
from trioproxy.listener import ASGIApp, Listener, open_listener

OK = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@asynccontextmanager
async def serving(
    app: ASGIApp, keep_alive_timeout: float | None = 75, max_connections: int | None = None, **listen: Any
) -> AsyncIterator[Listener]:
    """Serve `app` on a port of its own for as long as the block runs; `listen` are fields of ListenConfig."""
    config = ListenConfig(port=0, **listen)
    async with open_listener(config, keep_alive_timeout) as listener, trio.open_nursery() as nursery:
        nursery.start_soon(listener.serve, app, max_connections)
        yield listener
        nursery.cancel_scope.cancel()


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer with what was sent (ASGI)."""
    body = b""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        more = message["more_body"]
    await answer(send, 200, body)


async def answer(send: Any, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    """Send a whole response (ASGI)."""
    all_headers = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": all_headers})
    await send({"type": "http.response.body", "body": body})


async def ask(connection: wire.Connection, data: bytes, method: str = "GET") -> wire.Answer:
    """Send `data` as it stands, and return the next response; `method` decides whether it has a body."""
    with suppress(trio.BrokenResourceError):  # who is refused may be so before it has sent everything
        await connection.stream.send_all(data)
    return await next_answer(connection, method)


async def next_answer(connection: wire.Connection, method: str = "GET") -> wire.Answer:
    """Return the next response; `method` decides whether it has a body."""
    http = connection.http
    if http.our_state is h11.DONE:
        http.start_next_cycle()
    # What was really sent is none of its business.
    http.send(h11.Request(method=method, target="/", headers=[("host", "localhost")]))
    http.send(h11.EndOfMessage())
    response = wire.Answer(0, {})
    while not isinstance(event := http.next_event(), h11.EndOfMessage):
        if event is h11.NEED_DATA:
            http.receive_data(bytes(await connection.stream.receive_some(65536)))
        elif isinstance(event, h11.Response):
            response.status = event.status_code
            response.headers = {name.decode(): value.decode() for name, value in event.headers}
        elif isinstance(event, h11.Data):
            response.body += event.data
        else:
            raise AssertionError(f"no response: {event!r}")
    return response


async def read_to_end(stream: trio.abc.ReceiveStream) -> bytes:
    """Return all that comes until the other side closes."""
    data = b""
    try:
        while piece := await stream.receive_some():
            data += piece
    except trio.BrokenResourceError:
        pass
    return data


def reset_on_close(stream: trio.SocketStream) -> None:
    """Make closing `stream` reset the connection, as the end of a killed program on another machine may."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def wait_until(is_so: Callable[[], bool]) -> None:
    """Return once `is_so` returns true; the test's own time limit bounds it."""
    while not is_so():  # noqa: ASYNC110  what is waited for is a number in the code under test
        await trio.sleep(0.005)


def is_json_rpc_error(answer: wire.Answer) -> bool:
    """Whether the body is an error response to a request whose id could not be known."""
    body = answer.json
    return (
        answer.headers["content-type"] == "application/json"
        and body["jsonrpc"] == "2.0"
        and body["id"] is None
        and type(body["error"]["code"]) is int
        and type(body["error"]["message"]) is str
    )
