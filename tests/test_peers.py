"""What other proxies get wrong, for clients with a handshake in front of a stdio server: one test a fault.

Each fault was found by running the proxy that is named: PK punkpeye/mcp-proxy, SG supergateway,
SP sparfenyuk/mcp-proxy, FM FastMCP, CF ContextForge's translate.
"""

from __future__ import annotations

import gc
import json
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urljoin

import pytest
from trio.testing import wait_all_tasks_blocked

from tests import wire
from tests.proxies import descendants, open_test_proxy, python, wait_gone
from tests.puppet import PUPPET, log, notification, progress, request, response, saying
from trioproxy.cli import read_command_line
from trioproxy.config import ChildConfig, Config, LimitConfig, ListenConfig, TimeConfig
from trioproxy.server import Proxy
from trioproxy.session import Session

AT_ONCE = TimeConfig(graceful_shutdown_timeout=0)


def open_puppet(**concerns: Any) -> Any:
    """A proxy with the puppet behind it, and no more children than sessions."""
    return open_test_proxy(PUPPET, child={"spares": 0}, **{"times": AT_ONCE, **concerns})


@asynccontextmanager
async def open_sse(proxy: Proxy) -> AsyncIterator[tuple[wire.Stream, str]]:
    """A session over HTTP with SSE, handshake done: its stream, and where to POST."""
    async with wire.open_stream(urljoin(proxy.url, "/sse")) as stream:
        event = await stream.next_event()
        assert event is not None
        endpoint = urljoin(proxy.url, event.data)
        await post(endpoint, request("initialize", 0, protocolVersion="2024-11-05", capabilities={}, clientInfo={}))
        assert (await stream.next_message())["result"]["serverInfo"]["name"] == "puppet"
        yield stream, endpoint


async def post(url: str, message: Any, **headers: str) -> wire.Answer:
    dashed = {name.replace("_", "-"): value for name, value in headers.items()}
    return await wire.request(url, "POST", {**wire.JSON_HEADERS, **dashed}, json.dumps(message).encode())


def hello() -> dict[str, Any]:
    return request("initialize", 0, protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "x", "version": "1"})


async def health(proxy: Proxy) -> Any:
    await wait_all_tasks_blocked()
    return (await wire.request(urljoin(proxy.url, "/healthz"))).json["servers"]["default"]


# Whose answer is it?


async def test_no_client_hears_what_another_ones_server_says() -> None:
    """SG sends each line of its one child to every SSE client, questions included; CF broadcasts too."""
    secrets = [log("SECRET"), request("sampling/createMessage", 1), response(1, text="SECRET-OF-A")]
    async with open_puppet() as proxy, open_sse(proxy) as (a, to_a), open_sse(proxy) as (b, to_b):
        await post(to_a, request("wait", 1))
        await post(to_b, request("wait", 1))
        await post(to_a, saying(*secrets))
        assert [await a.next_message() for _ in secrets] == secrets
        await post(to_b, saying(response(1, text="of b")))
        assert await b.next_message() == response(1, text="of b")


async def test_changes_and_logs_reach_the_session_that_they_happened_in_and_no_other() -> None:
    """PK sends logs, list changes and resource updates of its one child to all tenants."""
    said = [log("mine"), notification("notifications/tools/list_changed"), notification("notifications/resources/updated")]
    async with open_puppet() as proxy:
        a, b = await wire.initialize(proxy.url), await wire.initialize(proxy.url)
        async with a.listen() as of_a, b.listen() as of_b:
            await a.post(saying(*said))
            assert [await of_a.next_message() for _ in said] == said
            await b.post(saying(log("b's own")))
            assert await of_b.next_message() == log("b's own")


async def test_an_event_id_of_one_session_replays_nothing_in_another() -> None:
    """PK's README example shares one event store: any known id replays somebody else's answers."""
    async with open_puppet() as proxy:
        a, b = await wire.initialize(proxy.url), await wire.initialize(proxy.url)
        async with a.open_post(request("wait", 1)) as stream:
            event_id = (await stream.next_event()).id
            await a.post(saying(response(1, text="SECRET")))
            await stream.rest()
        async with a.listen() as standalone:
            standalone_id = (await standalone.next_event()).id
        for known in (event_id, standalone_id):
            answer = await wire.request(b.url, "GET", {**b.headers, "last-event-id": known})
            assert (answer.status, b"SECRET" in answer.body) == (400, False)


