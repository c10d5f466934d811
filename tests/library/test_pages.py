"""Pages of other origins may call us, if they are named."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.proxies import DEMO
from tests.real.sdk_ways import sdk_warnings
from trioproxy import ChildConfig, Config, CorsOptions, ListenConfig, open_proxy

from .clients import initialize, request

pytestmark = sdk_warnings

APP = "https://app.example"


@pytest.mark.parametrize(
    "origin",
    [APP, ["https://other.example", APP], r"regex:https://.*\.example", lambda origin: origin.endswith("app.example")],
    ids=["one", "list", "pattern", "function"],
)
async def test_cors_options_name_the_pages_that_may(origin: str | list[str] | Callable[[str], bool]) -> None:
    config = Config(child=ChildConfig(DEMO), listen=ListenConfig(port=0), cors=CorsOptions(origin=origin))
    async with open_proxy(config) as proxy:
        answer = await initialize(proxy.url, origin=APP)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, APP)
        assert (await initialize(proxy.url, origin="https://evil.test")).status_code == 403


async def test_cors_options_say_what_a_page_may_do() -> None:
    cors = CorsOptions(
        origin=APP,
        methods=("GET", "POST"),
        allowed_headers=("Content-Type", "Mcp-Session-Id", "X-Trace"),
        exposed_headers=("Mcp-Session-Id",),
        credentials=True,
        max_age=60,
    )
    async with open_proxy(Config(child=ChildConfig(DEMO), listen=ListenConfig(port=0), cors=cors)) as proxy:
        wanted = {"access_control_request_method": "POST", "access_control_request_headers": "x-trace"}
        preflight = await request("OPTIONS", proxy.url, origin=APP, **wanted)
        assert preflight.status_code == 204
        told = {name.removeprefix("access-control-"): value for name, value in preflight.headers.items()}
        assert told["allow-methods"] == "GET, POST"
        assert "X-Trace" in told["allow-headers"]
        assert (told["allow-credentials"], told["max-age"]) == ("true", "60")
        answer = await initialize(proxy.url, origin=APP)
        assert answer.headers["access-control-expose-headers"] == "Mcp-Session-Id"
