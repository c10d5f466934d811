"""What has to cross the proxy: each feature as a scene, played in the same words in every cell.

A scene expects to the letter what its client's era has; where the eras say the same thing differently, both are written
down here.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from operator import itemgetter
from typing import Any, Final

import trio

from .cells import Stage
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
    THE_QUESTION,
    TOOLS,
)

Scene = Callable[[Stage], Awaitable[None]]

FEATURES: Final[dict[str, Scene]] = {}
"""By name, in the order of the specification's chapters."""


def feature(name: str) -> Callable[[Scene], Scene]:
    """Register a scene."""

    def register(scene: Scene) -> Scene:
        FEATURES[name] = scene
        return scene

    return register


def text(words: str, **more: Any) -> dict[str, Any]:
    """Return what a tool says that has something to say."""
    return {"content": [{"type": "text", "text": words}], **more}


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
        if stage.cell.client == "legacy":
            # Nobody has a word for `_meta` that is empty but the server.
            expected["_meta"] = expected.get("_meta", {})
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


# While a call runs


@feature("progress")
async def progress(stage: Stage) -> None:
    """With tokens of either type, and while the call still runs; of a call without one, nothing is heard."""
    cell = stage.cell
    async with stage.open_client() as client:
        for token in (7, "7"):
            mark = f"{cell} {stage.sees_frames} all heard of {token!r}"
            expected = cell.result("tools/call", text(mark))

            async def count(mark: str, token: int | str, expected: dict[str, Any]) -> None:
                counted = await client.call("count", {"to": 3, "until": mark}, token=token)
                assert counted.result == expected

            async with trio.open_nursery() as nursery:
                nursery.start_soon(count, mark, token, expected)
                for number in (1, 2, 3):
                    step = {"progressToken": token, "progress": number, "total": 3, "message": f"step {number}"}
                    assert await client.hear("notifications/progress") == step
                await client.call("mark", {"mark": mark})
        await client.call("count", {"to": 3, "until": mark})
        assert client.unheard == []


LOGS: Final = [("debug", "too quiet"), ("info", {"line": 1}), ("notice", "ünï"), ("emergency", None)]


@feature("logs")
async def logs(stage: Stage) -> None:
    """Those that are loud enough, and in their order."""
    async with stage.open_client() as client:
        await client.set_level("info")
        logged = await client.call("log", {"messages": LOGS})
        assert logged.result == stage.cell.result("tools/call", text("logged"))
        for level, data in LOGS[1:]:
            assert await client.hear("notifications/message") == {"level": level, "logger": "matrix", "data": data}
        assert client.unheard == []


@feature("cancellation")
async def cancellation(stage: Stage) -> None:
    """The server gets to know; another call that runs does not mind."""
    name = f"{stage.cell} {stage.sees_frames} given up"
    other = f"{stage.cell} {stage.sees_frames} other"
    async with stage.open_client() as client, trio.open_nursery() as nursery:

        async def wait_held() -> None:
            await client.call("await", {"mark": f"{name} held"})
            await client.call("await", {"mark": f"{other} held"})

        async def hold_other() -> None:
            held = await client.call("hold", {"name": other})
            assert held.result == stage.cell.result("tools/call", text(f"{other} released"))

        nursery.start_soon(hold_other)
        await client.cancel("tools/call", {"name": "hold", "arguments": {"name": name}}, wait_held)
        awaited = await client.call("await", {"mark": f"{name} cancelled"})
        assert awaited.result == stage.cell.result("tools/call", text(f"{name} cancelled"))
        await client.call("mark", {"mark": f"{other} released"})


# What changes


@feature("list changes")
async def list_changes(stage: Stage) -> None:
    async with stage.open_client(listens=True) as client, client.listen():
        await client.call("change", {"kinds": ["tools", "prompts", "resources"]})
        for kind in ("tools", "prompts", "resources"):
            assert await client.hear(f"notifications/{kind}/list_changed") == {}


@feature("resource updates")
async def resource_updates(stage: Stage) -> None:
    """Of what was subscribed to, and while it was: then the server is told that nobody wants to hear of it any more."""
    one, two = (f"matrix://{stage.cell}/{stage.sees_frames}/{number}" for number in ("one", "two"))
    async with stage.open_client(listens=True) as client:

        async def touch(uri: str) -> str:
            outcome = await client.call("touch", {"uri": uri})
            told: str = outcome.result["content"][0]["text"]
            return told

        async with client.listen(one, two):
            assert [await touch(uri) for uri in (one + "/other", two, one)] == ["told 0", "told 1", "told 1"]
            assert await client.hear("notifications/resources/updated") == {"uri": two}
            assert await client.hear("notifications/resources/updated") == {"uri": one}
        while await touch(one) != "told 0":
            pass
        # What was still said has been said by now.
        assert {notification["params"]["uri"] for notification in client.unheard} <= {one}


# What the server asks

