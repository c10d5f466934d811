"""A server on the `mcp` SDK with a tool for everything that must cross a proxy, in either era.

Run as a program, it speaks stdio.  No tool sleeps: what has to overlap waits for the
other to arrive, and a test's own deadline says when that has taken too long.
"""

import hashlib
import inspect
import os
import warnings
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

import anyio
import mcp_types as types
import trio
from mcp import MCPDeprecationWarning, MCPError
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.stdio import stdio_server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ResourceUpdated, ToolsListChanged
from mcp.shared.message import ServerMessageMetadata
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

# Sampling, roots and logging leave the protocol in 2026-07-28; until then they must cross.
warnings.simplefilter("ignore", MCPDeprecationWarning)

NOTE = "note://today"

Context = ServerRequestContext[Any, Any]
Answer = str | types.CallToolResult | types.InputRequiredResult
ResultT = TypeVar("ResultT", bound=types.InputResponse)

tools: dict[str, Callable[..., Awaitable[Answer]]] = {}
hidden_tools = {"secret"}

notes = {NOTE: "nothing yet"}
subscribed: set[str] = set()
bus = InMemorySubscriptionBus()

arrived: defaultdict[str, list[str]] = defaultdict(list)
complete: defaultdict[str, anyio.Event] = defaultdict(anyio.Event)
cancelled: defaultdict[str, anyio.Event] = defaultdict(anyio.Event)


class InputRequiredError(Exception):
    """A modern client answers in its next round; until then the call is an `InputRequiredResult`."""

    def __init__(self, request: types.InputRequest) -> None:
        self.request = request


def tool(function: Callable[..., Awaitable[Answer]]) -> Callable[..., Awaitable[Answer]]:
    tools[function.__name__] = function
    return function


@tool
async def echo(context: Context, text: str) -> Answer:
    return text


@tool
async def process_id(context: Context) -> Answer:
    return str(os.getpid())


