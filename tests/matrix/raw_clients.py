"""Clients of either era that read and write every frame themselves, and say in the same words what they have got.

A client keeps nothing to itself: each message that it does not expect is an error.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

import trio

from tests import wire

from .cells import Cell
from .offers import LEGACY, MODERN, PREFIX

Answer = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
"""Answers a question, {"method": …, "params": …}, with {"result": …} or {"error": …}."""

CLIENT_INFO = {"name": "matrix-client", "version": "7"}
_NAMED_BY = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
SUBSCRIPTION_ID = PREFIX + "subscriptionId"


class Outcome(NamedTuple):
    """What a request has come to.

    Attributes:
      status: of the HTTP response that brought it; None where nobody tells.
    """

    status: int | None
    response: dict[str, Any]

    @property
    def result(self) -> dict[str, Any]:
        """The result of a request that was served."""
        assert "result" in self.response, self
        result: dict[str, Any] = self.response["result"]
        return result

    @property
    def error(self) -> dict[str, Any]:
        """The error of one that was not."""
        assert "error" in self.response, self
        error: dict[str, Any] = self.response["error"]
        return error


async def cannot_be_asked(question: dict[str, Any]) -> dict[str, Any]:
    raise AssertionError(f"nobody is here to answer {question}")


class RawClient(ABC):
    """A client, and what it has heard.

    Attributes:
      questions: all that it was asked, without what belongs to an era: an id of any kind.
      introduction: the result of `initialize` or `server/discover`.
    """

    def __init__(self, url: str, nursery: trio.Nursery, capabilities: dict[str, Any]) -> None:
        self.url = url
        self.capabilities = capabilities
        self.questions: list[dict[str, Any]] = []
        self.introduction: dict[str, Any] = {}
        self._nursery = nursery
        self._ids = count(1)
        self._notifications: list[dict[str, Any]] = []
        self._heard = trio.lowlevel.ParkingLot()

    # What a feature is made of

    @abstractmethod
    async def request(
        self,
        method: str,
        params: dict[str, Any] | None = None,
        answer: Answer = cannot_be_asked,
        *,
        token: int | str | None = None,
        request_id: int | str | None = None,
    ) -> Outcome:
        """Make a request, and answer whatever is asked in the course of it."""

    @abstractmethod
    async def cancel(self, method: str, params: dict[str, Any], once: Callable[[], Awaitable[object]]) -> None:
        """Make a request, and cancel it once something has happened."""

    @abstractmethod
    async def set_level(self, level: str) -> None:
        """Ask for log messages."""

    @abstractmethod
    def listen(self, *uris: str) -> Any:
        """Hear of all lists that change, and of these resources, for as long as the block runs."""

    async def call(self, tool: str, arguments: dict[str, Any], answer: Answer = cannot_be_asked, **more: Any) -> Outcome:
        """Call a tool."""
        return await self.request("tools/call", {"name": tool, "arguments": arguments}, answer, **more)

    async def hear(self, method: str) -> dict[str, Any]:
        """Return the params of the next notification, which has to be one of these."""
        while not self._notifications:
            await self._heard.park()
        notification = self._notifications.pop(0)
        assert notification["method"] == method, notification
        params: dict[str, Any] = notification.get("params", {})
        return params

    @property
    def unheard(self) -> list[dict[str, Any]]:
        """Notifications that nobody has asked about."""
        return list(self._notifications)

    # What the clients have in common

    def _take_notification(self, message: dict[str, Any]) -> None:
        assert "id" not in message, message
        self._notifications.append(message)
        self._heard.unpark_all()


async def _read(connection: wire.Connection, head: Any, take: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
    """Hand on each message of a response as it comes, until the response ends."""
    stream = wire.Stream(connection, head)
    if stream.headers.get("content-type") == "text/event-stream":
        while (message := await stream.next_message()) is not None:
            await take(message)
        return
    body = b""
    while (data := await connection.next_data()) is not None:
        body += data
    if body:
        await take(json.loads(body))


def _params(params: dict[str, Any] | None, token: int | str | None, envelope: dict[str, Any]) -> dict[str, Any]:
    params = params or {}
    meta = {**params.get("_meta", {}), **envelope, **({} if token is None else {"progressToken": token})}
    return {**params, "_meta": meta} if meta else params


class LegacyClient(RawClient):
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
        message = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": _params(params, token, {})}
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

            await _read(connection, head, take)

    async def read_standalone(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen to what belongs to no request."""
        headers = {"accept": "text/event-stream", "mcp-session-id": str(self.session_id), "mcp-protocol-version": LEGACY}
        async with wire.connect(self.url) as connection:
            head = await connection.send("GET", urlsplit(self.url).path, headers)
            task_status.started()
            await _read(connection, head, self._take)

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


def envelope(capabilities: dict[str, Any]) -> dict[str, Any]:
    """Return what each modern request says of its client."""
    return {
        PREFIX + "protocolVersion": MODERN,
        PREFIX + "clientInfo": CLIENT_INFO,
        PREFIX + "clientCapabilities": capabilities,
    }


