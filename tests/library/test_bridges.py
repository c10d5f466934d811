"""The other way round: a stdio server made of one that is somewhere else, or of several; each a program of its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters, stdio_client

from tests.proxies import DEMO, open_test_proxy
from tests.real.sdk_ways import sdk_warnings
from trioproxy import AuthConfig

from .clients import call

pytestmark = sdk_warnings


def start(program: str, *arguments: str, mode: str = "auto") -> Client:
    """Be a host that starts a program, and talks to it over stdin and stdout."""
    command = StdioServerParameters(command=sys.executable, args=["-W", "error", "-c", program, *arguments])
    return Client(stdio_client(command), mode=mode)


ONE = """
import sys
import trio
from trioproxy import serve_stdio

trio.run(serve_stdio, sys.argv[1])
"""


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_serve_stdio_is_a_server_made_of_one_at_a_url(mode: str) -> None:
    async with open_test_proxy() as elsewhere, start(ONE, elsewhere.url, mode=mode) as client:
        assert client.server_info is not None
        assert client.server_info.name == "trioproxy-demo"
        assert await call(client, "add", a=2, b=3) == "5"


MANY = """
import sys
import trio
from trioproxy import serve_stdio_many

trio.run(serve_stdio_many, {"home": sys.argv[1], "work": sys.argv[2]})
"""


async def test_serve_stdio_many_makes_one_of_several() -> None:
    async with open_test_proxy() as home, open_test_proxy() as work, start(MANY, home.url, work.url) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert {"home__echo", "work__echo"} <= names
        assert await call(client, "work__echo", text="hello") == "hello"


SETTLED = """
import sys
from pathlib import Path
import trio
from trioproxy import BridgeConfig, ChildConfig, LogConfig, RemoteConfig, serve_stdio

config = BridgeConfig(
    servers={
        "here": ChildConfig((sys.executable, "-m", "trioproxy.demo")),
        "far": RemoteConfig(sys.argv[1], transport="http-only", protocol="modern", api_key="k3y", request_timeout=30),
    },
    tap=Path(sys.argv[2]),
)
trio.run(serve_stdio, config)
"""


async def test_a_bridge_config_says_more_of_each_server(tmp_path: Path) -> None:
    tap = tmp_path / "said.jsonl"
    auth = AuthConfig(api_keys=("k3y",))
    async with open_test_proxy(auth=auth) as elsewhere, start(SETTLED, elsewhere.url, str(tap)) as client:
        for name in ("here__add", "far__add"):
            assert await call(client, name, a=2, b=3) == "5"
    said = [json.loads(line)["message"] for line in tap.read_text().splitlines()]
    called = [message["params"]["name"] for message in said if message.get("method") == "tools/call"]
    assert called == ["here__add", "far__add"]


LISTENING_IN = """
import sys
import trio
from trioproxy import open_child, open_stdio, relay, tapped

async def main():
    with open(sys.argv[1], "w") as file:
        async with open_stdio() as host, open_child(sys.argv[2:]) as server:
            await relay(host, tapped(server, lambda shown: print(shown.direction, file=file)))

trio.run(main)
"""


async def test_a_program_may_stand_between_a_host_and_its_server(tmp_path: Path) -> None:
    async with start(LISTENING_IN, str(tmp_path / "said"), *DEMO) as client:
        assert await call(client, "echo", text="hello") == "hello"
    assert {"client-to-server", "server-to-client"} == set((tmp_path / "said").read_text().split())