@tool
async def big(context: Context, size: int) -> Answer:
    """Return `size` characters in which no stretch looks like another."""
    return "".join(f"{number:08x}" for number in range(size // 8))


@tool
async def digest(context: Context, text: str) -> Answer:
    return hashlib.sha256(text.encode()).hexdigest()


@tool
async def count(context: Context, to: int) -> Answer:
    for number in range(1, to + 1):
        await context.session.report_progress(number, to, f"step {number}")
    return f"counted to {to}"


@tool
async def count_and_wait(context: Context, to: int, party: str) -> Answer:
    """Count, and answer only when `party` is complete."""
    answer = await count(context, to)
    await complete[party].wait()
    return answer


@tool
async def log(context: Context, lines: int) -> Answer:
    for number in range(lines):
        await context.session.send_log_message("info", {"line": number}, "sdk_server", context.request_id)
    return f"logged {lines} lines"


@tool
async def meet(context: Context, party: str, name: str, size: int) -> Answer:
    """Answer `name` once `size` calls of the same party are in flight together."""
    arrived[party].append(name)
    if len(arrived[party]) == size:
        complete[party].set()
    await complete[party].wait()
    return name


@tool
async def wait_for_cancellation(context: Context, name: str) -> Answer:
    await context.session.report_progress(1, None, "waiting")
    try:
        await anyio.sleep_forever()
    finally:
        cancelled[name].set()
    return "unreachable"


@tool
async def was_cancelled(context: Context, name: str) -> Answer:
    await cancelled[name].wait()
    return f"{name} was cancelled"


@tool
async def ask(context: Context, question: str) -> Answer:
    schema = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
    request = types.ElicitRequest(params=types.ElicitRequestFormParams(message=question, requested_schema=schema))
    result = await from_client(context, request, types.ElicitResult)
    return f"{result.action}: {(result.content or {}).get('answer')}"


@tool
async def sample(context: Context, prompt: str) -> Answer:
    message = types.SamplingMessage(role="user", content=types.TextContent(text=prompt))
    request = types.CreateMessageRequest(params=types.CreateMessageRequestParams(messages=[message], max_tokens=50))
    result = await from_client(context, request, types.CreateMessageResult)
    assert isinstance(result.content, types.TextContent)
    return f"{result.model}: {result.content.text}"


@tool
async def roots(context: Context) -> Answer:
    result = await from_client(context, types.ListRootsRequest(), types.ListRootsResult)
    return " ".join(f"{root.name}={root.uri}" for root in result.roots)


@tool
async def reveal(context: Context) -> Answer:
    """Add a tool to the list, and say so to whoever listens."""
    hidden_tools.discard("secret")
    await context.session.send_tool_list_changed()
    await bus.publish(ToolsListChanged())
    return "revealed"


@tool
async def secret(context: Context) -> Answer:
    return "the cake is real"


@tool
async def write_note(context: Context, text: str) -> Answer:
    notes[NOTE] = text
    if NOTE in subscribed:
        await context.session.send_resource_updated(NOTE)
    await bus.publish(ResourceUpdated(NOTE))
    return "written"


@tool
async def fail(context: Context) -> Answer:
    raise MCPError(4242, "failed as asked", {"evidence": ["π", None, 1e100]})


async def from_client(context: Context, request: types.InputRequest, result_type: type[ResultT]) -> ResultT:
    """Ask the client as its era wants it: a request of our own, or a result that requires input."""
    if context.protocol_version not in MODERN_PROTOCOL_VERSIONS:
        related = ServerMessageMetadata(related_request_id=context.request_id)
        return await context.session.send_request(request, result_type, metadata=related)
    answers = (context.params or {}).get("inputResponses")
    if answers is None:
        raise InputRequiredError(request)
    return cast(ResultT, result_type.model_validate(answers["it"]))


async def on_call_tool(
    context: Context, params: types.CallToolRequestParams
) -> types.CallToolResult | types.InputRequiredResult:
    if params.name not in tools:
        raise MCPError(types.INVALID_PARAMS, f"no tool {params.name!r}")
    try:
        answer = await tools[params.name](context, **(params.arguments or {}))
    except InputRequiredError as question:
        return types.InputRequiredResult(input_requests={"it": question.request})
    if isinstance(answer, str):
        return types.CallToolResult(content=[types.TextContent(text=answer)])
    return answer


async def on_list_tools(context: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
    json_types = {str: "string", int: "integer"}
    listed = []
    for name, function in tools.items():
        if name not in hidden_tools:
            arguments = list(inspect.signature(function).parameters.values())[1:]
            properties = {argument.name: {"type": json_types[argument.annotation]} for argument in arguments}
            schema = {"type": "object", "properties": properties, "required": list(properties)}
            listed.append(types.Tool(name=name, input_schema=schema))
    return types.ListToolsResult(tools=listed)


async def on_list_resources(context: Context, params: types.PaginatedRequestParams | None) -> types.ListResourcesResult:
    return types.ListResourcesResult(resources=[types.Resource(uri=uri, name="note") for uri in notes])


async def on_read_resource(context: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
    uri = str(params.uri)
    return types.ReadResourceResult(contents=[types.TextResourceContents(uri=uri, text=notes[uri])])


async def on_subscribe_resource(context: Context, params: types.SubscribeRequestParams) -> types.EmptyResult:
    subscribed.add(str(params.uri))
    return types.EmptyResult()


async def on_unsubscribe_resource(context: Context, params: types.UnsubscribeRequestParams) -> types.EmptyResult:
    subscribed.discard(str(params.uri))
    return types.EmptyResult()


async def on_list_prompts(context: Context, params: types.PaginatedRequestParams | None) -> types.ListPromptsResult:
    argument = types.PromptArgument(name="name", required=True)
    return types.ListPromptsResult(prompts=[types.Prompt(name="greet", arguments=[argument])])


async def on_get_prompt(context: Context, params: types.GetPromptRequestParams) -> types.GetPromptResult:
    text = types.TextContent(text=f"Greet {(params.arguments or {})['name']}.")
    return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=text)])


async def on_completion(context: Context, params: types.CompleteRequestParams) -> types.CompleteResult:
    names = [name for name in ("Ada", "Alan", "Grace") if name.startswith(params.argument.value)]
    return types.CompleteResult(completion=types.Completion(values=names))


async def on_roots_list_changed(context: Context, params: types.NotificationParams | None) -> None:
    """Ask for the new roots and log them, while no request of the client is in flight."""
    result = await context.session.send_request(types.ListRootsRequest(), types.ListRootsResult)
    await context.session.send_log_message("notice", [str(root.uri) for root in result.roots])


async def on_set_logging_level(context: Context, params: types.SetLevelRequestParams) -> types.EmptyResult:
    return types.EmptyResult()


server: Server[Any] = Server(
    "sdk_server",
    version="1.2.3",
    instructions="Ask, and it shall be relayed.",
    on_list_tools=on_list_tools,
    on_call_tool=on_call_tool,
    on_list_resources=on_list_resources,
    on_read_resource=on_read_resource,
    on_subscribe_resource=on_subscribe_resource,
    on_unsubscribe_resource=on_unsubscribe_resource,
    on_subscriptions_listen=ListenHandler(bus),
    on_list_prompts=on_list_prompts,
    on_get_prompt=on_get_prompt,
    on_completion=on_completion,
    on_set_logging_level=on_set_logging_level,
    on_roots_list_changed=on_roots_list_changed,
)


async def main() -> None:
    async with stdio_server() as (reading, writing):
        changes = NotificationOptions(tools_changed=True)
        await server.run(reading, writing, server.create_initialization_options(changes))


if __name__ == "__main__":
    trio.run(main)
