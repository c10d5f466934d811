"""The client of the `mcp` SDK, made to play the same scenes as the raw clients.

What it can't play it does not offer: it makes up request ids and headers by itself, and tells nobody an HTTP status; what
it gets it reads into models of its own, which leave out what they don't know.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import anyio
import httpx2
import mcp_types as types
import trio
from mcp import Client, MCPError
from mcp.client.session import ClientRequestContext, IncomingMessage
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import PromptsListChanged, ResourcesListChanged, ResourceUpdated, ServerEvent, ToolsListChanged
from mcp_types import LOG_LEVEL_META_KEY
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import BaseModel

from .cells import Cell
from .client import Answer, Outcome, cannot_be_asked
from .client import Client as MatrixClient

_CHANGES: dict[type[Any], str] = {
    ToolsListChanged: "notifications/tools/list_changed",
    PromptsListChanged: "notifications/prompts/list_changed",
    ResourcesListChanged: "notifications/resources/list_changed",
}


def as_json(model: BaseModel) -> dict[str, Any]:
    """Return what came over the wire, as far as the model knows it."""
    return model.model_dump(by_alias=True, mode="json", exclude_unset=True)


class SDKClient(MatrixClient):
    """An SDK client, as the scenes want it."""

    def __init__(self, cell: Cell, transport: Any, capabilities: dict[str, Any]) -> None:
        super().__init__()
        self._answer: Answer = cannot_be_asked
        self._level: str | None = None
        callbacks: dict[str, Any] = {}
        if "elicitation" in capabilities:
            callbacks["elicitation_callback"] = self._on_elicit
        if "sampling" in capabilities:
            callbacks["sampling_callback"] = self._on_sample
        if "roots" in capabilities:
            callbacks["list_roots_callback"] = self._on_list_roots
        self.client = Client(
            transport,
            mode="legacy" if cell.client == "legacy" else "auto",
            logging_callback=self._on_log,
            message_handler=self._on_message,
            **callbacks,
        )

    @property
    def is_modern(self) -> bool:
        """Which era it has found."""
        return self.client.protocol_version in MODERN_PROTOCOL_VERSIONS

    # What it is asked and told

    async def _ask(self, method: str, params: BaseModel | None, result_type: type[Any]) -> Any:
        question: dict[str, Any] = {"method": method}
        if params is not None:
            question["params"] = as_json(params)
            question["params"].pop("elicitationId", None)
        self.questions.append(question)
        answer = await self._answer(question)
        return types.ErrorData(**answer["error"]) if "error" in answer else result_type.model_validate(answer["result"])

    async def _on_elicit(self, context: ClientRequestContext, params: types.ElicitRequestParams) -> types.ElicitResult:
        result: types.ElicitResult = await self._ask("elicitation/create", params, types.ElicitResult)
        return result

    async def _on_sample(
        self, context: ClientRequestContext, params: types.CreateMessageRequestParams
    ) -> types.CreateMessageResult:
        result: types.CreateMessageResult = await self._ask("sampling/createMessage", params, types.CreateMessageResult)
        return result

    async def _on_list_roots(self, context: ClientRequestContext) -> types.ListRootsResult:
        result: types.ListRootsResult = await self._ask("roots/list", None, types.ListRootsResult)
        return result

    def _take(self, method: str, params: dict[str, Any]) -> None:
        self._take_notification({"method": method, "params": params})

    async def _on_log(self, params: types.LoggingMessageNotificationParams) -> None:
        self._take("notifications/message", as_json(params))

    async def _on_message(self, message: IncomingMessage) -> None:
        match message:
            case _ if self.is_modern:
                # The subscription has it as well.
                pass
            case (
                types.ToolListChangedNotification()
                | types.PromptListChangedNotification()
                | types.ResourceListChangedNotification()
                | types.ResourceUpdatedNotification()
            ):
                self._take(message.method, as_json(message.params) if message.params else {})
            case Exception():
                raise message

    # What it does

    async def request(
        self,
        method: str,
        params: dict[str, Any] | None = None,
        answer: Answer = cannot_be_asked,
        *,
        token: int | str | None = None,
        request_id: int | str | None = None,
    ) -> Outcome:
        if answer is not cannot_be_asked:
            self._answer = answer
        try:
            return Outcome(None, {"result": as_json(await self._request(method, params or {}, token))})
        except MCPError as error:
            return Outcome(None, {"error": error.error.model_dump(exclude_none=True)})

    async def _request(self, method: str, params: dict[str, Any], token: int | str | None) -> BaseModel:
        client = self.client
        page = types.PaginatedRequestParams(cursor=params.get("cursor"))
        meta: Any = dict(params.get("_meta", {}))
        if self._level is not None:
            meta[LOG_LEVEL_META_KEY] = self._level

        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            step = {"progressToken": token, "progress": progress, "total": total, "message": message}
            self._take("notifications/progress", step)

        match method:
            case "ping":
                return await client.send_ping()
            case "tools/list":
                return await client.session.list_tools(params=page)
            case "tools/call":
                callback = None if token is None else on_progress
                return await client.call_tool(
                    params["name"], params["arguments"], progress_callback=callback, meta=meta or None
                )
            case "prompts/list":
                return await client.session.list_prompts(params=page)
            case "prompts/get":
                return await client.get_prompt(params["name"], params.get("arguments"))
            case "resources/list":
                return await client.session.list_resources(params=page)
            case "resources/templates/list":
                return await client.session.list_resource_templates(params=page)
            case "resources/read":
                return await client.read_resource(params["uri"], cache_mode="bypass")
            case "completion/complete":
                ref = types.PromptReference(name=params["ref"]["name"])
                return await client.complete(ref, params["argument"])
        request: types.Request[Any, Any] = types.Request(method=method, params=params)
        return await client.session.send_request(request, types.EmptyResult)

    async def cancel(self, method: str, params: dict[str, Any], once: Callable[[], Awaitable[object]]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.request, method, params)
            await once()
            nursery.cancel_scope.cancel()

    async def set_level(self, level: Any) -> None:
        if self.is_modern:
            self._level = level
        else:
            await self.client.set_logging_level(level)

    @asynccontextmanager
    async def listen(self, *uris: str) -> AsyncIterator[None]:
        if not self.is_modern:
            for uri in uris:
                await self.client.subscribe_resource(uri)
            yield
            for uri in uris:
                await self.client.unsubscribe_resource(uri)
            return
        async with self.client.listen(
            tools_list_changed=True,
            prompts_list_changed=True,
            resources_list_changed=True,
            resource_subscriptions=list(uris),
        ) as subscription:

            async def hear_all() -> None:
                async for event in subscription:
                    self._take_event(event)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(hear_all)
                yield
                nursery.cancel_scope.cancel()

    def _take_event(self, event: ServerEvent) -> None:
        if isinstance(event, ResourceUpdated):
            self._take("notifications/resources/updated", {"uri": event.uri})
        else:
            self._take(_CHANGES[type(event)], {})


_NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""To read the certificates of the world's authorities takes longer than most scenes."""


