"""The server of `tests.matrix`, written anew on the `mcp` SDK: the same tools, in the words of either era.

What it offers is in `tests.matrix.offers`, what its tools do in `tests.matrix.server`.  Beside those:

    big {size}           is answered with that many characters, no stretch of which is like another
    meet {party, size}   is answered once so many of its calls are running
    log {…, until}       is answered once something has happened, too
    relearned            is answered with the roots that a client has after it has said that they have changed
    listening            is answered once the client's standalone stream is open

A legacy server that answers with JSON has no stream to say anything else on but the standalone one, and uses that.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import anyio
import anyio.abc
import mcp_types as types
from mcp import MCPError
from mcp.server.caching import CacheableMethod, CacheHint
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ListenHandler,
    PromptsListChanged,
    ResourcesListChanged,
    ResourceUpdated,
    ToolsListChanged,
)
from mcp.shared.message import ServerMessageMetadata
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from tests.matrix.offers import (
    CACHEABLE,
    CACHED,
    INSTRUCTIONS,
    MEASURED,
    NAMES,
    PREFIX,
    PROMPTS,
    RESOURCE_PAGES,
    SERVER_INFO,
    TEMPLATES,
    THE_QUESTION,
    TOOLS,
)
from tests.matrix.server import LEVELS, ODD_STATE

Context = ServerRequestContext[Any, Any]
Result = dict[str, Any]
Questions = list[list[dict[str, Any]]]

_AFTERWARDS: Final = 0.2
"""Seconds after which the answer to a call has gone out; nothing tells a handler of the SDK."""
_HINTS: Final[dict[CacheableMethod, CacheHint]] = {
    method: CacheHint(CACHED["modern"]["ttlMs"], CACHED["modern"]["cacheScope"])  # type: ignore[misc]
    for method in CACHEABLE
}
_QUESTIONS: Final[dict[str, tuple[type[Any], type[Any]]]] = {
    "elicitation/create": (types.ElicitRequest, types.ElicitResult),
    "sampling/createMessage": (types.CreateMessageRequest, types.CreateMessageResult),
    "roots/list": (types.ListRootsRequest, types.ListRootsResult),
}
_CHANGES: Final[dict[str, Any]] = {
    "tools": ToolsListChanged,
    "prompts": PromptsListChanged,
    "resources": ResourcesListChanged,
}


class _Server(Server[Any]):
    """Whose lists change."""

    def create_initialization_options(self, *args: Any, **more: Any) -> Any:
        changes = NotificationOptions(prompts_changed=True, resources_changed=True, tools_changed=True)
        return super().create_initialization_options(changes)


class _Listens(ListenHandler):
    """Who listens to what."""

    def __init__(self, bus: InMemorySubscriptionBus) -> None:
        super().__init__(bus)
        self.uris: list[list[str]] = []

    async def __call__(self, context: Context, params: types.SubscriptionsListenRequestParams) -> Any:
        uris = list(params.notifications.resource_subscriptions or ())
        self.uris.append(uris)
        try:
            return await super().__call__(context, params)
        finally:
            self.uris.remove(uris)


class MatrixServer:
    """One server, for all who come to it.

    Args:
      answers_json: whether its responses have no room for anything else.
      lists_all: whether the list of its tools has `hold` and `await`, too.
      tasks: run for as long as the server does.
      wait_listening: returns once the session with an id has its standalone stream.
    """

    def __init__(
        self,
        *,
        answers_json: bool,
        lists_all: bool,
        tasks: anyio.abc.TaskGroup,
        wait_listening: Callable[[str], Awaitable[None]],
    ) -> None:
        self.answers_json = answers_json
        self._lists_all = lists_all
        self._tasks = tasks
        self._wait_listening = wait_listening
        self._level: str | None = None
        self._subscribed: set[str] = set()
        self._happened: defaultdict[str, anyio.Event] = defaultdict(anyio.Event)
        self._parties: defaultdict[str, int] = defaultdict(int)
        self._visited: set[str] = set()
        self._asked = 0
        self._roots: Any = None
        self._bus = InMemorySubscriptionBus()
        self._listens = _Listens(self._bus)
        info: Any = SERVER_INFO
        self.server = _Server(**info, instructions=INSTRUCTIONS, cache_hints=_HINTS, on_subscriptions_listen=self._listens)
        handlers: Mapping[str, Callable[[Context], Awaitable[Result]]] = {
            "tools/list": self._list_tools,
            "tools/call": self._call_tool,
            "prompts/list": self._list_prompts,
            "prompts/get": self._get_prompt,
            "resources/list": self._list_resources,
            "resources/templates/list": self._list_templates,
            "resources/read": self._read_resource,
            "resources/subscribe": self._subscribe,
            "resources/unsubscribe": self._unsubscribe,
            "completion/complete": self._complete,
            "logging/setLevel": self._set_level,
        }
        for method, handler in handlers.items():
            self.server.add_request_handler(method, types.RequestParams, _without_params(handler))
        self.server.add_notification_handler(
            "notifications/roots/list_changed", types.NotificationParams, _without_params(self._relearn)
        )

    # Lists, resources, prompts

    async def _list_tools(self, context: Context) -> Result:
        more = [{"name": name, "inputSchema": {"type": "object"}} for name in ("hold", "await")] if self._lists_all else []
        return {"tools": [*TOOLS["modern" if _is_modern(context) else "legacy"], *more]}

    async def _list_prompts(self, context: Context) -> Result:
        return {"prompts": PROMPTS}

    async def _list_templates(self, context: Context) -> Result:
        return {"resourceTemplates": TEMPLATES}

    async def _list_resources(self, context: Context) -> Result:
        cursors = list(RESOURCE_PAGES)
        cursor = _params(context).get("cursor")
        if cursor not in cursors:
            raise MCPError(-32602, "Invalid cursor", {"cursor": cursor})
        following = cursors[cursors.index(cursor) + 1 :]
        return {"resources": RESOURCE_PAGES[cursor]} | ({"nextCursor": following[0]} if following else {})

    async def _read_resource(self, context: Context) -> Result:
        uri = _params(context)["uri"]
        if uri == "matrix://ask":
            return await self._ask(context, [[THE_QUESTION]])
        if uri.startswith("matrix://square/"):
            return {"contents": [{"uri": uri, "mimeType": "text/plain", "text": str(int(uri[16:]) ** 2)}]}
        raise MCPError(-32602 if _is_modern(context) else -32002, "Resource not found", {"uri": uri})

    async def _get_prompt(self, context: Context) -> Result:
        params = _params(context)
        if params["name"] == "ask":
            return await self._ask(context, [[THE_QUESTION]])
        return {"messages": [{"role": "user", "content": _text(f"Greet {params['arguments']['name']}.")}]}

    async def _complete(self, context: Context) -> Result:
        values = [name for name in NAMES if name.startswith(_params(context)["argument"]["value"])]
        return {"completion": {"values": values, "total": len(values), "hasMore": False}}

    # What a legacy client wants to hear of

    async def _set_level(self, context: Context) -> Result:
        self._level = _params(context)["level"]
        return {}

    async def _subscribe(self, context: Context) -> Result:
        self._subscribed.add(_params(context)["uri"])
        return {}

    async def _unsubscribe(self, context: Context) -> Result:
        self._subscribed.discard(_params(context)["uri"])
        return {}

    # Tools

    async def _call_tool(self, context: Context) -> Result:
        params = _params(context)
        tool = getattr(self, "tool_" + params["name"], None)
        if tool is None:
            raise MCPError(-32602, f"Unknown tool: {params['name']}")
        result: Result = await tool(context, **params.get("arguments") or {})
        return result

    async def tool_echo(self, context: Context, **arguments: Any) -> Result:
        meta = _params(context).get("_meta") or {}
        others = {name: value for name, value in meta.items() if not name.startswith(PREFIX) and name != "progressToken"}
        return {"content": [_text("echo")], "structuredContent": arguments, "_meta": others}

    async def tool_fail(self, context: Context, code: int, message: str, data: Any) -> Result:
        raise MCPError(code, message, data)

    async def tool_complain(self, context: Context, text: str) -> Result:
        return {"content": [_text(text)], "isError": True}

    async def tool_measure(self, context: Context) -> Result:
        measured = MEASURED["modern" if _is_modern(context) else "legacy"]
        return {"content": [_text("1 and 2.5")], "structuredContent": measured}

    async def tool_big(self, context: Context, size: int) -> Result:
        return {"content": [_text("".join(f"{number:08x}" for number in range(size // 8)))]}

    async def tool_count(self, context: Context, to: int, until: str) -> Result:
        token = (_params(context).get("_meta") or {}).get("progressToken")
        for number in range(1, to + 1):
            if not self._says_elsewhere(context):
                await context.session.report_progress(number, to, f"step {number}")
            elif token is not None:
                await context.session.send_progress_notification(token, number, to, f"step {number}")
        return await self.tool_await(context, until)

    async def tool_log(self, context: Context, messages: list[tuple[Any, Any]], until: str | None = None) -> Result:
        related = None if self._says_elsewhere(context) else context.request_id
        for level, data in messages:
            if _is_modern(context) or (self._level and LEVELS.index(level) >= LEVELS.index(self._level)):
                await context.session.send_log_message(level, data, "matrix", related)
        if until is not None:
            await self._happened[until].wait()
        return {"content": [_text("logged")]}

    async def tool_change(self, context: Context, kinds: list[str]) -> Result:
        for kind in kinds:
            if _is_modern(context):
                await self._bus.publish(_CHANGES[kind]())
            else:
                await getattr(context.session, f"send_{kind[:-1]}_list_changed")()
        return {"content": [_text("changed")]}

    async def tool_touch(self, context: Context, uri: str) -> Result:
        if _is_modern(context):
            told = sum(uri in uris for uris in self._listens.uris)
            await self._bus.publish(ResourceUpdated(uri))
        else:
            told = int(uri in self._subscribed)
            if told:
                await context.session.send_resource_updated(uri)
        return {"content": [_text(f"told {told}")]}

    async def tool_hold(self, context: Context, name: str) -> Result:
        self._happened[f"{name} held"].set()
        try:
            return await self.tool_await(context, f"{name} released")
        except anyio.get_cancelled_exc_class():
            self._happened[f"{name} cancelled"].set()
            raise

    async def tool_mark(self, context: Context, mark: str) -> Result:
        self._happened[mark].set()
        return {"content": [_text(mark)]}

    async def tool_await(self, context: Context, mark: str) -> Result:
        await self._happened[mark].wait()
        return {"content": [_text(mark)]}

    async def tool_meet(self, context: Context, party: str, size: int) -> Result:
        self._parties[party] += 1
        if self._parties[party] == size:
            self._happened[party].set()
        return await self.tool_await(context, party)

    async def tool_listening(self, context: Context) -> Result:
        if context.request is not None and (session_id := context.request.headers.get("mcp-session-id")):
            await self._wait_listening(session_id)
        return {"content": [_text("listening")]}

    # Questions

    def _says_elsewhere(self, context: Context) -> bool:
        return self.answers_json and not _is_modern(context)

    async def tool_ask(self, context: Context, rounds: Questions) -> Result:
        return await self._ask(context, rounds)

    async def tool_visit(self, context: Context, url: str) -> Result:
        page = {"mode": "url", "url": url, "message": "Please visit"}
        if _is_modern(context):
            return await self._ask(context, [[{"method": "elicitation/create", "params": page}]])
        if url in self._visited:
            return {"content": [_text(f"visited {url}")]}
        self._visited.add(url)
        data = {"elicitations": [{**page, "elicitationId": "visit-1"}]}
        raise MCPError(-32042, "URL elicitation required", data)

    async def tool_wonder(self, context: Context) -> Result:
        async def wonder() -> None:
            await anyio.sleep(_AFTERWARDS)
            self._roots = await self._put(context, {"method": "roots/list"}, is_related=False)
            self._happened["learned"].set()

        if not _is_modern(context):
            self._tasks.start_soon(wonder)
        return {"content": [_text("I wonder")]}

    async def tool_learned(self, context: Context) -> Result:
        await self._happened["learned"].wait()
        return {"content": [_text(json.dumps(self._roots))]}

    async def _relearn(self, context: Context) -> Result:
        self._roots = await self._put(context, {"method": "roots/list"}, is_related=False)
        self._happened["relearned"].set()
        return {}

    async def tool_relearned(self, context: Context) -> Result:
        await self._happened["relearned"].wait()
        return {"content": [_text(json.dumps(self._roots))]}

    async def _ask(self, context: Context, rounds: Questions) -> Result:
        params = _params(context)
        if not _is_modern(context):
            return _answered(context, [await self._ask_at_once(context, questions) for questions in rounds])
        answers: list[list[Any]] = []
        if "requestState" in params:
            state = json.loads(params["requestState"])
            assert state["odd"] == ODD_STATE
            answers = state["answers"]
            responses = params["inputResponses"]
            answers.append([responses[f"q{number}"] for number in range(len(rounds[len(answers)]))])
        if len(answers) == len(rounds):
            return _answered(context, answers)
        return {
            "resultType": "input_required",
            "inputRequests": {f"q{number}": question for number, question in enumerate(rounds[len(answers)])},
            "requestState": json.dumps({"odd": ODD_STATE, "answers": answers}),
        }

    async def _ask_at_once(self, context: Context, questions: list[dict[str, Any]]) -> list[Any]:
        answers: list[Any] = [None] * len(questions)

        async def put(number: int) -> None:
            answers[number] = await self._put(context, questions[number], is_related=not self.answers_json)

        async with anyio.create_task_group() as group:
            for number in range(len(questions)):
                group.start_soon(put, number)
        return answers

    async def _put(self, context: Context, question: dict[str, Any], *, is_related: bool) -> Any:
        request_type, result_type = _QUESTIONS[question["method"]]
        if question.get("params", {}).get("mode") == "url":
            self._asked += 1
            question = {**question, "params": {**question["params"], "elicitationId": f"elicitation {self._asked}"}}
        metadata = ServerMessageMetadata(related_request_id=context.request_id) if is_related else None
        try:
            answer = await context.session.send_request(
                request_type.model_validate(question), result_type, metadata=metadata
            )
        except MCPError as error:
            return {"error": error.error.code}
        return answer.model_dump(by_alias=True, mode="json", exclude_unset=True)


def _without_params(handler: Callable[[Context], Awaitable[Result]]) -> Any:
    """Return a handler that reads the params as they came, and not as a model has them."""

    async def handle(context: Context, params: types.RequestParams) -> Result:
        result = await handler(context)
        return {"resultType": "complete", **result} if _is_modern(context) else result

    return handle


def _is_modern(context: Context) -> bool:
    return context.protocol_version in MODERN_PROTOCOL_VERSIONS


def _params(context: Context) -> dict[str, Any]:
    return dict(context.params or {})


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _answered(context: Context, answers: list[list[Any]]) -> Result:
    words = json.dumps(answers, sort_keys=True)
    if context.method == "prompts/get":
        return {"messages": [{"role": "user", "content": _text(words)}]}
    if context.method == "resources/read":
        return {"contents": [{"uri": _params(context)["uri"], "text": words}]}
    return {"content": [_text("answered")], "structuredContent": {"answers": answers}}
