"""A client of 2026-07-28, frame by frame."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import trio

from tests import wire

from .client import Answer, Outcome, cannot_be_asked
from .frames import CLIENT_INFO, SUBSCRIPTION_ID, FrameClient, read_messages, with_meta
from .offers import MODERN, PREFIX

_NAMED_BY = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}


def envelope(capabilities: dict[str, Any]) -> dict[str, Any]:
    """Return what each modern request says of its client."""
    return {
        PREFIX + "protocolVersion": MODERN,
        PREFIX + "clientInfo": CLIENT_INFO,
        PREFIX + "clientCapabilities": capabilities,
    }


class ModernClient(FrameClient):
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
        return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": with_meta(params, token, meta)}

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
            await read_messages(connection, head, take)
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
            nursery.start_soon(read_messages, connection, head, take)
            await acknowledged.wait()
            yield
            nursery.cancel_scope.cancel()
