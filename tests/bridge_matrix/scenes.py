"""The features that are tried: those of `tests.matrix`, in the same words, and what a bridge has beside them."""

from __future__ import annotations

import json
from collections.abc import Callable
from operator import itemgetter
from typing import Any, Final

import trio

from tests.matrix.cells import Stage
from tests.matrix.feature import Scene, text
from tests.matrix.features import FEATURES as MATRIX
from tests.matrix.offers import COMMON_CAPABILITIES, INSTRUCTIONS, LEGACY, MODERN, SERVER_INFO
from tests.matrix.questions import ASKABLE, FILLED_IN, FORM, PROMPT, REPLY, ROOTS, ROOTS_QUESTION, answer

LEFT_OUT: Final = frozenset(
    {
        # A bridge has one host.
        "equal ids of two clients at once",
        "equal ids of two clients that are asked at once",
    }
)
FEATURES: Final[dict[str, Scene]] = {name: scene for name, scene in MATRIX.items() if name not in LEFT_OUT}
"""By name; what follows takes the place of a scene of the same name."""


def feature(name: str) -> Callable[[Scene], Scene]:
    """Register a scene."""

    def register(scene: Scene) -> Scene:
        FEATURES[name] = scene
        return scene

    return register


@feature("introduction")
async def introduction(stage: Stage) -> None:
    """The SDK knows of no capability but those that both eras have."""
    cell = stage.cell
    said: dict[str, Any] = {"capabilities": COMMON_CAPABILITIES, "instructions": INSTRUCTIONS}
    async with stage.open_client() as client:
        if cell.client == "modern":
            assert client.introduction == cell.result("server/discover", {**said, "supportedVersions": [MODERN]})
        else:
            assert client.introduction == {**said, "protocolVersion": LEGACY, "serverInfo": SERVER_INFO}


@feature("ping")
async def ping(stage: Stage) -> None:
    """2026-07-28 has none any more."""
    async with stage.open_client() as client:
        outcome = await client.request("ping")
        if stage.cell.client == "modern":
            assert outcome.error["code"] == -32601
        else:
            assert outcome.result == {}


@feature("protocol errors")
async def protocol_errors(stage: Stage) -> None:
    async with stage.open_client() as client:
        own = {"code": 4242, "message": "failed as asked", "data": {"evidence": ["π", None, 10**30]}}
        assert (await client.call("fail", own)).error == own
        unknown_tool = await client.call("no_such_tool", {})
        assert unknown_tool.error == {"code": -32602, "message": "Unknown tool: no_such_tool"}
        unknown = await client.request("no/such/method")
        assert unknown.error["code"] == -32601
        assert unknown.error["message"].startswith("Method not found")


LOGS: Final = [("debug", "too quiet"), ("info", {"line": 1}), ("notice", "ünï"), ("emergency", [None])]


@feature("logs")
async def logs(stage: Stage) -> None:
    """Those that are loud enough, in their order, and while the call still runs.  The SDK can't say null.

    Where a server answers with JSON, and logs on its standalone stream, the answer may overtake the log messages; those that
    come after it belong to no request of a modern client any more.
    """
    mark = f"{stage.cell} heard"
    async with stage.open_client() as client:

        async def log() -> None:
            logged = await client.call("log", {"messages": LOGS, "until": mark})
            assert logged.result == stage.cell.result("tools/call", text("logged"))

        await client.set_level("info")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(log)
            for level, data in LOGS[1:]:
                assert await client.hear("notifications/message") == {"level": level, "logger": "matrix", "data": data}
            await client.call("mark", {"mark": mark})
        assert client.unheard == []