async def test_two_requests_with_one_id_do_not_take_each_others_answers() -> None:
    """In PK the later one overwrites the earlier one's stream."""
    async with open_puppet() as proxy:
        client = await wire.initialize(proxy.url)
        async with client.open_post(request("wait", 1)) as first:
            assert (await client.post(request("repeat", 1))).status == 400
            await client.post(saying(response(1, of="the first")))
            assert await first.rest() == [response(1, of="the first")]


# What is carried


async def test_what_the_server_asks_is_asked() -> None:
    """SP, PK and FM's proxy answer sampling and elicitation with an error of their own."""
    answers = {
        "elicitation/create": {"action": "accept", "content": {"name": "Ada"}},
        "sampling/createMessage": {"role": "assistant", "model": "m", "content": {"type": "text", "text": "Dear Ada!"}},
    }
    async with open_test_proxy() as proxy:
        client = await wire.initialize(proxy.url, capabilities={"elicitation": {}, "sampling": {}})
        async with client.open_post(wire.tool_call("introduce")) as stream:
            for method, answer in answers.items():
                question = await stream.next_message()
                assert question["method"] == method
                await client.post(response(question["id"], **answer))
            assert (await stream.next_message())["result"]["content"][0]["text"] == "The model says to Ada: Dear Ada!"


async def test_progress_logs_and_list_changes_arrive_and_a_cancellation_is_passed_on() -> None:
    """SP drops all four over Streamable HTTP."""
    said = [progress("t"), log("hi"), notification("notifications/tools/list_changed")]
    async with open_puppet() as proxy:
        client = await wire.initialize(proxy.url)
        async with client.open_post(request("wait", 1, token="t")) as stream:
            await client.post(saying(*said))
            assert [await stream.next_message() for _ in said] == said
            cancel = notification("notifications/cancelled", requestId=1)
            await client.post(cancel)
            heard = await client.post(request("heard", 2))
            assert json.loads(heard.messages[-1]["result"]["lines"][-2]) == cancel


async def test_bodies_of_many_megabytes_are_taken() -> None:
    """SG refuses more than 100 KB with an HTML page; SP and FM 4 MiB."""
    async with open_puppet() as proxy:
        client = await wire.initialize(proxy.url)
        answer = await client.post(request("repeat", 1, text="x" * 9_000_000))
        assert len(answer.messages[-1]["result"]["line"]) > 9_000_000


async def test_a_body_that_is_too_large_ends_nothing() -> None:
    """In SG and PK one POST of 5 MB ends the whole SSE session."""
    limits = LimitConfig(max_body_size=1_000_000)
    async with open_puppet(limits=limits) as proxy, open_sse(proxy) as (stream, endpoint):
        assert (await post(endpoint, request("repeat", 1, text="x" * 5_000_000))).status == 413
        assert (await post(endpoint, request("repeat", 2))).status == 202
        assert (await stream.next_message())["id"] == 2


# A server that fails


async def test_a_result_of_twelve_megabytes_ends_nobodys_session() -> None:
    """More than 10 MiB ends PK's only child, for all clients and for ever."""
    async with open_puppet() as proxy:
        a, b = await wire.initialize(proxy.url), await wire.initialize(proxy.url)
        answer = await a.post(request("blob", 1, size=12 * 2**20))
        assert len(answer.messages[-1]["result"]["text"]) == 12 * 2**20
        for client in (a, b):
            assert (await client.post(request("repeat", 2))).messages[-1]["id"] == 2


async def test_a_result_over_the_limit_fails_that_call_and_nothing_else() -> None:
    """The same in PK, where the limit is not even ours to choose."""
    async with open_test_proxy(PUPPET, child={"max_message_size": 2**20}) as proxy:
        client = await wire.initialize(proxy.url)
        (message,) = (await client.post(request("blob", 1, size=2**21))).messages
        assert "over the limit of --max-message-size" in message["error"]["message"]
        assert (await client.post(request("repeat", 2))).messages[-1]["id"] == 2


async def test_a_dead_server_is_an_error_at_once_and_the_next_request_has_a_living_one() -> None:
    """SP answers 200 with an empty text for ever, and PK "Not connected"."""
    async with open_puppet() as proxy:
        client = await wire.initialize(proxy.url)
        (message,) = (await client.post(request("die", 1, signal=9))).messages
        assert message["error"]["data"]["signal"] == "SIGKILL"
        assert (await client.post(request("repeat", 2))).messages[-1]["id"] == 2
        assert (await (await wire.initialize(proxy.url)).post(request("repeat", 3))).messages[-1]["id"] == 3