def _http_client(
    headers: dict[str, str] | None = None, timeout: httpx2.Timeout | None = None, auth: httpx2.Auth | None = None
) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(headers=headers, timeout=timeout or httpx2.Timeout(30), auth=auth, verify=_NO_TLS)


@asynccontextmanager
async def open_sdk_client(
    cell: Cell, url: str, capabilities: dict[str, Any] | None = None, *, listens: bool | None = None
) -> AsyncIterator[SDKClient]:
    """Open a client of a cell.  The modern one asks first which era it has to do with, and may become a legacy one.

    Args:
      listens: it always does, in the handshake era.
    """
    is_over = False
    try:
        async with AsyncExitStack() as stack:
            if cell.transport == "sse":
                transport: Any = sse_client(url, httpx_client_factory=_http_client)
            else:
                http_client = await stack.enter_async_context(_http_client())
                transport = streamable_http_client(url, http_client=http_client)
            sdk = SDKClient(cell, transport, capabilities or {})
            await stack.enter_async_context(sdk.client)
            session = sdk.client.session
            found = session.discover_result if sdk.is_modern else session.initialize_result
            assert found is not None
            sdk.introduction = as_json(found)
            yield sdk
            is_over = True
    except* (anyio.ClosedResourceError, anyio.BrokenResourceError):
        # The SDK does not expect an answer while it closes its session, not even to a call that it has cancelled.
        assert is_over
