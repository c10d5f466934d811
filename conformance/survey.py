"""What an endpoint has: the revisions that it speaks, and which of its tools the checks can use.

Some rules show only while a call is running, reports progress or asks something.  What does that differs from server to
server, so the checks name a kind, and here is the list of the tools known to be of that kind, each with its arguments: those
of our demo, of our everything server, of the reference servers.  Where there is none the check is skipped, and says so.

A tool that nobody knows is called only if it takes no arguments and isn't said to be destructive.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from .conversation import (
    ASKABLE,
    LEGACY,
    MODERN,
    Call,
    Conversation,
    Message,
    Misbehaved,
    Requests,
    open_session,
    open_sse_session,
)
from .wire import Wire

TEXT: Final = "Grüße, 世界 🌍"
"""What `echo` is given: two, three and four bytes a character in UTF-8."""

KINDS: Final = {
    "quick": "a tool that can be called without arguments and does no harm",
    "echo": "a tool that says the same thing back",
    "progress": "a tool that reports progress",
    "slow": "a tool that reports progress for as long as one likes",
    "asks": "a tool that asks the client something",
    "touches": "a tool that changes a resource",
    "grows": "a tool that changes the list of tools",
    "headers": "a tool whose arguments are repeated in headers",
}
"""The kinds of tools, and what each is."""


@dataclass(frozen=True)
class Recipe:
    """A tool and the arguments that make it do what its kind is for."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def params(self) -> Message:
        """The parameters of the call."""
        return {"name": self.name, "arguments": dict(self.arguments)}


_RECIPES: Final[dict[str, tuple[Recipe, ...]]] = {
    "quick": (Recipe("test_simple_text"), Recipe("echo", {"text": TEXT}), Recipe("echo", {"message": TEXT})),
    "echo": (Recipe("echo", {"text": TEXT}), Recipe("echo", {"message": TEXT})),
    "progress": (
        Recipe("count", {"to": 4, "delay_ms": 120}),
        Recipe("test_tool_with_progress"),
        Recipe("longRunningOperation", {"duration": 1, "steps": 4}),
        Recipe("trigger-long-running-operation", {"duration": 1, "steps": 4}),
    ),
    "slow": (
        Recipe("count", {"to": 40, "delay_ms": 100}),
        Recipe("longRunningOperation", {"duration": 4, "steps": 40}),
        Recipe("trigger-long-running-operation", {"duration": 4, "steps": 40}),
    ),
    "asks": (
        Recipe("ask_name"),
        Recipe("test_elicitation", {"message": "What is your name?"}),
        Recipe("trigger-elicitation-request"),
        Recipe("trigger-sampling-request", {"prompt": "Say hello."}),
    ),
    "touches": (Recipe("touch"), Recipe("test_trigger_resource_update")),
    "grows": (Recipe("grow"), Recipe("test_trigger_tool_change")),
}
TOUCHED: Final = {"touch": "demo://counter", "test_trigger_resource_update": "test://watched-resource"}
"""The resource that each of the tools which touch one does touch."""


@dataclass(frozen=True)
class Survey:
    """What one revision of an endpoint offers.

    Args:
      also_speaks: all the revisions that the endpoint was found to speak.
      tools: the definitions of its tools, by name.
    """

    revision: str
    also_speaks: tuple[str, ...]
    capabilities: Message
    tools: Mapping[str, Message]

    def find(self, kind: str) -> Recipe | None:
        """Return a tool of a kind, or None."""
        if kind == "headers":
            return next((Recipe(name) for name, tool in self.tools.items() if header_parameters(tool)), None)
        for recipe in _RECIPES.get(kind, ()):
            if recipe.name in self.tools and set(recipe.arguments) <= set(_properties(self.tools[recipe.name])):
                return recipe
        if kind == "quick":
            return next((Recipe(name) for name, tool in self.tools.items() if _is_harmless(tool)), None)
        return None


def _properties(tool: Message) -> Mapping[str, Any]:
    schema = tool.get("inputSchema")
    properties = schema.get("properties") if isinstance(schema, dict) else None
    return properties if isinstance(properties, dict) else {}


def _is_harmless(tool: Message) -> bool:
    schema, hints = tool.get("inputSchema"), tool.get("annotations")
    required = schema.get("required") if isinstance(schema, dict) else None
    is_destructive = isinstance(hints, dict) and hints.get("destructiveHint") and not hints.get("readOnlyHint")
    return not required and not is_destructive


def header_parameters(tool: Message) -> dict[str, str]:
    """Return the arguments of a tool that a header repeats: argument to the last part of the header's name."""
    return {
        argument: str(schema["x-mcp-header"])
        for argument, schema in _properties(tool).items()
        if isinstance(schema, dict) and "x-mcp-header" in schema
    }


async def list_tools(talk: Conversation) -> dict[str, Message]:
    """Return the tools of a server by name, all pages of them; none if it has none."""
    tools: dict[str, Message] = {}
    params: Message = {}
    for _ in range(50):
        call: Call = await talk.ask("tools/list", params)
        result = (call.response or {}).get("result")
        if not isinstance(result, dict) or not isinstance(result.get("tools"), list):
            break
        tools |= {str(tool["name"]): tool for tool in result["tools"] if isinstance(tool, dict) and "name" in tool}
        if not result.get("nextCursor"):
            break
        params = {"cursor": result["nextCursor"]}
    return tools


async def find_revisions(http: Wire | None, sse: Wire | None) -> tuple[str, ...]:
    """Return the revisions that an endpoint speaks: those that it agrees to when asked.

    Args:
      http: its endpoint for Streamable HTTP.
      sse: its endpoint for HTTP with SSE, which is that of 2024-11-05 alone.
    """
    spoken = []
    if sse is not None:
        async with open_sse_session(sse) as talk:
            if talk.initialize_result.get("protocolVersion") == "2024-11-05":
                spoken.append("2024-11-05")
    if http is not None:
        for revision in LEGACY[1:]:
            try:
                async with open_session(http, revision) as session:
                    if session.initialize_result.get("protocolVersion") == revision:
                        spoken.append(revision)
            except Misbehaved:
                continue
        if await _speaks_modern(http):
            spoken.append(MODERN)
    return tuple(spoken)


async def _speaks_modern(http: Wire) -> bool:
    try:
        result = (await Requests(http).ask("server/discover")).result
    except Misbehaved:
        return False
    return MODERN in (result.get("supportedVersions") or ())


async def survey(wire: Wire, revision: str, spoken: tuple[str, ...]) -> Survey:
    """Find out what an endpoint offers in one revision, to a client that can be asked anything.

    Raises:
      Misbehaved: it does not even open a conversation.
    """
    if revision == MODERN:
        talk = Requests(wire, ASKABLE)
        capabilities = (await talk.ask("server/discover")).result.get("capabilities") or {}
        return Survey(revision, spoken, capabilities, await list_tools(talk))
    if revision == "2024-11-05":
        async with open_sse_session(wire, ASKABLE) as old:
            return Survey(revision, spoken, old.capabilities, await list_tools(old))
    async with open_session(wire, revision, ASKABLE) as session:
        return Survey(revision, spoken, session.capabilities, await list_tools(session))