class ModernClient(RawClient):
    """A client of 2026-07-28, over Streamable HTTP: each request stands for itself."""

    level: str | None = None

    async def request(
        self,
        method: str,
        params: dict[str, Any] | None = None,
        answer: Answer = cannot_be_asked,
        *,
        token: int | str | None = None,
        request_id: int | str | None = None,
        without_headers: tuple[str, ...] = (),
    ) -> Outcome:
        params = params or {}
        while True:
            outcome = await self._attempt(method, params, token, request_id, without_headers)
            result = outcome.response.get("result", {})
            if result.get("resultType") != "input_required":
                return outcome
            questions: dict[str, Any] = result["inputRequests"]
            responses: dict[str, Any] = {}

            self.questions += questions.values()

            async def ask(key: str, question: dict[str, Any], responses: dict[str, Any] = responses) -> None:
                responses[key] = (await answer(question))["result"]

            async with trio.open_nursery() as nursery:
                for key, question in questions.items():
                    nursery.start_soon(ask, key, question)
            # "The JSON-RPC id MUST be different between the initial request and the retry" (Multi Round-Trip Requests).
            request_id = None
            params = {**params, "inputResponses": responses, "requestState": result["requestState"]}

    def _message(
        self, method: str, params: dict[str, Any], token: int | str | None = None, request_id: int | str | None = None
    ) -> dict[str, Any]:
        meta = envelope(self.capabilities) | ({} if self.level is None else {PREFIX + "logLevel": self.level})
        request_id = next(self._ids) if request_id is None else request_id
        return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": _params(params, token, meta)}

    async def _send(self, connection: wire.Connection, message: dict[str, Any], without: tuple[str, ...] = ()) -> Any:
        method, params = message["method"], message["params"]
        headers = {**wire.JSON_HEADERS, "mcp-protocol-version": MODERN, "mcp-method": method}
        if method in _NAMED_BY:
            headers["mcp-name"] = params[_NAMED_BY[method]]
        if isinstance(region := params.get("arguments", {}).get("region"), str):
            headers["mcp-param-region"] = region
        for name in without:
            del headers[name]
        return await connection.send("POST", urlsplit(self.url).path, headers, json.dumps(message).encode())

    async def _attempt(
        self,
        method: str,
        params: dict[str, Any],
        token: int | str | None,
        request_id: int | str | None,
        without_headers: tuple[str, ...],
    ) -> Outcome:
        message = self._message(method, params, token, request_id)
        responses: list[dict[str, Any]] = []

        async def take(incoming: dict[str, Any]) -> None:
            if "method" in incoming:
                self._take_notification(incoming)
            else:
                responses.append(incoming)

        async with wire.connect(self.url) as connection:
            head = await self._send(connection, message, without_headers)
            await _read(connection, head, take)
        (response,) = responses
        assert response["id"] == message["id"], response
        return Outcome(head.status_code, response)

    async def cancel(self, method: str, params: dict[str, Any], once: Callable[[], Awaitable[object]]) -> None:
        async def attempt(task_status: trio.TaskStatus[trio.CancelScope] = trio.TASK_STATUS_IGNORED) -> None:
            with trio.CancelScope() as scope:
                task_status.started(scope)
                await self.request(method, params)
                raise AssertionError("the request was answered")

        # "Closing the SSE response stream MUST be treated by the server as cancellation" (Streamable HTTP §Cancellation).
        scope: trio.CancelScope = await self._nursery.start(attempt)
        await once()
        scope.cancel()

    async def set_level(self, level: str) -> None:
        self.level = level

    @asynccontextmanager
    async def listen(self, *uris: str) -> AsyncIterator[None]:
        wanted = {"toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True}
        notifications = {**wanted, "resourceSubscriptions": list(uris)} if uris else wanted
        message = self._message("subscriptions/listen", {"notifications": notifications}, request_id="a listen")
        acknowledged = trio.Event()

        async def take(incoming: dict[str, Any]) -> None:
            # "All notifications delivered on the stream carry" it (Subscriptions §Receiving Notifications).
            assert incoming["params"]["_meta"].pop(SUBSCRIPTION_ID) == "a listen"
            if incoming["params"]["_meta"] == {}:
                del incoming["params"]["_meta"]
            if acknowledged.is_set():
                self._take_notification(incoming)
            else:
                assert incoming["method"] == "notifications/subscriptions/acknowledged"
                assert incoming["params"] == {"notifications": notifications}
                acknowledged.set()

        async with wire.connect(self.url) as connection, trio.open_nursery() as nursery:
            head = await self._send(connection, message)
            assert dict(head.headers)[b"content-type"] == b"text/event-stream"
            nursery.start_soon(_read, connection, head, take)
            await acknowledged.wait()
            yield
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_raw_client(
    cell: Cell,
    url: str,
    capabilities: dict[str, Any] | None = None,
    *,
    listens: bool | None = None,
    shakes_hands: bool = True,
) -> AsyncIterator[RawClient]:
    """Open a client of a cell.

    Args:
      listens: whether a legacy client of Streamable HTTP opens the standalone stream; if not told, only where nothing but
        responses comes on any other.
      shakes_hands: whether a client of HTTP+SSE does.
    """
    capabilities = capabilities or {}
    async with trio.open_nursery() as nursery:
        if cell.transport == "sse":
            over_sse = LegacySSEClient(url, nursery, capabilities)
            await nursery.start(over_sse.read)
            if shakes_hands:
                await over_sse.shake_hands()
            yield over_sse
        elif cell.client == "modern":
            modern = ModernClient(url, nursery, capabilities)
            modern.introduction = (await modern.request("server/discover")).result
            yield modern
        else:
            legacy = LegacyStreamClient(url, nursery, capabilities)
            await legacy.shake_hands()
            if listens if listens is not None else cell.transport == "json":
                await nursery.start(legacy.read_standalone)
            yield legacy
            await legacy.leave()
        nursery.cancel_scope.cancel()
