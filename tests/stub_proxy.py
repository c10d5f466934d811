"""An HTTP proxy for our client to meet: it makes tunnels, and hears what it was asked."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import h11
import trio

from tests.stub_http import Asked, Stub, open_raw_stub


@asynccontextmanager
async def open_stub_proxy(
    refusal: bytes = b"", tls: ssl.SSLContext | None = None, to: int | None = None
) -> AsyncIterator[Stub]:
    """Run a proxy that answers CONNECT, for as long as the block runs.

    Args:
      refusal: what it says instead.
      to: the port on this machine to which every tunnel leads, wherever it was to lead.
    """

    async def talk(stub: Stub, stream: trio.abc.Stream) -> None:
        http = h11.Connection(h11.SERVER)
        while not isinstance(event := http.next_event(), h11.Request):
            http.receive_data(bytes(await stream.receive_some(65536)))
        headers = {name.decode(): value.decode() for name, value in event.headers}
        stub.asked.append(Asked(event.method.decode(), event.target.decode(), headers))
        if refusal:
            await stream.send_all(refusal)
            return
        port = int(event.target.rpartition(b":")[2])
        async with await trio.open_tcp_stream("127.0.0.1", to or port) as onward, trio.open_nursery() as nursery:
            await stream.send_all(b"HTTP/1.1 200 Connection established\r\n\r\n")

            async def relay(source: trio.abc.ReceiveStream, sink: trio.abc.SendStream) -> None:
                try:
                    async for data in source:
                        await sink.send_all(data)
                except trio.BrokenResourceError:
                    pass
                nursery.cancel_scope.cancel()

            nursery.start_soon(relay, stream, onward)
            nursery.start_soon(relay, onward, stream)

    async with open_raw_stub(talk, tls) as stub:
        yield stub
