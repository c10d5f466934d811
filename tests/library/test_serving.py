"""A stdio server is served over HTTP."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import httpx2
import pytest
import trio

from tests.proxies import DEMO
from tests.real.sdk_ways import sdk_warnings
from trioproxy import (
    ChildConfig,
    Config,
    EndpointConfig,
    LimitConfig,
    ListenConfig,
    LogConfig,
    Proxy,
    TimeConfig,
    open_proxy,
    serve,
)

from .clients import call, connect, initialize, request

pytestmark = sdk_warnings


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_open_proxy_serves_as_long_as_its_block_runs(mode: str) -> None:
    config = Config(child=ChildConfig(DEMO), listen=ListenConfig(port=0))
    async with open_proxy(config) as proxy, connect(proxy.url, mode=mode) as client:
        assert await call(client, "add", a=2, b=3) == "5"
    with pytest.raises(httpx2.ConnectError):
        await initialize(proxy.url)


async def test_serve_runs_until_it_is_told_to_stop(free_port: int) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, Config(child=ChildConfig(DEMO), listen=ListenConfig(port=free_port)))

        answer = None
        while answer is None:
            try:
                answer = await request("GET", f"http://127.0.0.1:{free_port}/ping")
            except httpx2.ConnectError:
                await trio.sleep(0.01)
        assert answer.text == "pong"

        os.kill(os.getpid(), signal.SIGTERM)


async def test_a_config_says_everything_one_concern_at_a_time(tmp_path: Path) -> None:
    config = Config(
        child=ChildConfig(DEMO, cwd=tmp_path, environment={"LANG": "C.UTF-8"}, spares=0),
        listen=ListenConfig(host="127.0.0.1", port=0, root_path="/tools"),
        endpoints=EndpointConfig(servers=frozenset({"stream"}), stream_endpoint="/demo", metrics=False),
        times=TimeConfig(request_timeout=10, session_idle_timeout=60),
        limits=LimitConfig(max_sessions=1, max_body_size=1000),
        log=LogConfig(level="warning"),
        modern=False,
        json_response=True,
    )
    async with open_proxy(config) as proxy:
        assert proxy.urls == (proxy.url,)
        # A reverse proxy in front of us would strip what it adds: /tools.
        assert proxy.url.endswith("/tools/demo")
        url = proxy.url.replace("/tools", "")

        first = await initialize(url)
        assert first.json()["result"]["serverInfo"]["name"] == "trioproxy-demo"
        assert proxy.sessions == 1
        assert (await initialize(url)).status_code == 503


async def test_a_proxy_says_how_it_is() -> None:
    def describe(proxy: Proxy) -> tuple[str, int]:
        return proxy.state, proxy.sessions

    async with open_proxy(Config(child=ChildConfig(DEMO), listen=ListenConfig(port=0))) as proxy:
        await proxy.wait_proven()
        assert describe(proxy) == ("ready", 0)
        async with connect(proxy.url, mode="legacy") as client:
            assert await call(client, "echo", text="hello") == "hello"
            assert proxy.sessions == 1
        assert (await request("GET", proxy.url.replace("/mcp", "/healthz"))).json()["status"] == "ok"
