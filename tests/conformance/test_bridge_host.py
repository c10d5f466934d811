"""What the host of the official client scenarios tells the bridge, and what it does with what the bridge shows."""

from __future__ import annotations

import os
import shlex
import sys
from typing import Any

import mcp.types as types
import pytest
import trio

from conformance.bridge_host import (
    BROWSER,
    CLIENT_DOCUMENT,
    PROJECT,
    Assignment,
    choose_calls,
    fill_in,
    play,
    read_assignment,
)
from conformance.official import open_proxy
from tests.stub_http import Asked, Reply, open_stub

URL = "http://localhost:1/mcp"
ADD = types.Tool(name="add", input_schema={"type": "object", "properties": {"a": {"type": "number"}, "b": {}}})


TALKATIVE: dict[str, dict[str, str]] = {
    "test_simple_text": {},
    "test_elicitation": {"message": "Who?"},
    "test_sampling": {"prompt": "What?"},
    "test_elicitation_sep1034_defaults": {},
}
"""Tools of the everything server which ask what a host of either era can be asked."""


def assign(scenario: str, **context: Any) -> Assignment:
    return Assignment(scenario, URL, context)


def test_the_suite_says_in_the_environment_what_a_client_has_to_know() -> None:
    said = {"MCP_CONFORMANCE_SCENARIO": "auth/pre-registration", "MCP_CONFORMANCE_CONTEXT": '{"client_id": "c"}'}

    assert read_assignment(said, URL) == assign("auth/pre-registration", client_id="c")
    assert read_assignment({"MCP_CONFORMANCE_SCENARIO": "initialize"}, URL) == assign("initialize")


@pytest.mark.parametrize(
    ("assignment", "options"),
    [
        (assign("tools_call"), []),
        (assign("auth/metadata-default"), ["--oauth"]),
        (assign("auth/basic-cimd"), ["--oauth", "--client-id", CLIENT_DOCUMENT]),
        (assign("auth/pre-registration", client_id="c", client_secret="s"), ["--oauth", "--client-id", "c"]),
        (assign("auth/client-credentials-basic", client_id="c", client_secret="s"), ["--client-id", "c"]),
    ],
    ids=lambda value: value.scenario if isinstance(value, Assignment) else "",
)
def test_the_bridge_gets_the_options_that_a_user_would_give(assignment: Assignment, options: list[str]) -> None:
    assert assignment.options == options


def test_a_secret_is_on_no_command_line() -> None:
    assignment = assign("auth/pre-registration", client_id="c", client_secret="hidden")

    assert assignment.environment == {"MCP_PROXY_CLIENT_SECRET": "hidden"}
    assert "hidden" not in assignment.options
    assert assign("tools_call").environment == {}


def test_every_tool_is_called_with_arguments_of_its_types() -> None:
    assert choose_calls(assign("tools_call"), [ADD, types.Tool(name="plain", input_schema={"type": "object"})]) == [
        ("add", {"a": 2, "b": None}),
        ("plain", {}),
    ]


def test_a_scenario_that_names_its_calls_gets_those() -> None:
    assignment = assign("http-custom-headers", toolCalls=[{"name": "add", "arguments": {"a": None}}])

    assert choose_calls(assignment, [ADD]) == [("add", {"a": None})]


def test_a_schema_is_echoed_as_it_came() -> None:
    schema = {"type": "object", "$defs": {"x": {"$anchor": "y"}}}
    tools = [ADD, types.Tool(name="json_schema_2020_12_tool", input_schema=schema)]

    assert choose_calls(assign("json-schema-2020-12-preservation"), tools) == [("json_schema_echo", {"schema": schema})]


def test_a_form_is_filled_in_with_its_defaults() -> None:
    properties = {
        "name": {"type": "string", "default": "Ada"},
        "ok": {"type": "boolean"},
        "n": {"type": "integer", "default": 0},
    }

    assert fill_in({"properties": properties}) == {"name": "Ada", "ok": True, "n": 0}


# The SDK's client warns of what 2026-07-28 has removed.
@pytest.mark.filterwarnings("ignore::mcp.MCPDeprecationWarning")
@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_a_host_of_either_era_uses_all_that_a_server_offers(era: Any) -> None:
    with trio.fail_after(60):
        async with open_proxy("dual") as url:
            calls = [{"name": name, "arguments": arguments} for name, arguments in TALKATIVE.items()]
            await play(era, [], Assignment("tools_call", url, {"toolCalls": calls}))


async def test_a_host_whose_server_is_not_there_says_so_with_its_exit_status() -> None:
    command = (sys.executable, "-m", "conformance.bridge_host", "legacy", "--connection-timeout", "100ms", URL)
    environment = {**os.environ, "MCP_CONFORMANCE_SCENARIO": "tools_call"}
    with trio.fail_after(60):
        done = await trio.run_process(command, cwd=PROJECT, env=environment, check=False, capture_stderr=True)
    assert done.returncode == 1
    assert b"localhost:1" in done.stderr


async def test_the_browser_follows_where_a_page_sends_it() -> None:
    async def answer(asked: Asked) -> Reply:
        return (
            Reply(status=302, headers={"location": "/callback?code=c"}) if asked.target.startswith("/authorize") else Reply()
        )

    with trio.fail_after(60):
        async with open_stub(answer) as stub:
            words = [word.replace("%s", f"{stub.url}/authorize?a=%20") for word in shlex.split(BROWSER)]
            await trio.run_process(words)
    assert stub.targets == ["/authorize?a=%20", "/callback?code=c"]
