"""What the server of the matrix has to offer, in the words of either era."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final, Literal, TypeAlias

    Era: TypeAlias = Literal["legacy", "modern"]

MODERN: Final = "2026-07-28"
LEGACY: Final = "2025-11-25"
PREFIX: Final = "io.modelcontextprotocol/"

SERVER_INFO: Final = {"name": "matrix", "title": "The Matrix", "version": "3.1"}
INSTRUCTIONS: Final = "Do as you are told; 😀 is fine."

# What both eras know, and what only one of them does.
_CAPABILITIES: Final[dict[str, Any]] = {
    "completions": {},
    "logging": {},
    "prompts": {"listChanged": True},
    "resources": {"listChanged": True, "subscribe": True},
    "tools": {"listChanged": True},
}
CAPABILITIES: Final[dict[Era, dict[str, Any]]] = {
    "legacy": {**_CAPABILITIES, "tasks": {"list": {}}},
    "modern": {**_CAPABILITIES, "extensions": {"com.example/extra": {}}},
}
COMMON_CAPABILITIES: Final = _CAPABILITIES

NUMBERS_SCHEMA: Final[dict[str, Any]] = {"type": "array", "items": {"$ref": "#/$defs/n"}, "$defs": {"n": {"type": "number"}}}

_ECHO: Final[dict[str, Any]] = {
    "name": "echo",
    "description": "Answers with its arguments",
    "inputSchema": {
        "type": "object",
        "properties": {"region": {"type": "string", "x-mcp-header": "Region"}, "text": {"type": "string"}},
    },
}
_MEASURE: Final[dict[str, Any]] = {"name": "measure", "description": "Measures", "inputSchema": {"type": "object"}}
TOOLS: Final[dict[Era, list[dict[str, Any]]]] = {
    # Tasks belong to the old era, output that is no object to the new one.
    "legacy": [{**_ECHO, "execution": {"taskSupport": "forbidden"}}, {**_MEASURE, "outputSchema": {"type": "object"}}],
    "modern": [_ECHO, {**_MEASURE, "outputSchema": NUMBERS_SCHEMA}],
}
COMMON_ECHO: Final = _ECHO
COMMON_MEASURE: Final = _MEASURE
MEASURED: Final[dict[Era, Any]] = {"legacy": {"values": [1, 2.5]}, "modern": [1, 2.5]}

PROMPTS: Final[list[dict[str, Any]]] = [
    {"name": "greet", "description": "A greeting", "arguments": [{"name": "name", "required": True}]},
    {"name": "ask", "description": "A prompt that has a question first"},
]
NAMES: Final = ["Ada", "Alan", "Grace"]

RESOURCE_PAGES: Final[dict[str | None, list[dict[str, Any]]]] = {
    None: [{"uri": "matrix://one", "name": "One", "mimeType": "text/plain"}],
    "the second page": [{"uri": "matrix://two", "name": "Two"}, {"uri": "matrix://ask", "name": "A resource that asks"}],
    "and the last": [{"uri": "matrix://three", "name": "Three"}],
}
TEMPLATES: Final[list[dict[str, Any]]] = [
    {"uriTemplate": "matrix://square/{n}", "name": "Squares", "mimeType": "text/plain"}
]

CACHED: Final[dict[Era, dict[str, Any]]] = {
    # What the modern server says, and what is said for the legacy one, of which nothing is known.
    "legacy": {"ttlMs": 0, "cacheScope": "private"},
    "modern": {"ttlMs": 4999, "cacheScope": "public"},
}
CACHEABLE: Final = frozenset(
    {"server/discover", "tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read"}
)

THE_QUESTION: Final[dict[str, Any]] = {
    "method": "elicitation/create",
    "params": {
        "message": "Please provide your GitHub username",
        "requestedSchema": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
    },
}
"""What the prompt and the resource ask that have a question."""
