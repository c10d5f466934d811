"""The tools that the official conformance scenarios call, each by the name that its scenario knows.

Here are the table of all tools, and those that just answer, with each kind of content, or fail.  What a server says
unasked is in `everything_notices`, and what it asks in `everything_questions`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import mcp.types as types

from .asking import Ask, Call

ToolFunction = Callable[[Call], Awaitable[list[types.ContentBlock] | Ask]]
FunctionT = TypeVar("FunctionT", bound=ToolFunction)

# One red pixel, and two samples of silence.
PNG: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4z8AAAAMBAQD3A0FDAAAAAElFTkSuQmCC"
WAV: Final = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQIAAACAgA=="


@dataclass(frozen=True)
class EverythingTool:
    """A tool as `tools/list` shows it, and the function that `tools/call` runs."""

    listing: types.Tool
    call: ToolFunction


TOOLS: Final[dict[str, EverythingTool]] = {}


def tool(input_schema: dict[str, Any] | None = None) -> Callable[[FunctionT], FunctionT]:
    """Offer a function as the tool of the same name; the first line of its docstring is the description."""

    def offer(function: FunctionT) -> FunctionT:
        name, docstring = getattr(function, "__name__", ""), function.__doc__ or ""
        listing = types.Tool(
            name=name,
            description=docstring.splitlines()[0],
            input_schema=input_schema or {"type": "object", "properties": {}},
        )
        TOOLS[name] = EverythingTool(listing, function)
        return function

    return offer


def strings(**descriptions: str) -> dict[str, Any]:
    """The schema of an object whose properties are strings, all of them required."""
    return {
        "type": "object",
        "properties": {name: {"type": "string", "description": text} for name, text in descriptions.items()},
        "required": list(descriptions),
    }


def text(words: str) -> types.TextContent:
    return types.TextContent(type="text", text=words)


def image() -> types.ImageContent:
    return types.ImageContent(type="image", data=PNG, mime_type="image/png")


def embedded(uri: str, words: str, mime_type: str = "text/plain") -> types.EmbeddedResource:
    resource = types.TextResourceContents(uri=uri, mime_type=mime_type, text=words)
    return types.EmbeddedResource(type="resource", resource=resource)


# --- Answers: each kind of content, and a failure.


@tool()
async def test_simple_text(call: Call) -> list[types.ContentBlock]:
    """Answers with text."""
    return [text("This is a simple text response for testing.")]


@tool()
async def test_image_content(call: Call) -> list[types.ContentBlock]:
    """Answers with an image."""
    return [image()]


@tool()
async def test_audio_content(call: Call) -> list[types.ContentBlock]:
    """Answers with a sound."""
    return [types.AudioContent(type="audio", data=WAV, mime_type="audio/wav")]


@tool()
async def test_embedded_resource(call: Call) -> list[types.ContentBlock]:
    """Answers with a resource inside the answer."""
    return [embedded("test://embedded-resource", "This is an embedded resource content.")]


@tool()
async def test_multiple_content_types(call: Call) -> list[types.ContentBlock]:
    """Answers with text, an image and a resource at once."""
    return [
        text("Multiple content types test:"),
        image(),
        embedded("test://mixed-content-resource", '{"test":"data","value":123}', "application/json"),
    ]


@tool()
async def test_error_handling(call: Call) -> list[types.ContentBlock]:
    """Always fails."""
    raise RuntimeError("This tool intentionally returns an error for testing")


# Keywords which a proxy that models schemas, rather than passing them on, would lose (SEP-1613, SEP-2106).
_SCHEMA_2020_12: Final[dict[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


@tool(_SCHEMA_2020_12)
async def json_schema_2020_12_tool(call: Call) -> list[types.ContentBlock]:
    """Takes an argument described by the whole vocabulary of JSON Schema 2020-12."""
    return [text(f"Arguments: {', '.join(call.arguments)}")]


_REGIONAL: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "region": {"type": "string", "description": "Where to look", "x-mcp-header": "Region"},
        "limit": {"type": "integer", "description": "How many to find", "x-mcp-header": "Limit"},
        "query": {"type": "string", "description": "What to look for"},
    },
    "required": ["region"],
}


@tool(_REGIONAL)
async def test_tool_with_headers(call: Call) -> list[types.ContentBlock]:
    """Takes arguments that a client repeats in HTTP headers (2026-07-28, Tools §x-mcp-header)."""
    return [text(json.dumps(dict(call.arguments)))]
