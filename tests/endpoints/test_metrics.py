"""What `/metrics` says of a proxy to which something has happened."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urljoin

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from tests import modern, wire
from tests.proxies import open_test_proxy
from tests.puppet import MODERN_PUPPET, PUPPET, notification, request, saying
from tests.serving import ask
from trioproxy import session as session_module
from trioproxy.config import AuthConfig, EndpointConfig, LimitConfig, TimeConfig
from trioproxy.server import Proxy


class Readings:
    """The samples of one look at `/metrics`."""

    def __init__(self, text: str) -> None:
        families = text_string_to_metric_families(text)
        self._samples = [sample for family in families for sample in family.samples]

    def __call__(self, name: str, **labels: str) -> float:
        """Return the sum of the samples of `name` that have these labels."""
        found = [s.value for s in self._samples if s.name == f"trioproxy_{name}" and labels.items() <= s.labels.items()]
        return sum(found)

    def calls(self, **labels: str) -> Mapping[str, float]:
        """Return how many calls had which outcome."""
        samples = [s for s in self._samples if s.name == "trioproxy_calls_total" and labels.items() <= s.labels.items()]
        return {sample.labels["outcome"]: sample.value for sample in samples}


async def look(proxy: Proxy) -> Readings:
    answer = await wire.request(urljoin(proxy.url, "/metrics"))
    assert (answer.status, answer.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert answer.headers["cache-control"] == "no-store"
    return Readings(answer.body.decode())


# Calls


async def test_calls_of_a_session_are_counted_by_what_became_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "_CANCEL_TIME", 0.01)
    async with open_test_proxy(PUPPET, times=TimeConfig(request_timeout=0.2)) as proxy:
        client = await wire.initialize(proxy.url)
        await client.post(request("repeat", 1))
        error = b'{"jsonrpc":"2.0","id":2,"error":{"code":-32000,"message":"no"}}'
        await client.post(request("recite", 2, line=error.decode()))
        await client.post(request("wait", 3))
        async with client.open_post(request("wait", 4)) as call:
            await client.post(notification("notifications/cancelled", requestId=4))
            await call.rest()
        await client.post(request("die", 5, status=3))
        readings = await look(proxy)
        assert readings.calls(method="initialize", era="legacy") == {"ok": 1}
        expected = {"ok": 1, "error": 1, "timeout": 1, "cancelled": 1, "child_died": 1}
        assert readings.calls(method="other", era="legacy") == expected
        assert readings("call_seconds_count", method="other", era="legacy") == 5
        assert 0.2 <= readings("call_seconds_sum", method="other", era="legacy") < 5
        assert readings("call_seconds_bucket", method="other", le="0.1") >= 2


async def test_a_late_answer_is_not_a_second_call() -> None:
    async with open_test_proxy(PUPPET, times=TimeConfig(request_timeout=0.05)) as proxy:
        client = await wire.initialize(proxy.url)
        await client.post(request("wait", 1))
        await client.post(saying({"jsonrpc": "2.0", "id": 1, "result": {}}))
        await client.post(request("repeat", 2))
        assert (await look(proxy)).calls(method="other") == {"timeout": 1, "ok": 1}


async def test_modern_calls_are_counted_by_what_became_of_them() -> None:
    async with open_test_proxy(MODERN_PUPPET, times=TimeConfig(request_timeout=0.2)) as proxy:
        await modern.post(proxy.url, modern.request("repeat", 1))
        error = '{"jsonrpc":"2.0","id":@me@,"error":{"code":-32000,"message":"no"}}'
        await modern.post(proxy.url, modern.request("say", 2, lines=[error]))
        await modern.post(proxy.url, modern.request("wait", 3))
        async with modern.open_post(proxy.url, modern.request("begin", 4, token="t")) as call:
            await call.next_message()
        await modern.post(proxy.url, modern.request("stammer", 5, text="{"))
        expected = {"ok": 1, "error": 1, "timeout": 1, "cancelled": 1, "child_died": 1}
        while (calls := (await look(proxy)).calls(method="other", era="modern")) != expected:
            assert calls.keys() <= expected.keys(), calls
        assert (await look(proxy)).calls(era="legacy") == {}


async def test_a_modern_client_of_a_legacy_server_is_counted_once_and_in_its_own_era() -> None:
    async with open_test_proxy() as proxy:
        await modern.post(proxy.url, modern.tool_call("add", 1, {"a": 2, "b": 3}))
        readings = await look(proxy)
        assert readings.calls(era="modern", method="tools/call") == {"ok": 1}
        assert readings.calls(era="legacy") == {}


# The state of the house


async def test_sessions_children_and_calls_in_flight_are_those_of_the_moment() -> None:
    async with open_test_proxy(PUPPET) as proxy:
        await proxy.wait_proven()
        readings = await look(proxy)
        assert (readings("sessions"), readings("children", state="used"), readings("children", state="spare")) == (0, 0, 1)
        assert (readings("ready"), readings("info", version="0.1.0")) == (1, 1)
        client = await wire.initialize(proxy.url)
        async with client.open_post(request("wait")):
            readings = await look(proxy)
            assert (readings("sessions"), readings("children", state="used"), readings("calls_in_flight")) == (1, 1, 1)
            # The session's call, and the one that looks.
            assert readings("connections") == 2
        await wire.request(proxy.url, "DELETE", client.headers)
        assert (await look(proxy))("sessions") == 0


async def test_a_server_that_ends_by_itself_is_counted() -> None:
    async with open_test_proxy(PUPPET) as proxy:
        client = await wire.initialize(proxy.url)
        await client.post(request("die", 1, status=3))
        assert (await look(proxy))("child_deaths_total") == 1


async def test_what_is_kept_and_what_had_to_go_is_counted_also_after_the_session() -> None:
    async with open_test_proxy(PUPPET, limits=LimitConfig(event_store_max_events=8)) as proxy:
        client = await wire.initialize(proxy.url)
        # One if that took so long that it was answered with a stream.
        before = (await look(proxy))("event_log_events")
        await client.post(saying(*[notification("notifications/message", data=number) for number in range(20)]))
        kept = gone = 0.0
        while kept + gone < before + 20:
            readings = await look(proxy)
            kept, gone = readings("event_log_events"), readings("event_log_evictions_total")
        assert (kept + gone, kept <= 8, readings("event_log_bytes") > 50 * kept) == (before + 20, True, True)
        await wire.request(proxy.url, "DELETE", client.headers)
        readings = await look(proxy)
        assert (readings("event_log_events"), readings("event_log_evictions_total")) == (0, gone)


async def test_what_waits_for_a_server_that_does_not_read_is_counted() -> None:
    times = TimeConfig(graceful_shutdown_timeout=0.1)
    async with open_test_proxy(("sleep", "1000"), times=times) as proxy, trio.open_nursery() as nursery:
        body = b'{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"x":"%b"}}' % (b"x" * 3_000_000)
        nursery.start_soon(wire.request, proxy.url, "POST", wire.JSON_HEADERS, body)
        while (await look(proxy))("stdin_queue_bytes") < 1_000_000:
            pass
        nursery.cancel_scope.cancel()


# HTTP


async def test_bytes_are_counted_both_ways() -> None:
    async with open_test_proxy(PUPPET) as proxy:
        client = await wire.initialize(proxy.url)
        before = await look(proxy)
        await client.post(request("blob", 1, size=1_000_000))
        await client.post(request("repeat", 2, text="y" * 500_000))
        after = await look(proxy)
        assert 500_000 < after("received_bytes_total") - before("received_bytes_total") < 510_000
        assert 1_500_000 < after("sent_bytes_total") - before("sent_bytes_total") < 1_520_000


async def test_what_is_refused_is_counted_by_status_and_reason() -> None:
    async with open_test_proxy(PUPPET, limits=LimitConfig(max_connections=2)) as proxy:
        for path, headers in (("/nothing", {}), ("/nothing", {}), ("/healthz", {"host": "evil.example"})):
            await wire.request(urljoin(proxy.url, path), "GET", headers)
        await wire.request(proxy.url, "POST", wire.JSON_HEADERS, b"{")
        await wire.request(
            proxy.url, "POST", {**wire.JSON_HEADERS, "mcp-session-id": "x"}, b'{"jsonrpc":"2.0","method":"x"}'
        )
        async with wire.connect(proxy.url) as connection:
            assert (await ask(connection, b"NONSENSE\r\n\r\n")).status == 400
        async with wire.connect(proxy.url) as one, wire.connect(proxy.url) as two, wire.connect(proxy.url) as three:
            ping = b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n"
            assert [(await ask(connection, ping)).status for connection in (one, two, three)] == [200, 200, 503]
        readings = await look(proxy)
        refused = {
            ("404", "PathNotFound"): 2,
            ("403", "HostRefused"): 1,
            ("400", "ParseError"): 1,
            ("404", "SessionNotFound"): 1,
            ("400", "InvalidRequest"): 1,
            ("503", "Unavailable"): 1,
        }
        assert {key: readings("refusals_total", status=key[0], error=key[1]) for key in refused} == refused
        assert readings("refusals_total") == sum(refused.values())


async def test_head_is_answered_and_other_methods_are_not() -> None:
    async with open_test_proxy(PUPPET) as proxy:
        url = urljoin(proxy.url, "/metrics")
        head = await wire.request(url, "HEAD")
        assert (head.status, head.body) == (200, b"")
        refused = await wire.request(url, "POST")
        assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD")


async def test_the_metrics_are_for_those_who_call_us_by_our_name() -> None:
    async with open_test_proxy(PUPPET) as proxy:
        assert (await wire.request(urljoin(proxy.url, "/metrics"), "GET", {"host": "evil.example"})).status == 403


KEYS = AuthConfig(api_keys=("secret",))


async def test_the_metrics_need_no_key_unless_they_are_said_to() -> None:
    for metrics_auth, status in ((False, 200), (True, 401)):
        async with open_test_proxy(PUPPET, auth=KEYS, endpoints=EndpointConfig(metrics_auth=metrics_auth)) as proxy:
            url = urljoin(proxy.url, "/metrics")
            assert (await wire.request(url)).status == status
            assert (await wire.request(url, "GET", {"authorization": "Bearer secret"})).status == 200


@pytest.mark.parametrize("path", ["/metrics", "/.well-known/mcp"])
async def test_a_transport_at_a_path_that_is_open_otherwise_is_not_open(path: str) -> None:
    endpoints = EndpointConfig(stream_endpoint=path, metrics=False)
    async with open_test_proxy(PUPPET, auth=KEYS, endpoints=endpoints) as proxy:
        assert (await wire.request(proxy.url, "POST", wire.JSON_HEADERS, b"{}")).status == 401


async def test_metrics_can_be_turned_off() -> None:
    async with open_test_proxy(PUPPET, endpoints=EndpointConfig(metrics=False)) as proxy:
        assert (await wire.request(urljoin(proxy.url, "/metrics"))).status == 404
