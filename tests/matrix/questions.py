"""What a server asks of its client, with requests of its own or in the results of its calls."""

from __future__ import annotations

import json
from operator import itemgetter
from typing import Any, Final

import trio

from .cells import Stage
from .feature import feature, text
from .offers import THE_QUESTION

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
