"""Servers that others have written say the same to everybody, whichever way leads to them.

A server on the `mcp` SDK, of either era and of both, and the built-in demo, taken for either: each is visited by SDK clients
of both eras at the same time, and all come back with the same story.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, Final

import pytest
import trio

from tests.real.proxy_process import RunningProxy
from tests.real.sdk_ways import sdk_warnings

from .cells import Cell
from .conftest import open_proxies
from .questions import ASKABLE, REPLY, ROOTS
from .sdk_client import SDKClient, open_sdk_client

pytestmark = sdk_warnings

FILLED_IN = {
    "name": "Ada",
    "color": "mauve",
    "ok": True,
    "context": "a proxy",
    "username": "ada",
    "email": "ada@example.com",
}

Story = list[tuple[str, str]]


async def answer(question: dict[str, Any]) -> dict[str, Any]:
    """Answer as a user would who knows all forms, a model that knows one capital, and a client with one root."""
    match question:
        case {"method": "elicitation/create", "params": {"mode": "url"}}:
            return {"result": {"action": "accept"}}
        case {"method": "elicitation/create", "params": {"requestedSchema": {"properties": properties}}}:
            content = {name: value for name, value in FILLED_IN.items() if name in properties}
            return {"result": {"action": "accept", "content": content}}
        case {"method": "sampling/createMessage"}:
            return {"result": REPLY}
    assert question["method"] == "roots/list"
    return {"result": ROOTS}


async def call(client: SDKClient, tool: str, **arguments: Any) -> tuple[str, str]:
    """Call a tool, once more if a page has to be visited before (2025-11-25), and return what it says."""
    outcome = await client.call(tool, arguments, answer)
    if outcome.response.get("error", {}).get("code") == -32042:
        outcome = await client.call(tool, arguments, answer)
    [content] = outcome.result["content"]
    return tool, ("error: " if outcome.result.get("isError") else "") + content["text"]


async def visit_everything(client: SDKClient, visitor: str) -> Story:
    """Have every kind of question asked, at once and in turn."""
    story = [
        await call(client, "test_simple_text"),
        await call(client, "test_error_handling"),
        await call(client, "test_tool_with_progress"),
        await call(client, "test_sampling", prompt="What is the capital of France?"),
        await call(client, "test_elicitation", message="Who are you?"),
        await call(client, "test_elicitation_url"),
        ("sign in", (await call(client, "test_url_elicitation_required", account=visitor))[1].removeprefix(visitor)),
        await call(client, "test_streaming_elicitation"),
        await call(client, "test_input_required_result_multiple_inputs"),
        await call(client, "test_input_required_result_multi_round"),
        await call(client, "test_input_required_result_request_state"),
        await call(client, "test_input_required_result_state_only"),
    ]
    prompt = await client.request("prompts/get", {"name": "test_input_required_result_prompt"}, answer)
    resource = await client.request("resources/read", {"uri": "test://asking"}, answer)
    story.append(("prompt", prompt.result["messages"][0]["content"]["text"]))
    story.append(("resource", resource.result["contents"][0]["text"]))
    return story


EVERYTHING: Story = [
    ("test_simple_text", "This is a simple text response for testing."),
    ("test_error_handling", "error: This tool intentionally returns an error for testing"),
    ("test_tool_with_progress", "Tool with progress executed successfully"),
    ("test_sampling", "LLM response: The capital of France is Paris."),
    ("test_elicitation", "User response: action=accept, content={'username': 'ada', 'email': 'ada@example.com'}"),
    ("test_elicitation_url", "Visit: accept"),
    ("sign in", " signed in: accept"),
    ("test_streaming_elicitation", "Hello, Ada!"),
    (
        "test_input_required_result_multiple_inputs",
        "The capital of France is Paris. Ada: file:///home/user/projects/my%20project",
    ),
    ("test_input_required_result_multi_round", "Ada likes mauve"),
    ("test_input_required_result_request_state", "state-ok: a confirmation says True"),
    ("test_input_required_result_state_only", "Done after 2 more rounds"),
    ("prompt", "Prompt with context: a proxy"),
    ("resource", "Only for Ada"),
]


async def visit_demo(client: SDKClient, visitor: str) -> Story:
    """Have the demo do what it can."""
    story = [
        await call(client, "echo", text=visitor.partition(" ")[0]),
        await call(client, "count", to=3, delay_ms=1),
        await call(client, "ask_name"),
        await call(client, "introduce"),
        await call(client, "list_roots"),
    ]
    prompt = await client.request("prompts/get", {"name": "greet", "arguments": {"name": "Grace"}})
    resource = await client.request("resources/read", {"uri": "demo://square/12"})
    missing = await client.request("resources/read", {"uri": "demo://nothing"})
    story.append(("prompt", prompt.result["messages"][0]["content"]["text"]))
    story.append(("resource", resource.result["contents"][0]["text"]))
    story.append(("missing", str(missing.error["code"] in (-32602, -32002))))
    return story


DEMO: Story = [
    ("echo", "visitor"),
    ("count", "Counted to 3."),
    ("ask_name", "Hello, Ada!"),
    ("introduce", "The model says to Ada: The capital of France is Paris."),
    ("list_roots", "file:///home/user/projects/my%20project"),
    ("prompt", "Please greet Grace warmly."),
    ("resource", "144"),
    ("missing", "True"),
]

_EVERYTHING: Final = ("--", sys.executable, "-m", "conformance.everything_server", "--era")
SERVERS: Final[dict[str, tuple[str, ...]]] = {
    **{f"everything-{era}": (*_EVERYTHING, era) for era in ("legacy", "modern", "dual")},
    **{f"demo-{era}": ("--upstream-protocol", era, "--demo") for era in ("legacy", "modern", "auto")},
}


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, RunningProxy]]:
    """Proxies before all of them."""
    with open_proxies(SERVERS) as running:
        yield running


@pytest.mark.parametrize("server", SERVERS)
async def test_all_visitors_come_back_with_the_same_story(server: str, servers: dict[str, RunningProxy]) -> None:
    visit, expected = (visit_everything, EVERYTHING) if server.startswith("everything") else (visit_demo, DEMO)
    visitors = [Cell("legacy", "stream", "dual"), Cell("legacy", "sse", "dual"), Cell("modern", "stream", "dual")]
    stories: dict[Cell, Story] = {}

    async def go(cell: Cell) -> None:
        url = servers[server].sse if cell.transport == "sse" else servers[server].mcp
        async with open_sdk_client(cell, url, ASKABLE) as client:
            assert client.is_modern == (cell.client == "modern")
            stories[cell] = await visit(client, f"visitor {cell}")

    async with trio.open_nursery() as nursery:
        for cell in visitors:
            nursery.start_soon(go, cell)
    assert stories == dict.fromkeys(visitors, expected)
