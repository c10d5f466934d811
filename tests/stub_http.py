"""HTTP servers for our client to meet: a polite one that answers what it is told to, and one that is given the bare stream.

Written on h11 and trio alone, like `wire`.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import h11
import trio


@dataclass
class Asked:
    """A request that has come."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""


@dataclass
class Reply:
    """What to answer; a body that is no bytes is sent as JSON."""

    body: Any = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


Answer = Callable[[Asked], Awaitable[Reply]]


@dataclass
class Stub:
    """A running server: what was asked, and on how many connections."""

    url: str
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0

    @property
    def targets(self) -> list[str]:
        """What was asked for."""
        return [asked.target for asked in self.asked]


def always(reply: Reply) -> Answer:
    """Return what answers everything with `reply`."""

    async def answer(asked: Asked) -> Reply:
        return reply

    return answer


@asynccontextmanager
async def open_stub(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[Stub]:
    """Run a server that keeps connections open, for as long as the block runs."""

    async def talk(stub: Stub, stream: trio.abc.Stream) -> None:
        http = h11.Connection(h11.SERVER)
        while True:
            asked = Asked("", "", {})
            while not isinstance(event := http.next_event(), h11.EndOfMessage):
                if event is h11.NEED_DATA:
                    http.receive_data(bytes(await stream.receive_some(65536)))
                elif isinstance(event, h11.Request):
                    asked.method, asked.target = event.method.decode(), event.target.decode()
                    asked.headers = {name.decode(): value.decode() for name, value in event.headers}
                elif isinstance(event, h11.Data):
                    asked.body += bytes(event.data)
                else:
                    return
            stub.asked.append(asked)
            reply = await answer(asked)
            body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            headers = {"content-length": str(len(body)), **reply.headers}
            data = http.send(h11.Response(status_code=reply.status, headers=list(headers.items()))) or b""
            data += http.send(h11.Data(data=body)) or b""
            data += http.send(h11.EndOfMessage()) or b""
            await stream.send_all(data)
            if http.our_state is not h11.DONE:
                return
            http.start_next_cycle()

    async with open_raw_stub(talk, tls) as stub:
        yield stub


@asynccontextmanager
async def open_raw_stub(
    talk: Callable[[Stub, trio.abc.Stream], Awaitable[None]], tls: ssl.SSLContext | None = None
) -> AsyncIterator[Stub]:
    """Run a server that hands each connection to `talk`, and closes it afterwards."""
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listener.socket.getsockname()[1]
        stub = Stub(f"http://127.0.0.1:{port}" if tls is None else f"https://localhost:{port}")

        async def serve(stream: trio.SocketStream) -> None:
            stub.connections += 1
            secured: trio.abc.Stream = stream
            if tls is not None:
                secured = trio.SSLStream(stream, tls, server_side=True, https_compatible=True)
            try:
                await talk(stub, secured)
            except trio.BrokenResourceError:
                # The client has left, or does not trust us.
                pass
            finally:
                await trio.aclose_forcefully(secured)

        nursery.start_soon(partial(trio.serve_listeners, serve, [listener]))
        yield stub
        nursery.cancel_scope.cancel()
