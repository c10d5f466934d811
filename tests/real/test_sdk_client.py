"""The client of the `mcp` SDK, on trio, meets servers through the proxy: over both transports, in both of its modes.

A mode is the client's own: "legacy" shakes hands at once, "auto" asks first whether the
server is modern.  Either way the same has to cross, so every test runs all four ways.
"""

import hashlib
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
import trio
from mcp import Client, MCPError
from mcp.client.session import ClientRequestContext, IncomingMessage
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import ResourceUpdated
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import FileUrl

from .proxy_process import RunningProxy, open_proxy

# Sampling, roots, logging and subscribing are deprecated as of 2026-07-28; here they are the point.
pytestmark = [
    pytest.mark.filterwarnings("ignore::mcp.MCPDeprecationWarning"),
    # The SDK leaves the generators of its HTTP library to the garbage collector, which trio is right to say.
    pytest.mark.filterwarnings("ignore:Async generator '(httpx2|httpcore2)\\.:ResourceWarning"),
]

SERVER = str(Path(__file__).with_name("sdk_server.py"))
NOTE = "note://today"

HARD_TEXT = 'line\nfeed \r\n, \u2028, \x85, "quotes", back\\slash, \x00, tab\t, ünï, 漢字, 🦑, 👩🏽‍🚀, \u202ertl'


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        with trio.fail_after(30):
            await story()

    trio.run(bounded)


@dataclass(frozen=True)
class Way:
    """How the client gets to the server: over which transport, and in which mode."""

    transport: str
    mode: str

    def connect(self, proxy: RunningProxy, **callbacks: Any) -> Client:
        """Return a client that is connected for as long as it is entered."""
        if self.transport == "sse":
            transport = sse_client(proxy.sse)
        else:
            # The SDK gives up on events of more than 1 MiB unless told not to.
            transport = streamable_http_client(proxy.mcp, max_sse_event_size=None)
        return Client(transport, mode=self.mode, log_level="debug", **callbacks)


WAYS = [Way("stream", "legacy"), Way("stream", "auto"), Way("sse", "legacy"), Way("sse", "auto")]

every_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way.transport}-{way.mode}")
with_a_handshake = pytest.mark.parametrize("way", [WAYS[0], WAYS[2]], ids=lambda way: way.transport)


@pytest.fixture(scope="module")
def proxy() -> Iterator[RunningProxy]:
    """The proxy in front of `sdk_server`."""
    with open_proxy("--", sys.executable, SERVER) as running:
        yield running


async def call(client: Client, tool: str, /, **arguments: Any) -> str:
    return text_of(await client.call_tool(tool, arguments))


def text_of(result: types.CallToolResult) -> str:
    [content] = result.content
    assert isinstance(content, types.TextContent)
    assert not result.is_error, content.text
    return content.text


# What the client asks, the server answers


@every_way
def test_the_client_learns_who_the_server_is(way: Way, proxy: RunningProxy) -> None:
    async def story() -> None:
        async with way.connect(proxy) as client:
            assert client.server_info is not None
            assert (client.server_info.name, client.server_info.version) == ("sdk_server", "1.2.3")
            assert client.instructions == "Ask, and it shall be relayed."
            assert client.server_capabilities.resources is not None
            assert client.server_capabilities.resources.subscribe
            assert client.server_capabilities.tools is not None
            assert client.server_capabilities.tools.list_changed
            assert client.server_capabilities.completions is not None

    run(story)


@every_way
def test_tools_resources_prompts_and_completions_cross(way: Way, proxy: RunningProxy) -> None:
    async def story() -> None:
        async with way.connect(proxy) as client:
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
            greet = types.PromptReference(name="greet")
            completed = await client.complete(greet, {"name": "name", "value": "A"})
            assert completed.completion.values == ["Ada", "Alan"]

    run(story)


@every_way
def test_text_comes_back_as_it_went_whatever_is_in_it(way: Way, proxy: RunningProxy) -> None:
    async def story() -> None:
        async with way.connect(proxy) as client:
            assert await call(client, "echo", text=HARD_TEXT) == HARD_TEXT

    run(story)


