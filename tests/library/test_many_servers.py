"""Several servers behind one port, and one server behind several clients."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal
from urllib.parse import urljoin

import httpx2
import pytest

from tests.proxies import DEMO, python
from tests.real.sdk_ways import sdk_warnings
from trioproxy import (
    AuthConfig,
    ChildConfig,
    Config,
    ConfigError,
    EndpointConfig,
    ListenConfig,
    RemoteConfig,
    ServerFile,
    open_proxy,
)

from .clients import call, connect, request
from .test_own_servers import create_notebook

pytestmark = sdk_warnings


async def test_named_servers_are_served_beside_the_default_one() -> None:
    async with open_proxy(Config(child=ChildConfig(DEMO), listen=ListenConfig(port=0))) as elsewhere:
        config = Config(
            child=ChildConfig(DEMO),
            servers={"another": ChildConfig(DEMO), "far": RemoteConfig(elsewhere.url)},
            listen=ListenConfig(port=0),
            endpoints=EndpointConfig(servers=frozenset({"stream"})),
        )
        async with open_proxy(config) as proxy:
            base = proxy.url.removesuffix("/mcp")
            assert proxy.urls == (f"{base}/mcp", f"{base}/servers/another/mcp", f"{base}/servers/far/mcp")
            for url in proxy.urls:
                async with connect(url) as client:
                    assert await call(client, "echo", text=url) == url


async def test_a_server_that_fails_leaves_the_others_alone() -> None:
    broken = ChildConfig(python("import sys; sys.exit('out of memory')"))
    config = Config(servers={"broken": broken, "demo": ChildConfig(DEMO)}, listen=ListenConfig(port=0))
    async with open_proxy(config) as proxy:
        await proxy.wait_proven()
        async with connect(urljoin(proxy.url, "/servers/demo/mcp")) as client:
            assert await call(client, "echo", text="hello") == "hello"
        report = (await request("GET", urljoin(proxy.url, "/healthz"))).json()["servers"]
        assert (report["demo"]["state"], report["broken"]["state"]) == ("ready", "failing")


async def test_the_file_of_servers_that_clients_have_is_served(tmp_path: Path) -> None:
    file = tmp_path / "mcp.json"
    command, *arguments = DEMO

    def write(*names: str) -> None:
        servers = {name: {"command": command, "args": arguments} for name in names}
        file.write_text(json.dumps({"mcpServers": servers}))

    write("notes")
    async with open_proxy(Config(server_file=ServerFile(file), listen=ListenConfig(port=0))) as proxy:
        await proxy.wait_proven()
        assert [served.name for served in proxy.servers] == ["notes"]

        write("notes", "search")
        proxy.reload()
        async with connect(urljoin(proxy.url, "/servers/search/mcp")) as client:
            assert await call(client, "echo", text="hello") == "hello"

        file.write_text('{"mcpServers": {"notes": {"command": 5}}}')
        with pytest.raises(ConfigError, match="notes"):
            proxy.reload()
        assert [served.name for served in proxy.servers] == ["notes", "search"]


@pytest.mark.parametrize(("isolation", "notes_of_bob"), [("principal", "two"), ("shared", "one, two")])
async def test_each_user_has_a_server_or_all_share_one(isolation: Literal["principal", "shared"], notes_of_bob: str) -> None:
    """Notes are kept by the server for as long as it runs."""
    config = Config(
        create_server=create_notebook,
        listen=ListenConfig(port=0),
        auth=AuthConfig(api_keys=("alices-key", "bobs-key")),
        isolation=isolation,
    )
    async with open_proxy(config) as proxy:
        async with connect(proxy.url, {"x-api-key": "alices-key"}) as alice:
            assert await call(alice, "note", text="one") == "one"
        async with connect(proxy.url, {"x-api-key": "bobs-key"}) as bob:
            assert await call(bob, "note", text="two") == notes_of_bob


async def test_what_is_said_is_written_down(tmp_path: Path) -> None:
    config = Config(child=ChildConfig(DEMO), listen=ListenConfig(port=0), tap=tmp_path / "said.jsonl")
    async with open_proxy(config) as proxy, connect(proxy.url, mode="legacy") as client:
        assert await call(client, "echo", text="hello") == "hello"
    said = [json.loads(line) for line in (tmp_path / "said.jsonl").read_text().splitlines()]
    assert len({entry["session"] for entry in said}) == 1
    calls = [entry for entry in said if entry["message"].get("method") == "tools/call"]
    assert [(entry["direction"], entry["message"]["params"]["name"]) for entry in calls] == [("client-to-server", "echo")]


async def test_each_request_stands_alone_if_there_are_no_sessions() -> None:
    config = Config(child=ChildConfig(DEMO), listen=ListenConfig(port=0), stateless=True, json_response=True)
    async with open_proxy(config) as proxy, httpx2.AsyncClient() as http:
        message = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": "add", "arguments": {"a": 2, "b": 3}},
        }
        answer = await http.post(proxy.url, json=message, headers={"accept": "application/json, text/event-stream"})
        assert answer.json()["result"]["structuredContent"] == {"sum": 5}
        assert "mcp-session-id" not in answer.headers
