"""A host for the official client scenarios: it starts the bridge as its stdio server, and uses it as a scenario wants.

    MCP_CONFORMANCE_SCENARIO=… python -m conformance.bridge_host legacy|modern [OPTION OF THE BRIDGE…] URL

The suite sets the variable, and appends the URL of the server that watches.  What it watches is the bridge; the host is the
official SDK, on stdio, and of either era.  Nearly all scenarios want the same, that what there is gets listed and used.  So
the host knows little of them, and uses all that the bridge shows.

Where a scenario wants to be signed in to, the bridge gets the options that a user would give, a browser whose user says yes
to everything, and an empty folder for tokens.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import mcp.types as types
import trio
from mcp import Client, StdioServerParameters
from pydantic import ValidationError

HostEra: TypeAlias = Literal["legacy", "modern"]

TIME: Final = 40
"""Seconds for all of it: whoever ends the suite's process would leave host and bridge behind."""
CLIENT_DOCUMENT: Final = "https://conformance-test.local/client-metadata.json"
"""The client id that `auth/basic-cimd` expects; nobody fetches it."""
PROJECT: Final = Path(__file__).parents[1]
BROWSER: Final = shlex.join([sys.executable, "-I", str(Path(__file__).with_name("bridge_browser.py")), "%s"])
"""As Python's `webbrowser` wants it."""
_EXAMPLES: Final[Mapping[str, Any]] = {"string": "text", "number": 2, "integer": 3, "boolean": True}


@dataclass(frozen=True)
class Assignment:
    """What a scenario tells its client.

    Args:
      context: what a client has to know beforehand, such as how it is registered.
    """

    scenario: str
    url: str
    context: Mapping[str, Any] = field(default_factory=dict)

    @property
    def options(self) -> list[str]:
        """What a user would tell the bridge on its command line."""
        options: list[str] = []
        if self.scenario.startswith("auth/") and not self.scenario.startswith("auth/client-credentials-"):
            options.append("--oauth")
        if client_id := self.context.get("client_id", CLIENT_DOCUMENT if self.scenario == "auth/basic-cimd" else None):
            options += ["--client-id", client_id]
        return options

    @property
    def environment(self) -> dict[str, str]:
        """What a user would rather not show on a command line."""
        secret = self.context.get("client_secret")
        return {"MCP_PROXY_CLIENT_SECRET": secret} if secret else {}


def read_assignment(environ: Mapping[str, str], url: str) -> Assignment:
    """Read what the suite says in the environment."""
    context = json.loads(environ.get("MCP_CONFORMANCE_CONTEXT", "{}"))
    return Assignment(environ["MCP_CONFORMANCE_SCENARIO"], url, context)


def choose_calls(assignment: Assignment, tools: Sequence[types.Tool]) -> list[tuple[str, dict[str, Any]]]:
    """Return which tools are called, with which arguments."""
    if "toolCalls" in assignment.context:
        return [(call["name"], call["arguments"]) for call in assignment.context["toolCalls"]]
    if assignment.scenario == "json-schema-ref-no-deref":
        # Its server lists a tool, and has none.
        return []
    if assignment.scenario == "json-schema-2020-12-preservation":
        (schema,) = [tool.input_schema for tool in tools if tool.name == "json_schema_2020_12_tool"]
        return [("json_schema_echo", {"schema": schema})]
    return [(tool.name, fill_in(tool.input_schema)) for tool in tools]


def fill_in(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return what somebody answers who only presses return: the defaults, or else anything of the right type."""
    properties: Mapping[str, Mapping[str, Any]] = schema.get("properties", {})
    return {name: one.get("default", _EXAMPLES.get(str(one.get("type")))) for name, one in properties.items()}


async def _answer(context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
    if not isinstance(params, types.ElicitRequestFormParams):
        return types.ElicitResult(action="decline")
    return types.ElicitResult(action="accept", content=fill_in(params.requested_schema))


async def _sample(context: Any, params: types.CreateMessageRequestParams) -> types.CreateMessageResult:
    content = types.TextContent(type="text", text="text")
    return types.CreateMessageResult(role="assistant", content=content, model="none", stop_reason="endTurn")


async def _list_roots(context: Any) -> types.ListRootsResult:
    return types.ListRootsResult(roots=[types.Root.model_validate({"uri": "file:///nowhere"})])


async def _use(client: Client, assignment: Assignment) -> None:
    # `client.list_tools` would leave out what the bridge has to leave out, and then nobody knew who did.
    listed = await client.session.send_request(types.ListToolsRequest(), types.ListToolsResult)
    for name, arguments in choose_calls(assignment, listed.tools):
        try:
            await client.call_tool(name, arguments)
        except ValidationError:
            # Its result lacks what servers MUST send and clients must do without.  The SDK can't; the bridge passes it on.
            if name != "test_mrtr_no_result_type":
                raise
    if client.server_capabilities.resources is not None:
        for resource in (await client.list_resources()).resources:
            await client.read_resource(resource.uri)
    if client.server_capabilities.prompts is not None:
        for prompt in (await client.list_prompts()).prompts:
            await client.get_prompt(prompt.name, {argument.name: "text" for argument in prompt.arguments or ()})


async def play(era: HostEra, options: Sequence[str], assignment: Assignment) -> None:
    """Start the bridge, and do what the scenario wants.

    Raises:
      Exception: whatever the SDK makes of an error; some scenarios want one.
    """
    with tempfile.TemporaryDirectory() as state, trio.fail_after(TIME):
        bridge = StdioServerParameters(
            command=sys.executable,
            args=["-m", "trioproxy", *options, *assignment.options, assignment.url],
            env={"BROWSER": BROWSER, "XDG_STATE_HOME": state, **assignment.environment},
            cwd=PROJECT,
        )
        mode = "legacy" if era == "legacy" else "auto"
        host = Client(
            bridge,
            mode=mode,
            elicitation_callback=_answer,
            sampling_callback=_sample,
            list_roots_callback=_list_roots,
        )
        async with host as client:
            await _use(client, assignment)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["legacy" | "modern" as era, *options, url]:
            trio.run(play, era, options, read_assignment(os.environ, url))
        case _:
            sys.exit(__doc__)