@every_way
def test_a_big_result_arrives_whole(way: Way, proxy: RunningProxy) -> None:
    # Over SSE the SDK has a limit of its own, 1 MiB an event, and nowhere to lift it.
    size = 1_000_000 if way.transport == "sse" else 8_000_000

    async def story() -> None:
        async with way.connect(proxy) as client:
            text = await call(client, "big", size=size)
            assert len(text) == size
            assert hash(text) == hash("".join(f"{number:08x}" for number in range(size // 8)))

    run(story)


@every_way
def test_a_big_argument_arrives_whole(way: Way, proxy: RunningProxy) -> None:
    text = "".join(f"é{number:06x}" for number in range(500_000))

    async def story() -> None:
        async with way.connect(proxy) as client:
            assert await call(client, "digest", text=text) == hashlib.sha256(text.encode()).hexdigest()

    run(story)


@every_way
def test_an_error_keeps_its_code_its_message_and_its_data(way: Way, proxy: RunningProxy) -> None:
    async def story() -> None:
        async with way.connect(proxy) as client:
            with pytest.raises(MCPError) as caught:
                await client.call_tool("fail")
            assert caught.value.code == 4242
            assert caught.value.message == "failed as asked"
            assert caught.value.data == {"evidence": ["π", None, 1e100]}
            assert await call(client, "echo", text="still here") == "still here"

    run(story)


# What the server says while it works


@every_way
def test_progress_arrives_complete_and_in_order(way: Way, proxy: RunningProxy) -> None:
    async def story() -> None:
        heard: list[tuple[float, float | None, str | None]] = []

        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            heard.append((progress, total, message))

        async with way.connect(proxy) as client:
            result = await client.call_tool("count", {"to": 50}, progress_callback=on_progress)
            assert text_of(result) == "counted to 50"
        assert heard == [(number, 50, f"step {number}") for number in range(1, 51)]

    run(story)


@every_way
def test_progress_of_two_calls_goes_to_the_call_it_belongs_to(way: Way, proxy: RunningProxy) -> None:
    async def story() -> None:
        heard: dict[int, list[float | None]] = {20: [], 30: []}

        async def count(to: int) -> None:
            async def on_progress(progress: float, total: float | None, message: str | None) -> None:
                heard[to].append(total)

            await client.call_tool("count", {"to": to}, progress_callback=on_progress)

        async with way.connect(proxy) as client, trio.open_nursery() as nursery:
            for to in heard:
                nursery.start_soon(count, to)
        assert heard == {20: [20.0] * 20, 30: [30.0] * 30}

    run(story)


@every_way
def test_log_messages_arrive_complete_and_in_order(way: Way, proxy: RunningProxy) -> None:
    async def story() -> None:
        heard: list[types.LoggingMessageNotificationParams] = []

        async def on_log(params: types.LoggingMessageNotificationParams) -> None:
            heard.append(params)

        async with way.connect(proxy, logging_callback=on_log) as client:
            assert await call(client, "log", lines=20) == "logged 20 lines"
        assert [(log.level, log.logger) for log in heard] == [("info", "sdk_server")] * 20
        assert [log.data for log in heard] == [{"line": number} for number in range(20)]

    run(story)


# What the server asks, the client answers


@every_way
def test_a_question_reaches_the_user_and_the_answer_the_server(way: Way, proxy: RunningProxy) -> None:
    async def on_elicit(context: ClientRequestContext, params: types.ElicitRequestParams) -> types.ElicitResult:
        assert isinstance(params, types.ElicitRequestFormParams)
        assert params.requested_schema["required"] == ["answer"]
        if params.message == "Really?":
            return types.ElicitResult(action="decline")
        return types.ElicitResult(action="accept", content={"answer": f"{params.message} 42 ünï"})

    async def story() -> None:
        async with way.connect(proxy, elicitation_callback=on_elicit) as client:
            assert await call(client, "ask", question="Six by seven?") == "accept: Six by seven? 42 ünï"
            assert await call(client, "ask", question="Really?") == "decline: None"

    run(story)


@every_way
def test_a_prompt_reaches_the_model_and_the_completion_the_server(way: Way, proxy: RunningProxy) -> None:
    async def on_sample(
        context: ClientRequestContext, params: types.CreateMessageRequestParams
    ) -> types.CreateMessageResult:
        assert params.max_tokens == 50
        [message] = params.messages
        assert message.content == types.TextContent(text="Say yes")
        return types.CreateMessageResult(role="assistant", content=types.TextContent(text="yes"), model="parrot")

    async def story() -> None:
        async with way.connect(proxy, sampling_callback=on_sample) as client:
            assert await call(client, "sample", prompt="Say yes") == "parrot: yes"

    run(story)


@every_way
def test_the_server_learns_the_roots_of_the_client(way: Way, proxy: RunningProxy) -> None:
    async def on_list_roots(context: ClientRequestContext) -> types.ListRootsResult:
        config = types.Root(uri=FileUrl("file:///etc"), name="config")
        scratch = types.Root(uri=FileUrl("file:///tmp/a%20b"), name="scratch")
        return types.ListRootsResult(roots=[config, scratch])

    async def story() -> None:
        async with way.connect(proxy, list_roots_callback=on_list_roots) as client:
            assert await call(client, "roots") == "config=file:///etc scratch=file:///tmp/a%20b"

    run(story)


@with_a_handshake
def test_a_server_may_ask_while_no_request_is_in_flight(way: Way, proxy: RunningProxy) -> None:
    """Nothing but the standalone stream can carry the question, nor the log message after it."""
    asked = trio.Event()
    logged = trio.Event()

    async def on_list_roots(context: ClientRequestContext) -> types.ListRootsResult:
        asked.set()
        return types.ListRootsResult(roots=[types.Root(uri=FileUrl("file:///new"))])

    async def on_log(params: types.LoggingMessageNotificationParams) -> None:
        assert (params.level, params.data) == ("notice", ["file:///new"])
        logged.set()

    async def story() -> None:
        async with way.connect(proxy, list_roots_callback=on_list_roots, logging_callback=on_log) as client:
            await client.send_roots_list_changed()
            await asked.wait()
            await logged.wait()

    run(story)


# What changes, the server announces


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
                await announce.send(str(params.uri))
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
def test_a_change_of_the_tools_is_announced_and_the_new_tool_works(way: Way, proxy: RunningProxy) -> None:
    async def story() -> None:
        async with open_listener(way, proxy) as (client, next_change):
            assert "secret" not in {tool.name for tool in (await client.list_tools()).tools}
            await call(client, "reveal")
            assert await next_change() == "tools"
            assert "secret" in {tool.name for tool in (await client.list_tools()).tools}
            assert await call(client, "secret") == "the cake is real"

    run(story)


@every_way
def test_a_change_of_a_resource_is_announced_to_its_subscriber(way: Way, proxy: RunningProxy) -> None:
    async def story() -> None:
        async with open_listener(way, proxy) as (client, next_change):
            for text in ("first", "second"):
                await call(client, "write_note", text=text)
                assert await next_change() == NOTE
                [note] = (await client.read_resource(NOTE)).contents
                assert isinstance(note, types.TextResourceContents)
                assert note.text == text

    run(story)


@with_a_handshake
def test_after_unsubscribing_nothing_more_is_announced(way: Way, proxy: RunningProxy) -> None:
    async def story() -> None:
        async with open_listener(way, proxy) as (client, next_change):
            await client.unsubscribe_resource(NOTE)
            await call(client, "write_note", text="unheard")
            await call(client, "reveal")
            assert await next_change() == "tools"

    run(story)


# Calls that are given up, calls that overlap, clients that overlap


@every_way
def test_a_cancelled_call_is_cancelled_in_the_server_and_nowhere_else(way: Way, proxy: RunningProxy) -> None:
    name = f"{way.transport}-{way.mode}"

    async def story() -> None:
        given_up = trio.CancelScope()

        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            given_up.cancel()

        async with way.connect(proxy) as client:
            with given_up:
                await client.call_tool("wait_for_cancellation", {"name": name}, progress_callback=on_progress)
            assert given_up.cancelled_caught
            assert await call(client, "was_cancelled", name=name) == f"{name} was cancelled"

    run(story)


@every_way
def test_of_many_calls_in_flight_each_gets_its_own_answer(way: Way, proxy: RunningProxy) -> None:
    """The server answers none before all have arrived: they do overlap."""
    party = f"{way.transport}-{way.mode}"
    names = [f"guest {number}" for number in range(20)]
    answers: dict[str, str] = {}

    async def story() -> None:
        async with way.connect(proxy) as client:

            async def visit(name: str) -> None:
                answers[name] = await call(client, "meet", party=party, name=name, size=len(names))

            async with trio.open_nursery() as nursery:
                for name in names:
                    nursery.start_soon(visit, name)
        assert answers == {name: name for name in names}

    run(story)


@every_way
def test_two_clients_are_each_asked_their_own_question(way: Way, proxy: RunningProxy) -> None:
    """Neither answers before both have been asked, so both questions are on their way at once."""
    questions: dict[str, list[str]] = {"Ada": [], "Grace": []}
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

    async def story() -> None:
        async with trio.open_nursery() as nursery:
            for user in questions:
                nursery.start_soon(visit, user)
        assert questions == {"Ada": ["Who are you, Ada?"], "Grace": ["Who are you, Grace?"]}

    run(story)


@with_a_handshake
def test_each_client_has_a_child_of_its_own_which_ends_with_its_session(way: Way, proxy: RunningProxy) -> None:
    async def story() -> None:
        async with way.connect(proxy) as one, way.connect(proxy) as other:
            first, second = int(await call(one, "process_id")), int(await call(other, "process_id"))
            assert first != second
            assert int(await call(one, "process_id")) == first
        for child in (first, second):
            await wait_until_gone(child)

    run(story)


async def wait_until_gone(process_id: int) -> None:
    """Poll, for want of anything that would tell: the process is not ours to wait for."""
    while True:
        try:
            os.kill(process_id, 0)
        except ProcessLookupError:
            return
        await trio.sleep(0.01)
