"""HTTP/1.1 on a stream: one request after the other, each with a response or a stream of events."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import h11
import trio

Handler = Callable[["Exchange"], Awaitable[None]]


class Exchange:
    """One request, and what is answered."""

    def __init__(
        self, http: h11.Connection, stream: trio.abc.Stream, request: h11.Request, body: bytes, memory: Any
    ) -> None:
        self._http = http
        self._stream = stream
        self._sending = trio.Lock()
        self.method = request.method.decode()
        self.path, _, self.query = request.target.decode().partition("?")
        self.body = body
        self.all_headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers]
        self.raw_names = [name.decode("latin-1") for name, _ in request.headers.raw_items()]
        self.headers: Mapping[str, str] = dict(reversed(self.all_headers))
        self.memory = memory
        """What a server might keep of a connection, and must not."""

    async def send(self, event: Any) -> None:
        async with self._sending:
            data = self._http.send(event)
            if data:
                await self._stream.send_all(data)

    async def answer(self, status: int, body: Any = None, headers: Mapping[str, str] | None = None) -> None:
        """Send a whole response; a body that is no bytes goes as JSON."""
        if not isinstance(body, bytes | None):
            body = json.dumps(body).encode()
            headers = {"content-type": "application/json", **(headers or {})}
        body = body or b""
        given = [*(headers or {}).items(), ("content-length", str(len(body)))]
        await self.send(h11.Response(status_code=status, headers=given))
        await self.send(h11.Data(data=body))
        await self.send(h11.EndOfMessage())

    async def open_stream(self, headers: Mapping[str, str] | None = None) -> None:
        """Send the head of a stream of events."""
        given = {"content-type": "text/event-stream", "connection": "close", **(headers or {})}
        await self.send(h11.Response(status_code=200, headers=list(given.items())))

    async def event(self, data: Any, event_id: str | None = None, name: str | None = None) -> None:
        """Send one event; data that is no string goes as JSON."""
        lines = [f"id: {event_id}"] if event_id else []
        lines += [f"event: {name}"] if name else []
        text = data if isinstance(data, str) else json.dumps(data)
        lines += [f"data: {text}"]
        await self.send(h11.Data(data=("\n".join(lines) + "\n\n").encode()))

    async def end_stream(self) -> None:
        await self.send(h11.EndOfMessage())


async def serve(stream: trio.abc.Stream, handle: Handler) -> None:
    """Serve one connection until either side has had enough."""
    http = h11.Connection(h11.SERVER)
    memory: dict[str, Any] = {}

    async def next_event() -> Any:
        while (event := http.next_event()) is h11.NEED_DATA:
            http.receive_data(bytes(await stream.receive_some(65536)))
        return event

    async with stream:
        try:
            while True:
                request = await next_event()
                if not isinstance(request, h11.Request):
                    return
                body = b""
                while isinstance(event := await next_event(), h11.Data):
                    body += bytes(event.data)
                await handle(Exchange(http, stream, request, body, memory))
                if http.our_state is not h11.DONE:
                    return
                http.start_next_cycle()
        except (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError):
            return