async def test_health_is_not_good_when_no_session_could_be_opened() -> None:
    """PK says pong, and SP "configured", with a server that has long been dead."""
    async with open_puppet(limits=LimitConfig(max_sessions=1)) as proxy:
        client = await wire.initialize(proxy.url)
        assert (await health(proxy))["state"] == "full"
        await client.post(request("die", 1, status=3))
        await wire.request(client.url, "DELETE", client.headers)
        # Its place is free as soon as nothing of its process group is left.
        while (after := await health(proxy))["state"] == "full":
            await wait_all_tasks_blocked()
        assert (after["state"], after["last_exit"]) == ("ready", "the server exited with status 3")


# What is left behind


async def test_a_client_that_goes_without_a_word_does_not_keep_a_process() -> None:
    """SG keeps a process of each for half an hour; PK counted 108 DELETEs to 10,593 sessions."""
    async with open_puppet(times=TimeConfig(connection_timeout=0.3)) as proxy:
        for _ in range(5):
            assert (await post(proxy.url, hello())).status == 200
        for child in descendants(os.getpid()):
            await wait_gone(child)
        assert (await health(proxy))["sessions"] == 0


async def test_a_handshake_that_is_refused_leaves_nothing() -> None:
    """In PK each leaves a server and a sink, that nobody ever finds again."""
    # The head of a stream that is opened for a slow answer has an id; of one body it is known what it says.
    async with open_puppet(json_response=True) as proxy:
        for headers, status in (({"accept": "text/html"}, 406), ({"content_type": "text/plain"}, 415)):
            for _ in range(20):
                assert (await post(proxy.url, hello(), **headers)).status == status
        for _ in range(5):
            refused = request("initialize", 0, protocolVersion="refuse me", capabilities={}, clientInfo={})
            assert "mcp-session-id" not in (await post(proxy.url, refused)).headers
        for child in descendants(os.getpid()):
            await wait_gone(child)
        assert (await health(proxy))["sessions"] == 0


async def test_nothing_is_left_of_a_request_without_session() -> None:
    """PK never closes the server of one, nor its event store, into which every notification goes."""
    async with open_puppet(stateless=True) as proxy:
        for number in range(10):
            assert (await post(proxy.url, request("repeat", number))).messages[-1]["id"] == number
        for child in descendants(os.getpid()):
            await wait_gone(child)
        await wait_all_tasks_blocked()
        gc.collect()
        assert [thing for thing in gc.get_objects() if isinstance(thing, Session) and not thing.has_ended] == []
        assert len([thing for thing in gc.get_objects() if isinstance(thing, Session)]) <= 1


async def test_what_is_kept_for_replay_is_bounded_in_bytes() -> None:
    """PK counts events only; one of them may have ten megabytes."""
    limits = LimitConfig(event_store_max_bytes=100_000)
    async with open_puppet(limits=limits) as proxy:
        client = await wire.initialize(proxy.url)
        async with client.open_post(request("wait", 1, token="t")) as stream:
            first = (await stream.next_event()).id
        await client.post(saying(*({**progress("t"), "x": "x" * 20_000} for _ in range(10)), response(1)))
        await client.post(request("repeat", 2))
        assert (await wire.request(client.url, "GET", {**client.headers, "last-event-id": first})).status == 400


async def test_sessions_are_bounded() -> None:
    """Not in PK."""
    assert Config(ChildConfig(("x",))).limits.max_sessions == 1000
    async with open_puppet(limits=LimitConfig(max_sessions=1)) as proxy, open_sse(proxy):
        answer = await post(proxy.url, hello())
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        assert (await wire.request(urljoin(proxy.url, "/sse"))).status == 503


async def test_the_time_of_a_call_is_extended_by_progress_and_need_not_be_limited() -> None:
    """PK's is not extended, and its 0 means a minute."""
    async with open_test_proxy(times=TimeConfig(request_timeout=0.5)) as proxy:
        client = await wire.initialize(proxy.url)
        answer = await client.call("count", 1, token="t", to=8, delay_ms=100)
        assert answer.messages[-1]["result"]["content"][0]["text"] == "Counted to 8."
    config = read_command_line(["--request-timeout", "0", "server"], {})
    assert isinstance(config, Config)
    assert config.times.request_timeout is None


# Who may ask


