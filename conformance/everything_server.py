"""The stdio MCP server that the official conformance scenarios talk to, through the proxy.

    python -m conformance.everything_server [--era legacy | modern | dual]

It is written on the official SDK and knows nothing of HTTP: what a scenario sees of sessions, streams and headers is
the proxy's doing, and everything else has come through the proxy from here.  The handlers serve both eras.  Whether the
server does is an option, since there are servers of either kind: of before 2026-07-28, which know the handshake and no
other way; of after, which have left it behind; and those that take their clients as they come.
"""

from __future__ import annotations

import argparse
import json
import re
import warnings
from typing import Any, Final, Literal, get_args

import mcp.types as types
import trio
from mcp import MCPDeprecationWarning, MCPError
from mcp.server import NotificationOptions, Server
from mcp.server.caching import CacheableMethod, CacheHint
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.runner import _serve_modern_stream, serve_dual_era_loop, serve_loop
from mcp.server.stdio import stdio_server
from mcp.server.subscriptions import ListenHandler

from . import everything_questions as questions
from .asking import Call, Context, run_rounds
from .everything_notices import CHANGES, WATCHED, set_logging_level, subscribe, unsubscribe
from .everything_tools import PNG, TOOLS, embedded, image, text

Era = Literal["legacy", "modern", "dual"]

# --- Tools (Server Features §Tools)


async def list_tools(context: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
    return types.ListToolsResult(tools=[tool.listing for tool in TOOLS.values()])


async def call_tool(
    context: Context, params: types.CallToolRequestParams
) -> types.CallToolResult | types.InputRequiredResult:
    """Run a tool; what it raises is its answer, so that a model can read it (§Error Handling).

    That is also how a question ends which the client answers with an error.  An `MCPError` is for the client, and not for
    its model.
    """
    tool = TOOLS.get(params.name)
    if tool is None:
        raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {params.name}")
    call = Call(context, params.arguments or {}, params.input_responses or {}, params.request_state)
    try:
        content = await run_rounds(tool.call, call)
    except MCPError:
        raise
    except Exception as error:
        return types.CallToolResult(content=[text(str(error))], is_error=True)
    return content if isinstance(content, types.InputRequiredResult) else types.CallToolResult(content=content)


# --- Resources (Server Features §Resources)

_RESOURCES: Final = [
    types.Resource(
        uri="test://static-text", name="Static text", description="A text that never changes", mime_type="text/plain"
    ),
    types.Resource(uri="test://static-binary", name="Static image", description="One red pixel", mime_type="image/png"),
    types.Resource(
        uri=WATCHED,
        name="Watched resource",
        description="A text to subscribe to",
        mime_type="text/plain",
    ),
    questions.RESOURCE,
]
_TEMPLATE: Final = types.ResourceTemplate(
    uri_template="test://template/{id}/data",
    name="Template",
    description="Data about whatever id is asked for",
    mime_type="application/json",
)
_TEMPLATE_URI: Final = re.compile(r"test://template/([^/]+)/data")
_TEXTS: Final = {
    "test://static-text": "This is the content of the static text resource.",
    WATCHED: "Watched resource content",
}


async def list_resources(context: Context, params: types.PaginatedRequestParams | None) -> types.ListResourcesResult:
    return types.ListResourcesResult(resources=_RESOURCES)


async def list_resource_templates(
    context: Context, params: types.PaginatedRequestParams | None
) -> types.ListResourceTemplatesResult:
    return types.ListResourceTemplatesResult(resource_templates=[_TEMPLATE])


async def read_resource(
    context: Context, params: types.ReadResourceRequestParams
) -> types.ReadResourceResult | types.InputRequiredResult:
    uri = str(params.uri)
    if uri == questions.RESOURCE.uri:
        call = Call(context, {}, params.input_responses or {}, params.request_state)
        return await run_rounds(questions.read_resource, call)
    return types.ReadResourceResult(contents=[_contents(uri)])


def _contents(uri: str) -> types.TextResourceContents | types.BlobResourceContents:
    if uri in _TEXTS:
        return types.TextResourceContents(uri=uri, mime_type="text/plain", text=_TEXTS[uri])
    if uri == "test://static-binary":
        return types.BlobResourceContents(uri=uri, mime_type="image/png", blob=PNG)
    if match := _TEMPLATE_URI.fullmatch(uri):
        data = {"id": match[1], "templateTest": True, "data": f"Data for ID: {match[1]}"}
        return types.TextResourceContents(uri=uri, mime_type="application/json", text=json.dumps(data))
    raise MCPError(types.INVALID_PARAMS, f"Resource not found: {uri}", {"uri": uri})


# --- Prompts (Server Features §Prompts)

_PROMPTS: Final = [
    types.Prompt(name="test_simple_prompt", description="A prompt without arguments"),
    types.Prompt(
        name="test_prompt_with_arguments",
        description="A prompt with two arguments",
        arguments=[
            types.PromptArgument(name="arg1", description="First test argument", required=True),
            types.PromptArgument(name="arg2", description="Second test argument", required=True),
        ],
    ),
    types.Prompt(
        name="test_prompt_with_embedded_resource",
        description="A prompt with a resource inside",
        arguments=[types.PromptArgument(name="resourceUri", description="URI of the resource", required=True)],
    ),
    types.Prompt(name="test_prompt_with_image", description="A prompt with an image"),
    questions.PROMPT,
]


async def list_prompts(context: Context, params: types.PaginatedRequestParams | None) -> types.ListPromptsResult:
    return types.ListPromptsResult(prompts=_PROMPTS)


async def get_prompt(
    context: Context, params: types.GetPromptRequestParams
) -> types.GetPromptResult | types.InputRequiredResult:
    given = params.arguments or {}
    match params.name:
        case "test_simple_prompt":
            contents: list[types.ContentBlock] = [text("This is a simple prompt for testing.")]
        case "test_prompt_with_arguments":
            words = f"Prompt with arguments: arg1='{given.get('arg1', '')}', arg2='{given.get('arg2', '')}'"
            contents = [text(words)]
        case "test_prompt_with_embedded_resource":
            resource = embedded(given.get("resourceUri", ""), "Embedded resource content for testing.")
            contents = [resource, text("Please process the embedded resource above.")]
        case "test_prompt_with_image":
            contents = [image(), text("Please analyze the image above.")]
        case questions.PROMPT.name:
            call = Call(context, given, params.input_responses or {}, params.request_state)
            return await run_rounds(questions.get_prompt, call)
        case unknown:
            raise MCPError(types.INVALID_PARAMS, f"Unknown prompt: {unknown}")
    return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=content) for content in contents])


