"""What a client asks of a server: the features that the server offers, and what is answered where it does not."""

from __future__ import annotations

from typing import Any, Final

import trio

from .cells import Stage
from .feature import feature, text
from .offers import (
    CAPABILITIES,
    COMMON_CAPABILITIES,
    COMMON_ECHO,
    COMMON_MEASURE,
    INSTRUCTIONS,
    LEGACY,
    MEASURED,
    MODERN,
    NUMBERS_SCHEMA,
    PROMPTS,
    RESOURCE_PAGES,
    SERVER_INFO,
    TEMPLATES,
    TOOLS,
)

# Who is there


@feature("introduction")
async def introduction(stage: Stage) -> None:
    """`initialize`, or `server/discover`."""
    cell = stage.cell
    async with stage.open_client() as client:
        if cell.client == "modern":
            capabilities = COMMON_CAPABILITIES if cell.is_translated else CAPABILITIES["modern"]
            said = {"supportedVersions": [MODERN], "capabilities": capabilities, "instructions": INSTRUCTIONS}
            assert client.introduction == cell.result("server/discover", said)
            return
        capabilities = COMMON_CAPABILITIES if cell.is_translated else CAPABILITIES["legacy"]
        said = {"protocolVersion": LEGACY, "capabilities": capabilities, "instructions": INSTRUCTIONS}
        assert client.introduction == {**said, "serverInfo": SERVER_INFO}
        assert (await client.request("ping")).result == {}


# Tools


@feature("tools: list")
async def list_tools(stage: Stage) -> None:
    cell = stage.cell
    tools = TOOLS[cell.spoken]
    if cell.is_translated and cell.client == "modern":
        # Tasks are no part of the modern era.
        tools = [COMMON_ECHO, {**COMMON_MEASURE, "outputSchema": {"type": "object"}}]
    elif cell.is_translated:
        # Output is an object to the old era.
        moved = {**NUMBERS_SCHEMA, "items": {"$ref": "#/properties/result/$defs/n"}}
        wrapped = {"type": "object", "properties": {"result": moved}, "required": ["result"]}
        tools = [COMMON_ECHO, {**COMMON_MEASURE, "outputSchema": wrapped}]
    async with stage.open_client() as client:
        assert (await client.request("tools/list")).result == cell.result("tools/list", {"tools": tools})


HARD: Final[dict[str, Any]] = {
    "text": 'line\nfeed \r\n, \u2028, \x85, "quotes", back\\slash, \x00, ünï, 漢字, 👩🏽‍🚀, \ud800 alone',
    "big": 10**40,
    "deep": [[[[{"": None}]]]],
    "small": -0.0,
}


@feature("tools: call")
async def call_tool(stage: Stage) -> None:
    """Arguments, result, and what stands in `_meta` for others, however odd, come as they went."""
    trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "com.example/mine": [1]}
    async with stage.open_client() as client:
        arguments = HARD if stage.sees_frames else {**HARD, "text": HARD["text"].replace("\ud800", "")}
        params = {"name": "echo", "arguments": arguments, "_meta": trace}
        expected = stage.cell.result("tools/call", text("echo", structuredContent=arguments, _meta=trace))
        assert (await client.request("tools/call", params)).result == expected


@feature("tools: output that is no object")
async def structured_content(stage: Stage) -> None:
    cell = stage.cell
    measured = MEASURED[cell.spoken]
    if cell.is_translated and cell.client == "legacy":
        measured = {"result": measured}
    async with stage.open_client() as client:
        expected = cell.result("tools/call", text("1 and 2.5", structuredContent=measured))
        assert (await client.call("measure", {})).result == expected


@feature("tools: error of a tool")
async def tool_error(stage: Stage) -> None:
    async with stage.open_client() as client:
        expected = stage.cell.result("tools/call", text("It hurts", isError=True))
        assert (await client.call("complain", {"text": "It hurts"})).result == expected


@feature("tools: arguments in headers")
async def param_headers(stage: Stage) -> None:
    """A tool may want an argument repeated in a header (2026-07-28, Tools §x-mcp-header); before, that was no rule."""
    async with stage.open_client() as client:
        # From then on a client knows that there is such a header.
        await client.request("tools/list")
        arguments = {"region": "us-west1"}
        expected = stage.cell.result("tools/call", text("echo", structuredContent=arguments, _meta={}))
        assert (await client.call("echo", arguments)).result == expected
        if stage.cell.client == "modern" and stage.sees_frames:
            outcome = await client.call("echo", arguments, without_headers=("mcp-param-region",))
            assert (outcome.status, outcome.error["code"]) == (400, -32020)


# Prompts