@pytest.mark.parametrize("headers", [{"origin": "http://evil.example"}, {"host": "evil.example"}, {"origin": "null"}])
async def test_a_page_that_points_its_name_at_us_is_refused(
    headers: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """SP, SG, PK and FM answer it with 200; PK logs a stack for `Origin: null`."""
    caplog.set_level(logging.WARNING)
    async with open_puppet() as proxy:
        for path, method in (("/mcp", "POST"), ("/mcp", "GET"), ("/sse", "GET"), ("/messages", "POST"), ("/healthz", "GET")):
            body = json.dumps(hello()).encode() if method == "POST" else b""
            answer = await wire.request(urljoin(proxy.url, path), method, {**wire.JSON_HEADERS, **headers}, body)
            assert answer.status == 403
        assert (await health(proxy))["sessions"] == 0
    assert caplog.records == []


def test_nobody_but_this_machine_is_served_unless_we_are_told_to() -> None:
    """SG and PK listen on all interfaces, and SG can't be told otherwise."""
    assert ListenConfig().host == "127.0.0.1"


async def test_our_secrets_are_none_of_the_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """PK passes its API key on to the child."""
    monkeypatch.setenv("MCP_PROXY_API_KEY", "SECRET")
    tell = python(
        "import json, os, sys\n"
        "for line in sys.stdin:\n"
        "    message = json.loads(line)\n"
        "    result = {'protocolVersion': '2025-11-25', 'environment': dict(os.environ)}\n"
        "    if 'id' in message: print(json.dumps({'jsonrpc': '2.0', 'id': message['id'], 'result': result}))\n"
    )
    async with open_test_proxy(tell) as proxy:
        client = await wire.initialize(proxy.url)
        assert "PATH" in client.initialize_result["environment"]
        assert "SECRET" not in json.dumps(client.initialize_result)


# Requests that no test of theirs has sent


async def test_a_malformed_host_is_a_bad_request(caplog: pytest.LogCaptureFixture) -> None:
    """PK answers 500 and logs a stack."""
    caplog.set_level(logging.WARNING)
    async with open_puppet() as proxy:
        for host in (b"local host", b"[::1", b"localhost:x", b"a/b", b"\xff"):
            async with wire.connect(proxy.url) as connection:
                head = b"POST /mcp HTTP/1.1\r\nhost: %b\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
                await connection.stream.send_all(head % host)
                answer = bytes(await connection.stream.receive_some())
                assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 403 ")), (host, answer)
    assert caplog.records == []


async def test_no_request_ends_the_proxy(caplog: pytest.LogCaptureFixture) -> None:
    """One request with an odd character ends PK's process, and any error that nobody waited for."""
    caplog.set_level(logging.ERROR)
    async with open_puppet() as proxy:
        for start in (b"GET", b"DELETE", b"POST", b"PUT", b"\x00", b"GET /mcp HTTP/9.9"):
            for header in (
                b"mcp-session-id: \xe9\xff",
                b"last-event-id: \xff",
                b"authorization: \x01",
                b"x: " + b"y" * 99_999,
            ):
                async with wire.connect(proxy.url) as connection:
                    await connection.stream.send_all(start + b" /mcp HTTP/1.1\r\nhost: localhost\r\n" + header + b"\r\n\r\n")
                    answer = bytes(await connection.stream.receive_some())
                    assert answer.startswith(b"HTTP/1.1 4"), (start, header, answer)
        assert (await wire.initialize(proxy.url)).session_id
    assert caplog.records == []


async def test_errors_are_json_with_the_id_of_the_request_and_other_methods_are_405() -> None:
    """PK's 404 and 400 have no id, its content types differ, and HEAD and PUT are 404."""
    async with open_puppet() as proxy:
        for headers, status in (({}, 400), ({"mcp_session_id": "unknown"}, 404)):
            answer = await post(proxy.url, request("tools/list", "mine"), **headers)
            assert (answer.status, answer.headers["content-type"]) == (status, "application/json")
            assert (answer.json["jsonrpc"], answer.json["id"]) == ("2.0", "mine")
            assert set(answer.json["error"]) == {"code", "message"}
        for method in ("HEAD", "PUT"):
            assert (await wire.request(proxy.url, method)).status == 405


# The command line


def test_options_mean_what_they_say_and_a_servers_own_words_are_its_own() -> None:
    """PK's --endpoint does nothing, and it swallows the server's options."""
    config = read_command_line(["--server", "stream", "--endpoint", "/x", "node", "s.js", "--port", "3000", "-v"], {})
    assert isinstance(config, Config)
    assert config.endpoints.stream_endpoint == "/x"
    assert config.child is not None
    assert config.child.argv == ("node", "s.js", "--port", "3000", "-v")
    assert config.listen.port == 8080
