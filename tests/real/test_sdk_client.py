"""The client of the `mcp` SDK, on trio, meets a server on the same SDK, over both transports and in both of its modes.

Whatever the way, the same has to cross.  Such a server takes most of a second to start, and each session starts one:
that is why a test here tells more than one thing that can be told in one session.
"""

import hashlib
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import mcp_types as types
import pytest
import trio
from mcp import Client, MCPError
from mcp.client.session import ClientRequestContext, IncomingMessage
from mcp.client.subscriptions import ResourceUpdated
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import FileUrl

from .contract import HARD_TEXT, NOTE
from .proxy_process import RunningProxy, open_proxy
from .sdk_ways import Way, call, every_way, sdk_warnings, text_of, with_a_handshake

pytestmark = sdk_warnings

SERVER = str(Path(__file__).with_name("sdk_server.py"))


@pytest.fixture(scope="module")
def proxy() -> Iterator[RunningProxy]:
    """The proxy in front of `sdk_server`."""
    with open_proxy("--", sys.executable, SERVER) as running:
        yield running


@every_way
async def test_what_the_client_asks_the_server_answers(way: Way, proxy: RunningProxy) -> None:
    async with way.connect(proxy) as client:
        assert client.server_info is not None
        assert (client.server_info.name, client.server_info.version) == ("sdk_server", "1.2.3")
        assert client.instructions == "Ask, and it shall be relayed."
        assert client.server_capabilities.resources is not None
        assert client.server_capabilities.resources.subscribe
        assert client.server_capabilities.tools is not None
        assert client.server_capabilities.tools.list_changed
        assert client.server_capabilities.completions is not None

        listed = {tool.name: tool.input_schema for tool in (await client.list_tools()).tools}
        assert listed["echo"]["properties"] == {"text": {"type": "string"}}
        assert listed["count"]["required"] == ["to"]
        assert [resource.uri for resource in (await client.list_resources()).resources] == [NOTE]
        [note] = (await client.read_resource(NOTE)).contents
        assert isinstance(note, types.TextResourceContents)
        assert note.uri == NOTE
        [prompt] = (await client.list_prompts()).prompts
        assert prompt.name == "greet"
        [message] = (await client.get_prompt("greet", {"name": "Ada"})).messages
        assert message.content == types.TextContent(text="Greet Ada.")
        completed = await client.complete(types.PromptReference(name="greet"), {"name": "name", "value": "A"})
        assert completed.completion.values == ["Ada", "Alan"]

        assert await call(client, "echo", text=HARD_TEXT) == HARD_TEXT
        with pytest.raises(MCPError) as caught:
            await client.call_tool("fail")
        assert (caught.value.code, caught.value.message) == (4242, "failed as asked")
        assert caught.value.data == {"evidence": ["π", None, 1e100]}
        assert await call(client, "echo", text="still here") == "still here"


