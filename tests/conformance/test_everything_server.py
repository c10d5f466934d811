"""What the everything server does by itself, before any proxy: the same in both eras, where it serves them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import mcp.types as types
import pytest
import trio
from mcp import Client, MCPError, StdioServerParameters
from mcp.client import ClientRequestContext
from mcp.client.subscriptions import PromptsListChanged, ResourcesListChanged, ResourceUpdated, ToolsListChanged

from conformance.everything_server import Era

Json = dict[str, Any]

WATCHED: Final = "test://watched-resource"
ENVELOPE: Final = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}
HANDSHAKE: Final = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "a test", "version": "1"},
}

# The SDK's client warns of what 2026-07-28 has removed, which is half of what we are here for.
pytestmark = pytest.mark.filterwarnings("ignore::mcp.MCPDeprecationWarning")

# Each server, and the clients that it serves.
WAYS: Final = pytest.mark.parametrize(
    ("era", "mode"), [("legacy", "legacy"), ("dual", "legacy"), ("modern", "2026-07-28"), ("dual", "auto")]
)


class Host:
    """An application whose user is called Ada, and which notes what it is told."""

    def __init__(self) -> None:
        self.logged: list[str] = []
        self.told: list[str] = []

    async def elicit(self, context: ClientRequestContext, params: types.ElicitRequestParams) -> types.ElicitResult:
        if isinstance(params, types.ElicitRequestURLParams):
            return types.ElicitResult(action="accept")
        known: dict[str, str | bool] = {"name": "Ada", "color": "blue", "ok": True, "context": "a test"}
        asked = params.requested_schema["properties"]
        return types.ElicitResult(action="accept", content={name: known[name] for name in asked if name in known})

    async def sample(
        self, context: ClientRequestContext, params: types.CreateMessageRequestParams
    ) -> types.CreateMessageResult:
        content = types.TextContent(type="text", text="Good day,")
        return types.CreateMessageResult(role="assistant", content=content, model="a model")

    async def list_roots(self, context: ClientRequestContext) -> types.ListRootsResult:
        return types.ListRootsResult.model_validate({"roots": [{"uri": "file:///a"}, {"uri": "file:///b"}]})

    async def log(self, params: types.LoggingMessageNotificationParams) -> None:
        self.logged.append(params.level)

    async def take(self, message: object) -> None:
        if isinstance(message, types.Notification):
            self.told.append(message.method)


@asynccontextmanager
async def open_client(
    era: Era, mode: str, host: Host | None, log_level: types.LoggingLevel = "info"
) -> AsyncIterator[Client]:
    """Start a server, and a client that can be asked whatever `host` answers; without one, nothing."""
    client = Client(
        StdioServerParameters(command=sys.executable, args=["-m", "conformance.everything_server", "--era", era]),
        mode=mode,
        cache=None,
        log_level=log_level,
        elicitation_callback=host.elicit if host else None,
        sampling_callback=host.sample if host else None,
        list_roots_callback=host.list_roots if host else None,
        logging_callback=host.log if host else None,
        message_handler=host.take if host else None,
    )
    async with client:
        yield client


@asynccontextmanager
async def open_server(era: Era) -> AsyncIterator[trio.Process]:
    """Start a server to talk to by hand."""
    command = [sys.executable, "-m", "conformance.everything_server", "--era", era]
    run = partial(trio.run_process, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(run)
        yield process
        assert process.stdin is not None
        await process.stdin.aclose()


async def ask(process: trio.Process, method: str, params: Json) -> Json:
    """Send a request, and return what comes back; it has to be the next line."""
    assert process.stdin is not None
    assert process.stdout is not None
    request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    await process.stdin.send_all(json.dumps(request).encode() + b"\n")
    line = b""
    while not line.endswith(b"\n"):
        line += await process.stdout.receive_some()
    answer: Json = json.loads(line)
    return answer


def said(result: types.CallToolResult) -> str:
    [content] = result.content
    assert isinstance(content, types.TextContent)
    return content.text


# --- Eras


async def test_a_legacy_server_knows_no_discovery_and_then_takes_the_handshake() -> None:
    async with open_server("legacy") as process:
        assert (await ask(process, "server/discover", {"_meta": ENVELOPE}))["error"]["code"] == types.METHOD_NOT_FOUND
        assert (await ask(process, "initialize", HANDSHAKE))["result"]["protocolVersion"] == "2025-11-25"


async def test_a_modern_server_refuses_the_handshake_and_serves_on() -> None:
    async with open_server("modern") as process:
        refusal = (await ask(process, "initialize", HANDSHAKE))["error"]
        assert refusal["code"] == types.UNSUPPORTED_PROTOCOL_VERSION
        assert refusal["data"] == {"supported": ["2026-07-28"], "requested": "2025-11-25"}
        found = (await ask(process, "server/discover", {"_meta": ENVELOPE}))["result"]
        assert found["supportedVersions"] == ["2026-07-28"]
        assert found["capabilities"]["tools"] == {"listChanged": True}


@pytest.mark.parametrize(
    ("method", "params"), [("initialize", HANDSHAKE), ("server/discover", {"_meta": ENVELOPE})], ids=["legacy", "modern"]
)
async def test_a_dual_server_takes_whichever_comes_first(method: str, params: Json) -> None:
    async with open_server("dual") as process:
        assert "result" in await ask(process, method, params)


# --- Questions

ANSWERS: Final[dict[str, tuple[Json, str]]] = {
    "test_sampling": ({"prompt": "Hello?"}, "LLM response: Good day,"),
    "test_elicitation": ({"message": "Who?"}, "User response: action=accept, content={}"),
    "test_elicitation_sep1034_defaults": ({}, "Elicitation completed: action=accept, content={'name': 'Ada'}"),
    "test_elicitation_sep1330_enums": ({}, "Elicitation completed: action=accept, content={}"),
    "test_elicitation_url": ({}, "Visit: accept"),
    "test_missing_capability": ({}, "LLM response: Good day,"),
    "test_streaming_elicitation": ({}, "Hello, Ada!"),
    "test_input_required_result_elicitation": ({}, "Hello, Ada!"),
    "test_input_required_result_sampling": ({}, "Good day,"),
    "test_input_required_result_list_roots": ({}, "Roots: file:///a, file:///b"),
    "test_input_required_result_multiple_inputs": ({}, "Good day, Ada: file:///a, file:///b"),
    "test_input_required_result_capabilities": ({}, "Answered: client_roots, greeting, user_name"),
    "test_input_required_result_multi_round": ({}, "Ada likes blue"),
    "test_input_required_result_request_state": ({}, "state-ok: a confirmation says True"),
    "test_input_required_result_tampered_state": ({}, "state-ok: a confirmation says True"),
    "test_input_required_result_state_only": ({}, "Done after 2 more rounds"),
}
"""What to call each tool that asks with, and what it answers when Ada has been asked."""


@WAYS
async def test_whatever_is_asked_the_answers_reach_the_tool_the_prompt_and_the_resource(era: Era, mode: str) -> None:
    async with open_client(era, mode, Host()) as client:
        answers = {name: said(await client.call_tool(name, arguments)) for name, (arguments, _) in ANSWERS.items()}
        [message] = (await client.get_prompt("test_input_required_result_prompt")).messages
        [contents] = (await client.read_resource("test://asking")).contents

    assert answers == {name: answer for name, (_, answer) in ANSWERS.items()}
    assert isinstance(message.content, types.TextContent)
    assert message.content.text == "Prompt with context: a test"
    assert isinstance(contents, types.TextResourceContents)
    assert contents.text == "Only for Ada"


@pytest.mark.parametrize(
    ("tool", "required"),
    [
        ("test_missing_capability", {"sampling": {}}),
        ("test_input_required_result_elicitation", {"elicitation": {"form": {}}}),
        ("test_elicitation_url", {"elicitation": {"url": {}}}),
        (
            "test_input_required_result_multiple_inputs",
            {"elicitation": {"form": {}}, "sampling": {}, "roots": {}},
        ),
    ],
)
async def test_a_modern_client_that_cannot_be_asked_learns_what_it_would_have_to_declare(tool: str, required: Json) -> None:
    async with open_client("modern", "2026-07-28", None) as client:
        with pytest.raises(MCPError) as refusal:
            await client.call_tool(tool)

    assert refusal.value.error.code == types.MISSING_REQUIRED_CLIENT_CAPABILITY
    assert refusal.value.error.data == {"requiredCapabilities": required}


async def test_a_legacy_client_that_cannot_be_asked_is_not_asked_and_the_tool_fails() -> None:
    async with open_client("legacy", "legacy", None) as client:
        result = await client.call_tool("test_input_required_result_list_roots")

    assert result.is_error
    assert said(result) == "The client has not declared what this call needs: roots"


async def test_one_tool_asks_all_the_same() -> None:
    async with open_client("legacy", "legacy", None) as client:
        result = await client.call_tool("test_missing_capability")

    assert result.is_error
    assert said(result).startswith("sampling/createMessage: ")


async def test_the_rounds_of_a_modern_call_may_reach_different_processes_but_no_state_of_somebody_elses_making() -> None:
    call: Json = {
        "name": "test_input_required_result_request_state",
        "_meta": ENVELOPE | {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {}}},
    }
    responses = {"confirm": {"action": "accept", "content": {"ok": True}}}
    async with open_server("modern") as first, open_server("modern") as second:
        asked = (await ask(first, "tools/call", call))["result"]
        assert list(asked["inputRequests"]) == ["confirm"]
        retry = call | {"inputResponses": responses, "requestState": asked["requestState"]}
        forged = call | {"inputResponses": responses, "requestState": asked["requestState"] + "x"}
        assert (await ask(second, "tools/call", retry))["result"]["resultType"] == "complete"
        assert (await ask(second, "tools/call", forged))["error"]["code"] == types.INVALID_PARAMS


async def test_a_page_to_visit_first_is_an_error_in_a_handshake_revision_and_a_question_in_a_modern_one() -> None:
    async with open_client("dual", "legacy", Host()) as client:
        with pytest.raises(MCPError) as required:
            await client.call_tool("test_url_elicitation_required", {"account": "Ada"})
        assert required.value.error.code == types.URL_ELICITATION_REQUIRED
        legacy = said(await client.call_tool("test_url_elicitation_required", {"account": "Ada"}))
    async with open_client("dual", "2026-07-28", Host()) as client:
        modern = said(await client.call_tool("test_url_elicitation_required", {"account": "Ada"}))

    assert legacy == modern == "Ada signed in: accept"


# --- What is said unasked


@WAYS
async def test_logs_come_at_the_levels_that_were_asked_for(era: Era, mode: str) -> None:
    host = Host()
    async with open_client(era, mode, host, "error") as client:
        if mode == "legacy":
            await client.set_logging_level("error")
        await client.call_tool("test_logging_tool")

    assert host.logged == ["error", "critical", "alert", "emergency"]


TRIGGERS: Final = ("tool_change", "prompt_change", "resource_change", "resource_update")


async def test_a_legacy_client_hears_of_changes_and_of_the_resource_once_it_has_subscribed() -> None:
    host = Host()
    async with open_client("legacy", "legacy", host) as client:
        await client.call_tool("test_trigger_resource_update")
        await client.subscribe_resource(WATCHED)
        for trigger in TRIGGERS:
            await client.call_tool(f"test_trigger_{trigger}")
        await client.unsubscribe_resource(WATCHED)
        await client.call_tool("test_trigger_resource_update")

    assert host.told == [
        "notifications/tools/list_changed",
        "notifications/prompts/list_changed",
        "notifications/resources/list_changed",
        "notifications/resources/updated",
    ]


async def test_a_modern_client_hears_of_changes_on_the_stream_for_them() -> None:
    async with open_client("modern", "2026-07-28", Host()) as client:
        listening = client.listen(
            tools_list_changed=True,
            prompts_list_changed=True,
            resources_list_changed=True,
            resource_subscriptions=[WATCHED],
        )
        async with listening as changes:
            heard = []
            for trigger in TRIGGERS:
                await client.call_tool(f"test_trigger_{trigger}")
                heard.append(await anext(changes))

    assert heard == [ToolsListChanged(), PromptsListChanged(), ResourcesListChanged(), ResourceUpdated(WATCHED)]
