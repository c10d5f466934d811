"""The stdio MCP server that the official conformance scenarios talk to, through the proxy.

    python -m conformance.everything_server

It is written on the official SDK and knows nothing of HTTP: what a scenario sees of sessions, streams and headers is
the proxy's doing, and everything else has come through the proxy from here.  The SDK serves both eras from the same
handlers; these are the ones that the scenarios of the handshake revisions (up to 2025-11-25) need.
"""

from __future__ import annotations

import json
import re
import warnings
from typing import Any, Final

import mcp.types as types
import trio
from mcp import MCPDeprecationWarning, MCPError
from mcp.server import NotificationOptions, Server
from mcp.server.stdio import stdio_server

from .everything_tools import PNG, TOOLS, Context, embedded, image, text

# --- Tools (Server Features §Tools)


async def list_tools(context: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
    return types.ListToolsResult(tools=[tool.listing for tool in TOOLS.values()])


async def call_tool(context: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
    """Run a tool; what it raises is its answer, so that a model can read it (§Error Handling).

    That is also how a question to a client that can't be asked ends.
    """
    tool = TOOLS.get(params.name)
    if tool is None:
        raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {params.name}")
    try:
        return types.CallToolResult(content=await tool.call(context, params.arguments or {}))
    except Exception as error:
        return types.CallToolResult(content=[text(str(error))], is_error=True)


# --- Resources (Server Features §Resources)

_RESOURCES: Final = [
    types.Resource(
        uri="test://static-text", name="Static text", description="A text that never changes", mime_type="text/plain"
    ),
    types.Resource(uri="test://static-binary", name="Static image", description="One red pixel", mime_type="image/png"),
    types.Resource(
        uri="test://watched-resource",
        name="Watched resource",
        description="A text to subscribe to",
        mime_type="text/plain",
    ),
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
    "test://watched-resource": "Watched resource content",
}


async def list_resources(context: Context, params: types.PaginatedRequestParams | None) -> types.ListResourcesResult:
    return types.ListResourcesResult(resources=_RESOURCES)


async def list_resource_templates(
    context: Context, params: types.PaginatedRequestParams | None
) -> types.ListResourceTemplatesResult:
    return types.ListResourceTemplatesResult(resource_templates=[_TEMPLATE])


async def read_resource(context: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
    return types.ReadResourceResult(contents=[_contents(str(params.uri))])


def _contents(uri: str) -> types.TextResourceContents | types.BlobResourceContents:
    if uri in _TEXTS:
        return types.TextResourceContents(uri=uri, mime_type="text/plain", text=_TEXTS[uri])
    if uri == "test://static-binary":
        return types.BlobResourceContents(uri=uri, mime_type="image/png", blob=PNG)
    if match := _TEMPLATE_URI.fullmatch(uri):
        data = {"id": match[1], "templateTest": True, "data": f"Data for ID: {match[1]}"}
        return types.TextResourceContents(uri=uri, mime_type="application/json", text=json.dumps(data))
    raise MCPError(types.INVALID_PARAMS, f"Resource not found: {uri}", {"uri": uri})


async def subscribe(context: Context, params: types.SubscribeRequestParams) -> types.EmptyResult:
    """Accept any subscription: nothing here ever changes, so there is nobody to tell."""
    return types.EmptyResult()


async def unsubscribe(context: Context, params: types.UnsubscribeRequestParams) -> types.EmptyResult:
    return types.EmptyResult()


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
]


async def list_prompts(context: Context, params: types.PaginatedRequestParams | None) -> types.ListPromptsResult:
    return types.ListPromptsResult(prompts=_PROMPTS)


async def get_prompt(context: Context, params: types.GetPromptRequestParams) -> types.GetPromptResult:
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
        case unknown:
            raise MCPError(types.INVALID_PARAMS, f"Unknown prompt: {unknown}")
    return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=content) for content in contents])


# --- Utilities


async def complete(context: Context, params: types.CompleteRequestParams) -> types.CompleteResult:
    """Complete every argument from the same three words (Server Features §Completion)."""
    values = [word for word in ("paris", "park", "party") if word.startswith(params.argument.value)]
    return types.CompleteResult(completion=types.Completion(values=values, total=len(values), has_more=False))


async def set_logging_level(context: Context, params: types.SetLevelRequestParams) -> types.EmptyResult:
    """Accept any level.  The SDK sends every log message whatever the level; the scenarios ask for the lowest."""
    return types.EmptyResult()


def everything_server() -> Server[Any]:
    """The server, not yet connected to anything."""
    return Server(
        "conformance-everything-server",
        version="1.0.0",
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_resource_templates,
        on_read_resource=read_resource,
        on_subscribe_resource=subscribe,
        on_unsubscribe_resource=unsubscribe,
        on_list_prompts=list_prompts,
        on_get_prompt=get_prompt,
        on_completion=complete,
        on_set_logging_level=set_logging_level,
    )


async def main() -> None:
    """Serve over stdin and stdout until stdin ends."""
    server = everything_server()
    options = server.create_initialization_options(
        NotificationOptions(prompts_changed=True, resources_changed=True, tools_changed=True)
    )
    async with stdio_server() as (messages, answers):
        await server.run(messages, answers, options)


if __name__ == "__main__":
    # The SDK deprecates what only the newest revision has dropped: logging and sampling, half of what is tested here.
    warnings.simplefilter("ignore", MCPDeprecationWarning)
    trio.run(main)
