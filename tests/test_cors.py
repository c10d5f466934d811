"""The proxy as a browser sees it that shows a page of another origin (Fetch standard, §HTTP CORS protocol)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin

import pytest

from tests import wire
from tests.proxies import open_test_proxy
from tests.puppet import PUPPET, request
from tests.serving import is_json_rpc_error
from trioproxy.config import AuthConfig, CorsOptions, ListenConfig, TimeConfig
from trioproxy.server import Proxy

APP = "https://app.example"
FOR_APP = CorsOptions(origin=APP)
PREFLIGHT = {
    "origin": APP,
    "access-control-request-method": "POST",
    "access-control-request-headers": "content-type,mcp-protocol-version,mcp-param-region",
}


def said(answer: wire.Answer | wire.Stream) -> dict[str, str]:
    """Return what an answer says to browsers."""
    prefix = "access-control-"
    return {name.removeprefix(prefix): value for name, value in answer.headers.items() if name.startswith(prefix)}


def may_be_read(answer: wire.Answer | wire.Stream, origin: str = APP) -> bool:
    """Whether a browser would show an answer to the page that asked, and its session id, too."""
    headers = said(answer)
    return headers.get("allow-origin") in (origin, "*") and "Mcp-Session-Id" in headers["expose-headers"]


async def ask(proxy: Proxy, path: str, method: str = "GET", headers: Mapping[str, str] = {}) -> wire.Answer:
    return await wire.request(urljoin(proxy.url, path), method, headers)


# Preflights


@pytest.mark.parametrize("path", ["/mcp", "/sse", "/messages", "/healthz", "/metrics", "/ping", "/.well-known/x"])
async def test_a_preflight_is_answered_wherever_it_goes(path: str) -> None:
    """A page that tries a path is to see that nothing is there, and not that it may not look."""
    async with open_test_proxy(PUPPET, cors=FOR_APP) as proxy:
        answer = await ask(proxy, path, "OPTIONS", PREFLIGHT)
        assert (answer.status, answer.body, answer.headers["vary"]) == (204, b"", "Origin")
        headers = said(answer)
        assert headers["allow-origin"] == APP
        assert headers["allow-methods"] == "GET, POST, DELETE, OPTIONS"
        allowed = headers["allow-headers"].lower().split(", ")
        assert {"authorization", "mcp-session-id", "last-event-id", "mcp-param-region"} <= set(allowed)


@pytest.mark.parametrize("path", ["/mcp", "/ping", "/nothing"])
@pytest.mark.parametrize("headers", [{"origin": "https://evil.example"}, {"origin": "null"}, {"host": "evil.example"}])
async def test_a_stranger_gets_no_preflight(path: str, headers: dict[str, str]) -> None:
    async with open_test_proxy(PUPPET, cors=FOR_APP) as proxy:
        answer = await ask(proxy, path, "OPTIONS", {**PREFLIGHT, **headers})
        assert (answer.status, is_json_rpc_error(answer), said(answer)) == (403, True, {})


async def test_options_that_is_no_preflight_is_answered_just_the_same() -> None:
    async with open_test_proxy(PUPPET) as proxy:
        answer = await ask(proxy, "/mcp", "OPTIONS")
        assert (answer.status, "allow-origin" in said(answer)) == (204, False)


# Everything else


async def test_a_page_that_may_call_can_read_every_answer_errors_included() -> None:
    async with open_test_proxy(PUPPET, cors=FOR_APP) as proxy:
        page = {"origin": APP}
        body = b'{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}'
        opened = await wire.request(proxy.url, "POST", {**wire.JSON_HEADERS, **page}, body)
        assert (opened.status, may_be_read(opened)) == (200, True)
        client = wire.Client(proxy.url, "2025-11-25")
        client.session_id = opened.headers["mcp-session-id"]
        answers = {
            "accepted": await client.post({"jsonrpc": "2.0", "method": "notifications/initialized"}, **page),
            "an answer": await client.post(request("repeat"), **page),
            "no session": await wire.request(proxy.url, "POST", {**wire.JSON_HEADERS, **page}, b"{}"),
            "no such method": await ask(proxy, "/mcp", "PUT", page),
            "no such path": await ask(proxy, "/nothing", "GET", page),
            "metrics": await ask(proxy, "/metrics", "GET", page),
            "ping": await ask(proxy, "/ping", "GET", page),
            "ended": await ask(proxy, "/mcp", "DELETE", {**client.headers, **page}),
        }
        assert {name: answer.status for name, answer in answers.items()} == {
            "accepted": 202,
            "an answer": 200,
            "no session": 400,
            "no such method": 405,
            "no such path": 404,
            "metrics": 200,
            "ping": 200,
            "ended": 204,
        }
        assert [name for name, answer in answers.items() if not may_be_read(answer)] == []


async def test_a_page_that_may_call_can_read_streams() -> None:
    async with open_test_proxy(PUPPET, cors=FOR_APP, times=TimeConfig(graceful_shutdown_timeout=0.1)) as proxy:
        client = await wire.initialize(proxy.url)
        async with (
            client.listen(origin=APP) as standalone,
            client.open_post(request("wait"), origin=APP) as call,
            wire.open_stream(proxy.urls[1], "GET", {"origin": APP}) as sse,
        ):
            for stream in (standalone, call, sse):
                assert (stream.status, may_be_read(stream)) == (200, True)


async def test_pages_of_this_machine_and_of_our_names_need_not_be_named() -> None:
    listen = ListenConfig(allowed_hosts=("proxy.example",))
    async with open_test_proxy(PUPPET, listen=listen) as proxy:
        for origin in ("http://localhost:6274", "https://proxy.example"):
            assert may_be_read(await ask(proxy, "/healthz", "GET", {"origin": origin}), origin)
            assert said(await ask(proxy, "/mcp", "OPTIONS", {**PREFLIGHT, "origin": origin}))["allow-origin"] == origin


async def test_a_stranger_is_told_nothing_and_reaches_no_server() -> None:
    async with open_test_proxy(PUPPET, cors=FOR_APP) as proxy:
        client = await wire.initialize(proxy.url)
        answer = await client.post(request("repeat", "from a stranger"), origin="https://evil.example")
        assert (answer.status, said(answer)) == (403, {})
        heard = (await client.post(request("heard"))).json["result"]["lines"]
        assert not any("stranger" in line for line in heard)


async def test_who_pings_is_answered_and_yet_not_every_page_may_read_it() -> None:
    async with open_test_proxy(PUPPET, cors=FOR_APP) as proxy:
        for headers in ({"origin": "https://evil.example"}, {"host": "balancer.internal", "origin": APP}):
            answer = await ask(proxy, "/ping", "GET", headers)
            assert (answer.status, said(answer)) == (200, {})


async def test_an_answer_to_a_page_is_not_one_for_another() -> None:
    async with open_test_proxy(PUPPET, cors=FOR_APP) as proxy:
        assert (await ask(proxy, "/ping", "GET", {"origin": APP})).headers["vary"] == "Origin"
        assert "vary" not in (await ask(proxy, "/ping")).headers


async def test_where_every_page_may_call_the_host_is_checked_all_the_same() -> None:
    async with open_test_proxy(PUPPET, cors=CorsOptions(origin="*")) as proxy:
        for origin in ("https://any.example", "null", "nonsense"):
            answer = await ask(proxy, "/ping", "GET", {"origin": origin})
            assert said(answer) == {"allow-origin": "*", "expose-headers": "Mcp-Session-Id, WWW-Authenticate"}
            assert (await ask(proxy, "/healthz", "GET", {"origin": origin, "host": "evil.example"})).status == 403


async def test_credentials_are_for_pages_that_were_named() -> None:
    async with open_test_proxy(PUPPET, cors=CorsOptions(origin=APP, credentials=True)) as proxy:
        assert said(await ask(proxy, "/ping", "GET", {"origin": APP}))["allow-credentials"] == "true"
        assert said(await ask(proxy, "/ping", "GET", {"origin": "https://evil.example"})) == {}


async def test_a_page_needs_no_key_to_ask_whether_it_may_send_one_and_can_read_why_it_may_not_come_in() -> None:
    auth = AuthConfig(api_keys=("secret",), api_key_header_name="X-Our-Key")
    async with open_test_proxy(PUPPET, cors=FOR_APP, auth=auth) as proxy:
        preflight = await ask(proxy, "/mcp", "OPTIONS", PREFLIGHT)
        assert (preflight.status, "X-Our-Key" in said(preflight)["allow-headers"]) == (204, True)
        refused = await ask(proxy, "/mcp", "POST", {"origin": APP})
        assert (refused.status, may_be_read(refused)) == (401, True)
        assert "WWW-Authenticate" in said(refused)["expose-headers"]


async def test_a_function_can_say_who_may() -> None:
    cors = CorsOptions(origin=lambda origin: origin.endswith(".app.example"))
    async with open_test_proxy(PUPPET, cors=cors) as proxy:
        origin = "https://one.app.example"
        assert may_be_read(await ask(proxy, "/healthz", "GET", {"origin": origin}), origin)
        assert (await ask(proxy, "/healthz", "GET", {"origin": "https://evil.example"})).status == 403


async def test_without_cors_browsers_are_told_nothing() -> None:
    async with open_test_proxy(PUPPET, cors=None) as proxy:
        page: dict[str, Any] = {"origin": "http://localhost:6274"}
        answer = await ask(proxy, "/ping", "GET", page)
        assert (answer.status, said(answer), "vary" in answer.headers) == (200, {}, False)
        refused = await ask(proxy, "/mcp", "OPTIONS", {**PREFLIGHT, **page})
        assert (refused.status, refused.headers["allow"]) == (405, "GET, POST, DELETE")
