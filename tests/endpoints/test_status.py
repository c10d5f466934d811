"""Whether the proxy lives, and whether a client that came now would be served."""

from __future__ import annotations

from typing import Any
from urllib.parse import urljoin

import pytest
from trio.testing import wait_all_tasks_blocked

from tests import wire
from tests.proxies import open_test_proxy
from tests.puppet import PUPPET, request
from trioproxy.config import EndpointConfig, LimitConfig
from trioproxy.server import Proxy


async def health(proxy: Proxy) -> tuple[int, Any]:
    """Return the status of `/healthz`, and what it says of the server."""
    answer = await wire.request(urljoin(proxy.url, "/healthz"))
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json["status"] == ("ok" if answer.status == 200 else "unavailable")
    return answer.status, answer.json["servers"]["default"]


async def test_ping_is_answered_by_whoever_lives() -> None:
    async with open_test_proxy(PUPPET) as proxy:
        url = urljoin(proxy.url, "/ping")
        answer = await wire.request(url)
        assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"pong", "text/plain")
        assert (await wire.request(url, "HEAD")).headers["content-length"] == "4"
        # Whoever asks, and under whatever name: a load balancer knows none.
        for headers in ({"host": "balancer.internal"}, {"origin": "https://elsewhere.example"}):
            assert (await wire.request(url, "GET", headers)).status == 200
        refused = await wire.request(url, "POST")
        assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD")


async def test_health_is_good_once_the_command_has_proven_itself() -> None:
    async with open_test_proxy(PUPPET) as proxy:
        await proxy.wait_proven()
        assert await health(proxy) == (
            200,
            {"state": "ready", "restarts": 0, "last_exit": None, "sessions": 0, "saturation": 0.0},
        )
        answer = await wire.request(urljoin(proxy.url, "/healthz"), "HEAD")
        assert (answer.status, answer.body) == (200, b"")
        assert (await wire.request(urljoin(proxy.url, "/healthz"), "POST")).headers["allow"] == "GET, HEAD"


async def test_health_is_bad_until_then() -> None:
    async with open_test_proxy(PUPPET) as proxy:
        status, server = await health(proxy)
        assert (status, server["state"]) == (503, "starting")


async def test_health_is_bad_while_there_is_no_room_and_recovers_by_itself() -> None:
    async with open_test_proxy(PUPPET, limits=LimitConfig(max_sessions=2)) as proxy:
        one = await wire.initialize(proxy.url)
        status, server = await health(proxy)
        assert (status, server["sessions"], server["saturation"]) == (200, 1, 0.5)
        await wire.initialize(proxy.url)
        status, server = await health(proxy)
        assert (status, server["state"], server["saturation"]) == (503, "full", 1.0)
        await wire.request(one.url, "DELETE", one.headers)
        # Its process counts until it is gone.
        while (await health(proxy))[0] != 200:
            await wait_all_tasks_blocked()


async def test_health_tells_how_the_last_server_ended() -> None:
    """Others say that all is well when their server has died."""
    async with open_test_proxy(PUPPET) as proxy:
        client = await wire.initialize(proxy.url)
        await client.post(request("die", 1, status=3))
        await wait_all_tasks_blocked()
        status, server = await health(proxy)
        # The session goes on with another.
        assert (status, server["sessions"], server["last_exit"]) == (200, 1, "the server exited with status 3")
        assert (await client.post(request("repeat", 2))).status == 200


async def test_the_path_of_the_report_can_be_chosen() -> None:
    async with open_test_proxy(PUPPET, endpoints=EndpointConfig(health_endpoint="/ready")) as proxy:
        assert (await wire.request(urljoin(proxy.url, "/ready"))).status == 503
        assert (await wire.request(urljoin(proxy.url, "/healthz"))).status == 404


@pytest.mark.parametrize("headers", [{"host": "evil.example"}, {"origin": "https://evil.example"}, {"origin": "null"}])
async def test_the_report_is_for_those_who_call_us_by_our_name(headers: dict[str, str]) -> None:
    async with open_test_proxy(PUPPET) as proxy:
        assert (await wire.request(urljoin(proxy.url, "/healthz"), "GET", headers)).status == 403
