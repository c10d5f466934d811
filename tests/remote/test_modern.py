"""A remote of 2026-07-28: what goes into the headers of a request, and what ends with its response."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.modern import RESERVED, REVISION, listen, request, tool_call
from trioproxy.remote import RemoteConfig, open_remote

from .scripted import Client, Exchange, Scripted, notification, open_scripted, result

CANCELLED = "notifications/cancelled"


@asynccontextmanager
async def talking(*, listens: bool = True, **config: Any) -> AsyncIterator[tuple[Scripted, Client]]:
    with trio.fail_after(900):
        async with open_scripted(listens=listens) as server, open_remote(RemoteConfig(server.url, **config)) as remote:
            yield server, Client(remote)


def tool(name: str, **headers: Any) -> dict[str, Any]:
    """Return a tool, some of whose arguments are annotated: header by argument."""
    properties = {argument: {"type": "string", "x-mcp-header": header} for argument, header in headers.items()}
    return {"name": name, "inputSchema": {"type": "object", "properties": properties}}


async def list_tools(exchange: Exchange, *tools: Any, cursor: str | None = None) -> None:
    """Answer a `tools/list`."""
    assert exchange.headers["mcp-method"] == "tools/list"
    await exchange.result(
        {"tools": list(tools), "ttlMs": 0, "cacheScope": "private"} | ({"nextCursor": cursor} if cursor else {})
    )


def params_of(exchange: Exchange) -> dict[str, str]:
    """Return the arguments that the headers repeat."""
    prefix = "mcp-param-"
    return {name.removeprefix(prefix): value for name, value in exchange.headers.items() if name.startswith(prefix)}


# Headers


@pytest.mark.parametrize(
    ("message", "method", "name"),
    [
        (request("server/discover"), "server/discover", None),
        (request("resources/read", uri="a://b"), "resources/read", "a://b"),
        (request("prompts/get", name="hallo wörld"), "prompts/get", "=?base64?aGFsbG8gd8O2cmxk?="),
        (request("prompts/get", name="=?base64?x?="), "prompts/get", "=?base64?PT9iYXNlNjQ/eD89?="),
        (request("tasks/get", taskId="t"), "tasks/get", "t"),
    ],
)
async def test_the_headers_say_what_the_body_says(message: dict[str, Any], method: str, name: str | None) -> None:
    async with talking() as (server, client):
        client.send(message)
        exchange = await server.next("POST")
        assert exchange.message == message
        assert exchange.headers["mcp-protocol-version"] == REVISION
        assert exchange.headers["mcp-method"] == method
        assert exchange.headers.get("mcp-name") == name
        assert exchange.headers["accept"] == "application/json, text/event-stream"
        assert "mcp-session-id" not in exchange.headers
        await exchange.result()
        assert await client.hear() == result(1)


async def test_a_call_of_an_unknown_tool_lists_the_tools_first_all_pages_and_once() -> None:
    async with talking() as (server, client):
        client.send(tool_call("sql", 1, {"region": "süd", "other": 1}, token="t", log_level="info"))
        client.send(tool_call("sql", 2, {"region": " padded"}))
        listing = await server.next()
        assert listing.message["params"]["_meta"][RESERVED + "clientInfo"]["name"] == "ExampleClient"
        assert not {"progressToken", RESERVED + "logLevel"} & listing.message["params"]["_meta"].keys()
        await list_tools(listing, tool("other"), cursor="next")
        listing = await server.next()
        assert listing.message["params"]["cursor"] == "next"
        await list_tools(listing, tool("sql", region="Region"))
        exchanges = {exchange.id: exchange for exchange in (await server.next(), await server.next())}
        assert params_of(exchanges[1]) == {"region": "=?base64?c8O8ZA==?="}
        assert params_of(exchanges[2]) == {"region": "=?base64?IHBhZGRlZA==?="}
        assert exchanges[1].headers["mcp-name"] == "sql"
        for exchange in exchanges.values():
            await exchange.result()
            await client.hear()
        # What is not in the list is not asked for again either.
        client.send(tool_call("hidden", 3))
        await list_tools(await server.next(), tool("sql", region="Region"))
        await (await server.next()).result()
        await client.hear()
        client.send(tool_call("hidden", 4))
        assert (await server.next()).id == 4


async def test_what_the_client_lists_is_learnt_and_tools_with_invalid_annotations_are_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """2026-07-28, Streamable HTTP §Schema Extension."""
    tools = [tool("good", a="A"), tool("twice", a="X", b="x"), {"name": "odd", "n": 12345678901234567890123}]
    async with talking() as (server, client):
        client.send(request("tools/list"))
        with caplog.at_level(logging.WARNING, "trioproxy.remote"):
            await list_tools(await server.next(), *tools)
            assert [one["name"] for one in (await client.hear())["result"]["tools"]] == ["good", "odd"]
        assert "'twice' is left out: x-mcp-header" in caplog.text
        client.send(tool_call("good", 2, {"a": "1"}))
        exchange = await server.next()
        assert (exchange.id, params_of(exchange)) == (2, {"a": "1"})


async def test_a_list_that_needs_no_change_passes_as_it_is() -> None:
    raw = b'{"jsonrpc":"2.0", "id":1, "result":{"tools":[ {"name":"a", "inputSchema":{}} ]}}'
    async with talking() as (server, client):
        client.send(request("tools/list"))
        await (await server.next()).reply(200, raw)
        assert await client.hear_line() == raw


@pytest.mark.parametrize("status", [400, 200])
async def test_headers_that_are_not_what_is_expected_are_looked_up_again_once(status: int) -> None:
    """2026-07-28, Streamable HTTP §Client Behavior."""
    async with talking() as (server, client):
        client.send(tool_call("sql", 1, {"a": "1", "b": "2"}))
        await list_tools(await server.next(), tool("sql", a="A"))
        await (await server.next()).refuse(status, -32020, "Header mismatch", 1)
        await list_tools(await server.next(), tool("sql", a="A", b="B"))
        exchange = await server.next()
        assert params_of(exchange) == {"a": "1", "b": "2"}
        await exchange.refuse(status, -32020, "still", 1)
        assert await client.hear_error(1) == "still"
        assert server.is_quiet


@pytest.mark.parametrize("status", [400, 200])
async def test_a_mismatch_that_the_list_does_not_explain_is_the_answer(status: int) -> None:
    async with talking() as (server, client):
        client.send(tool_call("sql", 1))
        await list_tools(await server.next(), tool("sql"))
        await (await server.next()).refuse(status, -32020, "Header mismatch", 1)
        await list_tools(await server.next(), tool("sql"))
        assert await client.hear_error(1) == "Header mismatch"


async def test_tools_that_have_changed_are_listed_again() -> None:
    async with talking() as (server, client):
        client.send(listen("l", toolsListChanged=True))
        stream = await server.next()
        await stream.open_stream()
        client.send(tool_call("sql", 1, {"a": "1"}))
        await list_tools(await server.next(), tool("sql"))
        await (await server.next()).result()
        await client.hear()
        changed = notification("notifications/tools/list_changed", _meta={RESERVED + "subscriptionId": "l"})
        await stream.say(changed)
        assert await client.hear() == changed
        client.send(tool_call("sql", 2, {"a": "1"}))
        await list_tools(await server.next(), tool("sql", a="A"))
        assert params_of(await server.next()) == {"a": "1"}


async def test_a_list_that_is_refused_does_not_keep_a_call_from_being_made() -> None:
    async with talking() as (server, client):
        client.send(tool_call("sql", 1))
        await (await server.next()).reply(500)
        await (await server.next()).result()
        assert await client.hear() == result(1)


# A request and its response


async def test_a_request_ends_with_the_answer_on_its_stream() -> None:
    async with talking() as (server, client):
        client.send(request("prompts/get", "p", name="n", token=7))
        exchange = await server.next()
        await exchange.open_stream()
        progress = notification("notifications/progress", progressToken=7, progress=1)
        await exchange.say(progress)
        assert await client.hear() == progress
        await exchange.say(result("p"))
        assert await client.hear() == result("p")


async def test_a_cancellation_closes_the_response_and_is_not_sent() -> None:
    """2026-07-28, Streamable HTTP §Cancellation."""
    async with talking() as (server, client):
        client.send(request("prompts/get", 1, name="n"))
        exchange = await server.next()
        await exchange.open_stream()
        await exchange.say(notification("notifications/message", data=1))
        await client.hear()
        client.send(notification(CANCELLED, requestId=1))
        await exchange.wait_left()
        client.send(request("ping", 2))
        await (await server.next()).result()
        assert await client.hear() == result(2)
        assert server.is_quiet


async def test_a_request_that_is_cancelled_before_it_is_made_is_never_made() -> None:
    async with talking() as (server, client):
        client.send(tool_call("sql", 1))
        listing = await server.next()
        client.send(notification(CANCELLED, requestId=1))
        await listing.wait_left()
        client.send(request("prompts/list", 2))
        assert (await server.next()).id == 2


async def test_a_stream_that_breaks_fails_its_request_and_is_not_resumed() -> None:
    """2026-07-28: "Resumable SSE streams via Last-Event-ID are not supported"."""
    async with talking() as (server, client):
        client.send(request("prompts/get", 1, name="n"))
        exchange = await server.next()
        await exchange.open_stream()
        await exchange.say(notification("notifications/message", data=1), "event-1")
        await client.hear()
        await exchange.cut()
        assert "no answer to prompts/get" in await client.hear_error(1)
        assert server.is_quiet


async def test_a_call_that_takes_too_long_is_given_up_by_closing_its_response(autojump_clock: MockClock) -> None:
    async with talking(request_timeout=10.0) as (server, client):
        client.send(request("prompts/get", 1, name="n"))
        exchange = await server.next()
        await exchange.open_stream()
        assert "did not answer within 10 s" in await client.hear_error(1)
        await exchange.wait_left()
        assert server.is_quiet


async def test_an_error_of_the_modern_era_passes_and_settles_the_transport() -> None:
    error = {"code": -32022, "message": "no", "data": {"supported": ["2030-01-01"], "requested": REVISION}}
    async with talking() as (server, client):
        client.send(request("server/discover"))
        await (await server.next("POST")).reply(400, {"jsonrpc": "2.0", "id": 1, "error": error})
        assert await client.hear() == {"jsonrpc": "2.0", "id": 1, "error": error}
        assert server.is_quiet


async def test_a_remote_of_the_other_era_answers_with_an_error_that_is_not_modern() -> None:
    async with talking() as (server, client):
        client.send(request("server/discover"))
        await (await server.next("POST")).reply(400, b"Bad Request: Server not initialized", "text/plain")
        # It could be one of HTTP with SSE.
        await (await server.next("GET")).reply(405)
        message = await client.hear()
        assert message["id"] == 1
        assert message["error"]["code"] == -32603
        assert "not initialized" in message["error"]["message"]


async def test_discovery_waits_for_a_remote_that_is_not_there_yet(autojump_clock: MockClock) -> None:
    async with talking(listens=False) as (server, client):
        client.send(request("server/discover"))
        await trio.sleep(10)
        await server.start()
        await (await server.next()).result()
        assert await client.hear() == result(1)


# Subscriptions


def acknowledged(**honoured: Any) -> dict[str, Any]:
    return notification(
        "notifications/subscriptions/acknowledged", _meta={RESERVED + "subscriptionId": 1}, notifications=honoured
    )


async def test_a_subscription_that_is_lost_is_made_again_and_all_that_it_is_about_has_changed(
    autojump_clock: MockClock,
) -> None:
    wanted: dict[str, Any] = {"toolsListChanged": True, "resourceSubscriptions": ["a://b"]}
    async with talking(request_timeout=5.0) as (server, client):
        client.send(listen(1, **wanted))
        stream = await server.next()
        await stream.open_stream()
        await stream.say(acknowledged(**wanted))
        assert await client.hear() == acknowledged(**wanted)
        await trio.sleep(60)
        await stream.cut()
        await (await server.next()).reply(503)
        await server.stop()
        await trio.sleep(60)
        await server.start()
        again = await server.next()
        assert again.body == stream.body
        await again.open_stream()
        await again.say(acknowledged(**wanted))
        meta = {RESERVED + "subscriptionId": 1}
        assert await client.hear() == notification("notifications/tools/list_changed", _meta=meta)
        assert await client.hear() == notification("notifications/resources/updated", uri="a://b", _meta=meta)
        client.send(notification(CANCELLED, requestId=1))
        await again.wait_left()
        assert server.is_quiet


async def test_a_gap_in_a_subscription_lets_go_of_what_was_known_of_the_tools() -> None:
    async with talking() as (server, client):
        client.send(tool_call("sql", 2, {"a": "1"}))
        await list_tools(await server.next(), tool("sql"))
        await (await server.next()).result()
        await client.hear()
        client.send(listen(1, promptsListChanged=True))
        for _ in range(2):
            stream = await server.next()
            await stream.open_stream()
            await stream.say(acknowledged(promptsListChanged=True))
            await client.hear()
            await stream.cut()
        client.send(tool_call("sql", 3, {"a": "1"}))
        while (exchange := await server.next()).headers["mcp-method"] != "tools/list":
            await exchange.reply(503)
        await list_tools(exchange, tool("sql", a="A"))


async def test_a_subscription_that_is_ended_is_not_made_again() -> None:
    async with talking() as (server, client):
        client.send(listen(1, toolsListChanged=True))
        stream = await server.next()
        await stream.open_stream()
        await stream.say(acknowledged())
        await stream.say(result(1, {"resultType": "complete"}))
        await client.hear()
        assert await client.hear() == result(1, {"resultType": "complete"})
        await stream.end()


async def test_a_subscription_that_the_remote_no_longer_knows_is_an_error() -> None:
    async with talking() as (server, client):
        client.send(listen(1, toolsListChanged=True))
        stream = await server.next()
        await stream.open_stream()
        await stream.say(acknowledged(toolsListChanged=True))
        await client.hear()
        await stream.cut()
        await (await server.next()).refuse(404, -32601, "no longer")
        assert await client.hear_error(1) == "no longer"


async def test_a_subscription_that_is_never_acknowledged_is_an_error() -> None:
    async with talking() as (server, client):
        client.send(listen(1, toolsListChanged=True))
        stream = await server.next()
        await stream.open_stream()
        await stream.cut()
        assert "not acknowledged" in await client.hear_error(1)
