"""A TCP relay between a bridge and its remote, for what networks do to connections."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import trio
import trio.testing

_EVENT_END: Final = b"\n\n"


class Wire:
    """What happens to the connections.

    Attributes:
      port: where it listens.
      events: how many events of the server each connection carries before it is cut; None for any number.
      beyond: how many bytes it carries of the event after these.
      slow: what is sent to the server and has this in it takes its time.
      cuts: how many connections have been cut.
    """

    def __init__(self, target: int, nursery: trio.Nursery) -> None:
        self.port = 0
        self.events: int | None = None
        self.beyond = 0
        self.slow: bytes | None = None
        self.cuts = 0
        self._target = target
        self._nursery = nursery
        self._listening = trio.CancelScope()
        self._posting: set[trio.CancelScope] = set()

    async def listen(self) -> None:
        """Take connections at `port`; at any port that is free if that is 0."""
        (listener,) = await trio.open_tcp_listeners(self.port, host="127.0.0.1")
        self.port = listener.socket.getsockname()[1]
        self._nursery.start_soon(self._accept, listener)

    async def refuse(self) -> None:
        """Take no new connections, and let only those be that carry a GET now: the streams that last."""
        self._listening.cancel()
        for scope in self._posting:
            scope.cancel()
        await trio.testing.wait_all_tasks_blocked()

    async def _accept(self, listener: trio.SocketListener) -> None:
        with trio.CancelScope() as self._listening:
            async with listener:
                while True:
                    self._nursery.start_soon(self.carry, await listener.accept())

    async def carry(self, client: trio.SocketStream) -> None:
        """Carry one connection."""
        async with client, await trio.open_tcp_stream("127.0.0.1", self._target) as server, trio.open_nursery() as nursery:

            async def carry_requests() -> None:
                with suppress(trio.BrokenResourceError):
                    async for data in client:
                        if data.startswith(b"POST "):
                            self._posting.add(nursery.cancel_scope)
                        elif data.startswith(b"GET "):
                            self._posting.discard(nursery.cancel_scope)
                        if self.slow is not None and self.slow in data:
                            await trio.sleep(0.5)
                        await server.send_all(data)
                nursery.cancel_scope.cancel()

            async def carry_responses() -> None:
                with suppress(trio.BrokenResourceError):
                    await self._carry_responses(server, client)
                nursery.cancel_scope.cancel()

            nursery.start_soon(carry_requests)
            nursery.start_soon(carry_responses)

    async def _carry_responses(self, server: trio.SocketStream, client: trio.SocketStream) -> None:
        seen = b""
        sent = 0
        async for data in server:
            seen += data
            cut = self._find_cut(seen)
            upto = len(seen) if cut is None else max(min(cut, len(seen)), sent)
            await client.send_all(seen[sent:upto])
            sent = upto
            if cut is not None and len(seen) >= cut:
                self.cuts += 1
                return

    def _find_cut(self, seen: bytes) -> int | None:
        """Return up to which byte a connection carries what it has seen of the server."""
        start = seen.find(b"text/event-stream")
        if self.events is None or start < 0:
            return None
        end = seen.find(b"\r\n\r\n", start) + 4
        for _ in range(self.events):
            found = seen.find(_EVENT_END, end)
            if found < 0:
                return None
            end = found + len(_EVENT_END)
        return end + self.beyond


@asynccontextmanager
async def open_wire(target: int) -> AsyncIterator[Wire]:
    """Run a relay to a port of this machine, for as long as the block runs."""
    async with trio.open_nursery() as nursery:
        wire = Wire(target, nursery)
        await wire.listen()
        yield wire
        nursery.cancel_scope.cancel()
