"""The tools that the official conformance scenarios call, each by the name that its scenario knows.

Between them they make a server do everything that a proxy has to carry: answer with each kind of content, fail, report
progress, log, and ask the client something in the middle of a call.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import anyio
import mcp.types as types
from mcp.server import ServerRequestContext

Context = ServerRequestContext[Any]
Arguments = Mapping[str, Any]
ToolFunction = Callable[[Context, Arguments], Awaitable[list[types.ContentBlock]]]

# One red pixel, and two samples of silence.
PNG: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4z8AAAAMBAQD3A0FDAAAAAElFTkSuQmCC"
WAV: Final = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQIAAACAgA=="

STEP: Final = 0.05
"""Seconds between two messages of one call, so that a client sees them come one by one."""


@dataclass(frozen=True)
class EverythingTool:
    """A tool as `tools/list` shows it, and the function that `tools/call` runs."""

    listing: types.Tool
    call: ToolFunction


TOOLS: Final[dict[str, EverythingTool]] = {}


def _tool(input_schema: dict[str, Any] | None = None) -> Callable[[ToolFunction], ToolFunction]:
    """Offer a function as the tool of the same name; the first line of its docstring is the description."""

    def offer(function: ToolFunction) -> ToolFunction:
        name, docstring = getattr(function, "__name__", ""), function.__doc__ or ""
        listing = types.Tool(
            name=name,
            description=docstring.splitlines()[0],
            input_schema=input_schema or {"type": "object", "properties": {}},
        )
        TOOLS[name] = EverythingTool(listing, function)
        return function

    return offer


def _strings(**descriptions: str) -> dict[str, Any]:
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


@_tool()
async def test_simple_text(context: Context, arguments: Arguments) -> list[types.ContentBlock]:
    """Answers with text."""
    return [text("This is a simple text response for testing.")]


@_tool()
async def test_image_content(context: Context, arguments: Arguments) -> list[types.ContentBlock]:
    """Answers with an image."""
    return [image()]


@_tool()
async def test_audio_content(context: Context, arguments: Arguments) -> list[types.ContentBlock]:
    """Answers with a sound."""
    return [types.AudioContent(type="audio", data=WAV, mime_type="audio/wav")]


@_tool()
async def test_embedded_resource(context: Context, arguments: Arguments) -> list[types.ContentBlock]:
    """Answers with a resource inside the answer."""
    return [embedded("test://embedded-resource", "This is an embedded resource content.")]


@_tool()
async def test_multiple_content_types(context: Context, arguments: Arguments) -> list[types.ContentBlock]:
    """Answers with text, an image and a resource at once."""
    return [
        text("Multiple content types test:"),
        image(),
        embedded("test://mixed-content-resource", '{"test":"data","value":123}', "application/json"),
    ]


@_tool()
async def test_error_handling(context: Context, arguments: Arguments) -> list[types.ContentBlock]:
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


@_tool(_SCHEMA_2020_12)
async def json_schema_2020_12_tool(context: Context, arguments: Arguments) -> list[types.ContentBlock]:
    """Takes an argument described by the whole vocabulary of JSON Schema 2020-12."""
    return [text(f"Arguments: {', '.join(arguments)}")]


# --- What a server says on its own account in the middle of a call.


async def _log(context: Context, words: str) -> None:
    await context.session.send_log_message("info", words, related_request_id=context.request_id)


@_tool()
async def test_tool_with_logging(context: Context, arguments: Arguments) -> list[types.ContentBlock]:
    """Logs three messages while it runs."""
    await _log(context, "Tool execution started")
    await anyio.sleep(STEP)
    await _log(context, "Tool processing data")
    await anyio.sleep(STEP)
    await _log(context, "Tool execution completed")
    return [text("Tool with logging executed successfully")]


@_tool()
async def test_tool_with_progress(context: Context, arguments: Arguments) -> list[types.ContentBlock]:
    """Reports 0, 50 and 100 of 100 while it runs, to a client that asked for progress."""
    for progress in (0, 50, 100):
        await context.session.report_progress(progress, 100, f"Completed step {progress} of 100")
        await anyio.sleep(STEP)
    return [text("Tool with progress executed successfully")]


@_tool()
async def test_reconnection(context: Context, arguments: Arguments) -> list[types.ContentBlock]:
    """Runs long enough for a client to lose its stream and come back for the answer.

    A server over HTTP would close the stream of this call here (SEP-1699).  A stdio server has none: whether to close it
    is the proxy's affair, and the answer must arrive either way.
    """
    await anyio.sleep(4 * STEP)
    return [text("Reconnection test completed successfully")]


# --- Questions to the client.


@_tool(_strings(prompt="The prompt to send to the model"))
async def test_sampling(context: Context, arguments: Arguments) -> list[types.ContentBlock]:
    """Asks the client's model."""
    question = types.SamplingMessage(role="user", content=text(arguments["prompt"]))
    reply = await context.session.create_message([question], max_tokens=100, related_request_id=context.request_id)
    words = reply.content.text if isinstance(reply.content, types.TextContent) else f"({reply.content.type})"
    return [text(f"LLM response: {words}")]