@feature("prompts: list, get")
async def prompts(stage: Stage) -> None:
    cell = stage.cell
    async with stage.open_client() as client:
        assert (await client.request("prompts/list")).result == cell.result("prompts/list", {"prompts": PROMPTS})
        greeting = {"messages": [{"role": "user", "content": {"type": "text", "text": "Greet Ada."}}]}
        got = await client.request("prompts/get", {"name": "greet", "arguments": {"name": "Ada"}})
        assert got.result == cell.result("prompts/get", greeting)


# Resources


@feature("resources: templates, read")
async def resources(stage: Stage) -> None:
    cell = stage.cell
    async with stage.open_client() as client:
        templates = (await client.request("resources/templates/list")).result
        assert templates == cell.result("resources/templates/list", {"resourceTemplates": TEMPLATES})
        contents = {"contents": [{"uri": "matrix://square/12", "mimeType": "text/plain", "text": "144"}]}
        read = await client.request("resources/read", {"uri": "matrix://square/12"})
        assert read.result == cell.result("resources/read", contents)


@feature("resources: unknown")
async def unknown_resource(stage: Stage) -> None:
    """-32002 has become -32602; whoever is used to the one "SHOULD also accept" the other (Resources §Error Handling)."""
    code = -32002 if stage.cell.client == stage.cell.spoken == "legacy" else -32602
    async with stage.open_client() as client:
        outcome = await client.request("resources/read", {"uri": "matrix://nowhere"})
        assert outcome.error == {"code": code, "message": "Resource not found", "data": {"uri": "matrix://nowhere"}}


@feature("pagination")
async def pagination(stage: Stage) -> None:
    cell = stage.cell
    cursors = list(RESOURCE_PAGES)
    async with stage.open_client() as client:
        for cursor, following in zip(cursors, [*cursors[1:], None], strict=True):
            page = (await client.request("resources/list", {} if cursor is None else {"cursor": cursor})).result
            more = {} if following is None else {"nextCursor": following}
            assert page == cell.result("resources/list", {"resources": RESOURCE_PAGES[cursor], **more})
        outcome = await client.request("resources/list", {"cursor": "no page"})
        assert outcome.error == {"code": -32602, "message": "Invalid cursor", "data": {"cursor": "no page"}}


@feature("completion")
async def completion(stage: Stage) -> None:
    async with stage.open_client() as client:
        ref = {"type": "ref/prompt", "name": "greet"}
        completed = await client.request("completion/complete", {"ref": ref, "argument": {"name": "name", "value": "A"}})
        values = {"values": ["Ada", "Alan"], "total": 2, "hasMore": False}
        assert completed.result == stage.cell.result("completion/complete", {"completion": values})


# What goes wrong, and who is who


@feature("protocol errors")
async def protocol_errors(stage: Stage) -> None:
    modern = stage.cell.client == "modern"
    async with stage.open_client() as client:
        own = {"code": 4242, "message": "failed as asked", "data": {"evidence": ["π", None, 10**30]}}
        assert (await client.call("fail", own)).error == own
        unknown_tool = await client.call("no_such_tool", {})
        assert unknown_tool.error == {"code": -32602, "message": "Unknown tool: no_such_tool"}
        unknown = await client.request("no/such/method")
        assert unknown.error == {"code": -32601, "message": "Method not found: no/such/method"}
        # "it MUST respond with 404 Not Found and a JSON-RPC error with code -32601" (Streamable HTTP); 400 for one that
        # lacks something; of any other error it says nothing.
        if stage.sees_frames:
            assert (unknown.status, unknown_tool.status) == ((404, 400) if modern else (200, 200))
        if stage.sees_frames and modern:
            removed = await client.request("ping")
            assert (removed.status, removed.error["code"]) == (404, -32601)


@feature("equal ids of two clients at once")
async def equal_ids(stage: Stage) -> None:
    """And equal progress tokens; neither is answered before both have arrived, and each has its own answer."""
    cell = stage.cell
    names = [f"{cell} {stage.sees_frames} Ada", f"{cell} {stage.sees_frames} Grace"]
    answers: dict[str, Any] = {}
    async with stage.open_client() as ada, stage.open_client() as grace:

        async def hold(client: Any, name: str) -> None:
            answers[name] = (await client.call("hold", {"name": name}, request_id="the same", token=1)).result

        async with trio.open_nursery() as nursery:
            for client, name in zip((ada, grace), names, strict=True):
                nursery.start_soon(hold, client, name)
            for client, name in zip((ada, grace), names, strict=True):
                await client.call("await", {"mark": f"{name} held"})
            assert answers == {}
            for client, name in zip((grace, ada), reversed(names), strict=True):
                await client.call("mark", {"mark": f"{name} released"})
    assert answers == {name: cell.result("tools/call", text(f"{name} released")) for name in names}
