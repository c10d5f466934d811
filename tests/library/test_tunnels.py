"""A server that nobody could reach gets a public URL."""

from __future__ import annotations

import json

import pytest

from tests import wire
from tests.proxies import DEMO
from tests.test_tunnel import open_server
from trioproxy import AuthConfig, ChildConfig, Config, ConfigError, ListenConfig, TunnelConfig, open_proxy


async def test_a_tunnel_server_gives_us_a_url() -> None:
    async with open_server() as tunnel_server:
        config = Config(
            child=ChildConfig(DEMO),
            listen=ListenConfig(port=0),
            auth=AuthConfig(api_keys=("k3y",)),
            tunnel=TunnelConfig(host=tunnel_server.url, subdomain="demo"),
        )
        async with open_proxy(config) as proxy:
            assert proxy.tunnel is not None
            assert await proxy.tunnel.wait_url() == "https://demo.tunnel.example"

            # Somebody calls that URL, and the tunnel server passes it on.
            call = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"}).encode()
            stranger = await tunnel_server.next_socket()
            assert (await stranger.request("POST", "/mcp", wire.JSON_HEADERS, call)).status == 401
            friend = await tunnel_server.next_socket()
            assert (await friend.request("GET", "/ping")).body == b"pong"


def test_whoever_lets_the_world_in_says_so() -> None:
    with pytest.raises(ConfigError, match="say who may"):
        Config(child=ChildConfig(DEMO), tunnel=TunnelConfig())
    Config(child=ChildConfig(DEMO), tunnel=TunnelConfig(is_open_to_all=True))
