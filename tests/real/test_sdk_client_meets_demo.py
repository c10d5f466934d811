"""The client of the `mcp` SDK, on trio, meets the built-in demo, as whoever follows the README does."""

from collections.abc import Iterator

import mcp_types as types
import pytest
import trio
from mcp import Client
from mcp.client.session import ClientRequestContext, IncomingMessage
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import FileUrl

from .contract import HARD_TEXT
from .proxy_process import RunningProxy, open_proxy
from .sdk_ways import Way, call, every_way, sdk_warnings, text_of, with_a_handshake

pytestmark = sdk_warnings


@pytest.fixture(scope="module")
def demo() -> Iterator[RunningProxy]:
    with open_proxy("--demo") as running:
        yield running


@every_way
async def test_calls_are_answered(way: Way, demo: RunningProxy) -> None:
    async with way.connect(demo) as client:
        assert await call(client, "echo", text=HARD_TEXT) == HARD_TEXT
        added = await client.call_tool("add", {"a": 17, "b": 25.5})
        assert added.structured_content == {"sum": 42.5}


@every_way
async def test_resources_prompts_and_completions_cross(way: Way, demo: RunningProxy) -> None:
    async with way.connect(demo) as client:
        [template] = (await client.list_resource_templates()).resource_templates
        [square] = (await client.read_resource(template.uri_template.format(number=12))).contents
        assert isinstance(square, types.TextResourceContents)
        assert square.text == "144"
        [message] = (await client.get_prompt("greet", {"name": "Grace"})).messages
        assert message.content == types.TextContent(text="Please greet Grace warmly.")
        completed = await client.complete(types.PromptReference(name="greet"), {"name": "name", "value": "a"})
        assert completed.completion.values == ["Ada", "Alan"]


@every_way
async def test_progress_arrives_while_the_call_still_runs(way: Way, demo: RunningProxy) -> None:
    """A count that would take an hour is given up after its first steps, which have arrived by then."""
    heard: list[tuple[float, float | None, str | None]] = []

    async with way.connect(demo) as client:
        with trio.CancelScope() as given_up:

            async def on_progress(progress: float, total: float | None, message: str | None) -> None:
                heard.append((progress, total, message))
                if progress == 3:
                    given_up.cancel()

            await client.call_tool("count", {"to": 360_000, "delay_ms": 10}, progress_callback=on_progress)
        assert given_up.cancelled_caught
        assert await call(client, "echo", text="still here") == "still here"
        counted = await client.call_tool("count", {"to": 2, "delay_ms": 0})
        assert text_of(counted) == "Counted to 2."
    assert heard[:3] == [(number, 360_000, f"{number} of 360000") for number in (1, 2, 3)]


@every_way
async def test_a_log_message_arrives(way: Way, demo: RunningProxy) -> None:
    send, receive = trio.open_memory_channel[types.LoggingMessageNotificationParams](1)

    async with way.connect(demo, logging_callback=send.send) as client:
        if client.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            await client.set_logging_level("debug")
        await call(client, "log", text="ünï", level="warning")
        logged = await receive.receive()
        assert (logged.level, logged.logger, logged.data) == ("warning", "demo", "ünï")


@every_way
async def test_one_call_may_ask_the_user_and_then_the_model(way: Way, demo: RunningProxy) -> None:
    async def on_elicit(context: ClientRequestContext, params: types.ElicitRequestParams) -> types.ElicitResult:
        assert params.message == "What is your name?"
        return types.ElicitResult(action="accept", content={"name": "Ada"})

    async def on_sample(
        context: ClientRequestContext, params: types.CreateMessageRequestParams
    ) -> types.CreateMessageResult:
        [message] = params.messages
        assert message.content == types.TextContent(text="Greet Ada.")
        return types.CreateMessageResult(role="assistant", content=types.TextContent(text="Hail!"), model="parrot")

    async with way.connect(demo, elicitation_callback=on_elicit, sampling_callback=on_sample) as client:
        assert await call(client, "ask_name") == "Hello, Ada!"
        assert await call(client, "introduce") == "The model says to Ada: Hail!"


@every_way
async def test_the_demo_learns_the_roots_of_the_client(way: Way, demo: RunningProxy) -> None:
    async def on_list_roots(context: ClientRequestContext) -> types.ListRootsResult:
        return types.ListRootsResult(roots=[types.Root(uri=FileUrl("file:///a%20b"))])

    async with way.connect(demo, list_roots_callback=on_list_roots) as client:
        assert await call(client, "list_roots") == "file:///a%20b"


@with_a_handshake
async def test_the_demo_knows_what_the_client_cannot_do(way: Way, demo: RunningProxy) -> None:
    """What the client has declared has crossed, and nothing else in its stead."""
    async with way.connect(demo) as client:
        refused = await client.call_tool("ask_name")
        assert refused.is_error
        assert refused.content == [types.TextContent(text="This needs a client with the elicitation capability")]


@with_a_handshake
async def test_a_list_that_grows_is_announced(way: Way, demo: RunningProxy) -> None:
    send, changes = trio.open_memory_channel[type[object]](10)

    async def on_message(message: IncomingMessage) -> None:
        await send.send(type(message))

    async with way.connect(demo, message_handler=on_message) as client:
        await call(client, "grow")
        announced = {await changes.receive(), await changes.receive()}
        assert announced == {types.ToolListChangedNotification, types.ResourceListChangedNotification}
        assert await call(client, "leaf_1") == "This is leaf_1, swaying in the wind."


async def test_with_the_limits_of_the_sdk_as_they_are_a_url_is_enough(demo: RunningProxy) -> None:
    async with Client(demo.mcp) as client:
        assert await call(client, "echo", text="hello") == "hello"