FORM: Final = THE_QUESTION
FILLED_IN: Final = {"action": "accept", "content": {"name": "octocat, ünï 😀"}}
PAGE: Final = {
    "method": "elicitation/create",
    "params": {"mode": "url", "url": "https://mcp.example.com/set?k=1", "message": "Please provide your API key"},
}
PROMPT: Final = {
    "method": "sampling/createMessage",
    "params": {
        "messages": [{"role": "user", "content": {"type": "text", "text": "What is the capital of France?"}}],
        "modelPreferences": {"hints": [{"name": "claude-3-sonnet"}], "intelligencePriority": 0.8, "speedPriority": 0.5},
        "systemPrompt": "You are a helpful assistant.",
        "maxTokens": 100,
    },
}
REPLY: Final = {
    "role": "assistant",
    "content": {"type": "text", "text": "The capital of France is Paris."},
    "model": "claude-3-sonnet-20240307",
    "stopReason": "endTurn",
}
ROOTS_QUESTION: Final = {"method": "roots/list"}
ROOTS: Final = {"roots": [{"uri": "file:///home/user/projects/my%20project", "name": "My Project"}]}

ANSWERS: Final[dict[str, dict[str, Any]]] = {
    "elicitation/create": FILLED_IN,
    "sampling/createMessage": REPLY,
    "roots/list": ROOTS,
}
ASKABLE: Final[dict[str, Any]] = {"elicitation": {"form": {}, "url": {}}, "sampling": {"tools": {}}, "roots": {}}


async def answer(question: dict[str, Any]) -> dict[str, Any]:
    """Answer whatever is asked."""
    if question.get("params", {}).get("mode") == "url":
        return {"result": {"action": "accept"}}
    return {"result": ANSWERS[question["method"]]}


async def ask(stage: Stage, rounds: list[list[dict[str, Any]]], answers: list[list[dict[str, Any]]]) -> None:
    """Have a tool put questions, which reach the client as they are, and its answers the tool."""
    async with stage.open_client(ASKABLE) as client:
        outcome = await client.call("ask", {"rounds": rounds}, answer)
        expected = text("answered", structuredContent={"answers": answers})
        assert outcome.result == stage.cell.result("tools/call", expected)
        assert client.questions == [question for questions in rounds for question in questions]
        assert client.unheard == []


@feature("elicitation: form")
async def elicitation_form(stage: Stage) -> None:
    await ask(stage, [[FORM]], [[FILLED_IN]])


@feature("elicitation: declined")
async def elicitation_declined(stage: Stage) -> None:
    async def decline(question: dict[str, Any]) -> dict[str, Any]:
        return {"result": {"action": "decline"}}

    async with stage.open_client(ASKABLE) as client:
        outcome = await client.call("ask", {"rounds": [[FORM]]}, decline)
        expected = text("answered", structuredContent={"answers": [[{"action": "decline"}]]})
        assert outcome.result == stage.cell.result("tools/call", expected)


@feature("elicitation: URL")
async def elicitation_url(stage: Stage) -> None:
    await ask(stage, [[PAGE]], [[{"action": "accept"}]])


@feature("elicitation: URL required")
async def url_required(stage: Stage) -> None:
    """A server of before may say so with an error (2025-11-25, Elicitation §URL Elicitation Required Error)."""
    cell = stage.cell
    url = f"https://mcp.example.com/{cell}/{stage.sees_frames}"
    page = {"mode": "url", "url": url, "message": "Please visit"}
    async with stage.open_client(ASKABLE) as client:
        outcome = await client.call("visit", {"url": url}, answer)
        if cell.client == cell.spoken == "legacy":
            data = {"elicitations": [{**page, "elicitationId": "visit-1"}]}
            assert outcome.error == {"code": -32042, "message": "URL elicitation required", "data": data}
            outcome = await client.call("visit", {"url": url}, answer)
        else:
            assert client.questions == [{"method": "elicitation/create", "params": page}]
        if cell.spoken == "legacy":
            assert outcome.result == cell.result("tools/call", text(f"visited {url}"))
        else:
            expected = text("answered", structuredContent={"answers": [[{"action": "accept"}]]})
            assert outcome.result == cell.result("tools/call", expected)


@feature("sampling")
async def sampling(stage: Stage) -> None:
    await ask(stage, [[PROMPT]], [[REPLY]])


@feature("roots")
async def roots(stage: Stage) -> None:
    await ask(stage, [[ROOTS_QUESTION]], [[ROOTS]])


@feature("several questions at once")
async def questions_at_once(stage: Stage) -> None:
    """None is answered before all have been asked."""
    questions = [FORM, PROMPT, ROOTS_QUESTION]
    by_method = itemgetter("method")
    all_asked = trio.Event()

    async with stage.open_client(ASKABLE) as client:

        async def answer_together(question: dict[str, Any]) -> dict[str, Any]:
            if len(client.questions) == len(questions):
                all_asked.set()
            await all_asked.wait()
            return await answer(question)

        outcome = await client.call("ask", {"rounds": [questions]}, answer_together)
        expected = text("answered", structuredContent={"answers": [[FILLED_IN, REPLY, ROOTS]]})
        assert outcome.result == stage.cell.result("tools/call", expected)
        # All at once: no order is theirs.
        assert sorted(client.questions, key=by_method) == sorted(questions, key=by_method)