async def _ask_user(context: Context, message: str, schema: dict[str, Any]) -> str:
    answer = await context.session.elicit_form(message, schema, context.request_id)
    return f"action={answer.action}, content={answer.content or {}}"


@_tool(_strings(message="The message to show the user"))
async def test_elicitation(context: Context, arguments: Arguments) -> list[types.ContentBlock]:
    """Asks the client's user for a name and an address."""
    schema = _strings(username="User's response", email="User's email address")
    return [text(f"User response: {await _ask_user(context, arguments['message'], schema)}")]


# A default for each primitive type (SEP-1034).
_DEFAULTS: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "description": "User name", "default": "John Doe"},
        "age": {"type": "integer", "description": "User age", "default": 30},
        "score": {"type": "number", "description": "User score", "default": 95.5},
        "status": {
            "type": "string",
            "description": "User status",
            "enum": ["active", "inactive", "pending"],
            "default": "active",
        },
        "verified": {"type": "boolean", "description": "Verification status", "default": True},
    },
    "required": [],
}


@_tool()
async def test_elicitation_sep1034_defaults(context: Context, arguments: Arguments) -> list[types.ContentBlock]:
    """Asks the client's user something that has default answers."""
    answer = await _ask_user(context, "Please review and update the form fields with defaults", _DEFAULTS)
    return [text(f"Elicitation completed: {answer}")]


def _titled(*choices: tuple[str, str]) -> list[dict[str, str]]:
    return [{"const": value, "title": title} for value, title in choices]


_OPTIONS: Final = ["option1", "option2", "option3"]
# Every way to offer a choice, the deprecated one included (SEP-1330).
_ENUMS: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "untitledSingle": {"type": "string", "description": "Select one option", "enum": _OPTIONS},
        "titledSingle": {
            "type": "string",
            "description": "Select one titled option",
            "oneOf": _titled(("value1", "First Option"), ("value2", "Second Option"), ("value3", "Third Option")),
        },
        "legacyEnum": {
            "type": "string",
            "description": "Select one option, titled in the deprecated way",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {
            "type": "array",
            "description": "Select up to three options",
            "minItems": 1,
            "maxItems": 3,
            "items": {"type": "string", "enum": _OPTIONS},
        },
        "titledMulti": {
            "type": "array",
            "description": "Select up to three titled options",
            "minItems": 1,
            "maxItems": 3,
            "items": {
                "anyOf": _titled(("value1", "First Choice"), ("value2", "Second Choice"), ("value3", "Third Choice")),
            },
        },
    },
    "required": [],
}


@_tool()
async def test_elicitation_sep1330_enums(context: Context, arguments: Arguments) -> list[types.ContentBlock]:
    """Asks the client's user to choose, in each of the ways to offer a choice."""
    answer = await _ask_user(context, "Please select options from the enum fields", _ENUMS)
    return [text(f"Elicitation completed: {answer}")]
