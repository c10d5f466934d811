"""Clients of the handshake era, frame by frame, over either of its transports."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urljoin, urlsplit

import trio

from tests import wire

from .client import Answer, Outcome, cannot_be_asked
from .frames import CLIENT_INFO, FrameClient, read_messages, with_meta
from .offers import LEGACY


class LegacyClient(FrameClient):
    """A client of the handshake era: one session, in which everything has to be found somewhere."""

    def __init__(self, url: str, nursery: trio.Nursery, capabilities: dict[str, Any]) -> None:
        super().__init__(url, nursery, capabilities)
        self._responses: dict[int | str, Outcome] = {}
        self._responded = trio.lowlevel.ParkingLot()
        self._answer: Answer = cannot_be_asked

    @abstractmethod
    async def _send(self, message: dict[str, Any]) -> None:
        """Send a message; whatever comes in response is taken."""

    async def _take(self, message: dict[str, Any], status: int = 200) -> None:
        if "method" in message and "id" in message:
            self._take_question(message)
        elif "method" in message:
            self._take_notification(message)
        else:
            self._responses[message["id"]] = Outcome(status, message)
            self._responded.unpark_all()

    def _take_question(self, message: dict[str, Any]) -> None:
        question = {name: value for name, value in message.items() if name in ("method", "params")}
        params = question.get("params", {})
        if params.get("mode") == "url":
            # "elicitationId: a unique identifier" (2025-11-25, Elicitation §URL Mode).
            assert params["elicitationId"]
            question["params"] = {name: value for name, value in params.items() if name != "elicitationId"}
        self.questions.append(question)

        async def respond(answer: Answer) -> None:
            await self._send({"jsonrpc": "2.0", "id": message["id"], **await answer(question)})

        # Questions may be answered in any order, and while others are asked.
        self._nursery.start_soon(respond, self._answer)

    async def request(
        self,
        method: str,
        params: dict[str, Any] | None = None,
        answer: Answer = cannot_be_asked,
        *,
        token: int | str | None = None,
        request_id: int | str | None = None,
    ) -> Outcome:
        if request_id is None:
            request_id = next(self._ids)
        if answer is not cannot_be_asked:
            self._answer = answer
        message = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": with_meta(params, token, {})}
        self._nursery.start_soon(self._send, message)
        while request_id not in self._responses:
            await self._responded.park()
        return self._responses.pop(request_id)

    async def cancel(self, method: str, params: dict[str, Any], once: Callable[[], Awaitable[object]]) -> None:
        request_id = next(self._ids)
        message = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}
        self._nursery.start_soon(self._send, message)
        await once()
        await self.notify("notifications/cancelled", requestId=request_id, reason="enough")

    async def notify(self, method: str, **params: Any) -> None:
        """Send a notification."""
        await self._send({"jsonrpc": "2.0", "method": method, "params": params})

    async def set_level(self, level: str) -> None:
        assert (await self.request("logging/setLevel", {"level": level})).result == {}

    @asynccontextmanager
    async def listen(self, *uris: str) -> AsyncIterator[None]:
        for uri in uris:
            assert (await self.request("resources/subscribe", {"uri": uri})).result == {}
        yield
        for uri in uris:
            assert (await self.request("resources/unsubscribe", {"uri": uri})).result == {}

    async def shake_hands(self) -> None:
        """Open the session."""
        params = {"protocolVersion": LEGACY, "capabilities": self.capabilities, "clientInfo": CLIENT_INFO}
        self.introduction = (await self.request("initialize", params)).result
        await self.notify("notifications/initialized")


class LegacyStreamClient(LegacyClient):
    """The same over Streamable HTTP."""

    session_id: str | None = None

    async def _send(self, message: dict[str, Any]) -> None:
        headers = {**wire.JSON_HEADERS}
        if self.session_id is not None:
            headers |= {"mcp-session-id": self.session_id, "mcp-protocol-version": LEGACY}
        async with wire.connect(self.url) as connection:
            path = urlsplit(self.url).path
            head = await connection.send("POST", path, headers, json.dumps(message).encode())
            if message.get("method") == "initialize":
                self.session_id = dict(head.headers)[b"mcp-session-id"].decode()
            if not ("id" in message and "method" in message):
                assert head.status_code == 202

            async def take(response: dict[str, Any]) -> None:
                await self._take(response, head.status_code)

            await read_messages(connection, head, take)

    async def read_standalone(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen to what belongs to no request."""
        headers = {"accept": "text/event-stream", "mcp-session-id": str(self.session_id), "mcp-protocol-version": LEGACY}
        async with wire.connect(self.url) as connection:
            head = await connection.send("GET", urlsplit(self.url).path, headers)
            task_status.started()
            await read_messages(connection, head, self._take)

    async def leave(self) -> None:
        """End the session."""
        headers = {"mcp-session-id": str(self.session_id), "mcp-protocol-version": LEGACY}
        answer = await wire.request(self.url, "DELETE", headers)
        assert answer.status == 204, answer


class LegacySSEClient(LegacyClient):
    """The same over HTTP+SSE: one stream for everything."""

    address = ""

    async def _send(self, message: dict[str, Any]) -> None:
        answer = await wire.request(self.address, "POST", wire.JSON_HEADERS, json.dumps(message).encode())
        assert answer.status == 202, answer

    async def read(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Open the stream, and listen to it."""
        async with wire.open_stream(self.url, "GET", {"accept": "text/event-stream"}) as stream:
            endpoint = await stream.next_event()
            assert endpoint is not None
            assert endpoint.name == "endpoint"
            self.address = urljoin(self.url, endpoint.data)
            task_status.started()
            while (message := await stream.next_message()) is not None:
                await self._take(message)

    async def send_as_it_is(self, message: dict[str, Any]) -> Outcome:
        """Send a request of any era, and return the response."""
        self._nursery.start_soon(self._send, message)
        while message["id"] not in self._responses:
            await self._responded.park()
        return self._responses.pop(message["id"])
