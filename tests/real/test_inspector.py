"""The Inspector's command line, which is what people reach for first, meets the reference servers."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .installed import node_modules
from .proxy_process import RunningProxy, open_proxy

pytestmark = pytest.mark.node

Inspect = Callable[..., Any]


@pytest.fixture(scope="module")
def everything() -> Iterator[RunningProxy]:
    with open_proxy("--", str(node_modules() / ".bin" / "mcp-server-everything")) as proxy:
        yield proxy


@pytest.fixture
def inspect(tmp_path: Path) -> Inspect:
    """Return a function that runs the Inspector for one method, and returns the result that it prints."""

    def run(*arguments: str) -> Any:
        inspector = str(node_modules() / ".bin" / "mcp-inspector")
        finished = subprocess.run(
            [inspector, "--cli", *arguments],
            # It keeps what it remembers under HOME.
            env={**os.environ, "HOME": str(tmp_path)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=30,
        )
        assert finished.returncode == 0, finished.stderr.decode()
        return json.loads(finished.stdout)

    return run


@pytest.mark.parametrize("transport", ["http", "sse"])
def test_it_calls_a_tool_over_either_transport(transport: str, everything: RunningProxy, inspect: Inspect) -> None:
    url = everything.sse if transport == "sse" else everything.mcp
    arguments = ("--tool-name", "echo", "--tool-args-json", json.dumps({"message": "ünï 🦑\n"}))
    result = inspect(url, "--transport", transport, "--method", "tools/call", *arguments)
    assert result["content"] == [{"type": "text", "text": "Echo: ünï 🦑\n"}]


def test_it_lists_the_tools_and_finds_no_fault_in_their_schemas(everything: RunningProxy, inspect: Inspect) -> None:
    tools = {tool["name"]: tool for tool in inspect(everything.mcp, "--method", "tools/list", "--strict")["tools"]}
    assert tools["get-sum"]["inputSchema"]["required"] == ["a", "b"]
    assert tools["echo"]["annotations"]["readOnlyHint"] is True


def test_it_reads_a_resource(everything: RunningProxy, inspect: Inspect) -> None:
    [contents] = inspect(everything.mcp, "--method", "resources/read", "--uri", "demo://resource/dynamic/text/3")["contents"]
    assert contents["text"].startswith("Resource 3: This is a plaintext resource")


def test_it_gets_a_prompt(everything: RunningProxy, inspect: Inspect) -> None:
    arguments = ("--prompt-name", "args-prompt", "--prompt-args", "city=Zürich")
    [message] = inspect(everything.mcp, "--method", "prompts/get", *arguments)["messages"]
    assert message["content"]["text"] == "What's weather in Zürich?"


def test_its_load_test_of_one_session_ends_without_an_error(everything: RunningProxy, inspect: Inspect) -> None:
    arguments = ("--tool-name", "get-sum", "--tool-arg", "a=3", "b=4")
    load = ("--load", "--load-requests", "300", "--load-concurrency", "20")
    summary = inspect(everything.mcp, "--method", "tools/call", *arguments, *load)
    assert (summary["ok"], summary["errors"], summary["toolErrors"]) == (300, 0, 0)
