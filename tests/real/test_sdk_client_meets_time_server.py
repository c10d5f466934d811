"""The client of the `mcp` SDK meets `mcp-server-time`: a server from PyPI that nobody here has written."""

import sys
from collections.abc import Iterator

import mcp_types as types
import pytest

from .proxy_process import RunningProxy, open_proxy
from .sdk_ways import Way, every_way, sdk_warnings

pytestmark = sdk_warnings


@pytest.fixture(scope="module")
def time_server() -> Iterator[RunningProxy]:
    with open_proxy("--", sys.executable, "-m", "mcp_server_time", "--local-timezone", "Europe/Vienna") as running:
        yield running


@every_way
async def test_it_converts_times(way: Way, time_server: RunningProxy) -> None:
    async with way.connect(time_server) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {"get_current_time", "convert_time"}
        # What it was given on its command line shows in what it tells of itself.
        assert "Europe/Vienna" in str(tools["get_current_time"].input_schema)

        arguments = {"source_timezone": "Asia/Kathmandu", "time": "12:00", "target_timezone": "UTC"}
        converted = (await client.call_tool("convert_time", arguments)).structured_content
        assert converted is not None
        assert converted["target"]["datetime"][10:] == "T06:15:00+00:00"
        assert converted["time_difference"] == "-5.75h"


@every_way
async def test_what_it_refuses_comes_back_as_an_error_the_model_can_read(way: Way, time_server: RunningProxy) -> None:
    async with way.connect(time_server) as client:
        refused = await client.call_tool("get_current_time", {"timezone": "Mars/Olympus"})
        assert refused.is_error
        [reason] = refused.content
        assert isinstance(reason, types.TextContent)
        assert "Invalid timezone" in reason.text
        assert "Mars/Olympus" in reason.text