@every_way
async def test_megabytes_arrive_whole_in_either_direction(way: Way, proxy: RunningProxy) -> None:
    # Over SSE the SDK takes no more than 1 MiB an event, and there is no way to let it take more.
    size = 1_000_000 if way.transport == "sse" else 8_000_000
    argument = "".join(f"é{number:06x}" for number in range(500_000))
    async with way.connect(proxy) as client:
        assert await call(client, "digest", text=argument) == hashlib.sha256(argument.encode()).hexdigest()
        result = await call(client, "big", size=size)
        assert len(result) == size
        assert hash(result) == hash("".join(f"{number:08x}" for number in range(size // 8)))


@every_way
async def test_progress_and_logs_arrive_complete_and_in_order(way: Way, proxy: RunningProxy) -> None:
    """And the progress of either of two calls arrives at the call that it belongs to."""
    steps: dict[int, list[tuple[float, float | None, str | None]]] = {20: [], 30: []}
    logs: list[types.LoggingMessageNotificationParams] = []

    async def on_log(params: types.LoggingMessageNotificationParams) -> None:
        logs.append(params)

    async with way.connect(proxy, logging_callback=on_log) as client:

        async def count(to: int) -> None:
            async def on_progress(progress: float, total: float | None, message: str | None) -> None:
                steps[to].append((progress, total, message))

            result = await client.call_tool("count", {"to": to}, progress_callback=on_progress)
            assert text_of(result) == f"counted to {to}"

        async with trio.open_nursery() as nursery:
            nursery.start_soon(count, 20)
            nursery.start_soon(count, 30)
        assert await call(client, "log", lines=20) == "logged 20 lines"

    assert steps == {to: [(number, to, f"step {number}") for number in range(1, to + 1)] for to in (20, 30)}
    assert [(log.level, log.logger) for log in logs] == [("info", "sdk_server")] * 20
    assert [log.data for log in logs] == [{"line": number} for number in range(20)]


@every_way
async def test_what_the_server_asks_the_client_answers(way: Way, proxy: RunningProxy) -> None:
    """Its user is asked (elicitation), its model (sampling), and the client itself (roots)."""

    async def on_elicit(context: ClientRequestContext, params: types.ElicitRequestParams) -> types.ElicitResult:
        assert isinstance(params, types.ElicitRequestFormParams)
        assert params.requested_schema["required"] == ["answer"]
        if params.message == "Really?":
            return types.ElicitResult(action="decline")
        return types.ElicitResult(action="accept", content={"answer": f"{params.message} 42, ünï"})

    async def on_sample(
        context: ClientRequestContext, params: types.CreateMessageRequestParams
    ) -> types.CreateMessageResult:
        assert params.max_tokens == 50
        [message] = params.messages
        assert message.content == types.TextContent(text="Say yes")
        return types.CreateMessageResult(role="assistant", content=types.TextContent(text="yes"), model="parrot")

    async def on_list_roots(context: ClientRequestContext) -> types.ListRootsResult:
        config = types.Root(uri=FileUrl("file:///etc"), name="config")
        scratch = types.Root(uri=FileUrl("file:///tmp/a%20b"), name="scratch")
        return types.ListRootsResult(roots=[config, scratch])

    async with way.connect(
        proxy, elicitation_callback=on_elicit, sampling_callback=on_sample, list_roots_callback=on_list_roots
    ) as client:
        assert await call(client, "ask", question="Six by seven?") == "accept: Six by seven? 42, ünï"
        assert await call(client, "ask", question="Really?") == "decline: None"
        assert await call(client, "sample", prompt="Say yes") == "parrot: yes"
        assert await call(client, "roots") == "config=file:///etc scratch=file:///tmp/a%20b"


@with_a_handshake
async def test_a_server_may_ask_while_no_request_is_in_flight(way: Way, proxy: RunningProxy) -> None:
    """Nothing but the standalone stream can carry the question, nor the log message after it."""
    asked = trio.Event()
    logged = trio.Event()

    async def on_list_roots(context: ClientRequestContext) -> types.ListRootsResult:
        asked.set()
        return types.ListRootsResult(roots=[types.Root(uri=FileUrl("file:///new"))])

    async def on_log(params: types.LoggingMessageNotificationParams) -> None:
        assert (params.level, params.data) == ("notice", ["file:///new"])
        logged.set()

    async with way.connect(proxy, list_roots_callback=on_list_roots, logging_callback=on_log) as client:
        await client.send_roots_list_changed()
        await asked.wait()
        await logged.wait()


NextChange = Callable[[], Awaitable[str]]


@asynccontextmanager
async def open_listener(way: Way, proxy: RunningProxy) -> AsyncIterator[tuple[Client, NextChange]]:
    """Yield a client that listens to all that changes, and what waits for the next: "tools", or a resource's URI."""
    announce, changes = trio.open_memory_channel[str](10)

    async def on_message(message: IncomingMessage) -> None:
        match message:
            case types.ToolListChangedNotification():
                await announce.send("tools")
            case types.ResourceUpdatedNotification(params=params):
                await announce.send(params.uri)
            case Exception():
                raise message

    async with way.connect(proxy, message_handler=on_message) as client:
        if client.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            await client.subscribe_resource(NOTE)
            yield client, changes.receive
            return
        async with client.listen(tools_list_changed=True, resource_subscriptions=[NOTE]) as subscription:

            async def next_change() -> str:
                event = await anext(subscription)
                return event.uri if isinstance(event, ResourceUpdated) else "tools"

            yield client, next_change


@every_way
async def test_what_changes_is_announced(way: Way, proxy: RunningProxy) -> None:
    async with open_listener(way, proxy) as (client, next_change):
        for text in ("first", "second"):
            await call(client, "write_note", text=text)
            assert await next_change() == NOTE
            [note] = (await client.read_resource(NOTE)).contents
            assert isinstance(note, types.TextResourceContents)
            assert note.text == text

        if client.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            # Were it announced still, it would be before the next change is.
            await client.unsubscribe_resource(NOTE)
            await call(client, "write_note", text="unheard")

        assert "secret" not in {tool.name for tool in (await client.list_tools()).tools}
        await call(client, "reveal")
        assert await next_change() == "tools"
        assert "secret" in {tool.name for tool in (await client.list_tools()).tools}
        assert await call(client, "secret") == "the cake is real"


@every_way
async def test_of_many_calls_in_flight_each_gets_its_own_end(way: Way, proxy: RunningProxy) -> None:
    """The server answers none of the guests before all have arrived, and one call is given up meanwhile."""
    guests = [f"guest {number}" for number in range(20)]
    answers: dict[str, str] = {}
    waiting = trio.Event()
    given_up = trio.CancelScope()

    async with way.connect(proxy) as client:

        async def visit(name: str) -> None:
            answers[name] = await call(client, "meet", party=str(way), name=name, size=len(guests))

        async def wait_in_vain() -> None:
            async def on_progress(progress: float, total: float | None, message: str | None) -> None:
                assert message == "waiting"
                waiting.set()

            with given_up:
                await client.call_tool("wait_for_cancellation", {"name": str(way)}, progress_callback=on_progress)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_in_vain)
            for name in guests[1:]:
                nursery.start_soon(visit, name)
            await waiting.wait()
            given_up.cancel()
            assert await call(client, "was_cancelled", name=str(way)) == f"{way} was cancelled"
            assert not answers
            nursery.start_soon(visit, guests[0])
    assert given_up.cancelled_caught
    assert answers == {name: name for name in guests}


@every_way
async def test_two_clients_are_each_asked_their_own_question(way: Way, proxy: RunningProxy) -> None:
    """Neither answers before both have been asked, so both questions are on their way at once."""
    questions: dict[str, list[str]] = {"Ada": [], "Grace": []}
    children: dict[str, int] = {}
    both_asked = trio.Event()

    async def on_elicit(user: str, context: ClientRequestContext, params: types.ElicitRequestParams) -> types.ElicitResult:
        questions[user].append(params.message)
        if all(questions.values()):
            both_asked.set()
        await both_asked.wait()
        return types.ElicitResult(action="accept", content={"answer": f"I am {user}"})

    async def visit(user: str) -> None:
        async with way.connect(proxy, elicitation_callback=partial(on_elicit, user)) as client:
            assert await call(client, "ask", question=f"Who are you, {user}?") == f"accept: I am {user}"
            if client.protocol_version not in MODERN_PROTOCOL_VERSIONS:
                children[user] = int(await call(client, "process_id"))

    async with trio.open_nursery() as nursery:
        for user in questions:
            nursery.start_soon(visit, user)
    assert questions == {"Ada": ["Who are you, Ada?"], "Grace": ["Who are you, Grace?"]}
    # Where there are sessions, each has a child of its own, which ends with it.
    assert len(set(children.values())) == len(children)
    for child in children.values():
        await wait_until_gone(child)


async def wait_until_gone(process_id: int) -> None:
    """Poll, for want of anything that would tell: the process is not ours to wait for."""
    while True:
        try:
            os.kill(process_id, 0)
        except ProcessLookupError:
            return
        await trio.sleep(0.01)