# --- Utilities


async def complete(context: Context, params: types.CompleteRequestParams) -> types.CompleteResult:
    """Complete every argument from the same three words (Server Features §Completion)."""
    values = [word for word in ("paris", "park", "party") if word.startswith(params.argument.value)]
    return types.CompleteResult(completion=types.Completion(values=values, total=len(values), has_more=False))


# How long what we say may be kept, and by whom (Caching); what has been read is nobody else's.
_CACHE_HINTS: Final[dict[CacheableMethod, CacheHint]] = {
    "server/discover": CacheHint(60_000, "public"),
    "tools/list": CacheHint(5_000, "public"),
    "prompts/list": CacheHint(5_000, "public"),
    "resources/list": CacheHint(5_000, "public"),
    "resources/templates/list": CacheHint(5_000, "public"),
    "resources/read": CacheHint(1_000, "private"),
}
# A process of its own may answer each round, so that all of them have to know the key; it guards nothing.
_STATE_KEY: Final = "the everything server, for anybody to read"


def everything_server() -> Server[Any]:
    """The server, not yet connected to anything."""
    server: Server[Any] = Server(
        "conformance-everything-server",
        version="1.0.0",
        instructions="Call everything.",
        cache_hints=_CACHE_HINTS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_resource_templates,
        on_read_resource=read_resource,
        on_subscribe_resource=subscribe,
        on_unsubscribe_resource=unsubscribe,
        on_subscriptions_listen=ListenHandler(CHANGES),
        on_list_prompts=list_prompts,
        on_get_prompt=get_prompt,
        on_completion=complete,
        on_set_logging_level=set_logging_level,
    )
    server.middleware.append(RequestStateBoundary(RequestStateSecurity(keys=[_STATE_KEY]), default_audience=server.name))
    return server


# --- Eras


async def main(era: Era) -> None:
    """Serve over stdin and stdout until stdin ends."""
    server = everything_server()
    options = server.create_initialization_options(
        NotificationOptions(prompts_changed=True, resources_changed=True, tools_changed=True)
    )
    async with server.lifespan(server) as state, stdio_server() as (messages, answers), answers:
        match era:
            case "legacy":
                # Knows no server/discover (-32601), and reads no envelope: like any server of before.
                await serve_loop(server, messages, answers, lifespan_state=state, init_options=options)
            case "modern":
                # Refuses initialize (-32022).  The SDK has a loop for that, but calls it itself, and only after a first
                # request of that era.
                await _serve_modern_stream(server, messages, answers, lifespan_state=state, raise_exceptions=False)
            case "dual":
                await serve_dual_era_loop(server, messages, answers, lifespan_state=state, init_options=options)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m conformance.everything_server")
    parser.add_argument("--era", choices=get_args(Era), default="dual", help="which clients to serve (%(default)s)")
    # The SDK deprecates what only the newest revision has dropped: logging and sampling, half of what is tested here.
    warnings.simplefilter("ignore", MCPDeprecationWarning)
    trio.run(main, parser.parse_args().era)
