"""Several servers made one, of which some are broken: what works works, and what is broken is said."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import trio
from mcp import Client

from tests import wire
from tests.matrix.cells import Cell
from tests.real.sdk_ways import sdk_warnings
from tests.serving import wait_until

from .hosts import open_host
from .raw_host import RawHost, open_raw_host
from .remotes import Remotes

pytestmark = sdk_warnings

MODERN = "/several/stream/modern"
LEGACY = "/several/stream/legacy"


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_of_two_remotes_one_may_be_killed_while_both_are_called(era: Any, remotes: Remotes) -> None:
    one, two = await remotes.start_async(), await remotes.start_async()
    urls = one.url(LEGACY), two.url(MODERN)
    async with open_host(Cell(era, "stream", "dual"), sys.stderr, *urls) as host:
        tools = {tool["name"] for tool in (await host.request("tools/list")).result["tools"]}
        first, second = "127_0_0_1", "127_0_0_1-2"
        assert {f"{first}__echo", f"{second}__echo"} <= tools
        outcomes: dict[str, Any] = {}

        async def hold(server: str) -> None:
            outcomes[server] = (await host.call(f"{server}__hold", {"name": "held"})).response

        async with trio.open_nursery() as nursery:
            for server in (first, second):
                nursery.start_soon(hold, server)
            for server in (first, second):
                await host.call(f"{server}__await", {"mark": "held held"})
            two.kill()
            await wait_until(lambda: second in outcomes)
            assert "error" in outcomes[second]
            assert first not in outcomes
            nursery.cancel_scope.cancel()
        spared = await host.call(f"{first}__echo", {"text": "still here"})
        assert spared.result["structuredContent"] == {"text": "still here"}
        await remotes.start_async(two.port)
        answered = await host.call(f"{second}__echo", {"text": "back again"})
        assert answered.result["structuredContent"] == {"text": "back again"}


def write_servers(folder: Path, url: str) -> Path:
    servers = {
        "local": {"command": sys.executable, "args": ["-m", "trioproxy.demo"]},
        "remote": {"url": url},
        "broken": {"command": "/no/such/command"},
    }
    path = folder / "servers.json"
    path.write_text(json.dumps({"mcpServers": servers}))
    return path


async def test_a_file_of_servers_is_served_over_http_but_for_the_one_that_is_broken(
    tmp_path: Path, remotes: Remotes
) -> None:
    remote = await remotes.start_async()
    file = write_servers(tmp_path, remote.url(LEGACY))
    with open_raw_host("--port", "0", "--config", str(file)) as proxy:
        with trio.fail_after(20):
            await wait_until(lambda: proxy.said().count("serving ") >= 4 and "/no/such/command" in proxy.said())
        origin = re.findall(r"serving local at (http://[^/]+)/", proxy.said())[0]
        health = await wire.request(f"{origin}/healthz")
        states = {name: server["state"] for name, server in json.loads(health.body)["servers"].items()}
        assert states == {"local": "ready", "remote": "ready", "broken": "failing"}
        assert "/no/such/command" in json.loads(health.body)["servers"]["broken"]["last_exit"]
        for name in ("local", "remote"):
            async with Client(f"{origin}/servers/{name}/mcp") as client:
                answer = await client.call_tool("echo", {"text": name})
                assert not answer.is_error
                assert name in answer.model_dump_json()


async def test_a_file_of_servers_is_one_stdio_server_but_for_the_one_that_is_broken(
    tmp_path: Path, remotes: Remotes
) -> None:
    remote = await remotes.start_async()
    file = write_servers(tmp_path, remote.url(LEGACY))
    with open_raw_host("--stdio", "--config", str(file)) as host:
        await assert_all_but_the_broken_one(host)


async def assert_all_but_the_broken_one(host: RawHost) -> None:
    answer = await host.shake_hands()
    assert answer["result"]["capabilities"]["tools"] == {"listChanged": True}
    tools = {tool["name"] for tool in (await host.ask(1, "tools/list"))["result"]["tools"]}
    assert {"local__echo", "remote__echo", "add", "measure"} <= tools
    answer = await host.ask(2, "tools/call", name="local__echo", arguments={"text": "local"})
    assert answer["result"]["content"][0]["text"] == "local"
    answer = await host.ask(3, "tools/call", name="remote__echo", arguments={"text": "remote"})
    assert answer["result"]["structuredContent"] == {"text": "remote"}
    assert "/no/such/command" in host.said()
    assert await host.leave() == 0