@feature("large result")
async def large_result(stage: Stage) -> None:
    size = 1024 * 1024
    async with stage.open_client() as client:
        expected = text("".join(f"{number:08x}" for number in range(size // 8)))
        outcome = await client.call("big", {"size": size})
        assert outcome.result == stage.cell.result("tools/call", expected)


@feature("large argument")
async def large_argument(stage: Stage) -> None:
    words = "".join(f"é{number:06x}" for number in range(100_000))
    async with stage.open_client() as client:
        outcome = await client.call("echo", {"text": words})
        assert outcome.result["structuredContent"] == {"text": words}


@feature("calls side by side")
async def parallel_calls(stage: Stage) -> None:
    """None is answered before all have arrived."""
    size = 20
    answers: list[Any] = []
    async with stage.open_client() as client:

        async def meet() -> None:
            answers.append((await client.call("meet", {"party": "twenty", "size": size})).result)

        async with trio.open_nursery() as nursery:
            for _ in range(size):
                nursery.start_soon(meet)
    assert answers == [stage.cell.result("tools/call", text("twenty"))] * size


@feature("roots that change")
async def roots_change(stage: Stage) -> None:
    """The server hears of it, and asks for them."""
    async with stage.open_client(listens=True) as client:
        client._answer = answer
        await client.say_roots_changed()
        learned = await client.call("relearned", {})
        assert learned.result == text(json.dumps(ROOTS))
        assert client.questions == [ROOTS_QUESTION]


@feature("questions while another call runs")
async def question_beside_a_call(stage: Stage) -> None:
    """Over HTTP the stream on which it comes says to which call it belongs, if nothing else does."""
    await ask_beside_a_call(stage, FILLED_IN)


async def nobody_is_asked(stage: Stage) -> None:
    """And the server is told at once."""
    await ask_beside_a_call(stage, {"error": -32601})


async def ask_beside_a_call(stage: Stage, expected: dict[str, Any]) -> None:
    name = f"{stage.cell} beside"
    async with stage.open_client(ASKABLE, listens=True) as client:

        async def ask_beside() -> None:
            await client.call("await", {"mark": f"{name} held"})
            outcome = await client.call("ask", {"rounds": [[FORM]]}, answer)
            answered = text("answered", structuredContent={"answers": [[expected]]})
            assert outcome.result == stage.cell.result("tools/call", answered)

        await client.cancel("tools/call", {"name": "hold", "arguments": {"name": name}}, ask_beside)
        assert client.questions == ([FORM] if expected == FILLED_IN else [])


@feature("questions outside any call")
async def questions_outside(stage: Stage) -> None:
    """A server of before may ask whenever it likes."""
    async with stage.open_client(listens=True) as client:
        client._answer = answer
        before = await client.count_heard(_answers_roots)
        assert (await client.call("wonder", {})).result == text("I wonder")
        await client.wait_heard(_answers_roots, before + 1)
        assert client.questions == [ROOTS_QUESTION]


async def the_server_is_told(stage: Stage) -> None:
    """A server that asks all the same gets an error at once, and its client hears nothing of it."""
    async with stage.open_client(listens=True) as client:
        before = await client.count_heard(_refuses)
        await client.call("wonder", {})
        await client.wait_heard(_refuses, before + 1)
        assert client.questions == []


async def a_modern_host_sees_to_it_itself(stage: Stage) -> None:
    """Nothing of an answer is looked into that one modern server gives to one modern host."""

    async def answer_it(question: dict[str, Any]) -> dict[str, Any]:
        assert question["method"] == "sampling/createMessage"
        return await answer(question)

    async with stage.open_client({"sampling": {}}) as client:
        outcome = await client.call("ask", {"rounds": [[PROMPT], [FORM]]}, answer_it)
        assert outcome.error["code"] == -32600
        assert client.questions == [PROMPT]


async def asked_as_they_come(stage: Stage) -> None:
    """All are asked and answered, in one round or in several."""
    questions = [FORM, PROMPT, ROOTS_QUESTION]
    async with stage.open_client(ASKABLE) as client:
        outcome = await client.call("ask", {"rounds": [questions]}, answer)
        expected = text("answered", structuredContent={"answers": [[FILLED_IN, REPLY, ROOTS]]})
        assert outcome.result == stage.cell.result("tools/call", expected)
        assert sorted(client.questions, key=itemgetter("method")) == sorted(questions, key=itemgetter("method"))


def _answers_roots(message: dict[str, Any]) -> bool:
    return message.get("result") == ROOTS


def _refuses(message: dict[str, Any]) -> bool:
    return "error" in message and bool(message["error"]["code"] == -32601)
