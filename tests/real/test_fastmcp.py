"""A FastMCP server in process: the framework that most Python servers are written with, without a process of its own."""

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest

from .installed import python_with
from .proxy_process import RunningProxy, open_program
from .sdk_ways import Way, call, every_way, sdk_warnings, with_a_handshake

pytestmark = sdk_warnings

ROOT = Path(__file__).parents[2]
OURS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]


@pytest.fixture(scope="module")
def proxy() -> Iterator[RunningProxy]:
    python = python_with("fastmcp==4.1.2", *OURS)
    # What is tested is this tree, not what may be installed.
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with open_program([str(python), str(Path(__file__).with_name("fastmcp_server.py")), "0"], environment) as running:
        yield running


@every_way
async def test_its_tools_resources_and_prompts_are_served(way: Way, proxy: RunningProxy) -> None:
    async with way.connect(proxy) as client:
        assert client.server_info is not None
        assert (client.server_info.name, client.server_info.version) == ("calculator", "1.2.3")
        assert {tool.name for tool in (await client.list_tools()).tools} == {"add", "count", "ask"}
        assert await call(client, "add", a=2, b=3) == "5"
        [contents] = (await client.read_resource("note://today")).contents
        assert isinstance(contents, types.TextResourceContents)
        assert (contents.uri, contents.text) == ("note://today", "nothing yet")
        [message] = (await client.get_prompt("greet", {"name": "Ada"})).messages
        assert isinstance(message.content, types.TextContent)
        assert message.content.text == "Good day, Ada"


@every_way
async def test_progress_comes_while_a_tool_runs(way: Way, proxy: RunningProxy) -> None:
    heard: list[float] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        heard.append(progress)

    async with way.connect(proxy) as client:
        result = await client.call_tool("count", {"to": 3}, progress_callback=note)
    assert not result.is_error
    assert heard == [1, 2, 3]


@with_a_handshake
async def test_what_a_tool_asks_reaches_its_own_client(way: Way, proxy: RunningProxy) -> None:
    async def answer(context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        assert isinstance(params, types.ElicitRequestFormParams)
        [name] = params.requested_schema["properties"]
        return types.ElicitResult(action="accept", content={name: f"no idea, {params.message}"})

    async with way.connect(proxy, elicitation_callback=answer) as client:
        assert await call(client, "ask", question="why?") == "accept: no idea, why?"