@feature("several rounds of questions")
async def rounds_of_questions(stage: Stage) -> None:
    await ask(stage, [[FORM], [PROMPT], [PAGE], [ROOTS_QUESTION]], [[FILLED_IN], [REPLY], [{"action": "accept"}], [ROOTS]])


@feature("questions while another call runs")
async def question_beside_a_call(stage: Stage) -> None:
    """Where the question says nowhere to which call it belongs, it comes on the standalone stream."""
    cell = stage.cell
    name = f"{cell} {stage.sees_frames} beside"
    needs_standalone = cell.transport == "json" or cell.spoken == "legacy"
    async with stage.open_client(ASKABLE, listens=needs_standalone) as client:

        async def ask_beside() -> None:
            if not (cell.is_translated and cell.client == "modern"):
                # There another call of a client that can be asked runs in another process, which knows nothing of it.
                await client.call("await", {"mark": f"{name} held"})
            outcome = await client.call("ask", {"rounds": [[FORM]]}, answer)
            expected = text("answered", structuredContent={"answers": [[FILLED_IN]]})
            assert outcome.result == cell.result("tools/call", expected)

        await client.cancel("tools/call", {"name": "hold", "arguments": {"name": name}}, ask_beside)
        assert client.questions == [FORM]


@feature("questions of prompts and resources")
async def other_questions(stage: Stage) -> None:
    cell = stage.cell
    words = '[[{"action": "accept", "content": {"name": "octocat, \\u00fcn\\u00ef \\ud83d\\ude00"}}]]'
    async with stage.open_client(ASKABLE) as client:
        got = await client.request("prompts/get", {"name": "ask"}, answer)
        message = {"role": "user", "content": {"type": "text", "text": words}}
        assert got.result == cell.result("prompts/get", {"messages": [message]})
        read = await client.request("resources/read", {"uri": "matrix://ask"}, answer)
        assert read.result == cell.result("resources/read", {"contents": [{"uri": "matrix://ask", "text": words}]})
        assert client.questions == [THE_QUESTION, THE_QUESTION]


@feature("questions outside any call")
async def questions_outside(stage: Stage) -> None:
    """A server of before may ask whenever it likes; nothing but the standalone stream can carry that."""
    async with stage.open_client({"roots": {}}, listens=True) as client:
        wondered = await client.call("wonder", {}, answer)
        assert wondered.result == text("I wonder")
        learned = await client.call("learned", {}, answer)
        assert learned.result == text(json.dumps(ROOTS))
        assert client.questions == [ROOTS_QUESTION]


@feature("questions beyond what is declared")
async def undeclared(stage: Stage) -> None:
    """A server that asks all the same is told, or the client is: nobody waits for an answer that can't come."""
    cell = stage.cell

    async def answer_or_refuse(question: dict[str, Any]) -> dict[str, Any]:
        if question["method"] == "sampling/createMessage":
            return await answer(question)
        return {"error": {"code": -32600, "message": "Elicitation not supported"}}

    async with stage.open_client({"sampling": {}}) as client:
        outcome = await client.call("ask", {"rounds": [[PROMPT], [FORM]]}, answer_or_refuse)
        if cell.client == "modern":
            # "the server MUST return a MissingRequiredClientCapabilityError", and "the response status MUST be 400".
            assert outcome.error["code"] == -32021
            assert outcome.error["data"] == {"requiredCapabilities": {"elicitation": {"form": {}}}}
            assert outcome.status == (400 if stage.sees_frames else None)
            assert client.questions == [PROMPT]
        elif cell.is_translated:
            assert outcome.result["isError"] is True
            assert "elicitation.form" in outcome.result["content"][0]["text"]
            assert client.questions == [PROMPT]
        else:
            expected = text("answered", structuredContent={"answers": [[REPLY], [{"error": -32600}]]})
            assert outcome.result == expected


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


@feature("equal ids of two clients that are asked at once")
async def equal_ids_and_questions(stage: Stage) -> None:
    both_asked = trio.Event()
    names = ["Ada", "Grace"]
    asked: list[str] = []
    answers: dict[str, Any] = {}

    async def visit(name: str) -> None:
        question = {"method": "elicitation/create", "params": {**FORM["params"], "message": f"Who are you, {name}?"}}

        async def answer_together(incoming: dict[str, Any]) -> dict[str, Any]:
            assert incoming == question
            asked.append(name)
            if len(asked) == len(names):
                both_asked.set()
            await both_asked.wait()
            return {"result": {"action": "accept", "content": {"name": name}}}

        async with stage.open_client(ASKABLE) as client:
            outcome = await client.call("ask", {"rounds": [[question]]}, answer_together, request_id=11)
            answers[name] = outcome.result["structuredContent"]

    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(visit, name)
    assert answers == {name: {"answers": [[{"action": "accept", "content": {"name": name}}]]} for name in names}
