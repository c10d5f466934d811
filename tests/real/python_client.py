# mypy: ignore-errors
# (It runs with another release of `mcp` than the one that the types are checked against.)
"""Drives clients of the `mcp` SDK 1.x as driven_client.py describes; runs where that SDK is installed."""

import json
import sys
from contextlib import AsyncExitStack
from functools import partial

import anyio
import mcp.types as types
from mcp.client.session import ClientSession
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamablehttp_client
from mcp.shared.exceptions import McpError
from pydantic import BaseModel, ConfigDict


class AnyResult(BaseModel):
    model_config = ConfigDict(extra="allow")


RESULTS = {
    "tools/list": types.ListToolsResult,
    "tools/call": types.CallToolResult,
    "resources/read": types.ReadResourceResult,
    "prompts/get": types.GetPromptResult,
    "completion/complete": types.CompleteResult,
}


def say(**line):
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def as_json(model):
    return model.model_dump(by_alias=True, mode="json", exclude_none=True)


class Client:
    """One session; its transport and the session itself live in a task of their own."""

    def __init__(self, name):
        self.name = name
        self.closing = anyio.Event()
        self.closed = anyio.Event()
        self.session = None

    async def run(self, url, transport, *, task_status):
        async with AsyncExitStack() as stack:
            open_streams = sse_client if transport == "sse" else streamablehttp_client
            reading, writing, *_ = await stack.enter_async_context(open_streams(url))
            session = ClientSession(
                reading,
                writing,
                elicitation_callback=partial(self.answer, types.ElicitResult, "elicitation/create"),
                sampling_callback=partial(self.answer, types.CreateMessageResult, "sampling/createMessage"),
                list_roots_callback=partial(self.answer, types.ListRootsResult, "roots/list"),
                message_handler=self.hear,
            )
            self.session = await stack.enter_async_context(session)
            task_status.started(as_json(await session.initialize()))
            await self.closing.wait()
        self.closed.set()

    async def answer(self, result_type, method, context, params=None):
        question = len(answers) + 1
        send, receive = anyio.create_memory_object_stream(1)
        answers[question] = send
        say(client=self.name, question=question, method=method, params=as_json(params) if params else {})
        return result_type.model_validate(await receive.receive())

    async def hear(self, message):
        if isinstance(message, types.ServerNotification):
            notification = as_json(message.root)
            say(client=self.name, notification=notification["method"], params=notification.get("params"))


clients = {}
answers = {}
calls = {}


async def connect(tasks, line):
    client = clients[line["client"]] = Client(line["client"])
    return await tasks.start(client.run, line["url"], line["transport"])


async def request(tasks, line):
    session = clients[line["client"]].session
    message = types.ClientRequest.model_validate({"method": line["method"], "params": line["params"]})

    async def on_progress(progress, total, text):
        say(progress=line["id"], params={"progress": progress, "total": total, "message": text})

    with anyio.CancelScope() as scope:
        # The SDK neither tells the id of a request, nor tells the server when it gives one up.
        calls[line["id"]] = (session, session._request_id, scope)
        result_type = RESULTS.get(line["method"], AnyResult)
        return as_json(await session.send_request(message, result_type, progress_callback=on_progress))


async def cancel(tasks, line):
    session, request_id, scope = calls[line["call"]]
    params = types.CancelledNotificationParams(requestId=request_id)
    cancelled = types.CancelledNotification(method="notifications/cancelled", params=params)
    await session.send_notification(types.ClientNotification(cancelled))
    scope.cancel()


async def notify(tasks, line):
    message = types.ClientNotification.model_validate({"method": line["method"], "params": line["params"]})
    await clients[line["client"]].session.send_notification(message)


async def answer(tasks, line):
    await answers[line["question"]].send(line["result"])


async def close(tasks, line):
    client = clients[line["client"]]
    client.closing.set()
    await client.closed.wait()


ACTIONS = {action.__name__: action for action in (connect, request, cancel, notify, answer, close)}


async def act(tasks, line):
    try:
        result = await ACTIONS[line["do"]](tasks, line)
    except McpError as error:
        say(id=line["id"], error=error.error.model_dump())
    else:
        if "id" in line:
            say(id=line["id"], result=result)


async def main():
    async with anyio.create_task_group() as tasks:
        async for text in anyio.wrap_file(sys.stdin):
            tasks.start_soon(act, tasks, json.loads(text))
        tasks.cancel_scope.cancel()


anyio.run(main)
