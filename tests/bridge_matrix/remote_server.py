"""Servers at URLs, as the `mcp` SDK itself serves them: in a process that takes a second to start, and its quick children.

    python -m tests.bridge_matrix.remote_server

For each line on stdin, the number of a port (0 for any that is free), a child is forked that listens there, and says so on
stdout: its process id and its port.  All children end with stdin.

In a child, each way has its own server, and each pair of eras of hosts and servers has a path of its own there, since what a
modern server announces is heard by all:

    /legacy|modern/stream|json/legacy|modern|dual     Streamable HTTP
    /legacy|modern/sse/legacy|modern|dual             HTTP+SSE, which of the modern era only this SDK speaks
    /several/stream/legacy|modern                     Streamable HTTP; one of several, by whose lists its tools are found
    /heard/…                                          the bodies of what has been said at that path, and been answered
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import warnings
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from itertools import product
from typing import Any, Final

import anyio
import anyio.abc
import uvicorn
from mcp import MCPDeprecationWarning
from mcp.server._streamable_http_modern import handle_modern_request
from mcp.server.runner import _serve_modern_stream, serve_dual_era_loop, serve_loop
from mcp.server.sse import SseServerTransport
from mcp.server.streamable_http import GET_STREAM_KEY
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.responses import JSONResponse, Response
from starlette.types import Message, Receive, Scope, Send

from tests.matrix.offers import MODERN

from .matrix_server import MatrixServer

App = Callable[[Scope, Receive, Send], Awaitable[None]]

_POLL: Final = 0.01
_SERVED_EACH: Final = [
    *product(("legacy", "modern"), ("stream", "json", "sse"), ("legacy", "modern", "dual")),
    *product(("several",), ("stream",), ("legacy", "modern")),
]


def cancelled_when_the_client_leaves(app: App) -> App:
    """Return an app that is; the SDK forgets it where it answers with JSON."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        body = [await receive()]
        while body[-1].get("more_body", False):
            body.append(await receive())

        async def receive_body() -> Message:
            if not body:
                await anyio.sleep_forever()
            return body.pop(0)

        async with anyio.create_task_group() as group:

            async def watch() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                group.cancel_scope.cancel()

            group.start_soon(watch)
            await app(scope, receive_body, send)
            group.cancel_scope.cancel()

    return serve


class _Manager(StreamableHTTPSessionManager):
    """Of one era, as servers are that were written on an older SDK, or know none but the newest revision."""

    def __init__(self, era: str, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._era = era

    async def _handle_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        revision = dict(scope["headers"]).get(b"mcp-protocol-version")
        if self._era == "legacy" or (self._era == "dual" and revision != MODERN.encode()):
            await self._handle_stateful_request(scope, receive, send)
        elif self.json_response:
            await cancelled_when_the_client_leaves(self._handle_modern)(scope, receive, send)
        else:
            await self._handle_modern(scope, receive, send)

    async def _handle_modern(self, scope: Scope, receive: Receive, send: Send) -> None:
        await handle_modern_request(self.app, None, self.json_response, self._lifespan_state, scope, receive, send)

    async def wait_listening(self, session_id: str) -> None:
        """Return once a session has its standalone stream."""
        streams = self._server_instances[session_id]._request_streams
        while GET_STREAM_KEY not in streams:  # noqa: ASYNC110  the SDK tells nobody
            await anyio.sleep(_POLL)


async def open_streamable_http(
    era: str, stack: AsyncExitStack, tasks: anyio.abc.TaskGroup, *, answers_json: bool, lists_all: bool
) -> App:
    """Return a server of Streamable HTTP."""

    async def wait_listening(session_id: str) -> None:
        await manager.wait_listening(session_id)

    matrix = MatrixServer(answers_json=answers_json, lists_all=lists_all, tasks=tasks, wait_listening=wait_listening)
    manager = _Manager(era, matrix.server, json_response=answers_json)
    await stack.enter_async_context(manager.run())
    return manager.handle_request


async def open_http_sse(era: str, path: str, stack: AsyncExitStack, tasks: anyio.abc.TaskGroup) -> App:
    """Return a server of HTTP+SSE."""

    async def listens_always(session_id: str) -> None:
        return

    matrix = MatrixServer(answers_json=False, lists_all=False, tasks=tasks, wait_listening=listens_always)
    server = matrix.server
    transport = SseServerTransport(path + "/messages")
    state = await stack.enter_async_context(server.lifespan(server))

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].endswith("/messages"):
            await transport.handle_post_message(scope, receive, send)
        elif scope["method"] != "GET":
            await Response(status_code=405, headers={"Allow": "GET"})(scope, receive, send)
        else:
            async with transport.connect_sse(scope, receive, send) as (messages, answers):
                if era == "modern":
                    await _serve_modern_stream(server, messages, answers, lifespan_state=state, raise_exceptions=False)
                else:
                    loop = serve_loop if era == "legacy" else serve_dual_era_loop
                    await loop(server, messages, answers, lifespan_state=state)

    return serve


class Listening:
    """Passes everything on, and keeps it."""

    def __init__(self, app: App) -> None:
        self._app = app
        self.heard: list[str] = []
        self.said: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""

        async def hear() -> Message:
            nonlocal body
            message = await receive()
            if message["type"] == "http.request":
                body += message.get("body", b"")
                if not message.get("more_body", False) and scope["method"] == "POST":
                    self.heard.append(body.decode())
            return message

        async def say(message: Message) -> None:
            if message["type"] == "http.response.body":
                self.said.append(message.get("body", b"").decode())
            await send(message)

        await self._app(scope, hear, say)


async def serve(listener: socket.socket) -> None:
    """Serve all of them."""
    async with AsyncExitStack() as stack, anyio.create_task_group() as tasks:
        apps: dict[str, Listening] = {}
        for host, transport, era in _SERVED_EACH:
            path = f"/{host}/{transport}/{era}"
            if transport == "sse":
                app = await open_http_sse(era, path, stack, tasks)
            else:
                answers_json, lists_all = transport == "json", host == "several"
                app = await open_streamable_http(era, stack, tasks, answers_json=answers_json, lists_all=lists_all)
            apps[path] = Listening(app)

        async def route(scope: Scope, receive: Receive, send: Send) -> None:
            path = scope["path"].removesuffix("/messages")
            if path in apps:
                await apps[path](scope, receive, send)
            elif (listening := apps.get(path.removeprefix("/heard"))) is not None:
                await JSONResponse({"heard": listening.heard, "said": listening.said})(scope, receive, send)
            else:
                await Response(status_code=404)(scope, receive, send)

        config = uvicorn.Config(route, lifespan="off", log_level="error", timeout_keep_alive=60)
        await uvicorn.Server(config).serve(sockets=[listener])


def main() -> None:
    """Fork a child for each line, and end them all."""
    # The SDK deprecates what only the newest revision has dropped: logging, sampling, roots.
    warnings.simplefilter("ignore", MCPDeprecationWarning)
    # Nobody waits for a child.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    children = []
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener = socket.create_server(("127.0.0.1", int(line)), backlog=128)
            print(json.dumps([os.getpid(), listener.getsockname()[1]]), flush=True)
            asyncio.run(serve(listener))
            os._exit(0)
        children.append(child)
    for child in children:
        try:
            os.kill(child, signal.SIGKILL)
        except ProcessLookupError:
            continue


if __name__ == "__main__":
    main()
